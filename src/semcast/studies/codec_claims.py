"""The claims of RL-ASC's abstract (Huang et al., 2023, arXiv:2208.04094) one by one, out of records alone.

The abstract names no number, data set or rival, so how each sentence is read is ours, and stands beside it. A comparison is made
photo by photo (of mIoU: of the set, resampled over photos); it holds where the whole 95 % interval lies on the right side, at
every budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from semcast.bench.codecs import CodecRecord, Original, set_miou
from semcast.bench.statistics import Interval, group, subtract
from semcast.codec.codec import POLICY
from semcast.codec.painter import BRANCHES
from semcast.studies.claims import Claim
from semcast.studies.noise import BITS, SAFE, UNSAFE, NoiseRecord, average
from semcast.studies.targets import LEARNED, STANDARD, against_bytes, best_standard, by_point, cheapest, difference, miou_ratio
from semcast.studies.tasks import UNTOLD, WEIGHTED, TaskRecord

TIMES = 2.0
"""From so many on it is "times" of a bit cost."""
KEPT = 0.95
"""Of the mIoU, in noise."""


def claim_all(
    records: Sequence[CodecRecord], branches: Sequence[CodecRecord], noisy: Sequence[NoiseRecord], told: Sequence[TaskRecord],
    budgets: Sequence[int], main: int,
) -> list[Claim]:  # fmt: skip
    """Every claim, from what a run has measured of it.

    Args:
        records: of codecs; ``branches`` of the painter's.
        noisy: with errors.
        told: for tasks.
        budgets: those named.
        main: the one that bit costs are compared at.
    """
    return [
        _times(records, main, STANDARD, "saves times of bit cost compared to standard codecs"),
        _times(records, main, (LEARNED,), "saves times of bit cost compared to other deep learning-based image codecs"),
        _pleasant(records, budgets),
        _consistent(records, budgets),
        _keeps(noisy, SAFE, "is noise robust (errors in what was quantised, layout safe)"),
        _keeps(noisy, UNSAFE, "is noise robust (errors in the layout as well)"),
        _files(noisy),
        *(_allocates(records, rival, budgets) for rival in ("uniform", "area")),
        *(_preserves(told, rival) for rival in (UNTOLD, "uniform", WEIGHTED)),
        *(_fuses(branches, branch, budgets) for branch in BRANCHES[1:]),
    ]


def _holds(right: Sequence[bool]) -> str:
    """``holds``, ``does not hold``, or at how many of the points it does."""
    if not right:
        return "not measured"
    return "holds" if all(right) else "does not hold" if not any(right) else f"in part: {sum(right)} of {len(right)}"


def _at_each(
    says: str, reading: str, budgets: Sequence[int], measure: Callable[[int], tuple[Interval, str] | None], *, over: bool = True,
    bar: float = 0.0, unit: str = "bytes",
) -> Claim:  # fmt: skip
    """A comparison at each budget: it holds where the whole interval is beyond the bar."""
    found = {most: value for most in budgets if (value := measure(most)) is not None}
    right = [each.low > bar if over else each.high < bar for each, _ in found.values()]
    measured = "; ".join(f"{each.text(3)} at {most} {unit}{note}" for most, (each, note) in found.items())
    return Claim(says, reading, measured or "-", _holds(right))


def _times(records: Sequence[CodecRecord], main: int, rivals: Sequence[str], says: str) -> Claim:
    """Bytes that the best of the others needs for the same mIoU and for the same LPIPS, over ours."""
    reading = f"at {main} bytes the best of the others needs {TIMES:g} times as many or more, for our mIoU and for our LPIPS"
    ours, right, parts = by_point(records).get((POLICY, main), []), [], []
    for metric, name, sign in (("miou", "mIoU", 1), ("lpips_squeeze", "LPIPS", -1)):
        curves = {curve.system: points for curve, points in against_bytes(records, metric).items()}
        aim, own = _at(curves.get(POLICY, {}), ours), float(np.mean([r.bytes for r in ours])) if ours else 0.0
        theirs = {rival: {x: sign * found.mean for x, found in curves[rival].items()} for rival in rivals if rival in curves}
        if aim is None or not theirs:
            continue
        best, needed = cheapest(theirs, sign * aim)
        times, note = needed / own, f"{best}, {needed:.0f} bytes" if best else f"none reaches it with {needed:.0f} bytes"
        right.append(times >= TIMES)
        parts.append(f"{name}: {times:.1f} times ({note})")
    return Claim(says, reading, "; ".join(parts) or "-", _holds(right))


def _at(curve: Mapping[float, Interval], ours: Sequence[CodecRecord]) -> float | None:
    """What a curve says at the mean bytes of these records."""
    coded = [r.bytes for r in ours if r.ok]
    return curve[float(np.mean(coded))].mean if coded and float(np.mean(coded)) in curve else None


def _pleasant(records: Sequence[CodecRecord], budgets: Sequence[int]) -> Claim:
    def measure(most: int) -> tuple[Interval, str] | None:
        rival = best_standard(records, most, "lpips_squeeze")
        found = difference(records, POLICY, rival, most, "lpips_squeeze") if rival else None
        return (found, f" ({rival})") if found else None

    reading = "LPIPS below that of the best standard codec at equal bytes"
    return _at_each("reconstructs visually pleasant images", reading, budgets, measure, over=False)


def _consistent(records: Sequence[CodecRecord], budgets: Sequence[int]) -> Claim:
    groups = by_point(records)
    original = next((members for (name, _), members in groups.items() if name == Original.name), [])
    ceiling = set_miou(original).mean if original else float("nan")

    def measure(most: int) -> tuple[Interval, str] | None:
        rival, ours = best_standard(records, most), groups.get((POLICY, most), [])
        if not rival or not ours:
            return None
        ratio = Interval(*miou_ratio(ours, groups[rival, most]), len(ours))
        return ratio, f" ({rival}; {set_miou(ours).mean / ceiling:.0%} of the judge's on the photos)"

    reading = "mIoU over that of the best standard codec at equal bytes, above 1"
    return _at_each("reconstructs semantically consistent images", reading, budgets, measure, bar=1.0)


def _keeps(noisy: Sequence[NoiseRecord], test: str, says: str) -> Claim:
    """mIoU with errors over that without."""
    rates = sorted({r.rate for r in noisy if r.test == test})
    found = {rate: average([r for r in noisy if (r.test, r.codec, r.rate) == (test, POLICY, rate)]) for rate in rates}
    reading = f"mIoU with one index in ten wrong, and with one in a hundred, is {KEPT:.0%} of that without or more"
    shares = {rate: each["miou"].mean / found[0.0]["miou"].mean for rate, each in found.items() if 0.0 in found}
    asked = {rate: shares[rate] for rate in (0.01, 0.1) if rate in shares}
    measured = "; ".join(f"{share:.1%} at {rate:g}" for rate, share in asked.items())
    return Claim(says, reading, measured or "-", _holds([share >= KEPT for share in asked.values()]))


def _files(noisy: Sequence[NoiseRecord]) -> Claim:
    """Files that show anything with wrong bits, ours and the best of the codecs in use."""
    rates = sorted({r.rate for r in noisy if r.test == BITS and r.rate})
    names = sorted({r.codec for r in noisy if r.test == BITS})
    shown = group((r for r in noisy if r.test == BITS), lambda r: (r.codec, r.rate))
    right, parts = [], []
    for rate in rates:
        share = {name: average(shown[name, rate])["decoded"].mean for name in names if (name, rate) in shown}
        others = {name: value for name, value in share.items() if name != POLICY}
        if POLICY in share and others:
            best = max(others, key=lambda name: others[name])
            right.append(share[POLICY] >= others[best])
            parts.append(f"{share[POLICY]:.0%} against {others[best]:.0%} ({best}) at {rate:g}")
    says = "(not in the abstract) the same of errors in the bits of whole files"
    reading = "files that show anything, not fewer than of any codec in use"
    return Claim(says, reading, "; ".join(parts) or "-", _holds(right))


def _allocates(records: Sequence[CodecRecord], rival: str, budgets: Sequence[int]) -> Claim:
    def measure(most: int) -> tuple[Interval, str] | None:
        found = difference(records, POLICY, rival, most, "rsp")
        return (found, "") if found else None

    says = f"allocates bits by reinforcement learning, adaptively (against {rival})"
    return _at_each(says, f"J of rl-asc less that of {rival} at equal bytes, above 0", budgets, measure)


def _preserves(told: Sequence[TaskRecord], rival: str) -> Claim:
    """J of each task, told less rival."""
    parts, right = [], []
    for task in dict.fromkeys(r.task for r in told):
        scores: dict[str, dict[str, float]] = {POLICY: {}, rival: {}}
        for r in told:
            if r.task == task and r.codec in scores and r.score is not None:
                scores[r.codec][r.image] = r.score
        ours, theirs = scores.values()
        if ours.keys() & theirs.keys():
            gap = subtract(ours, theirs)
            right.append(gap.low > 0)
            parts.append(f"{task} {gap.text(3)}")
    says = f"preserves task-related information while less important data is discarded (against {rival})"
    reading = f"J of each task, told, less that of {rival} at equal bytes, above 0"
    return Claim(says, reading, "; ".join(parts) or "-", _holds(right))


def _fuses(branches: Sequence[CodecRecord], branch: str, budgets: Sequence[int]) -> Claim:
    def measure(most: int) -> tuple[Interval, str] | None:
        found = difference(branches, BRANCHES[0], branch, most, "lpips_squeeze")
        seen = difference(branches, BRANCHES[0], branch, most, "miou")
        return (found, f", mIoU {seen.text(3)}") if found and seen else None

    says = f"fuses locally and globally by attention (against the {branch} branch alone)"
    return _at_each(says, "LPIPS of both branches together less that of the one, below 0", budgets, measure, over=False)
