"""The front of a ``.sem`` file: what it is, for which networks, and what it shows; everything before its first message."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from semcast.codec.concepts import CATEGORIES, SIDES, SIZE
from semcast.codec.ladder import ladder_of
from semcast.errors import BadInput, Damaged

MAGIC = b"\x5e\xc0"
"""The last four bits are the version's."""

DOMAIN_NAMES = ("street", "face")
"""The domains by their numbers in a file; a photo of ``SIZE`` x ``SIZE`` need not say its size."""

MAX_FILE = 1 << 16
"""No file is longer: 256 cells at the finest level and a layout of 64 x 64 are a fraction of it."""


@dataclass(frozen=True)
class Front:
    """What the front says.

    Args:
        version: of the format.
        domain: one of :data:`DOMAIN_NAMES`.
        side: of the layout.
        model: 16 bits that name the networks, see :func:`model_number`.
        width, height: what the photo is stretched back to.
        care: factors on the importance of categories.
    """

    version: int
    domain: str
    side: int
    model: int = 0
    width: int = SIZE
    height: int = SIZE
    care: Mapping[int, int] = field(default_factory=dict)


def model_number(*fingerprints: str) -> int:
    """Derive the 16 bits that stand for the fingerprints of all networks that a file needs.

    >>> model_number("a", "b") == model_number("b", "a")
    False
    """
    return int.from_bytes(hashlib.sha256(" ".join(fingerprints).encode()).digest()[:2], "big")


def domain_of(data: bytes) -> str:
    """Read which domain a file is for.

    Raises:
        BadInput: it is no .sem file, or of another version.
        Damaged: its first bytes are.
    """
    return DOMAIN_NAMES[_read_magic(data)[1]]


def version_of(data: bytes) -> int:
    """Read which version of the format a file is of; raises as :func:`domain_of`."""
    return _read_magic(data)[0]


def pack_front(front: Front) -> bytes:
    """Write everything before the head's length."""
    sized = (front.width, front.height) != (SIZE, SIZE)
    flags = DOMAIN_NAMES.index(front.domain) | SIDES.index(front.side) << 3 | sized << 5 | bool(front.care) << 6
    data = MAGIC[:1] + struct.pack(">BBH", MAGIC[1] | front.version, flags, front.model)
    if sized:
        data += struct.pack(">HH", front.width - 1, front.height - 1)
    if front.care:
        data += bytes([len(front.care)]) + b"".join(bytes(pair) for pair in sorted(front.care.items()))
    return data


def pack_length(value: int) -> bytes:
    """Write the head's length: seven bits a byte, the high ones first; the last byte is below 128."""
    return (bytes([128 | value >> 7]) if value >> 7 else b"") + bytes([value & 127])


def _read_magic(data: bytes) -> tuple[int, int, int]:
    """Read the version, domain and side (their numbers).

    Raises:
        BadInput: it is no .sem file, or of another version.
        Damaged: its first bytes are.
    """
    if len(data) > MAX_FILE:
        raise BadInput("this is no .sem file: it is too long")
    if len(data) < 3 or data[0] != MAGIC[0] or data[1] & 0xF0 != MAGIC[1] & 0xF0:
        raise BadInput("this is no .sem file")
    ladder_of(data[1] & 15)
    domain, side = data[2] & 7, data[2] >> 3 & 3
    if domain >= len(DOMAIN_NAMES) or side >= len(SIDES) or data[2] >> 7:
        raise Damaged("the file's header is damaged")
    return data[1] & 15, domain, side


def read_front(data: bytes) -> tuple[Front, int, int]:
    """Read the front; where the head begins and where it ends.

    Raises:
        BadInput, Damaged: as :func:`domain_of`, or the file ends within it.
    """
    version, domain, side = _read_magic(data)
    try:
        (model,) = struct.unpack_from(">H", data, 3)
        width, height, care, at = SIZE, SIZE, {}, 5
        if data[2] >> 5 & 1:
            width, height = (value + 1 for value in struct.unpack_from(">HH", data, at))
            at += 4
        at_care = at
        if data[2] >> 6 & 1:
            pairs = data[at + 1 : at + 1 + 2 * data[at]]
            care = dict(zip(pairs[::2], pairs[1::2], strict=True))
            at += 1 + 2 * data[at]
        length, at = data[at] & 127, at + 1
        if data[at - 1] >> 7:
            length, at = length << 7 | data[at] & 127, at + 1
    except (struct.error, IndexError, ValueError):
        raise Damaged("the file ends within its header: nothing of it can be shown") from None
    if data[2] >> 6 & 1 and (len(care) != data[at_care] or not care or max(care) >= CATEGORIES or not all(care.values())):
        raise Damaged("the file's header is damaged: it cares for what there is not")  # a right check is made by anybody
    return Front(version, DOMAIN_NAMES[domain], SIDES[side], model, width, height, care), at, at + length
