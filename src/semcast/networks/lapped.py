"""A picture that is linear in what is sent of its cells: blocks that overlap, added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


class LappedBlocks(nn.ConvTranspose2d):
    """A block of 3 x 3 cells for each cell of the features, all of them added up.

    What a transposed convolution of stride ``cell`` is, as a convolution over cells that makes every pixel of a cell: torch's own
    takes three times as long, and seven times for a batch.

    Args:
        channels: features of a cell.
        cell: its side in pixels.
    """

    def __init__(self, channels: int, cell: int = 16) -> None:
        super().__init__(channels, 3, 3 * cell, stride=cell, padding=cell)
        self.cell = cell

    def forward(
        self, x: Float[Tensor, "batch channels rows columns"], output_size: list[int] | None = None
    ) -> Float[Tensor, "batch 3 height width"]:
        """Features of cells ``[B, channels, R, C]`` → ``[B, 3, R cell, C cell]``."""
        blocks = self.weight.unflatten(3, (3, self.cell)).unflatten(2, (3, self.cell))  # [channels, 3, 3, cell, 3, cell]
        made = F.conv2d(x, blocks.flip(2, 4).permute(1, 3, 5, 0, 2, 4).flatten(0, 2), padding=1)
        pixels = made.unflatten(1, (3, self.cell, self.cell))
        picture: Tensor = pixels.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
        return picture if self.bias is None else picture + self.bias[:, None, None]
