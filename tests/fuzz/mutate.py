"""Ways to bend bytes and JSON."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any

ODD = (0, 1, 2, 3, 4, 7, 8, 15, 16, 127, 128, 255, 256, 257, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**62)
WILD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), -float("inf"), 2**31, 2**63, 2**64,
    10**400, -(10**400),
    "", "x", "0", "nan", "\0", "\ud800", "é" * 300, "../../etc/passwd", "/dev/zero", "%s%n{}", [], {}, [[]], [0], {"": 0},
    [None], [10**18, 10**18], [-1, 4], "face", "street",
)  # fmt: skip
"""Values that a reader of JSON may not have thought of."""


def bend(random: Random, data: bytes, others: tuple[bytes, ...] = ()) -> bytes:
    """Bend bytes once to a few times."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        out = _bend_once(random, out, others)
    return bytes(out[: 1 << 20])


def _bend_once(random: Random, out: bytearray, others: tuple[bytes, ...]) -> bytearray:
    at = random.randrange(len(out) + 1)
    if random.random() < 0.5:
        at = min(at, random.randrange(64))  # what decides is at the beginning
    span = random.choice((1, 1, 2, 4, 8, 32, 200))
    way = random.randrange(9)
    if way == 0 and at < len(out):
        out[at] ^= 1 << random.randrange(8)
    elif way == 1:
        out[at : at + span] = random.randbytes(len(out[at : at + span]))
    elif way == 2:
        out[at:at] = random.randbytes(span)
    elif way == 3:
        del out[at : at + span]
    elif way == 4:
        del out[at:]
    elif way == 5:
        kind = random.choice(("<I", ">I", "<H", ">H", "<Q", ">Q", "B"))
        size = struct.calcsize(kind)
        out[at : at + size] = struct.pack(kind, random.choice(ODD) & ((1 << 8 * size) - 1))
    elif way == 6:
        out[at:at] = out[at : at + span] * random.randrange(1, 4)
    elif way == 7 and others:
        other = random.choice(others)
        out[at:] = other[random.randrange(len(other) + 1) :]
    else:
        out[at : at + span] = bytes([random.choice((0, 255))]) * len(out[at : at + span])
    return out


def bend_json(random: Random, value: Any) -> Any:
    """A copy of a tree with one of its values, keys or lists bent."""
    places = list(_places(value, ()))
    path = random.choice(places)
    return _bent_at(random, value, path)


def _places(value: Any, path: tuple[Any, ...]) -> Any:
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield from _places(child, (*path, key))


def _bent_at(random: Random, value: Any, path: tuple[Any, ...]) -> Any:
    if path:
        copy = dict(value) if isinstance(value, dict) else list(value)
        if len(path) == 1 and random.random() < 0.25:
            return _without(random, copy, path[0])
        copy[path[0]] = _bent_at(random, value[path[0]], path[1:])
        return copy
    if isinstance(value, int) and abs(value) < 1 << 70 and random.random() < 0.5:
        return random.choice((value + 1, value - 1, -value, value * 1000, value + 0.5, float(value), str(value)))
    if isinstance(value, list) and random.random() < 0.5:
        return random.choice((value * 2, value[:1], value[::-1], value * 50))
    return random.choice(WILD)


def _without(random: Random, copy: Any, key: Any) -> Any:
    taken = copy.pop(key)
    if isinstance(copy, dict) and random.random() < 0.5:
        copy[random.choice((f"{key}x", "", "core:dataset", "__class__"))] = taken
    return copy


def write_json(random: Random, value: Any) -> str:
    """JSON of it; now and then as no sensible writer would: nested without end, a key twice, not a number."""
    text = json.dumps(value, ensure_ascii=random.random() < 0.5)
    way = random.randrange(40)
    if way == 0:
        return text.replace("0", "[" * 100_000, 1)
    if way == 1:
        return text.replace("{", '{"image": 1, "image": 2, ', 1)
    if way == 2:
        return text.replace("1", "1e999", 1)
    if way == 3:
        return text[: random.randrange(len(text) + 1)]
    return text
