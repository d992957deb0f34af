"""``hyperprior``: a learned codec of the kind that the field compares with, so that the semantic codec meets one of its own age.

A mean-scale hyperprior (Minnen, Ballé and Toderici 2018, arXiv:1809.02736), written anew and sized for a CPU::

    photo → analysis → y · gain → round(y - μ) + μ → / gain → synthesis → photo
                          └→ hyper-analysis → round(z) → hyper-synthesis → μ, σ of every y

Symbols round(y - μ) are coded under Gaussians of scale σ, z under a table a channel. Gains (Cui et al. 2021, arXiv:2003.02012)
make one network serve every rate between its ends: the quality is a number in the stream.

Beside both convolutional paths there are linear ones, which begin as a transform code in closed form, as those of the semantic
codec do: with hours of two cores instead of days of a GPU, it would else not come near the codecs in use.

Whoever decodes must find the same μ and σ to the last digit, or nothing decodes. The hyper-synthesis therefore computes with
whole numbers alone: 8-bit weights, 8-bit activations, sums below 2^53 in float64, which no processor rounds (Ballé et al. 2019
do the same). Tables are stored, not computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.networks.blocks import ScaledBlock, double
from semcast.networks.lapped import LappedBlocks
from semcast.networks.precision import exact, mixed

if TYPE_CHECKING:
    from jaxtyping import Float

CELL = 16
"""Side in pixels of what a place of y stands for."""
STRIDE = 64
"""A photo's sides are padded to a multiple of it: 16 for y, 4 more for z."""
MEAN_STEP = 16
"""μ is a whole number of 16ths."""
Z_MOST, Y_MOST, MEAN_MOST = 31, 255, 4095
SCALES = tuple(float(s) for s in np.exp(np.linspace(math.log(0.11), math.log(256.0), 64)))
"""σ of the 64 Gaussians."""
WEIGHT_STEP, ACTIVATION_MOST = 64, 255


@dataclass(frozen=True)
class HyperpriorConfig:
    """``width`` of the convolutions, ``latent`` channels of y, ``hyper`` of z, ``levels``: gains that are trained."""

    width: int = 96
    latent: int = 128
    hyper: int = 64
    levels: int = 6


def _through(value: Tensor, becomes: Tensor) -> Tensor:
    """``becomes``, with the gradient of ``value``."""
    return value + (becomes - value).detach()


def round_half_up(value: Tensor) -> Tensor:
    """floor(x + 1/2), with a gradient of 1."""
    return _through(value, torch.floor(value + 0.5))


