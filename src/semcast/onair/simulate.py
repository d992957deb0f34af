"""A radio path for recordings: noise, fading, offsets and what recorders do, on real sounds and on I/Q.

::

    samples -> level wobble, echo, two fading paths, offset -> noise, whistle -> filter -> clock -> clipping, bits -> cut off

What is not asked for has no effect. The whole recording is held in memory, with fading some 45 bytes for each of its samples:
8 GB for an hour at 48 kHz, 0.1 GB for a minute.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage, signal

from semcast.errors import BadInput
from semcast.files import quote
from semcast.given import check_number, number_of, whole_of
from semcast.onair.watterson import CONDITIONS, Tap

GATE, FLOOR, GAP = 0.010, 0.01, 0.050
"""s, share of the peak power, s: what counts as a burst in :func:`active_parts`."""
CHUNK = 1 << 18
"""Samples that are worked on at once."""
MAX_PPM = 10_000.0
REFERENCE = 2400 / 46.875
"""The bandwidth in which SNR is counted, in carrier spacings: 2.4 kHz for the bursts that are sounds."""
Pair = tuple[float, float]


def active_parts(samples: NDArray[Any], rate: float) -> list[tuple[int, int]]:
    """Where the bursts are in a recording without noise: [start, stop) of each, in samples.

    With p(t) the mean of |x|² over 10 ms about t: a part is where p is over a hundredth of its largest value, gaps under 50 ms
    included; then its ends are moved in to where p is over half the part's own mean power. A burst whose envelope is flat at its
    ends is found to a millisecond or two, and ramps count from their half.

    Args:
        samples: real or complex, ``[frames]``; a sound's mean should be 0.
        rate: frames a second.
    """
    power = _power(samples)
    smooth = ndimage.uniform_filter1d(power, max(1, round(GATE * rate)), mode="nearest")
    peak = float(smooth.max(initial=0.0))
    if peak <= 0:
        return []
    edges = np.flatnonzero(np.diff(smooth > FLOOR * peak, prepend=False, append=False))
    starts, stops = edges[::2], edges[1::2]
    gaps = starts[1:] - stops[:-1] >= GAP * rate
    parts = []
    for start, stop in zip(starts[np.r_[True, gaps]], stops[np.r_[gaps, True]], strict=True):
        loud = np.flatnonzero(smooth[start:stop] > 0.5 * np.mean(power[start:stop], dtype=np.float64))
        parts.append((int(start + loud[0]), int(start + loud[-1] + 1)) if len(loud) else (int(start), int(stop)))
    return parts


def active_power(samples: NDArray[Any], parts: list[tuple[int, int]]) -> float:
    """The mean of |x|² over those parts."""
    total = sum(float(np.sum(_power(samples[start:stop]), dtype=np.float64)) for start, stop in parts)
    return total / sum(stop - start for start, stop in parts)


def _power(samples: NDArray[Any]) -> NDArray[np.float32]:
    """|x|² of each sample."""
    power: NDArray[np.float32] = np.square(samples.real, dtype=np.float32)
    if np.iscomplexobj(samples):
        power += np.square(samples.imag, dtype=np.float32)
    return power


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """A radio path and a recorder. Every argument that is left out has no effect.

    SNR is the burst's mean power, over the parts that :func:`active_parts` finds and before fading, over that of the noise in
    ``bandwidth_hz``; the noise is white over the whole recording. Fading and echo leave the mean power as it is: over the
    ensemble, and over all frequencies.

    Args:
        snr_db: in 2.4 kHz.
        channel: one of :data:`~semcast.onair.watterson.CONDITIONS`.
        offset_hz: by which all frequencies rise: the receiver's dial is that much too low.
        ppm: by how many millionths the recording becomes longer: the recorder's clock is that much too fast.
        cut: the share of the burst that is missing in the end, as the recording is over; of several, from the first to the last.
        cut_start: the share that is missing at the beginning.
        echo: (ms, dB): a second path, that much later and that much stronger than the first.
        wobble: (share, Hz): the level goes up and down by that share, so many times a second.
        whistle: (Hz, dB): a tone at that frequency of the recording, that much stronger than the burst.
        band: (Hz, Hz): a filter that lets these frequencies pass; of I/Q, from the middle of the band.
        clip: the share of the peak at which the recorder clips, 0..1.
        bits: of the recorder, 2..24, its full scale at the peak.
        bandwidth_hz: in which SNR is counted.
        seed: what is random follows from it; fading and noise apart, so that each stays as it is where the other changes.

    Raises:
        BadInput: an unknown channel, or a value that is no number or out of its range.

    >>> import numpy as np
    >>> tone = np.sin(np.arange(48000.0))
    >>> Simulator(snr_db=6, channel="watterson-poor", offset_hz=37, ppm=40, cut=0.3).apply(tone, 48000).dtype
    dtype('float32')
    """

    snr_db: float | None = None
    channel: str = "awgn"
    offset_hz: float = 0.0
    ppm: float = 0.0
    cut: float = 0.0
    cut_start: float = 0.0
    echo: Pair | None = None
    wobble: Pair | None = None
    whistle: Pair | None = None
    band: Pair | None = None
    clip: float | None = None
    bits: int | None = None
    bandwidth_hz: float = 2400.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.channel, str) or self.channel not in CONDITIONS:
            raise BadInput(f"unknown channel {quote(self.channel)}; the known are {', '.join(CONDITIONS)}")
        _within("the SNR", self.snr_db, -100, 200, "dB")
        _within("the offset", self.offset_hz, -1e9, 1e9, "Hz")
        _within("the clock's error", self.ppm, -MAX_PPM, MAX_PPM, "ppm")
        for name in ("echo", "wobble", "whistle", "band"):
            _check_pair(name, getattr(self, name))
        for name in ("offset_hz", "ppm", "cut", "cut_start", "bandwidth_hz"):
            if getattr(self, name) is None:
                raise BadInput(f"{name} is a number, not None")
        if whole_of(self.seed) is None or self.seed < 0:
            raise BadInput(f"a seed is a whole number of at least 0, not {quote(self.seed)}")
        _within("what is cut off in the end", self.cut, 0, 0.99, "of the burst")
        _within("what is cut off at the beginning", self.cut_start, 0, 0.99, "of the burst")
        _within("what is cut off", self.cut + self.cut_start, 0, 0.99, "of the burst")
        _within("an echo's delay", self.echo and self.echo[0], 0, 1000, "ms")
        _within("an echo's level", self.echo and self.echo[1], -200, 100, "dB")
        _within("a wobble's depth", self.wobble and self.wobble[0], 0, 1, "of the level")
        _within("a wobble's frequency", self.wobble and self.wobble[1], 0, 1000, "Hz")
        _within("a whistle's level", self.whistle and self.whistle[1], -200, 100, "dB")
        _within("the level of clipping", self.clip, 1e-3, 1, "of the peak")
        _within("the bits of a sample", self.bits, 2, 24, "")
        _within("the bandwidth of SNR", self.bandwidth_hz, 1e-3, 1e9, "Hz")

    def apply(self, samples: ArrayLike, rate: float, generator: np.random.Generator | None = None) -> NDArray[Any]:
        """The recording as it is after the path: float32, or complex64 where it was complex; ``[frames]``.

        Args:
            samples: the burst or bursts without noise, silence before and after them; ``[frames]``.
            rate: frames a second.
            generator: what randomness is drawn from; by default one from ``seed``.

        Raises:
            BadInput: samples that are not finite or nothing but silence, or frequencies that the rate does not hold.
        """
        try:
            given = np.asarray(samples)
            values = np.array(given, np.complex64 if np.iscomplexobj(given) else np.float32)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise BadInput(f"a recording is finite numbers, [frames], not {quote(samples)}") from None
        if generator is not None and not isinstance(generator, np.random.Generator):
            raise BadInput(f"randomness is drawn from a numpy.random.Generator, not from {quote(generator)}")
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise BadInput("a recording is finite numbers, [frames], at least one")
        self._check_rate(rate, np.iscomplexobj(values))
        parts = active_parts(values, rate)
        if not parts:
            raise BadInput("there is nothing but silence in the recording")
        power = active_power(values, parts)
        fading, noise = (np.random.default_rng(self.seed) if generator is None else generator).spawn(2)
        values = self._propagate(values, rate, fading)
        self._disturb(values, rate, power, noise)
        if self.band is not None:
            values = _filter(values, rate, self.band, self.bandwidth_hz)
        if self.ppm:
            values = stretch(values, 1 + self.ppm * 1e-6)
        return self._cut(self._record(values), parts)

    def _check_rate(self, rate: float, is_complex: bool) -> None:
        check_number("the sample rate", rate, 1, 1e9, "Hz")
        lowest = -rate / 2 if is_complex else 0.0
        _within("the offset", self.offset_hz, -rate / 2, rate / 2, "Hz")
        _within("a whistle's frequency", self.whistle and self.whistle[0], lowest, rate / 2, "Hz")
        if self.band is not None and not lowest <= self.band[0] < self.band[1] <= rate / 2:
            raise BadInput(f"a filter of {self.band[0]:g} to {self.band[1]:g} Hz is none within {lowest:g} to {rate / 2:g} Hz")

    def _propagate(self, values: NDArray[Any], rate: float, generator: np.random.Generator) -> NDArray[Any]:
        """The level's wobble, the echo, the paths and the offset: all that multiplies."""
        condition = CONDITIONS[self.channel]
        if self.wobble is not None:
            depth, hz = self.wobble
            phase = generator.uniform(0, 2 * math.pi)
            for place, times in _chunks(len(values), rate):
                values[place] *= 1 + depth * np.sin(2 * math.pi * hz * times + phase)
        if condition is None and self.echo is None and not self.offset_hz:
            return values
        seconds, real = len(values) / rate, not np.iscomplexobj(values)
        delays = [0.0] if condition is None else [0.0, 1e-3 * condition.delay_ms]
        paths = _delayed(values, rate, delays, self.echo)
        taps = [Tap(seconds, condition.spread_hz, generator) for _ in delays] if condition else []
        for place, times in _chunks(len(values), rate):
            arrived: Any = paths[0][place]
            if taps:
                arrived = math.sqrt(0.5) * sum(path[place] * tap.gains(times) for path, tap in zip(paths, taps, strict=True))
            if self.offset_hz:
                arrived = arrived * np.exp(2j * math.pi * np.mod(self.offset_hz * times, 1))
            values[place] = arrived.real if real else arrived
        return values

    def _disturb(self, values: NDArray[Any], rate: float, power: float, generator: np.random.Generator) -> None:
        """Add noise and the whistle."""
        real = not np.iscomplexobj(values)
        for place, times in _chunks(len(values), rate):
            if self.snr_db is not None:
                total = power * 10 ** (-self.snr_db / 10) * (rate / 2 if real else rate) / self.bandwidth_hz
                drawn = generator.standard_normal((times.size, 1 if real else 2), np.float32)
                values[place] += math.sqrt(total) * (drawn[:, 0] if real else drawn.view(np.complex64)[:, 0] / math.sqrt(2))
            if self.whistle is not None:
                tone = math.sqrt(power * 10 ** (self.whistle[1] / 10)) * np.exp(2j * math.pi * np.mod(self.whistle[0] * times, 1))
                values[place] += math.sqrt(2) * tone.real if real else tone

    def _record(self, values: NDArray[Any]) -> NDArray[Any]:
        """Clipping at a share of the peak, then so many bits."""
        flat = values.view(np.float32)
        if self.clip is not None and np.iscomplexobj(values):
            size = np.maximum(np.abs(values), np.finfo(np.float32).tiny)
            values *= np.minimum(1, self.clip * size.max() / size)
        elif self.clip is not None:
            limit = self.clip * np.abs(flat).max()
            np.clip(flat, -limit, limit, out=flat)
        if self.bits is not None:
            step = max(float(np.abs(flat).max()), np.finfo(np.float32).tiny) / 2 ** (self.bits - 1)
            flat[:] = step * np.clip(np.rint(flat / step), -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)
        return values

    def _cut(self, values: NDArray[Any], parts: list[tuple[int, int]]) -> NDArray[Any]:
        first, last = (place * (1 + self.ppm * 1e-6) for place in (parts[0][0], parts[-1][1]))
        begin = round(first + self.cut_start * (last - first)) if self.cut_start else 0
        end = round(last - self.cut * (last - first)) if self.cut else len(values)
        return values[begin : max(begin + 1, end)]


