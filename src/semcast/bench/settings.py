"""What of a system and of a channel a record names: everything that makes its result another one."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from semcast.generative.inversion import INVERSIONS
from semcast.link import Channel, System

Settings = dict[str, object]


def describe_system(system: System) -> Settings:
    """Name the system and how it differs from the one that ships: care, refinement, inversion, protection.

    >>> describe_system(System())
    {'system': 'system', 'care': None, 'refine': 0, 'inversion': None, 'private': None}
    """
    sent = getattr(system, "system", system)  # behind a protection
    protection = getattr(system, "protection", None)
    return {
        "system": system.name,
        "care": getattr(sent, "care", None),
        "refine": getattr(getattr(sent, "refinement", None), "steps", 0),
        "inversion": name_inversion(getattr(sent, "inversion", None)),
        "private": None if protection is None else str(protection.name),
    }


def name_inversion(inversion: Any) -> str | None:
    """Name how a link finds a photo's codes; None: as the link ships, or the system has none.

    >>> from semcast.generative.inversion import Descent, Newton
    >>> name_inversion(Newton()), name_inversion(Descent()), name_inversion(Newton(steps=1))
    (None, 'paper', 'Newton(steps=1)')
    """
    known = next((name for name, each in INVERSIONS.items() if each == inversion), repr(inversion))
    return None if inversion is None or known == "newton" else known


def describe_channel(channel: Channel) -> Settings:
    """Name the channel, how it fades, and its pilots.

    >>> from semcast.channels import AWGN, Rayleigh, Rician
    >>> describe_channel(AWGN())
    {'channel': 'awgn', 'fading': None, 'pilots': 0}
    >>> describe_channel(Rayleigh(pilots=8))
    {'channel': 'rayleigh', 'fading': 'block', 'pilots': 8}
    >>> describe_channel(Rician(k_factor_db=3.0, block=1))["fading"]
    'fast, k_factor_db=3.0'
    """
    own: tuple[Any, ...] = fields(channel) if is_dataclass(channel) else ()
    usual: dict[str, Any] = {each.name: each.default for each in own}
    said = {each.name for each in own if each.metadata.get("said")}  # by the channel's name, or nothing that it does to symbols
    given = {name: value for name, value in vars(channel).items() if not name.startswith("_") and name not in said}
    changed = {name: value for name, value in given.items() if name not in usual or value != usual[name]}
    pilots = changed.pop("pilots", 0)
    words = [f"{name}={value}" for name, value in changed.items() if name != "block"]
    if hasattr(channel, "block"):
        words.insert(0, {None: "block", 1: "fast"}.get(channel.block, f"block={channel.block}"))
    return {"channel": channel.name, "fading": ", ".join(words) or None, "pilots": pilots}
