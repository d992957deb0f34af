"""The .sem file: what is packed is unpacked, the cost is the size, and no bytes do harm."""

from __future__ import annotations

import struct
import time
from binascii import crc_hqx
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("constriction")

from semcast.codec.bitstream import Stream, form_groups, pack, take_apart, unpack
from semcast.codec.concepts import (
    CATEGORIES,
    SIDES,
    Concept,
    cells_of,
    find_concepts,
    reduce_labels,
    simplify,
)
from semcast.codec.entropy import TOTAL, Decoder, Encoder, cost_bits, normalise, uniform
from semcast.codec.feature_coder import count_contexts, default_tables, learn_tables
from semcast.codec.front import DOMAIN_NAMES, domain_of, model_number, pack_front
from semcast.codec.ladder import V1, V2
from semcast.codec.layout_coder import NEAR, LayoutCoder, LayoutTables, Waves
from semcast.codec.receipt import itemise
from semcast.codec.sizes import Sizes
from semcast.codec.tables import Tables, load_tables
from semcast.errors import BadInput, Damaged, SemcastError
from semcast.rivals.bit_codecs import load_bit_codec
from semcast.shards import shard_members
from semcast.train.recipes import run

CHANNELS, STEPS, LEVELS = V1.channels, V1.steps, V1.levels


def spread(largest: int, *shape: int) -> np.ndarray:
    """Whole numbers from -largest to largest in no order, the same for ever."""
    return np.arange(np.prod(shape)).reshape(shape) * 7919 % 10007 % (2 * largest + 1) - largest


