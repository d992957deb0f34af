"""Sweep: photos x systems x channels x SNR x symbols x draws, one line of JSONL each, resumable at any line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TextIO

from rich.table import Table
from torch import Tensor

from semcast.channels import Channel
from semcast.errors import SemcastError
from semcast.evaluate.crossing import cross, data_budget, generator_for
from semcast.evaluate.photos import Source
from semcast.evaluate.records import METRICS, Record, resume, rounded
from semcast.images import to_tensor
from semcast.link import Budget, System
from semcast.metrics.report import Metrics
from semcast.semantics.parser import FaceParser


@dataclass(frozen=True)
class Plan:
    """What is measured on every photo.

    Args:
        snr_db: Es/N0 of each point in dB.
        symbols: k of each point, pilots included.
        draws: independent channels a point.
        seed: every draw follows from it, the photo's name and the draw's number.
        aligned: the photos are cropped already.
        care: for ``linear-gan``; the other systems have none.
        refine: gradient steps, for ``generative``.
        fading: ``block`` or ``fast``, for the fading channels.
        pilots: a block, for the fading channels.
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
class _Point:
    system: System
    channel: Channel
    budget: Budget
    draw: int


def fingerprint(system: System) -> str:
    """Twelve hexadecimal digits that change with any number the system computes with."""
    sha = hashlib.sha256()
    for name, tensor in sorted(system.state_dict().items()):
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return sha.hexdigest()[:12]


class Sweep:
    """One plan over given systems and channels; ``run`` appends to a file what it does not hold yet.

    Raises:
        SemcastError: a system or a channel cannot work with one of the points (said before anything is measured).
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
        self.points = [
            _Point(system, channel, budget, draw)
            for draw, channel, budget, system in product(range(plan.draws), channels, plan.budgets(), systems)
        ]
        for point in self.points:
            data_budget(point.system, point.channel, point.budget)
        self._warm: set[tuple[str, int]] = set()

    def run(
        self,
        sources: Sequence[Source],
        out: Path,
        *,
        force: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Outcome:
        """Measure every photo at every point; each record is in the file as soon as it is measured.

        Args:
            sources: the photos, aligned once each.
            out: JSONL; where it exists it is resumed.
            force: start the file afresh.
            progress: told how many more records there are.

        Raises:
            SemcastError: ``out`` holds other results, or the only photo cannot be used, or none can.
        """
        earlier = resume(out) if out.exists() and not force else []
        self._check(earlier)
        done = {record.key: record for record in earlier}
        outcome = Outcome()
        parser = None if self.plan.aligned else self.parser()
        file: TextIO | None = None  # opened with the first record: until then an old file is untouched
        with ExitStack() as stack:
            for source in sources:
                wanted = [point for point in self.points if self._key(source, point) not in done]
                outcome.records += [done[key] for p in self.points if (key := self._key(source, p)) in done]
                if progress:
                    progress(len(self.points) - len(wanted))
                if not wanted:
                    continue
                try:
                    image = to_tensor(source.face(parser)[0])
                except SemcastError as error:
                    if len(sources) == 1:
                        raise
                    outcome.refused.append(str(error))
                    if progress:
                        progress(len(wanted))
                    continue
                for record in self._measured(source, image, wanted):
                    file = file or stack.enter_context(out.open("w" if force else "a", encoding="utf-8"))
                    file.write(record.line())
                    file.flush()
                    outcome.records.append(record)
                    outcome.measured += 1
                    if progress:
                        progress(1)
        if not outcome.records:
            raise SemcastError(f"none of the {len(sources)} photos can be used; the first: {outcome.refused[0]}")
        return outcome

    def _check(self, earlier: Sequence[Record]) -> None:
        """One file, one kind of photo and one set of weights: otherwise its lines cannot be compared."""
        for record in earlier:
            if record.aligned != self.plan.aligned:
                was, now = ("with", "without") if record.aligned else ("without", "with")
                raise SemcastError(f"the results there were made {was} --aligned, these are {now} (-f starts afresh)")
            if self._same_system(record) and record.weights != self.weights[record.system]:
                raise SemcastError(f"the results there are of other weights of {record.system} (-f starts afresh)")

    def _same_system(self, record: Record) -> bool:
        return record.system in self.weights and record.care == self._care(record.system)

    def _care(self, system: str) -> str | None:
        return self.plan.care if system == "linear-gan" else None

    def _settings(self, point: _Point) -> dict[str, object]:
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
        }

    def _key(self, source: Source, point: _Point) -> tuple[object, ...]:
        return (source.name, *self._settings(point).values())

    def _measured(self, source: Source, image: Tensor, points: Sequence[_Point]) -> Iterator[Record]:
        for point in points:
            shape = (point.system.name, point.budget.symbols)
            if shape not in self._warm:  # the first call of a shape allocates and tunes: not what a burst takes
                self._warm.add(shape)
                cross(point.system, point.channel, image, point.budget, generator_for(0, "warm"))
            generator = generator_for(self.plan.seed, source.name, point.draw)
            crossing = cross(point.system, point.channel, image, point.budget, generator)
            values = rounded(self.metrics.measure(image, crossing.reception.image))
            yield Record(
                image=source.name,
                **self._settings(point),  # type: ignore[arg-type]
                aligned=self.plan.aligned,
                weights=self.weights[point.system.name],
                **values,  # type: ignore[arg-type]
                side_bytes=crossing.burst.side_bytes,
                encode_s=round(crossing.encode_s, 5),
                decode_s=round(crossing.decode_s, 5),
                ok=bool(crossing.reception.ok.all()),
            )


def summary(records: Sequence[Record]) -> Table:
    """Means over photos and draws, a row for each system x channel x SNR x k."""
    groups: dict[tuple[str, str, int, float], list[Record]] = {}
    for record in records:
        groups.setdefault((record.channel, record.system, record.symbols, record.snr_db), []).append(record)
    shown = [name for name in METRICS if any(getattr(record, name) is not None for record in records)]
    table = Table(caption="means over photos and draws (of PSNR: of the dB)")
    for heading in ("channel", "system"):
        table.add_column(heading, no_wrap=True)
    for heading in ("k", "SNR dB", *shown, "encode ms", "decode ms", "lines"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (channel, system, symbols, snr), members in sorted(groups.items()):
        cells = [_mean([getattr(r, name) for r in members], 2 if name.endswith("_db") else 3) for name in shown]
        times = [_mean([1000 * getattr(r, name) for r in members], 1) for name in ("encode_s", "decode_s")]
        table.add_row(channel, system, str(symbols), f"{snr:g}", *cells, *times, str(len(members)))
    return table


def _mean(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.{digits}f}" if known else "-"
