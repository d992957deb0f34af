"""Which parts are private, the paper's filter on their codes, and the pixels that ``blind`` never lets through.

**filter** (Han et al. 2023, sec. 3.2; norms are over the private codes only). A fresh random direction u moves the private
codes L to L' = L + s u; the knowledge base pulls them back towards natural ones, L_m,

    P = L' + t (L_m - L'),   t just below t* = λ2 / (1 + λ2),

which is as far as eq. 5, ||P - L'|| < λ2 ||P - L_m||, lets P go on that line (t ||·|| < λ2 (1 - t) ||·||): as printed,
"increase until it holds", eq. 5 holds at once and asks for nothing. Eq. 4, ||P - L|| > λ1 ||L||, is checked *after* that,
and s grows until it holds. The direction comes from a generator that is drawn anew for every photo: a fixed one could be
subtracted again. The paper's u is uniform and its L_m the mean, and what comes of that is hardly a face where much is private:
almost every direction leads away from all faces. Here u leads towards a face drawn from the knowledge base's model, and L_m
are the parts that it finds for the rest of this one.

**blind** (ours). Pixels of a region are taken out before anything is computed from the photo; what is put there is made of
the rest alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.domains import BASE_CODES, NUM_CODES, NUM_PARTS, PARTS, shape_code, texture_code
from semcast.errors import SemcastError
from semcast.generative.encoder import BOUND
from semcast.generative.generator import BOXES

ALL_BUT = "all-but-"
DILATE = 6  # px of 256 around what the parser finds
EVERYBODY_HAS = ("skin", "eyes", "brows", "mouth", "nose")
_LEAST = 0.0006  # of the picture: less of such a part means that the parser missed it (glasses over the eyes)
_LEFT = 0.001  # of the picture: with less, nothing of the photo is left
_HALF = 0.5  # of what is shown must survive the dilation: eyes alone are thinner than it
_MOST_COARSE = 0.8
_MAP = 64  # side of the map that the boxes are given on
_BELOW = 0.999  # t over t*
_GROWTH, _TRIES = 1.15, 60


@dataclass(frozen=True)
class PartChoice:
    """The parts that are private, by name and in the order of :data:`PARTS`."""

    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.parts) < NUM_PARTS:
            raise SemcastError("some of the parts must be private and some not")

    @classmethod
    def parse(cls, text: str) -> PartChoice:
        """``eyes,hair`` or ``all-but-eyes`` (``all-but-eyes,mouth`` keeps both).

        Raises:
            SemcastError: an unknown part, none, or all.

        >>> PartChoice.parse("hair, eyes").parts
        ('eyes', 'hair')
        >>> len(PartChoice.parse("all-but-eyes").parts)
        12
        """
        text = text.strip().lower()
        named = [name.strip() for name in text.removeprefix(ALL_BUT).split(",") if name.strip()]
        unknown = [name for name in named if name not in PARTS]
        if unknown or not named:
            what = f"unknown part {unknown[0]!r}" if unknown else "no part is named"
            raise SemcastError(f"{what}; known: {', '.join(PARTS)}, or all-but- and some of them")
        keep = text.startswith(ALL_BUT)
        return cls(tuple(name for name in PARTS if (name in named) != keep))

    @property
    def name(self) -> str:
        """What it was, in short: ``eyes+hair``, ``all-but-eyes``."""
        if 2 * len(self.parts) > NUM_PARTS:
            return ALL_BUT + "+".join(name for name in PARTS if name not in self.parts)
        return "+".join(self.parts)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The parts' numbers."""
        return tuple(PARTS.index(name) for name in self.parts)

    @property
    def codes(self) -> Tensor:
        """Which of the 28 codes are private, bool ``[28]``.

        The base codes shape the whole head: they are private with the skin (the paper says nothing of them).
        """
        private = torch.zeros(NUM_CODES, dtype=torch.bool)
        for part in self.numbers:
            private[[shape_code(part), texture_code(part)]] = True
        private[:BASE_CODES] = "skin" in self.parts
        return private


# ---- filter ----------------------------------------------------------------------------------------------------------


class Randomness(Protocol):
    """Where a direction comes from: :class:`numpy.random.Generator` is one."""

    def standard_normal(self, size: tuple[int, ...]) -> np.ndarray:
        """Independent N(0, 1)."""


