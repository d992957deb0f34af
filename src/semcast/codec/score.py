"""J of a choice by decoding it: what the searches maximise, and what the policy is taught by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from semcast.codec.choice import Choice, Side
from semcast.codec.criterion import Criterion
from semcast.codec.painter import BRANCHES, SceneCodec, paint
from semcast.errors import Missing
from semcast.networks.precision import mixed

_BATCH = 8


def preview(codec: SceneCodec, sides: Mapping[int, Side], choices: Sequence[Choice], branch: str = BRANCHES[0]) -> Tensor:
    """Paint what a receiver would show for each choice, ``[B, 3, 256, 256]``, without a file."""
    found = [sides[choice.side] for choice in choices]
    concepts = [side.code(choice.levels) for side, choice in zip(found, choices, strict=True)]
    return paint(codec, [side.layout for side in found], concepts, branch)


class TrueScore:
    """J by decoding: paint what the receiver would show, parse it, compare. Remembers what it has seen.

    Args:
        photo: ``[1, 3, 256, 256]``.
        truth: its labels ``[1, 256, 256]``.
    """

    def __init__(self, codec: SceneCodec, criterion: Criterion, photo: Tensor, truth: Tensor, sides: Mapping[int, Side]) -> None:
        self.codec, self.criterion, self.photo, self.truth, self.sides = codec, criterion, photo, truth, sides
        self.known: dict[Choice, float] = {}

    def __call__(self, choices: Sequence[Choice]) -> list[float]:
        """Measure J of each choice.

        Raises:
            Missing: LPIPS is not available.
        """
        new = [choice for choice in dict.fromkeys(choices) if choice not in self.known]
        for i in range(0, len(new), _BATCH):
            batch = new[i : i + _BATCH]
            sizes = [float(self.sides[choice.side].sizes.at_most(choice.levels)) for choice in batch]
            sent = torch.tensor(sizes, device=self.photo.device)
            with mixed(self.photo.device):
                found = self.criterion.measure(self.photo, self.truth, preview(self.codec, self.sides, batch), sent)
            if found.score is None:
                raise Missing("an allocation that decodes needs LPIPS: set SEMCAST_SHARED to where its weights are")
            self.known |= dict(zip(batch, found.score.tolist(), strict=True))
        return [self.known[choice] for choice in choices]
