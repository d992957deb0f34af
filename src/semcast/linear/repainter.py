"""The repainter: a receiver's U-Net that turns the blurred linear estimate of a face into a natural one (our own)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.networks.blocks import LightBlock, ResBlock


@dataclass(frozen=True)
class RepainterConfig:
    """``widths``: channels at 64, 32, 16 and 8 px; ``fine``: channels at 128 and 256 px; ``side`` of the estimate."""

    side: int = 64
    widths: tuple[int, ...] = (48, 96, 160, 224)
    fine: tuple[int, ...] = (24, 12)


class Repainter(nn.Module):
    """estimate + residual(estimate, its expected error, k, SNR), at the full size.

    Faces are aligned, so a learned map of positions tells the network where it is in the face. ``octaves`` is how far above
    the estimate's 64 px it paints where the caller does not say (1: 128 px, 2: 256 px, all the way).
    """

    def __init__(self, config: RepainterConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RepainterConfig()
        w, fine = config.widths, config.fine
        self.octaves = len(fine)
        self.place = nn.Parameter(torch.zeros(1, w[0], config.side, config.side))
        self.stem = nn.Conv2d(4, w[0], 3, padding=1)
        self.condition = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, w[0]))
        self.down = nn.ModuleList(
            [ResBlock(w[0], w[0]), ResBlock(w[0], w[1]), ResBlock(w[1], w[2]), ResBlock(w[2], w[3])]
        )
        self.middle = nn.Sequential(ResBlock(w[3], w[3]), ResBlock(w[3], w[3]))
        self.up = nn.ModuleList(
            [ResBlock(w[3] + w[2], w[2]), ResBlock(w[2] + w[1], w[1]), ResBlock(w[1] + w[0], w[0])]
        )
        inputs = (w[0], *fine)
        self.fine = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs[i], width * 4, 3, padding=1), nn.PixelShuffle(2), LightBlock(width))
            for i, width in enumerate(fine)
        )
        self.paint = nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1) for width in fine)
        for head in self.paint:
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def forward(self, estimate: Tensor, error: Tensor, condition: Tensor, octaves: int | None = None) -> Tensor:
        """Repaint.

        Args:
            estimate: the linear estimate ``[B, 3, 64, 64]``, about [0, 1].
            error: its expected error (standard deviation) per pixel ``[B, 1, 64, 64]``.
            condition: ``[B, 2]``: SNR in dB / 10 and log2(k / 256) / 2.
            octaves: how far above the estimate to paint; None: as far as :attr:`octaves` says.

        Returns:
            ``[B, 3, S, S]`` with S = 64 · 2^octaves, not clipped.
        """
        x = self.stem(torch.cat((estimate * 2 - 1, error.clamp_min(1e-3).log() + 3), 1))
        x = x + self.place + self.condition(condition)[:, :, None, None]
        skips = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.avg_pool2d(x, 2))
            skips.append(x)
        x = self.middle(skips.pop())
        for block in self.up:
            x = block(torch.cat((F.interpolate(x, scale_factor=2.0, mode="nearest"), skips.pop()), 1))
        painted = None
        for i in range(self.octaves if octaves is None else octaves):
            x = self.fine[i](x)
            painted = self.paint[i](x) + (
                0 if painted is None else F.interpolate(painted, scale_factor=2.0, mode="bilinear")
            )
        assert painted is not None
        return F.interpolate(estimate, painted.shape[-2:], mode="bicubic") + painted
