"""The repainter: a receiver's U-Net that turns the blurred linear estimate of a face into a natural one (our own).

Two of them share the network up to 64 px and differ in how they go on to 256: :class:`Repainter`, of ``linear-gan``, by
PixelShuffle, which leaves a grid of period 2 and 4 px in its pictures; :class:`SmoothRepainter`, of ``sketch``, by bilinear
doubling, which leaves none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.networks.blocks import LightBlock, ResBlock, SmoothOctave, double, paint_window, through_u_net

if TYPE_CHECKING:
    from jaxtyping import Float


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
        self.fine = nn.ModuleList(self.octave(i, (w[0], *fine)[i], width) for i, width in enumerate(fine))
        self.paint = nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1) for width in fine)
        for head in self.paint:
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def octave(self, i: int, inputs: int, outputs: int) -> nn.Module:
        """The ``i``-th module that doubles the side: ``[B, inputs, S, S]`` → ``[B, outputs, 2 S, 2 S]``."""
        return nn.Sequential(nn.Conv2d(inputs, outputs * 4, 3, padding=1), nn.PixelShuffle(2), LightBlock(outputs))

    def understand(
        self, estimate: Float[Tensor, "batch 3 side side"], error: Float[Tensor, "batch 1 side side"],
        condition: Float[Tensor, "batch 2"],
    ) -> Float[Tensor, "batch features side side"]:
        """The U-Net's features ``[B, widths[0], 64, 64]``; arguments as of :meth:`forward`."""
        x: Tensor = self.stem(torch.cat((estimate * 2 - 1, error.clamp_min(1e-3).log() + 3), 1))
        x = x + self.place + self.condition(condition)[:, :, None, None]
        return through_u_net(x, self.down, self.middle, self.up)

    def forward(
        self, estimate: Float[Tensor, "batch 3 side side"], error: Float[Tensor, "batch 1 side side"],
        condition: Float[Tensor, "batch 2"],
        octaves: int | None = None,
    ) -> Float[Tensor, "batch 3 painted painted"]:  # fmt: skip
        """Repaint.

        Args:
            estimate: the linear estimate ``[B, 3, 64, 64]``, about [0, 1].
            error: its expected error (standard deviation) per pixel ``[B, 1, 64, 64]``.
            condition: ``[B, 2]``: SNR in dB / 10 and log2(k / 256) / 2.
            octaves: how far above the estimate to paint; None: as far as :attr:`octaves` says.

        Returns:
            ``[B, 3, S, S]`` with S = 64 · 2^octaves, not clipped.
        """
        x = self.understand(estimate, error, condition)
        painted: Tensor | None = None
        for i in range(self.octaves if octaves is None else octaves):
            x = self.fine[i](x)
            painted = self.paint[i](x) + (0 if painted is None else double(painted))
        assert painted is not None
        return F.interpolate(estimate, painted.shape[-2:], mode="bicubic") + painted


class SmoothRepainter(Repainter):
    """A repainter that doubles by interpolation, and that can paint one window of a face at the full size."""

    def octave(self, i: int, inputs: int, outputs: int) -> nn.Module:
        """A :class:`SmoothOctave`; the last one does not mind whether it sees all of the face."""
        return SmoothOctave(inputs, outputs, windowed=i == len(self.config.fine) - 1)

    def paint_window(
        self, estimate: Float[Tensor, "batch 3 64 64"], error: Float[Tensor, "batch 1 64 64"],
        condition: Float[Tensor, "batch 2"],
        top: int, left: int, side: int = 128,
    ) -> tuple[Float[Tensor, "batch 3 128 128"], Float[Tensor, "batch 3 {side} {side}"]]:  # fmt: skip
        """The whole face at half the size, and a window of it at the full size: all that training looks at, for less.

        The window is the same as that place of :meth:`forward`'s picture: nothing in the last octave sees the rest of it.

        Args:
            estimate, error, condition: as of :meth:`forward`.
            top, left: corner of the window in the 256 px face, even.
            side: of the window, even.

        Returns:
            ``[B, 3, 128, 128]`` and ``[B, 3, side, side]``, not clipped.
        """
        features = self.fine[0](self.understand(estimate, error, condition))
        half, up = self.paint[0](features), F.interpolate(estimate, (256, 256), mode="bicubic")
        painted = paint_window(lambda seen: self.paint[1](self.fine[1](seen)), features, half, top, left, side)
        window = painted + up[..., top : top + side, left : left + side]
        return F.interpolate(estimate, (128, 128), mode="bicubic") + half, window
