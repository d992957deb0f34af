"""Finding bookends in baseband: a normalised, whitened correlation that no level, tone or voice can please.

Each block of 8192 samples is whitened: its spectrum is divided by the root of its own power, smoothed over 59 Hz. Then for both
bookends s and 37 frequencies f, 5.86 Hz apart,

    rho(t, f) = |<s_f, y_t>|² / (|s|² |y_t|²)   in [0, 1].

In white noise P(rho > tau) = (1 - tau)^(N - 1) with N about 200; a burst at SNR g shows g / (1 + g). At tau = 0.12 that is 8e-12
a test, a hundredth of a candidate in an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import fft, ifft
from scipy.ndimage import uniform_filter1d

from semcast.onair.arrays import Complex, Real
from semcast.onair.waveform import BASE_RATE, EDGE, POSTAMBLE, PREAMBLE, ROW, modulate

BLOCK, LENGTH = 8192, EDGE * ROW
"""Samples of a block, and of a bookend, by which blocks overlap."""
THRESHOLD = 0.12
STEP = 8
"""Bins of a block between two frequencies that are tried: 5.86 Hz."""
STEPS = 18
"""Frequencies on either side: 105 Hz."""
BIN_HZ = BASE_RATE / BLOCK

_BAND_HZ, _SMOOTH = 1250.0, 81


@dataclass(frozen=True)
class Candidate:
    """Where a bookend may begin.

    Args:
        start: sample of the baseband at which its first guard begins.
        offset_hz: of the carriers (in sound's measures).
        kind: 0: preamble, 1: postamble.
        rho: the statistic.
    """

    start: int
    offset_hz: float
    kind: int
    rho: float


@lru_cache(maxsize=1)
def templates() -> tuple[Complex, Complex]:
    """Both bookends as samples ``[456]`` of mean power 1."""
    return modulate(PREAMBLE, 1, ramp=False), modulate(POSTAMBLE, 1, ramp=False)


@lru_cache(maxsize=1)
def _spectra() -> Complex:
    """Conjugate spectra of both, shifted to each frequency that is tried, ``[2 · 37, 8192]``."""
    shifted = []
    for wave in templates():
        spectrum = fft(wave / np.sqrt(np.vdot(wave, wave).real), BLOCK)
        shifted += [np.roll(spectrum, STEP * step).conj() for step in range(-STEPS, STEPS + 1)]
    return np.array(shifted, np.complex64)


def whiten(block: Complex) -> Complex:
    """The spectrum ``[8192]`` of a block with its own power taken out, and nothing outside the band."""
    spectrum = fft(block)
    power = uniform_filter1d(np.abs(spectrum) ** 2, _SMOOTH, mode="wrap")
    inside = np.abs(np.fft.fftfreq(BLOCK, 1 / BASE_RATE)) <= _BAND_HZ
    floor = max(float(power.max()) * 1e-12, 1e-30)
    return np.asarray(np.where(inside, spectrum / np.sqrt(np.maximum(power, floor)), 0), np.complex64)


def correlate(block: Complex) -> Real:
    """rho of a block of baseband ``[8192]``: ``[2, 37, 8192 - 456]``."""
    spectrum = whiten(block)
    if not spectrum.any():
        return np.zeros((2, 2 * STEPS + 1, BLOCK - LENGTH), np.float32)
    white = ifft(spectrum)
    energy = np.concatenate(([0.0], np.cumsum(np.abs(white.astype(complex)) ** 2)))
    here = (energy[LENGTH:] - energy[:-LENGTH])[: BLOCK - LENGTH]
    here = np.maximum(here, energy[-1] * 1e-4).astype(np.float32)
    matched = ifft(spectrum * _spectra(), axis=1)[:, : BLOCK - LENGTH]
    rho = (matched.real**2 + matched.imag**2) / here
    return np.asarray(rho.reshape(2, 2 * STEPS + 1, -1))


def find_candidates(block: Complex, first: int, threshold: float = THRESHOLD) -> tuple[list[Candidate], float]:
    """The bookends of a block: the highest rho within a row, over the threshold, strongest first; and the highest rho of all.

    Args:
        block: baseband ``[8192]``.
        first: the number of its first sample.
        threshold: of rho.
    """
    rho = correlate(block)
    found, highest = [], float(rho.max())
    for kind in range(2):
        best = rho[kind].max(0)
        while best.max() > threshold:
            at = int(best.argmax())
            step = int(rho[kind, :, at].argmax()) - STEPS
            found.append(Candidate(first + at, step * STEP * BIN_HZ, kind, float(best[at])))
            best[max(0, at - ROW) : at + ROW] = 0
    return sorted(found, key=lambda candidate: -candidate.rho), highest


class Detector:
    """Baseband in blocks of any length → candidates, in the order of time.

    Attributes:
        highest: rho of all that was heard.
        count: of candidates.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self.kept, self.first = np.zeros(0, np.complex64), 0
        self.highest, self.count = 0.0, 0

    def feed(self, block: Complex) -> list[Candidate]:
        """The next samples; candidates come as soon as their whole bookend is there, at most 1.3 s late."""
        self.kept = np.concatenate((self.kept, block))
        found: list[Candidate] = []
        while len(self.kept) >= BLOCK:
            found += self._look(self.kept[:BLOCK])
            self.kept, self.first = self.kept[BLOCK - LENGTH :], self.first + BLOCK - LENGTH
        return found

    def finish(self) -> list[Candidate]:
        """Those of what is left."""
        left = self.kept
        if len(left) < LENGTH // 3:
            return []
        # silence after the end would be whitened to something loud: the last block is looked at with what went before
        block = np.concatenate((left, np.zeros(BLOCK - len(left), np.complex64)))
        self.kept = left[:0]
        return self._look(block)

    def _look(self, block: Complex) -> list[Candidate]:
        found, highest = find_candidates(block, self.first, self.threshold)
        self.highest, self.count = max(self.highest, highest), self.count + len(found)
        return found


__all__ = ["BLOCK", "LENGTH", "STEP", "THRESHOLD", "Candidate", "Detector", "correlate", "find_candidates", "templates", "whiten"]
