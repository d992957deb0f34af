"""What every channel shares: randomness that depends on no setting, and one fixed draw applied to a burst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semcast.errors import BadInput
from semcast.files import quote
from semcast.given import check_kind, check_whole
from semcast.link import Budget, Burst, Received, noise_var

if TYPE_CHECKING:
    from jaxtyping import Bool, Complex, Float

FADE_FLOOR = 1e-6
"""|ĥ|² below which the equaliser stops dividing (a fade of 60 dB)."""


def image_seeds(batch: int, generator: torch.Generator) -> list[list[int]]:
    """Two seeds an image, for its fading and for its noise: ``[batch][2]``.

    One stream an image, rather than one for the batch, makes draws comparable: the i-th image of a batch meets the
    same channel whatever the batch size, k or SNR, and the generator moves on by the same amount for every k.
    """
    check_kind("the randomness of a draw", generator, torch.Generator, "a torch.Generator")
    seeds = torch.randint(1 << 32, (batch, 2), generator=generator, device=generator.device)
    pairs: list[list[int]] = seeds.tolist()
    return pairs


def complex_normal(seed: int, count: int) -> Complex[Tensor, " {count}"]:
    """z ~ CN(0, 1), complex64 ``[count]`` on the CPU; a smaller count gives a prefix of a larger one.

    >>> bool((complex_normal(1, 5) == complex_normal(1, 1000)[:5]).all())
    True
    """
    # torch fills normals in groups of 16 reals and treats an incomplete last group differently: draw whole groups.
    whole = -(-count // 8) * 8
    pairs = torch.randn(whole, 2, generator=torch.Generator().manual_seed(seed))
    drawn: Tensor = torch.view_as_complex(pairs)[:count] * 0.5**0.5
    return drawn


def noise_variances(batch: int, symbols: int, snr_db: float | Float[Tensor, " snrs"]) -> Float[Tensor, "{batch} 1"]:
    """N0 = 10^(-SNR/10) per image, ``[batch, 1]``, from one SNR in dB or from ``[batch]`` of them.

    Raises:
        BadInput: what :class:`~semcast.link.Budget` refuses, an empty batch, or a number of SNRs that is not batch.
    """
    batch = check_whole("the number of images of a draw", batch, 0, 1 << 31)
    try:
        snrs = torch.as_tensor(snr_db, dtype=torch.float32, device="cpu").detach().reshape(-1, 1)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise BadInput(f"SNR is a number of dB, or one for each image, not {quote(snr_db)}") from None
    if batch < 1 or len(snrs) not in (1, batch):
        raise BadInput(f"a draw needs one SNR or one for each image, not {len(snrs)} for {batch} images")
    for extreme in (snrs.min(), snrs.max()):
        Budget(symbols, float(extreme))
    n0: Tensor = torch.as_tensor(noise_var(snrs))
    return n0.expand(batch, 1)


@dataclass(frozen=True, eq=False)
class Draw:
    """One fixed channel: y = h x + sqrt(N0) n, equalised with what the receiver knows of h.

    The receiver knows h = ĥ + e with E|e|² = v (v = 0 when h is known). It computes x̂ = g y, g = ĥ* / max(|ĥ|², floor),
    and reports the variance of x̂ - x over noise, estimation error and unit-power symbols,

        noise_var = |1 - g ĥ|² + |g|² (N0 + v),

    which is (N0 + v) / |ĥ|² outside a fade deeper than :data:`FADE_FLOOR`. Inside one x̂ shrinks towards 0 instead of
    growing without bound, and the first term accounts for it: everything stays finite and the variance stays true.

    Args:
        h: gains ``[batch, uses]``, E|h|² = 1, over all channel uses, pilots among them.
        noise: n ~ CN(0, 1), ``[batch, uses]``.
        n0: N0 ``[batch, 1]``.
        estimate: ĥ ``[batch, uses]``.
        uncertainty: v ``[batch, uses]``.
        data: which channel uses carry data, bool ``[uses]``; the others are pilots.

    Raises:
        BadInput: (when called) the burst is not ``[batch, data.sum()]``.
    """

    h: Complex[Tensor, "batch uses"]
    noise: Complex[Tensor, "batch uses"]
    n0: Float[Tensor, "batch 1"]
    estimate: Complex[Tensor, "batch uses"]
    uncertainty: Float[Tensor, "batch uses"]
    data: Bool[Tensor, " uses"]

    def __call__(self, burst: Burst) -> Received:
        """Sends the burst; differentiable in its symbols, on their device."""
        x = burst.symbols
        h, noise, estimate, uncertainty = (
            tensor[:, self.data].to(x.device) for tensor in (self.h, self.noise, self.estimate, self.uncertainty)
        )
        if x.shape != h.shape:
            raise BadInput(f"the channel was drawn for {tuple(h.shape)} data symbols, not {tuple(x.shape)}")
        n0 = self.n0.to(x.device)
        y = h * x + n0.sqrt() * noise
        equaliser = estimate.conj() / estimate.abs().square().clamp_min(FADE_FLOOR)
        left = (1 - equaliser * estimate).abs().square() + equaliser.abs().square() * (n0 + uncertainty)
        return Received(equaliser * y, left, burst.budget)
