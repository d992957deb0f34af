"""How the generator's picture changes with its codes, to first order and in closed form, and the step that follows.

The eigen-parts make most of the picture: at twice the grid it is Σ_p share_p · colour_p with share = softmax(depth), where
depth_p and colour_p are linear in part p's shape and texture code. So with D_p and B_p their bases,

    J δ = Σ_p share_p · B_pᵀ δ_texture,p + Σ_p share_p (colour_p - picture) · D_pᵀ δ_shape,p,

and its adjoint is as cheap: no network is differentiated. (The local networks and the render net are left out of J, but
not out of the residual that a step corrects.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.domains import BASE_CODES, NUM_CODES
from semcast.generative.encoder import BOUND
from semcast.generative.generator import Parts, SemanticGenerator

HIDDEN = 0.02  # a part whose share of every pixel is less shows nothing and cannot be moved


class Tangent:
    """The linear map J at these codes, ``[B, 28, code]`` → ``[B, 3, side, side]``, and its adjoint."""

    def __init__(self, generator: SemanticGenerator, parts: Parts) -> None:
        self.generator, boxes = generator, generator.config.boxes
        share = parts.depth.softmax(0)
        side = share.shape[-1]
        self.picture = share.new_zeros(share.shape[1], 3, side, side)
        own = [share[p, :, None, y0:y1, x0:x1] for p, (y0, y1, x0, x1) in enumerate(boxes)]
        for (y0, y1, x0, x1), here, colour in zip(boxes, own, parts.colours, strict=True):
            self.picture[:, :, y0:y1, x0:x1] += here * colour
        # part, its box, its share, and what more of it would do to the picture
        self.shown = [
            (p, (..., slice(y0, y1), slice(x0, x1)), own[p], own[p] * (parts.colours[p] - self.picture[:, :, y0:y1, x0:x1]))
            for p, (y0, y1, x0, x1) in enumerate(boxes)
            if float(own[p].detach().max()) > HIDDEN
        ]

    def __call__(self, change: Tensor) -> Tensor:
        """J δ: the change of the picture."""
        picture = torch.zeros_like(self.picture)
        depths, colours = self.generator.eigen_depth.basis, self.generator.eigen_colour.basis
        for part, box, share, lift in self.shown:
            first = BASE_CODES + 2 * part
            size = (len(change), -1, *share.shape[-2:])
            moved = lift * (change[:, first] @ depths[part]).view(size)
            picture[box] += moved.addcmul_(share, (change[:, first + 1] @ colours[part]).view(size))
        return picture

    def adjoint(self, picture: Tensor) -> Tensor:
        """Jᵀ of a picture: codes' change; 0 for the base codes and hidden parts, which move nothing."""
        codes = picture.new_zeros(len(picture), NUM_CODES, self.generator.config.code)
        depths, colours = self.generator.eigen_depth.basis, self.generator.eigen_colour.basis
        for part, box, share, lift in self.shown:
            first, here = BASE_CODES + 2 * part, picture[box]
            codes[:, first] = (lift * here).sum(1).flatten(1) @ depths[part].T
            codes[:, first + 1] = (share * here).flatten(1) @ colours[part].T
        return codes

    def curvature(self, weight: Tensor) -> Tensor:
        """The diagonal of Jᵀ W J, each basis map taken as spread evenly over its box, ``[B, 28, code]``."""
        codes = self.picture.new_zeros(len(self.picture), NUM_CODES, self.generator.config.code)
        depths, colours = self.generator.eigen_depth.energy(), self.generator.eigen_colour.energy()
        for part, box, share, lift in self.shown:
            first, here = BASE_CODES + 2 * part, weight[box]
            codes[:, first] = (lift.square() * here).sum((1, 2, 3))[:, None] * depths[part]
            codes[:, first + 1] = (share.square() * here).sum((1, 2, 3))[:, None] * colours[part]
        return codes


def newton(
    generator: SemanticGenerator, codes: Tensor, photo: Tensor, *, seen: Tensor | None = None,
    steps: int = 2, noise: float = 0.03, iterations: int = 4,
) -> Tensor:  # fmt: skip
    """The most likely codes given the photo, by Gauss-Newton steps from a guess (our choice; no network is differentiated).

    Each step solves argmin_δ ||W^½ (J δ - residual)||² / noise + ||δ||² by conjugate gradients on

        (Jᵀ W J / noise + I) δ = Jᵀ W residual / noise,

    preconditioned by its diagonal (codes differ by orders of magnitude in what they do to the picture: with it four
    iterations do more than twelve without),

    where the residual is photo minus picture at the eigen-parts' side and W is the generator's ``care``.

    Args:
        codes: the guess ``[B, 28, code]``.
        photo: ``[B, 3, S, S]`` in [0, 1].
        seen: which of its pixels count, bool ``[B, 1, S, S]``; all of them by default.
        noise: variance of what J cannot explain, per sample.
        iterations: of conjugate gradients a step.

    Returns:
        codes of the same shape, within the bound that they were trained in.
    """
    side = 2 * generator.config.grid
    target = F.interpolate(photo, (side, side), mode="area")
    weight = generator.care if seen is None else generator.care * F.interpolate(seen.float(), (side, side), mode="area")
    for _ in range(steps):
        parts = generator.local(codes)
        residual = target - generator.render(parts, 1).image.float()
        codes = (codes + _solve(Tangent(generator, parts), residual, weight, noise, iterations)).clamp(-BOUND, BOUND)
    return codes


def _solve(tangent: Tangent, residual: Tensor, weight: Tensor, noise: float, iterations: int) -> Tensor:
    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((1, 2), keepdim=True)

    scale = tangent.curvature(weight) / noise + 1
    rest = tangent.adjoint(weight * residual) / noise
    change, direction = torch.zeros_like(rest), rest / scale
    energy = dot(rest, direction)
    for _ in range(iterations):
        moved = tangent.adjoint(weight * tangent(direction)) / noise + direction
        pace = energy / dot(direction, moved).clamp_min(1e-12)
        change = change + pace * direction
        rest = rest - pace * moved
        before, energy = energy, dot(rest, rest / scale)
        direction = rest / scale + energy / before.clamp_min(1e-12) * direction
    return change
