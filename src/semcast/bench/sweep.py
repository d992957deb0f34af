"""Sweep: photos x systems x channels x SNR x symbols x draws, one line of JSONL each, resumable at any line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path

from rich.table import Table
from torch import Tensor

from semcast.bench.records import HEADINGS, METRICS, Record, appender, mean, resume, rounded
from semcast.domains import domain_named
from semcast.errors import SemcastError
from semcast.link import Budget, Channel, System, cross, generator_for
from semcast.metrics.report import Metrics
from semcast.networks.segmenter import FaceParser
from semcast.photos import Photo, to_tensor
from semcast.sources import Source


@dataclass(frozen=True)
class Plan:
    """What is measured on every photo.

    Args:
        snr_db: Es/N0 of each point in dB.
        symbols: k of each point, the symbols that carry data.
        draws: independent channels a point.
        seed: every draw follows from it, the photo's name and the draw's number.
        aligned: the photos are cropped already.
        care: for ``linear-gan``; the other systems have none.
        refine: gradient steps on the symbols, for ``generative``.
        fading: ``block`` or ``fast``, for the fading channels.
        pilots: a block, for the fading channels.
        private: the name of the protection that all systems are behind, if any.
        domain: what the photos show; None: faces, which are looked for and aligned.
    """

    snr_db: tuple[float, ...]
    symbols: tuple[int, ...]
    draws: int = 1
    seed: int = 0
    aligned: bool = False
    care: str | None = None
    refine: int = 0
    fading: str = "block"
    pilots: int = 0
    private: str | None = None
    domain: str | None = None

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise SemcastError(f"draws must be at least 1, not {self.draws}")
        self.budgets()

    def budgets(self) -> list[Budget]:
        """Every pair of k and SNR.

        Raises:
            SemcastError: one of them is out of range.
        """
        return [Budget(symbols, snr) for symbols, snr in product(self.symbols, self.snr_db)]


@dataclass
class Outcome:
    """What became of a sweep: every record of its plan (those of earlier runs too), and why photos were skipped."""

    records: list[Record] = field(default_factory=list)
    measured: int = 0
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """The unit of work: one photo, and which of the sweep's points (by number) are to be measured on it."""

    source: Source
    points: tuple[int, ...]


@dataclass(frozen=True)
class Refused:
    """A task that cannot be done, in one sentence."""

    task: Task
    reason: str


Measure = Callable[[Iterable[Task]], Iterator[Record | Refused]]
"""Who measures: this process (:meth:`Sweep.measure`) or others (``evaluate.cluster``). The order of results is free."""


@dataclass(frozen=True)
class _Point:
    system: System
    channel: Channel
    budget: Budget
    draw: int


def fingerprint(system: System) -> str:
    """Twelve hexadecimal digits that change with any number the system computes with, but for what it derives from others."""
    return system.fingerprint()


