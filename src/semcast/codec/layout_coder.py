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
from scipy import ndimage

from semcast.codec.entropy import Decoder, Encoder, Frequencies, cost_bits, normalised
from semcast.errors import SemcastError

CATEGORIES = 19
SIDES = (16, 32, 64)
"""The resolutions a layout is coded at."""

LAG = 3
NEAR = tuple(
    (dy, dx) for dy, xs in ((0, range(-3, 0)), (-1, range(-4, 3)), (-2, range(-4, 5)), (-3, range(-3, 4))) for dx in xs
)  # fmt: skip
OUTSIDE = CATEGORIES
LARGEST = 4095
GRID = 16
"""The side of the map of cells, one for each place of the features."""

_MARGIN = 4
_WHOLE = np.int64


def reduced(labels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Labels ``[..., S, S]`` → ``[..., side, side]``: the most frequent category of each block, the lower of two equals.

    Values of 19 and above count nowhere; a block of nothing else takes the category of the nearest block that has one.
    """
    *maps, size, _ = labels.shape
    block = size // side
    blocks = labels.reshape(*maps, side, block, side, block)
    votes = np.stack([(blocks == category).sum((-3, -1), dtype=np.int32) for category in range(CATEGORIES)], -1)
    winners = votes.argmax(-1).astype(np.uint8)
    empty = votes.max(-1) == 0
    for one in np.ndindex(*maps):
        if empty[one].any() and not empty[one].all():
            y, x = ndimage.distance_transform_edt(empty[one], return_distances=False, return_indices=True)
            winners[one] = winners[one][y, x]
    return winners


def cells_of(layout: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Layouts ``[..., side, side]`` as the 16 x 16 cells of the features: whole numbers only, so both ends agree.

    Raises:
        SemcastError: another side, or a category that is not below 19.
    """
    side = layout.shape[-1]
    if side not in SIDES or layout.shape[-2] != side:
        raise SemcastError(f"a layout's side is one of {', '.join(map(str, SIDES))}, not {layout.shape[-2:]}")
    if layout.size and int(layout.max()) >= CATEGORIES:
        raise SemcastError(f"a layout holds categories below {CATEGORIES}, not {int(layout.max())}")
    return reduced(layout, GRID)


def simplify(layout: NDArray[np.uint8], strength: int) -> NDArray[np.uint8]:
    """The layout without specks: areas (4-connected) of up to ``strength`` places take the category most met along their edge.

    Small areas go first, the lower category where two are met as often; 0 changes nothing.
    """
    layout = layout.copy()
    for size in range(1, strength + 1):
        for category in np.unique(layout):
            areas, _ = ndimage.label(layout == category)
            for area in np.flatnonzero(np.bincount(areas.reshape(-1)) == size):
                inside = areas == area
                if area and not inside.all():
                    layout[inside] = _met(layout, inside)
    return layout


def _met(layout: NDArray[np.uint8], inside: NDArray[np.bool_]) -> int:
    """The category most met across the edge of an area."""
    votes = np.zeros(CATEGORIES, int)
    for categories, area in ((layout, inside), (layout.T, inside.T)):
        for one, other in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            votes += np.bincount(categories[other][area[one] & ~area[other]], minlength=CATEGORIES)
    return int(votes.argmax())


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

    def cost_bits(self, layout: NDArray[np.uint8]) -> float:
        """What the layout takes, in bits, without writing it."""
        return cost_bits(*self._model(layout))

    def encode(self, layout: NDArray[np.uint8], encoder: Encoder) -> None:
        """Append the layout."""
        encoder.put(*self._model(layout))

    def decode(self, decoder: Decoder) -> NDArray[np.uint8]:
        """The next layout: wave by wave, each with the frequencies that the places before it give.

        Raises:
            SemcastError: the data is damaged.
        """
        padded = np.full(self._size, OUTSIDE, np.uint8)
        seen = np.zeros(CATEGORIES, bool)
        for first, last in zip(self.waves.start[:-1], self.waves.start[1:], strict=True):
            places = self.waves.places[first:last]
            symbols = decoder.get(self._frequencies(padded, places, self._seen[seen].sum(0)))
            padded[self._inside[places]] = symbols
            seen[symbols] = True
        return padded[self._inside].reshape(self.side, self.side)

    def _model(self, layout: NDArray[np.uint8]) -> tuple[NDArray[np.int64], Frequencies]:
        """All symbols in their order, and their frequencies."""
        if layout.shape != (self.side, self.side) or layout.max() >= CATEGORIES:
            raise ValueError(f"a layout of {self.side} x {self.side} categories below {CATEGORIES} is needed")
        padded = np.full(self._size, OUTSIDE, np.uint8)
        padded[self._inside] = layout.reshape(-1)
        symbols = layout.reshape(-1)[self.waves.places].astype(np.int64)
        wave = np.repeat(np.arange(len(self.waves.start) - 1), np.diff(self.waves.start))
        before = np.full(CATEGORIES, len(wave))  # the first wave that shows each category
        np.minimum.at(before, symbols, wave)
        shown = self._steps_of(before)[wave]
        return symbols, self._frequencies(padded, self.waves.places, shown)

    def _steps_of(self, before: NDArray[np.int64]) -> NDArray[np.int64]:
        """Σ seen[c] over the categories shown before each wave, ``[waves, hidden + 19]``."""
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
        return normalised(self._power[np.minimum(u.max(1, keepdims=True) - u, len(self._power) - 1)])
