"""Bytes of photos that every viewer shows and Pillow refuses: the same without what is in its way.

A PNG may hold texts or a colour profile longer than Pillow reads, and a JPEG may lack its end mark: all pixels are there.
"""

from __future__ import annotations

import zlib

_PNG = b"\x89PNG\r\n\x1a\n"
_PACKED = (b"zTXt", b"iTXt")
_TURNS = (b"XML:com.adobe.xmp", b"Raw profile type exif")
"""Texts that may say which way is up."""
_LONG = 1 << 20
"""Bytes of a profile or of a packed text; Pillow's own limit (PngImagePlugin.MAX_TEXT_CHUNK)."""
_MOST = 16 << 20
"""Bytes of all texts that are kept, well below Pillow's limit (MAX_TEXT_MEMORY)."""


def is_png(data: bytes) -> bool:
    """Whether a file begins as a PNG does."""
    return data.startswith(_PNG)


def is_jpeg(data: bytes) -> bool:
    """Whether a file begins as a JPEG does."""
    return data.startswith(b"\xff\xd8")


def without_extras(png: bytes) -> bytes:
    """A PNG without the texts that are in the way, and without a colour profile that is too long (sRGB is then assumed).

    A text that may say which way is up stays even if it is long: it is written anew without being packed.
    """
    kept, at, room = [_PNG], len(_PNG), _MOST
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        body, after = png[at + 8 : at + 8 + length], at + 12 + length
        if kind == b"tEXt" or kind in _PACKED:
            text = _readable(kind, body) if png[after - 4 : after] == _check(kind, body) else b""
            if len(text) <= room:
                room -= len(text)
                kept.append(text)
        elif not (kind == b"iCCP" and _is_long(body.partition(b"\0")[2][1:])):
            kept.append(png[at:after])
        at = after
    return b"".join(kept)


def _readable(kind: bytes, body: bytes) -> bytes:
    """A text as a chunk that Pillow reads; nothing where it is too long or damaged."""
    name, _, rest = body.partition(b"\0")
    if kind == b"tEXt" or (kind == b"iTXt" and rest[:1] == b"\0"):
        return _chunk(kind, body)
    head = 2 if kind == b"iTXt" else 1  # whether it is packed, and how
    tongue, packed = b"", rest[head:]
    if kind == b"iTXt":
        language, _, packed = packed.partition(b"\0")
        translated, _, packed = packed.partition(b"\0")
        tongue = language + b"\0" + translated + b"\0"
    if rest[head - 1 : head] != b"\0":
        return b""
    if not _is_long(packed):
        return _chunk(kind, body)
    text = _unpacked(packed, _MOST) if name in _TURNS else None
    if text is None:
        return b""
    return _chunk(b"tEXt", name + b"\0" + text) if kind == b"zTXt" else _chunk(kind, name + b"\0\0\0" + tongue + text)


def _is_long(packed: bytes) -> bool:
    """Whether packed bytes are more than Pillow reads; what cannot be unpacked it passes over."""
    return _unpacked(packed, _LONG) is None


def _unpacked(packed: bytes, most: int) -> bytes | None:
    """Packed bytes, none where they are damaged; None where they are more than ``most``."""
    try:
        text = zlib.decompressobj().decompress(packed, most + 1)
    except zlib.error:
        return b""
    return text if len(text) <= most else None


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + _check(kind, body)


def _check(kind: bytes, body: bytes) -> bytes:
    return zlib.crc32(kind + body).to_bytes(4, "big")
