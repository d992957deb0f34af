"""Lossless coding of a layout (a map of 19 categories) with a small network that runs in whole numbers.

Places are visited in waves: place (x, y) in wave x + 3 y, so that places of one wave do not depend on each other and are coded
together. A place sees the categories of the 26 places of :data:`NEAR` around it (earlier waves all; 19 is "outside"), where
it lies, and which categories earlier waves have shown at all::

    z = Σ_p near[p, category_p] + Σ_{c seen} seen[c] + row[y] + column[x]            whole numbers, [HIDDEN + 19]
    h = clip(z[:HIDDEN], 0, 4095)
    g = clip((h · inner + bias) >> 10, 0, 4095)
    u = (1024 · z[HIDDEN:] + g · outer) >> 13                                        [19], in 1/64 bit
    f ~ power[max(u) - u],  power[d] = round(2^20 · 2^(-d / 64))

Every number is a whole one, products are summed in float64 below 2^53, where that is exact: no machine, library or number
of threads changes a frequency, as it would with a network in floating point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semcast.codec.concepts import CATEGORIES, Layout
from semcast.codec.entropy import Decoder, Encoder, Frequencies, cost_bits, normalise

LAG = 3
NEAR = tuple(
    (dy, dx) for dy, xs in ((0, range(-3, 0)), (-1, range(-4, 3)), (-2, range(-4, 5)), (-3, range(-3, 4))) for dx in xs
)  # fmt: skip
OUTSIDE = CATEGORIES
LARGEST = 4095

_MARGIN = 4
_WHOLE = np.int64


@dataclass(frozen=True)
class LayoutTables:
    """The network of one side, whole numbers.

    Args:
        near: ``[len(NEAR), 20, hidden + 19]``, what a neighbour's category adds.
        seen: ``[19, hidden + 19]``, what a category adds once it was seen.
        row, column: ``[side, hidden + 19]``.
        inner: ``[hidden, hidden]``; bias: ``[hidden]``; outer: ``[hidden, 19]``.
        power: ``[steps]``, 2^20 · 2^(-d / 64); what lies beyond counts as the last.
    """

    near: NDArray[np.integer]
    seen: NDArray[np.integer]
    row: NDArray[np.integer]
    column: NDArray[np.integer]
    inner: NDArray[np.integer]
    bias: NDArray[np.integer]
    outer: NDArray[np.integer]
    power: NDArray[np.integer]


@dataclass(frozen=True)
class Waves:
    """The order of places: ``places`` [side²] flat indices in a layout, wave ``w`` being ``places[start[w] : start[w + 1]]``."""

    places: NDArray[np.int64]
    start: NDArray[np.int64]

    @classmethod
    def of(cls, side: int) -> Waves:
        """The waves x + 3 y = 0, 1, ..., each from the top down."""
        y, x = np.divmod(np.arange(side * side), side)
        wave = x + LAG * y
        return cls(np.argsort(wave, kind="stable"), np.searchsorted(np.sort(wave), np.arange(wave.max() + 2)))


class LayoutCoder:
    """A layout uint8 ``[side, side]`` ↔ symbols of an entropy coder."""

    def __init__(self, tables: LayoutTables) -> None:
        self.side = len(tables.row)
        self.hidden = len(tables.bias)
        self.waves = Waves.of(self.side)
        width = self.side + 2 * _MARGIN
        self._inside = (np.arange(self.side)[:, None] + _MARGIN) * width + np.arange(self.side) + _MARGIN
        self._inside = self._inside.reshape(-1)
        self._steps = np.array([dy * width + dx for dy, dx in NEAR])
        self._size = width * width
        self._near = np.ascontiguousarray(tables.near, np.int32).reshape(-1, self.hidden + CATEGORIES)
        self._first = np.arange(len(NEAR)) * (CATEGORIES + 1)
        self._seen = tables.seen.astype(_WHOLE)
        self._where = (tables.row[:, None].astype(_WHOLE) + tables.column[None]).reshape(self.side**2, -1)
        self._inner, self._outer = tables.inner.astype(np.float64), tables.outer.astype(np.float64)
        self._bias = tables.bias.astype(np.float64)
        self._power = tables.power.astype(_WHOLE)

    def cost_bits(self, layout: Layout) -> float:
        """Count what the layout takes, in bits, without writing it."""
        return cost_bits(*self._model(layout))

    def encode(self, layout: Layout, encoder: Encoder) -> None:
        """Append the layout."""
        encoder.put(*self._model(layout))

    def decode(self, decoder: Decoder) -> Layout:
        """Read the next layout: wave by wave, each with the frequencies that the places before it give.

        Raises:
            Damaged: the data is damaged.
        """
        padded = np.full(self._size, OUTSIDE, np.uint8)
        seen = np.zeros(CATEGORIES, bool)
        for first, last in zip(self.waves.start[:-1], self.waves.start[1:], strict=True):
            places = self.waves.places[first:last]
            symbols = decoder.get(self._frequencies(padded, places, self._seen[seen].sum(0)))
            padded[self._inside[places]] = symbols
            seen[symbols] = True
        layout: Layout = padded[self._inside].reshape(self.side, self.side)
        return layout

    def _model(self, layout: Layout) -> tuple[NDArray[np.int64], Frequencies]:
        """All symbols in their order, and their frequencies."""
        if layout.shape != (self.side, self.side) or layout.max() >= CATEGORIES:
            raise ValueError(f"a layout of {self.side} x {self.side} categories below {CATEGORIES} is needed")
        padded = np.full(self._size, OUTSIDE, np.uint8)
        padded[self._inside] = layout.reshape(-1)
        symbols = layout.reshape(-1)[self.waves.places].astype(np.int64)
        wave = np.repeat(np.arange(len(self.waves.start) - 1), np.diff(self.waves.start))
        before = np.full(CATEGORIES, len(wave))  # the first wave that shows each category
        np.minimum.at(before, symbols, wave)
        return symbols, self._frequencies(padded, self.waves.places, self._sum_seen(before)[wave])

    def _sum_seen(self, before: NDArray[np.int64]) -> NDArray[np.int64]:
        """Σ seen[c] over the categories that were shown before each wave, ``[waves, hidden + 19]``."""
        waves = np.arange(len(self.waves.start) - 1)
        return (before < waves[:, None]).astype(_WHOLE) @ self._seen

    def _frequencies(
        self, padded: NDArray[np.uint8], places: NDArray[np.int64], shown: NDArray[np.int64]
    ) -> Frequencies:
        """Frequencies ``[n, 19]`` at these places; of ``padded`` only earlier waves are read."""
        around = padded[self._inside[places][:, None] + self._steps] + self._first
        z = self._where[places] + shown
        if len(places) <= self.side:
            z += self._near[around].sum(1)
        else:
            for index in around.T:  # one neighbour at a time: the array of all of them would be large
                z += self._near[index]
        h = np.minimum(np.maximum(z[:, : self.hidden], 0), LARGEST).astype(np.float64)
        g = (h @ self._inner + self._bias).astype(_WHOLE) >> 10
        g = np.minimum(np.maximum(g, 0), LARGEST).astype(np.float64)
        u = (1024 * z[:, self.hidden :] + (g @ self._outer).astype(_WHOLE)) >> 13
        return normalise(self._power[np.minimum(u.max(1, keepdims=True) - u, len(self._power) - 1)])
