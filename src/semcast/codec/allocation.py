"""Which concept gets how many bits: a level for each concept and a side for the layout, under a budget in bytes.

``rl-asc``      a learned policy (:class:`Policy`): one step a concept in the order of the file; it sees what the encoder knows
                cheaply and decodes nothing.
``uniform``     the same level for all; what is left raises the first concepts by one.
``random``      levels drawn at random among those that still fit.
``area``        bits in proportion to a concept's cells.
``greedy``      the largest true gain of J per bit, each candidate decoded and judged.
``exhaustive``  every combination, for small cases: the oracle.

J is the criterion of :mod:`semcast.codec.criterion`. What the levels cost is exact (:class:`~semcast.codec.bitstream.Sizes`), so
no choice ever makes a file longer than its budget.
"""

from __future__ import annotations

import heapq
import itertools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semcast.codec.bitstream import Sizes
from semcast.codec.concepts import (
    CHANNELS,
    GRID,
    LEVELS,
    SIDES,
    at_64,
    level_map,
    one_hot,
    quantised,
)
from semcast.codec.criterion import Criterion
from semcast.codec.painter import SceneCodec, branch_of
from semcast.domains import Domain
from semcast.errors import SemcastError
from semcast.networks.precision import mixed
from semcast.weights import load

LAYOUT_SHARE = 0.5
"""The plain allocations take the finest side whose file without features needs at most this share of the budget."""

CATEGORIES = 19
FIELDS = (
    ("choosing the side", 1), ("side", len(SIDES)), ("category", CATEGORIES), ("share of cells", 1), ("energy", CHANNELS),
    ("spread", CHANNELS), ("cost of each level / bits left", LEVELS - 1), ("bits left / budget", 1), ("budget", 1),
    ("cells to come", 1), ("cost to come at levels 1 to 3 / bits left", 3), ("mean level so far", 1),
    ("empty file / budget, each side", len(SIDES)), ("all at level 2 / budget, each side", len(SIDES)),
    ("error of a value at each level", LEVELS - 1), ("error removed per bit by each level", LEVELS - 1),
    ("the same of all concepts", LEVELS - 1),
)  # fmt: skip
"""What a policy observes: names and how many numbers each, all about 0 to 2."""

OBSERVED = sum(count for _, count in FIELDS)
_BATCH = 8
_REMEMBERED = 1024  # sizes of choices, a photo: a training asks for millions


@dataclass(frozen=True)
class Choice:
    """A side of the layout, and a level for each concept in the order of the file."""

    side: int
    levels: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Side:
    """A photo as it would be coded at one side.

    Args:
        layout: uint8 ``[side, side]``.
        features: float32 ``[CHANNELS, GRID, GRID]`` in (-1, 1).
        sizes: what its file takes at any levels.
    """

    layout: NDArray[np.uint8]
    features: NDArray[np.float32]
    sizes: Sizes

    def empty(self) -> tuple[int, ...]:
        """Every concept skipped."""
        return (0,) * len(self.sizes.concepts)

    @cached_property
    def errors(self) -> NDArray[np.float64]:
        """What rounding costs: Σ (v - v^)² over the values of each concept at each level, ``[concepts, LEVELS]``."""
        values = torch.from_numpy(self.features).double().expand(LEVELS, -1, -1, -1)
        made = quantised(values, torch.arange(LEVELS)[:, None, None].expand(-1, GRID, GRID))
        error = (values - made).square().sum(1).reshape(LEVELS, -1).numpy()
        return np.stack([error[:, concept.cells].sum(1) for concept in self.sizes.concepts])

    @cached_property
    def worth(self) -> NDArray[np.float64]:
        """:func:`_worth` of each level of all concepts together."""
        return _worth(self.errors.sum(0), self.sizes.bits.sum(0))


Score = Callable[[Sequence[Choice]], Sequence[float]]
"""J of each choice."""


@dataclass(eq=False)
class Options:
    """What an allocation chooses from: a photo at each side, and J of a choice for those that may look."""

    sides: Mapping[int, Side]
    score: Score
    _sizes: dict[Choice, int] = field(default_factory=dict)

    def size(self, choice: Choice) -> int:
        """Bytes that the file of a choice will not exceed."""
        if choice not in self._sizes:
            if len(self._sizes) >= _REMEMBERED:
                self._sizes.clear()
            self._sizes[choice] = self.sides[choice.side].sizes.at_most(choice.levels)
        return self._sizes[choice]

    def empty(self, side: int) -> Choice:
        """A side with every concept skipped."""
        return Choice(side, self.sides[side].empty())

    def open_sides(self, max_bytes: int) -> list[int]:
        """The sides whose file without features fits, ascending.

        Raises:
            SemcastError: none does.
        """
        sizes = {side: self.size(self.empty(side)) for side in sorted(self.sides)}
        fitting = [side for side, size in sizes.items() if size <= max_bytes]
        if not fitting:
            raise SemcastError(f"this photo needs at least {min(sizes.values())} bytes, not {max_bytes}")
        return fitting

    def plain_side(self, max_bytes: int) -> int:
        """The finest side that takes at most :data:`LAYOUT_SHARE` of the budget; where none does, the coarsest."""
        fitting = self.open_sides(max_bytes)
        modest = [side for side in fitting if self.size(self.empty(side)) <= LAYOUT_SHARE * max_bytes]
        return (modest or fitting[:1])[-1]


