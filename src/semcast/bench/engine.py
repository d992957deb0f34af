"""The engine: photos x points, one line of JSONL each, resumable at any line, by one process or by many.

Links (:mod:`semcast.bench.sweep`), codecs (:mod:`semcast.bench.codecs`) and studies are kinds of :class:`Work`; who does it
(this process or the workers of :mod:`semcast.bench.cluster`) and where it is kept (:mod:`semcast.bench.store`) is the same
for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from semcast.bench.records import Line
from semcast.bench.store import Store
from semcast.errors import BadInput

L = TypeVar("L", bound=Line)
Progress = Callable[[int], None]
"""Told how many more records there are."""


class Named(Protocol):
    """A photo to come: its name in the results; ``carried`` gives the same with its bytes, for another computer."""

    @property
    def name(self) -> str: ...
    def carry(self) -> Any: ...


@dataclass(frozen=True)
class Task:
    """The unit of work: one photo, and which of its points (by number) are to be measured on it."""

    source: Any
    points: tuple[int, ...]


@dataclass(frozen=True)
class Refused:
    """A task, or what was left of it, that cannot be done, in one sentence."""

    task: Task
    reason: str


class Work(Generic[L]):
    """What is measured: subclasses say which points a photo has, and measure them."""

    kind: type[L]

    def keys(self, source: Named) -> Sequence[Hashable]:
        """List the keys (:attr:`Line.key`) of all records of a photo, a point each, in order."""
        raise NotImplementedError

    def measure(self, tasks: Iterable[Task]) -> Iterator[L | Refused]:
        """Measure each task's points, in order; one that has no result is left out, a photo that cannot be used is refused."""
        raise NotImplementedError

    def check(self, earlier: Sequence[L]) -> None:
        """Raise SemcastError where the lines of a file cannot be compared with what this would measure."""

    def accept(self, record: L) -> None:
        """Raise SemcastError where a record that was just measured must not count."""

    def lacks(self, record: L) -> bool:
        """Tell whether a line was made without a metric that can be measured now."""
        return False

    def terms(self) -> dict[str, str]:
        """Name what must be the same on two computers for their records to belong in one file."""
        return {}


@dataclass
class Outcome(Generic[L]):
    """What became of it: every record, in the order of photos and points, those of earlier runs too.

    Attributes:
        records: of this work alone, whatever else the file holds.
        measured: how many are new.
        completed: how many of those had been made without a metric.
        refused: why photos were skipped.
    """

    records: list[L] = field(default_factory=list)
    measured: int = 0
    completed: int = 0
    refused: list[str] = field(default_factory=list)


Measure = Callable[[Iterable[Task]], Iterator[Any]]
"""Who measures: this process (:meth:`Work.measure`) or others (:mod:`semcast.bench.cluster`). The order of results is free."""


def run(
    work: Work[L],
    sources: Sequence[Named],
    out: Path | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
    measure: Measure | None = None,
) -> Outcome[L]:
    """Measure every photo at every point that a file does not hold yet; each record is in the file as soon as it is here.

    Args:
        work: what is measured.
        sources: the photos.
        out: JSONL; where it exists it is resumed. None: nothing is kept.
        force: start the file afresh.
        progress: told how many more records there are.
        measure: who measures; this process by default.

    Raises:
        SemcastError: ``out`` holds other results or is being written, a record does not count, or no photo can be used.
    """
    if not sources:
        raise BadInput("there is no photo to measure")
    step = progress or (lambda count: None)
    with Store(out, work.kind, afresh=force) as store:
        work.check(store.earlier)
        known = {record.key: record for record in store.earlier}
        keys = {key: None for source in sources for key in work.keys(source)}
        old = {key for key in keys if key in known and work.lacks(known[key])}
        tasks = list(missing(work, sources, known.keys() - old))
        step(len(keys) - sum(len(task.points) for task in tasks))
        outcome: Outcome[L] = Outcome()
        for result in (measure or work.measure)(tasks):
            if isinstance(result, Refused):
                if result.reason not in outcome.refused:
                    outcome.refused.append(result.reason)
                step(len(result.task.points))
                continue
            work.accept(result)
            store.add(result, replaces=result.key in old)
            known[result.key] = result
            outcome.measured += 1
            outcome.completed += result.key in old
            step(1)
    outcome.records = [known[key] for key in keys if key in known]
    _check_some(outcome, len(sources))
    return outcome


def missing(work: Work[L], sources: Sequence[Named], there: Iterable[Hashable]) -> Iterator[Task]:
    """List what is still to be measured, a task a photo."""
    done = set(there)
    for source in sources:
        if wanted := tuple(i for i, key in enumerate(work.keys(source)) if key not in done):
            yield Task(source, wanted)


def _check_some(outcome: Outcome[L], photos: int) -> None:
    if not outcome.refused or outcome.records:
        return
    if photos == 1:
        raise BadInput(outcome.refused[0])
    raise BadInput(f"none of the {photos} photos can be used; the first: {outcome.refused[0]}")
