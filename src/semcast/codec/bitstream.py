"""The ``.sem`` file: a layout, a level for each concept, and the concepts' features in order of importance.

::

    magic, version | domain, side, flags | model | [size] | [care] | length | head: layout, levels, lengths | check |
    group of concepts | check | group of concepts | check ...

docs/bitstream.md gives every byte. The head is one entropy-coded message, and so is each group; who belongs to a group
follows from layout and levels. Each check is a CRC-16 seeded with the tables, so a file of other tables is refused like a
damaged one. What arrived of a truncated file is shown: a damaged group costs its own concepts and no others.
"""

from __future__ import annotations

import hashlib
import math
import struct
from binascii import crc_hqx
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from semcast.codec.entropy import TOTAL, Decoder, Encoder, Frequencies, cost_bits, normalised, uniform
from semcast.codec.feature_coder import CHANNELS, LEVELS, STEPS, Cells, FeatureTables, Indices, default_tables, level_frequencies
from semcast.codec.layout_coder import CATEGORIES, SIDES, LayoutCoder, LayoutTables, cells_of
from semcast.domains import domain_named
from semcast.errors import SemcastError
from semcast.weights import load

MAGIC = b"\x5e\xc1"
"""The last four bits are the version."""

DOMAIN_NAMES = ("street", "face")
SIZE = 256
"""Width and height that need not be said."""

FULL_GROUP = 256
"""A group is closed once its indices would take so many bytes at log2(L) bits each."""

MAX_FILE = 1 << 16
"""No file is longer: 256 cells at the finest level and a layout of 64 x 64 are a fraction of it."""

_PLAIN_BITS = (0, 16, 26, 38, 51, 66)  # of an index at each level, in 1/16 bit
_CHECK = 2
_LONG = normalised(np.array([[64, 16, 4, *[1] * 13]], np.int64))  # of a group's length, what lies above the low byte
_BYTE = uniform(256)


@dataclass(frozen=True)
class Stream:
    """What a file says.

    Args:
        domain: one of :data:`DOMAIN_NAMES`.
        layout: uint8 ``[side, side]``, side in 16, 32, 64.
        levels: level 0..5 of each category that has a cell; what is not named is skipped.
        indices: uint8 ``[cells, 8]`` of each category with a level above 0, cells in raster order.
        model: 16 bits that name the networks, see :func:`model_number`.
        width, height: what the photo is stretched back to.
        care: factors 1..255 on the importance of categories, where the user gave some.
        missing: categories whose features were in the file but did not arrive whole; their level is 0 here.
        notes: what is worth saying about the file, a sentence each.
    """

    domain: str
    layout: NDArray[np.uint8]
    levels: Mapping[int, int]
    indices: Mapping[int, Indices]
    model: int = 0
    width: int = SIZE
    height: int = SIZE
    care: Mapping[int, int] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Concept:
    """A category and its cells: flat places in the 16 x 16 grid, ascending."""

    category: int
    cells: Cells


@dataclass(frozen=True)
class Receipt:
    """Bytes of each section; those that share a message have their share of its bits. The sum is the file's length.

    Args:
        header: magic, domain, model, size, care and the head's length.
        layout: the layout.
        levels: levels and lengths of groups.
        checks: all CRCs.
        concepts: each category's features, in the order of the file.
        unread: bytes that could not be read, or that nothing asks for.
    """

    total: int
    header: float
    layout: float
    levels: float
    checks: float
    concepts: Mapping[int, float]
    unread: float


@dataclass(frozen=True)
class Tables:
    """All that the entropy coder of a domain expects.

    Args:
        layouts: a coder for each side.
        features: the tables of the features.
        fingerprint: of the weights they came from; it seeds the checks.
    """

    domain: str
    layouts: Mapping[int, LayoutCoder]
    features: FeatureTables
    fingerprint: str

    @property
    def importance(self) -> tuple[int, ...]:
        """What a cell of each category counts."""
        return domain_named(self.domain).importance

    @property
    def seed(self) -> int:
        """Where the checks begin."""
        text = f"{self.fingerprint} {self.importance}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:2], "big")

    @classmethod
    def load(cls, domain: str) -> Tables:
        """The tables that ship, ``bits-<domain>``.

        Raises:
            SemcastError: an unknown domain, or no such weights.
        """
        return _loaded(domain_named(domain).name)


