"""Whether what came is enough to be sure whom a picture shows: a receiver that guesses well must say when it guesses.

What came of a burst is counted in bits, with σ² the noise variance left on each symbol of mean power 1:

    C = Σ log2(1 + 1 / σ²)

so that few symbols, noise, fades and lost parts count alike. From which C on a system shows the same person was measured on
validation faces (recipe ``trust``); below it a picture is *unsure*: it may be somebody else's face, however sharp.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import Tensor

from semcast.errors import Damaged
from semcast.files import reason_of
from semcast.link import Received, System
from semcast.weights import folders

if TYPE_CHECKING:
    from jaxtyping import Float

FILE = "trust.json"
UNSURE = "unsure: may be somebody else"
"""On the edge of an unsure picture."""
_LEAST_NOISE = 1e-6
_LOOKED: WeakKeyDictionary[System, tuple[Any, Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Trust:
    """What was measured of a system.

    Args:
        bits: C from which on its pictures can be trusted; None: it was never enough.
        fingerprint: of the system that was measured; of another one nothing is known.
    """

    bits: float | None
    fingerprint: str


def count_bits(received: Received) -> Float[Tensor, " batch"]:
    """C of each burst, as above."""
    return (1 + 1 / received.noise_var.clamp_min(_LEAST_NOISE)).log2().sum(1)


def find_trust(system: System) -> Trust | None:
    """What was measured of a system; None where nothing was.

    Raises:
        Damaged: the file that says so is.
    """
    known = _read(next((path for folder in folders() if (path := folder / FILE).is_file()), None)).get(system.name)
    if known is None:
        return None
    stamp = (known, sum(tensor._version for tensor in system.state_dict().values()))
    if _LOOKED.get(system, (None, None))[0] != stamp:  # a fingerprint reads every weight: once is enough
        _LOOKED[system] = (stamp, known if known.fingerprint == system.fingerprint() else None)
    found: Trust | None = _LOOKED[system][1]
    return found


def doubt(system: System, received: Received) -> str:
    """Say in a sentence why a picture of what was received is unsure; "" where it is not, or nothing is known of the system."""
    trust = find_trust(system)
    if trust is None:
        return ""
    came = float(count_bits(received).min())
    if trust.bits is None:
        return f"{system.name} was never found to show the same person reliably: it may be somebody else's face"
    if came >= trust.bits:
        return ""
    return f"{came:.0f} bits came, and {system.name} needs {trust.bits:.0f}: it may be somebody else's face"


@lru_cache(maxsize=4)
def _read(path: Path | None) -> dict[str, Trust]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): Trust(None if each["bits"] is None else float(each["bits"]), str(each["fingerprint"]))
            for name, each in found["systems"].items()
        }
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({reason_of(error)})") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise Damaged(f"{path} does not say whom to trust ({type(error).__name__}: {error})") from None
