"""``.sem`` files: bytes bent anywhere, and fields, layouts and messages that are wrong behind a check that is right."""

from __future__ import annotations

import json
import struct
import zlib
from binascii import crc_hqx
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from semcast.codec.bitstream import CHECK, Contents, Stream, pack, take_apart, unpack
from semcast.codec.codec import receive
from semcast.codec.concepts import CATEGORIES, SIDES
from semcast.codec.front import DOMAIN_NAMES, domain_of, pack_length, version_of
from semcast.codec.painter import SceneCodec
from semcast.codec.receipt import draw_overlay, itemise, read_sem, to_json, to_table
from semcast.codec.tables import Tables
from semcast.weights import available

from .harness import Case
from .mutate import ODD, bend

SEEDS = Path(__file__).parents[1] / "golden"


@cache
def _painter(domain: str, version: int) -> SceneCodec:
    return SceneCodec.load(domain, version)


@cache
def _versions(domain: str) -> tuple[int, ...]:
    """Of the format, those that weights are here for."""
    newest, names = Tables.load(domain).ladder.version, {path.stem for path in available()}
    return tuple(version for version in range(1, newest + 1) if version == newest or f"bits-{domain}-{version}" in names)


def _check(tables: Tables, number: int, part: bytes) -> bytes:
    return struct.pack(">H", crc_hqx(bytes([number]) + part, tables.seed))


class Sem:
    """Whatever arrives where a ``.sem`` file is expected."""

    name, seconds, megabytes = "sem", 10.0, 400

    def __init__(self, folder: Path) -> None:
        self.seeds = tuple(path.read_bytes() for path in sorted(SEEDS.glob("*.sem")))
        assert self.seeds, f"there are no .sem files in {SEEDS}"
        for domain in DOMAIN_NAMES:
            for version in _versions(domain):
                _painter(domain, version)

    def draw(self, random: Random) -> Case:
        """Bytes bent without care, or one part bent and its check made right."""
        seed = random.choice(self.seeds)
        kind = random.choice(("bytes", "front", "head", "group", "stream"))
        made = {"bytes": lambda: bend(random, seed, self.seeds), "stream": lambda: _stream(random)}
        data = made[kind]() if kind in made else _with_right_check(random, seed, kind)
        return Case(kind, {"x.sem": data})

    def run(self, case: Case, path: Path) -> None:
        """The receipt, what a receiver reads, and of some the picture."""
        data = read_sem(path)
        share = zlib.crc32(data)
        receipt = itemise(data)
        json.dumps(to_json(receipt), allow_nan=False)
        to_table(receipt)
        spent = sum(receipt.sections.values()) + sum(receipt.concepts)
        assert abs(spent - len(data)) < 0.5 or receipt.unread == 0, "the receipt does not add up"
        if share % 8 == 0:
            draw_overlay(receipt)
        if share % 16 == 1:
            received = receive(data, _painter(domain_of(data), version_of(data)))
            assert received.pixels.shape == (256, 256, 3)
            received.stretch()
        if case.kind == "stream":
            again = unpack(data)
            assert pack(again) == data and not again.missing and not again.notes, "what was packed is read as something else"

    def command(self, case: Case, path: Path, out: Path) -> list[str]:
        """inspect and decode in turn."""
        if zlib.crc32(case.files[case.first]) % 2:
            return ["inspect", str(path), "--json", "-o", str(out / "x.png")]
        return ["decode", str(path), "-o", str(out / "x.png"), "--stretch"]


def _with_right_check(random: Random, data: bytes, part: str) -> bytes:
    domain, version = domain_of(data), version_of(data)
    tables = Tables.load(domain, version)
    contents = take_apart(data, tables)
    if part == "group" and contents.lengths:
        return _group(random, data, contents, tables)
    start, head = data[: contents.head], data[contents.head : contents.end]
    if part == "front":
        start = _front(random, data, contents) + pack_length(len(head))
        tables = Tables.load(DOMAIN_NAMES[min(start[2] & 7, 1)], version) if len(start) > 2 else tables
    else:
        head = bend(random, head)[: (1 << 14) - 1]
        start = data[: contents.head - len(pack_length(contents.end - contents.head))] + pack_length(len(head))
    return start + head + _check(tables, 0, start + head) + data[contents.end + CHECK :]


def _front(random: Random, data: bytes, contents: Contents) -> bytes:
    """Fields that no sender writes: any flags, sizes, factors of categories that there are not."""
    flags = random.choice((data[2], data[2] ^ 1 << random.randrange(8), random.randrange(256)))
    made = data[:2] + struct.pack(">BH", flags, random.choice((contents.front.model, random.choice(ODD) & 0xFFFF)))
    if flags >> 5 & 1:
        made += struct.pack(">HH", random.choice(ODD) & 0xFFFF, random.choice(ODD) & 0xFFFF)
    if flags >> 6 & 1:
        count = random.choice((0, 1, 2, 19, 255))
        made += bytes([count]) + random.randbytes(2 * count if random.random() < 0.9 else count)
    return made if random.random() < 0.9 else bend(random, made)


def _group(random: Random, data: bytes, contents: Contents, tables: Tables) -> bytes:
    """One message of as many bytes, none of them what a sender wrote."""
    at, number = contents.end + CHECK, random.randrange(len(contents.lengths))
    at += sum(length + CHECK for length in contents.lengths[:number])
    length = contents.lengths[number]
    message = bytearray(bend(random, data[at : at + length]))
    message = (message + random.randbytes(length))[:length]
    return data[:at] + bytes(message) + _check(tables, number + 1, bytes(message)) + data[at + length + CHECK :]


def _stream(random: Random) -> bytes:
    """Any layout, levels and indices that a sender may write, however unlikely: these must come back as they are."""
    numbers = np.random.default_rng(random.getrandbits(64))
    domain, side = random.choice(DOMAIN_NAMES), random.choice(SIDES)
    block = random.choice((1, 2, side // 4, side))
    few = numbers.integers(0, random.choice((1, 2, CATEGORIES)), (side // block, side // block))
    layout = few.repeat(block, 0).repeat(block, 1).astype(np.uint8)
    care = {random.randrange(CATEGORIES): random.choice((1, 2, 255)) for _ in range(random.choice((0, 0, 1, 19)))}
    tables = Tables.load(domain, random.choice(_versions(domain)))
    ladder = tables.ladder
    levels = random.choice((range(1), range(ladder.levels), range(ladder.levels - 1, ladder.levels)))
    reach = np.array([ladder.reach(feature) for feature in range(ladder.channels)])[:, None, None]
    concepts = []
    for concept in tables.find_concepts(layout, care):
        features = reach * numbers.uniform(-1, 1, (ladder.channels, 16, 16))
        concepts.append(concept.code(features, random.choice(levels), ladder))
    width, height = (random.choice((1, 2, 255, 256, 257, 65536)) for _ in range(2))
    return pack(Stream(domain, layout, tuple(concepts), random.getrandbits(16), width, height, care), tables)