@lru_cache(maxsize=len(DOMAIN_NAMES))
def _loaded(domain: str) -> Tables:
    checkpoint = load(f"bits-{domain}", kind="bits")
    layouts = {}
    for side in SIDES:
        named = {name: tensor.numpy() for name, tensor in checkpoint.part(f"layout{side}").items()}
        layouts[side] = LayoutCoder(LayoutTables(**named))
    features = checkpoint.part("features")
    learned = FeatureTables({int(level): tensor.numpy() for level, tensor in features.items()})
    return Tables(domain, layouts, learned if features else default_tables(), checkpoint.fingerprint)


def model_number(*fingerprints: str) -> int:
    """16 bits that stand for the fingerprints of all networks that a file needs.

    >>> model_number("a", "b") == model_number("b", "a")
    False
    """
    return int.from_bytes(hashlib.sha256(" ".join(fingerprints).encode()).digest()[:2], "big")


def concepts_in_order(
    layout: NDArray[np.uint8], importance: Sequence[int], care: Mapping[int, int] | None = None
) -> tuple[Concept, ...]:
    """The concepts of a layout by importance · care · cells, the largest first, the lower category where they are equal."""
    cells = cells_of(layout).reshape(-1)
    concepts = [Concept(int(category), np.flatnonzero(cells == category)) for category in np.unique(cells)]
    care = care or {}
    weights = {c.category: importance[c.category] * care.get(c.category, 1) * len(c.cells) for c in concepts}
    return tuple(sorted(concepts, key=lambda concept: (-weights[concept.category], concept.category)))