Allocation = Callable[[Options, int], Choice]
"""Options and a budget in bytes → a choice that fits. Raises SemcastError where nothing does."""


def uniform(options: Options, max_bytes: int) -> Choice:
    """The highest level that all concepts can have; then, in the order of the file, one more for each that still fits."""
    choice = options.empty(options.plain_side(max_bytes))
    for level in range(LEVELS - 1, 0, -1):
        same = Choice(choice.side, (level,) * len(choice.levels))
        if options.size(same) <= max_bytes:
            choice = same
            break
    for i, level in enumerate(choice.levels):
        raised = _changed(choice, i, level + 1)
        if level + 1 < LEVELS and options.size(raised) <= max_bytes:
            choice = raised
    return choice


def random(options: Options, max_bytes: int) -> Choice:
    """A side, then the concepts in random order, each with a level among those that still fit; the same for the same photo."""
    fitting = options.open_sides(max_bytes)
    seed = zlib.crc32(options.sides[fitting[0]].layout.tobytes())
    rng = np.random.default_rng((seed, max_bytes))
    choice = options.empty(int(rng.choice(fitting)))
    for i in rng.permutation(len(choice.levels)):
        changed = [_changed(choice, i, level) for level in range(LEVELS)]
        choice = changed[rng.choice([k for k, other in enumerate(changed) if options.size(other) <= max_bytes])]
    return choice


def area(options: Options, max_bytes: int) -> Choice:
    """The largest concept first: the highest level within its share of the bits by cells, what is left going to the next."""
    choice = options.empty(options.plain_side(max_bytes))
    sizes = options.sides[choice.side].sizes
    room = 8 * (max_bytes - options.size(choice))
    saved = 0.0
    for i in sorted(range(len(choice.levels)), key=lambda i: -len(sizes.concepts[i].cells)):
        share = saved + room * len(sizes.concepts[i].cells) / GRID**2
        fitting = [
            level for level in range(LEVELS)
            if sizes.bits[i, level] <= share and options.size(_changed(choice, i, level)) <= max_bytes
        ]  # fmt: skip
        choice = _changed(choice, i, max(fitting, default=0))
        saved = share - sizes.bits[i, choice.levels[i]]
    return choice


def greedy(options: Options, max_bytes: int) -> Choice:
    """At each side raise one concept at a time, the one with the most true gain of J per byte, while J gains; the best side wins.

    Gains are remembered and looked at again only when they lead (lazy greedy: Minoux, Accelerated greedy algorithms, 1978).
    """
    found = [_climbed(options, options.empty(side), max_bytes) for side in options.open_sides(max_bytes)]
    return max(found, key=lambda pair: pair[1])[0]


def _climbed(options: Options, choice: Choice, max_bytes: int) -> tuple[Choice, float]:
    """Lazy greedy from a choice, and J of where it ends."""
    here, turn = float(options.score([choice])[0]), 0
    heap: list[tuple[float, int, int, int]] = []  # -gain per byte, turn of its measurement, concept, level

    def measure(moves: Sequence[tuple[int, int]]) -> None:
        made = {move: _changed(choice, *move) for move in moves}
        fitting = {move: other for move, other in made.items() if options.size(other) <= max_bytes}
        for (move, other), score in zip(fitting.items(), options.score(list(fitting.values())), strict=True):
            gain = float(score) - here
            if gain > 0:
                paid = max(1, options.size(other) - options.size(choice))
                heapq.heappush(heap, (-gain / paid, turn, *move))

    measure([(i, level) for i in range(len(choice.levels)) for level in range(1, LEVELS)])
    while heap:
        if heap[0][1] < turn:  # measured before the last step: again, with the next few that lead
            stale: list[tuple[int, int]] = []
            while heap and heap[0][1] < turn and len(stale) < _BATCH // 2:
                _, _, i, level = heapq.heappop(heap)
                if level > choice.levels[i]:
                    stale.append((i, level))
            measure(stale)
            continue
        _, _, i, level = heapq.heappop(heap)
        choice = _changed(choice, i, level)
        here, turn = float(options.score([choice])[0]), turn + 1
        measure([(i, higher) for higher in range(level + 1, LEVELS)])
    return choice, here


