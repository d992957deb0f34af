"""The pixels that ``blind`` never lets through: a region of the photo, found before anything is computed from it (our own).

Pixels of the region are taken out before anything is computed from the photo; what is put there is made of the rest alone.
Regions are found on the processor, where their sizes are compared, and then moved to where the photo lies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semcast.domains import NUM_PARTS, PARTS
from semcast.errors import BadInput
from semcast.files import quote
from semcast.generative.generator import BOXES
from semcast.given import check_flag
from semcast.privacy.parts import PartChoice

REACH = 6  # px of 256 around what the parser finds
EVERYBODY_HAS = ("skin", "eyes", "brows", "mouth", "nose")
_LEAST = 0.0006  # of the picture: less of such a part means that the parser missed it (glasses over the eyes)
_LEFT = 0.001  # of the picture: with less, nothing of the photo is left
_HALF = 0.5  # of what is shown must survive the dilation: eyes alone are thinner than it
_MOST_COARSE = 0.8
SPREAD = 4  # px: how far resizing (Lanczos) spreads a pixel, and one more
_MAP = 64  # side of the map that the boxes are given on


@dataclass(frozen=True)
class Region:
    """Private pixels, bool ``[B, 1, S, S]``; the parts that the parser did not find, and those hidden by their fixed box."""

    mask: Tensor
    absent: tuple[str, ...] = ()
    boxed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Blind:
    """Protect parts by their pixels: no symbol depends on one of them, bit for bit.

    Args:
        parts: which are private, ``eyes,hair`` or ``all-but-eyes``.
        mask: the private pixels as the user gives them, bool ``[H, H]`` over the aligned photo (an array or a tensor), instead
            of what a parser sees.
        coarse: fixed boxes instead of what a parser sees, so that not even the outline of a part is given away.

    Raises:
        BadInput: an unknown part, none, or all; a mask that is not square, is empty or covers everything; boxes that cover
            the face; a mask and boxes at once.

    >>> Blind("hair, eyes").name
    'blind:eyes+hair'
    """

    parts: str = field(compare=False)
    mask: Tensor | NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)
    coarse: bool = False
    choice: PartChoice = field(init=False, repr=False)
    outline: str = field(init=False, repr=False, default="")  # a few digits that tell one mask from another
    mode: ClassVar[str] = "blind"

    def __post_init__(self) -> None:
        object.__setattr__(self, "choice", PartChoice.parse(self.parts))
        object.__setattr__(self, "coarse", check_flag("coarse", self.coarse))
        if self.coarse and self.mask is not None:
            raise BadInput("a mask and coarse exclude each other: give one of them")
        if self.coarse:
            box_region(self.choice, _MAP)
        if self.mask is not None:
            mask = _as_tensor(self.mask)
            check_mask(mask)
            digest = hashlib.sha256(f"{mask.shape}".encode() + np.packbits(mask.numpy()).tobytes())
            object.__setattr__(self, "mask", mask)
            object.__setattr__(self, "outline", digest.hexdigest()[:8])

    @property
    def name(self) -> str:
        """All of it in one word, for results."""
        how = f"-mask-{self.outline}" if self.outline else "-coarse" if self.coarse else ""
        return f"{self.mode}{how}:{self.choice.name}"

    def find(self, image: Tensor, label: Callable[[Tensor], Tensor]) -> Region:
        """Find the private pixels of one photo ``[1, 3, S, S]``: the user's, the boxes, or what a parser sees.

        Args:
            label: the parser, photo → parts ``[1, S, S]``; it is only called where there is neither mask nor boxes.
        """
        side = image.shape[-1]
        if self.mask is not None:
            region = fit_region(torch.as_tensor(self.mask), side)
        elif self.coarse:
            region = box_region(self.choice, side)
        else:
            region = find_region(label(image), self.choice)
        return replace(region, mask=region.mask.to(image.device))


def _as_tensor(mask: object) -> Tensor:
    """What the user gives as a mask, on the processor."""
    try:
        tensor = torch.as_tensor(mask).detach().cpu()
        tensor.numpy()  # a tensor that is sparse has no pixels to look at, one without values not even numbers
    except (TypeError, ValueError, RuntimeError, OverflowError):  # as torch says of names, images and all else
        raise BadInput(f"a private mask is bool [H, H] over the aligned photo, an array or a tensor, not {quote(mask)}") from None
    return tensor


def find_region(labels: Tensor, choice: PartChoice, reach: int = REACH) -> Region:
    """Find the private parts where the parser sees them, dilated as far as half of the rest survives it.

    A part that everybody has and that the parser does not see (eyes behind glasses) is hidden by its fixed box, unless most
    parts are private: what it was taken for is then hidden anyway.

    Args:
        labels: parts ``[1, S, S]``.
        reach: px at S = 256 that they are dilated by.

    Raises:
        BadInput: nothing of the photo would be left.
    """
    labels, side = labels.cpu(), labels.shape[-1]
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
        raise BadInput(f"the parser sees nothing in this photo but private parts ({choice.name}): nothing would be left")
    for pixels in range(round(reach * side / 256), -1, -1):
        grown = dilate(mask, pixels)
        if float((~grown).float().mean()) >= _HALF * left:
            break
    return Region(grown, tuple(absent), tuple(boxed))


def box_region(choice: PartChoice, side: int) -> Region:
    """Take the fixed boxes of the private parts in the aligned geometry: the same for everybody, so the shape says nothing.

    Raises:
        BadInput: they cover the face.
    """
    mask = torch.zeros(1, 1, side, side, dtype=torch.bool)
    for part in choice.numbers:
        mask |= box_of(part, side)
    if float(mask.float().mean()) > _MOST_COARSE:
        wide = [PARTS[p] for p in choice.numbers if float(box_of(p, side).float().mean()) > _MOST_COARSE / 2]
        raise BadInput(
            f"a coarse mask of {', '.join(wide) or choice.name} covers the whole face: it is for parts with a place, like eyes"
        )
    return Region(mask)


def fit_region(mask: Tensor, side: int) -> Region:
    """Bring a mask of the user's, bool ``[H, H]``, to the size of the aligned face, never smaller than it was.

    Where it is resized, so is the photo, by a filter (Lanczos) that spreads each pixel over 3 pixels of the coarser grid:
    the mask grows by as much.

    Raises:
        BadInput: as :func:`check_mask`.
    """
    check_mask(mask)
    own = mask[None, None].float()
    given = own.shape[-1]
    if given != side:
        reach = SPREAD if given > side else -(-SPREAD * side // given)
        exact = F.adaptive_max_pool2d(own, side) if given > side else F.interpolate(own, (side, side), mode="nearest")
        own = dilate(exact > 0, reach).float()
    return Region(own > 0)


def check_mask(mask: Tensor) -> None:
    """Raise BadInput where a mask is not bool and square, or covers everything or nothing."""
    if mask.dtype != torch.bool or mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        raise BadInput(f"a private mask is bool [H, H] over the aligned photo, not {mask.dtype} {list(mask.shape)}")
    if not bool(mask.any()):
        raise BadInput("the private mask is empty: nothing would be protected")
    if bool(mask.all()):
        raise BadInput("the private mask covers everything: nothing would be left to send")


def box_of(part: int, side: int) -> Tensor:
    """A part's box, bool ``[1, 1, side, side]``."""
    y0, y1, x0, x1 = (round(edge * side / _MAP) for edge in BOXES[part])
    mask = torch.zeros(1, 1, side, side, dtype=torch.bool)
    mask[:, :, y0:y1, x0:x1] = True
    return mask


