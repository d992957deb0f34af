"""Watterson's model of a short-wave path: two paths of equal power, each with a gain that fades as a Gaussian process.

C. C. Watterson, J. R. Juroshek, W. D. Bensema, "Experimental Confirmation of an HF Channel Model", IEEE Trans. Commun. Technol.
18 (1970); what delays and spreads stand for which conditions: Recommendation ITU-R F.1487 (2000), Annex 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

OVERSAMPLING = 32
"""Drawn gains for each Hz of spread and second: 32 are 64 standard deviations, and a cubic spline between them errs by -80 dB."""


@dataclass(frozen=True)
class Condition:
    """Two paths of equal power.

    Args:
        delay_ms: by which the second comes later.
        spread_hz: 2σ of the Gaussian Doppler spectrum of both.
    """

    delay_ms: float
    spread_hz: float


CONDITIONS: dict[str, Condition | None] = {
    "awgn": None,
    "watterson-good": Condition(0.5, 0.1),
    "watterson-moderate": Condition(1.0, 0.5),
    "watterson-poor": Condition(2.0, 1.0),
    "watterson-disturbed": Condition(4.0, 2.0),
    "low-quiet": Condition(0.5, 0.5),
    "low-moderate": Condition(2.0, 1.5),
    "low-disturbed": Condition(6.0, 10.0),
    "mid-quiet": Condition(0.5, 0.1),
    "mid-moderate": Condition(1.0, 0.5),
    "mid-disturbed": Condition(2.0, 1.0),
    "mid-disturbed-nvis": Condition(7.0, 1.0),
    "high-quiet": Condition(1.0, 0.5),
    "high-moderate": Condition(3.0, 10.0),
    "high-disturbed": Condition(7.0, 30.0),
}
"""By name. Low, mid and high are the latitudes of F.1487, whose mid-latitude ones are CCIR's good, moderate and poor; what
``watterson-disturbed`` is no standard says: it lies just outside what the waveform is made for."""


class Tap:
    """The gain h(t) of one path: a stationary complex Gaussian process of E|h|² = 1.

    Its spectrum is S(f) ∝ exp(-f²/2σ²), so E[h(t + τ) h*(t)] = exp(-2π²σ²τ²), with 2σ the Doppler spread. White noise is filtered
    by exp(-4π²σ²t²), whose spectrum is the root of S, at a rate that follows from σ, and interpolated. The mean power is that of
    the ensemble: one burst may have all of its time in a fade.

    Args:
        seconds: how long it is needed.
        spread_hz: 2σ, over 0.
        generator: what it is drawn from.
    """

    def __init__(self, seconds: float, spread_hz: float, generator: np.random.Generator) -> None:
        self.rate = OVERSAMPLING * spread_hz
        sigma = spread_hz / 2 / self.rate  # in cycles a drawn gain
        half = math.ceil(6 / (2 * math.sqrt(2) * math.pi * sigma))  # six standard deviations of the filter
        taps = np.exp(-((2 * math.pi * sigma * np.arange(-half, half + 1)) ** 2))
        count = math.ceil(seconds * self.rate) + 8
        white = generator.standard_normal((count + 2 * half, 2)) @ np.array([1, 1j]) / math.sqrt(2)
        drawn = np.convolve(white, taps / np.linalg.norm(taps), "valid")
        self._spline = CubicSpline(np.arange(count) - 3.0, drawn)  # its ends, where it is free to choose, lie outside

    def gains(self, times: NDArray[np.float64]) -> NDArray[np.complex128]:
        """h at those times in seconds, ``[times]``."""
        return np.asarray(self._spline(times * self.rate), np.complex128)
