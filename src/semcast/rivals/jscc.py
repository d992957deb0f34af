"""Deep joint source-channel coding: convolutions from pixels straight to channel symbols and back.

The strong form of the literature: GDN between convolutions (Ballé et al. 2016, arXiv:1511.06281) as in Deep JSCC with
feedback (Kurka & Gündüz 2020, arXiv:1911.11174), and the attention-feature modules of ADJSCC, by which one model serves
every SNR (Xu et al. 2021, arXiv:2012.00533). Plain Deep JSCC is Bourtsoulatze et al. 2019, arXiv:1809.01733.

Beside them runs what none of those papers has, a linear code of image blocks that starts at its closed-form optimum: a few
thousand steps of training do not find that optimum by themselves (25.6 dB without noise at k = 8192, where the blocks alone
give 31), and a rival that was only trained too briefly would prove nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.errors import BadInput
from semcast.linear.sketch import allocate

WIDEST_DB = (-2.0, 20.0)  # what training draws from; beyond it the networks are told the nearest
KNOTS_DB = tuple(range(-2, 21, 2))
PILOT = 0.5**0.5  # the power of an average real


@dataclass(frozen=True)
class JsccConfig:
    """``layers``: (kernel, stride) of each convolution before the last, at whose scale lie ``channels`` reals a position.

    ``block``: side of the blocks of the linear code, a multiple of the stride; 0 leaves it out.
    """

    channels: int = 4
    filters: int = 128
    layers: tuple[tuple[int, int], ...] = ((9, 2), (5, 2), (5, 1), (5, 1))
    last: int = 5
    block: int = 16

    def __post_init__(self) -> None:
        if self.block and self.block % self.stride:
            raise BadInput(f"a block of {self.block} pixels is no multiple of the stride, {self.stride}")

    @property
    def stride(self) -> int:
        """Pixels a side for each position of the symbols."""
        return math.prod(stride for _, stride in self.layers)

    @property
    def coefficients(self) -> int:
        """Reals of a block, the pilot among them."""
        return self.channels * (self.block // self.stride) ** 2

    @property
    def grain(self) -> int:
        """What the sides of a photo must be multiples of, in pixels: a whole block, or a whole position."""
        return self.block or self.stride

    def symbols(self, height: int, width: int | None = None) -> int:
        """k for a photo of that size (a square one by default): two reals make a complex symbol."""
        width = height if width is None else width
        return (height // self.stride) * (width // self.stride) * self.channels // 2


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
        scale: Tensor = self.layers(torch.cat((x.mean((2, 3)), snr), 1)).sigmoid()
        return x * (2 * scale[:, :, None, None])


class BlockCode(nn.Module):
    """The linear code of image blocks: y = g(SNR) · B (x - ½), x̂ = ½ + Bᵀ w(SNR) · y, one pilot in place of the last y.

    Gains are kept at :data:`KNOTS_DB` and interpolated. A burst is normalised to unit power, by a factor that the receiver
    does not know: the pilot, a constant before that, tells it.

    Args:
        config: of the network; a block has ``config.coefficients`` reals.
    """

    def __init__(self, config: JsccConfig) -> None:
        super().__init__()
        count, side = config.coefficients, config.block
        self.fold = side // config.stride
        self.down = nn.Conv2d(3, count - 1, side, side)
        self.up = nn.ConvTranspose2d(count - 1, 3, side, side)
        self.send = nn.Parameter(torch.ones(len(KNOTS_DB), count - 1))
        self.receive = nn.Parameter(torch.ones(len(KNOTS_DB), count - 1))

    @torch.no_grad()
    def start(self, blocks: Tensor) -> None:
        """The optimum for these blocks ``[N, 3, side, side]``: their principal components, optimal powers, Wiener gains."""
        values, vectors, mean = principal(blocks.flatten(1), self.down.out_channels)
        basis = vectors.T.unflatten(1, blocks.shape[1:])
        self.down.weight.copy_(basis)
        self.up.weight.copy_(basis)
        assert self.down.bias is not None and self.up.bias is not None
        self.down.bias.copy_(-(vectors.T @ (mean - 0.5)))
        self.up.bias.copy_(mean.unflatten(0, blocks.shape[1:]).mean((1, 2)) - 0.5)
        for knot, snr in enumerate(KNOTS_DB):
            noise = 10 ** (-snr / 10) / 2
            power = allocate(values, len(values), noise)
            self.send[knot] = (power / values).sqrt()
            self.receive[knot] = (power * values).sqrt() / (power + noise)

    def analyse(self, image: Tensor, learned: Tensor, snr_db: Tensor) -> Tensor:
        """Photo, and what the network adds to the code on the grid of symbols → the code on that grid."""
        code = self.down(image - 0.5) * _between(self.send, snr_db)
        code = code + F.pixel_unshuffle(learned, self.fold)[:, :-1]
        return F.pixel_shuffle(torch.cat((code, torch.full_like(code[:, :1], PILOT)), 1), self.fold)

    def synthesise(self, received: Tensor, snr_db: Tensor) -> tuple[Tensor, Tensor]:
        """What arrived on the grid → the photo's linear estimate, and what arrived at its original scale."""
        code = F.pixel_unshuffle(received, self.fold)
        scale = (code[:, -1:].mean((1, 2, 3), keepdim=True) / PILOT).clamp_min(0.25)
        code = code / scale
        return self.up(code[:, :-1] * _between(self.receive, snr_db)) + 0.5, F.pixel_shuffle(code, self.fold)


