"""Losses of pictures that any recipe may use: LPIPS through random views, spectra of blocks, the person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import EllipsisType

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.errors import Missing
from semcast.metrics.identity import arcface_crop
from semcast.metrics.perceptual import Lpips, find_weights, missing
from semcast.networks.blocks import channels_last
from semcast.networks.embedder import Embedder
from semcast.networks.precision import exact, mixed


def perceptual(device: torch.device | str = "cpu") -> Lpips:
    """LPIPS-squeeze, which training needs.

    Raises:
        SemcastError: its files are not here.
    """
    lpips = Lpips.load("squeeze")
    if lpips is None:
        raise Missing(f"training needs LPIPS: {missing('squeeze')}")
    return channels_last(lpips.eval().to(device))


# ---- windows ---------------------------------------------------------------------------------------------------------

Window = tuple[EllipsisType, slice, slice]
"""A part of pictures ``[..., H, W]``: ``image[window]``."""


def random_window(random: torch.Generator) -> Window:
    """All of a picture but up to 7 rows at its top and 7 columns at its left, to be compared by LPIPS.

    SqueezeNet strides by 2 three times: seen always from the same corner, its gradient leaves a texture of period 8 in the
    picture that the distance itself does not see. Another corner at each step sees it.
    """
    top, left = torch.randint(8, (2,), generator=random).tolist()
    return (..., slice(top, None), slice(left, None))


def random_square(random: torch.Generator, size: int, side: int, multiple: int = 1) -> Window:
    """A square of ``side`` pixels somewhere in a picture of ``size``, its corner at a multiple: ``image[random_square(...)]``.

    >>> torch.zeros(2, 3, 64, 64)[random_square(torch.Generator(), 64, 32, 8)].shape
    torch.Size([2, 3, 32, 32])
    """
    top, left = (torch.randint((size - side) // multiple + 1, (2,), generator=random) * multiple).tolist()
    return (..., slice(top, top + side), slice(left, left + side))


def coarse_square(square: Window, factor: int) -> tuple[Window, Window]:
    """The nearest square on a grid so many times as coarse: where it lies on that grid, and in the picture.

    >>> coarse_square((..., slice(9, 41), slice(64, 96)), 4)
    ((Ellipsis, slice(2, 10, None), slice(16, 24, None)), (Ellipsis, slice(8, 40, None), slice(64, 96, None)))
    """
    side = (square[1].stop - square[1].start) // factor
    top, left = square[1].start // factor, square[2].start // factor
    fine = (..., slice(factor * top, factor * (top + side)), slice(factor * left, factor * (left + side)))
    return (..., slice(top, top + side), slice(left, left + side)), fine


# ---- LPIPS through random views --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """One way to look at a picture: an element of E-LPIPS' family of transforms, applied to photo and picture alike.

    E-LPIPS (Kettunen, Härkönen and Lehtinen 2019, arXiv:1906.03973): averaged over such views the distance can no longer be
    pleased by a texture that SqueezeNet alone likes.

    Args:
        mirror, turn, transpose: left-right, up-down, and across the diagonal.
        top, left: rows and columns that are cut off.
        reduction: area reduction, 1 to 4.
        colour: factors of red, green and blue.
    """

    mirror: bool = False
    turn: bool = False
    transpose: bool = False
    top: int = 0
    left: int = 0
    reduction: int = 1
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def draw(cls, random: torch.Generator, side: int, *, offset: int = 7, least: int = 32, dimmest: float = 0.6) -> View:
        """A random view of a picture of ``side`` pixels.

        Reduction by r is half as likely as by r - 1, and leaves at least ``least`` pixels; offsets are uniform in 0..``offset``,
        factors of the colours in ``dimmest``..1.
        """
        mirror, turn, transpose = (torch.rand(3, generator=random) < 0.5).tolist()
        top, left = torch.randint(offset + 1, (2,), generator=random).tolist()
        likely = torch.tensor([1.0, 0.5, 0.25, 0.125])
        likely[1:] *= torch.tensor([(side - offset) // r >= least for r in (2, 3, 4)])
        reduction = 1 + int(torch.multinomial(likely, 1, generator=random))
        red, green, blue = (dimmest + (1 - dimmest) * torch.rand(3, generator=random)).tolist()
        return cls(mirror, turn, transpose, top, left, reduction, (red, green, blue))

    def __call__(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` as it looks so."""
        image = image[..., self.top :, self.left :]
        sides = [axis for axis, there in ((-1, self.mirror), (-2, self.turn)) if there]
        image = image.flip(sides) if sides else image
        image = image.transpose(-1, -2) if self.transpose else image
        image = F.avg_pool2d(image, self.reduction) if self.reduction > 1 else image
        colour = image.new_tensor(self.colour)[:, None, None]
        return (image * colour).contiguous(memory_format=torch.channels_last)


