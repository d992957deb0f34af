"""Semantic concepts: what of a photo the codec sends. A concept is (category, its cells, the features in them).

Cells and features are made here; what a file holds of them, and in which order, is :mod:`semcast.codec.bitstream`'s.

The method is RL-ASC's (Huang et al., 2023, arXiv:2208.04094) as far as its abstract tells it; grid, channels and levels are our
choice. Everything that both ends must agree on (cells, order, dequantised values) is integer arithmetic on the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from semcast.codec.bitstream import Concept
from semcast.codec.feature_coder import CHANNELS
from semcast.codec.layout_coder import GRID, SIDES
from semcast.networks.blocks import ResBlock, norm
from semcast.networks.precision import mixed

SIZE = 256
"""Side of the photos that the codec's networks see, in pixels."""

STEPS = (1, 2, 3, 5, 9, 17)
"""Steps of the quantiser at each level; one step is level 0: the concept is skipped and its values are 0."""

LEVELS = len(STEPS)


def at_64(layout: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A layout ``[..., side, side]`` at 64 x 64, as encoder and painter take it (each place repeated)."""
    factor = SIDES[-1] // layout.shape[-1]
    return layout.repeat(factor, -2).repeat(factor, -1)


def level_map(concepts: Sequence[Concept], levels: Sequence[int]) -> NDArray[np.uint8]:
    """The level of each cell, uint8 ``[GRID, GRID]``."""
    cells = np.zeros(GRID * GRID, np.uint8)
    for concept, level in zip(concepts, levels, strict=True):
        cells[concept.cells] = level
    return cells.reshape(GRID, GRID)


def dequantise(indices: NDArray[np.int64], level: int) -> NDArray[np.float32]:
    """v^ = (2 q + 1) / L - 1, the middle of each step.

    >>> dequantise(np.arange(2), 1).tolist(), dequantise(np.arange(3), 2).round(2).tolist()
    ([-0.5, 0.5], [-0.6700000166893005, 0.0, 0.6700000166893005])
    """
    return ((2 * indices + 1) / STEPS[level] - 1).astype(np.float32)


def quantised(features: Tensor, levels: Tensor, noise: torch.Generator | None = None) -> Tensor:
    """The features as the receiver has them, with the gradient of the identity where a cell is not skipped.

    Args:
        features: v ``[B, CHANNELS, GRID, GRID]`` in (-1, 1).
        levels: of each cell, ``[B, GRID, GRID]``.
        noise: instead of rounding, add u uniform in ±1/L from this generator: smoother for training.
    """
    steps = torch.tensor(STEPS, dtype=features.dtype, device=features.device)[levels.long()][:, None]
    if noise is None:
        index = ((features + 1) / 2 * steps).floor().clamp_min(0)
        hard = (2 * torch.minimum(index, steps - 1) + 1) / steps - 1
        made = features + (hard - features).detach()
    else:
        made = features + (2 * torch.rand(features.shape, generator=noise) - 1) / steps
    return made * (steps > 1)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels ``[B, H, W]`` → float ``[B, classes, H, W]`` in channels_last order; a label beyond them is all zeros."""
    return (labels[..., None] == torch.arange(classes, dtype=labels.dtype)).float().permute(0, 3, 1, 2)


def parsed_layout(parser: nn.Module, image: Tensor, side: int) -> Tensor:
    """What a parser sees as a layout: probabilities averaged over each block, the likeliest, ``[B, side, side]`` uint8."""
    return parsed_layouts(parser, image, (side,))[0]


def parsed_layouts(parser: nn.Module, image: Tensor, sides: Sequence[int]) -> list[Tensor]:
    """The layouts of several sides from one look of the parser: image ``[B, 3, 256, 256]`` → ``[B, side, side]`` each."""
    with torch.no_grad(), mixed():
        shares = parser(image).float().softmax(1)
    return [F.adaptive_avg_pool2d(shares, side).argmax(1).to(torch.uint8) for side in sides]


@dataclass(frozen=True)
class ConceptEncoderConfig:
    """``widths``: channels at 128, 64, 32 and 16 px; ``embedding``: numbers that stand for a category."""

    widths: tuple[int, ...] = (24, 48, 96, 160)
    embedding: int = 16
    classes: int = 19


class ConceptEncoder(nn.Module):
    """Photo and layout → the features of every cell (1.0 M parameters, 0.5 GMAC).

    ::

        photo  - pixels 2x2 - conv - 128 - ResBlock 64 - + - ResBlock 32 - ResBlock x 2 16 - norm, conv, tanh → v
        layout - embedding ------------------------------'              |
        photo  - pixels 16x16 - linear ----------------------------------'

    The linear path starts as the principal components of a cell's pixels (recipe ``scene-codec``): from the first step on the
    features tell the painter something. The rest sees the layout that will be sent: what the receiver knows from there need
    not be in the features.
    """

    def __init__(self, config: ConceptEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ConceptEncoderConfig()
        w = config.widths
        self.stem = nn.Conv2d(12, w[0], 3, padding=1)
        self.embed = nn.Conv2d(config.classes, config.embedding, 1, bias=False)
        self.blocks = nn.ModuleList([ResBlock(w[0], w[1]), ResBlock(w[1] + config.embedding, w[2]), ResBlock(w[2], w[3])])
        self.last = ResBlock(w[3], w[3])
        self.norm, self.head = norm(w[3]), nn.Conv2d(w[3], CHANNELS, 1)
        self.linear = nn.Conv2d(3, CHANNELS, SIZE // GRID, stride=SIZE // GRID)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, image: Tensor, layout: Tensor) -> Tensor:
        """Describe each cell.

        Args:
            image: ``[B, 3, 256, 256]`` in [0, 1].
            layout: categories ``[B, 64, 64]``.

        Returns:
            v ``[B, CHANNELS, GRID, GRID]``, float32 in (-1, 1).
        """
        x = self.stem(F.pixel_unshuffle(image * 2 - 1, 2))
        x = self.blocks[0](F.avg_pool2d(x, 2))
        x = torch.cat((x, self.embed(one_hot(layout, self.config.classes))), 1)
        x = self.blocks[1](F.avg_pool2d(x, 2))
        x = self.last(self.blocks[2](F.avg_pool2d(x, 2)))
        return (self.head(F.silu(self.norm(x))).float() + self.linear(image).float()).tanh()