def principal(samples: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` largest variances of ``[N, D]`` (or as many as it has), their directions ``[D, count]``, and the mean."""
    mean = samples.mean(0)
    centred = samples - mean
    if samples.shape[1] <= 1024:
        values, vectors = torch.linalg.eigh((centred.T @ centred / len(samples)).double())
        return values.flip(0)[:count].float().clamp_min(1e-9), vectors.flip(1)[:, :count].float(), mean
    with torch.random.fork_rng(devices=[]):  # it draws from the global generator
        torch.manual_seed(0)
        _, singular, vectors = torch.svd_lowrank(centred, q=count + 16, niter=4)
    return (singular.square() / len(samples))[:count].clamp_min(1e-9), vectors[:, :count], mean


def _between(gains: Tensor, snr_db: Tensor) -> Tensor:
    """Gains ``[knots, C]`` interpolated at ``[B]`` dB → ``[B, C, 1, 1]``."""
    step = KNOTS_DB[1] - KNOTS_DB[0]
    place = (snr_db.clamp(*WIDEST_DB) - KNOTS_DB[0]) / step
    hat = (1 - (place[:, None] - torch.arange(len(KNOTS_DB), device=place.device)).abs()).clamp_min(0)
    return (hat @ gains)[:, :, None, None]


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
        self.blocks = BlockCode(c) if c.block else None
        # where a position is a few pixels, the receiver's network is shown the linear estimate as well
        self.sees = self.blocks is not None and c.stride <= 4
        self.first = nn.Conv2d(c.channels + (3 * c.stride**2 if self.sees else 0), width, last, 1, last // 2)
        self.up = nn.ModuleList(
            _upwards(width, outputs, kernel, stride) for outputs, (kernel, stride) in zip(inputs, c.layers, strict=True)
        )
        self.up_norm = nn.ModuleList(nn.Sequential(GDN(width, inverse=True), nn.PReLU(width)) for _ in c.layers)
        self.up_attention = nn.ModuleList(SnrAttention(width) for _ in c.layers)
        if self.blocks is not None:
            for silent in (self.symbols, self.up[0]):  # training starts at the linear code
                nn.init.zeros_(silent.weight)  # type: ignore[arg-type]
                nn.init.zeros_(silent.bias)  # type: ignore[arg-type]

    def analyse(self, image: Tensor, snr_db: Tensor) -> Tensor:
        """Photo ``[B, 3, S, S]`` and SNR ``[B]`` in dB → reals ``[B, channels, S / stride, S / stride]``, not normalised."""
        snr = _tell(snr_db)
        x = image * 2 - 1
        for layer, norm, attention in zip(self.down, self.down_norm, self.down_attention, strict=True):
            x = attention(norm(layer(x)), snr)
        code = self.symbols(x)
        return code if self.blocks is None else self.blocks.analyse(image, code, snr_db)

    def synthesise(self, received: Tensor, snr_db: Tensor) -> Tensor:
        """The inverse path → photo, not clipped (a sigmoid would make its gradient vanish where faces are black or white)."""
        snr = _tell(snr_db)
        estimate: Tensor | float = 0.5
        if self.blocks is not None:
            estimate, received = self.blocks.synthesise(received, snr_db)
            if self.sees:
                received = torch.cat((received, F.pixel_unshuffle(estimate * 2 - 1, self.config.stride)), 1)
        x: Tensor = self.first(received)
        for layer, norm, attention in zip(
            reversed(self.up), reversed(self.up_norm), reversed(self.up_attention), strict=True
        ):
            x = layer(attention(norm(x), snr))
        return estimate + x / 2


def _upwards(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    """The mirror of a strided convolution."""
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2)
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride, kernel // 2, output_padding=stride - 1)


def _tell(snr_db: Tensor) -> Tensor:
    return snr_db.clamp(*WIDEST_DB)[:, None] / 10
