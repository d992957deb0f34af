"""Semantic concepts: what of a photo the codec sends. A concept is (category, its cells, a level, the indices of its features).

::

    layout [side, side] → cells [16, 16] → concepts, the most important first        (what is where)
    features v [channels, 16, 16] → level of each concept → indices q → v^           (how it looks there)

:func:`find_concepts` makes the list and its order from the layout, once at the sender and once at the receiver. Everything after
it (allocation, file, painter, receipt) goes through this one list; what is added to it on the way are level and indices.

The method is RL-ASC's (Huang et al., 2023, arXiv:2208.04094) as far as its abstract tells it; grid, channels and levels are our
choice. Everything that both ends must agree on (cells, order, indices) is integer arithmetic on the layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from semcast.codec.ladder import Indices, Ladder
from semcast.errors import BadInput

if TYPE_CHECKING:
    from jaxtyping import Float, Integer

SIZE = 256
"""Side of the photos that the codec's networks see, in pixels."""

CATEGORIES = 19
SIDES = (16, 32, 64)
"""The resolutions of a layout."""

GRID = 16
"""Side of the map of cells, one for each place of the features."""

Layout = NDArray[np.uint8]
"""Categories ``[side, side]``."""

Cells = NDArray[np.int64]
"""Flat places ``[n]`` in the 16 x 16 grid, ascending."""


# ---- layouts ---------------------------------------------------------------------------------------------------------


def reduce_labels(labels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Reduce labels ``[..., S, S]`` to ``[..., side, side]``: the most frequent category of each block, the lower of two equals.

    Values of 19 and above count nowhere; a block of nothing else takes the category of the nearest block that has one.

    >>> reduce_labels(np.array([[1, 1], [2, 255]], np.uint8), 1).tolist()
    [[1]]
    """
    *maps, size, _ = labels.shape
    block = size // side
    blocks = labels.reshape(*maps, side, block, side, block)
    votes = np.stack([(blocks == category).sum((-3, -1), dtype=np.int32) for category in range(CATEGORIES)], -1)
    winners: NDArray[np.uint8] = votes.argmax(-1).astype(np.uint8)
    empty = votes.max(-1) == 0
    for one in np.ndindex(*maps):
        if empty[one].any() and not empty[one].all():
            y, x = ndimage.distance_transform_edt(empty[one], return_distances=False, return_indices=True)
            winners[one] = winners[one][y, x]
    return winners


def cells_of(layout: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reduce layouts ``[..., side, side]`` to the 16 x 16 cells of the features: whole numbers only, so both ends agree.

    Raises:
        BadInput: the side is another, or a category is not below 19.
    """
    side = layout.shape[-1]
    if side not in SIDES or layout.shape[-2] != side:
        raise BadInput(f"a layout's side is one of {', '.join(map(str, SIDES))}, not {layout.shape[-2:]}")
    if layout.size and int(layout.max()) >= CATEGORIES:
        raise BadInput(f"a layout holds categories below {CATEGORIES}, not {int(layout.max())}")
    return reduce_labels(layout, GRID)


def at_64(layout: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarge a layout ``[..., side, side]`` to 64 x 64, as encoder and painter take it (each place is repeated)."""
    factor = SIDES[-1] // layout.shape[-1]
    return layout.repeat(factor, -2).repeat(factor, -1)


def simplify(layout: Layout, strength: int) -> Layout:
    """Remove specks: areas (4-connected) of up to ``strength`` places take the category most met along their edge.

    Small areas go first, the lower category where two are met as often; 0 changes nothing.
    """
    layout = layout.copy()
    for size in range(1, strength + 1):
        for category in np.unique(layout):
            areas, _ = ndimage.label(layout == category)
            for area in np.flatnonzero(np.bincount(areas.reshape(-1)) == size):
                inside = areas == area
                if area and not inside.all():
                    layout[inside] = _most_met(layout, inside)
    return layout


def _most_met(layout: Layout, inside: NDArray[np.bool_]) -> int:
    """The category most met across the edge of an area."""
    votes = np.zeros(CATEGORIES, int)
    for categories, area in ((layout, inside), (layout.T, inside.T)):
        for one, other in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            votes += np.bincount(categories[other][area[one] & ~area[other]], minlength=CATEGORIES)
    return int(votes.argmax())


# ---- the list of concepts --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Concept:
    """A category, its cells, and what is said about them.

    Args:
        category: of the domain.
        cells: where it is.
        level: of the ladder, as sent; 0 is skipped.
        indices: the quantised features of its cells; None where it is skipped, or where they were sent but did not arrive.
    """

    category: int
    cells: Cells
    level: int = 0
    indices: Indices | None = None

    @property
    def lost(self) -> bool:
        """Whether its features were sent and did not arrive whole."""
        return self.level > 0 and self.indices is None

    @property
    def shown_level(self) -> int:
        """The level that a receiver can show: 0 where nothing was sent or nothing arrived."""
        return 0 if self.lost else self.level

    def code(self, features: NDArray[np.floating], level: int, ladder: Ladder) -> Concept:
        """Take the features ``[channels, GRID, GRID]`` of its cells at a level."""
        values = features.reshape(ladder.channels, -1)[:, self.cells].T
        return replace(self, level=level, indices=ladder.to_indices(values, level) if level else None)


def find_concepts(
    layout: Layout, importance: Sequence[int], care: Mapping[int, int] | None = None
) -> tuple[Concept, ...]:
    """List the concepts of a layout by importance · care · cells, the largest first, the lower category where two are equal.

    Args:
        importance: what a cell of each category counts.
        care: whole factors by category.

    >>> layout = np.zeros((16, 16), np.uint8)
    >>> layout[0] = 11
    >>> [(c.category, len(c.cells)) for c in find_concepts(layout, (1,) * 19, {11: 255})]
    [(11, 16), (0, 240)]
    """
    cells = cells_of(layout).reshape(-1)
    concepts = [Concept(int(category), np.flatnonzero(cells == category)) for category in np.unique(cells)]
    care = care or {}
    weights = {c.category: importance[c.category] * care.get(c.category, 1) * len(c.cells) for c in concepts}
    return tuple(sorted(concepts, key=lambda concept: (-weights[concept.category], concept.category)))


def map_levels(concepts: Sequence[Concept]) -> NDArray[np.uint8]:
    """Give each cell the level of its concept that can be shown, uint8 ``[GRID, GRID]``."""
    cells = np.zeros(GRID * GRID, np.uint8)
    for concept in concepts:
        cells[concept.cells] = concept.shown_level
    return cells.reshape(GRID, GRID)


def map_features(concepts: Sequence[Concept], ladder: Ladder) -> NDArray[np.float32]:
    """Give each cell its features v^ as they arrived, ``[channels, GRID, GRID]``, 0 where there are none."""
    features = np.zeros((ladder.channels, GRID * GRID), np.float32)
    for concept in concepts:
        if concept.indices is not None:
            features[:, concept.cells] = ladder.dequantise(concept.indices, concept.level).T
    return features.reshape(ladder.channels, GRID, GRID)


def one_hot(labels: Integer[Tensor, "batch height width"], classes: int) -> Float[Tensor, "batch {classes} height width"]:
    """Expand labels ``[B, H, W]`` to float ``[B, classes, H, W]`` in channels_last order; a label beyond them is all zeros."""
    numbers = torch.arange(classes, dtype=labels.dtype, device=labels.device)
    return (labels[..., None] == numbers).float().permute(0, 3, 1, 2)
