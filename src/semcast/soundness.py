"""Whether what a file says of its pixels can be shown rightly, and whether all of them are in it.

Pillow takes some files for what they are not, and fills in what others lack. Both are refused here with the reason; what the
decoded image no longer tells is handed on (:class:`~semcast.colours.Samples`).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

from semcast.colours import Samples
from semcast.errors import BadInput, Damaged

# Tags of a TIFF, by the names of its specification.
_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES_PER_PIXEL, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_COLOUR_MAP, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _INK_SET, _EXTRA = 320, 322, 323, 324, 332, 338
_SAMPLE_FORMAT, _COEFFICIENTS, _SUBSAMPLING, _RANGE = 339, 529, 530, 532
_WIDTH, _HEIGHT = 256, 257
_WHITE_IS_ZERO, _RGB, _SEPARATED, _YCBCR, _LAB = 0, 2, 5, 6, 8
_RAW, _SIGNED = 1, 2

_HDR = {8: "linear light", 16: "PQ, for HDR screens", 18: "HLG, for HDR screens"}
_SHOWN = frozenset([1, 2, 4, 6, 13, 14, 15])
"""Transfer functions (ITU-T H.273) that are near enough to sRGB's to be shown as it."""


def check_before(name: str, image: Image.Image, file: BinaryIO) -> Samples:
    """What a file says of its samples; its pixels need not be decoded, its place in the file is kept.

    Args:
        name: what sentences call it.

    Raises:
        BadInput: it cannot be shown rightly.
        Damaged: it holds fewer rows than it says.
    """
    if image.format == "TIFF":
        return _check_tiff(name, image)
    if image.format == "PNG":
        at = file.tell()
        try:
            return _check_png(name, image, file)
        finally:
            file.seek(at)
    _check_transfer(name, (image.info.get("nclx_profile") or {}).get("transfer_characteristics", 2), image)
    return Samples()


def check_after(name: str, image: Image.Image, file: BinaryIO) -> None:
    """Look at the decoded pixels for those that the file did not have; mends a palette that was taken for another.

    Raises:
        Damaged: there are such.
    """
    if image.format == "TIFF" and image.mode in ("P", "PA"):
        colours = np.array(_tag(image, _COLOUR_MAP))
        if colours.max(initial=0) < 256:  # of 8 bits where 16 belong, as some programs write them
            image.putpalette(colours.astype(np.uint8).reshape(3, -1).T.tobytes())
    if image.format == "PNG":
        last = image.crop((0, image.height - 1, image.width, image.height))
        # Counting takes about as long as decoding. Rows that are missing are zero, which few last rows are.
        if (image.info.get("interlace") or not np.asarray(last).any()) and _lacks_rows(file):
            raise Damaged(f"{name} is a truncated image (it holds fewer rows than it says)")


def has_grey_corner(image: Image.Image) -> bool:
    """Whether the last pixel is of the grey that a decoder makes of a JPEG's block without bits."""
    corner = image.getpixel((image.width - 1, image.height - 1))
    return all(abs(each - 128) <= 2 for each in (corner if isinstance(corner, tuple) else (corner or 0,)))


def is_cut_off(file: BinaryIO) -> bool:
    """Whether a file that no decoder knows begins as one that they know, and ends before it says so."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8")):
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return int.from_bytes(head[4:8], "little") + 8 > size
    if head[4:8] == b"ftyp":
        return _has_open_box(file, size)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        order: Literal["little", "big"] = "little" if head[:1] == b"I" else "big"
        at = int.from_bytes(head[8:16] if b"+" in head[:4] else head[4:8], order)
        file.seek(at if at < size else 0, io.SEEK_SET)
        entry, count = (20, 8) if b"+" in head[:4] else (12, 2)
        return at + count > size or at + count + entry * int.from_bytes(file.read(count), order) > size
    return False


def _has_open_box(file: BinaryIO, size: int) -> bool:
    """Whether a file of boxes (AVIF, HEIC) ends within one."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # to the end of the file
            return False
        if length < 8 or at + length > size:
            return True
        at += length
    return False


# ---- TIFF ------------------------------------------------------------------------------------------------------------


