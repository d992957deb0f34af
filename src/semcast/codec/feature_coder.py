"""Coding of a concept's features: :class:`FeatureCoder` is what the bitstream asks for, :class:`FeatureTables` version 1's.

A concept has one category and n cells of the 16 x 16 grid. In version 1 features are 8 numbers a cell in (-1, 1), in L steps,
and each index q is coded given category, channel and context: the same channel's indices a (left) and b (above), where those
cells belong to the concept as well. With m = 2 a, 2 b or a + b the context is min(2 L - 1, 7) buckets of m, apart for one
neighbour and for two, and one for none. Cells go in raster order, the 8 channels of a cell together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semcast.codec.concepts import CATEGORIES, GRID, Cells, Concept
from semcast.codec.entropy import TOTAL, Decoder, Encoder, Frequencies, cost_bits, normalise
from semcast.codec.ladder import V1, Indices

SCALE = 4096
"""What a table's frequencies sum to; the coder sees them times 2^12."""

CHANNELS, STEPS, LEVELS = V1.channels, V1.steps, V1.levels

_STRENGTH = 16.0  # how many values of a category it takes until they count as much as all categories together


class FeatureCoder(Protocol):
    """Codes the indices of a concept whose level is above 0, exactly alike on every machine."""

    def cost_cells(self, features: NDArray[np.floating], cells: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Count the bits of every cell at every level: ``[channels, 16, 16]`` and ``[16, 16]`` → ``[levels, 16, 16]``.

        A concept's cost at a level is the sum over its cells, and never less than what it will take.
        """
        ...

    def cost_bits(self, concept: Concept) -> float:
        """Count what a concept takes, in bits, without writing it."""
        ...

    def encode(self, concept: Concept, encoder: Encoder) -> None:
        """Append a concept that has its indices."""
        ...

    def decode(self, concept: Concept, decoder: Decoder) -> Indices:
        """Read the indices of a concept.

        Raises:
            Damaged: the data is damaged.
        """
        ...


def count_contexts(level: int) -> int:
    """Count the contexts of a level.

    >>> [count_contexts(level) for level in (1, 2, 5)]
    [7, 11, 15]
    """
    return 1 + 2 * _buckets(STEPS[level])


@dataclass(frozen=True)
class FeatureTables:
    """``frequencies[level]``: whole numbers ``[19, 8, contexts, L]`` for levels 1..5, each row's sum is 4096."""

    frequencies: Mapping[int, NDArray[np.int16]]

    def cost_cells(self, features: NDArray[np.floating], cells: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Count the bits of every cell at every level: features ``[8, 16, 16]`` and cells ``[16, 16]`` → ``[6, 16, 16]``, exact.

        A concept's cost at a level is the sum over its cells.
        """
        category = cells.reshape(-1).astype(np.int64)
        left, above = linked(cells)
        bits = np.zeros((LEVELS, GRID * GRID))
        for level in range(1, LEVELS):
            indices = V1.to_indices(features, level).reshape(CHANNELS, -1).T.astype(np.int64)
            context = _contexts(level, indices, left, above)
            rows = self.frequencies[level][category[:, None], np.arange(CHANNELS), context]
            chosen = np.take_along_axis(rows, indices[:, :, None], 2)[:, :, 0]
            bits[level] = np.log2(SCALE / chosen).sum(1)
        return bits.reshape(LEVELS, GRID, GRID)

    def cost_bits(self, concept: Concept) -> float:
        """Count what a concept takes, in bits, without writing it."""
        return cost_bits(*self._model(concept))

    def encode(self, concept: Concept, encoder: Encoder) -> None:
        """Append a concept that has its indices."""
        encoder.put(*self._model(concept))

    def decode(self, concept: Concept, decoder: Decoder) -> Indices:
        """Read the indices of a concept whose level is above 0.

        Raises:
            Damaged: the data is damaged.
        """
        cells, level = concept.cells, concept.level
        table = self.frequencies[level][concept.category].astype(np.int64) * (TOTAL // SCALE)
        channels, lookup = np.arange(CHANNELS), _lookup(level)
        left, above = neighbours(cells)
        count = (left >= 0).astype(np.int64) + (above >= 0)
        indices = np.zeros((len(cells) + 1, CHANNELS), np.int64)  # the last row stands for what is not there
        for i in range(len(cells)):
            context = lookup[count[i]][indices[left[i]] + indices[above[i]]]
            indices[i] = decoder.get(table[channels, context])
        return indices[:-1].astype(np.uint8)

    def _model(self, concept: Concept) -> tuple[NDArray[np.int64], Frequencies]:
        """All symbols in their order, and their frequencies."""
        assert concept.indices is not None
        whole = concept.indices.astype(np.int64)
        context = _contexts(concept.level, whole, *neighbours(concept.cells))
        table = self.frequencies[concept.level][concept.category]
        rows = table[np.arange(CHANNELS), context].astype(np.int64) * (TOTAL // SCALE)
        return whole.reshape(-1), rows.reshape(-1, STEPS[concept.level])


def default_tables() -> FeatureTables:
    """Give the tables before anything is learned: uniform without neighbours, else a triangle around them, wider for one."""
    tables = {}
    for level in range(1, LEVELS):
        steps, buckets = STEPS[level], _buckets(STEPS[level])
        centre = np.arange(buckets) * (2 * steps - 2) // (buckets - 1)
        away = np.abs(2 * np.arange(steps) - centre[:, None])
        one = 2 + np.maximum(0, 2 * steps - 2 * away)
        two = 2 + np.maximum(0, 4 * steps - 6 * away)
        weights = np.concatenate((np.ones((1, steps), np.int64), one, two))
        tables[level] = np.broadcast_to(_scale(weights.astype(np.float64)), (CATEGORIES, CHANNELS, *weights.shape)).copy()
    return FeatureTables(tables)


def learn_tables(features: NDArray[np.floating], cells: NDArray[np.uint8]) -> FeatureTables:
    """Learn tables from what an encoder makes of training photos.

    Counts of a category are filled up with those of all categories, and those with the default tables:
    p_c = (n_c + 16 p) / (Σ n_c + 16), and p in the same way.

    Args:
        features: ``[N, 8, 16, 16]`` in (-1, 1).
        cells: ``[N, 16, 16]``.
    """
    start, tables = default_tables(), {}
    for level in range(1, LEVELS):
        counts = np.zeros((CATEGORIES, CHANNELS, count_contexts(level), STEPS[level]))
        for feature, cell in zip(features, cells, strict=True):
            indices = V1.to_indices(feature, level).reshape(CHANNELS, -1).T.astype(np.int64)
            context = _contexts(level, indices, *linked(cell))
            np.add.at(counts, (cell.reshape(-1, 1).astype(np.int64), np.arange(CHANNELS), context, indices), 1)
        shared = _fill_up(counts.sum(0), start.frequencies[level][0] / SCALE)
        tables[level] = _scale(_fill_up(counts, shared))
    return FeatureTables(tables)


def _fill_up(counts: NDArray[np.float64], prior: NDArray[np.float64]) -> NDArray[np.float64]:
    share: NDArray[np.float64] = (counts + _STRENGTH * prior) / (counts.sum(-1, keepdims=True) + _STRENGTH)
    return share


def _scale(weights: NDArray[np.float64]) -> NDArray[np.int16]:
    """Scale weights ``[..., L]`` to whole numbers >= 1 that sum to 4096; the largest takes what rounding left."""
    share = weights / weights.sum(-1, keepdims=True)
    whole: NDArray[np.int64] = 1 + np.floor(share * (SCALE - weights.shape[-1])).astype(np.int64)
    largest = share.argmax(-1)[..., None]
    left = SCALE - whole.sum(-1, keepdims=True)
    np.put_along_axis(whole, largest, np.take_along_axis(whole, largest, -1) + left, -1)
    return whole.astype(np.int16)


def _buckets(steps: int) -> int:
    return min(2 * steps - 1, 7)


@lru_cache(maxsize=LEVELS)
def _lookup(level: int) -> NDArray[np.int64]:
    """The context by how many neighbours there are and the sum of their indices, ``[3, 2 L - 1]``."""
    steps, buckets = STEPS[level], _buckets(STEPS[level])
    total = np.arange(2 * steps - 1)
    one = np.minimum(2 * total, 2 * steps - 2) * buckets // (2 * steps - 1)
    return np.stack((0 * total, 1 + one, 1 + buckets + total * buckets // (2 * steps - 1)))


def _contexts(level: int, indices: NDArray[np.int64], left: Cells, above: Cells) -> NDArray[np.int64]:
    """Contexts ``[n, 8]`` of n rows of indices, given which row lies left of each and which above (-1: none)."""
    padded = np.concatenate((indices, np.zeros((1, CHANNELS), np.int64)))
    count = (left >= 0).astype(np.int64) + (above >= 0)
    found: NDArray[np.int64] = _lookup(level)[count[:, None], padded[left] + padded[above]]
    return found


def linked(cells: NDArray[np.uint8]) -> tuple[Cells, Cells]:
    """For each of the 256 cells the one to the left, and the one above, where it has the same category; -1 elsewhere."""
    places = np.arange(GRID * GRID).reshape(GRID, GRID)
    left, above = np.full((2, GRID, GRID), -1)
    left[:, 1:] = np.where(cells[:, 1:] == cells[:, :-1], places[:, :-1], -1)
    above[1:] = np.where(cells[1:] == cells[:-1], places[:-1], -1)
    return left.reshape(-1), above.reshape(-1)


def neighbours(cells: Cells) -> tuple[Cells, Cells]:
    """For each cell of a concept the positions in it of the cell to the left and of the one above, -1 where there is none."""
    position = np.full(GRID * GRID, -1)
    position[cells] = np.arange(len(cells))
    left = np.where(cells % GRID > 0, position[cells - 1], -1)
    return left, np.where(cells >= GRID, position[cells - GRID], -1)


@cache  # an allocation asks for sizes very often
def level_frequencies(previous: int, levels: int) -> Frequencies:
    """What is expected of a concept's level after that of the one before it (2 at the start): 4, 3, 2, 1, 1, ... by distance."""
    return normalise(np.maximum(4 - np.abs(np.arange(levels) - previous), 1)[None])
