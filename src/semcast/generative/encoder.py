"""Encoder: photo → the generator's 28 codes in one pass (the fast half of GAN inversion; our own)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.domains import NUM_CODES
from semcast.linear.sketch import to_vector
from semcast.networks.blocks import ResBlock, norm

if TYPE_CHECKING:
    from jaxtyping import Float

BOUND = 3.0


@dataclass(frozen=True)
class EncoderConfig:
    """``code``: numbers a code; ``size`` of the photo it looks at; ``rank`` of the linear path from 64 px luma, 32 px chroma."""

    code: int = 48
    size: int = 128
    widths: tuple[int, ...] = (32, 56, 96, 144)
    flat: int = 32
    rank: int = 640
    sketch: int = 64


def bound(codes: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """B tanh(c / B), B = 3: codes stay where the generator was trained (unbounded ones let training diverge)."""
    return BOUND * torch.tanh(codes / BOUND)


class FaceEncoder(nn.Module):
    """codes = bound(linear(64x64 photo) + convolutional network(128x128 photo)), ``[B, 28, code]``.

    The linear path starts as the least-squares regression of the eigen-parts' codes from the photo; the network learns
    what a linear map cannot see.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or EncoderConfig()
        w = c.widths
        self.project = nn.Linear(c.sketch**2 * 3 // 2, c.rank)
        self.linear = nn.Linear(c.rank, NUM_CODES * c.code)
        self.stem = nn.Conv2d(3, w[0], 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            [ResBlock(w[0], w[0]), ResBlock(w[0], w[1]), ResBlock(w[1], w[2]), ResBlock(w[2], w[3]), ResBlock(w[3], w[3])]
        )
        self.flat = nn.Sequential(norm(w[3]), nn.SiLU(), nn.Conv2d(w[3], c.flat, 1))
        self.out = nn.Linear(c.flat * (c.size // 16) ** 2, NUM_CODES * c.code)
        nn.init.normal_(self.out.weight, std=1e-3)

    def forward(self, image: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch 28 {self.config.code}"]:
        """Photo ``[B, 3, S, S]`` in [0, 1], any S of 128 and more → codes."""
        size = self.config.size
        if image.shape[-1] != size:
            image = F.interpolate(image, (size, size), mode="area")
        codes: Tensor = self.linear(self.project(to_vector(image, self.config.sketch))).float()
        x = self.stem(image * 2 - 1)
        for i, block in enumerate(self.blocks):
            x = block(F.avg_pool2d(x, 2) if 0 < i < 4 else x)
        codes = codes + self.out(self.flat(x).flatten(1)).float()
        return torch.unflatten(bound(codes), 1, (NUM_CODES, self.config.code))
