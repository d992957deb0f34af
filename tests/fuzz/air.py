"""Recordings, headers of bursts and received symbols: bent, and headers that say the impossible behind a right check."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import semcast as sc
from semcast.link import Received
from semcast.onair.files import open_samples
from semcast.onair.header import Header
from semcast.onair.samples import read_all
from semcast.onair.transmitter import to_sound, to_wave
from semcast.onair.wav import Layout, decode
from semcast.station import Station, receive

from .harness import Case
from .mutate import ODD, bend, bend_json, write_json

SEEDS = Path(__file__).parent / "corpus" / "air"
SOUNDS = ("wav", "flac", "ogg", "mp3")
RATE = 12_000
MOST = 1 << 21
"""Frames of an input that are looked at: a kilobyte of FLAC may hold hours of silence, which take their time."""


class Air:
    """Whatever a receiver is given."""

    name, seconds, megabytes = "air", 30.0, 1500

    def __init__(self, folder: Path) -> None:
        self.seeds = {path.name: path.read_bytes() for path in sorted(SEEDS.iterdir())}
        self.station = Station("cpu")
        self.systems = {name: sc.load(name, device="cpu") for name in ("linear", "sketch")}

    def draw(self, random: Random) -> Case:
        """A sound, I/Q, a burst with any header, or symbols."""
        kind = random.choice((*SOUNDS, "fmt", "sigmf", "header", "symbols"))
        if kind == "header":
            return Case(kind, {"x.wav": _wav(_burst(random))})
        if kind == "symbols":
            return Case(kind, {"x.bin": _symbols(random)})
        if kind == "fmt":
            return Case(kind, {"x.wav": _fmt(random, self.seeds["burst.wav"])})
        if kind == "sigmf":
            return Case(kind, self._sigmf(random))
        return Case(kind, {f"x.{kind}": bend(random, self.seeds[f"burst.{kind}"])})

    def _sigmf(self, random: Random) -> dict[str, bytes]:
        meta, data = self.seeds["burst.sigmf-meta"], self.seeds["burst.sigmf-data"]
        if random.random() < 0.2:
            return {"x.sigmf-meta": bend(random, meta), "x.sigmf-data": data}
        tree = json.loads(meta)
        for _ in range(random.choice((1, 1, 2, 3))):
            tree = bend_json(random, tree)
        data = data if random.random() < 0.6 else bend(random, data)
        text = write_json(random, tree).encode("utf-8", "surrogatepass")
        return {"x.sigmf-meta": text, "x.sigmf-data": data}

    def run(self, case: Case, path: Path) -> None:
        """Receive it, as the verb does."""
        if case.kind == "symbols":
            self._decode(case.files[case.first])
            return
        samples = open_samples(path)
        if samples.frames is None or samples.frames > MOST:  # by its own word; the blocks are bounded besides
            read_all(samples, MOST)
            samples = open_samples(path)
        for heard in receive(samples, self.station):
            json.dumps(heard.describe(), allow_nan=False)
            heard.mark()
            if heard.reception is not None:
                assert bool(torch.isfinite(heard.reception.image).all()), "a picture that is no numbers"

    def _decode(self, data: bytes) -> None:
        values = decode(data[: len(data) // 12 * 12], Layout(RATE, 3, 3, 4, "<"))
        symbols = torch.complex(torch.from_numpy(values[:, 0].copy()), torch.from_numpy(values[:, 1].copy()))[None]
        budget = sc.Budget(len(values), 10.0)
        received = Received(symbols, torch.from_numpy(values[:, 2].copy())[None], budget).check()
        for name in ("linear", "sketch") if zlib.crc32(data) % 8 == 0 else ("linear",):
            with torch.no_grad():
                image = self.systems[name].decode(received).image
            assert bool(torch.isfinite(image).all()), f"{name} shows what is no number"

    def command(self, case: Case, path: Path, out: Path) -> list[str] | None:
        """receive."""
        if case.kind == "symbols":
            return None
        return ["receive", str(path), "--json", "--device", "cpu", "-o", str(out / "x.png")]


def _wav(sound: np.ndarray, rate: int = RATE) -> bytes:
    data = (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
    fmt = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + fmt + b"data" + struct.pack("<I", len(data)) + data


def _burst(random: Random) -> np.ndarray:
    """A burst whose header holds any 64 bits, most of them as a transmitter writes them; its check is right."""
    k = random.choice((1, 32, 40, 64))
    symbols = np.random.default_rng(random.getrandbits(64)).standard_normal((k, 2)) @ np.array([1, 1j])
    symbols *= random.choice((1, 1, 1e-30, 1e6))
    system, scheme = random.choice((1, 2, 4, 5, 16, 18, 22, 23, 31)), random.choice((0, 0, 1, 5, 31))
    header = Header(k, system, random.getrandbits(16), random.choice((-10, 0, 53.5)), scheme)
    bits = int.from_bytes(header.pack(), "big")
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        bits ^= 1 << random.randrange(64)
    with patch.object(Header, "pack", lambda _: bits.to_bytes(8, "big")):
        wave = to_wave(symbols, header, oversampling=2)
    sound = to_sound([wave], rate=RATE)
    return np.asarray(sound[: random.choice((len(sound), len(sound), len(sound) // 2))])


def _fmt(random: Random, wav: bytes) -> bytes:
    """A WAV whose header says anything: rates, channels, widths, sizes, chunks."""
    at = wav.index(b"data") + 8
    code = random.choice((1, 1, 3, 0xFFFE, 2, 7, 0))
    channels, bits = random.choice((1, 1, 2, 3, 64, 65, 0, 65535)), random.choice((8, 16, 24, 32, 64, 12, 0, 1, 65535))
    rate = random.choice((8000, 8001, 11025, 44100, 96000, 999_983, 1_000_000, 7999, 0, 0xFFFFFFFF))
    frame = random.choice((channels * -(-bits // 8), 0, 1, 65535)) & 0xFFFF
    form = struct.pack("<HHIIHH", code, channels, rate, random.choice(ODD) & 0xFFFFFFFF, frame, bits)
    if code == 0xFFFE:
        form += struct.pack("<HHIH", 22, bits, 0, random.choice((1, 3, 6))) + bytes(14)
    size = random.choice((len(wav) - at, 0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 10))
    data = wav[at:] if random.random() < 0.7 else random.randbytes(len(wav) - at)
    head = random.choice((b"RIFF", b"RIFF", b"RF64")) + struct.pack("<I", random.choice((len(wav), 0, 0xFFFFFFFF))) + b"WAVE"
    extra = struct.pack("<4sI", b"ds64", 28) + struct.pack("<QQQI", *(random.choice(ODD) for _ in range(3)), 0)
    extra = random.choice((b"", extra, struct.pack("<4sI", b"LIST", random.choice(ODD) & 0xFFFFFFFF) + bytes(5)))
    return head + extra + struct.pack("<4sI", b"fmt ", len(form)) + form + struct.pack("<4sI", b"data", size) + data


def _symbols(random: Random) -> bytes:
    """Real and imaginary parts and noise variances, float32, as no channel makes them."""
    k = random.choice((1, 32, 64, 640))
    numbers: Any = np.random.default_rng(random.getrandbits(64))
    scale = np.float32(10.0 ** random.choice((0, 0, 3, 15, 16, 37, -3, -30)))
    values = numbers.standard_normal((k, 3)).astype("<f4") * scale
    values[:, 2] = np.abs(values[:, 2])
    for _ in range(random.choice((0, 0, 1, 5))):
        odd = random.choice((0.0, 1e-45, 3e38, np.inf, np.nan, -1.0))
        values[random.randrange(k), random.randrange(3)] = odd
    return bytes(values.tobytes())
