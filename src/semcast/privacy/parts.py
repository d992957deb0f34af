"""Which parts of a face are private, by name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semcast.domains import BASE_CODES, NUM_CODES, NUM_PARTS, PARTS, shape_code, texture_code
from semcast.errors import BadInput
from semcast.given import check_text

ALL_BUT = "all-but-"


@dataclass(frozen=True)
class PartChoice:
    """The parts that are private, by name and in the order of :data:`PARTS`."""

    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.parts) < NUM_PARTS:
            raise BadInput("some of the parts must be private and some not")

    @classmethod
    def parse(cls, text: str) -> PartChoice:
        """``eyes,hair`` or ``all-but-eyes`` (``all-but-eyes,mouth`` keeps both).

        Raises:
            BadInput: an unknown part, none, or all.

        >>> PartChoice.parse("hair, eyes").parts
        ('eyes', 'hair')
        >>> len(PartChoice.parse("all-but-eyes").parts)
        12
        """
        text = check_text("what is private", text).strip().lower()
        named = [name.strip() for name in text.removeprefix(ALL_BUT).split(",") if name.strip()]
        unknown = [name for name in named if name not in PARTS]
        if unknown or not named:
            what = f"unknown part {unknown[0]!r}" if unknown else "no part is named"
            raise BadInput(f"{what}; known: {', '.join(PARTS)}, or all-but- and some of them")
        keep = text.startswith(ALL_BUT)
        return cls(tuple(name for name in PARTS if (name in named) != keep))

    @property
    def name(self) -> str:
        """What it was, in short: ``eyes+hair``, ``all-but-eyes``."""
        if 2 * len(self.parts) > NUM_PARTS:
            return ALL_BUT + "+".join(name for name in PARTS if name not in self.parts)
        return "+".join(self.parts)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The parts' numbers."""
        return tuple(PARTS.index(name) for name in self.parts)

    @property
    def codes(self) -> Tensor:
        """Which of the 28 codes are private, bool ``[28]``.

        The base codes shape the whole head: they are private with the skin (the paper says nothing of them).
        """
        private = torch.zeros(NUM_CODES, dtype=torch.bool)
        for part in self.numbers:
            private[[shape_code(part), texture_code(part)]] = True
        private[:BASE_CODES] = "skin" in self.parts
        return private
