"""Flat fading: Rayleigh and Rician, in blocks or per symbol, with h known or estimated from pilots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from semcast.channels.draw import Draw, complex_normal, image_seeds, noise_variances
from semcast.errors import BadInput, DoesNotFit
from semcast.files import quote
from semcast.given import check_number, check_whole, whole_of
from semcast.link import MAX_SYMBOLS, Budget, Channel

if TYPE_CHECKING:
    from jaxtyping import Complex, Float


def estimate_gain(
    pilot_mean: Complex[Tensor, "batch blocks"], n0: Float[Tensor, "batch 1"], line_of_sight: float
) -> tuple[Complex[Tensor, "batch blocks"], Float[Tensor, "batch blocks"]]:
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
class Fading(Channel):
    """y = h x + n, n ~ CN(0, N0), h = m e^{jθ} + sqrt(1 - m²) g, g ~ CN(0, 1), θ uniform: E|h|² = 1.

    Each block of ``block`` channel uses has an independent h. SNR is the average one, 1 / N0.

    Args:
        block: channel uses that share one h; None is the whole burst (slow fading), 1 is fast fading.
        pilots: known symbols (1 + 0j) that open each block, on top of k; 0 means that the receiver knows h.

    Raises:
        BadInput: a block under 1, pilots under 0, or pilots that fill their block.
    """

    name: ClassVar[str] = "fading"
    block: int | None = None
    pilots: int = 0

    def __post_init__(self) -> None:
        if self.block is not None:
            object.__setattr__(self, "block", check_whole("the symbols of a fading block", self.block, 1))
        pilots = whole_of(self.pilots)
        if pilots is None or pilots < 0:
            raise BadInput(f"the number of pilots is a whole one and cannot be negative: {quote(self.pilots)}")
        object.__setattr__(self, "pilots", pilots)
        if self.block == 1 and self.pilots:
            raise BadInput("fast fading (block 1) changes with every symbol, so pilots cannot estimate it")
        if self.block is not None and self.pilots >= self.block:
            raise BadInput(f"{self.pilots} pilots leave no room for data in a block of {self.block} symbols")

    @property
    def line_of_sight(self) -> float:
        """m² = K / (K + 1): the share of the power that arrives over the fixed path."""
        return 0.0

    def uses(self, symbols: int) -> int:
        """k symbols of data and the pilots that open each of their blocks.

        >>> Rayleigh(block=100, pilots=4).uses(612), Rayleigh(pilots=8).uses(640)
        (640, 648)

        Raises:
            BadInput: k is not in 1..2^20.
            DoesNotFit: all of that is over 2^20 channel uses.
        """
        k = Budget(symbols, 0.0).symbols
        room = self.block - self.pilots if self.block else k
        uses = k + -(-k // room) * self.pilots
        if uses > MAX_SYMBOLS:
            raise DoesNotFit(f"{k} symbols and their pilots take {uses} channel uses, more than the {MAX_SYMBOLS} of a burst")
        return uses

    def draw(
        self, batch: int, symbols: int, snr_db: float | Float[Tensor, " snrs"], generator: torch.Generator
    ) -> Draw:
        """Fixes gains and noise of k = ``symbols`` symbols and their pilots; see :class:`~semcast.link.Channel`."""
        uses = self.uses(symbols)
        n0 = noise_variances(batch, symbols, snr_db)
        length = self.block or uses
        position = torch.arange(uses)
        seeds = image_seeds(batch, generator)
        gain = torch.stack([self._gains(seed, -(-uses // length)) for seed, _ in seeds])
        noise = torch.stack([complex_normal(seed, uses) for _, seed in seeds])
        estimate, uncertainty = gain, torch.zeros(gain.shape)
        if self.pilots:  # each block has all of its pilots: one without data is not sent
            first = position[::length, None] + torch.arange(self.pilots)
            pilot_mean = gain + n0.sqrt() * noise[:, first].mean(-1)
            estimate, uncertainty = estimate_gain(pilot_mean, n0 / self.pilots, self.line_of_sight)
        spread = position // length
        data = position % length >= self.pilots
        return Draw(gain[:, spread], noise, n0, estimate[:, spread], uncertainty[:, spread], data)

    def _gains(self, seed: int, blocks: int) -> Complex[Tensor, " {blocks}"]:
        """h of each block, complex ``[blocks]``; Rayleigh and Rician share the scattered part of a seed."""
        path, scattered = complex_normal(seed, 2 * blocks).reshape(blocks, 2).unbind(-1)
        return math.sqrt(self.line_of_sight) * path.sgn() + math.sqrt(1.0 - self.line_of_sight) * scattered


@dataclass(frozen=True)
class Rayleigh(Fading):
    """y = h x + n, h ~ CN(0, 1): no line of sight, |h|² is exponential. Arguments as in :class:`Fading`."""

    name: ClassVar[str] = "rayleigh"


@dataclass(frozen=True)
class Rician(Fading):
    """y = h x + n, h = sqrt(K/(K+1)) e^{jθ} + sqrt(1/(K+1)) g: a line of sight K times as strong as the scatter.

    The receiver does not know θ, the phase of the path, unless it knows h.

    Args:
        k_factor_db: K in dB, -40..40; the other arguments are those of :class:`Fading`.

    Raises:
        BadInput: K is not a number in that range.

    >>> round(Rician(k_factor_db=0.0).line_of_sight, 2)
    0.5
    """

    name: ClassVar[str] = "rician"
    k_factor_db: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "k_factor_db", check_number("the Rician K-factor", self.k_factor_db, -40.0, 40.0, "dB"))

    @property
    def line_of_sight(self) -> float:
        """m² = K / (K + 1)."""
        return 1.0 / (1.0 + math.pow(10.0, -self.k_factor_db / 10.0))