@dataclass(frozen=True)
class FilterConfig:
    """λ1 of eq. 4 and λ2 of eq. 5; the paper gives neither.

    Raises:
        SemcastError: λ1 is not in (0, 3] or λ2 not in [0, 1).
    """

    lambda1: float = 1.0
    lambda2: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.lambda1 <= 3:
            raise SemcastError(f"lambda1 must be above 0 and at most 3, not {self.lambda1:g}")
        if not 0 <= self.lambda2 < 1:
            raise SemcastError(f"lambda2 must be at least 0 and below 1, not {self.lambda2:g}")

    @property
    def pull(self) -> float:
        """t, just below t* = λ2 / (1 + λ2)."""
        return _BELOW * self.lambda2 / (1 + self.lambda2)


@dataclass(frozen=True)
class Filtered:
    """The filtered codes P ``[28, code]`` and what the equations say of them, all norms over the private codes.

    ``length`` ||L||, ``moved`` ||L' - L||, ``kept`` ||P - L|| (eq. 4 asks for more than λ1 ||L||), ``pulled`` ||P - L'||
    and ``left`` ||P - L_m|| (eq. 5: the one is below λ2 times the other), ``tries`` how often the step grew.
    """

    codes: Tensor
    length: float
    moved: float
    kept: float
    pulled: float
    left: float
    tries: int

    def distances(self) -> dict[str, float | int]:
        """Everything but the codes, rounded."""
        names = ("length", "moved", "kept", "pulled", "left")
        return {name: round(getattr(self, name), 4) for name in names} | {"tries": self.tries}


def filter_codes(
    codes: Tensor, natural: Tensor, private: Tensor, config: FilterConfig, random: Randomness, towards: Tensor | None = None
) -> Filtered:
    """Privacy filter and pull-back (eq. 4 and 5) for one photo.

    Args:
        codes: L ``[28, code]``.
        natural: L_m of the knowledge base, the same shape.
        private: which codes, bool ``[28]``.
        random: a generator of this photo alone.
        towards: codes drawn for this photo alone, whence the direction; None: the paper's, uniform, from ``random``.

    Raises:
        SemcastError: eq. 4 cannot be met while the codes stay within the generator's bound.
    """
    here, there = codes[private].double(), natural[private].double()
    if towards is None:
        direction = torch.from_numpy(random.standard_normal(tuple(here.shape)))
    else:
        direction = towards[private].double() - here
    direction /= direction.norm()
    least, step = config.lambda1 * here.norm(), config.lambda1 * here.norm() / (1 - config.pull)
    for tries in range(_TRIES):
        moved = (here + step * direction).clamp(-BOUND, BOUND)  # L'
        pulled = (moved + config.pull * (there - moved)).float()  # P, between two points within the bound
        result = codes.clone()
        result[private] = pulled
        if (pulled.double() - here).norm() > least:
            apart = (here, moved - here, pulled - here, pulled - moved, pulled - there)
            length, far, kept, pull, left = (float(vector.norm()) for vector in apart)
            return Filtered(result, length, far, kept, pull, left, tries)
        step = step * _GROWTH
    raise SemcastError(
        f"lambda1 = {config.lambda1:g} asks for codes outside the generator's range on this photo: take a smaller one"
    )


# ---- blind -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Region:
    """Private pixels, bool ``[B, 1, S, S]``; the parts that the parser did not find, and those hidden by their fixed box."""

    mask: Tensor
    absent: tuple[str, ...] = ()
    boxed: tuple[str, ...] = ()


def found_region(labels: Tensor, choice: PartChoice, dilate: int = DILATE) -> Region:
    """The private parts as the parser sees them, dilated as far as half of the rest survives it.

    A part that everybody has and that the parser does not see (eyes behind glasses) is hidden by its fixed box, unless most
    parts are private: what it was taken for is then hidden anyway.

    Args:
        labels: parts ``[1, S, S]``.
        dilate: px at S = 256.

    Raises:
        SemcastError: nothing of the photo would be left.
    """
    side = labels.shape[-1]
    mask = torch.zeros(1, 1, side, side, dtype=torch.bool)
    absent, boxed, few = [], [], 2 * len(choice.parts) < NUM_PARTS
    for part, name in zip(choice.numbers, choice.parts, strict=True):
        own = (labels == part)[:, None]
        share = float(own.float().mean())
        if few and name in EVERYBODY_HAS and share < _LEAST:
            boxed.append(name)
            own = own | box_of(part, side)
        elif share == 0:
            absent.append(name)
        mask |= own
    left = float((~mask).float().mean())
    if left < _LEFT:
        raise SemcastError(f"the parser sees nothing in this photo but private parts ({choice.name}): nothing would be left")
    for pixels in range(round(dilate * side / 256), -1, -1):
        grown = dilated(mask, pixels)
        if float((~grown).float().mean()) >= _HALF * left:
            break
    return Region(grown, tuple(absent), tuple(boxed))


