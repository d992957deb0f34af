"""What else is on the air: signals that hold no burst, to count false alarms by. An hour of each is made without holding it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from semcast.errors import BadInput
from semcast.onair.samples import check_frames

LEVEL = 0.1
"""The root of the mean square of each piece; full scale is 1."""

Piece = NDArray[np.floating[Any]]
Maker = Callable[[float, np.random.Generator], Piece]


def _times(seconds: float, rate: float) -> NDArray[np.float64]:
    return np.arange(max(1, round(seconds * rate))) / rate


def white(rate: float, generator: np.random.Generator) -> Piece:
    """White noise."""
    return np.asarray(generator.standard_normal(round(rate)))


def pink(rate: float, generator: np.random.Generator) -> Piece:
    """Noise of power 1/f from 20 Hz on, four seconds at a time."""
    count = round(4 * rate)
    spectrum = np.fft.rfft(generator.standard_normal(count))
    return np.asarray(np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(count, 1 / rate), 20.0)), count), np.float64)


def tones(rate: float, generator: np.random.Generator) -> Piece:
    """One to eight steady tones that change all at once."""
    times = _times(generator.uniform(0.1, 5), rate)
    hz = generator.uniform(200, 3200, generator.integers(1, 9))
    level, phase = 10 ** generator.uniform(-1, 0, (hz.size, 1)), generator.uniform(0, 1, (hz.size, 1))
    return np.asarray(np.sum(level * np.cos(2 * math.pi * (hz[:, None] * times + phase)), axis=0), np.float64)


def keyed(rate: float, generator: np.random.Generator) -> Piece:
    """One to four stations in Morse at 12 to 40 words a minute, their edges 5 ms long."""
    times, total = _times(8, rate), 0.0
    edge = np.hanning(max(3, round(0.005 * rate)))
    for _ in range(generator.integers(1, 5)):
        unit = 1.2 / generator.uniform(12, 40)
        lengths = unit * np.stack([generator.choice([1, 3], 300), generator.choice([1, 1, 1, 3, 7], 300)], axis=1).ravel()
        ends = np.cumsum(lengths) - generator.uniform(0, 2)
        down = np.searchsorted(ends, times) % 2 == 0
        envelope = signal.oaconvolve(down.astype(np.float64), edge / edge.sum(), mode="same")
        total = total + 10 ** generator.uniform(-1, 0) * envelope * np.sin(2 * math.pi * generator.uniform(400, 2600) * times)
    return np.asarray(total)


def fsk(rate: float, generator: np.random.Generator) -> Piece:
    """2 to 32 tones, one at a time, without a jump of the phase: teletype, MFSK."""
    times = _times(5, rate)
    count = int(generator.choice([2, 2, 2, 4, 8, 16, 32]))
    baud = float(generator.choice([45.45, 50, 75, 100, 300] if count == 2 else [15.625, 31.25, 62.5]))
    shift = float(generator.choice([85, 170, 425, 850])) if count == 2 else baud
    symbols = generator.integers(0, count, math.ceil(5 * baud) + 1)
    hz = generator.uniform(400, max(500, 2800 - count * shift)) + shift * symbols[(times * baud).astype(np.int64)]
    return np.sin(2 * math.pi * np.cumsum(hz) / rate)


def ofdm(rate: float, generator: np.random.Generator) -> Piece:
    """A stranger's OFDM: other spacings and our own, other guards, pilots, and a preamble that repeats itself."""
    spacing = float(generator.choice([46.875, 46.875, 37.5, 50, 62.5, 93.75]))
    guard = float(generator.choice([1 / 8, 3 / 16, 1 / 4])) / spacing
    carriers = np.arange(round(300 / spacing), round(2700 / spacing) + 1)
    cells = generator.integers(0, 4, (round(4 / (1 / spacing + guard)), carriers.size))
    values = np.exp(0.5j * math.pi * (cells + 0.5))
    if generator.uniform() < 0.5:  # 16-QAM
        values = values + 0.5 * np.exp(0.5j * math.pi * (generator.integers(0, 4, cells.shape) + 0.5))
    values[:, ::6] = math.sqrt(2) * np.exp(2j * math.pi * generator.uniform(size=values[:1, ::6].shape))
    values[:3] = values[0]
    times = np.arange(round((1 / spacing + guard) * rate)) / rate - guard
    rows = values @ np.exp(2j * math.pi * spacing * carriers[:, None] * times)
    return np.asarray(rows.real).ravel()


def music(rate: float, generator: np.random.Generator) -> Piece:
    """Two bars: a chord, a melody over it, and drums."""
    beat = 60 / generator.uniform(70, 160)
    times = _times(8 * beat, rate)
    root, scale = 110 * 2 ** (generator.integers(0, 12) / 12), np.array([0, 2, 4, 5, 7, 9, 11, 12])
    notes = [(0.0, 8 * beat, root * 2 ** (step / 12)) for step in scale[[0, 2, 4]]]
    for n, step in enumerate(generator.choice(scale, 16)):
        notes.append((n * beat / 2, beat * generator.uniform(0.4, 1.5), 2 * root * 2 ** (step / 12)))
    total = np.zeros_like(times)
    for start, length, hz in notes:
        place = slice(round(start * rate), round((start + length) * rate))
        since = times[place] - start
        envelope = np.minimum(since / 0.01, 1) * np.exp(-2 * since / length)
        phase = 2 * math.pi * hz * since + 0.3 * np.sin(2 * math.pi * 5 * since)
        for harmonic in range(1, min(12, int(0.45 * rate / hz)) + 1):
            total[place] += envelope * np.sin(harmonic * phase + generator.uniform(0, 6.3)) / harmonic**1.3
    for n in range(16):
        place = slice(round(n * beat / 2 * rate), round((n * beat / 2 + 0.1) * rate))
        since = np.abs(times[place] - n * beat / 2)
        drum = np.sin(400 * np.sqrt(since)) if n % 4 == 0 else generator.standard_normal(since.size)
        total[place] += 2 * generator.uniform() * drum * np.exp(-since / 0.03)
    return total


