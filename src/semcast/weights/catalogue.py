"""What ships: every weights file there is, whether it is intact, and its card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from semcast.errors import Damaged, Missing
from semcast.files import reason_of
from semcast.weights.store import available, find, load


@dataclass(frozen=True)
class Shipped:
    """A weights file: what it says it is, and whether that is true.

    Args:
        name: that :func:`~semcast.weights.load` finds it by.
        kind: of network.
        megabytes: of the file.
        fingerprint: the beginning of its own; empty where it is not intact.
        state: ``ok``, or what is wrong with it.
        path: of the file.
    """

    name: str
    kind: str
    megabytes: float
    fingerprint: str
    state: str
    path: str


def list_shipped() -> list[Shipped]:
    """Look at every weights file, those of ``$SEMCAST_WEIGHTS`` first."""
    return [_examine(path) for path in available()]


def read_card(name: str) -> str:
    """The card of a weights file, in Markdown.

    Raises:
        Missing: there are no such weights, or they have no card.
        Damaged: it is no text.
    """
    card = find(name).with_suffix(".md")
    if not card.is_file():
        raise Missing(f"there is no card of {name}")
    try:
        return card.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Damaged(f"{card} cannot be read as text ({reason_of(error)})") from None


def _examine(path: Path) -> Shipped:
    kind, digits, state = "?", "", "ok"
    try:
        with safe_open(path, framework="np") as file:
            kind = str((file.metadata() or {}).get("kind", "?"))
        digits = load(str(path), kind=kind).fingerprint[:12]
    except Exception as error:  # noqa: BLE001 - a list says of each file what is wrong with it, whatever that is
        state = reason_of(error).removeprefix(f"{path} ")
    return Shipped(path.stem, kind, round(path.stat().st_size / 1e6, 1), digits, state, str(path))
