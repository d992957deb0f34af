"""Channels: ``draw`` fixes the randomness, the draw maps a Burst to what is Received; calling a channel does both.

>>> import torch
>>> from semcast.link import Budget, Burst
>>> channel = Rayleigh(block=32, pilots=2)
>>> burst = Burst(torch.ones(1, 60, dtype=torch.complex64), Budget(60, snr_db=10.0))
>>> channel(burst, seed=0).symbols.shape, channel.uses(60)
(torch.Size([1, 60]), 64)
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from semcast.channels.awgn import AWGN
from semcast.channels.draw import FADE_FLOOR, Draw
from semcast.channels.fading import Rayleigh, Rician
from semcast.errors import BadInput
from semcast.given import check_text
from semcast.link import Channel

__all__ = ["AWGN", "CHANNELS", "FADE_FLOOR", "Channel", "Draw", "Rayleigh", "Rician", "make_channel"]


_KINDS: dict[str, type[AWGN] | type[Rayleigh] | type[Rician]] = {kind.name: kind for kind in (AWGN, Rayleigh, Rician)}

CHANNELS = tuple(_KINDS)
"""The names that :func:`make_channel` knows."""


def make_channel(name: str, **options: Any) -> Channel:
    """The channel of that name; options are its own arguments (``block``, ``pilots``, ``k_factor_db``).

    Raises:
        BadInput: an unknown name, an option that this channel does not have, or a value that it refuses.

    >>> make_channel("rician", k_factor_db=3.0, block=1)
    Rician(block=1, pilots=0, k_factor_db=3.0)
    """
    if check_text("the name of a channel", name) not in _KINDS:
        raise BadInput(f"unknown channel {name!r}; the known are {', '.join(CHANNELS)}")
    known = [option.name for option in fields(_KINDS[name])]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise BadInput(f"the {name} channel has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    return _KINDS[name](**options)