class WholeConv(nn.Module):
    """A 3 x 3 convolution of whole numbers: floor(sum w x / 64 + b / 64 + 1/2), w of 8 bits, clipped.

    Args:
        least, most: what the results are clipped to.
    """

    def __init__(self, inputs: int, outputs: int, least: int, most: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3) / math.sqrt(9 * inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.least, self.most = least, most

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs height width"]:
        """While training, with gradients through rounding; in eval mode exactly, on any machine.

        Args:
            x: whole numbers, ``[B, inputs, H, W]``.
        """
        whole = torch.floor(self.weight.double() * WEIGHT_STEP + 0.5).clamp(-127, 127)
        bias = torch.floor(self.bias.double() * WEIGHT_STEP + 0.5)
        if not self.training:
            sums = F.conv2d(x.double(), whole, bias, padding=1)
            return torch.floor(sums / WEIGHT_STEP + 0.5).clamp(self.least, self.most).to(x.dtype)
        weight, offset = _through(self.weight, (whole / WEIGHT_STEP).float()), _through(self.bias, (bias / WEIGHT_STEP).float())
        return round_half_up(F.conv2d(x, weight, offset, padding=1)).clamp(self.least, self.most)


class Hyperprior(nn.Module):
    """The networks; see the module."""

    def __init__(self, config: HyperpriorConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or HyperpriorConfig()
        w = c.width
        self.analysis = nn.Sequential(
            _down(3, w // 2), ScaledBlock(w // 2), _down(w // 2, w), ScaledBlock(w), _down(w, w), ScaledBlock(w),
            _down(w, c.latent),
        )  # fmt: skip
        self.synthesis = nn.Sequential(
            Doubling(c.latent, w), ScaledBlock(w), ScaledBlock(w), Doubling(w, w), ScaledBlock(w), Doubling(w, w // 2),
            ScaledBlock(w // 2), Doubling(w // 2, w // 4), ScaledBlock(w // 4), nn.Conv2d(w // 4, 3, 3, padding=1),
        )  # fmt: skip
        self.components, self.blocks = nn.Conv2d(3, c.latent, CELL, stride=CELL), LappedBlocks(c.latent, CELL)
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(c.latent, c.hyper, 3, padding=1), nn.SiLU(), _down(c.hyper, c.hyper), nn.SiLU(), _down(c.hyper, c.hyper)
        )
        self.first = WholeConv(c.hyper, w, 0, ACTIVATION_MOST)
        self.second = WholeConv(w, w, 0, ACTIVATION_MOST)
        self.last = WholeConv(w, 2 * c.latent, -MEAN_MOST, MEAN_MOST)
        with torch.no_grad():  # σ starts about 1
            self.last.bias[c.latent :] = 18.0 * 4
        self.log_gain = nn.Parameter(torch.linspace(-0.7, 1.4, c.levels)[:, None].repeat(1, c.latent))
        spread = torch.arange(-Z_MOST, Z_MOST + 1).float()
        self.z_logits = nn.Parameter((-0.5 * (spread / 3) ** 2).repeat(c.hyper, 1))

    def gain(self, quality: Float[Tensor, " batch"]) -> Float[Tensor, "batch latent 1 1"]:
        """What y is multiplied by at a quality of 0 .. levels - 1, between whole ones in proportion."""
        low = quality.floor().clamp(0, self.config.levels - 2).long()
        share = (quality - low)[:, None]
        log = torch.lerp(self.log_gain[low], self.log_gain[low + 1], share)
        return log.exp()[:, :, None, None]

    def analyse(self, photo: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch latent rows columns"]:
        """A photo in [0, 1] → y before its gain."""
        shown = photo * 2 - 1
        with exact(photo.device):
            linear = self.components(shown)
        y: Tensor = self.analysis(shown).float() + linear
        return y

    def synthesise(self, y: Float[Tensor, "batch latent rows columns"]) -> Float[Tensor, "batch 3 height width"]:
        """y without its gain → the picture, about [0, 1]."""
        with exact(y.device):
            linear = self.blocks(y.float())
        picture: Tensor = (self.synthesis(y).float() + linear + 1) / 2
        return picture

    def describe(
        self, z: Float[Tensor, "batch hyper height width"]
    ) -> tuple[Float[Tensor, "batch latent 4*height 4*width"], Float[Tensor, "batch latent 4*height 4*width"]]:
        """Whole z → μ, and the number of σ in :data:`SCALES`, which is whole too (as a float)."""
        x = self.first(z * 8)
        x = self.second(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        told = self.last(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        mean, scale = told.chunk(2, 1)
        index = _through(scale / 4, torch.floor(scale / 4)).clamp(0, len(SCALES) - 1)
        return mean / MEAN_STEP, index

    def forward(
        self, photo: Float[Tensor, "batch 3 height width"], quality: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, " batch"]]:
        """For training: the picture, and the bits of each photo under uniform noise in place of rounding.

        Args:
            photo: sides are multiples of :data:`STRIDE`.
            quality: of each photo.
        """
        gain = self.gain(quality)
        with mixed(photo.device):
            y = self.analyse(photo) * gain
            z = self.hyper_analysis(y).float().clamp(-Z_MOST, Z_MOST)
        mean, index = self.describe(round_half_up(z))
        noise = torch.rand_like(y) - 0.5
        bits = self._y_bits(y + noise - mean, index) + self._z_bits(z + torch.rand_like(z) - 0.5)
        shown = round_half_up(y - mean) + mean
        with mixed(photo.device):
            return self.synthesise(shown / gain), bits

    def _y_bits(self, value: Tensor, index: Tensor) -> Tensor:
        step = (math.log(SCALES[-1]) - math.log(SCALES[0])) / (len(SCALES) - 1)
        scale = torch.exp(math.log(SCALES[0]) + step * index)
        upper, lower = _normal_cdf((0.5 - value.abs()) / scale), _normal_cdf((-0.5 - value.abs()) / scale)
        return -(upper - lower).clamp_min(1e-9).log2().sum((1, 2, 3))

    def _z_bits(self, value: Tensor) -> Tensor:
        logs = self.z_logits.log_softmax(1)
        at = (value + Z_MOST).clamp(0, 2 * Z_MOST - 1e-3)
        low = at.floor().long()
        channel = torch.arange(self.config.hyper, device=value.device)[None, :, None, None].expand_as(low)
        return -torch.lerp(logs[channel, low], logs[channel, low + 1], at - low).sum((1, 2, 3)) / math.log(2)


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-x / math.sqrt(2))


def _down(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)


class Doubling(nn.Module):
    """A convolution at the lower size, then bilinear doubling, which leaves no grid."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs 2*height 2*width"]:
        """``[B, inputs, S, S]`` → twice the side."""
        return double(self.conv(x))
