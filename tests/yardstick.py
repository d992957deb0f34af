"""How slow this machine is now: what is promised in seconds is promised of one that is idle and not throttled."""

from __future__ import annotations

from time import process_time

USUAL_S = 0.075
"""What :func:`_count` takes on a server of 2.5 GHz."""


def slowness() -> float:
    """How many times as long as usual this machine takes for the same work, at least 1; the best of three tries."""
    return max(1.0, min(_count() for _ in range(3)) / USUAL_S)


def _count() -> float:
    begun = process_time()
    sum(i * i for i in range(1_000_000))
    return process_time() - begun