def groups_of(concepts: Sequence[Concept], levels: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Which concepts (by their place in the order) share a message: closed once they have :data:`FULL_GROUP` plain bytes."""
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


def pack(stream: Stream, tables: Tables | None = None) -> bytes:
    """The file.

    Raises:
        SemcastError: what the stream says cannot be written.
    """
    tables = tables or Tables.load(stream.domain)
    _check(stream)
    concepts = concepts_in_order(stream.layout, tables.importance, stream.care)
    levels = [stream.levels.get(concept.category, 0) for concept in concepts]
    groups = groups_of(concepts, levels)
    messages = []
    for group in groups:
        encoder = Encoder()
        for i in group:
            category, cells = concepts[i].category, concepts[i].cells
            indices = stream.indices.get(category)
            if indices is None or indices.shape != (len(cells), CHANNELS) or indices.max() >= STEPS[levels[i]]:
                raise SemcastError(f"category {category} needs {len(cells)} x {CHANNELS} indices below {STEPS[levels[i]]}")
            tables.features.encode(category, cells, indices, levels[i], encoder)
        messages.append(encoder.finish())
    encoder = Encoder()
    tables.layouts[len(stream.layout)].encode(stream.layout, encoder)
    for symbol, frequencies in _head_symbols(levels, [len(message) for message in messages]):
        encoder.put(np.array([symbol]), frequencies)
    head = encoder.finish()
    front = _front(stream) + _length(len(head)) + head
    checked = [front, *messages]
    return b"".join(part + _crc(tables.seed, i, part) for i, part in enumerate(checked))


def unpack(data: bytes, tables: Tables | None = None, *, model: int | None = None) -> Stream:
    """What a file says, as far as it arrived.

    Args:
        tables: those of its domain that ship where none are given.
        model: the number of the networks at hand; a file made for others is refused.

    Raises:
        SemcastError: no .sem file, of another version, for other networks, or nothing of it can be shown.
    """
    read = _read(data, tables or Tables.load(domain_of(data)), model)
    indices = {category: found for group in read.groups for category, found in group.found.items()}
    sent = {concept.category: level for concept, level in zip(read.concepts, read.levels, strict=True)}
    missing = tuple(category for category, level in sent.items() if level and category not in indices)
    return Stream(
        domain=read.front.domain, layout=read.layout, indices=indices, missing=missing, notes=read.notes,
        levels={category: 0 if category in missing else level for category, level in sent.items()},
        model=read.front.model, width=read.front.width, height=read.front.height, care=read.front.care,
    )  # fmt: skip


def receipt(data: bytes, tables: Tables | None = None) -> Receipt:
    """Where the bytes of a file went.

    Raises:
        SemcastError: as :func:`unpack`.
    """
    tables = tables or Tables.load(domain_of(data))
    read = _read(data, tables, None)
    front, layout_bits = read.front, tables.layouts[read.front.side].cost_bits(read.layout)
    other_bits = sum(cost_bits(np.array([symbol]), row) for symbol, row in _head_symbols(read.levels, read.lengths))
    head = (front.end - front.head) / (layout_bits + other_bits)
    checks = _CHECK
    concepts: dict[int, float] = {}
    for group in read.groups:
        bits = {
            concept.category: tables.features.cost_bits(concept.category, concept.cells, group.found[concept.category], level)
            for concept, level in group.members
            if concept.category in group.found
        }
        checks += _CHECK * group.checked
        # of a group that was cut, the concepts that arrived fill as many bytes as they have bits
        used = group.there if group.checked else min(group.there, sum(bits.values()) / 8)
        concepts |= {category: used * share / sum(bits.values()) for category, share in bits.items()}
    known = front.end + checks + sum(concepts.values())
    return Receipt(
        len(data), front.head, head * layout_bits, head * other_bits, checks, concepts, max(len(data) - known, 0.0)
    )


def domain_of(data: bytes) -> str:
    """The domain that a file is for.

    Raises:
        SemcastError: no .sem file, or of another version.
    """
    return DOMAIN_NAMES[_first_bytes(data)[0]]


class Sizes:
    """What a photo's file will take at any choice of levels, without writing it.

    Args:
        layout: uint8 ``[side, side]`` as it will be coded.
        features: ``[8, 16, 16]`` in (-1, 1).
        care, width, height: as in :class:`Stream`.

    ``concepts`` are in the order of the file; ``bits`` ``[concepts, 6]`` is the exact cost of each at each level.
    """

    def __init__(
        self, tables: Tables, layout: NDArray[np.uint8], features: NDArray[np.floating], *,
        care: Mapping[int, int] | None = None, width: int = SIZE, height: int = SIZE,
    ) -> None:  # fmt: skip
        self.concepts = concepts_in_order(layout, tables.importance, care)
        costs = tables.features.costs(features, cells_of(layout)).reshape(LEVELS, -1)
        self.bits = np.stack([costs[:, concept.cells].sum(1) for concept in self.concepts])
        self.layout_bits = tables.layouts[len(layout)].cost_bits(layout)
        self._places = layout.size
        self._front = len(_front(Stream("street", layout, {}, {}, width=width, height=height, care=care or {})))

    def at_most(self, levels: Sequence[int]) -> int:
        """Bytes that the file will not exceed; what is written is shorter by at most one byte a section.

        Args:
            levels: one for each of ``concepts``.
        """
        lengths = []
        for group in groups_of(self.concepts, levels):
            bits = sum(self.bits[i, levels[i]] for i in group)
            values = CHANNELS * sum(len(self.concepts[i].cells) for i in group)
            lengths.append(_message_bytes(bits, values))
        bits = self.layout_bits
        for symbol, frequencies in _head_symbols(levels, lengths):
            bits += math.log2(TOTAL / frequencies[0, symbol])  # cost_bits of one symbol, without its arrays
        head = _message_bytes(bits, self._places)
        return self._front + len(_length(head)) + head + sum(lengths) + _CHECK * (1 + len(lengths))


def _message_bytes(bits: float, symbols: int) -> int:
    """Bytes of a message: what its range loses to rounding is far below 2^-11 bits a symbol."""
    return int(np.ceil((bits + symbols / 2048) / 8))


def _head_symbols(levels: Sequence[int], lengths: Sequence[int]) -> Iterator[tuple[int, Frequencies]]:
    """What follows the layout in the head: the levels, each expected near the one before it, and the lengths of the groups."""
    previous = 2
    for level in levels:
        yield level, level_frequencies(previous)
        previous = level
    for length in lengths:
        yield length >> 8, _LONG
        yield length & 255, _BYTE


def _check(stream: Stream) -> None:
    if stream.domain not in DOMAIN_NAMES:
        raise SemcastError(f"unknown domain {stream.domain!r}; the known are {', '.join(DOMAIN_NAMES)}")
    if stream.layout.shape not in [(side, side) for side in SIDES] or stream.layout.max() >= CATEGORIES:
        raise SemcastError(f"a layout has 16, 32 or 64 places a side and categories below {CATEGORIES}")
    if not (0 < stream.width <= 1 << 16 and 0 < stream.height <= 1 << 16):
        raise SemcastError(f"width and height must be between 1 and 65536, not {stream.width} x {stream.height}")
    if any(not (0 <= c < CATEGORIES and 1 <= factor <= 255) for c, factor in stream.care.items()):
        raise SemcastError("care must give whole factors from 1 to 255 to categories of the domain")
    if any(not 0 <= level < LEVELS for level in stream.levels.values()):
        raise SemcastError(f"levels go from 0 to {LEVELS - 1}")


def _front(stream: Stream) -> bytes:
    """Everything before the head's length."""
    sized = (stream.width, stream.height) != (SIZE, SIZE)
    flags = DOMAIN_NAMES.index(stream.domain) | SIDES.index(len(stream.layout)) << 3 | sized << 5 | bool(stream.care) << 6
    front = MAGIC + struct.pack(">BH", flags, stream.model)
    if sized:
        front += struct.pack(">HH", stream.width - 1, stream.height - 1)
    if stream.care:
        front += bytes([len(stream.care)]) + b"".join(bytes(pair) for pair in sorted(stream.care.items()))
    return front


def _length(value: int) -> bytes:
    """Seven bits a byte, the high ones first; the last byte is below 128."""
    return (bytes([128 | value >> 7]) if value >> 7 else b"") + bytes([value & 127])


def _crc(seed: int, number: int, part: bytes) -> bytes:
    return struct.pack(">H", crc_hqx(bytes([number]) + part, seed))


def _first_bytes(data: bytes) -> tuple[int, int]:
    """Domain and side (their numbers).

    Raises:
        SemcastError: no .sem file, or of another version.
    """
    if len(data) > MAX_FILE:
        raise SemcastError("this is no .sem file: it is too long")
    if len(data) < 3 or data[0] != MAGIC[0] or data[1] & 0xF0 != MAGIC[1] & 0xF0:
        raise SemcastError("this is no .sem file")
    if data[1] != MAGIC[1]:
        raise SemcastError(f"the file is of version {data[1] & 15}; this semcast reads version {MAGIC[1] & 15}")
    domain, side = data[2] & 7, data[2] >> 3 & 3
    if domain >= len(DOMAIN_NAMES) or side >= len(SIDES) or data[2] >> 7:
        raise SemcastError("the file's header is damaged")
    return domain, side


@dataclass(frozen=True)
class _Front:
    """The front of a file, where the head begins and ends."""

    domain: str
    side: int
    model: int
    width: int
    height: int
    care: dict[int, int]
    head: int
    end: int


def _read_front(data: bytes) -> _Front:
    domain, side = _first_bytes(data)
    try:
        (model,) = struct.unpack_from(">H", data, 3)
        width, height, care, at = SIZE, SIZE, {}, 5
        if data[2] >> 5 & 1:
            width, height = (value + 1 for value in struct.unpack_from(">HH", data, at))
            at += 4
        if data[2] >> 6 & 1:
            pairs = data[at + 1 : at + 1 + 2 * data[at]]
            care = dict(zip(pairs[::2], pairs[1::2], strict=True))
            at += 1 + 2 * data[at]
        length, at = data[at] & 127, at + 1
        if data[at - 1] >> 7:
            length, at = length << 7 | data[at] & 127, at + 1
    except (struct.error, IndexError, ValueError):
        raise SemcastError("the file ends within its header: nothing of it can be shown") from None
    return _Front(DOMAIN_NAMES[domain], SIDES[side], model, width, height, care, at, at + length)


@dataclass(frozen=True)
class _Group:
    """A group as it arrived: its members with their levels, what was decoded, its bytes that are there, whether its check is."""

    members: tuple[tuple[Concept, int], ...]
    found: dict[int, Indices]
    there: int
    checked: bool


@dataclass(frozen=True)
class _Contents:
    """A file taken apart."""

    front: _Front
    layout: NDArray[np.uint8]
    concepts: tuple[Concept, ...]
    levels: tuple[int, ...]
    lengths: tuple[int, ...]
    groups: tuple[_Group, ...]
    notes: tuple[str, ...]


def _read(data: bytes, tables: Tables, model: int | None) -> _Contents:
    front = _read_front(data)
    if tables.domain != front.domain:
        raise SemcastError(f"the file shows a {front.domain}, the tables are for a {tables.domain}")
    if front.end + _CHECK > len(data):
        raise SemcastError("the file ends within its layout: nothing of it can be shown")
    if data[front.end : front.end + _CHECK] != _crc(tables.seed, 0, data[: front.end]):
        raise SemcastError(f"the file's layout is damaged, or was written with other tables than bits-{front.domain} here")
    if model is not None and model != front.model:
        raise SemcastError(f"the file was made for other networks ({front.model:04x}) than those here ({model:04x})")
    decoder = Decoder(data[front.head : front.end])
    layout = tables.layouts[front.side].decode(decoder)
    concepts = concepts_in_order(layout, tables.importance, front.care)
    levels: list[int] = []
    for _ in concepts:
        levels.append(int(decoder.get(level_frequencies(levels[-1] if levels else 2))[0]))
    members = groups_of(concepts, levels)
    lengths = tuple(256 * int(decoder.get(_LONG)[0]) + int(decoder.get(_BYTE)[0]) for _ in members)
    at, groups, notes = front.end + _CHECK, [], []
    for number, (places, length) in enumerate(zip(members, lengths, strict=True), 1):
        section = data[at : at + length + _CHECK]
        at += length + _CHECK
        group = _read_group(section, length, number, tuple((concepts[i], levels[i]) for i in places), tables)
        groups.append(group)
        if not section:
            notes.append(f"section {number} of {len(lengths)} is missing")
        elif len(section) < length + _CHECK:
            notes.append(f"the file ends within section {number} of {len(lengths)}")
        elif not group.checked:
            notes.append(f"section {number} of {len(lengths)} is damaged")
    if at < len(data):
        notes.append(f"{len(data) - at} bytes follow that belong to nothing")
    return _Contents(front, layout, concepts, tuple(levels), lengths, tuple(groups), tuple(notes))


def _read_group(
    section: bytes, length: int, number: int, members: tuple[tuple[Concept, int], ...], tables: Tables
) -> _Group:
    """A group and its check: all of it, none of it where it is damaged, what its beginning decides where it is cut."""
    message, check = section[:length], section[length:]
    if len(check) < _CHECK:
        return _Group(members, _arrived(message, members, tables.features), len(message), False)
    if check != _crc(tables.seed, number, message):
        return _Group(members, {}, length, False)
    return _Group(members, _decoded(message, members, tables.features), length, True)


def _decoded(
    message: bytes, members: Sequence[tuple[Concept, int]], features: FeatureTables, fill: int = 0
) -> dict[int, Indices]:
    """The concepts of a message, as many as decode."""
    decoder = Decoder(message, fill)
    found: dict[int, Indices] = {}
    for concept, level in members:
        try:
            found[concept.category] = features.decode(concept.category, concept.cells, level, decoder)
        except SemcastError:
            break
    return found


def _arrived(message: bytes, members: Sequence[tuple[Concept, int]], features: FeatureTables) -> dict[int, Indices]:
    """The concepts that the beginning of a message decides: alike whether zeros or ones follow."""
    low, high = (_decoded(message, members, features, fill) for fill in (0, 255))
    found: dict[int, Indices] = {}
    for concept, _ in members:
        first, last = low.get(concept.category), high.get(concept.category)
        if first is None or last is None or not np.array_equal(first, last):
            break
        found[concept.category] = first
    return found
