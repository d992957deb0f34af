"""What no link of its kind can beat: bounds, and references that no real transmission stands behind.

The capacity of the channel is C = k log2(1 + SNR) bits for k complex uses (Shannon 1949). A digital bound assumes that
exactly C bits arrive without error, which a code of this length does not reach. Each is a :class:`~semcast.link.System`, so
that its results are ordinary records; its symbols carry nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semcast.api import load
from semcast.errors import BadInput, SemcastError
from semcast.generative.system import Generative
from semcast.linear.sketch import Sketch
from semcast.link import Budget, Burst, Received, Reception, System
from semcast.photos import to_tensor, to_uint8
from semcast.rivals.digital import at_capacity


def capacity_bits(symbols: int, snr_db: float) -> float:
    """C = k log2(1 + 10^(SNR/10)): bits that k complex uses of an AWGN channel can carry.

    >>> capacity_bits(64, 0.0)
    64.0
    """
    return symbols * math.log2(1 + 10 ** (snr_db / 10))


# ---- the Gaussian model ----------------------------------------------------------------------------------------------


def reverse_water_filling(variances: Tensor, bits: float) -> Tensor:
    """Distortions D_i = min(θ, λ_i) with Σ ½ log2(λ_i / D_i) = bits: the least Σ D_i of independent Gaussians.

    Cover and Thomas, Elements of information theory, theorem 10.3.3.

    Args:
        variances: λ_i > 0 in any order, ``[N]``.
        bits: for all of them together.

    Raises:
        SemcastError: there are no bits, or a variance is not positive.

    >>> reverse_water_filling(torch.tensor([4.0, 1.0]), 1.0)
    tensor([1., 1.], dtype=torch.float64)
    """
    lam = variances.double()
    if not bits >= 0 or not bool((lam > 0).all()):
        raise BadInput("reverse water-filling needs bits ≥ 0 and positive variances")
    ordered = lam.sort(descending=True).values
    count = torch.arange(1, len(lam) + 1, dtype=torch.float64)
    # with the m largest above the water: m log2 θ = Σ log2 λ - 2 bits; the right m is the last one whose λ_m > θ
    level = (ordered.log2().cumsum(0) - 2 * bits) / count
    above = (ordered.log2() > level).nonzero()
    water = float(level[above.max()].exp2()) if len(above) else float(ordered[0])
    return lam.clamp_max(water)


def opta_mse(sketch: Sketch, symbols: int, snr_db: float) -> float:
    """Least mean squared error per photo of the Gaussian model that ``linear`` uses, over the sketch's own eigenvalues.

    OPTA (optimum performance theoretically attainable): the distortion-rate function of N(mean, covariance) at C bits.
    It bounds the MSE of the *Gaussian model*, in the sketch's space (64 x 64 luma, 32 x 32 chroma, its stored
    components alone). It does not bound the PSNR of real faces: they are not Gaussian, and a system that knows more of them
    than their covariance may pass it.
    """
    return float(reverse_water_filling(sketch.eigenvalues, capacity_bits(symbols, snr_db)).sum())


def rgb_variances(sketch: Sketch) -> Tensor:
    """The model's principal variances in the 64 x 64 *RGB* picture rather than in the sketch's own metric, descending.

    Eigenvalues of the covariance of :meth:`Sketch.restore`'s pictures, so that an error in them is one in RGB samples.
    """
    count = sketch.config.components
    pictures = sketch.restore(torch.diag(sketch.eigenvalues.sqrt())) - sketch.restore(torch.zeros(1, count))
    flat = pictures.flatten(1)
    values: Tensor = torch.linalg.eigvalsh((flat @ flat.T).double()).flip(0)
    return values[values > values[0] * 1e-7]  # below it: rounding of float32


def opta_psnr_db(variances: Tensor, side: int, symbols: int, snr_db: float) -> float:
    """-10 log10(D / (3 side²)): OPTA as the PSNR of the model's mean squared error in a ``side`` x ``side`` RGB picture.

    The same warning as :func:`opta_mse`: the model's error at 64 x 64, drawn beside the PSNR of real faces at 256 x 256
    because nothing better is known, not a bound on it.
    """
    distortion = float(reverse_water_filling(variances, capacity_bits(symbols, snr_db)).sum())
    return -10 * math.log10(distortion / (3 * side * side))


# ---- systems whose bits simply arrive --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delivered(Budget):
    """What both ends of an ideal link share: the budget, and the picture, which takes no channel."""

    image: Tensor | None = field(default=None, compare=False)
    ok: bool = True


class Ideal(System):
    """A link without a channel: what the transmitter decides to show is what the receiver shows."""

    def show(self, image: Tensor, budget: Budget) -> tuple[Tensor, bool]:
        """The received image ``[1, 3, H, W]`` and whether the budget sufficed for one."""
        raise NotImplementedError

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """Symbols of unit power that say nothing; the picture takes the ideal way."""
        self.check(budget)
        shown, ok = self.show(image, budget)
        symbols = torch.ones(len(image), budget.symbols, dtype=torch.complex64, device=image.device)
        return Burst(symbols, Delivered(budget.symbols, budget.snr_db, budget.size, shown, ok))

    def decode(self, received: Received) -> Reception:
        """The picture that was delivered."""
        budget = received.budget
        if not isinstance(budget, Delivered) or budget.image is None:
            raise BadInput(f"{self.name} is an ideal link: its receiver is told the picture with the budget of its own burst")
        return Reception(budget.image, torch.full((len(budget.image),), budget.ok, device=budget.image.device))


class AtCapacity(Ideal):
    """A codec with an ideal channel code: the best picture that fits floor(C / 8) bytes, delivered without error.

    Args:
        codec: the name of a codec's system, ``jpeg``, ``jpeg2000``, ``webp``, ``avif`` or ``hevc``.

    Raises:
        SemcastError: the codec is not available here.
    """

    def __init__(self, codec: str) -> None:
        super().__init__()
        self.digital: Any = load(codec, device="cpu")  # a submodule, so that the fingerprint of its results is that of the codec
        self.name = f"{codec}-capacity"

    def show(self, image: Tensor, budget: Budget) -> tuple[Tensor, bool]:
        """The decoded file; the mean face and False where no file fits."""
        try:
            decoded = at_capacity(self.digital.codec, to_uint8(image), budget.symbols, budget.snr_db)
        except SemcastError:
            return self.digital.mean[None], False
        return to_tensor(decoded), True


class Ceiling(Ideal):
    """The generator's own ceiling, G(invert(F)): no channel, no bottleneck."""

    name = "ceiling"

    def __init__(self, link: Generative) -> None:
        super().__init__()
        self.link = link

    def show(self, image: Tensor, budget: Budget) -> tuple[Tensor, bool]:
        """The generator's picture of the encoder's codes."""
        return self.link.render(self.link.invert(image)).clamp(0, 1), True


