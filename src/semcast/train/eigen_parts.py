"""Where the generator starts: the principal components of each part, and the linear map from a photo to their codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.domains import NUM_CODES, NUM_PARTS, shape_code, texture_code
from semcast.generative.encoder import FaceEncoder
from semcast.generative.generator import NEVER, SemanticGenerator
from semcast.linear.sketch import Sketch, to_vector
from semcast.train.data import Faces

SHARPNESS = 6.0  # depth of a pixel that surely belongs to a part; softmax then gives it 97 % there


@torch.no_grad()
def initialise(encoder: FaceEncoder, generator: SemanticGenerator, faces: Faces, sketch: Sketch) -> None:
    """Fill the generator's eigen-parts and the encoder's linear path from labelled photos (and their mirror images).

    For part i with soft mask m_i and mean colour map μ_i, the colours' components are those of m_i (x - μ_i), the depths'
    those of m_i; codes have unit variance over the photos that show the part. The encoder's linear path is the
    least-squares regression of all codes on the whitened components of a linear sketch.
    """
    side, width = 2 * generator.config.grid, generator.config.code
    photos, masks, scores = [], [], []
    components = sketch.basis[: encoder.config.rank] / sketch.eigenvalues[: encoder.config.rank, None].sqrt() * sketch.weight
    for index in torch.arange(len(faces)).split(500):
        photo = faces.batch(index)
        one_hot = F.one_hot(faces.labels[index].long(), NUM_PARTS).permute(0, 3, 1, 2).float()
        small, soft = (F.interpolate(t, (side, side), mode="area") for t in (photo, one_hot))
        photos += [small, small.flip(-1)]
        masks += [soft, soft.flip(-1)]
        for view in (photo, photo.flip(-1)):
            scores.append((to_vector(view, encoder.config.sketch) - sketch.mean) @ components.T)
    x, m = torch.cat(photos), torch.cat(masks)
    codes = torch.zeros(len(x), NUM_CODES, width)
    for part, (y0, y1, x0, x1) in enumerate(generator.config.boxes):
        mask = m[:, part : part + 1, y0:y1, x0:x1]
        colour = x[:, :, y0:y1, x0:x1]
        shown = mask.sum((1, 2, 3)) > 2
        typical = (colour * mask).sum((0, 2, 3)) / mask.sum().clamp_min(1)
        mean = ((colour * mask).sum(0) + 20 * typical[:, None, None]) / (mask.sum(0) + 20)
        residual = ((colour - mean) * mask)[shown].flatten(1)
        basis, score = _components(residual, width, 1e-4)
        generator.eigen_colour.mean[part].copy_(mean.flatten())
        generator.eigen_colour.basis[part].copy_(basis)
        codes[shown, texture_code(part)] = score
        share = mask.mean(0)
        basis, score = _components((mask - share).flatten(1), width, 1e-3)
        generator.eigen_depth.mean[part].copy_(SHARPNESS * share.flatten())
        generator.eigen_depth.basis[part].copy_(SHARPNESS * basis)
        codes[:, shape_code(part)] = score
    assert NEVER < -SHARPNESS
    evidence = torch.cat(scores)
    flat = codes.clamp(-4, 4).flatten(1)
    encoder.project.weight.copy_(components)
    encoder.project.bias.copy_(-components @ sketch.mean)
    encoder.linear.weight.copy_(flat.T @ evidence / len(evidence))
    encoder.linear.bias.copy_(flat.mean(0))


def _components(data: Tensor, count: int, least: float) -> tuple[Tensor, Tensor]:
    """Principal components of rows ``[N, X]``: basis ``[count, X]`` scaled to unit-variance scores ``[N, count]``."""
    _, scale, basis = torch.svd_lowrank(data, count, niter=2)
    scale = (scale / len(data) ** 0.5).clamp_min(least)
    return (basis * scale).T, data @ basis / scale
