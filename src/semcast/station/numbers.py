"""What a header says of a system: its number, 16 bits of its weights, its modulation, what was replaced for privacy."""

from __future__ import annotations

from semcast.errors import BadInput
from semcast.files import quote
from semcast.link import Budget, System
from semcast.onair.header import Header
from semcast.onair.waveform import SPACING_HZ
from semcast.privacy.system import Private
from semcast.rivals.digital import DigitalSystem
from semcast.rivals.modem import SCHEMES

NUMBERS = {
    "generative": 1, "linear": 2, "linear-gan": 3, "sketch": 4, "deepjscc": 5, "deepjscc-perceptual": 6, "rl-asc": 16,
    "rl-asc:street": 17, "jpeg": 18, "jpeg2000": 19, "webp": 20, "avif": 21, "hevc": 22,
}  # fmt: skip
"""Of systems in headers. A number is never given again."""
NAMES = {number: name for name, number in NUMBERS.items()}
SIDE = 256
"""Of the photos that cross: a header has no room for another size."""

REPLACED = ((), ("eyes",), ("hair",), ("eyes", "hair"), ("mouth",), ("glasses",), ("background",))
"""What the flags of a header say was replaced for privacy; 7: other parts, which it does not name."""


def replaced_of(header: Header) -> tuple[str, ...]:
    """The parts of the face that a burst says were replaced before it was made; ``("others",)`` where it does not name them."""
    return REPLACED[header.flags] if header.flags < len(REPLACED) else ("others",)


def spacing_of(bandwidth: str) -> float:
    """The carrier spacing in Hz for a bandwidth of 2.4 kHz times a power of two: ``2.4k``, ``19.2k``, ``153.6k``, ...

    >>> spacing_of("19.2k") / spacing_of("2.4k")
    8.0
    """
    known = {f"{2.4 * 2**s:g}k": SPACING_HZ * float(2**s) for s in range(11)}
    if not isinstance(bandwidth, str) or bandwidth not in known:
        raise BadInput(f"a bandwidth is one of {', '.join(known)}, not {quote(bandwidth)}")
    return known[bandwidth]


def header_of(system: System, budget: Budget) -> Header:
    """What a system's burst says of itself.

    Raises:
        BadInput: the system has no number on the air, or photos of any size.
    """
    inner = system.system if isinstance(system, Private) else system
    name, scheme = inner.name.partition(":")[0], 0
    if isinstance(inner, DigitalSystem):
        modem = inner.modem(budget)
        if modem is None:
            raise BadInput(f"{budget.symbols} symbols are too few for a 5G code block at {budget.snr_db:g} dB")
        scheme = 1 + SCHEMES.index(modem.scheme)
        if name == "rl-asc" and getattr(inner.codec, "domain", "face") == "street":
            name = "rl-asc:street"
    if name not in NUMBERS:
        raise BadInput(f"{name} has no number on the air: the known are {', '.join(NUMBERS)}")
    snr = round(2 * min(max(budget.snr_db, -10.0), 53.5)) / 2
    return Header(budget.symbols, NUMBERS[name], model_of(inner), snr, scheme, flags_of(system))


def model_of(system: System) -> int:
    """The first 16 bits of a fingerprint; 0 for codecs, whose streams say what they need themselves."""
    return 0 if isinstance(system, DigitalSystem) else int(system.fingerprint()[:4], 16)


def flags_of(system: System) -> int:
    """Which of :data:`REPLACED` a protecting system replaces."""
    if not isinstance(system, Private):
        return 0
    parts = tuple(system.protection.choice.parts)
    return REPLACED.index(parts) if parts in REPLACED else 7
