"""Channel codec: N → complex symbols → N̂, two fully connected layers each way, one model for every k and SNR.

Both ends add their two layers to the optimal *linear* analog code of N in the picture's metric (linear/sketch.py has its
closed form; λ_i is the flow's ``importance``): training starts from that optimum and learns what a linear code cannot.
Symbols are ordered by importance, so the first half of a burst still shows a face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.linear.sketch import allocate
from semcast.link import Budget, Received, to_complex, to_real, unit_power

if TYPE_CHECKING:
    from jaxtyping import Complex, Float, Int

ERASED = 1e4  # noise variance of a symbol that did not arrive
TRAINED_DB = (-2.0, 20.0)  # SNR that training draws from; the layers are told the nearest of these beyond them


@dataclass(frozen=True)
class CodecConfig:
    """``dims`` of N, hidden ``width``, and the largest k."""

    dims: int = 28 * 48
    width: int = 512
    max_symbols: int = 1280


def conditions(noise_var: Float[Tensor, "batch uses"], symbols: int) -> Float[Tensor, "batch 2"]:
    """What the layers are told, ``[B, 2]``: effective SNR in dB / 10, within what they were trained on, and log2(k / 256) / 2."""
    snr = (-10 * noise_var.clamp(1e-6, ERASED).log10().mean(-1)).clamp(*TRAINED_DB)
    return torch.stack((snr / 10, torch.full_like(snr, math.log2(symbols / 256) / 2)), 1)


class ChannelCodec(nn.Module):
    """Encoder and decoder; ``importance`` comes from the flow and fixes the linear part."""

    importance: Tensor

    def __init__(self, config: CodecConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or CodecConfig()
        self.register_buffer("importance", torch.ones(c.dims))
        self.encoder = nn.Sequential(nn.Linear(c.dims + 2, c.width), nn.SiLU(), nn.Linear(c.width, c.dims))
        self.decoder = nn.Sequential(nn.Linear(c.dims + 2, c.width), nn.SiLU(), nn.Linear(c.width, c.dims))
        for layers in (self.encoder, self.decoder):
            nn.init.zeros_(layers[2].weight)  # type: ignore[arg-type]
            nn.init.zeros_(layers[2].bias)  # type: ignore[arg-type]

    def powers(self, budget: Budget) -> Float[Tensor, " {self.config.dims}"]:
        """Power of each coordinate of N for this budget, ``[dims]``; 0 beyond what fits."""
        # a link without noise would spend all its power on what matters least: design for 20 dB at most
        snr_db = min(budget.snr_db, TRAINED_DB[1])
        power = allocate(self.importance, 2 * budget.symbols, 10 ** (-snr_db / 10) / 2)
        return F.pad(power, (0, self.config.dims - len(power)))

    def encode(
        self, normal: Float[Tensor, "batch {self.config.dims}"], budget: Budget
    ) -> Complex[Tensor, "batch {budget.symbols}"]:
        """N ``[B, dims]`` → symbols ``[B, k]`` of mean power 1 in each burst."""
        noise = normal.new_full((len(normal), 1), 10 ** (-budget.snr_db / 10))
        learned = self.encoder(torch.cat((normal, conditions(noise, budget.symbols)), 1)).float()
        carried, amplitude = self.repeat(2 * budget.symbols)
        sent = (normal * self.powers(budget).sqrt() + learned)[:, carried] * amplitude
        return unit_power(to_complex(sent))

    def decode(self, received: Received) -> Float[Tensor, "batch {self.config.dims}"]:
        """Equalised symbols → N̂ ``[B, dims]``: Wiener estimate + what the two layers make of it."""
        power = self.powers(received.budget)
        carried, amplitude = self.repeat(2 * received.budget.symbols)
        # repeated coordinates are combined by their reliability (maximum ratio), the same as one less noisy use
        trust = amplitude**2 / (received.noise_var / 2).repeat_interleave(2, -1)
        shape = (len(trust), self.config.dims)
        total = trust.new_zeros(shape).index_add(1, carried, trust)
        summed = trust.new_zeros(shape).index_add(1, carried, to_real(received.symbols) * trust / amplitude)
        noise = 1 / total.clamp_min(1 / ERASED)
        estimate = summed * noise * power.sqrt() / (power + noise)
        told = conditions(received.noise_var, received.budget.symbols)
        learned: Tensor = self.decoder(torch.cat((estimate, told), 1)).float()
        return estimate + learned

    def repeat(self, uses: int) -> tuple[Int[Tensor, " {uses}"], Float[Tensor, " {uses}"]]:
        """Which coordinate each real use carries, and its amplitude: beyond ``dims`` uses the coordinates start again."""
        dims, place = self.config.dims, torch.arange(uses, device=self.importance.device)
        carried = place % dims
        times = uses // dims + (carried < uses % dims)
        return carried, times.float().rsqrt()
