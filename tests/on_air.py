"""What the tests of the radio share: symbols of chance, bursts made of them, and what a receiver hears."""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from semcast.onair.demodulate import Capture
from semcast.onair.header import Header
from semcast.onair.receiver import Receiver, receive_all
from semcast.onair.transmitter import HEADROOM_DB, to_sound, to_wave

Array = NDArray[Any]


def gauss(k: int, seed: int = 0) -> Array:
    """k complex Gaussian symbols of unit power."""
    random = np.random.default_rng([seed, k])
    return (random.standard_normal(k) + 1j * random.standard_normal(k)) / 2**0.5


def header_of(k: int, **fields: Any) -> Header:
    return Header(k, 1, 1, 0.0, **fields)


def sound_of(*bursts: Array, rate: int = 12_000, headroom_db: float = HEADROOM_DB, **fields: Any) -> Array:
    """Bursts as sound, float32 ``[n]``."""
    oversampling = rate // 6000 if rate % 6000 == 0 and rate >= 12_000 else 8
    waves = [to_wave(one, header_of(len(one), **fields), headroom_db=headroom_db, oversampling=oversampling) for one in bursts]
    return at_rate(to_sound(waves, rate=6000 * oversampling), 6000 * oversampling, rate)


def at_rate(sound: Array, given: int, wanted: int) -> Array:
    common = gcd(given, wanted)
    return np.asarray(sound if given == wanted else resample_poly(sound, wanted // common, given // common), np.float32)


def in_blocks(samples: Array, block: int) -> list[Array]:
    return [samples[at : at + block] for at in range(0, len(samples), block)]


def hear(samples: Array, rate: float = 12_000, block: int = 1 << 16, **options: Any) -> list[Capture]:
    """The bursts of a recording, in the order of time."""
    found = receive_all(Receiver(rate, **options), in_blocks(samples, block))
    return sorted(found, key=lambda capture: capture.start_s)


def error_db(found: Array, sent: Array) -> float:
    return float(10 * np.log10(np.mean(np.abs(found - sent) ** 2) / np.mean(np.abs(sent) ** 2) + 1e-30))


def truth(capture: Capture, sent: Array) -> float:
    """Mean e² / noise_var: 1 where the receiver knows how sure it is."""
    return float(np.mean(np.abs(capture.symbols - sent) ** 2 / capture.noise_var))