def exhaustive(options: Options, max_bytes: int, *, levels: Sequence[int] = tuple(range(LEVELS)), most: int = 20_000) -> Choice:
    """The best of all combinations of these levels at all sides.

    Raises:
        SemcastError: there are more than ``most`` of them, or nothing fits.
    """
    sides = options.open_sides(max_bytes)
    count = sum(len(levels) ** len(options.sides[side].empty()) for side in sides)
    if count > most:
        raise SemcastError(f"{count} combinations are too many to try all: take fewer levels or a simpler photo")
    made = (
        Choice(side, chosen) for side in sides for chosen in itertools.product(levels, repeat=len(options.sides[side].empty()))
    )
    fitting = [choice for choice in made if options.size(choice) <= max_bytes]
    if not fitting:
        raise SemcastError(f"none of these combinations fits into {max_bytes} bytes")
    scores = options.score(fitting)
    return fitting[int(np.argmax(scores))]


def _changed(choice: Choice, concept: int, level: int) -> Choice:
    levels = list(choice.levels)
    levels[concept] = level
    return Choice(choice.side, tuple(levels))


def with_care(options: Options, choice: Choice, max_bytes: int, care: Mapping[int, int]) -> Choice:
    """Raise each category of ``care`` by log2 of its factor in levels; where that does not fit, lower the least important others.

    Args:
        care: whole factors by category.
    """
    concepts = options.sides[choice.side].sizes.concepts
    cared = [i for i, concept in enumerate(concepts) if care.get(concept.category, 1) > 1]
    for i in cared:
        aim = min(LEVELS - 1, choice.levels[i] + round(math.log2(care[concepts[i].category])))
        for level in range(choice.levels[i] + 1, aim + 1):
            raised = _changed(choice, i, level)
            for other in reversed([j for j in range(len(concepts)) if j not in cared]):
                while options.size(raised) > max_bytes and raised.levels[other] > 0:
                    raised = _changed(raised, other, raised.levels[other] - 1)
            if options.size(raised) <= max_bytes:
                choice = raised
    return choice


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
        """Which actions fit, ``[LEVELS]``."""
        mask = np.zeros(LEVELS, bool)
        if not self.side:
            mask[[SIDES.index(side) for side in self.open]] = True
            return mask
        choice, i = self.choice, len(self.levels)
        mask[:] = [self.options.size(_changed(choice, i, level)) <= self.max_bytes for level in range(LEVELS)]
        mask[0] = True
        return mask

    def take(self, action: int) -> None:
        """Take a step."""
        if self.side:
            self.levels.append(action)
        else:
            self.side = SIDES[action]

    def observation(self) -> NDArray[np.float32]:
        """What the encoder knows cheaply, float32 ``[OBSERVED]`` (:data:`FIELDS`): neither a score nor a decoded pixel."""
        choice = self.choice
        side = self.options.sides[choice.side]
        sizes, i = side.sizes, min(len(self.levels), len(side.sizes.concepts) - 1)
        left = max(1.0, 8.0 * (self.max_bytes - self.options.size(choice)))
        cells = np.array([len(concept.cells) for concept in sizes.concepts])
        features = side.features.reshape(CHANNELS, -1)
        one_side, category = np.zeros(len(SIDES)), np.zeros(CATEGORIES)
        if self.side:
            features = features[:, sizes.concepts[i].cells]
            one_side[SIDES.index(self.side)] = category[sizes.concepts[i].category] = 1
        coded = cells[: len(self.levels)]
        errors, bits = (side.errors[i], sizes.bits[i]) if self.side else (side.errors.sum(0), sizes.bits.sum(0))
        fields = (
            [not self.side],
            one_side,
            category,
            [cells[i] / GRID**2 if self.side else 1],
            np.sqrt(np.square(features).mean(1)),
            features.std(1),
            np.minimum(sizes.bits[i, 1:] / left, 2),
            [left / (8 * self.max_bytes)],
            [math.log2(self.max_bytes / 512)],
            [cells[len(self.levels) :].sum() / GRID**2],
            np.minimum(sizes.bits[i + 1 :, 1:4].sum(0) / left, 4) / 2,
            [coded @ np.array(self.levels) / max(1, coded.sum()) / (LEVELS - 1) if len(coded) else 0],
            self._of_sides(lambda side: self.options.size(self.options.empty(side)) / self.max_bytes),
            self._of_sides(lambda side: self.options.sides[side].sizes.bits[:, 2].sum() / (8 * self.max_bytes)),
            errors[1:] / (CHANNELS * (cells[i] if self.side else GRID**2)),
            _worth(errors, bits),
            side.worth,
        )
        return np.concatenate([np.asarray(field, np.float32) for field in fields])

    def _of_sides(self, value: Callable[[int], float]) -> list[float]:
        return [min(value(side), 4) / 2 if side in self.options.sides else 2 for side in SIDES]


