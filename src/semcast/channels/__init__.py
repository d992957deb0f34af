"""Channels: ``draw`` fixes the randomness, the draw maps a Burst to what is Received.

>>> import torch
>>> from semcast.link import Budget, Burst
>>> channel = make_channel("rayleigh", block=32, pilots=2)
>>> budget = Budget(channel.data_symbols(64), snr_db=10.0)
>>> burst = Burst(torch.ones(1, budget.symbols, dtype=torch.complex64), budget)
>>> draw = channel.draw(1, 64, 10.0, torch.Generator().manual_seed(0))
>>> draw(burst).symbols.shape
torch.Size([1, 60])
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from semcast.channels.awgn import AWGN
from semcast.channels.draw import FADE_FLOOR, Draw
from semcast.channels.fading import Rayleigh, Rician
from semcast.errors import SemcastError
from semcast.link import Channel

__all__ = ["AWGN", "CHANNELS", "FADE_FLOOR", "Channel", "Draw", "Rayleigh", "Rician", "make_channel"]


_KINDS: dict[str, type[AWGN] | type[Rayleigh] | type[Rician]] = {kind.name: kind for kind in (AWGN, Rayleigh, Rician)}

CHANNELS = tuple(_KINDS)
"""The names that :func:`make_channel` knows."""


def make_channel(name: str, **options: Any) -> Channel:
    """The channel of that name; options are its own arguments (``block``, ``pilots``, ``k_factor_db``).

    Raises:
        SemcastError: an unknown name, an option that this channel does not have, or a value that it refuses.

    >>> make_channel("rician", k_factor_db=3.0, block=1)
    Rician(block=1, pilots=0, k_factor_db=3.0)
    """
    if name not in _KINDS:
        raise SemcastError(f"unknown channel {name!r}; the known are {', '.join(CHANNELS)}")
    known = [option.name for option in fields(_KINDS[name])]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise SemcastError(f"the {name} channel has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    return _KINDS[name](**options)
