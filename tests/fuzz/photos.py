"""Photos and masks: every format that is read, bent, with the checks of PNG made right and any EXIF."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

from semcast.errors import SemcastError
from semcast.photos import read_aligned, read_bytes, read_mark, read_mask, read_photo, size_of

from .harness import Case
from .mutate import ODD, bend

SEEDS = Path(__file__).parent / "corpus" / "photos"
WHAT = (
    b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"iCCP", b"gAMA", b"iTXt", b"zTXt", b"tEXt", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"IEND",
)  # fmt: skip


class Photos:
    """Whatever arrives where a photo or a mask is expected. A photo may claim 175 megapixels, which take their memory."""

    name, seconds, megabytes = "photos", 60.0, 5000

    def __init__(self, folder: Path) -> None:
        self.seeds = {path.name: path.read_bytes() for path in sorted(SEEDS.iterdir())}
        read_photo(SEEDS / "a.png")

    def draw(self, random: Random) -> Case:
        """A file of some format, bent as its format allows."""
        name = random.choice(list(self.seeds))
        data, suffix = self.seeds[name], name.rpartition(".")[2]
        if suffix == "png" and random.random() < 0.7:
            data = _chunks(random, data)
        elif suffix == "jpg" and random.random() < 0.4:
            data = _exif(random, data)
        else:
            data = bend(random, data, tuple(self.seeds.values()))
        if random.random() < 0.05:
            name = random.choice(list(self.seeds))  # another extension than its own
        return Case(suffix, {name: data})

    def run(self, case: Case, path: Path) -> None:
        """Everything that reads a picture's file; what one of them takes, the others that need no more take as well."""
        refusal: SemcastError | None = None
        try:
            shown = read_photo(path, 256)
            assert shown.ndim == 3 and shown.shape[2] == 3 and max(shown.shape) <= 256
            assert (read_bytes(path.read_bytes(), path.name, 256) == shown).all(), "in memory it is another photo"
            width, height = size_of(path)
            assert width > 0 and height > 0
        except SemcastError as error:
            refusal = error
        readers: tuple[Callable[[Path], object], ...] = (read_aligned, read_mask, read_mark)
        for read in readers:
            with contextlib.suppress(SemcastError):
                read(path)
        if refusal is not None:
            raise refusal

    def command(self, case: Case, path: Path, out: Path) -> list[str]:
        """Its mark, or a burst made of it."""
        if zlib.crc32(case.files[case.first]) % 4:
            return ["inspect", str(path), "--json"]
        return ["send", str(path), "--aligned", "--system", "linear", "--symbols", "64", "-o", str(out / "x.wav")]


def _chunks(random: Random, data: bytes) -> bytes:
    """A PNG with one of its chunks bent, doubled, moved or taken away, and right checks."""
    chunks, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    i = random.randrange(len(chunks))
    kind, body = chunks[i]
    way = random.randrange(6)
    if kind == b"IHDR" and way < 4:
        fields = list(struct.unpack(">IIBBBBB", body))
        fields[random.randrange(7)] = random.choice(ODD) & 0xFF
        if random.random() < 0.5:
            fields[random.randrange(2)] = random.choice((1, 300, 13_000, 60_000, 1 << 31, 0xFFFFFFFF, 0))
        chunks[i] = (kind, struct.pack(">IIBBBBB", *fields))
    elif way == 0:
        del chunks[i]
    elif way == 1:
        chunks.insert(random.randrange(len(chunks)), chunks[i])
    elif way == 2:
        chunks[i] = (random.choice(WHAT), body)
    elif way == 3 and kind == b"IDAT":
        with contextlib.suppress(zlib.error):
            body = zlib.compress(bend(random, zlib.decompress(body)))
        chunks[i] = (kind, body)
    else:
        chunks[i] = (kind, bend(random, body))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _exif(random: Random, data: bytes) -> bytes:
    """A JPEG with EXIF of a few entries of any tag, type, count and value; orientation first."""
    order = random.choice("<>")
    count = random.randrange(4)
    kind, times = random.choice((3, 4, 2, 13)), random.choice((1, 0, 1000))
    entries = struct.pack(order + "HHII", 0x0112, kind, times, random.choice(ODD[:12]))
    for _ in range(count):
        entries += struct.pack(
            order + "HHII", random.choice((0x8769, 0x0201, 0x0202, 0x8825, random.getrandbits(16))), random.randrange(15),
            random.choice(ODD) & 0xFFFFFFFF, random.choice(ODD) & 0xFFFFFFFF,
        )  # fmt: skip
    body = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1 + count) + entries + bytes(4)
    if random.random() < 0.3:
        body = bend(random, body)
    segment = b"Exif\0\0" + body[:60_000]
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
