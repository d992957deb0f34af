"""How sure a mean over photos is: percentile bootstrap (Efron and Tibshirani, An introduction to the bootstrap, 1993, ch. 13).

Photos are what is resampled: the draws of one photo are averaged first, because they share its content and are not
independent measurements. Differences of two systems are taken photo by photo, so that what makes a photo hard cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import numpy as np

from semcast.bench.records import Record
from semcast.errors import BadInput

R = TypeVar("R")
K = TypeVar("K", bound=Hashable)
LEVEL = 0.95
VERIFIED, VERIFIED_2 = 0.40, 0.47
"""Similarities under which the first and the second recogniser do not take a received face for the same person, of lines that do
not say it themselves (``verified``; thresholds of metrics/identity.py)."""


def group(records: Iterable[R], by: Callable[[R], K]) -> dict[K, list[R]]:
    """Put records with one key together, the keys in the order in which they come.

    >>> group([1, 2, 3, 4], lambda number: number % 2)
    {1: [1, 3], 0: [2, 4]}
    """
    groups: dict[K, list[R]] = {}
    for record in records:
        groups.setdefault(by(record), []).append(record)
    return groups


@dataclass(frozen=True)
class Interval:
    """A mean over ``count`` photos and the ends of its confidence interval."""

    mean: float
    low: float
    high: float
    count: int

    def text(self, digits: int = 2) -> str:
        """``mean [low, high]``.

        >>> Interval(1.0, 0.5, 1.5, 10).text()
        '1.00 [0.50, 1.50]'
        """
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def bootstrap(values: Sequence[float], *, draws: int = 2000, seed: int = 0) -> Interval:
    """Mean of ``values`` (one a photo) and its 95 % percentile bootstrap interval; the same for the same seed.

    Raises:
        SemcastError: there is no value, or one is not finite.

    >>> bootstrap([2.0, 2.0, 2.0])
    Interval(mean=2.0, low=2.0, high=2.0, count=3)
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        raise BadInput("a confidence interval needs values, all of them finite")
    chosen = np.random.default_rng(seed).integers(0, sample.size, (draws, sample.size))
    means = sample[chosen].mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(sample.mean()), float(low), float(high), int(sample.size))


def subtract(first: Mapping[str, float], second: Mapping[str, float], *, seed: int = 0) -> Interval:
    """Average first - second over the photos that both have, and its interval.

    Raises:
        SemcastError: they have no photo in common.
    """
    common = [name for name in first if name in second]
    if not common:
        raise BadInput("the two have no photo in common")
    return bootstrap([first[name] - second[name] for name in common], seed=seed)


def value(record: Record, metric: str) -> float | None:
    """Take a metric of a record; ``outage`` is 1 where the receiver does not trust it or the person is not verified, else 0.

    By the second recogniser where there is one: the first is a loss of some systems.
    """
    if metric == "outage":
        return float(not record.ok or _verified(record) is False)
    found: float | None = getattr(record, metric, None)
    return found


def _verified(record: Record) -> bool | None:
    """Whether it shows the same person; None where nobody looked."""
    first, second = (record.verified, record.identity, VERIFIED), (record.verified_2, record.identity_2, VERIFIED_2)
    for said, similarity, least in (second, first):
        if said is not None:
            return said > 0
        if similarity is not None:
            return similarity >= least
    return None


def by_photo(records: Iterable[Record], metric: str) -> dict[str, float]:
    """The metric of each photo, averaged over its draws; photos without it are left out."""
    found = ((record.image, value(record, metric)) for record in records)
    known = [(image, float(each)) for image, each in found if each is not None and math.isfinite(each)]
    photos = group(known, lambda pair: pair[0])
    return {name: sum(each for _, each in pairs) / len(pairs) for name, pairs in photos.items()}


def interval(records: Iterable[Record], metric: str) -> Interval | None:
    """The metric's mean over photos with its interval; None where nobody measured it."""
    values = by_photo(records, metric)
    return bootstrap(list(values.values())) if values else None


def power_db(records: Iterable[Record]) -> float | None:
    """Mean power over photos in dB; None where no line has it."""
    powers = by_photo(records, "power").values()
    return 10 * math.log10(fmean(powers)) if powers and fmean(powers) > 0 else None
