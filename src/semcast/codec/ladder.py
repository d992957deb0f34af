"""What a level says: how many features of a cell are sent, and how finely. Each version of ``.sem`` has its own ladder.

Version 1 sends eight features in (-1, 1), each in L steps. Version 2 sends the first n of 96, as components of a cell in the
order of their worth, in steps of width Δ: from nothing to nearly all of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcast.errors import BadInput

if TYPE_CHECKING:
    from jaxtyping import Float, Integer

Indices = NDArray[np.uint8]
"""q of each feature of each cell, ``[..., channels]``; 0 where a feature is not sent."""


@dataclass(frozen=True)
class Ladder:
    """The levels of a version of the format; level 0 skips a concept, and all that is not sent is 0.

    Args:
        version: of the format.
        sent: how many features each level sends, the first of them.
        plain: about what a cell takes at each level, in 1/16 bit: it decides where groups are closed.
        channels: features of a cell.
        parts: where each part of the features begins, and where the last ends: a policy sees a number a part.
    """

    version: int
    sent: tuple[int, ...]
    plain: tuple[int, ...]
    channels: int
    parts: tuple[int, ...]

    @property
    def levels(self) -> int:
        """How many there are, with level 0."""
        return len(self.sent)

    def reach(self, feature: int) -> float:
        """Tell how far a feature goes."""
        raise NotImplementedError

    def alphabet(self, level: int) -> NDArray[np.int64]:
        """Count the values that each feature's index can take, ``[channels]``; 1 where it is not sent."""
        raise NotImplementedError

    def to_indices(self, values: NDArray[np.floating], level: int) -> Indices:
        """Quantise features ``[..., channels]`` at a level above 0."""
        raise NotImplementedError

    def dequantise(self, indices: NDArray[np.integer], level: int) -> NDArray[np.float32]:
        """Give back features ``[..., channels]``."""
        raise NotImplementedError

    def quantise(
        self, features: Float[Tensor, "batch channels 16 16"], levels: Integer[Tensor, "batch 16 16"],
        noise: torch.Generator | None = None,
    ) -> Float[Tensor, "batch channels 16 16"]:  # fmt: skip
        """Give the features as the receiver will have them, with the gradient of the identity where they are sent.

        Args:
            features: of all cells.
            levels: of each cell.
            noise: instead of rounding, add noise as wide as a step, from this generator (of the CPU): smoother for training.
        """
        raise NotImplementedError

    def _look_up(self, rows: NDArray[np.floating], levels: Tensor, like: Tensor) -> Tensor:
        """A row a level ``[levels, channels]`` → a value a feature ``[batch, channels, 16, 16]``."""
        table = torch.from_numpy(rows).to(like.device, like.dtype)
        return table[levels.long()].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Bounded(Ladder):
    """Features in (-1, 1), all of them in L steps: q = floor((v + 1) / 2 · L), v^ = (2 q + 1) / L - 1.

    Args:
        steps: L at each level; 1 at level 0.
    """

    steps: tuple[int, ...]

    def reach(self, feature: int) -> float:
        """1."""
        return 1.0

    def alphabet(self, level: int) -> NDArray[np.int64]:
        """L everywhere."""
        return np.full(self.channels, self.steps[level])

    def to_indices(self, values: NDArray[np.floating], level: int) -> Indices:
        """Quantise, clipped to 0..L-1.

        >>> V1.to_indices(np.array([-0.9, 0.0, 0.9]), 2).tolist()
        [0, 1, 2]
        """
        steps = self.steps[level]
        return np.clip(np.floor((np.asarray(values, np.float64) + 1) / 2 * steps), 0, steps - 1).astype(np.uint8)

    def dequantise(self, indices: NDArray[np.integer], level: int) -> NDArray[np.float32]:
        """Give back the middle of each step.

        >>> V1.dequantise(np.arange(2), 1).tolist(), V1.dequantise(np.arange(3), 2).round(2).tolist()
        ([-0.5, 0.5], [-0.6700000166893005, 0.0, 0.6700000166893005])
        """
        return ((2 * indices.astype(np.int64) + 1) / self.steps[level] - 1).astype(np.float32)

    def quantise(
        self, features: Float[Tensor, "batch channels 16 16"], levels: Integer[Tensor, "batch 16 16"],
        noise: torch.Generator | None = None,
    ) -> Float[Tensor, "batch channels 16 16"]:  # fmt: skip
        """As the receiver will have them; noise is uniform in ±1/L."""
        steps = torch.tensor(self.steps, dtype=features.dtype, device=features.device)[levels.long()][:, None]
        if noise is None:
            index = ((features + 1) / 2 * steps).floor().clamp_min(0)
            hard = (2 * torch.minimum(index, steps - 1) + 1) / steps - 1
            made = features + (hard - features).detach()
        else:
            made = features + (2 * torch.rand(features.shape, generator=noise).to(features.device) - 1) / steps
        return made * (steps > 1)