class Floor(Ceiling):
    """The zero-information floor: the mean face G(mean code), whatever the photo."""

    name = "floor"

    def show(self, image: Tensor, budget: Budget) -> tuple[Tensor, bool]:
        """The same face for every photo."""
        return self.link.render(self.link.mean_code[None]).clamp(0, 1), True


# ---- the digital twin ------------------------------------------------------------------------------------------------


class DigitalTwin(Ceiling):
    """The generative link with bits instead of analog symbols: N quantised, entropy coded ideally, sent at capacity.

    Coordinate i of N is quantised uniformly with step Δ_i = Δ / sqrt(λ_i), λ_i its importance: every coordinate then leaves
    the same error λ_i Δ_i² / 12 in the picture, which is reverse water-filling, and a coordinate whose step is wider than its
    spread costs next to nothing. The indices cost -Σ log2 P(index_i) bits with N_i ~ N(0, s²), what an ideal entropy coder
    comes to for this photo, and the receiver takes E[N_i | index]. Δ is the finest of 32 steps about the one at which the
    entropy is C, s one of 8 spreads (N of unseen photos is wider than the flow's N(0, I)); which they are is sent in one byte.
    """

    name = "digital-twin"

    def __init__(self, link: Generative) -> None:
        super().__init__(link)
        self._steps: dict[Budget, Tensor] = {}

    def show(self, image: Tensor, budget: Budget) -> tuple[Tensor, bool]:
        """The generator's picture of the quantised code; the mean face and False where not even a byte's worth fits."""
        link, bits = self.link, capacity_bits(budget.symbols, budget.snr_db)
        if budget not in self._steps:
            self._steps[budget] = fitting_steps(link.flow.importance, bits)
        coded = [code(normal, self._steps[budget], bits) for normal in link.flow.to_normal(link.invert(image))]
        decoded = [torch.zeros(link.flow.config.dims) if each is None else each.decode() for each in coded]
        return link.render(link.flow.to_codes(torch.stack(decoded))).clamp(0, 1), None not in coded


