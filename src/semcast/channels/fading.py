"""Flat fading: Rayleigh and Rician, in blocks or per symbol, with h known or estimated from pilots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semcast.channels.draw import Draw, complex_normal, image_seeds, noise_variances
from semcast.errors import SemcastError
from semcast.link import Budget


def estimate_gain(pilot_mean: Tensor, n0: Tensor, line_of_sight: float) -> tuple[Tensor, Tensor]:
    """ĥ = E[h | z] and v = E[|h - ĥ|² | z] from z = h + w, w ~ CN(0, s), the mean of a block's pilots.

    With h = m e^{jθ} + g, θ uniform, g ~ CN(0, 1 - m²), a = (1 - m²) / (1 - m² + s) and, as θ given z is von Mises,
    R = I1(κ) / I0(κ), κ = 2 m |z| / (1 - m² + s):

        ĥ = (a + (1 - a) m R / |z|) z,   v = a s + (1 - a)² m² (1 - R²).

    For m = 0 (Rayleigh) this is the LMMSE estimate z / (1 + s). It beats least squares (ĥ = z) and, unlike it, leaves
    an error of mean zero given ĥ, so equalising with it is unbiased.

    Args:
        pilot_mean: z, complex ``[batch, blocks]``.
        n0: s = N0 / pilots, ``[batch, 1]``.
        line_of_sight: m² = K / (K + 1), the power of the fixed path.
    """
    m, scattered = math.sqrt(line_of_sight), 1.0 - line_of_sight
    size = pilot_mean.abs().clamp_min(1e-6)
    kappa = 2 * m * size / (scattered + n0)
    direction = torch.special.i1e(kappa) / torch.special.i0e(kappa)
    a = scattered / (scattered + n0)
    estimate = (a + (1 - a) * m * direction / size) * pilot_mean
    return estimate, a * n0 + ((1 - a) * m).square() * (1 - direction.square())


@dataclass(frozen=True, kw_only=True)
class Fading:
    """y = h x + n, n ~ CN(0, N0), h = m e^{jθ} + sqrt(1 - m²) g, g ~ CN(0, 1), θ uniform: E|h|² = 1.

    Each block of ``block`` channel uses has an independent h. SNR is the average one, 1 / N0.

    Args:
        block: channel uses that share one h; None is the whole burst (slow fading), 1 is fast fading.
        pilots: known symbols (1 + 0j) that open each block and count in k; 0 means that the receiver knows h.

    Raises:
        SemcastError: a block under 1, pilots under 0, or pilots that fill their block.
    """

    name: ClassVar[str] = "fading"
    block: int | None = None
    pilots: int = 0

    def __post_init__(self) -> None:
        if self.block is not None and self.block < 1:
            raise SemcastError(f"a fading block has at least 1 symbol, not {self.block}")
        if self.pilots < 0:
            raise SemcastError(f"the number of pilots cannot be negative: {self.pilots}")
        if self.block == 1 and self.pilots:
            raise SemcastError("fast fading (block 1) changes with every symbol, so pilots cannot estimate it")
        if self.block is not None and self.pilots >= self.block:
            raise SemcastError(f"{self.pilots} pilots leave no room for data in a block of {self.block} symbols")

    @property
    def line_of_sight(self) -> float:
        """m² = K / (K + 1): the share of the power that arrives over the fixed path."""
        return 0.0

    def data_symbols(self, symbols: int) -> int:
        """k minus the pilots. Raises SemcastError where nothing is left, or k is not in 1..2^20."""
        length = self.block or Budget(symbols, 0.0).symbols
        whole, rest = divmod(Budget(symbols, 0.0).symbols, length)
        data = whole * max(length - self.pilots, 0) + max(rest - self.pilots, 0)
        if data == 0:
            raise SemcastError(f"{self.pilots} pilots leave none of {symbols} symbols for data")
        return data

    def draw(self, batch: int, symbols: int, snr_db: float | Tensor, generator: torch.Generator) -> Draw:
        """Fixes gains and noise of k = ``symbols`` channel uses; see :class:`~semcast.link.Channel`."""
        self.data_symbols(symbols)
        n0 = noise_variances(batch, symbols, snr_db)
        length = self.block or symbols
        position = torch.arange(symbols)
        seeds = image_seeds(batch, generator)
        gain = torch.stack([self._gains(seed, -(-symbols // length)) for seed, _ in seeds])
        noise = torch.stack([complex_normal(seed, symbols) for _, seed in seeds])
        estimate, uncertainty = gain, torch.zeros(gain.shape)
        if self.pilots:
            # A last block cut short within its pilots averages fewer of them, but has no data to equalise.
            first = position[::length, None] + torch.arange(self.pilots)
            pilot_noise = noise[:, first.clamp_max(symbols - 1)].mean(-1)
            pilot_mean = gain + n0.sqrt() * pilot_noise
            estimate, uncertainty = estimate_gain(pilot_mean, n0 / self.pilots, self.line_of_sight)
        spread = position // length
        data = position % length >= self.pilots
        return Draw(gain[:, spread], noise, n0, estimate[:, spread], uncertainty[:, spread], data)

    def _gains(self, seed: int, blocks: int) -> Tensor:
        """h of each block, complex ``[blocks]``; Rayleigh and Rician share the scattered part of a seed."""
        path, scattered = complex_normal(seed, 2 * blocks).reshape(blocks, 2).unbind(-1)
        return math.sqrt(self.line_of_sight) * path.sgn() + math.sqrt(1.0 - self.line_of_sight) * scattered


@dataclass(frozen=True)
class Rayleigh(Fading):
    """y = h x + n, h ~ CN(0, 1): no line of sight, |h|² is exponential. Arguments as in :class:`Fading`.

    >>> Rayleigh(block=100, pilots=4).data_symbols(640)
    612
    """

    name: ClassVar[str] = "rayleigh"


@dataclass(frozen=True)
class Rician(Fading):
    """y = h x + n, h = sqrt(K/(K+1)) e^{jθ} + sqrt(1/(K+1)) g: a line of sight K times as strong as the scatter.

    The receiver does not know θ, the phase of the path, unless it knows h.

    Args:
        k_factor_db: K in dB, -40..40; the other arguments are those of :class:`Fading`.

    Raises:
        SemcastError: K is not a number in that range.

    >>> round(Rician(k_factor_db=0.0).line_of_sight, 2)
    0.5
    """

    name: ClassVar[str] = "rician"
    k_factor_db: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -40.0 <= self.k_factor_db <= 40.0:
            raise SemcastError(f"the Rician K-factor must be between -40 and 40 dB, not {self.k_factor_db}")

    @property
    def line_of_sight(self) -> float:
        """m² = K / (K + 1)."""
        return 1.0 / (1.0 + math.pow(10.0, -self.k_factor_db / 10.0))
