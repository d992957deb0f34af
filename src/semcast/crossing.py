"""One photo over one channel: encode, draw, send, decode, with the power that was sent and the times both ends took."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semcast.errors import BadInput
from semcast.link import Budget, Burst, Channel, Received, Reception, System, mark_of

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Crossing:
    """What was sent, what arrived, what came out, and the seconds that the transmitter and the receiver took."""

    burst: Burst
    received: Received
    reception: Reception
    encode_s: float
    decode_s: float


OVER_POWER = 1.001
"""What a burst's mean power may be where every burst promises 1: rounding of half precision stays below it."""


def check_power(system: System, burst: Burst) -> None:
    """Raises BadInput where a burst is louder than its system promises: SNR would be had for nothing.

    A system that promises its power in the mean over photos cannot be judged by one burst.
    """
    most = float(burst.power.max())
    if system.power == "burst" and not most <= OVER_POWER:
        raise BadInput(f"{system.name} sends bursts of mean power {most:.3g} where it promises 1: scale them (unit_power)")


@torch.no_grad()
def cross(
    system: System, channel: Channel, image: Float[Tensor, "1 3 height width"], budget: Budget, generator: torch.Generator, *,
    snr_db: float | None = None,
) -> Crossing:  # fmt: skip
    """Send an image ``[1, 3, H, W]`` in [0, 1] as ``budget.symbols`` symbols; the channel's pilots come on top.

    Args:
        snr_db: the channel's Es/N0 in dB, where it is not the one that the budget expects.

    Raises:
        SemcastError: the system does not work with this budget, sends too much power, or something that is not finite arrived.
    """
    system.check_image(image)  # before the channel counts its photos
    met = budget.snr_db if snr_db is None else snr_db
    realisation = channel.draw(len(image), budget.symbols, met, generator)
    begun = perf_counter()
    burst = system.encode(image, budget)
    encoded = perf_counter()
    check_power(system, burst)
    received = realisation(burst).check()
    arrived = perf_counter()
    reception = system.decode(received)
    decoded = perf_counter()
    if reception.mark:
        reception = replace(reception, mark=partial(mark_of, system, budget, channel.name, met))
    return Crossing(burst, received, reception, encoded - begun, decoded - arrived)