def speech(rate: float, generator: np.random.Generator) -> Piece:
    """A sentence as a robot would say it: pulses of the glottis or noise through three formants, a sound after the other."""
    pitch = generator.uniform(80, 240)
    total = np.zeros(round(4 * rate))
    at = 0
    while at < 3 * rate:
        count = round(generator.uniform(0.05, 0.25) * rate)
        voiced = generator.uniform() < 0.75
        hz = pitch * (1 + 0.1 * np.sin(np.linspace(generator.uniform(0, 6.3), generator.uniform(0, 6.3), count)))
        cycles = np.cumsum(hz) / rate
        pulses = signal.lfilter([1.0], [1.0, -0.97], np.diff(np.floor(cycles), prepend=0.0))
        source = pulses if voiced else 0.1 * generator.standard_normal(count)
        low, high = ([250, 800, 2000], [850, 2300, 3200]) if voiced else ([1500, 2500, 3300], [3700, 3700, 3700])
        formants = generator.uniform(low, high)
        voice = np.zeros(count)
        for formant, width in zip(formants, (60, 90, 150), strict=True):
            b, a = signal.iirpeak(formant, formant / width, fs=rate)
            voice += signal.lfilter(b, a, source)
        total[at : at + count] += voice * np.hanning(count)
        at += round(0.8 * count) + (round(generator.uniform(0, 0.4) * rate) if generator.uniform() < 0.15 else 0)
    return total


def crashes(rate: float, generator: np.random.Generator) -> Piece:
    """Static: crashes of noise that die away in 1 to 200 ms, clicks, and a little noise between them."""
    total = 0.01 * generator.standard_normal(round(2 * rate))
    for _ in range(generator.poisson(8)):
        start = generator.integers(total.size)
        since = np.arange(total.size - start) / rate
        crash = generator.standard_normal(since.size) if generator.uniform() < 0.8 else (since == 0)
        total[start:] += generator.lognormal(0, 1) * crash * np.exp(-since / 10 ** generator.uniform(-3, -0.7))
    return total


def chirps(rate: float, generator: np.random.Generator) -> Piece:
    """Sweeps from one frequency to another, from a sonar's in seconds to an ionosonde's that crosses the band in 30 ms."""
    seconds = 10 ** generator.uniform(-1.5, 0.6)
    times = _times(seconds, rate)
    sweep = signal.chirp(times, generator.uniform(100, 3400), seconds, generator.uniform(100, 3400))
    return np.concatenate([sweep, np.zeros(round(generator.uniform(0, 0.2) * rate))])


KINDS: dict[str, Maker] = {
    maker.__name__: maker for maker in (white, pink, tones, keyed, fsk, ofdm, music, speech, crashes, chirps)
}
"""By name."""


@dataclass(frozen=True)
class Foreign:
    """A recording with no burst in it, made while it is read: one of :class:`~semcast.onair.samples.Samples`.

    Args:
        kind: one of :data:`KINDS`.
        seconds: how long it is.
        rate: frames a second, 8000 or more.
        seed: what it is made from; a longer one of the same seed begins with the shorter one.

    Raises:
        BadInput: an unknown kind, or a rate under 8000.

    >>> sum(len(block) for block in Foreign("keyed", 2.0, 8000).blocks(1000))
    16000
    """

    kind: str
    seconds: float
    rate: float = 12_000.0
    seed: int = 0

    is_complex = False
    channels = 1
    spacing_hz: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"unknown kind {self.kind!r}; the known are {', '.join(KINDS)}")
        if not self.rate >= 8000 or not 0 < self.seconds < math.inf:
            raise BadInput(f"{self.seconds:g} s at {self.rate:g} Hz cannot be made: a recording takes time, and 8000 Hz or more")

    @property
    def name(self) -> str:
        """What sentences call it."""
        return f"{self.seconds:g} s of {self.kind}"

    @property
    def notes(self) -> list[str]:
        """Nothing is odd."""
        return []

    @property
    def frames(self) -> int:
        """How long it is."""
        return round(self.seconds * self.rate)

    def blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """So many frames at a time, float32 ``[frames, 1]``; the last may be shorter.

        Raises:
            BadInput: ``frames`` is under 1.
        """
        check_frames(frames)
        return self._blocks(frames)

    def _blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        generator = np.random.default_rng([self.seed, list(KINDS).index(self.kind)])
        left, ready = self.frames, np.zeros(0, np.float32)
        while left:
            wanted = min(frames, left)
            pieces = [ready]
            while (come := sum(map(len, pieces))) < wanted:
                pieces.append(_levelled(KINDS[self.kind](self.rate, generator)))
            ready = np.concatenate(pieces)
            assert come == len(ready)
            yield ready[:wanted, None]
            ready, left = ready[wanted:], left - wanted


def _levelled(piece: Piece) -> NDArray[np.float32]:
    size = math.sqrt(float(np.mean(np.square(piece, dtype=np.float64))))
    return np.asarray(np.clip(piece * (LEVEL / max(size, 1e-12)), -1, 1), np.float32)


def make(kind: str, seconds: float, rate: float, seed: int = 0) -> NDArray[np.float32]:
    """All of a :class:`Foreign` at once, float32 ``[frames]``."""
    return np.concatenate(list(Foreign(kind, seconds, rate, seed).blocks(1 << 16)))[:, 0]
