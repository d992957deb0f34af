"""What records of codecs say: curves, paired differences, ratios, and the targets that the semantic codec is held to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise, product
from statistics import median
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semcast.bench.codecs import CodecRecord, Original, draw_sets, resample_miou, set_miou
from semcast.bench.plots import Curve
from semcast.bench.statistics import LEVEL, Interval, bootstrap, group, subtract
from semcast.codec.codec import POLICY
from semcast.codec.painter import BRANCHES

RIVALS = ("uniform", "random", "area")
ALLOCATIONS = (POLICY, *RIVALS)
"""The learned policy and the plain ones that do not search."""
STANDARD = ("jpeg2000", "webp", "avif", "hevc")
LEARNED = "hyperprior"
"""The learned codec that is a rival."""
_DRAWS = 1000


class Searched(Protocol):
    """What :class:`~semcast.studies.search.OracleRecord` says."""

    @property
    def image(self) -> str: ...
    @property
    def case(self) -> str: ...
    @property
    def allocation(self) -> str: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def score(self) -> float: ...
    @property
    def judged(self) -> float | None: ...
    @property
    def decision_s(self) -> float: ...


class Told(Protocol):
    """What :class:`~semcast.studies.tasks.TaskRecord` says."""

    @property
    def image(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def codec(self) -> str: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def score(self) -> float | None: ...


def against_bytes(records: Sequence[CodecRecord], metric: str) -> dict[Curve, dict[float, Interval]]:
    """For each codec the metric's interval at the mean bytes of each budget."""
    curves: dict[Curve, dict[float, Interval]] = {}
    for (codec, _), members in sorted(by_point(records).items()):
        value, coded = measure(members, metric), [r.bytes for r in members if r.ok]
        if codec != Original.name and value is not None and coded:
            curves.setdefault(Curve(0, codec), {})[float(np.mean(coded))] = value
    return curves


def by_point(records: Sequence[CodecRecord]) -> dict[tuple[str, int], list[CodecRecord]]:
    """By codec and budget, the photos in one order."""
    return group(sorted(records, key=lambda record: record.image), lambda record: (record.codec, record.max_bytes))


def measure(records: Sequence[CodecRecord], metric: str) -> Interval | None:
    """The mIoU of the set, or the mean of another metric, with its interval; None where it was not measured."""
    if metric == "miou":
        return set_miou(records)
    values = [value for value in (getattr(r, metric) for r in records) if value is not None]
    return bootstrap(values) if values else None


def difference(records: Sequence[CodecRecord], first: str, second: str, most: int | None, metric: str) -> Interval | None:
    """First less second, photo by photo; None where one was not measured.

    Args:
        most: the budget; None: the mean over all budgets at which a photo has both.
    """
    one, two = (
        {(r.image, r.max_bytes): value for r in records
         if r.codec == codec and most in (None, r.max_bytes) and (value := getattr(r, metric)) is not None}
        for codec in (first, second)
    )  # fmt: skip
    return _gap(one, two)


def _gap(first: Mapping[tuple[str, int], float], second: Mapping[tuple[str, int], float]) -> Interval | None:
    """First less second by photo and budget, the mean over the budgets at which a photo has both; None: they have none."""
    common = sorted(first.keys() & second.keys())

    def by_photo(values: Mapping[tuple[str, int], float]) -> dict[str, float]:
        return {image: float(np.mean([values[key] for key in keys])) for image, keys in groupby(common, lambda key: key[0])}

    return subtract(by_photo(first), by_photo(second)) if common else None


def best_standard(records: Sequence[CodecRecord], most: int, metric: str = "miou") -> str | None:
    """The codec in use that is best at a budget: by the mIoU of the set, or by the mean LPIPS; None where none was measured."""
    found = {name: measure(members, metric) for (name, budget), members in by_point(records).items()
             if budget == most and name in STANDARD}  # fmt: skip
    known = {name: value.mean for name, value in found.items() if value is not None}
    sign = -1 if metric == "lpips_squeeze" else 1
    return max(known, key=lambda name: sign * known[name], default=None)