def _check_pair(what: str, value: Pair | None) -> None:
    """Raise BadInput where a value is there and not two numbers."""
    if value is None:
        return
    if not isinstance(value, Sequence) or len(value) != 2 or any(number_of(each) is None for each in value):
        raise BadInput(f"{what} is two numbers, not {quote(value)}")


def _within(what: str, value: float | None, low: float, high: float, unit: str) -> None:
    """Raise BadInput where a value is there and no number in its range."""
    number = number_of(value)
    if value is not None and (number is None or not low <= number <= high):
        told = quote(value) if number is None else f"{number:g}"
        raise BadInput(f"{what} must be {low:g} to {high:g} {unit}".rstrip() + f", not {told}")


def _chunks(frames: int, rate: float) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Places of a recording that are worked on at once, and their times in seconds."""
    for start in range(0, frames, CHUNK):
        stop = min(frames, start + CHUNK)
        yield slice(start, stop), np.arange(start, stop) / rate


def _delayed(values: NDArray[Any], rate: float, delays: list[float], echo: Pair | None) -> list[NDArray[np.complex64]]:
    """The analytic signal after each of several delays in seconds, with the echo on all of them; complex64 ``[frames]``.

    A delay is a phase ramp over the spectrum, so it need be no whole number of samples; zeros behind the recording take what it
    pushes out of the end. Of I/Q negative frequencies stay, of a sound they go.
    """
    late, level = (1e-3 * echo[0], 10 ** (echo[1] / 20)) if echo else (0.0, 0.0)
    size = fft.next_fast_len(len(values) + math.ceil((max(delays) + late) * rate) + 1024)
    real = not np.iscomplexobj(values)
    bins = fft.rfft(values, size) if real else fft.fft(values, size)
    if real:  # x + j H{x}: positive frequencies twice, 0 Hz and the one in the middle once
        bins[1 : (size + 1) // 2] *= 2
    paths = []
    for delay in delays:
        spectrum = np.zeros(size, np.complex64)
        for start in range(0, len(bins), CHUNK):
            place = np.arange(start, min(len(bins), start + CHUNK))
            hz = np.where(place <= size // 2, place, place - size) * (rate / size)
            gain = np.exp(-2j * math.pi * hz * delay)
            if echo:
                gain *= (1 + level * np.exp(-2j * math.pi * hz * late)) / math.hypot(1, level)
            spectrum[place] = bins[place] * gain
        paths.append(np.asarray(fft.ifft(spectrum, overwrite_x=True)[: len(values)], np.complex64))
    return paths


def _filter(values: NDArray[Any], rate: float, band: Pair, bandwidth_hz: float) -> NDArray[Any]:
    """A linear-phase band-pass without delay, -6 dB at its edges, -60 dB a thirty-second of the bandwidth (75 Hz) outside."""
    count = 2 * math.ceil(0.5 * 3.6 * rate / (bandwidth_hz / 16)) + 1
    half, middle = (band[1] - band[0]) / 2, (band[1] + band[0]) / 2
    low = signal.firwin(count, min(half, 0.499 * rate), window=("kaiser", 5.65), fs=rate)
    turn = np.exp(2j * math.pi * middle / rate * (np.arange(count) - count // 2))
    taps = low * turn if np.iscomplexobj(values) else 2 * (low * turn).real
    return np.asarray(signal.oaconvolve(values, taps.astype(values.dtype), mode="same"), values.dtype)


def stretch(values: NDArray[Any], factor: float) -> NDArray[Any]:
    """y(t) = x(t / factor): a recording by a clock that is too fast by that factor; as many times as long, in the same type.

    Each piece is resampled to four times its rate, by a filter that is flat up to 0.46 of the rate, and read by a cubic spline.
    """
    around = 64  # samples on each side of a piece, where filter and spline settle
    taps = signal.firwin(8 * 32 + 1, 0.25, window=("kaiser", 8.0))
    out = np.empty(max(1, round(len(values) * factor)), values.dtype)
    padded = np.pad(values, around)
    for start in range(0, len(out), CHUNK):
        places = np.arange(start, min(len(out), start + CHUNK)) / factor
        first = int(places[0])
        piece = padded[first : int(places[-1]) + 2 * around + 2].astype(np.complex128 if np.iscomplexobj(values) else np.float64)
        fine = signal.resample_poly(piece, 4, 1, window=taps)
        at = 4 * (places - first + around)
        out[start : start + len(places)] = ndimage.map_coordinates(fine, [at], order=3, mode="nearest")
    return out