class Sweep:
    """One plan over given systems and channels; ``run`` appends to a file what it does not hold yet.

    A point that a system cannot work with is left out; ``skipped`` has a line for each system that has such points.

    Raises:
        SemcastError: no system can work with any point.
    """

    def __init__(
        self,
        plan: Plan,
        systems: Sequence[System],
        channels: Sequence[Channel],
        metrics: Metrics,
        parser: Callable[[], FaceParser],
    ) -> None:
        self.plan, self.metrics, self.parser = plan, metrics, parser
        self.weights = {system.name: fingerprint(system) for system in systems}
        self.points, self.skipped = _possible(
            [
                _Point(system, channel, budget, draw)
                for draw, channel, budget, system in product(range(plan.draws), channels, plan.budgets(), systems)
            ]
        )
        self._warm: set[tuple[str, int]] = set()

    def run(
        self,
        sources: Sequence[Source],
        out: Path,
        *,
        force: bool = False,
        progress: Callable[[int], None] | None = None,
        measure: Measure | None = None,
    ) -> Outcome:
        """Measure every photo at every point; each record is in the file as soon as it is here.

        Args:
            sources: the photos.
            out: JSONL; where it exists it is resumed. Only this process writes it.
            force: start the file afresh.
            progress: told how many more records there are.
            measure: who measures; this process by default.

        Raises:
            SemcastError: ``out`` holds other results, or the only photo cannot be used, or none can.
        """
        earlier = resume(out) if out.exists() and not force else []
        self._check(earlier)
        tasks, there = self.missing(sources, earlier)
        outcome = Outcome(there)
        step = progress or (lambda count: None)
        step(len(there))
        with appender(out, afresh=force) as write:
            for result in (measure or self.measure)(tasks):
                if isinstance(result, Refused):
                    if result.reason not in outcome.refused:
                        outcome.refused.append(result.reason)
                    step(len(result.task.points))
                    continue
                write(result)
                outcome.records.append(result)
                outcome.measured += 1
                step(1)
        if outcome.refused and len(sources) == 1:
            raise SemcastError(outcome.refused[0])
        if not outcome.records:
            raise SemcastError(f"none of the {len(sources)} photos can be used; the first: {outcome.refused[0]}")
        return outcome

    def missing(self, sources: Sequence[Source], earlier: Sequence[Record]) -> tuple[list[Task], list[Record]]:
        """What is still to be measured, a task a photo, and the earlier records that belong to this sweep."""
        done = {record.key: record for record in earlier}
        tasks, there = [], []
        for source in sources:
            keys = [self._key(source, point) for point in self.points]
            there += [done[key] for key in keys if key in done]
            if wanted := tuple(i for i, key in enumerate(keys) if key not in done):
                tasks.append(Task(source, wanted))
        return tasks, there

    def measure(self, tasks: Iterable[Task]) -> Iterator[Record | Refused]:
        """Align each task's photo once and send it over each of its points."""
        for task in tasks:
            try:
                image = to_tensor(self._photo(task.source))
            except SemcastError as error:
                yield Refused(task, str(error))
                continue
            for done, i in enumerate(task.points):
                try:
                    yield self._record(task.source, image, self.points[i])
                except SemcastError as error:
                    if self.plan.private is None:
                        raise
                    left = replace(task, points=task.points[done:])
                    yield Refused(left, f"{task.source.name}: {error}")  # nothing but private parts in this photo, say
                    break

    def _photo(self, source: Source) -> Photo:
        if self.plan.domain is not None:
            return source.scene(domain_named(self.plan.domain))
        return source.face(None if self.plan.aligned else self._parser)[0]

    @cached_property
    def _parser(self) -> FaceParser:
        return self.parser()

    def _check(self, earlier: Sequence[Record]) -> None:
        """One file, one kind of photo and one set of weights: otherwise its lines cannot be compared."""
        for record in earlier:
            if record.domain != self.plan.domain:
                raise SemcastError(f"the results there are of the domain {record.domain or 'face'} (-f starts afresh)")
            if record.aligned != self.plan.aligned:
                was, now = ("with", "without") if record.aligned else ("without", "with")
                raise SemcastError(f"the results there were made {was} --aligned, these are {now} (-f starts afresh)")
            if self._same_system(record) and record.weights != self.weights[record.system]:
                raise SemcastError(f"the results there are of other weights of {record.system} (-f starts afresh)")

    def _same_system(self, record: Record) -> bool:
        same = record.care == self._care(record.system) and record.private == self.plan.private
        return record.system in self.weights and same

    def _care(self, system: str) -> str | None:
        return self.plan.care if system == "linear-gan" else None

    def settings(self, point: _Point) -> dict[str, object]:
        """The part of a record that says what was asked for, in the order of its key."""
        faded = point.channel.name != "awgn"
        return {
            "system": point.system.name,
            "channel": point.channel.name,
            "snr_db": point.budget.snr_db,
            "symbols": point.budget.symbols,
            "seed": self.plan.seed,
            "draw": point.draw,
            "care": self._care(point.system.name),
            "refine": self.plan.refine if point.system.name == "generative" else 0,
            "fading": self.plan.fading if faded else None,
            "pilots": self.plan.pilots if faded else 0,
            "private": self.plan.private,
            "domain": self.plan.domain,
        }

    def _key(self, source: Source, point: _Point) -> tuple[object, ...]:
        return (source.name, *self.settings(point).values())

    def _record(self, source: Source, image: Tensor, point: _Point) -> Record:
        shape = (point.system.name, point.budget.symbols)
        if shape not in self._warm:  # the first call of a shape allocates and tunes: not what a burst takes
            self._warm.add(shape)
            cross(point.system, point.channel, image, point.budget, generator_for(0, "warm"))
        generator = generator_for(self.plan.seed, source.name, point.draw)
        crossing = cross(point.system, point.channel, image, point.budget, generator)
        values = rounded(self.metrics.measure(image, crossing.reception.image))
        return Record(
            image=source.name,
            **self.settings(point),  # type: ignore[arg-type]
            aligned=self.plan.aligned,
            weights=self.weights[point.system.name],
            **values,  # type: ignore[arg-type]
            side_bytes=crossing.burst.side_bytes,
            encode_s=round(crossing.encode_s, 5),
            decode_s=round(crossing.decode_s, 5),
            ok=bool(crossing.reception.ok.all()),
        )


def _possible(points: Sequence[_Point]) -> tuple[list[_Point], list[str]]:
    """The points that their systems can work with, and for each system one line about those that it cannot."""
    possible, impossible = [], defaultdict(list)
    for point in points:
        try:
            point.channel.uses(point.budget.symbols)
            point.system.check(point.budget)
        except SemcastError as error:
            impossible[point.system.name].append((point.budget.symbols, str(error)))
        else:
            possible.append(point)
    if not possible:
        raise SemcastError(next(iter(impossible.values()))[0][1])
    lines = []
    for name, refused in impossible.items():
        symbols = ", ".join(map(str, sorted({k for k, _ in refused})))
        lines.append(f"{name} at k = {symbols} ({len(refused)} points a photo): {refused[0][1]}")
    return possible, lines


def summary(records: Sequence[Record]) -> Table:
    """Means over photos and draws, a row for each system x channel x SNR x k."""
    groups: dict[tuple[str, str, int, float], list[Record]] = {}
    for record in records:
        system = record.system + (f", {record.private}" if record.private else "")
        groups.setdefault((record.channel, system, record.symbols, record.snr_db), []).append(record)
    shown = [name for name in METRICS if any(getattr(record, name) is not None for record in records)]
    table = Table(caption="means over photos and draws (of PSNR: of the dB)")
    for heading in ("channel", "system"):
        table.add_column(heading, no_wrap=True)
    for heading in ("k", "SNR dB", *(HEADINGS[name] for name in shown), "encode ms", "decode ms", "lines"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (channel, system, symbols, snr), members in sorted(groups.items()):
        cells = [mean([getattr(r, name) for r in members], 2 if name.endswith("_db") else 3) for name in shown]
        times = [mean([1000 * getattr(r, name) for r in members], 1) for name in ("encode_s", "decode_s")]
        table.add_row(channel, system, str(symbols), f"{snr:g}", *cells, *times, str(len(members)))
    return table
