"""Spreading: lossless where all cells are alike, an honest and unbiased estimate where they are not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from on_air import gauss
from scipy.linalg import dft

from semcast.onair.spread import BLOCK, WORST, despread, interleave, learn_power, place, spread, take
from semcast.onair.threads import one_thread


@pytest.fixture(autouse=True)
def one_thread_alone() -> Iterator[None]:
    """As the receiver does it."""
    with one_thread():
        yield


SIZES = [(1, 40), (39, 40), (40, 40), (64, 80), (640, 640), (1024, 1040), (1025, 1040), (2500, 2520), (5000, 5000)]


@pytest.mark.parametrize("cells", [40, 80, 640, 1040, 5000, 40 * 26215])
def test_interleaving_is_a_permutation_and_keeps_neighbours_apart(cells: int) -> None:
    order = interleave(cells)
    assert np.array_equal(np.sort(order), np.arange(cells))
    apart = np.abs(np.diff(order))
    assert np.minimum(apart, cells - apart).min() > 0.3 * cells


@pytest.mark.parametrize(("k", "cells"), SIZES)
def test_what_is_spread_comes_back(k: int, cells: int) -> None:
    symbols = gauss(k)
    on = spread(symbols, cells)
    assert on.shape == (cells,)
    if k <= BLOCK:
        assert np.mean(np.abs(on) ** 2) == pytest.approx(np.mean(np.abs(symbols) ** 2))
    found, noise = despread(on, np.full(cells, 0.01), k)
    assert np.allclose(found, symbols)
    assert noise.mean() == pytest.approx(0.01 * k / cells, rel=0.01)  # spare cells are used


def test_spreading_is_the_transform_that_the_document_gives() -> None:
    """u = F_n [D x; 0] sqrt(n / k), cell i at place (i a) mod n: with a matrix, for k = 5 of 40 cells."""
    from semcast.onair.spread import _phases

    x = gauss(5)
    padded = np.concatenate((_phases()[:5] * x, np.zeros(35)))
    u = dft(40, scale="sqrtn") @ padded * np.sqrt(40 / 5)
    step = int(interleave(40)[1])
    assert step == 27 and np.allclose(np.abs(_phases()), 1)  # the first coprime among 25, 26, 24, 27, ...: 0.618 · 40 is 24.7
    assert np.allclose(spread(x, 40)[(np.arange(40) * step) % 40], u)


@pytest.mark.parametrize(("k", "cells"), [(40, 40), (64, 80), (300, 320), (1100, 1120)])
@pytest.mark.parametrize("kind", ["fading", "cut", "whistle"])
def test_the_estimate_has_no_bias_and_knows_its_error(k: int, cells: int, kind: str) -> None:
    """Over many bursts: mean of x̂ x* / |x|² is 1, and e² is what it says."""
    random, ratios, biases = np.random.default_rng(0), [], []
    for trial in range(40 if k < 1000 else 6):
        variance = 10 ** random.uniform(-1.5, 0.5, cells)
        if kind == "cut":
            variance = np.where(np.arange(cells) < 0.25 * cells, np.inf, 0.1)
        if kind == "whistle":
            variance = np.where(np.arange(cells) % 40 == 7, 100.0, 0.1)
        x = gauss(k, trial)
        came = np.isfinite(variance)
        noise = np.sqrt(np.where(came, variance, 0) / 2) * (random.standard_normal(cells) + 1j * random.standard_normal(cells))
        found, left = despread(np.where(came, spread(x, cells) + noise, 0), variance, k, np.ones(k))
        ratios.append(np.mean(np.abs(found - x) ** 2 / left))
        biases.append(np.vdot(x, found) / np.vdot(x, x))
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)
    assert np.mean(biases) == pytest.approx(1, abs=0.05)


def test_known_powers_help_where_cells_are_missing() -> None:
    k, cells = 320, 320
    power = np.where(np.arange(k) < 80, 4.0, 1e-3)
    power /= power.mean()
    errors = {}
    for trial in range(10):
        x = gauss(k, trial) * np.sqrt(power)
        variance = np.where(np.arange(cells) < 96, np.inf, 0.1)
        noise = np.sqrt(0.05) * np.sqrt(2) * gauss(cells, 100 + trial)
        heard = np.where(np.isfinite(variance), spread(x, cells) + noise, 0)
        for name, told in (("known", power), ("learned", None), ("one", np.ones(k))):
            found, left = despread(heard, variance, k, told)
            wiener = found * power / (power + left)
            errors[name] = errors.get(name, 0.0) + float(np.sum(np.abs(wiener - x) ** 2))
    assert errors["known"] < errors["learned"] < errors["one"]


def test_nothing_that_came_is_no_symbol() -> None:
    found, noise = despread(np.zeros(640, complex), np.full(640, np.inf), 640)
    assert not found.any() and (noise == WORST).all()
    found, noise = despread(np.zeros(2520, complex), np.r_[np.full(2519, np.inf), 1.0], 2500)
    assert np.isfinite(found).all() and (noise <= WORST).all() and np.isfinite(noise).all()


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_extreme_variances_stay_finite(scale: float) -> None:
    random = np.random.default_rng(0)
    found, noise = despread(spread(gauss(200), 200), scale * 10 ** random.uniform(-3, 3, 200), 200)
    assert np.isfinite(found).all() and np.isfinite(noise).all() and (noise >= 0).all() and (noise <= WORST).all()


def test_powers_are_learned() -> None:
    k = 640
    power = 20 * np.exp(-np.arange(k) / 60) + 1e-3
    tries = [learn_power(gauss(k, i) * np.sqrt(power) + 0.3 * gauss(k, 50 + i), np.full(k, 0.09)) for i in range(20)]
    assert all((one > 0).all() for one in tries)
    assert np.abs(np.log(np.mean(tries, 0)[20:120] / power[20:120])).mean() < 0.25
    assert learn_power(np.ones(1, complex), np.ones(1)).shape == (1,)


@pytest.mark.parametrize(("k", "cells"), [(1, 40), (40, 40), (41, 80), (2000, 2000)])
def test_points_are_placed_and_taken(k: int, cells: int) -> None:
    points = np.exp(0.5j * np.pi * np.random.default_rng(0).integers(0, 4, k))
    on, variance = place(points, cells), np.random.default_rng(1).uniform(0.1, 1, cells)
    assert int((on != 0).sum()) == k
    found, noise = take(on, variance, k)
    assert np.array_equal(found, points) and np.array_equal(noise, variance[interleave(cells)[:k]])
    lost, noise = take(on, np.full(cells, np.inf), k)
    assert not lost.any() and (noise == WORST).all()
