"""How the learning rate goes over a run, and the averaged copy of the networks that ships."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from semcast.errors import BadInput


def warm_cosine(step: int, steps: int, *, warm: int = 100, floor: float = 0.05) -> float:
    """Learning-rate factor: linear warm-up, then a cosine from 1 down to ``floor``."""
    return Schedule("cosine", warm, floor)(step, steps)


@dataclass(frozen=True)
class Schedule:
    """Share of the learning rate at each step: a linear warm-up, then what ``shape`` says.

    * ``cosine``: f + (1 - f)(1 + cos πp) / 2 with p the share of the run that is done: its end must be known.
    * ``wsd``: constant, and over the last ``decay`` of the run 1 - √x, down to f (warm up, stable, decay: Hägele et al. 2024,
      arXiv:2405.18392). Train on as long as it pays; a run that goes on from a decayed one loses nothing.

    Args:
        shape: ``cosine`` or ``wsd``.
        warm: steps of the warm-up.
        floor: f.
        decay: share of the run.

    Raises:
        SemcastError: another shape, or numbers out of range.

    >>> [round(Schedule("wsd", warm=2, decay=0.5)(i, 8), 2) for i in range(9)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.53, 0.33, 0.18, 0.05]
    """

    shape: str = "cosine"
    warm: int = 100
    floor: float = 0.05
    decay: float = 0.15

    def __post_init__(self) -> None:
        if self.shape not in ("cosine", "wsd"):
            raise BadInput(f"a schedule's shape is cosine or wsd, not {self.shape!r}")
        if self.warm < 0 or not 0 <= self.floor <= 1 or not 0 < self.decay <= 1:
            raise BadInput("a schedule needs warm of 0 or more, floor in 0..1 and decay in (0, 1]")

    def __call__(self, step: int, steps: int, spent: float = 0.0) -> float:
        """The factor at a step of a run of so many, ``spent`` of whose time is over (0 to 1)."""
        if step < self.warm:
            return (step + 1) / self.warm
        if self.shape == "cosine":
            done = min(1.0, max((step - self.warm) / max(1, steps - self.warm), spent))
            return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))
        done = min(1.0, max(step / max(1, steps), spent))
        late = max(0.0, (done - 1 + self.decay) / self.decay)
        return self.floor + (1 - self.floor) * (1 - math.sqrt(late))


def average(network: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of parameters and buffers, in a copy of the network that is ready to be measured.

    Warmed up so that early steps do not linger: after n steps the decay is at most (1 + n) / (10 + n).
    """

    @torch.no_grad()
    def move(average: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        """Each tensor of one kind of number towards the current one."""
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, weight)
        else:
            torch._foreach_copy_(average, current)

    copy = AveragedModel(network, multi_avg_fn=move, use_buffers=True)  # type: ignore[arg-type]
    copy.requires_grad_(False)
    copy.eval()
    return copy