@dataclass(frozen=True)
class Scalable(Ladder):
    """The first n features in steps of width Δ: k = round(v / Δ), clipped to ±K, q = k + K, v^ = k Δ.

    Args:
        widths: Δ at each level, in 1/64, even.
        reaches: for each feature how far it goes, in the units of v: K = ceil(reach / Δ), at most 127.
    """

    widths: tuple[int, ...]
    reaches: tuple[float, ...]

    def reach(self, feature: int) -> float:
        """As given."""
        return self.reaches[feature]

    @cached_property
    def most(self) -> NDArray[np.int64]:
        """K of each feature at each level, ``[levels, channels]``; 0 where it is not sent."""
        sent = np.arange(self.channels) < np.array(self.sent)[:, None]
        reach = np.ceil(np.array(self.reaches) * 64 / np.array(self.widths)[:, None]).astype(np.int64)
        return np.where(sent, np.minimum(reach, 127), 0)

    def alphabet(self, level: int) -> NDArray[np.int64]:
        """2 K + 1."""
        sizes: NDArray[np.int64] = 2 * self.most[level] + 1
        return sizes

    def to_indices(self, values: NDArray[np.floating], level: int) -> Indices:
        """Quantise.

        >>> (V2.to_indices(np.full(96, -3.0), 3)[..., [0, 15, 16]] - V2.most[3, [0, 15, 16]]).tolist()
        [-1, -1, 0]
        """
        most = self.most[level]
        steps = np.floor(np.asarray(values, np.float64) * 64 / self.widths[level] + 0.5)
        indices: Indices = (np.clip(steps, -most, most) + most).astype(np.uint8)
        return indices

    def dequantise(self, indices: NDArray[np.integer], level: int) -> NDArray[np.float32]:
        """Give back the middle of each step."""
        steps = indices.astype(np.int64) - self.most[level]
        values: NDArray[np.float32] = (steps * (self.widths[level] / 64)).astype(np.float32)
        return values

    def quantise(
        self, features: Float[Tensor, "batch channels 16 16"], levels: Integer[Tensor, "batch 16 16"],
        noise: torch.Generator | None = None,
    ) -> Float[Tensor, "batch channels 16 16"]:  # fmt: skip
        """As the receiver will have them; noise is uniform in ±Δ/2. Beyond the reach no gradient comes back."""
        width = self._look_up(np.array(self.widths, np.float64)[:, None] / 64, levels, features)
        most = self._look_up(self.most.astype(np.float64), levels, features)
        held = torch.minimum(torch.maximum(features, -most * width), most * width)
        if noise is None:
            made = held + ((held / width + 0.5).floor() * width - held).detach()
        else:
            made = held + (torch.rand(features.shape, generator=noise).to(features.device) - 0.5) * width
        return made * (most > 0)


V1 = Bounded(1, (0, 8, 8, 8, 8, 8), (0, 128, 208, 304, 408, 528), 8, tuple(range(9)), (1, 2, 3, 5, 9, 17))
V2 = Scalable(
    2, (0, 4, 8, 16, 32, 48, 64, 96, 96), (0, 60, 110, 170, 280, 490, 700, 1200, 1950), 96, (0, 4, 8, 16, 32, 96),
    (64, 256, 192, 128, 96, 64, 48, 32, 22), (*[24.0] * 4, *[8.0] * 4, *[5.0] * 8, *[3.0] * 16, *[2.0] * 64),
)  # fmt: skip
BUDGETS = {V1.version: (300, 500, 1000), V2.version: (300, 500, 1000, 2000)}
"""Sizes of interest in bytes, by the version of the format: to the first one, more than 1,000 bytes are of no use."""
LADDERS = {ladder.version: ladder for ladder in (V1, V2)}


def ladder_of(version: int) -> Ladder:
    """Find the ladder of a version of the format.

    Raises:
        BadInput: there is none.
    """
    if version not in LADDERS:
        raise BadInput(f"the file is of version {version}; this semcast reads versions {', '.join(map(str, LADDERS))}")
    return LADDERS[version]
