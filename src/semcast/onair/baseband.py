"""Whatever was recorded → complex baseband at 128 carrier spacings a second, as a stream.

Sound is brought down by 1500 Hz, filtered to 1330 Hz on either side and decimated to 6 kHz, all in one polyphase filter;
samples of a software radio lose their mean (the line of its own oscillator) and are resampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
from scipy.signal import firwin, upfirdn

from semcast.errors import BadInput
from semcast.onair.arrays import Complex, Real
from semcast.onair.samples import Block
from semcast.onair.waveform import BASE_RATE, CENTRE_HZ, SPACING_HZ, USEFUL

_PASS_HZ, _STOP_HZ, _STOP_DB = 1330.0, 1800.0, 70.0
_LARGEST, _MOST_OFF = 4096, 1e-3
"""Of numerator and denominator of a ratio of rates; what is left, which may be so much, counts as an error of the clock."""


class Downconverter:
    """Samples in blocks of any length → baseband in blocks; sample m is at the time of input sample m · rate / (128 Δf).

    Args:
        rate: of the input, in samples a second.
        spacing_hz: Δf, of the carriers.
        is_complex: samples of a software radio around 0 Hz, not sound.

    Raises:
        BadInput: the rate is too low for the band, or too high.
    """

    def __init__(self, rate: float, *, spacing_hz: float = SPACING_HZ, is_complex: bool = False) -> None:
        scale = spacing_hz / SPACING_HZ
        lowest = (2 * _PASS_HZ if is_complex else 2 * (CENTRE_HZ + 1250)) * scale
        if not rate >= lowest:
            raise BadInput(f"{rate:g} samples a second hold no band of {2.4 * scale:g} kHz: at least {lowest:g} are needed")
        ratio = Fraction(USEFUL * spacing_hz / rate).limit_denominator(_LARGEST)
        if abs(float(ratio) * rate / (USEFUL * spacing_hz) - 1) > _MOST_OFF:
            most = _LARGEST * USEFUL * spacing_hz
            raise BadInput(f"{rate:g} samples a second are too many for a band of {2.4 * scale:g} kHz: at most {most:g} are read")
        self.up, self.down = ratio.numerator, ratio.denominator
        self.is_complex = is_complex
        taps = _taps(rate * self.up, scale, self.up)
        if not is_complex:
            around = np.arange(len(taps)) - len(taps) // 2
            taps = 2 * taps * np.exp(2j * np.pi * CENTRE_HZ * scale / (rate * self.up) * around)
            # Some sound cards add a constant, louder than the burst: it is in the slope of the filter, and behind an offset it
            # would leak into all carriers. A bump as wide as the slope takes it out, and hum with it.
            bump = np.kaiser(len(taps), 0.1102 * (_STOP_DB - 8.7))
            taps = taps - taps.sum() * bump / bump.sum()
        self.taps = taps.astype(np.complex64 if not is_complex else np.float32)
        self.reach = len(taps) // 2  # of the filter on either side, in samples at rate · up
        context = -(-2 * self.reach // self.up)
        self.context = -(-context // self.down) * self.down  # input samples kept from the last block: whole periods
        self.kept = np.zeros(self.context, np.complex64 if is_complex else np.float32)
        self.rate, self.made = rate, 0
        self.mean, self.seen = np.complex64(0), False

    def feed(self, block: Block) -> Complex:
        """The next samples ``[n]`` → as much of the baseband as they settle."""
        fresh = np.nan_to_num(block.astype(self.kept.dtype, copy=False), posinf=0, neginf=0)
        if self.is_complex and len(fresh):
            fresh = fresh - self._mean_with(fresh)
        joined = np.concatenate((self.kept, fresh))
        usable = (len(joined) - self.context) // self.down * self.down
        if usable <= 0:
            self.kept = joined
            return np.zeros(0, np.complex64)
        # Output j of upfirdn over the joined samples is at upsampled position j · down; the filter delays by its reach, which
        # is made good by starting later. What lies before one context belongs to the last block, whose outputs are out already.
        count = usable * self.up // self.down
        first = self.context * self.up // self.down
        passed = upfirdn(self.taps, joined[: self.context + usable], self.up, self.down)
        out = passed[first : first + count].astype(np.complex64)
        self.kept = joined[usable:]
        return self._turn(out)

    def finish(self) -> Complex:
        """What the filter still holds; the stream is over."""
        return self.feed(np.full(self.context + self.down, self.mean if self.is_complex else 0, self.kept.dtype))

    def delay(self) -> float:
        """How many samples of baseband the output lags behind the input."""
        return self.reach / self.down

    def _mean_with(self, fresh: Complex) -> np.complexfloating:
        """The mean of about the last second: the line of the radio's own oscillator, wherever an offset has put the carriers."""
        share = min(1.0, len(fresh) / self.rate) if self.seen else 1.0
        self.seen = True
        self.mean += share * (fresh.mean() - self.mean)
        return self.mean

    def _turn(self, out: Complex) -> Complex:
        """Sound: from 1500 Hz to 0, a quarter turn a sample, and the filter's lag with it."""
        if self.is_complex:
            self.made += len(out)
            return out
        quarter = np.array([1, -1j, -1, 1j], np.complex64)
        out = out * np.resize(np.roll(quarter, -(self.made % 4)), len(out))
        self.made += len(out)
        return out


def _taps(rate: float, scale: float, gain: int) -> Real:
    """A low-pass of odd length at ``rate``."""
    width = (_STOP_HZ - _PASS_HZ) * scale
    count = int((_STOP_DB - 7.95) / (14.36 * width / rate)) | 1
    beta = 0.1102 * (_STOP_DB - 8.7)
    return np.asarray(firwin(count, (_PASS_HZ + _STOP_HZ) / 2 * scale, window=("kaiser", beta), fs=rate)) * gain


def one_channel(blocks: Iterable[Block]) -> Iterator[Block]:
    """Blocks ``[n]`` or ``[n, channels]`` → ``[n]``: of several channels the louder so far, each block counted."""
    power: Real | None = None
    for block in blocks:
        if block.ndim == 1:
            yield block
            continue
        loud = (np.abs(np.nan_to_num(block)) ** 2).sum(0)
        power = loud if power is None else power + loud
        yield block[:, int(power.argmax())]


__all__ = ["BASE_RATE", "Downconverter", "one_channel"]
