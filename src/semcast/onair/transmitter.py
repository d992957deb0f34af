"""The transmitter: symbols → a burst of sound, or of samples for a software radio."""

from __future__ import annotations

import numpy as np

from semcast.errors import BadInput
from semcast.onair.arrays import Complex, Real
from semcast.onair.header import Header, to_cells
from semcast.onair.spread import place, spread
from semcast.onair.waveform import (
    BASE_RATE,
    CENTRE_HZ,
    DATA_CELLS,
    SPACING_HZ,
    USEFUL,
    build_frame,
    data_rows,
    limit_peaks,
    modulate,
)

SOUND_RATE, SILENCE_S, PEAK = 48_000, 0.05, 10 ** (-3 / 20)
"""Samples a second of sound; silence at each end; the highest sample, -3 dB of full scale."""
HEADROOM_DB = 7.0
"""Of the envelope over the mean power of the data rows."""
OVERSAMPLING = SOUND_RATE // int(BASE_RATE)


def to_wave(symbols: Complex, header: Header, *, headroom_db: float = HEADROOM_DB, oversampling: int = OVERSAMPLING) -> Complex:
    """Symbols ``[k]`` → complex baseband of one burst, ramps included, at ``oversampling`` · 128 spacings a second.

    Analog symbols are spread over all cells, points of a constellation interleaved. They are not made louder or softer: a
    burst's own power is part of what it says.

    Raises:
        BadInput: the header speaks of another number of symbols, they are not finite, or the headroom is too small.
    """
    if symbols.shape != (header.symbols,):
        raise BadInput(f"the header says {header.symbols} symbols, these are {symbols.shape}")
    if not np.isfinite(symbols).all():
        raise BadInput("the symbols contain NaN or infinite values")
    cells = DATA_CELLS * data_rows(header.symbols)
    data = spread(symbols, cells) if header.analog else place(symbols, cells)
    wave = modulate(build_frame(to_cells(header), data), oversampling)
    return limit_peaks(wave, headroom_db, oversampling, rounds=2 if headroom_db >= 5 else 4)


def to_sound(waves: list[Complex], *, rate: int = SOUND_RATE) -> Real:
    """Bursts → sound around 1500 Hz, its peak at -3 dB of full scale, silence before, between and after them.

    Args:
        waves: of :func:`to_wave`, at ``rate`` samples a second.
        rate: 8 · 6000 by default.
    """
    turn = np.exp(2j * np.pi * CENTRE_HZ / rate * np.arange(max(map(len, waves))))
    return _join([(wave * turn[: len(wave)]).real for wave in waves], rate, 2 * SILENCE_S, SILENCE_S)


def to_iq(waves: list[Complex], *, spacing_hz: float, oversampling: int) -> tuple[Complex, float, list[int]]:
    """Bursts → samples around 0 Hz, silence around them, the largest amplitude -3 dB.

    Args:
        waves: at ``oversampling`` times the baseband's rate.
        spacing_hz: of the carriers.
        oversampling: that they were made with.

    Returns:
        samples, how many there are a second, and where each burst begins.
    """
    rate, scale = USEFUL * spacing_hz * oversampling, SPACING_HZ / spacing_hz
    samples = _join(waves, rate, 2 * SILENCE_S * scale, SILENCE_S * scale)
    starts, at = [], round(SILENCE_S * scale * rate)
    for wave in waves:
        starts.append(at)
        at += len(wave) + round(2 * SILENCE_S * scale * rate)
    return samples.astype(np.complex64), rate, starts


def _join(waves: list[Complex], rate: float, gap_s: float, ends_s: float) -> Complex:
    edge, gap = np.zeros(round(ends_s * rate)), np.zeros(round(gap_s * rate))
    pieces = [edge, waves[0]]
    for wave in waves[1:]:
        pieces += [gap, wave]
    joined = np.concatenate([*pieces, edge])
    top = np.abs(joined).max()
    return np.asarray(joined * (PEAK / top) if top > 0 else joined)