def _tag(image: Image.Image, number: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    value = image.tag_v2.get(number, default)  # type: ignore[attr-defined]
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _check_tiff(name: str, image: Image.Image) -> Samples:
    bits, photometric = max(_tag(image, _BITS, (1,))), _tag(image, _PHOTOMETRIC, (-1,))[0]
    planes, raw = _tag(image, _SAMPLES_PER_PIXEL, (1,))[0], _tag(image, _COMPRESSION, (_RAW,))[0] == _RAW
    if _SIGNED in _tag(image, _SAMPLE_FORMAT, (1,)):
        raise BadInput(f"{name} is a TIFF of signed numbers, which do not say what is black: save it without signs")
    if bits == 32 and image.mode.startswith("I"):
        raise BadInput(f"{name} is a TIFF of whole numbers of 32 bits, which cannot be read here: save it with 8 or 16 bits")
    if photometric == _SEPARATED and _tag(image, _INK_SET, (1,))[0] != 1:
        raise BadInput(f"{name} is a TIFF of inks other than CMYK, whose colours are not known: save it as RGB")
    if raw and photometric == _YCBCR and planes == 3:
        _check_raw_ycbcr(name, image)
    if raw and planes > 1 and _tag(image, _PLANAR, (1,))[0] == 2:
        odd = bits != 8 or photometric == _YCBCR or _tag(image, _FILL_ORDER, (1,))[0] == 2 or 1 in _tag(image, _EXTRA)
        if odd:
            raise BadInput(f"{name} is a TIFF of separate planes of a kind that cannot be read here: save it as RGB")
    _check_strips(name, image, planes)
    # Of 8 bits and fewer Pillow turns white and black round itself, and so it takes files without that tag.
    return Samples(bits=bits, inverted=photometric == _WHITE_IS_ZERO and image.mode.startswith(("I", "F")))


def _check_raw_ycbcr(name: str, image: Image.Image) -> None:
    """Pillow reads uncompressed YCbCr as one colour a pixel, of JPEG's range and coefficients."""
    width, height = _tag(image, _WIDTH)[0], _tag(image, _HEIGHT)[0]
    halved = _tag(image, _SUBSAMPLING, (1, 1)) != (1, 1)
    if not _tag(image, _SUBSAMPLING):  # it is then (2, 2) by the specification, which not all writers have read
        halved = sum(_tag(image, _STRIP_COUNTS, (0,))) < 3 * width * height
    ranges = [float(each) for each in _tag(image, _RANGE, (0, 255, 128, 255, 128, 255))]
    weights = [float(each) for each in _tag(image, _COEFFICIENTS)] or [0.299]
    if halved or abs(ranges[0]) > 1 or abs(ranges[1] - 255) > 1 or abs(weights[0] - 0.299) > 0.005:
        raise BadInput(f"{name} is an uncompressed YCbCr TIFF of a kind that cannot be read here: save it as RGB")


def _check_strips(name: str, image: Image.Image, planes: int) -> None:
    width, height = _tag(image, _WIDTH)[0], _tag(image, _HEIGHT)[0]
    if _tag(image, _STRIP_OFFSETS):
        offsets, rows = _tag(image, _STRIP_OFFSETS), _tag(image, _ROWS_PER_STRIP, (height,))[0]
        needed = -(-height // max(1, min(rows, height)))
    else:
        offsets, wide, high = _tag(image, _TILE_OFFSETS), _tag(image, _TILE_WIDTH, (0,))[0], _tag(image, _TILE_LENGTH, (0,))[0]
        needed = -(-width // max(1, wide)) * -(-height // max(1, high))
    if _tag(image, _PLANAR, (1,))[0] == 2:
        needed *= planes
    if offsets and (len(offsets) < needed or 0 in offsets[:needed]):
        raise Damaged(f"{name} is a truncated image (it holds {len(offsets)} strips or tiles of {needed})")


# ---- PNG -------------------------------------------------------------------------------------------------------------


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The kind and the length of every chunk of a PNG; the file then stands where its body begins."""
    at = 8
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], length
        at += 12 + length


def _check_png(name: str, image: Image.Image, file: BinaryIO) -> Samples:
    bits = 8
    for kind, length in _chunks(file):
        if kind == b"IHDR":
            bits = file.read(9)[8]
        elif kind == b"cICP" and length >= 2:
            _check_transfer(name, file.read(2)[1], image)
        elif kind in (b"IDAT", b"IEND"):
            break
    gamma = image.info.get("gamma")
    if gamma is not None and ("srgb" in image.info or not 0.1 <= gamma <= 10 or abs(2.2 * gamma - 1) <= 0.05):
        gamma = None  # sRGB's own, or no exponent that a picture has
    return Samples(bits=bits, gamma=gamma)


def _check_transfer(name: str, transfer: int, image: Image.Image) -> None:
    """Refuse levels that sRGB would show far too dark, too bright or too pale; a profile says better what they mean."""
    if transfer not in _SHOWN and not image.info.get("icc_profile"):
        what = _HDR.get(transfer, f"transfer function {transfer}")
        raise BadInput(f"{name} holds levels that cannot be shown rightly here ({what}): save it as sRGB")


def _lacks_rows(file: BinaryIO) -> bool:
    """Whether a PNG's pixels, inflated, are fewer bytes than its header asks for."""
    needed, stream = 0, zlib.decompressobj()
    for kind, length in _chunks(file):
        if kind == b"IHDR":
            needed = _bytes_of(file.read(13))
        elif kind == b"IEND":
            break
        elif kind == b"IDAT":
            data = file.read(length)
            try:
                while data and needed > 0:
                    needed -= len(stream.decompress(data, 1 << 20))
                    data = stream.unconsumed_tail
            except zlib.error:
                break
    return needed > len(stream.flush())


def _bytes_of(header: bytes) -> int:
    """Bytes of all rows with their filters, by the body of IHDR."""
    width, height, bits, kind = struct.unpack(">IIBB", header[:10])
    per_pixel = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(kind, 1)
    steps = [(0, 0, 1, 1)]
    if header[12]:  # the seven passes of Adam7: the first column and row, and how far apart they are
        steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    total = 0
    for left, top, right, down in steps:
        columns, rows = max(0, -(-(width - left) // right)), max(0, -(-(height - top) // down))
        total += rows * (1 + -(-columns * per_pixel // 8)) if columns else 0
    return total
