"""Bytes of photos that every viewer shows and Pillow refuses: the same without what is in its way.

A PNG may hold texts or a colour profile longer than Pillow reads, and a JPEG may lack its end mark: all pixels are there.
"""

from __future__ import annotations

import zlib

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LONG = 1 << 20
"""Bytes of a profile; Pillow's own limit (PngImagePlugin.MAX_TEXT_CHUNK)."""


def is_png(data: bytes) -> bool:
    """Whether a file begins as a PNG does."""
    return data.startswith(_PNG)


def is_jpeg(data: bytes) -> bool:
    """Whether a file begins as a JPEG does."""
    return data.startswith(b"\xff\xd8")


def without_extras(png: bytes) -> bytes:
    """A PNG without its texts, and without a colour profile that is too long (sRGB is then assumed)."""
    kept, at = [_PNG], len(_PNG)
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        after = at + 12 + length
        if kind not in _TEXTS and not (kind == b"iCCP" and _is_long(png[at + 8 : at + 8 + length])):
            kept.append(png[at:after])
        at = after
    return b"".join(kept)


def _is_long(profile: bytes) -> bool:
    """Whether the profile of an iCCP chunk (name, zero, method, zlib) is longer than Pillow reads."""
    try:
        return len(zlib.decompressobj().decompress(profile.partition(b"\0")[2][1:], _LONG + 1)) > _LONG
    except zlib.error:
        return False


def with_ends(jpeg: bytes) -> tuple[bytes, bytes]:
    """A JPEG with an end mark, twice, after other bits: where pixels are missing, the two show different ones in their place."""
    one, other = (jpeg + bits * 32 + b"\xff\xd9" for bits in (b"\0\0", b"\x95\x6a"))
    return one, other
