"""A picture that is framed for sending, and anything that holds one photo as its pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from semcast.errors import BadInput
from semcast.mark import Mark
from semcast.photos import LONGEST_SIDE, to_tensor, to_uint8, write_image
from semcast.photos import Photo as Pixels


class Picture(Tensor):
    """One photo that is framed for sending: the tensor ``[1, 3, H, W]``, float in [0, 1], that knows whose it is.

    It goes wherever a tensor goes, and what is computed from it is a plain tensor.

    >>> picture = Picture.of(np.full((4, 6, 3), 255, np.uint8), "white.png")
    >>> picture, picture.pixels.shape, type(picture - 1) is Tensor
    (Picture('white.png', 6 x 4), (4, 6, 3), True)
    """

    # As nn.Parameter does: the results of operations are plain tensors.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    _name: str
    faces_found: int
    """Faces in the photo, of which the largest is shown; 0 where none was looked for."""
    notes: tuple[str, ...]
    """What is worth saying of the photo, a sentence each."""
    mark: Mark | None
    """What its file says of the network that painted it; None where none did."""

    @classmethod
    def of(
        cls, pixels: Pixels, name: str = "", *, faces_found: int = 0, notes: tuple[str, ...] = (), mark: Mark | None = None
    ) -> Picture:
        """Make one of uint8 ``[H, W, 3]``."""
        picture = to_tensor(pixels).as_subclass(cls)
        picture._name, picture.faces_found, picture.notes, picture.mark = name, faces_found, notes, mark
        return picture

    @property
    def name(self) -> str:
        """Of the photo; with a seed, a channel's randomness follows from it."""
        name: str = self.__dict__.get("_name", "")
        return name

    @property
    def tensor(self) -> Tensor:
        """The same numbers as a plain tensor ``[1, 3, H, W]``."""
        return self.as_subclass(Tensor)

    @property
    def pixels(self) -> Pixels:
        """uint8 ``[H, W, 3]``."""
        return to_uint8(self.tensor)

    def save(self, path: Path | str) -> None:
        """Write it; the extension says how (PNG, JPEG, WebP, BMP, TIFF). A file that exists is overwritten.

        Raises:
            SemcastError: the extension is unknown, or the file cannot be written.
        """
        write_image(path, self.pixels, mark=self.mark)

    def __deepcopy__(self, memo: dict[int, Any]) -> Picture:
        copy = self.tensor.clone().as_subclass(Picture)
        copy.__dict__.update(self.__dict__)
        return copy

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Picture({self.name!r}, {self.shape[-1]} x {self.shape[-2]})"


def as_pixels(image: Any) -> Pixels:
    """An array, a PIL image or a tensor as uint8 ``[H, W, 3]``, its longest side at most 2048 pixels.

    Raises:
        BadInput: it is none of them, or of another shape or range.

    >>> as_pixels(torch.ones(1, 2, 5)).shape
    (2, 5, 3)
    """
    if isinstance(image, Image.Image):
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("P", "PA", "LA", "RGBA") or "transparency" in upright.info:
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
        array = np.asarray(upright.convert("RGB"))
    elif isinstance(image, Tensor):
        planes = image.detach().cpu()
        planes = planes[0] if planes.ndim == 4 and len(planes) == 1 else planes
        if planes.ndim != 3 or planes.shape[0] not in (1, 3):
            raise BadInput(f"a tensor of one photo is [1, 3, H, W] or [3, H, W], not {tuple(image.shape)}")
        array = planes.permute(1, 2, 0).numpy()
    elif isinstance(image, np.ndarray):
        array = image
    else:
        raise BadInput(f"a photo is a path, an array, a tensor or a PIL image, not {type(image).__name__}")
    return _checked(array)


def _checked(array: NDArray[Any]) -> Pixels:
    """Any array of a photo as uint8 ``[H, W, 3]``."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise BadInput(f"an array of a photo is [H, W, 3] or [H, W], not {list(array.shape)}")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < -1e-3 or array.max() > 1 + 1e-3:
            raise BadInput("a photo of floats must hold numbers between 0 and 1")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise BadInput(f"a photo holds uint8, or floats between 0 and 1, not {array.dtype}")
    pixels = np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))
    longest = max(pixels.shape[:2])
    if longest <= LONGEST_SIDE:
        return pixels
    height, width = (max(1, round(side * LONGEST_SIDE / longest)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
