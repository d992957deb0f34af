"""The learned allocation: a small perceptron that takes one step a concept, by reinforcement learning (Huang et al., 2023).

:class:`Walk` is the episode (what can be done, what is seen), :class:`Policy` what decides in it, ``train/allocation.py`` how it
is learned. What it observes costs the sender next to nothing: neither a score nor a decoded pixel is among it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semcast.codec.choice import Choice, Options, weigh_levels
from semcast.codec.concepts import CATEGORIES, GRID, SIDES
from semcast.codec.criterion import WEIGHTS
from semcast.codec.ladder import V1, Ladder, ladder_of
from semcast.domains import Domain
from semcast.errors import BadInput
from semcast.weights import load


def list_fields(ladder: Ladder) -> tuple[tuple[str, int], ...]:
    """List what a policy observes: names and how many numbers each, all about 0 to 2."""
    parts, above = len(ladder.parts) - 1, ladder.levels - 1
    told = () if ladder is V1 else (
        ("log2 of the weights of J, against the usual ones", 3), ("log2 of what the category counts", 1),
        ("share of what counts that is still to come", 1), ("the same here", 1),
    )  # fmt: skip
    return (
        ("choosing the side", 1), ("side", len(SIDES)), ("category", CATEGORIES), ("share of cells", 1), ("energy", parts),
        ("spread", parts), ("cost of each level / bits left", above), ("bits left / budget", 1), ("budget", 1),
        ("cells to come", 1), ("cost to come at levels 1 to 3 / bits left", 3), ("mean level so far", 1),
        ("empty file / budget, each side", len(SIDES)), ("all at level 2 / budget, each side", len(SIDES)),
        ("error of a value at each level", above), ("error removed per bit by each level", above),
        ("the same of all concepts", above), *told,
    )  # fmt: skip


def count_observed(ladder: Ladder) -> int:
    """Count the numbers that a policy observes."""
    return sum(count for _, count in list_fields(ladder))


class Walk:
    """An allocation taken step by step: first the side, then a level for each concept in the order of the file.

    Action a is the a-th of :data:`SIDES` in the first step and the level a after it. Only what fits is allowed, and skipping
    always fits once a side is chosen.
    """

    def __init__(self, options: Options, max_bytes: int) -> None:
        self.options, self.max_bytes = options, max_bytes
        self.open = options.open_sides(max_bytes)
        self.side = 0
        self.levels: list[int] = []

    @property
    def choice(self) -> Choice:
        """The steps so far, what is to come skipped; before the first step the coarsest side that fits."""
        empty = self.options.empty(self.side or self.open[0])
        return Choice(empty.side, (*self.levels, *empty.levels[len(self.levels) :]))

    @property
    def done(self) -> bool:
        """Whether every concept has its level."""
        return bool(self.side) and len(self.levels) == len(self.options.sides[self.side].empty())

    def allowed(self) -> NDArray[np.bool_]:
        """Tell which actions fit, ``[levels]``."""
        mask = np.zeros(self.options.levels, bool)
        if not self.side:
            mask[[SIDES.index(side) for side in self.open]] = True
            return mask
        choice, i = self.choice, len(self.levels)
        mask[:] = [self.options.size(choice.change(i, level)) <= self.max_bytes for level in range(len(mask))]
        mask[0] = True
        return mask

    def take(self, action: int) -> None:
        """Take a step."""
        if self.side:
            self.levels.append(action)
        else:
            self.side = SIDES[action]

    def observation(self) -> NDArray[np.float32]:
        """Observe what the encoder knows cheaply, float32 (:func:`list_fields`)."""
        choice = self.choice
        side = self.options.sides[choice.side]
        sizes, i = side.sizes, min(len(self.levels), len(side.concepts) - 1)
        left = max(1.0, 8.0 * (self.max_bytes - self.options.size(choice)))
        cells = np.array([len(concept.cells) for concept in side.concepts])
        ladder, features = side.ladder, side.features.reshape(side.ladder.channels, -1)
        one_side, category = np.zeros(len(SIDES)), np.zeros(CATEGORIES)
        if self.side:
            features = features[:, side.concepts[i].cells]
            one_side[SIDES.index(self.side)] = category[side.concepts[i].category] = 1
        coded = cells[: len(self.levels)]
        errors, bits = (side.errors[i], sizes.bits[i]) if self.side else (side.errors.sum(0), sizes.bits.sum(0))
        fields = (
            [not self.side],
            one_side,
            category,
            [cells[i] / GRID**2 if self.side else 1],
            _by_part(ladder, np.square(features).mean(1)),
            _by_part(ladder, features.var(1)),
            np.minimum(sizes.bits[i, 1:] / left, 2),
            [left / (8 * self.max_bytes)],
            [math.log2(self.max_bytes / 512)],
            [cells[len(self.levels) :].sum() / GRID**2],
            np.minimum(sizes.bits[i + 1 :, 1:4].sum(0) / left, 4) / 2,
            [coded @ np.array(self.levels) / max(1, coded.sum()) / (ladder.levels - 1) if len(coded) else 0],
            self._of_sides(lambda side: self.options.size(self.options.empty(side)) / self.max_bytes),
            self._of_sides(lambda side: self.options.sides[side].sizes.bits[:, 2].sum() / (8 * self.max_bytes)),
            errors[1:] / (ladder.channels * (cells[i] if self.side else GRID**2)),
            weigh_levels(errors, bits),
            side.worth,
            *([] if ladder is V1 else self._task(i)),
        )
        return np.concatenate([np.asarray(field, np.float32) for field in fields])

    def _task(self, i: int) -> list[list[float]]:
        """What is told of the task, and how much of it the i-th concept and those to come are."""
        task, concepts = self.options.task, self.options.sides[self.choice.side].concepts
        factors = task.factors(CATEGORIES).numpy()
        counted = np.array([factors[concept.category] * len(concept.cells) for concept in concepts])
        usual, own = asdict(WEIGHTS), asdict(task.weights)
        ratios = [math.log2(max(own[name], 1e-3) / usual[name]) / 2 for name in usual]
        here = math.log2(factors[concepts[i].category]) / 2 if self.side else 0.0
        coming = float(counted[len(self.levels) :].sum() / counted.sum())
        return [ratios, [here], [coming], [float(counted[i] / counted.sum()) if self.side else 1.0]]

    def _of_sides(self, value: Callable[[int], float]) -> list[float]:
        return [min(value(side), 4) / 2 if side in self.options.sides else 2 for side in SIDES]


def _by_part(ladder: Ladder, squares: NDArray[np.floating]) -> list[float]:
    """The root of the mean of each part's squares, as a share of how far its features go."""
    parts = zip(ladder.parts[:-1], ladder.parts[1:], strict=True)
    return [math.sqrt(float(squares[first:last].mean())) / ladder.reach(first) for first, last in parts]