def coarse_region(choice: PartChoice, side: int) -> Region:
    """The fixed boxes of the private parts in the aligned geometry: the same for everybody, so the shape says nothing.

    Raises:
        SemcastError: they cover the face.
    """
    mask = torch.zeros(1, 1, side, side, dtype=torch.bool)
    for part in choice.numbers:
        mask |= box_of(part, side)
    if float(mask.float().mean()) > _MOST_COARSE:
        wide = [PARTS[p] for p in choice.numbers if float(box_of(p, side).float().mean()) > _MOST_COARSE / 2]
        raise SemcastError(
            f"a coarse mask of {', '.join(wide) or choice.name} covers the whole face: it is for parts with a place, like eyes"
        )
    return Region(mask)


def given_region(mask: Tensor, side: int) -> Region:
    """A mask of the user's, bool ``[H, H]``, brought to the size of the aligned face, never smaller than it was.

    Where it is resized, so is the photo, by a filter (Lanczos) that spreads each pixel over 3 pixels of the coarser grid:
    the mask grows by as much.

    Raises:
        SemcastError: it covers everything or nothing.
    """
    check_covers(mask)
    own = mask[None, None].float()
    given = own.shape[-1]
    if given != side:
        reach = 4 if given > side else -(-4 * side // given)
        exact = F.adaptive_max_pool2d(own, side) if given > side else F.interpolate(own, (side, side), mode="nearest")
        own = dilated(exact > 0, reach).float()
    return Region(own > 0)


def check_covers(mask: Tensor) -> None:
    """Raises SemcastError where a mask covers everything or nothing."""
    if not bool(mask.any()):
        raise SemcastError("the private mask is empty: nothing would be protected")
    if bool(mask.all()):
        raise SemcastError("the private mask covers everything: nothing would be left to send")


def box_of(part: int, side: int) -> Tensor:
    """A part's box, bool ``[1, 1, side, side]``."""
    y0, y1, x0, x1 = (round(edge * side / _MAP) for edge in BOXES[part])
    mask = torch.zeros(1, 1, side, side, dtype=torch.bool)
    mask[:, :, y0:y1, x0:x1] = True
    return mask


def dilated(mask: Tensor, pixels: int) -> Tensor:
    """The mask and what is at most that far from it, bool ``[B, 1, H, W]`` (a diamond and a square in turn: about a disc)."""
    grown = mask
    for i in range(pixels):
        grown = _wider(_wider(grown, -2), -1) if i % 2 else _wider(grown, -2) | _wider(grown, -1)
    return grown


def _wider(mask: Tensor, axis: int) -> Tensor:
    """The mask and its neighbours along one axis (a tenth of the time of a pooling)."""
    out, rest = mask.clone(), mask.shape[axis] - 1
    out.narrow(axis, 1, rest).logical_or_(mask.narrow(axis, 0, rest))
    out.narrow(axis, 0, rest).logical_or_(mask.narrow(axis, 1, rest))
    return out


def hidden(image: Tensor, mask: Tensor) -> Tensor:
    """The photo with grey for its private pixels: the only form in which ``blind`` lets it through."""
    return torch.where(mask, torch.full((), 0.5), image)


def seamless(outside: Tensor, inside: Tensor, mask: Tensor, fade: float = 0.85) -> Tensor:
    """``outside`` with another picture in the mask, its colours shifted so that they meet at the rim.

    The difference between the two pictures is known outside the mask; inside, it is drawn from ever coarser averages of the
    known part (a pyramid), fading by that factor a level with the distance. Pixels of ``outside`` in the mask are not read.

    Args:
        outside, inside: ``[B, 3, S, S]``, S a power of two.
        mask: bool ``[B, 1, S, S]``.
    """
    known = (~mask).float()
    levels = [(torch.where(mask, torch.zeros(()), outside - inside), known)]
    while levels[-1][0].shape[-1] > 1:
        value, weight = levels[-1]
        levels.append((F.avg_pool2d(value, 2), F.avg_pool2d(weight, 2)))
    value, weight = levels.pop()
    shift = value / weight.clamp_min(1e-6)
    for value, weight in reversed(levels):
        coarser = fade * F.interpolate(shift, scale_factor=2.0, mode="bilinear")
        shift = value + (1 - weight) * coarser
    return torch.where(mask, (inside + shift).clamp(0, 1), outside)
