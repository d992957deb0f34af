"""The ``.sem`` file: a layout, a level for each concept, and the concepts' features in order of importance.

::

    magic, version | domain, side, flags | model | [size] | [care] | length | head: layout, levels, lengths | check |
    group of concepts | check | group of concepts | check ...

docs/bitstream.md gives every byte. The head is one entropy-coded message, and so is each group; who belongs to a group
follows from layout and levels. Each check is a CRC-16 seeded with the tables, so a file of other tables is refused like a
damaged one. What arrived of a truncated file is shown: a damaged group costs its own concepts and no others.

:func:`pack` writes a :class:`Stream`, :func:`unpack` reads one; both hold the list of coded concepts in the order of the file.
"""

from __future__ import annotations

import hashlib
import struct
from binascii import crc_hqx
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from semcast.codec.concepts import CATEGORIES, CHANNELS, LEVELS, SIDES, SIZE, STEPS, Concept, Indices, Layout
from semcast.codec.entropy import Decoder, Encoder, Frequencies, normalise, uniform
from semcast.codec.feature_coder import FeatureTables, level_frequencies
from semcast.codec.tables import Tables
from semcast.errors import BadInput, Damaged

MAGIC = b"\x5e\xc1"
"""The last four bits are the version."""

DOMAIN_NAMES = ("street", "face")
"""The domains by their numbers in a file; a photo of ``SIZE`` x ``SIZE`` need not say its size."""

FULL_GROUP = 256
"""A group is closed once its indices would take so many bytes at log2(L) bits each."""

MAX_FILE = 1 << 16
"""No file is longer: 256 cells at the finest level and a layout of 64 x 64 are a fraction of it."""

CHECK = 2
"""Bytes of a check."""

_PLAIN_BITS = (0, 16, 26, 38, 51, 66)  # of an index at each level, in 1/16 bit
_LONG = normalise(np.array([[64, 16, 4, *[1] * 13]], np.int64))  # of a group's length, what lies above the low byte
_BYTE = uniform(256)


@dataclass(frozen=True)
class Stream:
    """What a file says.

    Args:
        domain: one of :data:`DOMAIN_NAMES`.
        layout: uint8 ``[side, side]``, side in 16, 32, 64.
        concepts: all those of the layout in the order of the file (:meth:`Tables.find_concepts`), each with its level and, above
            level 0, its indices; after :func:`unpack` the indices that did not arrive whole are None.
        model: 16 bits that name the networks, see :func:`model_number`.
        width, height: what the photo is stretched back to.
        care: factors 1..255 on the importance of categories, where the user gave some.
        notes: what is worth saying about the file, a sentence each.
    """

    domain: str
    layout: Layout
    concepts: tuple[Concept, ...]
    model: int = 0
    width: int = SIZE
    height: int = SIZE
    care: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[int, ...]:
        """The categories whose features were in the file but did not arrive whole."""
        return tuple(concept.category for concept in self.concepts if concept.lost)


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
    return DOMAIN_NAMES[_read_magic(data)[0]]


# ---- what both ends do alike -----------------------------------------------------------------------------------------


