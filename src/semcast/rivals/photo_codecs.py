"""Photo ↔ bytes with the codecs in use, at the largest quality that fits and the size that shows most of the photo.

A stream is a head and what :mod:`.formats` sends of a file. The head says at which size the photo was coded: one byte, the
index of one of :data:`SIDES`, for a photo of 256 x 256. A photo of another size has 128 added to that byte, and its own width
and height behind it (LEB128, two bytes each up to 16383): the receiver enlarges it to the size that it had.
"""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from semcast.errors import BadInput, Damaged, DoesNotFit
from semcast.photos import Photo
from semcast.rivals.formats import FORMATS, Format, Size, leb128, read_leb128

SIDES = (256, 192, 128, 96, 64, 48, 32)
"""A photo that does not fit, or looks worse (PSNR), at its own side is coded smaller and enlarged by the receiver."""

MAX_PIXELS = 1 << 24
_USUAL = (SIDES[0], SIDES[0])
_OTHER_SIZE = 128
_LEAST_SIDE = 16  # what is smaller is not made smaller still

CODECS = tuple(FORMATS)
"""The names that :func:`load_codec` knows."""


def sizes_of(size: Size) -> list[Size]:
    """The sizes at which a photo may be coded: those of :data:`SIDES`, in proportion.

    >>> sizes_of((768, 512))[:3], len(sizes_of((32, 32)))
    ([(768, 512), (576, 384), (384, 256)], 3)
    """
    smaller = [(round(size[0] * side / SIDES[0]), round(size[1] * side / SIDES[0])) for side in SIDES[1:]]
    return [size, *[some for some in smaller if min(some) >= _LEAST_SIDE]]


class PhotoCodec:
    """A format as a :class:`~semcast.source_coding.BitCodec`, for photos of any size up to 16 megapixels, which they keep.

    What was encoded of the last photo is kept: a sweep asks for the same photo at many budgets.
    """

    image_size: int | None = None

    def __init__(self, form: Format) -> None:
        self.form = form
        self.name = form.name
        self.version = form.version()
        self._photo = b""
        self._made: dict[tuple[Size, int], bytes | None] = {}

    def compress(self, image: Photo, max_bytes: int) -> bytes:
        """At each of its sizes the largest quality that fits (bisection on real bytes); of these the best by PSNR.

        Raises:
            BadInput: the photo is not uint8 ``[height, width, 3]``, or has over 16 megapixels.
            DoesNotFit: not even the smallest picture at the lowest quality fits.
        """
        size = self._size_of(image)
        self._remember(image)
        best, least = b"", float("inf")
        for index, some in enumerate(sizes_of(size)):
            head = _head(index, size)
            sent = self._largest(image, some, max_bytes - len(head))
            if sent is None:
                continue
            stream = head + sent
            error = float(np.square(self.decompress(stream).astype(np.float32) - image).mean())
            if error < least:
                best, least = stream, error
        if not best:
            width, height = sizes_of(size)[-1]
            raise DoesNotFit(f"{self.name} cannot code a photo in {max_bytes} bytes, not even at {width} x {height}")
        return best

    def decompress(self, stream: bytes) -> Photo:
        """The photo at its own size, enlarged where it was coded smaller.

        Raises:
            Damaged: the stream is.
        """
        try:
            index, size, start = _read_head(stream)
            coded = sizes_of(size)[index]
            image = self.form.decode(self.form.restore(stream[start:], coded))
            if image.size != coded:
                raise ValueError("another size")
            return _resize(np.array(image.convert("RGB")), size)
        except Exception as error:  # noqa: BLE001 - decoders raise anything at all on a damaged stream
            raise Damaged(f"the {self.name} stream is damaged ({type(error).__name__})") from None

    def forget(self) -> None:
        """Drop what was encoded of the last photo: a measurement of time must not find it there."""
        self._photo, self._made = b"", {}

    def _size_of(self, image: Photo) -> Size:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise BadInput(f"{self.name} codes photos uint8 [height, width, 3], not {image.dtype} {list(image.shape)}")
        height, width = image.shape[:2]
        if width * height > MAX_PIXELS:
            raise BadInput(f"{self.name} codes photos of up to {MAX_PIXELS >> 20} megapixels here, not {width} x {height} pixels")
        return width, height

    def _remember(self, image: Photo) -> None:
        digest = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).digest()
        if digest != self._photo:
            self._photo, self._made = digest, {}

    def _largest(self, image: Photo, size: Size, most: int) -> bytes | None:
        """What is sent at the largest quality that fits; None where the lowest does not."""
        qualities = self.form.qualities(size)
        best, low, high = None, 0, len(qualities) - 1
        middle = 0  # the lowest first: often nothing fits at this size
        while low <= high:
            sent = self._sent(image, size, qualities[middle])
            if sent is not None and len(sent) <= most:
                best, low = sent, middle + 1
            elif middle == 0:
                return None
            else:
                high = middle - 1
            middle = (low + high + 1) // 2
        return best

    def _sent(self, image: Photo, size: Size, quality: int) -> bytes | None:
        """What is sent of the photo; None where the file is not the one that the receiver would rebuild."""
        if (size, quality) not in self._made:
            self._made[size, quality] = self._encode(_resize(image, size), size, quality)
        return self._made[size, quality]

    def _encode(self, photo: Photo, size: Size, quality: int) -> bytes | None:
        try:
            file = self.form.encode(Image.fromarray(photo), quality)
            sent = self.form.strip(file, quality)
            return sent if self.form.restore(sent, size) == file else None
        except (OSError, RuntimeError, ValueError):  # a size that this encoder does not take
            return None


def _resize(photo: Photo, size: Size) -> Photo:
    if (photo.shape[1], photo.shape[0]) == size:
        return photo
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def _head(index: int, size: Size) -> bytes:
    return bytes([index]) if size == _USUAL else bytes([index + _OTHER_SIZE]) + leb128(size[0]) + leb128(size[1])


def _read_head(stream: bytes) -> tuple[int, Size, int]:
    """The index of the size that the photo was coded at, its own size, and where the picture begins."""
    if stream[0] < _OTHER_SIZE:
        return stream[0], _USUAL, 1
    width, start = read_leb128(stream, 1)
    height, start = read_leb128(stream, start)
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError("no such size")
    return stream[0] - _OTHER_SIZE, (width, height), start


def load_codec(name: str) -> PhotoCodec:
    """Load a codec by name.

    Raises:
        BadInput: the name is unknown.
        Missing: its library is not there.
    """
    if name not in FORMATS:
        raise BadInput(f"unknown codec {name!r}; the known are {', '.join(CODECS)}")
    return PhotoCodec(FORMATS[name])
