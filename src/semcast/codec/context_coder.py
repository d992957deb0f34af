"""Coding of a concept's features in version 2: a small network in whole numbers expects each from what is known before it.

The features of a cell are coded in :data:`BLOCKS`, the most important first. Block b of a cell is expected from the cells to the
left and above, where they belong to the concept, from the blocks before it in the same cell, the category and the level::

    x = left, above (features up to the end of block b), own (up to its beginning); |x|       whole numbers, in 1/64
    h = clip((x · enter + category + level) >> 8, 0, 2^15 - 1)
    μ = (h · mean + pull_left · left + pull_above · above + 2^11) >> 12                       in 1/64
    s = clip((h · spread + bias + 2^14) >> 15, 0, SPREADS - 1)                                a number of a scale
    w_q = σ((edge_q+1 - μ) · inverse_s) - σ((edge_q - μ) · inverse_s)                         logistic; the outermost are open

Every number is a whole one (σ and the inverses are stored), products are summed in float64 below 2^53, where that is exact:
no machine, library or number of threads changes a frequency. Cells go in waves x + y, so that those of a wave are decoded
together; in each wave block by block, and cell by cell in each block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from semcast.codec.concepts import CATEGORIES, GRID, Concept
from semcast.codec.entropy import TOTAL, Decoder, Encoder, Frequencies, normalise
from semcast.codec.feature_coder import linked, neighbours
from semcast.codec.ladder import V2, Indices, Scalable
from semcast.errors import Damaged

BLOCKS = V2.parts
"""Where each block of features begins, and where the last one ends; the reach of features is the same within a block."""

UNIT = 64
"""Whole numbers in 1 of a feature."""
SPREADS = 48
"""Scales of the logistic; of number i it is 2^((i - 16) / 4) / 8."""
SIGMOID_UNIT, SIGMOID_MOST, SIGMOID_SCALE = 16, 16 * 14, 1 << 20
"""σ is stored at t / 16 for t from -224 to 224, in 2^-20."""
INVERSE_SHIFT = 16
LARGEST = (1 << 15) - 1

Values = NDArray[np.int64]


@dataclass(frozen=True)
class BlockTables:
    """The network of one block, whole numbers.

    Args:
        enter: ``[inputs, hidden]``, in 1/1024.
        category: ``[19, hidden]``; level: ``[levels, hidden]``, in 1/65536.
        mean: ``[hidden, n]``, spread: ``[hidden, n]``, in 1/1024; spread_bias: ``[n]``.
        pull: ``[2, n]``, what left and above add to the mean, in 1/4096.
    """

    enter: NDArray[np.integer]
    category: NDArray[np.integer]
    level: NDArray[np.integer]
    mean: NDArray[np.integer]
    spread: NDArray[np.integer]
    spread_bias: NDArray[np.integer]
    pull: NDArray[np.integer]


def count_inputs(block: int) -> int:
    """Count what a block's network sees.

    >>> [count_inputs(block) for block in range(5)]
    [16, 40, 80, 160, 448]
    """
    return 2 * (2 * BLOCKS[block + 1] + BLOCKS[block])


def scale_tables() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Make σ and the inverses of the scales, to be stored with the networks: computed again they might differ in a last digit."""
    t = np.arange(-SIGMOID_MOST, SIGMOID_MOST + 1) / SIGMOID_UNIT
    sigmoid = np.round(SIGMOID_SCALE / (1 + np.exp(-t))).astype(np.int32)
    scales = 2.0 ** ((np.arange(SPREADS) - 16) / 4) / 8
    inverse = np.round(SIGMOID_UNIT * (1 << INVERSE_SHIFT) / (scales * UNIT)).astype(np.int32)
    return sigmoid, inverse