SIDE_BITS = 8
_STEPS = 2 ** (torch.arange(-8, 24, dtype=torch.float64) / 8)  # of the nominal step, the finest first
_SPREADS = 2 ** (torch.arange(8, dtype=torch.float64) / 4)


@dataclass(frozen=True, eq=False)
class Coded:
    """One photo's indices ``[dims]``, the steps and the spread they were coded with, and all the bits they take."""

    index: Tensor
    step: Tensor
    spread: float
    bits: float

    def decode(self) -> Tensor:
        """N̂ ``[dims]``."""
        return self.spread * dequantise(self.index, self.step / self.spread)


def code(normal: Tensor, nominal: Tensor, bits: float) -> Coded | None:
    """N ``[dims]`` with the finest steps whose code, side information and all, fits the bits; None where none does."""
    for scale in _STEPS:
        step = nominal * scale
        index = quantise(normal, step)
        lengths = torch.stack([code_length_bits(index, step / spread) for spread in _SPREADS]) + SIDE_BITS
        if float(lengths.min()) <= bits:
            return Coded(index, step, float(_SPREADS[lengths.argmin()]), float(lengths.min()))
    return None


def quantise(normal: Tensor, step: Tensor) -> Tensor:
    """Indices round(N_i / Δ_i), whole numbers in float64, ``[..., dims]``."""
    return (normal.double() / step).round()


def dequantise(index: Tensor, step: Tensor) -> Tensor:
    """E[z | index] for z ~ N(0, 1): (φ(a) - φ(b)) / (Φ(b) - Φ(a)) over the cell [a, b], ``[..., dims]`` float32."""
    low, high = (index.abs() - 0.5) * step, (index.abs() + 0.5) * step
    density = torch.exp(-low.square() / 2) - torch.exp(-high.square() / 2)
    mass = torch.special.ndtr(-low) - torch.special.ndtr(-high)
    centre = density / math.sqrt(2 * math.pi) / mass.clamp_min(1e-300)
    return torch.where(index == 0, 0.0, index.sign() * torch.minimum(torch.maximum(centre, low), high)).float()


def entropy_bits(step: Tensor) -> Tensor:
    """H_i in bits of round(z / Δ_i), z ~ N(0, 1), ``[dims]`` float64.

    Below Δ = 1/2 it is h(z + u) - log2 Δ, u uniform over a cell, where z + u is Gaussian enough for 10^-8 bit.
    """
    small = step.clamp_max(0.5)
    fine = 0.5 * (2 * math.pi * math.e * (1 + small**2 / 12)).log2() - small.log2()
    coarse = step.clamp_min(0.5)[:, None]
    edge = (torch.arange(0, 20, dtype=torch.float64) + 0.5) * coarse
    tail = torch.special.ndtr(-edge)
    mass = torch.cat((1 - 2 * tail[:, :1], tail[:, :-1] - tail[:, 1:]), 1)
    terms = -torch.special.xlogy(mass, mass) / math.log(2)
    return torch.where(step < 0.5, fine, terms[:, 0] + 2 * terms[:, 1:].sum(1))


def code_length_bits(index: Tensor, step: Tensor) -> Tensor:
    """-Σ log2 P(index_i) under N(0, 1): what an ideal entropy coder spends, ``[...]``."""
    low, high = (index.abs() - 0.5) * step, (index.abs() + 0.5) * step
    mass = torch.special.ndtr(-low) - torch.special.ndtr(-high)
    bits: Tensor = -mass.clamp_min(1e-300).log2().sum(-1)
    return bits


def fitting_steps(importance: Tensor, bits: float) -> Tensor:
    """Steps Δ / sqrt(λ_i), ``[dims]`` float64, with the least Δ whose entropy fits the bits."""
    shape = importance.double().clamp_min(1e-12).rsqrt()
    low, high = -40.0, 40.0  # log2 Δ: far too fine, far too coarse
    for _ in range(60):
        middle = (low + high) / 2
        if float(entropy_bits(shape * 2**middle).sum()) <= bits:
            high = middle
        else:
            low = middle
    return shape * float(np.exp2(high))
