"""What an allocation chooses from: a photo at each side of its layout, and what each choice of levels would take.

What a choice takes is exact (:class:`~semcast.codec.sizes.Sizes`), so no choice ever makes a file longer than its budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from semcast.codec.concepts import GRID, Concept, Layout
from semcast.codec.criterion import PLAIN_TASK, Task
from semcast.codec.ladder import Ladder
from semcast.codec.sizes import Sizes
from semcast.errors import DoesNotFit

LAYOUT_SHARE = 0.5
"""The plain allocations take the finest side whose file without features needs at most this share of the budget."""

_REMEMBERED = 1024  # sizes of choices, a photo: a training asks for millions


@dataclass(frozen=True)
class Choice:
    """A side of the layout, and a level for each concept in the order of the file."""

    side: int
    levels: tuple[int, ...]

    def change(self, concept: int, level: int) -> Choice:
        """Give one concept (by its place in the order) another level."""
        return Choice(self.side, (*self.levels[:concept], level, *self.levels[concept + 1 :]))


@dataclass(frozen=True, eq=False)
class Side:
    """A photo as it would be coded at one side.

    Args:
        layout: uint8 ``[side, side]``.
        features: float32 ``[channels, GRID, GRID]``.
        sizes: what its file takes at any levels.
    """

    layout: Layout
    features: NDArray[np.float32]
    sizes: Sizes

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """The list in the order of the file, nothing of it coded yet."""
        return self.sizes.concepts

    @property
    def ladder(self) -> Ladder:
        """What its levels mean."""
        return self.sizes.ladder

    def empty(self) -> tuple[int, ...]:
        """Skip every concept."""
        return (0,) * len(self.concepts)

    def code(self, levels: Sequence[int]) -> tuple[Concept, ...]:
        """Code the concepts at these levels: what the file will hold and the receiver will paint."""
        pairs = zip(self.concepts, levels, strict=True)
        return tuple(concept.code(self.features, level, self.ladder) for concept, level in pairs)

    def told(self, care: Mapping[int, int]) -> Side:
        """The same photo where its sender cares for some categories, by whole factors: its concepts in another order."""
        places = {concept.category: i for i, concept in enumerate(self.concepts)}
        other = Side(self.layout, self.features, self.sizes.told(care))
        other.__dict__["errors"] = self.errors[[places[concept.category] for concept in other.concepts]]
        return other

    @cached_property
    def errors(self) -> NDArray[np.float64]:
        """What rounding costs: Σ (v - v^)² over the values of each concept at each level, ``[concepts, levels]``."""
        count = self.ladder.levels
        values = torch.from_numpy(self.features).double().expand(count, -1, -1, -1)
        made = self.ladder.quantise(values, torch.arange(count)[:, None, None].expand(-1, GRID, GRID))
        error = (values - made).square().sum(1).reshape(count, -1).numpy()
        return np.stack([error[:, concept.cells].sum(1) for concept in self.concepts])

    @cached_property
    def worth(self) -> NDArray[np.float64]:
        """:func:`weigh_levels` of all concepts together."""
        return weigh_levels(self.errors.sum(0), self.sizes.bits.sum(0))


def weigh_levels(errors: NDArray[np.float64], bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh each level against the one below it: log2 of the error that it removes per bit, as numbers of about 1.

    Args:
        errors, bits: at each level.
    """
    removed, paid = np.maximum(-np.diff(errors), 0), np.maximum(np.diff(bits), 0)
    worth: NDArray[np.float64] = np.log2((removed + 0.01) / (paid + 1)) / 8
    return worth


Score = Callable[[Sequence[Choice]], Sequence[float]]
"""J of each choice."""


@dataclass(eq=False)
class Options:
    """What an allocation chooses from: a photo at each side, J of a choice for those that may look, and what it is for."""

    sides: Mapping[int, Side]
    score: Score
    task: Task = PLAIN_TASK
    _sizes: dict[Choice, int] = field(default_factory=dict)

    @property
    def ladder(self) -> Ladder:
        """What the levels mean, the same at all sides."""
        return next(iter(self.sides.values())).ladder

    @property
    def levels(self) -> int:
        """How many levels a concept can be given, with skipping."""
        return self.ladder.levels

    def size(self, choice: Choice) -> int:
        """Give the bytes that the file of a choice will not exceed."""
        if choice not in self._sizes:
            if len(self._sizes) >= _REMEMBERED:
                self._sizes.clear()
            self._sizes[choice] = self.sides[choice.side].sizes.at_most(choice.levels)
        return self._sizes[choice]

    def empty(self, side: int) -> Choice:
        """Take a side and skip every concept."""
        return Choice(side, self.sides[side].empty())

    def open_sides(self, max_bytes: int) -> list[int]:
        """List the sides whose file without features fits, ascending.

        Raises:
            DoesNotFit: none does.
        """
        sizes = {side: self.size(self.empty(side)) for side in sorted(self.sides)}
        fitting = [side for side, size in sizes.items() if size <= max_bytes]
        if not fitting:
            raise DoesNotFit(f"this photo needs at least {min(sizes.values())} bytes, not {max_bytes}")
        return fitting

    def plain_side(self, max_bytes: int) -> int:
        """Pick the finest side that takes at most :data:`LAYOUT_SHARE` of the budget; where none does, the coarsest."""
        fitting = self.open_sides(max_bytes)
        modest = [side for side in fitting if self.size(self.empty(side)) <= LAYOUT_SHARE * max_bytes]
        return (modest or fitting[:1])[-1]


Allocation = Callable[[Options, int], Choice]
"""Options and a budget in bytes → a choice that fits. Raises DoesNotFit where nothing does."""
