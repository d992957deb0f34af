"""Where the generator starts: the principal components of each part, and the linear map from a photo to their codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from semcast.semantics.encoder import FaceEncoder
from semcast.semantics.generator import SemanticGenerator
from semcast.semantics.parts import BASE_CODES, NUM_CODES, NUM_PARTS
from semcast.train.data import Faces

SHARPNESS = 6.0  # depth of a pixel that surely belongs to a part; softmax then gives it 97 % there


@torch.no_grad()
def initialise(encoder: FaceEncoder, generator: SemanticGenerator, faces: Faces, seed: int = 0) -> None:
    """Fill the generator's eigen-parts and the encoder's linear path from labelled photos (and their mirror images).

    For part i with soft mask m_i and mean colour map μ_i, the colours' components are those of m_i (x - μ_i), the depths'
    those of m_i; codes have unit variance over the photos that show the part. The encoder's linear path is the
    least-squares regression of all codes on the photo's leading components.
    """
    torch.manual_seed(seed)
    grid, width = generator.config.grid, generator.config.code
    photos, masks = [], []
    for index in torch.arange(len(faces)).split(500):
        small = F.interpolate(faces.batch(index), (grid, grid), mode="area")
        one_hot = F.one_hot(faces.labels[index].long(), NUM_PARTS).permute(0, 3, 1, 2).half()
        soft = F.interpolate(one_hot.float(), (grid, grid), mode="area")
        photos += [small, small.flip(-1)]
        masks += [soft, soft.flip(-1)]
    x, m = torch.cat(photos).flatten(2), torch.cat(masks).flatten(2)  # [N, 3, HW], [N, P, HW]
    codes = torch.zeros(len(x), NUM_CODES, width)
    for part in range(NUM_PARTS):
        mask = m[:, part]
        shown = mask.sum(1) > 0.5
        count = int(shown.sum())
        share = mask.mean(0)
        colour = (x * mask[:, None]).sum((0, 2)) / mask.sum().clamp_min(1)
        mean = ((x * mask[:, None]).sum(0) + 20 * colour[:, None]) / (mask.sum(0) + 20)
        residual = ((x - mean) * mask[:, None])[shown].flatten(1)
        _, scale, basis = torch.svd_lowrank(residual, width, niter=3)
        scale = (scale / count**0.5).clamp_min(1e-4)
        generator.colour_mean[part] = mean.flatten()
        generator.colour_basis[part] = (basis * scale).T
        codes[shown, BASE_CODES + 2 * part + 1] = residual @ basis / scale
        shape = (mask - share)[shown] if part else mask - share
        _, scale, basis = torch.svd_lowrank(shape, width, niter=3)
        scale = (scale / len(shape) ** 0.5).clamp_min(1e-3)
        generator.depth_mean[part] = SHARPNESS * share
        generator.depth_basis[part] = SHARPNESS * (basis * scale).T
        codes[:, BASE_CODES + 2 * part] = (mask - share) @ basis / scale
    # regression on whitened components: W = E[code · component]
    tiny = x.flatten(1)
    centre = tiny.mean(0)
    rank = encoder.config.rank
    _, scale, basis = torch.svd_lowrank(tiny - centre, rank, niter=3)
    scale = (scale / len(tiny) ** 0.5).clamp_min(1e-4)
    whiten = basis / scale
    encoder.project.weight.copy_(whiten.T)
    encoder.project.bias.copy_(-centre @ whiten)
    scores = (tiny - centre) @ whiten
    flat = codes.clamp(-4, 4).flatten(1)
    encoder.linear.weight.copy_(flat.T @ scores / len(scores))
    encoder.linear.bias.copy_(flat.mean(0))
