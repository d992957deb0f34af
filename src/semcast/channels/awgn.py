"""The additive white Gaussian noise channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from semcast.channels.draw import Draw, complex_normal, image_seeds, noise_variances
from semcast.link import Channel

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class AWGN(Channel):
    """y = x + n, n ~ CN(0, N0), N0 = 10^(-SNR/10), half of it per real dimension.

    >>> from semcast.link import Budget, Burst
    >>> burst = Burst(torch.ones(1, 4, dtype=torch.complex64), Budget(4, 10.0))
    >>> received = AWGN().draw(1, 4, 10.0, torch.Generator().manual_seed(0))(burst)
    >>> [round(v, 3) for v in received.noise_var[0].tolist()]
    [0.1, 0.1, 0.1, 0.1]
    """

    name: ClassVar[str] = "awgn"

    def draw(
        self, batch: int, symbols: int, snr_db: float | Float[Tensor, " snrs"], generator: torch.Generator
    ) -> Draw:
        """Fixes the noise of k = ``symbols`` symbols for each image; see :class:`~semcast.link.Channel`."""
        n0 = noise_variances(batch, symbols, snr_db)
        noise = torch.stack([complex_normal(seed, symbols) for _, seed in image_seeds(batch, generator)])
        one = torch.ones_like(noise)
        return Draw(one, noise, n0, one, torch.zeros(noise.shape), torch.ones(symbols, dtype=torch.bool))