def layout_tables(side: int, hidden: int = 4) -> LayoutTables:
    """Tables without a pattern, but that they prefer the category to the left."""
    width = hidden + CATEGORIES
    near = spread(200, len(NEAR), CATEGORIES + 1, width)
    left = NEAR.index((0, -1))
    for category in range(CATEGORIES):
        near[left, category, hidden + category] += 3000
    return LayoutTables(
        near=near.astype(np.int16), seen=spread(100, CATEGORIES, width), row=spread(100, side, width),
        column=spread(100, side, width), inner=spread(900, hidden, hidden), bias=spread(9999, hidden),
        outer=spread(900, hidden, CATEGORIES), power=np.round(2.0**20 * 2.0 ** (-np.arange(1281) / 64)).astype(np.int32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables("street", {side: LayoutCoder(layout_tables(side)) for side in SIDES}, default_tables(), "test")


def blobs(side: int, seed: int, categories: int = 8) -> np.ndarray:
    """A layout of a few areas."""
    rng = np.random.default_rng(seed)
    centres, kinds = rng.uniform(0, side, (categories, 2)), rng.integers(0, CATEGORIES, categories)
    places = np.stack(np.mgrid[:side, :side], -1)[:, :, None]
    return kinds[((places - centres) ** 2).sum(-1).argmin(-1)].astype(np.uint8)


def smooth(seed: int) -> np.ndarray:
    """Features ``[8, 16, 16]`` that vary slowly."""
    rng = np.random.default_rng(seed)
    return np.tanh(rng.normal(0, 0.3, (CHANNELS, 16, 16)).cumsum(1).cumsum(2) / 3)


def stream_of(layout: np.ndarray, features: np.ndarray, tables: Tables, seed: int, **more: object) -> Stream:
    """A stream with random levels."""
    rng = np.random.default_rng(seed)
    concepts = tables.find_concepts(layout, more.get("care"))  # type: ignore[arg-type]
    coded = tuple(concept.code(features, int(rng.integers(0, LEVELS)), V1) for concept in concepts)
    return Stream(tables.domain, layout, coded, **more)  # type: ignore[arg-type]


def alike(a: Concept, b: Concept) -> bool:
    """Whether two concepts say the same."""
    same_indices = a.indices is b.indices or a.indices is not None and np.array_equal(a.indices, b.indices)
    return (a.category, a.level) == (b.category, b.level) and np.array_equal(a.cells, b.cells) and same_indices


def same(a: Stream, b: Stream) -> bool:
    return (
        np.array_equal(a.layout, b.layout)
        and all(alike(mine, yours) for mine, yours in zip(a.concepts, b.concepts, strict=True))
        and (a.domain, a.model, a.width, a.height, a.care) == (b.domain, b.model, b.width, b.height, b.care)
    )


class Reference:
    """The range decoder in Python's own whole numbers: 64-bit state, 32-bit words, 24-bit frequencies."""

    def __init__(self, data: bytes) -> None:
        self.data = data + bytes(16)
        self.point, self.at = int.from_bytes(self.data[:8], "big"), 8
        self.lower, self.range = 0, (1 << 64) - 1

    def get(self, frequencies: np.ndarray) -> int:
        scale = self.range >> 24
        quantile = ((self.point - self.lower) % (1 << 64)) // scale
        edges = [0, *np.cumsum(frequencies).tolist()]
        symbol = int(np.searchsorted(edges, quantile, "right")) - 1
        self.lower = (self.lower + scale * edges[symbol]) % (1 << 64)
        self.range = scale * int(frequencies[symbol])
        if self.range < 1 << 32:
            word = int.from_bytes((self.data[self.at :] + bytes(4))[:4], "big")
            self.lower, self.range = (self.lower << 32) % (1 << 64), self.range << 32
            self.point, self.at = ((self.point << 32) % (1 << 64)) | word, self.at + 4
        return symbol


def message(seed: int, count: int, alphabet: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frequencies = normalise(rng.integers(0, 50, (count, alphabet)) ** 3 + 1)
    return np.array([rng.choice(alphabet, p=row / TOTAL) for row in frequencies]), frequencies


@pytest.mark.parametrize("count", [0, 1, 2, 5, 30, 400])
def test_entropy_coder_is_exact_and_short(count: int) -> None:
    for seed in range(20):
        symbols, frequencies = message(seed, count)
        assert (frequencies.sum(1) == TOTAL).all() and (count == 0 or frequencies.min() >= 1)
        encoder = Encoder()
        encoder.put(symbols, frequencies)
        data = encoder.finish()
        assert Decoder(data).get(frequencies).tolist() == symbols.tolist()
        reference = Reference(data)
        assert [reference.get(row) for row in frequencies] == symbols.tolist()
        assert len(data) <= np.ceil((cost_bits(symbols, frequencies) + 0.01) / 8)
        if data:
            assert Decoder(data[:-1]).get(frequencies).tolist() != symbols.tolist()


def test_what_the_beginning_decides_is_alike_for_any_end() -> None:
    symbols, frequencies = message(3, 300)
    encoder = Encoder()
    encoder.put(symbols, frequencies)
    data = encoder.finish()[:40]
    low, high = Decoder(data).get(frequencies[:200]), Decoder(data, 255).get(frequencies[:200])
    decided = int((low == high).argmin())
    assert 20 < decided < 200 and low[:decided].tolist() == symbols[:decided].tolist()


def test_uniform_costs_its_logarithm() -> None:
    assert cost_bits(np.array([200]), uniform(256)) == pytest.approx(8, abs=1e-4)


@pytest.mark.parametrize("side", SIDES)
def test_waves_see_only_earlier_waves(side: int) -> None:
    waves = Waves.of(side)
    assert sorted(waves.places) == list(range(side * side))
    wave = np.repeat(np.arange(len(waves.start) - 1), np.diff(waves.start))[np.argsort(waves.places)].reshape(side, side)
    for dy, dx in NEAR:
        y, x = np.mgrid[:side, :side]
        inside = (y + dy >= 0) & (x + dx >= 0) & (x + dx < side)
        assert (wave[(y + dy)[inside], (x + dx)[inside]] < wave[inside]).all()


@pytest.mark.parametrize("side", SIDES)
def test_layouts_come_back(side: int, tables: Tables) -> None:
    coder = tables.layouts[side]
    noise = np.random.default_rng(0).integers(0, CATEGORIES, (side, side)).astype(np.uint8)
    for layout in (np.zeros((side, side), np.uint8), noise, *(blobs(side, seed) for seed in range(5))):
        encoder = Encoder()
        coder.encode(layout, encoder)
        data = encoder.finish()
        assert np.array_equal(coder.decode(Decoder(data)), layout)
        assert len(data) <= np.ceil((coder.cost_bits(layout) + 2) / 8)  # zeros at the end are free


def test_a_layout_of_another_size_is_refused(tables: Tables) -> None:
    with pytest.raises(ValueError, match="16 x 16"):
        tables.layouts[16].cost_bits(np.zeros((8, 8), np.uint8))


def test_reduced_is_the_most_frequent() -> None:
    labels = np.array([[1, 1, 2, 255], [0, 3, 2, 5], [255, 255, 4, 3], [255, 255, 3, 4]], np.uint8)
    assert reduce_labels(labels, 2).tolist() == [[1, 2], [1, 3]] or reduce_labels(labels, 2).tolist() == [[1, 2], [3, 3]]
    layout = np.repeat(np.repeat(blobs(16, 0), 4, 0), 4, 1)
    assert np.array_equal(cells_of(layout), blobs(16, 0))


def test_simplify_removes_specks() -> None:
    layout = np.zeros((16, 16), np.uint8)
    layout[:, 8:] = 3
    clean = layout.copy()
    layout[4, 4], layout[9, 12:14], layout[0, 0] = 5, 7, 2
    assert np.array_equal(simplify(layout, 0), layout)
    once = simplify(layout, 1)
    assert once[4, 4] == 0 and once[9, 12] == 7 and once[0, 0] == 0
    assert np.array_equal(simplify(layout, 2), clean)
    assert np.array_equal(simplify(clean, 500), simplify(clean, 500))


@pytest.mark.parametrize("level", range(1, LEVELS))
def test_features_come_back_and_cost_what_they_take(level: int, tables: Tables) -> None:
    for seed in range(4):
        layout, features = blobs(16, seed), smooth(seed)
        costs = tables.features.cost_cells(features, layout)
        for found in tables.find_concepts(layout):
            concept = found.code(features, level, V1)
            encoder = Encoder()
            tables.features.encode(concept, encoder)
            data = encoder.finish()
            back = tables.features.decode(replace(concept, indices=None), Decoder(data))
            assert concept.indices is not None and np.array_equal(back, concept.indices)
            bits = tables.features.cost_bits(concept)
            assert bits == pytest.approx(costs[level].reshape(-1)[concept.cells].sum())
            assert -2 < len(data) - bits / 8 <= 1
    assert (costs[0] == 0).all()


def test_tables_are_whole_numbers_that_sum_up() -> None:
    rng = np.random.default_rng(0)
    learned = learn_tables(np.tanh(rng.normal(size=(5, CHANNELS, 16, 16))), rng.integers(0, 19, (5, 16, 16)))
    for made in (default_tables(), learned):
        for level, table in made.frequencies.items():
            assert table.shape == (CATEGORIES, CHANNELS, count_contexts(level), STEPS[level]) and table.dtype == np.int16
            assert table.min() >= 1 and (table.sum(-1) == 4096).all()


def test_learned_tables_are_shorter() -> None:
    cells = np.stack([blobs(16, seed) for seed in range(30)])
    features = np.stack([smooth(seed) * 0.5 + 0.3 for seed in range(30)])
    learned = learn_tables(features[:25], cells[:25])
    for level in range(1, LEVELS):
        before, after = (
            sum(t.cost_cells(f, c)[level].sum() for f, c in zip(features[25:], cells[25:], strict=True))
            for t in (default_tables(), learned)
        )
        assert after < 0.95 * before


def test_order_is_importance_times_cells() -> None:
    layout = np.zeros((16, 16), np.uint8)
    layout[0, :3], layout[1, :12], layout[2, :12] = 11, 13, 10
    order = [c.category for c in find_concepts(layout, (1,) * 19)]
    assert order == [0, 10, 13, 11]
    assert [c.category for c in find_concepts(layout, (1,) * 19, {11: 255})][0] == 11


def test_groups_follow_from_the_levels() -> None:
    concepts = find_concepts(blobs(16, 1, 12), (1,) * 19)
    levels = [5] * len(concepts)
    groups = form_groups(concepts, levels, V1)
    assert [i for group in groups for i in group] == list(range(len(concepts))) and len(groups) > 2
    assert form_groups(concepts, [0] * len(concepts), V1) == ()


@pytest.mark.parametrize("side", SIDES)
def test_streams_come_back(side: int, tables: Tables) -> None:
    for seed in range(8):
        more: dict[str, object] = {"model": 1000 + seed}
        if seed % 2:
            more |= {"width": 2048, "height": 1024}
        if seed % 3 == 0:
            more |= {"care": {11: 4, 13: 2}}
        layout, features = blobs(side, seed), smooth(seed)
        stream = stream_of(layout, features, tables, seed, **more)
        data = pack(stream, tables)
        back = unpack(data, tables)
        assert same(stream, back) and not back.missing and not back.notes
        assert domain_of(data) == "street" and unpack(data, tables, model=1000 + seed).model == 1000 + seed
        sizes = Sizes(tables, layout, features, **{k: v for k, v in more.items() if k != "model"})  # type: ignore[arg-type]
        levels = [concept.level for concept in stream.concepts]
        assert [c.category for c in sizes.concepts] == [c.category for c in stream.concepts]
        sections = 1 + len(form_groups(sizes.concepts, levels, V1))
        assert 0 <= sizes.at_most(levels) - len(data) <= sections
        parts = itemise(data, tables)
        total = parts.header + parts.layout + parts.levels + parts.checks + sum(parts.concepts) + parts.unread
        assert total == pytest.approx(len(data)) and parts.unread == pytest.approx(0, abs=1e-6)
        for i, level in enumerate(levels):
            if level:
                assert parts.concepts[i] == pytest.approx(sizes.bits[i, level] / 8, abs=1.5)


def test_overhead_is_small(tables: Tables) -> None:
    """Beside layout and features, levels included: at most 17 bytes in a file of about 300."""
    seen = 0
    for seed in range(60):
        stream = stream_of(blobs(16, seed, 6), smooth(seed), tables, seed)
        data = pack(stream, tables)
        if 200 <= len(data) <= 320:
            parts = itemise(data, tables)
            assert parts.header + parts.levels + parts.checks <= 17
            seen += 1
    assert seen > 5


def prefix_of(back: Stream, whole: Stream) -> bool:
    """Whether all that was read is what was written."""
    return (
        np.array_equal(back.layout, whole.layout)
        and all(
            alike(mine, replace(yours, indices=None) if mine.lost else yours)
            for mine, yours in zip(back.concepts, whole.concepts, strict=True)
        )
        and all(c.shown_level == (0 if c.category in back.missing else c.level) for c in back.concepts)
    )


def coded(stream: Stream) -> list[int]:
    """The categories whose features are there, in the order of the file."""
    return [concept.category for concept in stream.concepts if concept.indices is not None]


@pytest.mark.slow
def test_every_truncation_shows_what_arrived(tables: Tables) -> None:
    stream = stream_of(blobs(16, 2), smooth(2), tables, 5, model=7)
    data = pack(stream, tables)
    order = [c.category for c in tables.find_concepts(stream.layout) if c.category in coded(stream)]
    shown = []
    for length in range(len(data)):
        try:
            back = unpack(data[:length], tables)
        except SemcastError as error:
            assert "nothing of it can be shown" in str(error) or "no .sem file" in str(error)
            shown.append(-1)
            continue
        assert back.notes and prefix_of(back, stream)
        assert coded(back) == order[: len(coded(back))]
        shown.append(len(coded(back)))
        assert itemise(data[:length], tables).total == length
    assert shown == sorted(shown) and shown[-1] >= len(order) - 1 and 0 in shown


def test_a_damaged_group_costs_its_own_concepts(tables: Tables) -> None:
    stream = stream_of(blobs(16, 1, 12), smooth(1), tables, 3)
    concepts = tuple(concept.code(smooth(1), 5, V1) for concept in tables.find_concepts(stream.layout))
    stream = replace(stream, concepts=concepts)
    groups = form_groups(concepts, [5] * len(concepts), V1)
    data = bytearray(pack(stream, tables))
    data[-3] ^= 16
    back = unpack(bytes(data), tables)
    assert prefix_of(back, stream)
    assert set(back.missing) == {concepts[i].category for i in groups[-1]}
    assert back.notes == (f"section {len(groups)} of {len(groups)} is damaged",)


@pytest.mark.slow
def test_a_thousand_mutated_and_cut_files(tables: Tables) -> None:
    rng = np.random.default_rng(0)
    files = []
    for seed in range(20):
        stream = stream_of(blobs(int(rng.choice(SIDES)), seed), smooth(seed), tables, seed, care={13: 3} if seed % 4 == 0 else {})
        files.append((pack(stream, tables), stream))
    slowest, read = 0.0, 0
    for i in range(1000):
        data, stream = files[i % len(files)]
        changed = bytearray(data)
        kind = i % 5
        if kind == 0:
            changed = changed[: int(rng.integers(0, len(data)))]
        elif kind == 1:
            changed[int(rng.integers(0, len(data)))] ^= 1 << int(rng.integers(0, 8))
        elif kind == 2:
            for at in rng.integers(0, len(data), 8):
                changed[at] = int(rng.integers(0, 256))
        elif kind == 3:
            at = int(rng.integers(0, len(data)))
            changed[at:at] = rng.bytes(int(rng.integers(1, 40)))
        else:
            changed = bytearray(data[:5] + rng.bytes(len(data)))
        began = time.process_time()
        try:
            back = unpack(bytes(changed), tables)
        except SemcastError as error:
            assert str(error)
        else:
            read += 1
            assert bytes(changed) == data or back.notes or kind == 1 and back.model != stream.model
            assert prefix_of(back, stream)
        slowest = max(slowest, time.process_time() - began)
    assert read > 200 and slowest < 5


def test_forged_files_are_bounded(tables: Tables) -> None:
    """With checks that are right, whatever the head says, there is a stream or an error."""
    from semcast.codec.bitstream import _crc
    from semcast.codec.front import MAGIC, pack_length

    rng = np.random.default_rng(0)
    for i in range(150):
        head = rng.bytes(int(rng.integers(0, 60)))
        front = MAGIC[:1] + bytes([MAGIC[1] | 1, int(rng.choice([0, 8, 16])), 0, 0]) + pack_length(len(head)) + head
        try:
            back = unpack(front + _crc(tables.seed, 0, front) + rng.bytes(i), tables)
        except SemcastError:
            continue
        assert back.layout.max() < CATEGORIES


def test_what_is_no_sem_file(tables: Tables) -> None:
    data = pack(stream_of(blobs(16, 0), smooth(0), tables, 0, model=5), tables)
    for bad, why in (
        (b"", "no .sem file"), (b"\x89PNG\r\n", "no .sem file"), (bytes(1 << 17), "too long"),
        (data[:1] + b"\xc9" + data[2:], "version 9"), (data[:1] + b"\xc2" + data[2:], "version 2"),
        (data[:2] + b"\xff" + data[3:], "header is damaged"),
    ):  # fmt: skip
        with pytest.raises(Damaged if "damaged" in why else BadInput, match=why):
            unpack(bad, tables)
    with pytest.raises(BadInput, match="other networks"):
        unpack(data, tables, model=6)
    with pytest.raises(Damaged, match="other tables"):
        unpack(data, replace(tables, fingerprint="another"))
    with pytest.raises(BadInput, match="shows a street"):
        unpack(data, replace(tables, domain="face"))


def test_what_cannot_be_written(tables: Tables) -> None:
    stream = stream_of(blobs(16, 0), smooth(0), tables, 1)
    assert coded(stream)
    for bad, why in (
        (replace(stream, domain="sea"), "unknown domain"), (replace(stream, layout=np.zeros((8, 8), np.uint8)), "16, 32 or 64"),
        (replace(stream, width=0), "width"), (replace(stream, care={3: 256}), "care"),
        (replace(stream, concepts=tuple(replace(c, level=6) for c in stream.concepts)), "levels"),
        (replace(stream, concepts=tuple(replace(c, indices=None) for c in stream.concepts)), "indices"),
        (replace(stream, concepts=stream.concepts[::-1]), "order of the file"),
        (replace(stream, concepts=stream.concepts[1:]), "all those of the layout"),
        (replace(stream, concepts=tuple(replace(c, cells=c.cells[:-1]) for c in stream.concepts)), "all those of the layout"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=why):
            pack(bad, tables)


@pytest.mark.parametrize("pairs", [b"\x13\x02", b"\xff\x01", b"\x03\x00", b"\x03\x02\x03\x04", b""])
def test_care_for_what_there_is_not(tables: Tables, pairs: bytes) -> None:
    """No sender writes it, but a check can be made right by anybody: the receipt would look for the name of category 255."""
    layout = np.zeros((16, 16), np.uint8)
    stream = Stream("street", layout, tables.find_concepts(layout, {3: 2}), care={3: 2})
    data = pack(stream, tables)
    at = len(pack_front(stream.front(1))) - 3
    assert data[at : at + 3] == b"\x01\x03\x02" and unpack(data, tables).care == {3: 2}
    front_end = take_apart(data, tables).end + len(pairs) - 2
    bad = data[:at] + bytes([len(pairs) // 2]) + pairs + data[at + 3 :]
    check = struct.pack(">H", crc_hqx(b"\0" + bad[:front_end], tables.seed))
    with pytest.raises(Damaged, match="header is damaged"):
        unpack(bad[:front_end] + check + bad[front_end + 2 :], tables)


def test_golden_bytes(tables: Tables) -> None:
    """The format does not change by accident: a new one needs a new version."""
    layout = np.zeros((16, 16), np.uint8)
    layout[6:, 4:], layout[10:14, 8:12] = 2, 13
    features = (np.arange(CHANNELS * 256).reshape(CHANNELS, 16, 16) * 37 % 256) / 128 - 1 + 1 / 256
    levels = {0: 1, 2: 0, 13: 3}
    concepts = tuple(concept.code(features, levels[concept.category], V1) for concept in tables.find_concepts(layout, {13: 4}))
    stream = Stream("street", layout, concepts, model=0x1234, width=512, care={13: 4})
    assert pack(stream, replace(tables, fingerprint="golden")).hex() == GOLDEN


GOLDEN = (
    "5ec160123401ff00ff010d042900000000000000000000000000c7edc2ecf340904225019e1ba6013c922056d261520d1fb6"
    "dc519ac266b1400f18c353df4846cf3634bdc8b08bc56b213797d181298ac8f03d0dbf10000000004533cc03c684559f0bff"
    "7f2721cdc995e444d2c85e0835c0015d54bc808a8d936a99718328605741c754594fc4deb2aee157c2ba3fe16809150ff23d"
    "f0022efffffff87c7e2005191502361c05f68a93470943c9f8552d1c42b84c21ed381c5b2bbd4ebe085905a5e7198b7d06c4"
    "74546d3cdbd081483a4f958c76dcaa550090000000145bfaeadafffffce5a76a93f650028dffe8f25bbdeffff46f29dfa86d"
    "1000130ba8ae64dddff5b203703202"
)


@pytest.mark.parametrize("domain", DOMAIN_NAMES)
def test_shipped_tables_on_real_layouts(domain: str, shared: Path) -> None:
    """Layouts of val in far less than PNG and WebP take (docs/bitstream.md), and back."""
    from semcast.domains import domain_named

    tables = Tables.load(domain)
    shard = shared / "data" / domain_named(domain).folder / "val-000.tar"
    masks = [mask for _, _, mask in shard_members(shard) if mask is not None][:12]
    most = {16: 30, 32: 60, 64: 130}
    for side in SIDES:
        lengths = []
        for mask in masks:
            layout = reduce_labels(png(mask), side)
            data = pack(Stream(domain, layout, tables.find_concepts(layout)), tables)
            assert np.array_equal(unpack(data, tables).layout, layout)
            lengths.append(len(data))
        assert np.mean(lengths) < most[side]


@pytest.mark.parametrize("domain", DOMAIN_NAMES)
def test_golden_layout(domain: str) -> None:
    """The shipped layout networks give the same bytes on every machine."""
    y, x = np.mgrid[:32, :32]
    layout = np.where(y > 20, 0, np.where((x - 12) ** 2 + (y - 14) ** 2 < 40, 13, 2)).astype(np.uint8)
    encoder = Encoder()
    Tables.load(domain).layouts[32].encode(layout, encoder)
    assert encoder.finish().hex() == GOLDEN_LAYOUT[domain]


GOLDEN_LAYOUT = {
    "street": (
        "02654e2465a71d9f15424832e0c4838008a4a5"
    ),
    "face": (
        "f87667a709ce6aa0ca9c026fc3cfa7122b9d0aaaee3d85694b0fd33dc28f30c4ca8292d880373796d8650e675e07f6329485"
        "d33256287812ee730353173e81cc3ad22b3f7c2ec653eb25444b75ea20479ea34d1553a8fd2b4aaa1386685b3d62ba1f0250"
        "cb5e60ada166c7d199deb024fde7575f62751b17f9b784293f3a39766995bbedaf68af09bd57ed861bdb9b115c6db894cd48"
        "509ca01bef707a389e37e14f3f05a79bc11263676e77"
    ),
}


def png(data: bytes) -> np.ndarray:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)))


def test_model_number_is_16_bits() -> None:
    assert 0 <= model_number("a" * 64, "b" * 64) < 1 << 16


@pytest.mark.slow
def test_recipe_learns_and_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps on a shard of our own, then feature tables on top of the layout networks learned before."""
    import io
    import tarfile

    from PIL import Image

    data = tmp_path / "data" / "street256"
    data.mkdir(parents=True)
    for split, count in (("train", 40), ("val", 3)):
        with tarfile.open(data / f"{split}-000.tar", "w") as tar:
            for i in range(count):
                for kind, mode in (("jpg", "RGB"), ("mask.png", "L")):
                    buffer = io.BytesIO()
                    labels = Image.fromarray(np.repeat(np.repeat(blobs(64, i, 4), 4, 0), 4, 1))
                    labels.convert(mode).save(buffer, "JPEG" if kind == "jpg" else "PNG")
                    info = tarfile.TarInfo(f"{i}.{kind}")
                    info.size = buffer.tell()
                    buffer.seek(0)
                    tar.addfile(info, buffer)
    out = tmp_path / "run"
    run("tables", tmp_path / "data", out, overrides=["steps=40", "hidden=8", "rate=0.02"])
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(out))
    load_tables.cache_clear()
    layout = blobs(16, 3, 4)
    first = Tables.load("street")
    before = first.layouts[16].cost_bits(layout)
    assert first.layouts[64].cost_bits(blobs(64, 3, 4)) < 64 * 64 * np.log2(19) / 2
    cells = np.stack([cells_of(blobs(64, i, 4)) for i in range(5)])
    features = np.stack([4 * smooth(i)[:1] * np.ones((V2.channels, 1, 1)) for i in range(5)]).astype(np.float32)
    np.savez(tmp_path / "features.npz", features=features, cells=cells)
    kept = [f"layout={out / 'bits-street.safetensors'}", f"features={tmp_path / 'features.npz'}", "context_steps=60"]
    run("tables", tmp_path / "data", tmp_path / "again", overrides=kept)
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(tmp_path / "again"))
    load_tables.cache_clear()
    second = Tables.load("street")
    assert second.layouts[16].cost_bits(layout) == before
    learned, plain = (tables.features.cost_cells(features[0], cells[0])[4].sum() for tables in (second, first))
    assert learned < 0.8 * plain
    assert second.fingerprint != first.fingerprint and second.seed != first.seed
    assert second.ladder is V2 and Tables.load("street", V1.version).ladder is V1  # files of before are read beside them
    with pytest.raises(SemcastError, match="of version 1 of the format, its tables of version 2"):
        load_bit_codec("uniform", "street")
    load_tables.cache_clear()
    with pytest.raises(SemcastError, match="no .npz"):
        run("tables", tmp_path / "data", tmp_path / "third", overrides=[kept[0], "features=/nowhere.npz"])