# ---- targets ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """One of the aims: what was measured, and what it is held against.

    ``over`` says whether more is better; ``clear`` whether the whole interval must be beyond ``must``.
    """

    what: str
    value: float | None
    must: float | None
    aim: float | None = None
    low: float | None = None
    high: float | None = None
    over: bool = True
    clear: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """``aim``, ``must``, ``missed`` (``no`` where there is an aim alone), or ``not measured``."""
        if self.value is None or not math.isfinite(self.value):
            return "not measured"
        sign = 1 if self.over else -1
        if self.aim is not None and sign * self.value >= sign * self.aim:
            return "aim"
        if self.must is None:
            return "no"
        held = (self.low if self.over else self.high) if self.clear else self.value
        return "must" if held is not None and sign * held > sign * self.must else "missed"

    def cells(self) -> list[str]:
        """A row of the table."""
        value = "-" if self.value is None else f"{self.value:.3f}"
        within = f" [{self.low:.3f}, {self.high:.3f}]" if self.low is not None and self.high is not None else ""
        sense = "over" if self.over else "under"
        must, aim = ("-" if each is None else f"{sense} {each:g}" for each in (self.must, self.aim))
        return [self.what, value + within, must, aim, self.verdict, self.note]


def all_targets(
    records: Sequence[CodecRecord], branches: Sequence[CodecRecord], searched: Sequence[Searched], told: Sequence[Told],
    seconds: Mapping[str, Sequence[float]], budgets: Sequence[int], main: int, threads: int,
) -> list[Target]:  # fmt: skip
    """Every aim, with what was measured of it at the budget ``main`` where no other is named (searches: at all of theirs).

    Args:
        told: what was coded for a task.
        seconds: of ``encode`` and ``decode``, photo by photo, with so many ``threads``.
        budgets: those named.
    """
    return [
        *_against_standard(records, min(budgets), main), *_room_targets(records, budgets, main),
        *_allocation_targets(records, budgets), *_task_targets(told), *_search_targets(searched),
        *_branch_targets(branches, main), *_time_targets(seconds, threads),
    ]  # fmt: skip


def _against_standard(records: Sequence[CodecRecord], least: int, main: int) -> list[Target]:
    """mIoU at both budgets, bytes for that, LPIPS; of LPIPS also against what is learned."""
    groups = by_point(records)
    ours = groups.get((POLICY, main), [])
    found, bars = [], {main: (1.7, 2.2)} | ({least: (2.0, 2.5)} if least < main else {})
    for most, bar in bars.items():
        seen, rival = Target(f"mIoU / that of the best standard codec, {most} bytes", None, *bar), best_standard(records, most)
        if rival and groups.get((POLICY, most)):
            value, low, high = miou_ratio(groups[POLICY, most], groups[rival, most])
            seen = replace(seen, value=value, low=low, high=high, note=rival)
        found.append(seen)
    prettiest = best_standard(records, main, "lpips_squeeze")
    for name, rival, must, aim in (("the best standard codec", prettiest, 0.55, 0.45), ("the learned codec", LEARNED, 1.0, 0.8)):
        looks = Target(f"LPIPS / that of {name}", None, must, aim, over=False)
        if ours and rival and (rival, main) in groups:
            value, low, high = mean_ratio(ours, groups[rival, main], "lpips_squeeze")
            looks = replace(looks, value=value, low=low, high=high, note=rival)
        found.append(looks)
    return [*found, _bytes_target(records, ours)]


def _room_targets(records: Sequence[CodecRecord], budgets: Sequence[int], main: int) -> list[Target]:
    """What more bytes buy: J at budgets above the main one less J there, photo by photo."""
    found = []
    known = {(r.image, r.max_bytes): r.rsp for r in records if r.codec == POLICY and r.rsp is not None}
    for most in (each for each in budgets if each > main):
        bar = (0.02, 0.05) if most <= 2 * main else (0.04, 0.1)
        target = Target(f"J at {most} bytes less J at {main}", None, *bar, clear=True)
        gap = _gap(*({(image, main): value for (image, size), value in known.items() if size == each} for each in (most, main)))
        found.append(replace(target, value=gap.mean, low=gap.low, high=gap.high) if gap else target)
    return found


def _task_targets(records: Sequence[Told]) -> list[Target]:
    """J of each task, told, less that of uniform, photo by photo."""
    found = []
    for (task, most), members in group(records, lambda r: (r.task, r.max_bytes)).items():
        target = Target(f"J of the task {task}, told, less that of uniform, {most} bytes", None, 0.01, 0.03)
        gap = _gap(*({(r.image, most): r.score for r in members if r.codec == codec and r.score is not None}
                     for codec in (POLICY, "uniform")))  # fmt: skip
        found.append(replace(target, value=gap.mean, low=gap.low, high=gap.high) if gap else target)
    return found


def _bytes_target(records: Sequence[CodecRecord], ours: Sequence[CodecRecord]) -> Target:
    target = Target("bytes that the best standard codec needs for our mIoU / ours", None, 2, 5)
    curves = {curve.system: points for curve, points in against_bytes(records, "miou").items() if curve.system in STANDARD}
    if not ours or not curves:
        return target
    aim, own = set_miou(ours).mean, float(np.mean([r.bytes for r in ours]))
    name, needed = cheapest({each: {x: found.mean for x, found in points.items()} for each, points in curves.items()}, aim)
    note = f"{name}, {needed:.0f} bytes" if name else f"a lower bound: none reaches it with {needed:.0f} bytes"
    return replace(target, value=needed / own, note=note)


def cheapest(curves: Mapping[str, Mapping[float, float]], aim: float) -> tuple[str | None, float]:
    """Name the codec whose curve reaches a value with the fewest bytes, and say how many; none does: the most that any had.

    >>> cheapest({"a": {100: 0.0, 400: 1.0}, "b": {100: 0.6}}, 0.5), cheapest({"a": {100: 0.0, 400: 0.2}}, 0.5)
    (('b', 100.0), (None, 400))
    """
    needed = {name: bytes_for(points, aim) for name, points in curves.items()}
    reaching = {name: value for name, value in needed.items() if value is not None}
    if not reaching:
        return None, max(max(points) for points in curves.values())
    name = min(reaching, key=lambda each: reaching[each])
    return name, reaching[name]


def bytes_for(curve: Mapping[float, float], aim: float) -> float | None:
    """The bytes at which a curve first reaches a value, straight in log bytes between its points; None: it never does.

    >>> bytes_for({100: 0.0, 400: 1.0}, 0.5), bytes_for({100: 0.6}, 0.5), bytes_for({100: 0.2, 200: 0.4}, 0.5)
    (200.0, 100.0, None)
    """
    points = sorted(curve.items())
    if points and points[0][1] >= aim:
        return float(points[0][0])
    for (low, below), (high, above) in pairwise(points):
        if below < aim <= above:
            found: float = low * (high / low) ** ((aim - below) / (above - below))
            return round(found, 6)
    return None


def miou_ratio(first: Sequence[CodecRecord], second: Sequence[CodecRecord]) -> tuple[float, float, float]:
    """mIoU of one set over that of another, of the same photos in the same order, with its interval over photos."""
    first, second = _common(first, second)
    (one, ones), (two, twos) = (resample_miou(each, _DRAWS, 0) for each in (first, second))
    return (one / two, *_ends(ones, twos))


def mean_ratio(first: Sequence[CodecRecord], second: Sequence[CodecRecord], metric: str) -> tuple[float, float, float]:
    """Likewise the ratio of means; NaN where the metric was not measured."""
    first, second = _common(first, second)
    one, two = (np.array([getattr(r, metric) for r in each], np.float64) for each in (first, second))  # None becomes NaN
    chosen = draw_sets(len(one), _DRAWS, 0)
    return (float(one.mean() / two.mean()), *_ends(chosen @ one, chosen @ two))


def _common(first: Sequence[CodecRecord], second: Sequence[CodecRecord]) -> tuple[list[CodecRecord], list[CodecRecord]]:
    names = sorted({r.image for r in first} & {r.image for r in second})
    one, two = ({r.image: r for r in each} for each in (first, second))
    return [one[name] for name in names], [two[name] for name in names]


def _ends(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanquantile(first / np.maximum(second, 1e-12), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _allocation_targets(records: Sequence[CodecRecord], budgets: Sequence[int]) -> list[Target]:
    """At equal budgets: over all of them, and against uniform at each."""
    cases: list[tuple[int | None, str, str]] = [(None, "all budgets", rival) for rival in RIVALS]
    cases += [(most, f"{most} bytes", "uniform") for most in budgets]
    found = []
    for most, where, rival in cases:
        gap = difference(records, POLICY, rival, most, "rsp")
        target = Target(f"J of rl-asc less that of {rival}, {where}", None, 0, None if most is None else 0.01, clear=True)
        found.append(replace(target, value=gap.mean, low=gap.low, high=gap.high) if gap else target)
    return found


def _search_targets(records: Sequence[Searched]) -> list[Target]:
    """J lost against greedy search in %, and how much faster the decision is, over all budgets."""
    found = []
    for score, what, note in (
        ("score", "J lost against greedy, %", "by the codec's own parser, which the search maximises"),
        ("judged", "the same, judged", "by the judge"),
    ):
        target = Target(what, None, 0 if score == "judged" else None, None if score == "judged" else 1, over=False, note=note)
        mine, greedy = (
            {(r.image, r.max_bytes): value for r in records
             if r.case == "photo" and r.allocation == name and (value := getattr(r, score)) is not None}
            for name in (POLICY, "greedy")
        )  # fmt: skip
        common = [greedy[key] for key in sorted(mine.keys() & greedy.keys())]
        scale = 100 / abs(float(np.mean(common))) if common else 0.0
        gap = _gap(*({key: scale * value for key, value in each.items()} for each in (greedy, mine)))
        if gap:
            target = replace(target, value=gap.mean, low=gap.low, high=gap.high)
        found.append(target)
    faster = Target("decisions in the time of a greedy one", None, 1000)
    mine, greedy = (
        {(r.image, r.max_bytes): r.decision_s for r in records if r.case == "photo" and r.allocation == name}
        for name in (POLICY, "greedy")
    )
    times = [greedy[key] / max(mine[key], 1e-9) for key in mine if key in greedy]
    return [*found, replace(faster, value=median(times)) if times else faster]


def _branch_targets(records: Sequence[CodecRecord], main: int) -> list[Target]:
    found = []
    metrics = (("miou", "mIoU a photo", True), ("lpips_squeeze", "LPIPS", False))
    for branch, (metric, name, over) in product(BRANCHES[1:], metrics):
        gap = difference(records, BRANCHES[0], branch, main, metric)
        target = Target(f"{name}: fused less {branch}", None, 0, over=over, clear=True)
        found.append(replace(target, value=gap.mean, low=gap.low, high=gap.high) if gap else target)
    return found


def _time_targets(seconds: Mapping[str, Sequence[float]], count: int) -> list[Target]:
    threads = f"{count} thread{'s' * (count > 1)}, median"
    return [
        Target(f"{what}, ms", 1000 * median(each) if each else None, must, 80, over=False, note=threads)
        for (what, each), must in zip(seconds.items(), (150, 120), strict=True)
    ]
