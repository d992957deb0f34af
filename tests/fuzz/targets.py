"""What is fuzzed, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from .air import Air
from .harness import Target
from .photos import Photos
from .sem import Sem
from .stored import Stored

TARGETS: Mapping[str, Callable[[Path], Target]] = {target.name: target for target in (Sem, Stored, Photos, Air)}
"""Files of meaning; weights, results and cards; photos and masks; recordings, received symbols and headers."""

__all__ = ["TARGETS"]
