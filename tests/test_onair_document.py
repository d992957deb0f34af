"""A transmitter written from docs/on-air.md alone, without anything of semcast, makes the same cells: the document is enough."""

from __future__ import annotations

import re
from math import gcd, pi
from pathlib import Path

import numpy as np
import pytest
from on_air import gauss

from semcast.onair.header import Header
from semcast.onair.transmitter import to_sound, to_wave
from semcast.rivals.modem import SCHEMES
from semcast.station import NUMBERS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "on-air.md").read_text(encoding="utf-8")
TEXTS = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
MASK = (1 << 64) - 1


def philox(key: int, count: int) -> list[int]:
    """Bits of a key."""
    bits: list[int] = []
    for counter in range(1, -(-count // 256) + 1):
        c, k = [counter, 0, 0, 0], [key, 0]
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [(b >> 64) ^ c[1] ^ k[0], b & MASK, (a >> 64) ^ c[3] ^ k[1], a & MASK]
            k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
        bits += [word >> place & 1 for word in c for place in range(64)]
    return bits[:count]


def points(bits: list[int]) -> np.ndarray:
    pairs = 1 - 2 * np.array(bits).reshape(-1, 2)
    return (pairs[:, 0] + 1j * pairs[:, 1]) / 2**0.5


def bookend(text: str) -> np.ndarray:
    return np.exp(2j * pi * np.frombuffer(bytes.fromhex(text.replace("\n", "")), np.uint8).reshape(3, 48) / 256)


def header_cells(fields: list[tuple[int, int]]) -> np.ndarray:
    bits = [value >> place & 1 for value, width in fields for place in range(width - 1, -1, -1)]
    assert len(bits) == 64
    register = 0
    for bit in bits:
        register = (register << 1 ^ (0xB2B117 if (register >> 23 ^ bit) & 1 else 0)) & 0xFFFFFF
    bits += [register >> place & 1 for place in range(23, -1, -1)] + [0] * 8
    state, coded = 0, []
    for bit in bits:
        state = bit << 8 | state >> 1
        coded += [(state & mask).bit_count() & 1 for mask in (0o557, 0o663, 0o711)]
    sent, scrambler = [0] * 288, philox(7, 288)
    for i, bit in enumerate(coded):
        sent[179 * i % 288] = bit ^ scrambler[i]
    return points(sent).reshape(3, 48)


def place_of(cells: int) -> np.ndarray:
    near = int(0.618 * cells + 0.5)
    step = next(a for d in range(cells) for a in (near + d, near - d) if a > 0 and gcd(a, cells) == 1)
    return np.arange(cells) * step % cells


def spread(x: np.ndarray, cells: int) -> np.ndarray:
    count, values = -(-len(x) // 1024), np.zeros(cells, complex)
    stored = np.array(philox(11, 8 * 1024)).reshape(-1, 8) @ (1 << np.arange(8))
    for b in range(count):
        mine, size = x[b::count], len(range(b, cells, count))
        turned = mine * np.exp(2j * pi * stored[: len(mine)] / 256)
        angles = -2j * pi / size * np.outer(np.arange(size), np.arange(len(mine)))
        values[b::count] = np.exp(angles) @ turned / len(mine) ** 0.5
    return values


def write_burst(symbols: np.ndarray, fields: list[tuple[int, int]], analog: bool) -> np.ndarray:
    """Cells of a burst, as the document has them."""
    rows = -(-len(symbols) // 40)
    values = spread(symbols, 40 * rows) if analog else np.pad(symbols, (0, 40 * rows - len(symbols)))
    data = np.zeros(40 * rows, complex)
    data[place_of(40 * rows)] = values
    body, at = np.zeros((rows, 48), complex), 0
    for r in range(rows):
        sounded = [(0, 3, 1, 4, 2, 5)[r % 6] + 6 * i for i in range(8)]
        body[r, sounded] = points(philox(1000 + r, 16))
        free = [column for column in range(48) if column not in sounded]
        body[r, free] = data[at : at + 40]
        at += 40
    header = header_cells(fields)
    again = np.concatenate((header[:, 24:], header[:, :24]), 1)
    return np.concatenate((bookend(TEXTS[0]), header, body, again, bookend(TEXTS[1])))


@pytest.mark.parametrize("k", [1, 40, 64, 1100])
@pytest.mark.parametrize("analog", [True, False])
def test_the_document_makes_the_same_sound(k: int, analog: bool) -> None:
    """Without clipping, which is the transmitter's own business: every sample of every row."""
    symbols = gauss(k) if analog else points(list(np.random.default_rng(k).integers(0, 2, 2 * k)))
    header = Header(k, 2, 0xC0DE, 7.5, 0 if analog else 5, flags=3)
    fields = [(1, 3), (int(analog), 1), (k - 1, 24), (2, 5), (0xC0DE, 16), (35, 7), (0 if analog else 5, 5), (3, 3)]
    cells = write_burst(symbols, fields, analog)
    assert cells.shape == (-(-k // 40) + 12, 48)
    carriers = np.array([*range(-24, 0), *range(1, 25)])
    times = (np.arange(1216) - 192) / 48_000
    rows = cells @ np.exp(2j * pi * 46.875 * carriers[:, None] * times) / 48**0.5
    wave = rows.reshape(-1)
    sound = (wave * np.exp(2j * pi * 1500 / 48_000 * np.arange(len(wave)))).real
    made = to_sound([to_wave(symbols.astype(complex), header, headroom_db=float("inf"))])[round(0.055 * 48_000) :][: len(sound)]
    level = np.vdot(sound, made) / np.vdot(sound, sound)
    assert np.abs(made - level * sound).max() < 1e-6


def test_the_document_names_systems_and_schemes() -> None:
    assert TEXTS[2].split() == [scheme.name for scheme in SCHEMES]
    said = re.findall(r"\b(\d+)\s+`([\w-]+)`(?: \((faces|streets)\))?", PAGE[PAGE.index("Systems: 1 ") :])
    named = {name + (":street" if of == "streets" else ""): int(number) for number, name, of in said}
    assert named == NUMBERS