def _worth(errors: NDArray[np.float64], bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """log2 of the error that each level removes per bit, against the level below it, as numbers of about 1."""
    removed, paid = np.maximum(-np.diff(errors), 0), np.maximum(np.diff(bits), 0)
    return np.log2((removed + 0.01) / (paid + 1)) / 8


@dataclass(frozen=True)
class PolicyConfig:
    """Widths of the hidden layers; ``inputs`` is what it observes."""

    hidden: tuple[int, ...] = (128, 128)
    inputs: int = OBSERVED


class Policy(nn.Module):
    """A small perceptron: what :class:`Walk` observes → a preference for each action."""

    def __init__(self, config: PolicyConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PolicyConfig()
        widths = (config.inputs, *config.hidden)
        layers: list[nn.Module] = []
        for i, width in enumerate(config.hidden):
            layers += [nn.Linear(widths[i], width), nn.Tanh()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], LEVELS))
        self.fingerprint = ""

    @classmethod
    def load(cls, domain: Domain | str) -> Policy:
        """The shipped policy of a domain (or of its name), weights ``allocation-<domain>``.

        Raises:
            SemcastError: there are no such weights, or they observe something else.
        """
        name = domain if isinstance(domain, str) else domain.name
        checkpoint = load(f"allocation-{name}", kind="allocation")
        config = checkpoint.configuration(PolicyConfig)
        if config.inputs != OBSERVED:
            raise SemcastError(f"{checkpoint.path} observes {config.inputs} numbers, this version gives {OBSERVED}")
        policy = cls(config)
        policy.load_state_dict(checkpoint.tensors)
        policy.fingerprint = checkpoint.fingerprint
        return policy.eval()

    def forward(self, observation: Tensor) -> Tensor:
        """``[..., OBSERVED]`` → preferences ``[..., LEVELS]``."""
        return self.layers(observation)

    @torch.no_grad()
    def allocate(self, options: Options, max_bytes: int) -> Choice:
        """The allowed action that it prefers, step by step; an :data:`Allocation`."""
        walk = Walk(options, max_bytes)
        while not walk.done:
            preferences = self(torch.from_numpy(walk.observation())).numpy()
            walk.take(int(np.where(walk.allowed(), preferences, -np.inf).argmax()))
        return walk.choice


PLAIN: dict[str, Allocation] = {
    "uniform": uniform, "random": random, "area": area, "greedy": greedy, "exhaustive": exhaustive,
}  # fmt: skip
"""The allocations that need no weights, by name."""


def paint(
    codec: SceneCodec, layouts: NDArray[np.uint8], features: Tensor, levels: NDArray[np.uint8], branch: str = "fused"
) -> Tensor:
    """The pictures that a receiver shows, ``[B, 3, 256, 256]`` in [0, 1].

    Args:
        layouts: ``[B, 64, 64]``.
        features: dequantised ``[B, CHANNELS, GRID, GRID]``.
        levels: of each cell, ``[B, GRID, GRID]``.
    """
    with torch.no_grad(), mixed():
        painted = codec.painter(torch.from_numpy(layouts), features, one_hot(torch.from_numpy(levels), LEVELS))
    return branch_of(painted, branch).float().clamp(0, 1)


def shown(codec: SceneCodec, sides: Mapping[int, Side], choices: Sequence[Choice], branch: str = "fused") -> Tensor:
    """What a receiver would show for each choice, ``[B, 3, 256, 256]``."""
    layouts, features, levels = [], [], []
    for choice in choices:
        side = sides[choice.side]
        layouts.append(at_64(side.layout))
        features.append(side.features)
        levels.append(level_map(side.sizes.concepts, choice.levels))
    own = np.stack(levels)
    made = quantised(torch.from_numpy(np.stack(features)).double(), torch.from_numpy(own)).float()  # rounded as the file's
    return paint(codec, np.stack(layouts), made, own, branch)


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
        """J of each choice.

        Raises:
            SemcastError: LPIPS is not available.
        """
        new = [choice for choice in dict.fromkeys(choices) if choice not in self.known]
        for i in range(0, len(new), _BATCH):
            batch = new[i : i + _BATCH]
            sent = torch.tensor([float(self.sides[choice.side].sizes.at_most(choice.levels)) for choice in batch])
            with mixed():
                found = self.criterion.measure(self.photo, self.truth, shown(self.codec, self.sides, batch), sent)
            if found.score is None:
                raise SemcastError("an allocation that decodes needs LPIPS: set SEMCAST_SHARED to where its weights are")
            self.known |= dict(zip(batch, found.score.tolist(), strict=True))
        return [self.known[choice] for choice in choices]
