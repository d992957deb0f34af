"""GAN inversion: which codes make the generator show this photo? Three answers, each an object that a link holds.

===========  ========================================================================  =================================
object       what it does                                                              where it is from
===========  ========================================================================  =================================
`Newton`     the encoder's guess, then closed-form steps; what ships                   our own
`Guess`      the encoder's guess alone                                                 our own
`Descent`    400 Adam steps from the mean code on the MSE, 500 times as slow           Semantic StyleGAN's script, which
                                                                                       Han et al. 2023, sec. 3.1, use
===========  ========================================================================  =================================

The closed-form steps know how the generator's picture changes with its codes, to first order. The eigen-parts make most of
the picture: at twice the grid it is Σ_p share_p · colour_p with share = softmax(depth), where depth_p and colour_p are linear
in part p's shape and texture code. So with D_p and B_p their bases,

    J δ = Σ_p share_p · B_pᵀ δ_texture,p + Σ_p share_p (colour_p - picture) · D_pᵀ δ_shape,p,

and its adjoint is as cheap: no network is differentiated. (The local networks and the render net are left out of J, but
not out of the residual that a step corrects.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.domains import BASE_CODES, NUM_CODES
from semcast.errors import BadInput
from semcast.files import quote
from semcast.generative.encoder import BOUND
from semcast.generative.generator import Parts, SemanticGenerator
from semcast.given import check_number, whole_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from semcast.generative.system import Generative

HIDDEN = 0.02  # a part whose share of every pixel is less shows nothing and cannot be moved
Report = Callable[[int, float], None]
"""Told of each step: its number and the mean squared error there."""


class Inversion(Protocol):
    """A way from a photo to codes: :class:`Newton`, :class:`Guess`, :class:`Descent`, or one of your own."""

    def __call__(
        self, link: Generative, image: Float[Tensor, "batch 3 height width"],
        seen: Bool[Tensor, "#batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 28 code"]:
        """Find the codes that show a photo.

        Args:
            link: whose encoder and generator are used.
            image: ``[B, 3, S, S]`` in [0, 1].
            seen: which of its pixels count, bool ``[B, 1, S, S]``; all of them by default.

        Returns:
            codes ``[B, 28, code]``.
        """
        ...


def _set_steps(whose: Newton | Descent, most: int) -> None:
    steps = whole_of(whose.steps)
    if steps is None or not 1 <= steps <= most:
        raise BadInput(f"{type(whose).__name__} takes 1 to {most} steps, not {quote(whose.steps if steps is None else steps)}")
    object.__setattr__(whose, "steps", steps)


@dataclass(frozen=True)
class Newton:
    """The encoder's guess and ``steps`` Gauss-Newton steps in closed form (:func:`correct`), 1 to 20 of them.

    Raises:
        BadInput: ``steps`` is out of range.

    >>> Newton()
    Newton(steps=2)
    """

    steps: int = 2

    def __post_init__(self) -> None:
        _set_steps(self, 20)

    def __call__(
        self, link: Generative, image: Float[Tensor, "batch 3 height width"],
        seen: Bool[Tensor, "#batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 28 code"]:
        """Guess, then correct; only ``seen`` pixels count in the steps."""
        return correct(link.generator, link.guess(image), image, seen=seen, steps=self.steps)


@dataclass(frozen=True)
class Guess:
    """The encoder's codes in one pass of a network, as they are."""

    def __call__(
        self, link: Generative, image: Float[Tensor, "batch 3 height width"],
        seen: Bool[Tensor, "#batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 28 code"]:
        """Guess; the encoder looks at the whole picture, whatever ``seen`` says."""
        return link.guess(image)


@dataclass(frozen=True)
class Descent:
    """The paper's inversion: ``steps`` Adam steps on the codes, from the mean code, on the MSE alone.

    Args:
        steps: 1 to 5000; the paper's script makes 400.
        rate: the highest learning rate.
        report: called at each step.

    Raises:
        BadInput: ``steps`` or ``rate`` is out of range, or ``report`` no function.
    """

    steps: int = 400
    rate: float = 0.1
    report: Report | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _set_steps(self, 5000)
        object.__setattr__(self, "rate", check_number("the learning rate", self.rate, 0.0, 1e3))
        if self.report is not None and not callable(self.report):
            raise BadInput(f"what is told of each step is a function, not {quote(self.report)}")

    def __call__(
        self, link: Generative, image: Float[Tensor, "batch 3 height width"],
        seen: Bool[Tensor, "#batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 28 code"]:
        """Descend; the error is over the whole picture, whatever ``seen`` says."""
        start = link.mean_code.expand(len(image), -1, -1)
        with torch.enable_grad():
            return descend(start, link.render, image, self.steps, self.rate, self.report)


INVERSIONS: dict[str, Inversion] = {"newton": Newton(), "encoder": Guess(), "paper": Descent()}
"""The inversions by the names that the command line has for them."""


def inversion_named(name: str) -> Inversion:
    """The inversion of a name of :data:`INVERSIONS`.

    Raises:
        BadInput: there is none of that name.

    >>> inversion_named("paper")
    Descent(steps=400, rate=0.1)
    """
    if not isinstance(name, str) or name not in INVERSIONS:
        raise BadInput(f"unknown inversion {quote(name)}; known: {', '.join(INVERSIONS)}")
    return INVERSIONS[name]


# ---- by gradient descent ---------------------------------------------------------------------------------------------


def descend(
    codes: Float[Tensor, "batch codes code"], render: Callable[[Tensor], Tensor], photo: Float[Tensor, "batch ..."],
    steps: int, rate: float, report: Report | None = None,
) -> Float[Tensor, "batch codes code"]:  # fmt: skip
    """Adam on the codes against the MSE of ``render(codes)`` to the photo; returns the best codes met.

    The learning rate ramps up over the first 5 % and down over the last 25 % of the steps.
    """
    codes = codes.detach().clone().requires_grad_(True)
    optimiser = torch.optim.Adam([codes], rate)
    best, kept = photo.new_full((len(photo),), torch.inf), codes.detach().clone()
    for i in range(steps + 1):
        t = i / max(1, steps)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (t + 1e-2) / 0.05, (1 - t) / 0.25 + 1e-2)
        error = (render(codes) - photo).square().flatten(1).mean(1)
        with torch.no_grad():
            better = error < best
            best = torch.where(better, error, best)
            kept = torch.where(better[:, None, None], codes, kept)
        if report is not None:
            report(i, float(error.mean()))
        if i == steps:
            break
        (gradient,) = torch.autograd.grad(error.sum(), codes)
        codes.grad = gradient
        optimiser.step()
        with torch.no_grad():
            codes.clamp_(-BOUND, BOUND)
    return kept


# ---- in closed form --------------------------------------------------------------------------------------------------


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
        self.visible = [
            (p, (..., slice(y0, y1), slice(x0, x1)), own[p], own[p] * (parts.colours[p] - self.picture[:, :, y0:y1, x0:x1]))
            for p, (y0, y1, x0, x1) in enumerate(boxes)
            if _shows(own[p])
        ]

    def __call__(self, change: Float[Tensor, "batch 28 code"]) -> Float[Tensor, "batch 3 side side"]:
        """J δ: the change of the picture."""
        picture = torch.zeros_like(self.picture)
        depths, colours = self.generator.eigen_depth.basis, self.generator.eigen_colour.basis
        for part, box, share, lift in self.visible:
            first = BASE_CODES + 2 * part
            size = (len(change), -1, *share.shape[-2:])
            moved = lift * (change[:, first] @ depths[part]).view(size)
            picture[box] += moved.addcmul_(share, (change[:, first + 1] @ colours[part]).view(size))
        return picture

    def adjoint(self, picture: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch 28 code"]:
        """Jᵀ of a picture: codes' change; 0 for the base codes and hidden parts, which move nothing."""
        codes = picture.new_zeros(len(picture), NUM_CODES, self.generator.config.code)
        depths, colours = self.generator.eigen_depth.basis, self.generator.eigen_colour.basis
        for part, box, share, lift in self.visible:
            first, here = BASE_CODES + 2 * part, picture[box]
            codes[:, first] = (lift * here).sum(1).flatten(1) @ depths[part].T
            codes[:, first + 1] = (share * here).flatten(1) @ colours[part].T
        return codes

    def curvature(self, weight: Float[Tensor, "*whose side side"]) -> Float[Tensor, "batch 28 code"]:
        """The diagonal of Jᵀ W J, each basis map taken as spread evenly over its box, ``[B, 28, code]``."""
        codes = self.picture.new_zeros(len(self.picture), NUM_CODES, self.generator.config.code)
        depths, colours = self.generator.eigen_depth.energy(), self.generator.eigen_colour.energy()
        for part, box, share, lift in self.visible:
            first, here = BASE_CODES + 2 * part, weight[box]
            codes[:, first] = (lift.square() * here).sum((1, 2, 3))[:, None] * depths[part]
            codes[:, first + 1] = (share.square() * here).sum((1, 2, 3))[:, None] * colours[part]
        return codes


def _shows(share: Tensor) -> bool:
    """Whether a part shows anywhere; where values are not computed (torch's meta device) every part may."""
    return share.is_meta or float(share.detach().max()) > HIDDEN


def correct(
    generator: SemanticGenerator, codes: Float[Tensor, "batch 28 code"], photo: Float[Tensor, "batch 3 height width"], *,
    seen: Bool[Tensor, "#batch 1 height width"] | None = None, steps: int = 2, noise: float = 0.03, iterations: int = 4,
) -> Float[Tensor, "batch 28 code"]:  # fmt: skip
    """Bring codes nearer to the most likely ones given the photo, by Gauss-Newton steps (our choice).

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