class ContextCoder:
    """A :class:`~semcast.codec.feature_coder.FeatureCoder` of version 2.

    Args:
        blocks: one network a block.
        sigmoid, inverse: as :func:`scale_tables` made them once.
    """

    def __init__(
        self, blocks: Sequence[BlockTables], sigmoid: NDArray[np.integer], inverse: NDArray[np.integer], ladder: Scalable = V2
    ) -> None:
        self.ladder, self.tables = ladder, tuple(blocks)
        self._wide = [
            {field.name: getattr(block, field.name).astype(np.float64) for field in fields(block)} for block in blocks
        ]
        self._sigmoid, self._inverse = sigmoid.astype(np.int64), inverse.astype(np.int64)

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[np.integer]]) -> ContextCoder:
        """Take the tables of a weights file: ``BLOCK.field``, ``sigmoid`` and ``inverse``.

        Raises:
            Damaged: some are missing, or of another size.
        """
        try:
            blocks = [
                BlockTables(**{field.name: tensors[f"{b}.{field.name}"] for field in fields(BlockTables)})
                for b in range(len(BLOCKS) - 1)
            ]
            sigmoid, inverse = tensors["sigmoid"], tensors["inverse"]
        except KeyError as error:
            raise Damaged(f"the tables of the features lack {error}") from None
        for b, block in enumerate(blocks):
            hidden, count = block.enter.shape[1], BLOCKS[b + 1] - BLOCKS[b]
            shapes = [(count_inputs(b), hidden), (CATEGORIES, hidden), (V2.levels, hidden), (hidden, count), (hidden, count),
                      (count,), (2, count)]  # fmt: skip
            if [getattr(block, field.name).shape for field in fields(block)] != shapes:
                raise Damaged("the tables of the features are of another size")
        if sigmoid.shape != (2 * SIGMOID_MOST + 1,) or inverse.shape != (SPREADS,):
            raise Damaged("the tables of the features are of another size")
        return cls(blocks, sigmoid, inverse)

    def pack(self) -> dict[str, NDArray[np.integer]]:
        """Give what :meth:`of` takes."""
        tables = enumerate(self.tables)
        named = {f"{b}.{field.name}": getattr(block, field.name) for b, block in tables for field in fields(block)}
        return named | {"sigmoid": self._sigmoid.astype(np.int32), "inverse": self._inverse.astype(np.int32)}

    # ---- what is expected --------------------------------------------------------------------------------------------

    def _expect(
        self, block: int, level: int, category: NDArray[np.integer], near: Values, own: Values
    ) -> tuple[Values, Values]:
        """Expect a block of n cells: μ ``[n, count]`` in 1/64, and the number of the scale.

        Args:
            category: of each cell, ``[n]``.
            near: left and above ``[2, n, channels]`` in 1/64, 0 where there are none.
            own: ``[n, channels]``; only the blocks before this one are looked at.
        """
        start, stop, table = BLOCKS[block], BLOCKS[block + 1], self._wide[block]
        x = np.concatenate((near[0, :, :stop], near[1, :, :stop], own[:, :start]), 1).astype(np.float64)
        x = np.concatenate((x, np.abs(x)), 1)
        z = x @ table["enter"] + table["category"][category.astype(np.int64)] + table["level"][level]
        h = np.clip(np.floor(z / 256), 0, LARGEST)
        pulled = near[0, :, start:stop] * table["pull"][0] + near[1, :, start:stop] * table["pull"][1]
        # h is in 1/256 and mean in 1/1024: 2^18 of them are 1, that is 2^12 for each 1/64
        mean = np.floor((h @ table["mean"] + pulled) / 4096 + 0.5).astype(np.int64)
        number = np.floor((h @ table["spread"] + table["spread_bias"]) / 32768 + 0.5).astype(np.int64)
        return mean, np.clip(number, 0, SPREADS - 1)

    def _shares(self, edges: Values, mean: Values, number: Values) -> Values:
        """σ at edges in 1/128 ``[..., m]``, given μ and scale ``[...]``: whole numbers up to 2^20."""
        t = ((edges - 2 * mean[..., None]) * self._inverse[number][..., None]) >> (INVERSE_SHIFT + 1)
        shares: Values = self._sigmoid[np.clip(t, -SIGMOID_MOST, SIGMOID_MOST) + SIGMOID_MOST]
        return shares

    def _frequencies(self, block: int, level: int, mean: Values, number: Values) -> Frequencies:
        """Frequencies of all indices of a block, ``[n · count, alphabet]``."""
        most = int(self.ladder.most[level, BLOCKS[block]])
        edges = (2 * np.arange(-most + 1, most + 1) - 1) * self.ladder.widths[level]
        shares = self._shares(edges, mean.reshape(-1), number.reshape(-1))
        ends = np.zeros((len(shares), 1), np.int64)
        edge = np.concatenate((ends, shares, ends + SIGMOID_SCALE), 1)
        return normalise(edge[:, 1:] - edge[:, :-1])

    def _blocks(self, level: int) -> range:
        """The blocks of which a level sends at least the first feature."""
        return range(sum(start < self.ladder.sent[level] for start in BLOCKS[:-1]))

    def _count(self, block: int, level: int) -> int:
        """How many features of a block a level sends."""
        return min(BLOCKS[block + 1], self.ladder.sent[level]) - BLOCKS[block]

    # ---- a concept ---------------------------------------------------------------------------------------------------

    def encode(self, concept: Concept, encoder: Encoder) -> None:
        """Append a concept that has its indices."""
        for symbols, frequencies in self._model(concept):
            encoder.put(symbols, frequencies)

    def cost_bits(self, concept: Concept) -> float:
        """Count what a concept takes, in bits, without writing it."""
        return sum(
            float(np.log2(TOTAL / np.take_along_axis(frequencies, symbols[:, None], 1)).sum())
            for symbols, frequencies in self._model(concept)
        )

    def _model(self, concept: Concept) -> Iterator[tuple[NDArray[np.int64], Frequencies]]:
        """Symbols in their order and their frequencies, a wave and a block at a time."""
        assert concept.indices is not None
        level, cells = concept.level, concept.cells
        whole = concept.indices.astype(np.int64)
        values = self._whole(whole, level)
        near = _near(values, *neighbours(cells))
        category = np.full(len(cells), concept.category)
        expected = {b: self._expect(b, level, category, near, values) for b in self._blocks(level)}
        for places in _waves(cells):
            for block, (mean, number) in expected.items():
                count = self._count(block, level)
                symbols = whole[places, BLOCKS[block] : BLOCKS[block] + count].reshape(-1)
                yield symbols, self._frequencies(block, level, mean[places, :count], number[places, :count])

    def decode(self, concept: Concept, decoder: Decoder) -> Indices:
        """Read the indices of a concept.

        Raises:
            Damaged: the data is damaged.
        """
        level, cells = concept.level, concept.cells
        left, above = neighbours(cells)
        indices = np.zeros((len(cells), self.ladder.channels), np.int64)
        values = np.zeros((len(cells) + 1, self.ladder.channels), np.int64)  # the last row stands for what is not there
        for places in _waves(cells):
            near, category = np.stack((values[left[places]], values[above[places]])), np.full(len(places), concept.category)
            for block in self._blocks(level):
                start, count = BLOCKS[block], self._count(block, level)
                mean, number = self._expect(block, level, category, near, values[places])
                found = decoder.get(self._frequencies(block, level, mean[:, :count], number[:, :count]))
                indices[places, start : start + count] = found.reshape(-1, count)
                values[places] = self._whole(indices[places], level)
        return indices.astype(np.uint8)

    def _whole(self, indices: NDArray[np.int64], level: int) -> Values:
        """Features in 1/64."""
        most = self.ladder.most[level]
        values: Values = (indices - most) * self.ladder.widths[level] * (most > 0)
        return values

    # ---- all cells at once -------------------------------------------------------------------------------------------

    def cost_cells(self, features: NDArray[np.floating], cells: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Count the bits of every cell at every level: ``[96, 16, 16]`` and ``[16, 16]`` → ``[levels, 16, 16]``.

        What a concept takes is at most the sum over its cells, and shorter by less than a thousandth.
        """
        category, (left, above) = cells.reshape(-1), linked(cells)
        rows = features.reshape(len(features), -1).T
        bits = np.zeros((self.ladder.levels, GRID * GRID))
        for level in range(1, self.ladder.levels):
            whole = self.ladder.to_indices(rows, level).astype(np.int64)
            values = self._whole(whole, level)
            near = _near(values, left, above)
            for block in self._blocks(level):
                count = self._count(block, level)
                mean, number = (found[:, :count] for found in self._expect(block, level, category, near, values))
                bits[level] += self._cost(block, level, whole[:, BLOCKS[block] : BLOCKS[block] + count], mean, number)
        return bits.reshape(-1, GRID, GRID)

    def _cost(self, block: int, level: int, indices: Values, mean: Values, number: Values) -> NDArray[np.float64]:
        """Bits of each cell's part of a block, from the two edges of what was chosen alone."""
        most = int(self.ladder.most[level, BLOCKS[block]])
        step = indices - most
        shares = self._shares(np.stack((2 * step - 1, 2 * step + 1), -1) * self.ladder.widths[level], mean, number)
        low, high = np.where(step == -most, 0, shares[..., 0]), np.where(step == most, SIGMOID_SCALE, shares[..., 1])
        frequency = 1 + (high - low) * (TOTAL - 2 * most - 1) // SIGMOID_SCALE
        bits: NDArray[np.float64] = np.log2(TOTAL / frequency).sum(1)
        return bits


def _near(values: Values, left: NDArray[np.int64], above: NDArray[np.int64]) -> Values:
    """The rows to the left and above ``[2, n, channels]``, 0 where there are none (-1)."""
    padded = np.concatenate((values, np.zeros((1, values.shape[1]), np.int64)))
    return np.stack((padded[left], padded[above]))


def _waves(cells: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The cells of a concept (their places in it) in waves x + y: none of a wave lies left of or above another of it."""
    wave = cells % GRID + cells // GRID
    order = np.argsort(wave, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(wave[order])) + 1)
