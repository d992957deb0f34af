"""The sender's view of a photo: a parser makes the layout, the encoder the features of every cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.codec.concepts import CATEGORIES, GRID, SIZE, one_hot
from semcast.codec.ladder import V1, ladder_of
from semcast.networks.blocks import ResBlock, norm
from semcast.networks.precision import mixed

if TYPE_CHECKING:
    from jaxtyping import Float, Integer, UInt8


def parse_layout(
    parser: nn.Module, image: Float[Tensor, "batch 3 height width"], side: int
) -> UInt8[Tensor, "batch {side} {side}"]:
    """Parse a photo into a layout: probabilities averaged over each block, the likeliest, ``[B, side, side]`` uint8."""
    return parse_layouts(parser, image, (side,))[0]


def parse_layouts(
    parser: nn.Module, image: Float[Tensor, "batch 3 height width"], sides: Sequence[int]
) -> list[UInt8[Tensor, "batch _ _"]]:
    """Parse a photo once into layouts of several sides: image ``[B, 3, 256, 256]`` → ``[B, side, side]`` each."""
    with torch.no_grad(), mixed(image.device):
        shares = parser(image).float().softmax(1)
    return [F.adaptive_avg_pool2d(shares, side).argmax(1).to(torch.uint8) for side in sides]


@dataclass(frozen=True)
class ConceptEncoderConfig:
    """``widths``: channels at 128, 64, 32 and 16 px; ``embedding``: numbers that stand for a category; ``version``: of the
    format, which decides how many features there are."""

    widths: tuple[int, ...] = (24, 48, 96, 160)
    embedding: int = 16
    classes: int = CATEGORIES
    version: int = V1.version


class ConceptEncoder(nn.Module):
    """Photo and layout → the features of every cell (1.0 M parameters, 0.5 GMAC).

    ::

        photo  - pixels 2x2 - conv - 128 - ResBlock 64 - + - ResBlock 32 - ResBlock x 2 16 - norm, conv - + → v
        layout - embedding ------------------------------'                                                |
        photo  - pixels 16x16 - linear -------------------------------------------------------------------'

    The linear path starts as the principal components of a cell's pixels (recipe ``scene-codec``): from the first step on the
    features tell the painter something. The rest sees the layout that will be sent: what the receiver knows from there need
    not be in the features. In version 1 features are held in (-1, 1) by a hyperbolic tangent.
    """

    def __init__(self, config: ConceptEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ConceptEncoderConfig()
        w, self.ladder = config.widths, ladder_of(config.version)
        channels = self.ladder.channels
        self.stem = nn.Conv2d(12, w[0], 3, padding=1)
        self.embed = nn.Conv2d(config.classes, config.embedding, 1, bias=False)
        self.blocks = nn.ModuleList([ResBlock(w[0], w[1]), ResBlock(w[1] + config.embedding, w[2]), ResBlock(w[2], w[3])])
        self.last = ResBlock(w[3], w[3])
        self.norm, self.head = norm(w[3]), nn.Conv2d(w[3], channels, 1)
        self.linear = nn.Conv2d(3, channels, SIZE // GRID, stride=SIZE // GRID)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(
        self, image: Float[Tensor, "batch 3 256 256"], layout: Integer[Tensor, "batch 64 64"]
    ) -> Float[Tensor, "batch channels 16 16"]:
        """Describe each cell.

        Args:
            image: ``[B, 3, 256, 256]`` in [0, 1].
            layout: categories ``[B, 64, 64]``.

        Returns:
            v ``[B, channels, GRID, GRID]``, float32.
        """
        x = self.stem(F.pixel_unshuffle(image * 2 - 1, 2))
        x = self.blocks[0](F.avg_pool2d(x, 2))
        x = torch.cat((x, self.embed(one_hot(layout, self.config.classes))), 1)
        x = self.blocks[1](F.avg_pool2d(x, 2))
        x = self.last(self.blocks[2](F.avg_pool2d(x, 2)))
        features: Tensor = self.head(F.silu(self.norm(x))).float() + self.linear(image).float()
        return features.tanh() if self.ladder is V1 else features
