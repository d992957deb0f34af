"""From baseband to cells: where rows begin, how far the carriers are off, how the clock runs, and the channel, by evidence.

Times are in samples of the baseband, 128 Δf a second; frequencies in bins of a row, Δf; so nothing here knows whether it hears
sound or a software radio.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh

from semcast.onair.arrays import Complex, Real, Whole
from semcast.onair.waveform import CARRIERS, EDGE, GUARD, ROW, USEFUL, WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable

EARLY = GUARD // 2
"""Samples before the guard's end at which a row's window begins: paths of half a guard, early or late, do no harm."""
WINDOW = 22
"""Samples, 3.67 ms of sound: the delays that a burst's paths are expected to lie within."""


@dataclass(frozen=True)
class Sync:
    """Where a burst lies.

    Args:
        start: sample at which the first row's guard begins for a path in the middle of the echoes; not whole.
        offset: of the carriers, in bins.
        clock: ε, how much longer than it should a row takes.
        strongest: delay of the strongest path against ``start``, in samples.
    """

    start: float
    offset: float
    clock: float = 0.0
    strongest: float = 0.0

    def row_start(self, rows: Real | int) -> Real:
        """Where the guard of each row begins."""
        return np.asarray(self.start + np.asarray(rows) * ROW * (1 + self.clock))

    def moved(self, rows: float) -> Sync:
        """The same burst counted from another row."""
        return replace(self, start=float(self.row_start(rows)))  # type: ignore[arg-type]


def extract(baseband: Complex, first: int, sync: Sync, rows: Whole) -> Complex:
    """Cells of rows, ``[len(rows), 48]``; NaN for rows that do not lie wholly in what is there.

    Args:
        baseband: samples.
        first: the number of the first of them.
        sync: where the burst lies.
        rows: counted from ``sync``.
    """
    begin = sync.row_start(rows) + GUARD - EARLY - first
    whole = np.floor(begin).astype(np.int64)
    inside = (whole >= 0) & (whole + USEFUL <= len(baseband))
    index = np.where(inside, whole, 0)[:, None] + np.arange(USEFUL)
    if not inside.any():
        return np.full((len(rows), WIDTH), np.nan, complex)
    time = index + (first - sync.start)
    samples = baseband[np.minimum(index, len(baseband) - 1)] * np.exp(-2j * np.pi * sync.offset / USEFUL * time)
    spectra = np.fft.fft(samples, axis=1)[:, CARRIERS % USEFUL] / USEFUL * np.sqrt(WIDTH)
    # a window that begins early, and not at a whole sample, sees each carrier turned; undo it
    late = (begin - whole) + EARLY
    cells = spectra * np.exp(2j * np.pi / USEFUL * late[:, None] * CARRIERS)
    cells[~inside] = np.nan
    return np.asarray(cells)


# ---- one bookend -----------------------------------------------------------------------------------------------------


def refine(baseband: Complex, first: int, sync: Sync, bookend: Complex, wave: Complex) -> Sync | None:
    """Frequency and time of a bookend that was found roughly: ``sync`` counts from its first row.

    The frequency by a parabola over steps of 1.5 Hz of sound; *start* is the middle of all places of a window of 3.67 ms that
    hold 97 % of the best energy of the delay profile |IFFT(Y / X)|² (under two paths the strongest one is the late one half of
    the time).
    """
    step = 1.5 / 46.875
    tries = sync.offset + step * np.arange(-4, 5)
    reach = 3
    at = round(sync.start) - first
    low, high = at - reach, at + reach + len(wave)
    piece = baseband[max(0, low) : max(0, high)]
    piece = np.concatenate((np.zeros(max(0, -low)), piece, np.zeros(max(0, high - max(low, 0) - len(piece)))))
    time = np.arange(len(wave))
    turned = wave.conj() * np.exp(-2j * np.pi / USEFUL * tries[:, None] * time)
    frames = np.lib.stride_tricks.sliding_window_view(piece, len(wave))
    energy = (np.abs(turned @ frames.T) ** 2).sum(1)
    found = replace(sync, offset=float(_parabola(tries, energy)))
    cells = extract(baseband, first, found, np.arange(EDGE))
    seen = ~np.isnan(cells[:, 0])
    if not seen.any():
        return None
    delays, power = delay_profile((cells / bookend)[seen])
    middle, strongest = _middle(delays, power)
    return replace(found, start=found.start + middle, strongest=strongest - middle)


