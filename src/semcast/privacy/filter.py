"""The paper's privacy filter: private codes moved away from their own, and pulled back towards natural ones.

Han et al. 2023, sec. 3.2; norms are over the private codes only. A fresh random direction u moves the private codes L to
L' = L + s u; the knowledge base pulls them back towards natural ones, L_m,

    P = L' + t (L_m - L'),   t just below t* = λ2 / (1 + λ2),

which is as far as eq. 5, ||P - L'|| < λ2 ||P - L_m||, lets P go on that line (t ||·|| < λ2 (1 - t) ||·||): as printed,
"increase until it holds", eq. 5 holds at once and asks for nothing. Eq. 4, ||P - L|| > λ1 ||L||, is checked *after* that,
and s grows until it holds. The direction comes from a generator that is drawn anew for every photo: a fixed one could be
subtracted again. The paper's u is uniform and its L_m the mean, and what comes of that is hardly a face where much is private:
almost every direction leads away from all faces. Here u leads towards a face drawn from the knowledge base's model, and L_m
are the parts that it finds for the rest of this one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from semcast.errors import BadInput
from semcast.generative.encoder import BOUND
from semcast.given import check_number
from semcast.privacy.parts import PartChoice

_BELOW = 0.999  # t over t*
_GROWTH, _TRIES = 1.15, 60


class Randomness(Protocol):
    """Where a direction comes from: :class:`numpy.random.Generator` is one."""

    def standard_normal(self, size: tuple[int, ...]) -> np.ndarray:
        """Independent N(0, 1)."""


@dataclass(frozen=True)
class Filtered:
    """The filtered codes P ``[28, code]`` and what the equations say of them, all norms over the private codes.

    ``length`` ||L||, ``moved`` ||L' - L||, ``kept`` ||P - L|| (eq. 4 asks for more than λ1 ||L||), ``pulled`` ||P - L'||
    and ``left`` ||P - L_m|| (eq. 5: the one is below λ2 times the other), ``tries`` how often the step grew.
    """

    codes: Tensor
    length: float
    moved: float
    kept: float
    pulled: float
    left: float
    tries: int

    def distances(self) -> dict[str, float | int]:
        """Everything but the codes, rounded."""
        names = ("length", "moved", "kept", "pulled", "left")
        return {name: round(getattr(self, name), 4) for name in names} | {"tries": self.tries}


@dataclass(frozen=True)
class Filter:
    """Protect parts by moving their codes (``generative`` alone sends codes).

    Args:
        parts: which are private, ``eyes,hair`` or ``all-but-eyes``.
        lambda1: λ1 of eq. 4, in (0, 3]; the paper gives neither.
        lambda2: λ2 of eq. 5, in [0, 1).

    Raises:
        BadInput: an unknown part, none, or all; a λ that is out of range.

    >>> Filter("all-but-eyes").name
    'filter(1,0.9):all-but-eyes'
    """

    parts: str = field(compare=False)
    lambda1: float = 1.0
    lambda2: float = 0.9
    choice: PartChoice = field(init=False, repr=False)
    mode: ClassVar[str] = "filter"

    def __post_init__(self) -> None:
        object.__setattr__(self, "choice", PartChoice.parse(self.parts))
        object.__setattr__(self, "lambda1", check_number("lambda1", self.lambda1, 0, 3))
        object.__setattr__(self, "lambda2", check_number("lambda2", self.lambda2, 0, 1))
        if self.lambda1 == 0:
            raise BadInput(f"lambda1 must be above 0 and at most 3, not {self.lambda1:g}")
        if self.lambda2 == 1:
            raise BadInput(f"lambda2 must be at least 0 and below 1, not {self.lambda2:g}")

    @property
    def name(self) -> str:
        """All of it in one word, for results."""
        return f"{self.mode}({self.lambda1:g},{self.lambda2:g}):{self.choice.name}"

    @property
    def pull(self) -> float:
        """t, just below t* = λ2 / (1 + λ2)."""
        return _BELOW * self.lambda2 / (1 + self.lambda2)

    def move(self, codes: Tensor, natural: Tensor, random: Randomness, towards: Tensor | None = None) -> Filtered:
        """Move the private codes of one photo away from their own, and pull them back (eq. 4 and 5).

        Args:
            codes: L ``[28, code]``.
            natural: L_m of the knowledge base, the same shape.
            random: a generator of this photo alone.
            towards: codes drawn for this photo alone, whence the direction; None: the paper's, uniform, from ``random``.

        Raises:
            BadInput: eq. 4 cannot be met while the codes stay within the generator's bound.
        """
        private = self.choice.codes
        here, there = codes[private].double(), natural[private].double()
        if towards is None:
            direction = torch.from_numpy(random.standard_normal(tuple(here.shape))).to(here)
        else:
            direction = towards[private].double() - here
        direction /= direction.norm()
        least, step = self.lambda1 * here.norm(), self.lambda1 * here.norm() / (1 - self.pull)
        for tries in range(_TRIES):
            moved = (here + step * direction).clamp(-BOUND, BOUND)  # L'
            pulled = (moved + self.pull * (there - moved)).float()  # P, between two points within the bound
            result = codes.clone()
            result[private] = pulled
            if (pulled.double() - here).norm() > least:
                apart = (here, moved - here, pulled - here, pulled - moved, pulled - there)
                length, far, kept, pull, left = (float(vector.norm()) for vector in apart)
                return Filtered(result, length, far, kept, pull, left, tries)
            step = step * _GROWTH
        raise BadInput(
            f"lambda1 = {self.lambda1:g} asks for codes outside the generator's range on this photo: take a smaller one"
        )
