"""How long a photo's file will be at any choice of levels, without writing it: what every allocation reckons with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from semcast.codec.bitstream import CHECK, form_groups, head_symbols
from semcast.codec.concepts import SIZE, Layout, cells_of
from semcast.codec.entropy import TOTAL
from semcast.codec.front import Front, pack_front, pack_length
from semcast.codec.tables import Tables


class Sizes:
    """What a photo's file will take at any choice of levels.

    Args:
        tables: those that it will be coded with.
        layout: uint8 ``[side, side]`` as it will be coded.
        features: ``[channels, 16, 16]``.
        care, width, height: as in :class:`~semcast.codec.bitstream.Stream`.

    ``concepts`` is the list in the order of the file; ``bits`` ``[concepts, levels]`` is the exact cost of each at each level.
    """

    def __init__(
        self, tables: Tables, layout: Layout, features: NDArray[np.floating], *,
        care: Mapping[int, int] | None = None, width: int = SIZE, height: int = SIZE,
    ) -> None:  # fmt: skip
        self.concepts, self.ladder = tables.find_concepts(layout, care), tables.ladder
        costs = tables.features.cost_cells(features, cells_of(layout)).reshape(self.ladder.levels, -1)
        self.bits = np.stack([costs[:, concept.cells].sum(1) for concept in self.concepts])
        self.layout_bits = tables.layouts[len(layout)].cost_bits(layout)
        self._tables, self._layout, self._size = tables, layout, (width, height)
        self._front = self._front_bytes(care)

    def _front_bytes(self, care: Mapping[int, int] | None) -> int:
        width, height = self._size
        front = Front(self.ladder.version, self._tables.domain, len(self._layout), width=width, height=height, care=care or {})
        return len(pack_front(front))

    def told(self, care: Mapping[int, int]) -> Sizes:
        """The same photo where its sender cares for some categories: another order, and a front that says so."""
        places = {concept.category: i for i, concept in enumerate(self.concepts)}
        other = copy(self)
        other.concepts = self._tables.find_concepts(self._layout, care)
        other.bits = self.bits[[places[concept.category] for concept in other.concepts]]
        other._front = other._front_bytes(care)
        return other

    def at_most(self, levels: Sequence[int]) -> int:
        """Give the bytes that the file will not exceed; what is written is shorter by at most one byte a section.

        Args:
            levels: one for each of ``concepts``.
        """
        lengths = []
        for group in form_groups(self.concepts, levels, self.ladder):
            bits = sum(self.bits[i, levels[i]] for i in group)
            values = sum(self.ladder.sent[levels[i]] * len(self.concepts[i].cells) for i in group)
            lengths.append(_message_bytes(bits, values))
        bits = self.layout_bits
        for symbol, frequencies in head_symbols(levels, lengths, self.ladder):
            bits += math.log2(TOTAL / frequencies[0, symbol])  # cost_bits of one symbol, without its arrays
        head = _message_bytes(bits, self._layout.size)
        return self._front + len(pack_length(head)) + head + sum(lengths) + CHECK * (1 + len(lengths))


def _message_bytes(bits: float, symbols: int) -> int:
    """Bytes of a message: what its range loses to rounding is far below 2^-11 bits a symbol."""
    return int(np.ceil((bits + symbols / 2048) / 8))