def form_groups(concepts: Sequence[Concept], levels: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Decide which concepts (by their place in the list) share a message: it is closed at :data:`FULL_GROUP` plain bytes.

    Args:
        levels: one for each concept; those at 0 are in no group.
    """
    groups: list[tuple[int, ...]] = []
    group: list[int] = []
    plain = 0
    for i, (concept, level) in enumerate(zip(concepts, levels, strict=True)):
        if level:
            group.append(i)
            plain += len(concept.cells) * CHANNELS * _PLAIN_BITS[level]
        if plain >= FULL_GROUP * 8 * 16:
            groups.append(tuple(group))
            group, plain = [], 0
    return (*groups, tuple(group)) if group else tuple(groups)


def head_symbols(levels: Sequence[int], lengths: Sequence[int]) -> Iterator[tuple[int, Frequencies]]:
    """Give what follows the layout in the head: levels, each expected near the one before it, and lengths of the groups."""
    previous = 2
    for level in levels:
        yield level, level_frequencies(previous)
        previous = level
    for length in lengths:
        yield length >> 8, _LONG
        yield length & 255, _BYTE


def _crc(seed: int, number: int, part: bytes) -> bytes:
    return struct.pack(">H", crc_hqx(bytes([number]) + part, seed))


# ---- writing ---------------------------------------------------------------------------------------------------------


def pack(stream: Stream, tables: Tables | None = None) -> bytes:
    """Write the file.

    Args:
        tables: those of its domain that ship where none are given.

    Raises:
        BadInput: what the stream says cannot be written.
    """
    _check_header(stream)
    tables = tables or Tables.load(stream.domain)
    _check_concepts(stream, tables)
    levels = [concept.level for concept in stream.concepts]
    messages = []
    for group in form_groups(stream.concepts, levels):
        encoder = Encoder()
        for i in group:
            tables.features.encode(stream.concepts[i], encoder)
        messages.append(encoder.finish())
    encoder = Encoder()
    tables.layouts[len(stream.layout)].encode(stream.layout, encoder)
    for symbol, frequencies in head_symbols(levels, [len(message) for message in messages]):
        encoder.put(np.array([symbol]), frequencies)
    head = encoder.finish()
    front = pack_front(stream) + pack_length(len(head)) + head
    return b"".join(part + _crc(tables.seed, i, part) for i, part in enumerate((front, *messages)))


def _check_header(stream: Stream) -> None:
    if stream.domain not in DOMAIN_NAMES:
        raise BadInput(f"unknown domain {stream.domain!r}; the known are {', '.join(DOMAIN_NAMES)}")
    if stream.layout.shape not in [(side, side) for side in SIDES] or stream.layout.max() >= CATEGORIES:
        raise BadInput(f"a layout has 16, 32 or 64 places a side and categories below {CATEGORIES}")
    if not (0 < stream.width <= 1 << 16 and 0 < stream.height <= 1 << 16):
        raise BadInput(f"width and height must be between 1 and 65536, not {stream.width} x {stream.height}")
    if any(not (0 <= c < CATEGORIES and 1 <= factor <= 255) for c, factor in stream.care.items()):
        raise BadInput("care must give whole factors from 1 to 255 to categories of the domain")


def _check_concepts(stream: Stream, tables: Tables) -> None:
    """The receiver finds the list in the layout again: another one would be read as something else."""
    expected = tables.find_concepts(stream.layout, stream.care)
    same = [c.category for c in stream.concepts] == [c.category for c in expected]
    if not (same and all(np.array_equal(a.cells, b.cells) for a, b in zip(stream.concepts, expected, strict=True))):
        raise BadInput("the concepts must be all those of the layout, in the order of the file")
    for concept in stream.concepts:
        if not 0 <= concept.level < LEVELS:
            raise BadInput(f"levels go from 0 to {LEVELS - 1}")
        shape, steps, indices = (len(concept.cells), CHANNELS), STEPS[concept.level], concept.indices
        if concept.level and (indices is None or indices.shape != shape or indices.max() >= steps):
            raise BadInput(f"category {concept.category} needs {shape[0]} x {CHANNELS} indices below {steps}")


def pack_front(stream: Stream) -> bytes:
    """Write everything before the head's length."""
    sized = (stream.width, stream.height) != (SIZE, SIZE)
    flags = DOMAIN_NAMES.index(stream.domain) | SIDES.index(len(stream.layout)) << 3 | sized << 5 | bool(stream.care) << 6
    front = MAGIC + struct.pack(">BH", flags, stream.model)
    if sized:
        front += struct.pack(">HH", stream.width - 1, stream.height - 1)
    if stream.care:
        front += bytes([len(stream.care)]) + b"".join(bytes(pair) for pair in sorted(stream.care.items()))
    return front


def pack_length(value: int) -> bytes:
    """Write the head's length: seven bits a byte, the high ones first; the last byte is below 128."""
    return (bytes([128 | value >> 7]) if value >> 7 else b"") + bytes([value & 127])


# ---- reading ---------------------------------------------------------------------------------------------------------


def unpack(data: bytes, tables: Tables | None = None, *, model: int | None = None) -> Stream:
    """Read what a file says, as far as it arrived.

    Args:
        tables: those of its domain that ship where none are given.
        model: the number of the networks at hand; a file made for others is refused.

    Raises:
        BadInput: it is no .sem file, of another version or for other networks.
        Damaged: nothing of it can be shown.
    """
    return take_apart(data, tables or Tables.load(domain_of(data)), model).stream


@dataclass(frozen=True)
class Front:
    """The front of a file, where the head begins and where it ends."""

    domain: str
    side: int
    model: int
    width: int
    height: int
    care: dict[int, int]
    head: int
    end: int


@dataclass(frozen=True)
class Group:
    """A group as it arrived: its concepts, how many bytes of its message are there, whether the whole has a right check."""

    concepts: tuple[Concept, ...]
    there: int
    checked: bool


@dataclass(frozen=True)
class Contents:
    """A file taken apart; ``lengths`` are those that the head gives to the groups."""

    front: Front
    stream: Stream
    lengths: tuple[int, ...]
    groups: tuple[Group, ...]


def take_apart(data: bytes, tables: Tables, model: int | None = None) -> Contents:
    """Read a file with its sections, for :func:`unpack` and for the receipt of its bytes.

    Raises:
        BadInput, Damaged: as :func:`unpack`.
    """
    front = _read_front(data)
    _check_front(data, front, tables, model)
    decoder = Decoder(data[front.head : front.end])
    layout = tables.layouts[front.side].decode(decoder)
    concepts: list[Concept] = []
    level = 2
    for concept in tables.find_concepts(layout, front.care):
        level = int(decoder.get(level_frequencies(level))[0])
        concepts.append(replace(concept, level=level))
    members = form_groups(concepts, [concept.level for concept in concepts])
    lengths = tuple(256 * int(decoder.get(_LONG)[0]) + int(decoder.get(_BYTE)[0]) for _ in members)
    groups, notes = _read_groups(data, front.end + CHECK, [[concepts[i] for i in places] for places in members], lengths, tables)
    arrived = {concept.category: concept for group in groups for concept in group.concepts}
    stream = Stream(
        front.domain, layout, tuple(arrived.get(concept.category, concept) for concept in concepts), front.model,
        front.width, front.height, front.care, tuple(notes),
    )  # fmt: skip
    return Contents(front, stream, lengths, tuple(groups))


def _read_magic(data: bytes) -> tuple[int, int]:
    """Read domain and side (their numbers).

    Raises:
        BadInput: it is no .sem file, or of another version.
        Damaged: its first bytes are.
    """
    if len(data) > MAX_FILE:
        raise BadInput("this is no .sem file: it is too long")
    if len(data) < 3 or data[0] != MAGIC[0] or data[1] & 0xF0 != MAGIC[1] & 0xF0:
        raise BadInput("this is no .sem file")
    if data[1] != MAGIC[1]:
        raise BadInput(f"the file is of version {data[1] & 15}; this semcast reads version {MAGIC[1] & 15}")
    domain, side = data[2] & 7, data[2] >> 3 & 3
    if domain >= len(DOMAIN_NAMES) or side >= len(SIDES) or data[2] >> 7:
        raise Damaged("the file's header is damaged")
    return domain, side


def _read_front(data: bytes) -> Front:
    domain, side = _read_magic(data)
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
    return Front(DOMAIN_NAMES[domain], SIDES[side], model, width, height, care, at, at + length)


def _check_front(data: bytes, front: Front, tables: Tables, model: int | None) -> None:
    if tables.domain != front.domain:
        raise BadInput(f"the file shows a {front.domain}, the tables are for a {tables.domain}")
    if front.end + CHECK > len(data):
        raise Damaged("the file ends within its layout: nothing of it can be shown")
    if data[front.end : front.end + CHECK] != _crc(tables.seed, 0, data[: front.end]):
        raise Damaged(f"the file's layout is damaged, or was written with other tables than bits-{front.domain} here")
    if model is not None and model != front.model:
        raise BadInput(f"the file was made for other networks ({front.model:04x}) than those here ({model:04x})")


def _read_groups(
    data: bytes, at: int, members: Sequence[Sequence[Concept]], lengths: Sequence[int], tables: Tables
) -> tuple[list[Group], list[str]]:
    """Read the groups, the first of which begins there, and say what is wrong with them."""
    groups, notes = list[Group](), list[str]()
    for number, (concepts, length) in enumerate(zip(members, lengths, strict=True), 1):
        section = data[at : at + length + CHECK]
        at += length + CHECK
        group = _read_group(section, length, number, concepts, tables)
        groups.append(group)
        if not section:
            notes.append(f"section {number} of {len(lengths)} is missing")
        elif len(section) < length + CHECK:
            notes.append(f"the file ends within section {number} of {len(lengths)}")
        elif not group.checked:
            notes.append(f"section {number} of {len(lengths)} is damaged")
    if at < len(data):
        notes.append(f"{len(data) - at} bytes follow that belong to nothing")
    return groups, notes


def _read_group(section: bytes, length: int, number: int, concepts: Sequence[Concept], tables: Tables) -> Group:
    """Read a group and its check: all of it, none of it where it is damaged, what its beginning decides where it is cut."""
    message, check = section[:length], section[length:]
    if len(check) < CHECK:
        found, checked = _decode_beginning(message, concepts, tables.features), False
    else:
        checked = check == _crc(tables.seed, number, message)
        found = _decode(message, concepts, tables.features) if checked else {}
    members = tuple(replace(concept, indices=found.get(concept.category)) for concept in concepts)
    return Group(members, len(message), checked)


def _decode(message: bytes, concepts: Sequence[Concept], features: FeatureTables, fill: int = 0) -> dict[int, Indices]:
    """Decode the indices of a message by category, of as many concepts as decode."""
    decoder = Decoder(message, fill)
    found: dict[int, Indices] = {}
    for concept in concepts:
        try:
            found[concept.category] = features.decode(concept, decoder)
        except Damaged:
            break
    return found


def _decode_beginning(message: bytes, concepts: Sequence[Concept], features: FeatureTables) -> dict[int, Indices]:
    """Decode what the beginning of a message decides: what is alike whether zeros or ones follow."""
    low, high = (_decode(message, concepts, features, fill) for fill in (0, 255))
    found: dict[int, Indices] = {}
    for concept in concepts:
        first, last = low.get(concept.category), high.get(concept.category)
        if first is None or last is None or not np.array_equal(first, last):
            break
        found[concept.category] = first
    return found
