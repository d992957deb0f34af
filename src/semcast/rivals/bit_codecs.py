"""Codecs by name, without a channel: a photo as bytes, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from semcast.domains import domain_named
from semcast.errors import BadInput
from semcast.networks.precision import choose_device
from semcast.rivals.photo_codecs import CODECS, load_codec
from semcast.source_coding import BitCodec

ALLOCATIONS = ("rl-asc", "uniform", "greedy", "random", "area")
"""One semantic codec that spends its bits differently, by name."""

BIT_CODECS = (*ALLOCATIONS, *CODECS)
"""The names that :func:`load_bit_codec` knows."""


def load_bit_codec(
    name: str, domain: str, care: Mapping[int, int] | None = None, *, device: str | torch.device = "cpu"
) -> BitCodec:
    """Load a codec by name, for photos of a domain.

    Args:
        name: one of :data:`BIT_CODECS`.
        domain: ``street`` or ``face``; the codecs of :data:`~semcast.rivals.photo_codecs.CODECS` serve any.
        care: whole factors by category, for the semantic codec; the others know no categories.
        device: where the semantic codec's networks compute, ``auto`` on a GPU where there is one; the others have none. On the
            processor, the default, a photo's bytes are those of every earlier run; a GPU rounds otherwise.

    Raises:
        BadInput: the name or the domain is unknown, or there is no such device.
        SemcastError: a library is missing, or there are no weights.
    """
    domain_named(domain)
    if name not in BIT_CODECS:
        raise BadInput(f"unknown codec {name!r}; the known are {', '.join(BIT_CODECS)}")
    where = choose_device(device)
    if name in CODECS:
        return load_codec(name)
    from semcast.codec.codec import RlAsc  # only now: the other codecs need none of its networks

    return RlAsc.load(name, domain, care, device=where)