def delay_profile(ratios: Complex) -> tuple[Real, Real]:
    """Delays in samples ``[512]`` from -64 on by quarters, and the power at each, of channel ratios ``[rows, 48]``."""
    taper = np.hanning(WIDTH + 2)[1:-1]
    spectrum = np.zeros((len(ratios), 4 * USEFUL), complex)
    spectrum[:, CARRIERS % (4 * USEFUL)] = ratios * taper
    power = (np.abs(np.fft.ifft(spectrum, axis=1)) ** 2).mean(0)
    return (np.arange(4 * USEFUL) - 2 * USEFUL) / 4, np.fft.fftshift(power)


def _middle(delays: Real, power: Real) -> tuple[float, float]:
    """The middle of the echoes, and the strongest path, in samples."""
    near = np.abs(delays) <= 32
    delays, power = delays[near], power[near]
    width = 4 * WINDOW
    sums = np.convolve(power, np.ones(width + 1), "valid")
    good = np.flatnonzero(sums >= 0.97 * sums.max())
    middle = float(delays[0] + (good.mean() + width / 2) / 4)
    top = int(np.clip(power.argmax(), 1, len(power) - 2))
    return middle, float(_parabola(delays[top - 1 : top + 2], power[top - 1 : top + 2]))


def _parabola(places: Real, values: Real) -> float:
    """Where the parabola through the highest value and its neighbours is highest."""
    top = int(np.argmax(values))
    if not 0 < top < len(values) - 1:
        return float(places[top])
    low, mid, high = values[top - 1 : top + 2]
    bend = low - 2 * mid + high
    return float(places[top] + (places[1] - places[0]) * (0.5 * (low - high) / bend if bend < 0 else 0.0))


# ---- offsets ---------------------------------------------------------------------------------------------------------


CLOCK_LIMIT = 250e-6


def refine_offsets(ratios: Complex, rows: Real, sync: Sync, anchor: float, reach: float = 1.0) -> Sync:
    """Carrier offset and clock from all known cells of a burst: the maximum of

        J(δ, ε) = sum over 6 bands of | sum over their cells of z exp(-2 pi i t (δ - ε c)) |²

    over a grid of ±2 Hz and ±220 ppm of sound, refined five times.

    Args:
        ratios: z = Y / X ``[rows, 48]``; NaN where nothing is known.
        rows: their numbers, counted from ``sync``.
        sync: what they were extracted with.
        anchor: the row whose place is kept, where the timing was found.
        reach: share of the grid that is searched; a longer span follows a shorter one with less.
    """
    time = (rows - anchor) * ROW / USEFUL  # in turns of one bin
    z = np.nan_to_num(ratios)
    bands = CARRIERS.reshape(6, 8)
    grouped = z.reshape(len(rows), 6, 8)

    def judge(shifts: Real, clocks: Real) -> Real:
        by_clock = np.exp(2j * np.pi * clocks[:, None, None, None] * time[:, None, None] * bands)  # [E, rows, 6, 8]
        folded = np.einsum("rbc,erbc->ebr", grouped, by_clock)
        return np.asarray((np.abs(folded @ np.exp(-2j * np.pi * time[:, None] * shifts)) ** 2).sum(1))  # [E, D]

    span = float(np.ptp(time)) if len(rows) else 0.0
    shift_step = min(0.25 / 46.875, 0.2 / max(span, 1e-9))
    shifts = shift_step * np.arange(-np.ceil(reach * 2 / 46.875 / shift_step), np.ceil(reach * 2 / 46.875 / shift_step) + 1)
    clocks = reach * np.arange(-220e-6, 221e-6, 44e-6)
    best, clock = 0.0, 0.0
    for _ in range(6):
        values = judge(shifts, clocks)
        e, d = np.unravel_index(values.argmax(), values.shape)
        best, clock = float(shifts[d]), float(clocks[e])
        shifts = best + (shifts[1] - shifts[0]) * np.array([-0.5, 0.0, 0.5])
        clocks = clock + (clocks[1] - clocks[0]) * np.array([-0.5, 0.0, 0.5])
    total = float(np.clip(sync.clock + clock, -CLOCK_LIMIT, CLOCK_LIMIT))
    start = float(sync.row_start(anchor)) - anchor * ROW * (1 + total)  # type: ignore[arg-type]
    return replace(sync, start=start, offset=sync.offset + best, clock=total)


