"""The float twin of :class:`~semcast.codec.context_coder.ContextCoder`: differentiable bits of features, and its export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from semcast.codec.concepts import CATEGORIES, one_hot
from semcast.codec.context_coder import BLOCKS, LARGEST, SPREADS, BlockTables, ContextCoder, count_inputs, scale_tables
from semcast.codec.ladder import V2, Scalable

if TYPE_CHECKING:
    from jaxtyping import Float, Integer

_CEILING = LARGEST / 256
_NEARLY = 1e-6


class Block(nn.Module):
    """Expects the features of one block of every cell; see :mod:`semcast.codec.context_coder` for the equations."""

    def __init__(self, block: int, hidden: int, levels: int) -> None:
        super().__init__()
        self.start, self.stop = BLOCKS[block], BLOCKS[block + 1]
        count = self.stop - self.start
        self.enter = nn.Conv2d(count_inputs(block), hidden, 1, bias=False)
        self.told = nn.Conv2d(CATEGORIES + levels, hidden, 1, bias=False)
        self.mean = nn.Conv2d(hidden, count, 1, bias=False)
        self.spread = nn.Conv2d(hidden, count, 1)
        self.pull = nn.Parameter(torch.zeros(2, count))
        nn.init.normal_(self.enter.weight, std=0.1)
        nn.init.normal_(self.told.weight, std=0.3)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.spread.weight)
        nn.init.constant_(self.spread.bias, 24.0)  # type: ignore[arg-type]  # a scale of a half

    def forward(
        self, left: Tensor, above: Tensor, own: Tensor, told: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Features of the neighbours and of the cell ``[B, channels, H, W]``, category and level one-hot → μ and the scale's
        number, ``[B, count, H, W]``."""
        x = torch.cat((left[:, : self.stop], above[:, : self.stop], own[:, : self.start]), 1)
        h = (self.enter(torch.cat((x, x.abs()), 1)) + self.told(told)).clamp(0, _CEILING)
        pulled = left[:, self.start : self.stop] * self.pull[0][:, None, None]
        pulled = pulled + above[:, self.start : self.stop] * self.pull[1][:, None, None]
        return self.mean(h) + pulled, self.spread(h).clamp(0, SPREADS - 1)

    @torch.no_grad()
    def whole(self) -> BlockTables:
        """Its tables in whole numbers."""
        matrices = [conv.weight[:, :, 0, 0].T.double() for conv in (self.enter, self.told, self.mean, self.spread)]
        enter, told, mean, spread = matrices
        return BlockTables(
            enter=_whole(enter * 1024), category=_whole(told[:CATEGORIES] * 65536, torch.int32),
            level=_whole(told[CATEGORIES:] * 65536, torch.int32), mean=_whole(mean * 1024), spread=_whole(spread * 128),
            spread_bias=_whole(self.spread.bias.double() * 32768, torch.int32),  # type: ignore[union-attr]
            pull=_whole(self.pull.double() * 4096),
        )  # fmt: skip


def _whole(values: Tensor, kind: torch.dtype = torch.int16) -> NDArray[np.integer]:
    limit = torch.iinfo(kind).max
    found: NDArray[np.integer] = values.round().clamp(-limit, limit).to(kind).numpy()
    return found


class ContextNetwork(nn.Module):
    """Bits of the features of every cell given its neighbours of the same category, as the coder will count them."""

    def __init__(self, hidden: int = 32, ladder: Scalable = V2) -> None:
        super().__init__()
        self.ladder, self.hidden = ladder, hidden
        self.blocks = nn.ModuleList(Block(block, hidden, ladder.levels) for block in range(len(BLOCKS) - 1))
        sent = np.arange(ladder.channels) < np.array(ladder.sent)[:, None]
        self.register_buffer("sent", torch.from_numpy(sent.astype(np.float32)), persistent=False)
        self.register_buffer("width", torch.tensor(ladder.widths).float() / 64, persistent=False)
        self.register_buffer("most", torch.from_numpy(ladder.most.astype(np.float32)), persistent=False)

    sent: Tensor
    width: Tensor
    most: Tensor

    def forward(
        self, made: Float[Tensor, "batch channels 16 16"], cells: Integer[Tensor, "batch 16 16"],
        levels: Integer[Tensor, "batch 16 16"],
    ) -> Float[Tensor, "batch 16 16"]:  # fmt: skip
        """Bits of each cell.

        Args:
            made: dequantised features, or with noise in place of rounding.
            cells: categories.
            levels: of each cell.
        """
        made, told = made.float(), torch.cat((one_hot(cells, CATEGORIES), one_hot(levels, self.ladder.levels)), 1)
        left, above = _before(made, cells, -1), _before(made, cells, -2)
        found = [block(left, above, made, told) for block in self.blocks]
        mean, number = torch.cat([f[0] for f in found], 1), torch.cat([f[1] for f in found], 1)
        level = levels.long()
        width = self.width[level][:, None]
        most, sent = (table[level].permute(0, 3, 1, 2) for table in (self.most, self.sent))
        scale = 2 ** ((number - 16) / 4) / 8
        step = made / width
        upper = ((step + 0.5) * width - mean) / scale
        lower = ((step - 0.5) * width - mean) / scale
        upper = torch.where(step > most - 0.25, torch.inf, upper)
        lower = torch.where(step < 0.25 - most, -torch.inf, lower)
        # of two points above 0 the difference of σ is that of their mirror images, which float32 does not round to 0
        flipped = upper + lower > 0
        high, low = torch.where(flipped, -lower, upper), torch.where(flipped, -upper, lower)
        bits = -(high.sigmoid() - low.sigmoid()).clamp_min(_NEARLY).log2()
        return (bits * sent).sum(1)

    def whole(self) -> ContextCoder:
        """The coder in whole numbers."""
        sigmoid, inverse = scale_tables()
        return ContextCoder([block.whole() for block in self.blocks], sigmoid, inverse, self.ladder)  # type: ignore[operator]


def _before(x: Tensor, cells: Tensor, axis: int) -> Tensor:
    """Each cell's neighbour to the left (axis -1) or above (axis -2), 0 where it is of another category or there is none."""
    pad = (1, 0, 0, 0) if axis == -1 else (0, 0, 1, 0)
    same = F.pad(cells + 1, pad).narrow(axis, 0, cells.shape[axis]) == cells + 1
    return F.pad(x, pad).narrow(axis, 0, x.shape[axis]) * same[:, None]
