"""One photo over one channel: encode, draw, send, decode, with the times both ends took."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import Tensor

from semcast.channels import Channel
from semcast.link import Budget, Burst, Reception, System


@dataclass(frozen=True)
class Crossing:
    """What was sent, what came out, and the seconds that the transmitter and the receiver took."""

    burst: Burst
    reception: Reception
    encode_s: float
    decode_s: float


def data_budget(system: System, channel: Channel, budget: Budget) -> Budget:
    """What is left for data once the channel's pilots are taken off.

    Raises:
        SemcastError: nothing is left, or the system does not work with it.
    """
    left = replace(budget, symbols=channel.data_symbols(budget.symbols))
    system.check(left)
    return left


def generator_for(seed: int, name: str, draw: int = 0) -> torch.Generator:
    """The channel's randomness for one photo: the same for every system, SNR and k, another per photo and draw."""
    digest = hashlib.sha256(f"{seed}\n{name}\n{draw}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@torch.no_grad()
def cross(
    system: System, channel: Channel, image: Tensor, budget: Budget, generator: torch.Generator
) -> Crossing:
    """Send an image ``[1, 3, H, W]`` in [0, 1] with all k of ``budget``, pilots among them.

    Raises:
        SemcastError: the system does not work with this budget, or something that is not finite arrived.
    """
    realisation = channel.draw(len(image), budget.symbols, budget.snr_db, generator)
    begun = perf_counter()
    burst = system.encode(image, data_budget(system, channel, budget))
    encoded = perf_counter()
    received = realisation(burst).checked()
    arrived = perf_counter()
    reception = system.decode(received)
    return Crossing(burst, reception, encoded - begun, perf_counter() - arrived)
