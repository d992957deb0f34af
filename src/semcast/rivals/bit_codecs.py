"""Codecs by name, without a channel: a photo as bytes, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from semcast.domains import domain_named
from semcast.errors import SemcastError
from semcast.link import BitCodec
from semcast.rivals.photo_codecs import CODECS, load_codec

ALLOCATIONS = ("rl-asc", "uniform", "greedy", "random", "area")

Load = Callable[[str, Mapping[int, int] | None], BitCodec]
"""A domain and the factors by category that the user cares for → a codec with its shipped weights."""


def _semantic(name: str) -> Load:
    def load(domain: str, care: Mapping[int, int] | None = None) -> BitCodec:
        from semcast.codec.codec import RlAsc  # only now: the other codecs need none of its networks

        return RlAsc.load(name, domain, care)

    return load


SEMANTIC: dict[str, Load] = {name: _semantic(name) for name in ALLOCATIONS}
"""The semantic codec with each of its allocations, by name."""

BIT_CODECS = (*ALLOCATIONS, *CODECS)
"""The names that :func:`load_bit_codec` knows; the first ones are one semantic codec that spends its bits differently."""


def load_bit_codec(name: str, domain: str, care: Mapping[int, int] | None = None) -> BitCodec:
    """A codec by name, for photos of a domain.

    Args:
        name: one of :data:`BIT_CODECS`.
        domain: ``street`` or ``face``; the codecs of :data:`~semcast.rivals.photo_codecs.CODECS` serve any.
        care: whole factors by category, for the semantic codec; the others know no categories.

    Raises:
        SemcastError: the name or the domain is unknown, a library is missing, or there are no weights.
    """
    domain_named(domain)
    if name not in BIT_CODECS:
        raise SemcastError(f"unknown codec {name!r}; the known are {', '.join(BIT_CODECS)}")
    if name in CODECS:
        return load_codec(name)
    if name not in SEMANTIC:
        raise SemcastError(f"there are no weights of {name} for the domain {domain}")
    return SEMANTIC[name](domain, care)