# ---- channel ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Channel:
    """What was found of a burst's channel.

    Args:
        h: posterior mean of every cell's gain, ``[rows, 48]``.
        variance: posterior variance of each, the same shape.
        noise: N0 of each, the same shape.
        spread_ms, doppler_hz: of the law that explains the known cells best, in sound's measures.
    """

    h: Complex
    variance: Real
    noise: Real
    spread_ms: float
    doppler_hz: float


NARROW_MS, WIDE_MS, DOPPLERS_HZ = (0.06, 0.3), (0.9, 1.5, 2.1), (0.03, 0.3, 0.8)
"""Delays within ±w about the strongest path, or about the middle of the echoes; σ of a Gaussian Doppler spectrum."""
_GAINS = 10 ** (np.arange(-12, 45, 2) / 10)


@lru_cache(maxsize=64)
def _across(spread_ms: float) -> Real:
    """F ``[48, n]``: eigenvectors, scaled by the roots of their eigenvalues, of sinc(2 w Δf (c - c'))."""
    apart = CARRIERS[:, None] - CARRIERS[None]
    return _factor(np.sinc(2 * spread_ms * 1e-3 * 46.875 * apart))


@lru_cache(maxsize=64)
def _along(doppler_hz: float, rows: int) -> Real:
    """T ``[rows, n]``: the same of exp(-2 pi² σ² (t - t')²)."""
    apart = (np.arange(rows)[:, None] - np.arange(rows)[None]) * ROW / (USEFUL * 46.875)
    return _factor(np.exp(-2 * np.pi**2 * doppler_hz**2 * apart**2))


def _factor(kernel: Real) -> Real:
    values, vectors = eigh(kernel)
    keep = values > 1e-5 * values[-1]
    return np.asarray(vectors[:, keep] * np.sqrt(values[keep]))


@dataclass(frozen=True)
class _Fit:
    """One law's explanation of the known cells."""

    evidence: float
    across: Real
    along: Real
    turn: Complex
    mean: Complex
    root: Real
    noise: float
    law: tuple[float, float]

    def at(self, rows: Whole, columns: Whole) -> tuple[Complex, Real]:
        """ĥ and its variance at cells."""
        seen = _products(self.along[rows], self.across[columns])
        return (seen @ self.mean) * self.turn[columns], ((seen @ self.root) ** 2).sum(1)

    def everywhere(self) -> tuple[Complex, Real]:
        """ĥ and its variance ``[rows, 48]``."""
        t, f = self.along, self.across
        shape = (t.shape[1], f.shape[1])
        h = (t @ self.mean.reshape(shape) @ f.T) * self.turn
        roots = self.root.reshape(*shape, -1)
        variance = (np.einsum("ri,ijm,cj->rcm", t, roots, f, optimize=True) ** 2).sum(-1)
        return h, variance


def _products(along: Real, across: Real) -> Real:
    return np.asarray((along[:, :, None] * across[:, None, :]).reshape(len(along), -1))


