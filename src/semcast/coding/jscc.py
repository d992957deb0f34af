"""Deep joint source-channel coding: convolutions from pixels straight to channel symbols and back.

The strong form of the literature: GDN between convolutions (Ballé et al. 2016, arXiv:1511.06281) as in Deep JSCC with
feedback (Kurka & Gündüz 2020, arXiv:1911.11174), and the attention-feature modules of ADJSCC, by which one model serves
every SNR (Xu et al. 2021, arXiv:2012.00533). Plain Deep JSCC is Bourtsoulatze et al. 2019, arXiv:1809.01733.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDEST_DB = (-2.0, 20.0)  # what training draws from; beyond it the networks are told the nearest


@dataclass(frozen=True)
class JsccConfig:
    """``layers``: (kernel, stride) of each convolution before the last, at whose scale lie ``channels`` reals a position."""

    channels: int = 4
    filters: int = 128
    layers: tuple[tuple[int, int], ...] = ((9, 2), (5, 2), (5, 1), (5, 1))
    last: int = 5

    @property
    def stride(self) -> int:
        """Pixels a side for each position of the symbols."""
        return math.prod(stride for _, stride in self.layers)

    def symbols(self, side: int) -> int:
        """k for a square photo: two reals make a complex symbol."""
        return (side // self.stride) ** 2 * self.channels // 2


class GDN(nn.Module):
    """Generalised divisive normalisation y_i = x_i / sqrt(β_i + Σ_j γ_ij x_j²), or its inverse (times instead of divided)."""

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        # stored as roots, so that β and γ stay positive
        self.beta = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + 1e-4).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """``[B, channels, H, W]``, the same shape out."""
        weight = self.gamma.square()[:, :, None, None]
        pool = F.conv2d(x.square(), weight.to(x.dtype), (self.beta.square() + 1e-6).to(x.dtype))
        return x * (pool.sqrt() if self.inverse else pool.rsqrt())


class SnrAttention(nn.Module):
    """ADJSCC's attention feature module: each channel scaled by sigmoid(FC(FC(mean over positions, SNR)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels + 1, max(4, channels // 16)), nn.ReLU(), nn.Linear(max(4, channels // 16), channels)
        )

    def forward(self, x: Tensor, snr: Tensor) -> Tensor:
        """Features and SNR in dB / 10 ``[B, 1]`` → features."""
        scale = self.layers(torch.cat((x.mean((2, 3)), snr), 1)).sigmoid()
        return x * (2 * scale[:, :, None, None])


class Jscc(nn.Module):
    """Analysis: photo → reals on a grid; synthesis: what arrived of them → photo."""

    def __init__(self, config: JsccConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or JsccConfig()
        width, last = c.filters, c.last
        inputs = (3, *[width] * (len(c.layers) - 1))
        self.down = nn.ModuleList(
            nn.Conv2d(i, width, kernel, stride, kernel // 2) for i, (kernel, stride) in zip(inputs, c.layers, strict=True)
        )
        self.down_norm = nn.ModuleList(nn.Sequential(GDN(width), nn.PReLU(width)) for _ in c.layers)
        self.down_attention = nn.ModuleList(SnrAttention(width) for _ in c.layers)
        self.symbols = nn.Conv2d(width, c.channels, last, 1, last // 2)
        self.first = nn.Conv2d(c.channels, width, last, 1, last // 2)
        self.up = nn.ModuleList(
            _upwards(width, outputs, kernel, stride) for outputs, (kernel, stride) in zip(inputs, c.layers, strict=True)
        )
        self.up_norm = nn.ModuleList(nn.Sequential(GDN(width, inverse=True), nn.PReLU(width)) for _ in c.layers)
        self.up_attention = nn.ModuleList(SnrAttention(width) for _ in c.layers)

    def analyse(self, image: Tensor, snr_db: Tensor) -> Tensor:
        """Photo ``[B, 3, S, S]`` and SNR ``[B]`` in dB → reals ``[B, channels, S / stride, S / stride]``, not normalised."""
        snr = _told(snr_db)
        x = image * 2 - 1
        for layer, norm, attention in zip(self.down, self.down_norm, self.down_attention, strict=True):
            x = attention(norm(layer(x)), snr)
        return self.symbols(x)

    def synthesise(self, received: Tensor, snr_db: Tensor) -> Tensor:
        """The inverse path → photo, not clipped (a sigmoid would make its gradient vanish where faces are black or white)."""
        snr = _told(snr_db)
        x = self.first(received)
        for layer, norm, attention in zip(
            reversed(self.up), reversed(self.up_norm), reversed(self.up_attention), strict=True
        ):
            x = layer(attention(norm(x), snr))
        return (x + 1) / 2


def _upwards(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    """The mirror of a strided convolution."""
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2)
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride, kernel // 2, output_padding=stride - 1)


def _told(snr_db: Tensor) -> Tensor:
    return snr_db.clamp(*WIDEST_DB)[:, None] / 10