@dataclass(frozen=True)
class PolicyConfig:
    """Widths of the hidden layers; ``inputs`` is what it observes, ``version`` of the format what it decides about."""

    hidden: tuple[int, ...] = (128, 128)
    inputs: int = count_observed(V1)
    version: int = V1.version


class Policy(nn.Module):
    """A small perceptron: what :class:`Walk` observes → a preference for each action."""

    def __init__(self, config: PolicyConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PolicyConfig()
        widths = (config.inputs, *config.hidden)
        layers: list[nn.Module] = []
        for i, width in enumerate(config.hidden):
            layers += [nn.Linear(widths[i], width), nn.Tanh()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], ladder_of(config.version).levels))
        self.fingerprint = ""

    @classmethod
    def load(cls, domain: Domain | str) -> Policy:
        """Load the shipped policy of a domain (or of its name), weights ``allocation-<domain>``.

        Raises:
            Missing: there are no such weights.
            BadInput: they observe something else.
        """
        name = domain if isinstance(domain, str) else domain.name
        checkpoint = load(f"allocation-{name}", kind="allocation")
        with checkpoint.trusted():
            config = checkpoint.configuration(PolicyConfig)
        observed = count_observed(ladder_of(config.version))
        if config.inputs != observed:
            raise BadInput(f"{checkpoint.path} observes {config.inputs} numbers, this version gives {observed}")
        policy = checkpoint.build(cls, PolicyConfig)
        policy.fingerprint = checkpoint.fingerprint
        return policy.eval()

    def forward(self, observation: Tensor) -> Tensor:
        """``[..., inputs]`` → preferences ``[..., levels]``."""
        preferences: Tensor = self.layers(observation)
        return preferences

    @torch.no_grad()
    def allocate(self, options: Options, max_bytes: int) -> Choice:
        """Take the allowed action that it prefers, step by step; an :data:`~semcast.codec.choice.Allocation`."""
        walk, device = Walk(options, max_bytes), next(self.parameters()).device
        while not walk.done:
            preferences = self(torch.from_numpy(walk.observation()).to(device)).cpu().numpy()
            walk.take(int(np.where(walk.allowed(), preferences, -np.inf).argmax()))
        return walk.choice
