"""Which concept gets how many bits: a level for each concept and a side for the layout, under a budget in bytes.

::

    rl-asc      a learned policy (semcast.codec.policy): one step a concept in the order of the file; it sees what the
                    encoder knows cheaply and decodes nothing.
    uniform     the same level for all; what is left raises the first concepts by one.
    random      levels drawn at random among those that still fit.
    area        bits in proportion to a concept's cells, each of them as often as it counts in the task.
    greedy      the largest true gain of J per bit, each candidate decoded and judged.
    exhaustive  every combination, for small cases: the oracle.

J is the criterion of :mod:`semcast.codec.criterion`, which only the last two look at (:mod:`semcast.codec.score`).
"""

from __future__ import annotations

import heapq
import itertools
import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from semcast.codec.choice import Allocation, Choice, Options
from semcast.codec.concepts import CATEGORIES
from semcast.errors import BadInput, DoesNotFit

_AT_ONCE = 4  # moves that greedy measures again together


def uniform(options: Options, max_bytes: int) -> Choice:
    """Give all concepts the highest level that fits; then, in the order of the file, one more to each where that still fits."""
    choice = options.empty(options.plain_side(max_bytes))
    for level in range(options.levels - 1, 0, -1):
        same = Choice(choice.side, (level,) * len(choice.levels))
        if options.size(same) <= max_bytes:
            choice = same
            break
    for i, level in enumerate(choice.levels):
        raised = choice.change(i, level + 1)
        if level + 1 < options.levels and options.size(raised) <= max_bytes:
            choice = raised
    return choice


def random(options: Options, max_bytes: int) -> Choice:
    """Draw a side, then in random order a level for each concept among those that still fit; the same for the same photo."""
    fitting = options.open_sides(max_bytes)
    seed = zlib.crc32(options.sides[fitting[0]].layout.tobytes())
    rng = np.random.default_rng((seed, max_bytes))
    choice = options.empty(int(rng.choice(fitting)))
    for i in rng.permutation(len(choice.levels)):
        changed = [choice.change(i, level) for level in range(options.levels)]
        choice = changed[rng.choice([k for k, other in enumerate(changed) if options.size(other) <= max_bytes])]
    return choice


def area(options: Options, max_bytes: int) -> Choice:
    """Serve the largest concept first: the highest level within its share of the bits; the rest goes to the next.

    Shares and order are by cells, those of what the task cares for counted several times.
    """
    choice = options.empty(options.plain_side(max_bytes))
    sizes = options.sides[choice.side].sizes
    room = 8 * (max_bytes - options.size(choice))
    saved = 0.0
    factors = options.task.factors(CATEGORIES).numpy()
    counted = np.array([factors[concept.category] * len(concept.cells) for concept in sizes.concepts])
    for i in sorted(range(len(counted)), key=lambda i: -counted[i]):
        share = saved + room * float(counted[i] / counted.sum())
        fitting = [
            level for level in range(options.levels)
            if sizes.bits[i, level] <= share and options.size(choice.change(i, level)) <= max_bytes
        ]  # fmt: skip
        choice = choice.change(i, max(fitting, default=0))
        saved = share - sizes.bits[i, choice.levels[i]]
    return choice


def greedy(options: Options, max_bytes: int) -> Choice:
    """At each side raise one concept at a time, the one with the most true gain of J per byte, while J gains; the best side wins.

    Gains are remembered and looked at again only when they lead (lazy greedy: Minoux, Accelerated greedy algorithms, 1978).
    """
    found = [_climb(options, options.empty(side), max_bytes) for side in options.open_sides(max_bytes)]
    return max(found, key=lambda pair: pair[1])[0]


def _climb(options: Options, choice: Choice, max_bytes: int) -> tuple[Choice, float]:
    """Climb from a choice by lazy greedy; give J of where it ends too."""
    here, turn = float(options.score([choice])[0]), 0
    heap: list[tuple[float, int, int, int]] = []  # -gain per byte, turn of its measurement, concept, level

    def measure(moves: Sequence[tuple[int, int]]) -> None:
        made = {move: choice.change(*move) for move in moves}
        fitting = {move: other for move, other in made.items() if options.size(other) <= max_bytes}
        for (move, other), score in zip(fitting.items(), options.score(list(fitting.values())), strict=True):
            gain = float(score) - here
            if gain > 0:
                paid = max(1, options.size(other) - options.size(choice))
                heapq.heappush(heap, (-gain / paid, turn, *move))

    measure([(i, level) for i in range(len(choice.levels)) for level in range(1, options.levels)])
    while heap:
        if heap[0][1] < turn:  # measured before the last step: again, with the next few that lead
            stale: list[tuple[int, int]] = []
            while heap and heap[0][1] < turn and len(stale) < _AT_ONCE:
                _, _, i, level = heapq.heappop(heap)
                if level > choice.levels[i]:
                    stale.append((i, level))
            measure(stale)
            continue
        _, _, i, level = heapq.heappop(heap)
        choice = choice.change(i, level)
        here, turn = float(options.score([choice])[0]), turn + 1
        measure([(i, higher) for higher in range(level + 1, options.levels)])
    return choice, here


def exhaustive(options: Options, max_bytes: int, *, levels: Sequence[int] = (), most: int = 20_000) -> Choice:
    """Try all combinations of these levels (of all of them, where none are given) at all sides and take the best.

    Raises:
        BadInput: there are more than ``most`` of them.
        DoesNotFit: nothing fits.
    """
    sides, levels = options.open_sides(max_bytes), levels or range(options.levels)
    count = sum(len(levels) ** len(options.sides[side].empty()) for side in sides)
    if count > most:
        raise BadInput(f"{count} combinations are too many to try all: take fewer levels or a simpler photo")
    made = (
        Choice(side, chosen) for side in sides for chosen in itertools.product(levels, repeat=len(options.sides[side].empty()))
    )
    fitting = [choice for choice in made if options.size(choice) <= max_bytes]
    if not fitting:
        raise DoesNotFit(f"none of these combinations fits into {max_bytes} bytes")
    scores = options.score(fitting)
    return fitting[int(np.argmax(scores))]


def care_for(options: Options, choice: Choice, max_bytes: int, care: Mapping[int, int]) -> Choice:
    """Raise each category of ``care`` by log2 of its factor in levels; where that does not fit, lower the least important others.

    Args:
        care: whole factors by category.
    """
    concepts = options.sides[choice.side].concepts
    cared = [i for i, concept in enumerate(concepts) if care.get(concept.category, 1) > 1]
    for i in cared:
        aim = min(options.levels - 1, choice.levels[i] + round(math.log2(care[concepts[i].category])))
        for level in range(choice.levels[i] + 1, aim + 1):
            raised = choice.change(i, level)
            for other in reversed([j for j in range(len(concepts)) if j not in cared]):
                while options.size(raised) > max_bytes and raised.levels[other] > 0:
                    raised = raised.change(other, raised.levels[other] - 1)
            if options.size(raised) <= max_bytes:
                choice = raised
    return choice


PLAIN: dict[str, Allocation] = {
    "uniform": uniform, "random": random, "area": area, "greedy": greedy, "exhaustive": exhaustive,
}  # fmt: skip
"""The allocations that need no weights, by name."""
