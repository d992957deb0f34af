"""Symbols to cells and back: analog symbols are spread, each over all cells, so that a fade takes a little of each.

One symbol of 640 may carry a quarter of a burst's energy. So the symbols x of a block go to n cells by

    u = F_n [D x; 0] sqrt(n / k),     D = diag(fixed unit phases),     F_n the unitary DFT,

which costs nothing over a channel of equal noise, and uses the spare cells. At the receiver, cells of unequal variance are
undone by the linear estimate of least mean square (:func:`despread`). Cell i of the burst goes to place (i a) mod n of the grid,
a about 0.618 n. Points of a constellation are interleaved so, and not spread: their code has its own diversity.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd

import numpy as np
from scipy.fft import fft, ifft
from scipy.linalg import toeplitz
from scipy.linalg.lapack import zpotrf, zpotri

from semcast.onair.arrays import Complex, Real, Whole
from semcast.onair.waveform import fixed_bits, turns

BLOCK = 1024
"""Symbols that are spread together; more are dealt out to several blocks."""
WORST = 1e6
"""What a noise variance is at most: nothing of that symbol came."""


@lru_cache(maxsize=1)
def _phases() -> Complex:
    """D, ``[1024]``."""
    return turns(np.packbits(fixed_bits(11, 8 * BLOCK), bitorder="little").astype(int))


@lru_cache(maxsize=8)
def interleave(cells: int) -> Whole:
    """Place on the grid of each of n cells, ``[n]``: (i a) mod n, with a the coprime next to 0.618 n.

    >>> interleave(8).tolist()
    [0, 5, 2, 7, 4, 1, 6, 3]
    """
    near = round(0.618 * cells)
    step = next(a for d in range(cells + 1) for a in (near + d, near - d) if a > 0 and gcd(a, cells) == 1)
    return np.arange(cells) * step % cells


def _blocks(symbols: int, cells: int) -> list[tuple[slice, slice]]:
    """Which symbols and which cells, both before interleaving, each block has: every B-th."""
    count = -(-symbols // BLOCK)
    return [(slice(b, symbols, count), slice(b, cells, count)) for b in range(count)]


def spread(symbols: Complex, cells: int) -> Complex:
    """Symbols ``[k]`` → cells ``[n]`` in the order of the grid, n >= k, of the same mean energy."""
    made = np.empty(cells, complex)
    for of, to in _blocks(len(symbols), cells):
        block = symbols[of]
        size = len(range(*to.indices(cells)))
        padded = np.zeros(size, complex)
        padded[: len(block)] = block * _phases()[: len(block)]
        made[to] = fft(padded, norm="ortho") * np.sqrt(size / len(block))
    placed = np.empty(cells, complex)
    placed[interleave(cells)] = made
    return placed


def place(points: Complex, cells: int) -> Complex:
    """Points of a constellation ``[k]`` → cells ``[n]`` in the order of the grid; those that are left over are 0."""
    placed = np.zeros(cells, complex)
    placed[interleave(cells)[: len(points)]] = points
    return placed


def take(cells: Complex, variance: Real, symbols: int) -> tuple[Complex, Real]:
    """The inverse of :func:`place`: points and their noise variances, both ``[k]``, at most :data:`WORST`."""
    at = interleave(len(cells))[:symbols]
    noise = np.minimum(variance[at], WORST)
    return np.where(noise < WORST, cells[at], 0), noise


def despread(cells: Complex, variance: Real, symbols: int, power: Real | None = None) -> tuple[Complex, Real]:
    """Linear estimate of least mean square, without bias.

        S = (1/p + U* W U)^-1,   W = diag(1 / variance),   mu = 1 - diag(S) / p,
        x = S U* W u / mu,       noise = diag(S) / mu = p (1 - mu) / mu

    Args:
        cells: equalised, ``[n]`` in the order of the grid.
        variance: of their noise; infinite where nothing came.
        symbols: k.
        power: mean |x|² of each symbol ``[k]``; None: first 1 for all, then, where over half of the cells came, once more with
            the powers that were found.

    Returns:
        symbols ``[k]``, and the variance of the noise on each, at most :data:`WORST`.
    """
    order = interleave(len(cells))
    cells, weight = cells[order], np.where(np.isfinite(variance), 1 / np.maximum(variance, 1e-12), 0.0)[order]
    came = float((weight > 0).mean())
    found, noise = _solve(cells, weight, np.ones(symbols) if power is None else power)
    if power is None and came > 0.5 and not _equal(weight):
        found, noise = _solve(cells, weight, learn_power(found, noise))
    return found, noise


def _solve(cells: Complex, weight: Real, power: Real) -> tuple[Complex, Real]:
    symbols = len(power)
    found, noise = np.zeros(symbols, complex), np.full(symbols, WORST)
    for of, to in _blocks(symbols, len(cells)):
        x, v = _solve_block(cells[to], weight[to], power[of])
        found[of], noise[of] = x, v
    return found, noise


def _equal(weight: Real) -> bool:
    return bool(weight.min() > 0 and weight.max() <= 1.02 * weight.min())


def _solve_block(cells: Complex, weight: Real, power: Real) -> tuple[Complex, Real]:
    n, k = len(cells), len(power)
    phases = _phases()[:k].conj()
    if _equal(weight):  # all that follows comes to this
        return ifft(cells, norm="ortho")[:k] * phases * np.sqrt(k / n), np.full(k, min(k / n / weight.mean(), WORST))
    if not weight.any():
        return np.zeros(k, complex), np.full(k, WORST)
    seen = fft(weight)[:k] / k  # U* W U is Toeplitz: entry (i, j) is the (j - i)-th of these
    matrix = toeplitz(seen.conj(), seen)
    power = np.maximum(power, 1e-9)
    matrix[np.diag_indices(k)] += 1 / power
    factor, _ = zpotrf(matrix, lower=1, overwrite_a=1)
    inverse, _ = zpotri(factor, lower=1, overwrite_c=1)
    spreads = np.diag(inverse).real.copy()
    right = ifft(cells * weight, norm="ortho")[:k] * np.sqrt(n / k)
    solved = _hermitian_times(inverse, right)
    share = np.clip(1 - spreads / power, power / (power + WORST), 1 - 1e-12)
    noise = np.minimum(spreads / share, WORST)
    return np.where(noise < WORST, solved * phases / share, 0), noise


def _hermitian_times(lower: Complex, vector: Complex) -> Complex:
    """A x of a Hermitian A of which the lower triangle alone is there."""
    below = np.tril(lower, -1)
    return np.asarray(below @ vector + below.conj().T @ vector + np.diag(lower).real * vector)


def learn_power(found: Complex, noise: Real, width: float = 0.08) -> Real:
    """Mean |x|² of each symbol, from one burst, its symbols in the order of what they matter: |x|² - noise over log i, smoothed.

    Args:
        found, noise: of :func:`despread`, ``[k]``.
        width: of the Gaussian, in natural logarithms of i.
    """
    size = np.log(np.arange(1, len(found) + 1))
    surplus = np.abs(found) ** 2 - noise
    surplus = np.where(noise < WORST, surplus, 0)
    grid = np.linspace(0, size[-1], max(2, int(size[-1] / (width / 2)) + 1))
    # sums over bins first: the smoothing is then of some 150 numbers, however many symbols there are
    at = np.minimum((size / (grid[1] - grid[0] if grid[-1] > 0 else 1) + 0.5).astype(int), len(grid) - 1)
    sums, counts = np.bincount(at, surplus, len(grid)), np.bincount(at, minlength=len(grid)).astype(float)
    kernel = np.exp(-0.5 * ((grid[:, None] - grid[None]) / width) ** 2)
    smooth = (kernel @ sums) / np.maximum(kernel @ counts, 1e-9)
    return np.asarray(np.maximum(np.interp(size, grid, smooth), 1e-4))