def view_loss(lpips: Lpips, photo: Tensor, picture: Tensor, random: torch.Generator) -> Tensor:
    """LPIPS of pictures ``[B, 3, H, W]`` through one random :class:`View`, the mean over the batch.

    Gradients reach ``picture`` alone.
    """
    view = View.draw(random, min(photo.shape[-2:]))
    with mixed(photo.device):
        with torch.no_grad():
            target = lpips.features(view(photo))
        return lpips.distance(target, lpips.features(view(picture))).mean()


# ---- spectra of blocks -----------------------------------------------------------------------------------------------

SIDES = (8, 16, 32)
"""Sides of the blocks in pixels."""


def block_spectra(image: Tensor, side: int, shift: tuple[int, int] = (0, 0)) -> Tensor:
    """Log amplitudes of windowed blocks: the texture of each place without its phase.

        S = log(|DFT(w · (block - mean))| / side + 10⁻³)

    with w a Hann window, over blocks that overlap by half, of luma and two colour differences (YCbCr).

    Args:
        image: ``[B, 3, H, W]``, sides of ``side`` + shift and more.
        side: of the blocks in pixels.
        shift: rows and columns that the grid of blocks is moved by.

    Returns:
        ``[B, 3, rows, columns, side, side // 2 + 1]``, float32.
    """
    with exact(image.device):
        matrix = image.new_tensor([[0.299, 0.587, 0.114], [-0.17, -0.33, 0.5], [0.5, -0.42, -0.08]], dtype=torch.float32)
        colours = torch.einsum("ij,bjhw->bihw", matrix, image.float()[..., shift[0] :, shift[1] :])
        blocks = colours.unfold(2, side, side // 2).unfold(3, side, side // 2)
        window = torch.hann_window(side, periodic=True, device=image.device)
        centred = (blocks - blocks.mean((-1, -2), keepdim=True)) * (window[:, None] * window)
        levels: Tensor = (torch.fft.rfft2(centred).abs() / side + 1e-3).log()
        return levels


def spectrum_loss(photo: Tensor, picture: Tensor, random: torch.Generator, sides: Sequence[int] = SIDES) -> Tensor:
    """Mean absolute difference of the :func:`block_spectra` of pictures ``[B, 3, H, W]``, averaged over the sides of blocks.

    The grid of blocks is moved by up to 7 pixels, the same for both.
    """
    top, left = torch.randint(8, (2,), generator=random).tolist()
    losses = []
    for side in sides:
        with torch.no_grad():
            target = block_spectra(photo, side, (top, left))
        losses.append((block_spectra(picture, side, (top, left)) - target).abs().mean())
    return torch.stack(losses).mean()


# ---- the person ------------------------------------------------------------------------------------------------------

TRAINED_ON = "mobilefacenet_delldu.onnx"
"""The embedder of the loss; the others judge and see no training."""


def pull_back(outputs: Iterable[Tensor], inputs: Tensor, random: torch.Generator) -> Tensor:
    """Jᵀv ``[B, D]`` for v ~ N(0, I), of what was computed from each of ``inputs`` ``[B, ...]``.

    E[(Jᵀv)(Jᵀv)ᵀ] = JᵀJ, the metric that the outputs' squared distance makes among the inputs: one backward pass samples it.
    """
    drawn = [(each * torch.randn(each.shape, generator=random).to(each.device)).sum() for each in outputs]
    (gradient,) = torch.autograd.grad(torch.stack(drawn).sum(), inputs)
    return gradient.flatten(1)


class IdentityLoss:
    """1 - cos of the face embeddings of photo and picture, the mean over the batch.

    Args:
        embedder: differentiable, on the device of the pictures to come.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder.requires_grad_(False)

    @classmethod
    def load(cls, device: torch.device | str = "cpu") -> IdentityLoss:
        """With the embedder that training may see.

        Raises:
            SemcastError: its file or the ``onnx`` package is not here.
        """
        path = find_weights(TRAINED_ON)
        if path is None:
            raise Missing(f"a loss of identity needs {TRAINED_ON}: set SEMCAST_SHARED to the folder whose weights/ has it")
        return cls(Embedder(path).to(device))

    def embed(self, face: Tensor) -> Tensor:
        """Aligned faces ``[B, 3, S, S]`` in [0, 1] → unit embeddings ``[B, D]``."""
        with exact(face.device):
            return self.embedder(arcface_crop(face))  # type: ignore[no-any-return]

    def __call__(self, photo: Tensor, picture: Tensor) -> Tensor:
        """Aligned faces ``[B, 3, S, S]``; the two may differ in S (128 px is enough). Gradients reach ``picture``."""
        with torch.no_grad():
            person = self.embed(photo)
        return 1 - (self.embed(picture) * person).sum(1).mean()