def _fit(y: Complex, rows: Whole, columns: Whole, count: int, law: tuple[float, float], delay: float,
         weight: Real | None) -> _Fit:  # fmt: skip
    """The evidence of one law, and the posterior under it (the amplitudes a_ij of F and T are CN(0, P))."""
    turn = np.exp(-2j * np.pi / USEFUL * delay * CARRIERS)
    across, along = _across(law[0]), _along(law[1], count)
    seen, target = _products(along[rows], across[columns]), y * turn.conj()[columns]
    if weight is not None:
        seen, target = seen * np.sqrt(weight)[:, None], target * np.sqrt(weight)
    s, v = eigh(seen.T @ seen, check_finite=False)
    s = np.maximum(s, 0)
    q = v.T @ (seen.T @ target)
    explained = np.abs(q) ** 2 @ (_GAINS / (1 + _GAINS * s[:, None]))
    n0 = np.maximum((np.vdot(target, target).real - explained) / len(y), 1e-30)
    evidence = -np.log1p(_GAINS * s[:, None]).sum(0) - len(y) * np.log(n0)
    g = int(evidence.argmax())
    inverse = _GAINS[g] / (1 + _GAINS[g] * s)
    return _Fit(
        float(evidence[g]), across, along, turn, v @ (inverse * q), v * np.sqrt(n0[g] * inverse), float(n0[g]), law
    )  # fmt: skip


def estimate_channel(
    ratios: Complex, strongest: float, *, measured: Callable[[int], bool] | None = None
) -> Channel:
    """The channel of a burst, or of a part of one, from its known cells.

    h(c, r) = sum_ij F_ci T_rj a_ij with a ~ CN(0, P): of fifteen laws (delay spread and Doppler) that one is taken under which
    the known cells are likeliest. A calm channel is then a matter of 2 to 4 unknowns, a wild one of 40.

    Args:
        ratios: Y / X of the known cells ``[rows, 48]``, |X| = 1; NaN elsewhere. At least one is known.
        strongest: delay of the strongest path, in samples.
        measured: which rows are data rows: clipping can make them noisier than bookends, and their pilots tell.
    """
    count = len(ratios)
    rows, columns = np.nonzero(~np.isnan(ratios))
    y = ratios[rows, columns]
    laws = [((w, d), strongest) for w in NARROW_MS for d in DOPPLERS_HZ] + [((w, d), 0.0) for w in WIDE_MS for d in DOPPLERS_HZ]

    def best(weight: Real | None) -> _Fit:
        return max((_fit(y, rows, columns, count, law, delay, weight) for law, delay in laws), key=lambda fit: fit.evidence)

    fit = best(None)
    noise = _noise_by_carrier(fit, y, rows, columns)
    if noise is not None:
        fit = best(np.median(noise) / noise[columns])
    h, variance = fit.everywhere()
    shape = np.ones(WIDTH) if noise is None else noise / np.median(noise)
    level = _level(fit, y, rows, columns, shape, measured)
    return Channel(h, variance, np.broadcast_to(level * shape, h.shape), *fit.law)


def _noise_by_carrier(fit: _Fit, y: Complex, rows: Whole, columns: Whole) -> Real | None:
    """N0 of each carrier, where a whistle makes one of them four times as noisy as the middle one; None where none does."""
    left = np.abs(y - fit.at(rows, columns)[0]) ** 2
    sums, cells = np.bincount(columns, left, WIDTH), np.bincount(columns, minlength=WIDTH)
    usual = float(np.median(sums / np.maximum(cells, 1)))
    noise = (6 * usual + sums) / (6 + cells)
    middle = float(np.median(noise))
    return noise if middle > 1e-20 and noise.max() > 4 * middle else None


def _level(
    fit: _Fit, y: Complex, rows: Whole, columns: Whole, shape: Real, measured: Callable[[int], bool] | None
) -> float:
    """N0 of the fit; where more than 60 pilots of data rows say surely another one, theirs."""
    if measured is None:
        return fit.noise
    told = np.array([measured(int(row)) for row in rows])
    if told.sum() <= 60:
        return fit.noise
    h, variance = fit.at(rows[told], columns[told])
    left = np.abs(y[told] - h) ** 2 / shape[columns[told]]
    free = np.maximum(1 - variance / (fit.noise * shape[columns[told]]), 0.05)  # E|y - ĥ|² = N0 (1 - leverage)
    pilots = float(left.sum() / free.sum())
    return pilots if abs(pilots / fit.noise - 1) > 2.5 / np.sqrt(told.sum()) else fit.noise