def dilate(mask: Tensor, pixels: int) -> Tensor:
    """Grow a mask by what is at most that far from it, bool ``[B, 1, H, W]`` (a diamond and a square in turn: about a disc)."""
    grown = mask
    for i in range(pixels):
        grown = _widen(_widen(grown, -2), -1) if i % 2 else _widen(grown, -2) | _widen(grown, -1)
    return grown


def _widen(mask: Tensor, axis: int) -> Tensor:
    """The mask and its neighbours along one axis (a tenth of the time of a pooling)."""
    out, rest = mask.clone(), mask.shape[axis] - 1
    out.narrow(axis, 1, rest).logical_or_(mask.narrow(axis, 0, rest))
    out.narrow(axis, 0, rest).logical_or_(mask.narrow(axis, 1, rest))
    return out


def hide(image: Tensor, mask: Tensor) -> Tensor:
    """Put grey in the place of a photo's private pixels: the only form in which ``blind`` lets it through."""
    return torch.where(mask, image.new_full((), 0.5), image)


def blend(outside: Tensor, inside: Tensor, mask: Tensor, fade: float = 0.85) -> Tensor:
    """Put another picture into the mask of ``outside``, its colours shifted so that they meet at the rim.

    The difference between the two pictures is known outside the mask; inside, it is drawn from ever coarser averages of the
    known part (a pyramid), fading by that factor a level with the distance. Pixels of ``outside`` in the mask are not read.

    Args:
        outside, inside: ``[B, 3, S, S]``, S a power of two.
        mask: bool ``[B, 1, S, S]``.
    """
    known = (~mask).float()
    levels = [(torch.where(mask, outside.new_zeros(()), outside - inside), known)]
    while levels[-1][0].shape[-1] > 1:
        value, weight = levels[-1]
        levels.append((F.avg_pool2d(value, 2), F.avg_pool2d(weight, 2)))
    value, weight = levels.pop()
    shift = value / weight.clamp_min(1e-6)
    for value, weight in reversed(levels):
        coarser = fade * F.interpolate(shift, scale_factor=2.0, mode="bilinear")
        shift = value + (1 - weight) * coarser
    return torch.where(mask, (inside + shift).clamp(0, 1), outside)
