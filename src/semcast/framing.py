"""A picture that is framed for sending, and anything that holds one photo as its pixels."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semcast.errors import BadInput, Damaged
from semcast.files import quote, reason_of
from semcast.given import check_path
from semcast.mark import Mark
from semcast.photos import LONGEST_SIDE, read_bytes, to_tensor, to_uint8, write_image
from semcast.photos import Photo as Pixels

_ORIENTATION = 0x0112
_FLAT = {"1": "RGBA", "P": "RGBA", "PA": "RGBA", "RGBa": "RGBA", "La": "LA", "HSV": "RGB", "YCbCr": "RGB", "RGBX": "RGB"}
"""Modes of which a file does not keep everything, and those that do."""


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
        """Make one of uint8 ``[H, W, 3]``.

        Raises:
            BadInput: it is something else.
        """
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise BadInput(f"a picture is made of an array of uint8 [H, W, 3], not of {quote(pixels)}")
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
        write_image(check_path("a picture's file", path), self.pixels, mark=self.mark)

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
        Damaged: a PIL image whose file is truncated or damaged.

    >>> as_pixels(torch.ones(1, 2, 5)).shape
    (2, 5, 3)
    """
    if isinstance(image, Image.Image):
        return _of_pil(image)
    if isinstance(image, Tensor):
        return _checked(_of_tensor(image))
    if isinstance(image, np.ndarray):
        return _checked(image)
    raise BadInput(f"a photo is a path, an array, a tensor or a PIL image, not {type(image).__name__}")


def _of_pil(image: Image.Image) -> Pixels:
    """A PIL image as the photo that a file of it is.

    It is written as one, in memory, and read as all files are: their depth, their profile of colours and their turn are minded
    in one place alone.
    """
    name = Path(str(getattr(image, "filename", "") or "")).name or "the photo"
    if 0 in image.size:
        raise BadInput(f"{name} is an image of {image.size[0]} x {image.size[1]} pixels")
    if image.mode == "I":
        return _of_whole(image, name)
    try:
        with warnings.catch_warnings(action="ignore"):  # odd metadata is not the user's concern when the pixels are fine
            image.load()
            file = _write(image)
    except (OSError, EOFError, SyntaxError) as error:  # it was opened by its head, and its pixels are read only now
        raise Damaged(f"{name} is a truncated or damaged image ({reason_of(error)})") from None
    except Exception as error:  # noqa: BLE001 - decoders and conversions raise anything at all
        raise BadInput(f"{name}, a PIL image of mode {image.mode}, cannot be shown ({reason_of(error)})") from None
    return read_bytes(file, name)


def _of_whole(image: Image.Image, name: str) -> Pixels:
    """A PIL image of whole numbers, which say black and white alone where they are of 16 bits."""
    try:
        values = np.asarray(image)
    except Exception as error:  # noqa: BLE001 - it is decoded only now
        raise Damaged(f"{name} is a truncated or damaged image ({reason_of(error)})") from None
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise BadInput(f"{name}, a PIL image of mode I, has values from {low} to {high}: only 0 to 65535 say what is black")
    return _of_pil(Image.fromarray(values.astype(np.uint16)))


def _write(image: Image.Image) -> bytes:
    """A TIFF of a PIL image without loss: TIFF holds any depth, and CMYK."""
    profile, turn = image.info.get("icc_profile"), 1
    with contextlib.suppress(Exception):  # damaged metadata beside good pixels
        turn = image.getexif().get(_ORIENTATION, 1)
    if image.mode in _FLAT or "transparency" in image.info:
        image = image.convert(_FLAT.get(image.mode, "RGBA"))
    file, plain = io.BytesIO(), image.copy()
    plain.info = {"icc_profile": profile} if isinstance(profile, bytes) and profile else {}
    plain.save(file, "TIFF", tiffinfo={_ORIENTATION: turn} if turn in range(2, 9) else {})
    return file.getvalue()


def _of_tensor(image: Tensor) -> NDArray[Any]:
    """A tensor of one photo as an array ``[H, W, channels]``."""
    shape = tuple(image.shape[1:] if image.ndim == 4 and image.shape[0] == 1 else image.shape)
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise BadInput(f"a tensor of one photo is [1, 3, H, W] or [3, H, W], not {tuple(image.shape)}")
    if image.is_meta:
        raise BadInput("a tensor of a photo holds numbers, and one of the device meta none")
    try:
        planes = image.detach().cpu()
        if planes.is_quantized:
            planes = planes.dequantize()
        if planes.layout is not torch.strided:
            planes = planes.to_dense()
        if planes.is_floating_point() and planes.dtype is not torch.float64:
            planes = planes.float()  # numpy has no bfloat16
        array: NDArray[Any] = planes.reshape(shape).permute(1, 2, 0).resolve_conj().resolve_neg().numpy()
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise BadInput(f"a tensor of a photo holds numbers that can be read: {reason_of(error)}") from None
    return array


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
