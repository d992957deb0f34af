"""Told what a picture is for, does the codec spend for that? Each task of a domain, at equal bytes, scored by that task.

::

    rl-asc           the policy, told of the task
    rl-asc, untold   the same policy without: what telling it changes
    uniform, area    no word of the task
    area x weight    bits by cells, those of what counts several times: what one would do without a policy

J of a task (:class:`~semcast.codec.criterion.Task`) weights mIoU and LPIPS by what each category counts; the judge measures it,
which neither codec nor policy has seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
import torch

from semcast.bench.codecs import code, number
from semcast.bench.records import Line
from semcast.bench.statistics import bootstrap, group, subtract
from semcast.bench.tables import markdown
from semcast.codec.allocation import area
from semcast.codec.codec import POLICY, RlAsc
from semcast.codec.criterion import Task
from semcast.metrics.semantic import iou_of_counts
from semcast.photos import to_tensor
from semcast.source_coding import BitCodec
from semcast.sources import Source
from semcast.studies.codec_run import CodecRun
from semcast.studies.run import Point

UNTOLD, WEIGHTED = f"{POLICY}, untold", "area x weight"
COMPARED = (POLICY, UNTOLD, "uniform", "area", WEIGHTED)


@dataclass(frozen=True)
class TaskRecord(Line):
    """One photo coded for one task: ``score`` is J of the task by the judge, ``miou`` and ``lpips`` what it is made of, with what
    each category counts. ``cared`` are the categories that the task names; ``hit``, ``truth`` and ``shown`` are as in
    :class:`~semcast.bench.codecs.CodecRecord`. Where nothing fits ``ok`` is false and the picture is grey."""

    KEY: ClassVar[tuple[str, ...]] = ("image", "task", "codec", "domain", "max_bytes")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) | {"version", "bytes", "cared", "hit", "truth", "shown"}

    image: str
    task: str
    codec: str
    domain: str
    max_bytes: int
    version: str
    ok: bool
    bytes: int
    score: float | None
    miou: float | None
    lpips: float | None
    cared: list[int]
    hit: list[int]
    truth: list[int]
    shown: list[int]


def tell(run: CodecRun) -> list[TaskRecord]:
    """Code for each task, into ``tasks.jsonl`` and ``tasks.md``."""
    points = [(task, codec, run.domain, run.size.main) for task, codec in product(run.tasks, COMPARED)]
    records = run.make("tasks.jsonl", TaskRecord, run.size.task_photos, points, Teller(run))
    if records:
        run.write("tasks.md", f"{markdown(tabulate(records))}\n\n{NOTE}\n")
    return records


NOTE = (
    "J of the task, photo by photo, by the judge; IoU of all photos together, the mean of the categories that the task names. "
    "Photos of all kinds, also those that show nothing of it."
)


def tabulate(records: Sequence[TaskRecord]) -> list[list[str]]:
    """Make a row of each task and codec, with what the told policy gains on it."""
    rows = [["task", "codec", "bytes", "J of the task", "rl-asc less this", "IoU of what counts", "photos"]]
    for (task, codec), members in group(records, lambda r: (r.task, r.codec)).items():
        known = {r.image: r.score for r in members if r.score is not None}
        told = {r.image: r.score for r in records if (r.task, r.codec) == (task, POLICY) and r.score is not None}
        less = subtract(told, known).text(3) if codec != POLICY and told.keys() & known.keys() else "-"
        rows.append([
            task, codec, f"{np.mean([r.bytes for r in members if r.ok] or [0]):.0f}",
            bootstrap(list(known.values())).text(3) if known else "-", less, f"{cared_iou(members):.3f}", str(len(members)),
        ])  # fmt: skip
    return rows


def cared_iou(records: Sequence[TaskRecord]) -> float:
    """IoU of the categories that the task names, all photos together, their mean; those that are nowhere do not count."""
    counted = torch.tensor(np.sum([[r.hit, r.truth, r.shown] for r in records], 0))
    return float(iou_of_counts(counted)[records[0].cared].nanmean())


@dataclass
class Teller:
    """Makes the records of a photo."""

    run: CodecRun

    def __call__(self, source: Source, points: Sequence[Point]) -> Iterator[TaskRecord]:
        run, domain = self.run, self.run.networks.domain
        pixels, image, truth = run.photo(source)
        for task, name, kind, most in points:
            care = domain.cares_for(task)
            data, picture, *_ = code(self.codec(name, care), pixels, most)
            sent = torch.tensor([float(len(data))])
            found = run.criterion(Task.of(care)).measure(image, truth, to_tensor(picture), sent)
            hit, there, seen = found.counts[0].tolist()
            yield TaskRecord(
                image=source.name, task=task, codec=name, domain=kind, max_bytes=most, version=run.version, ok=bool(data),
                bytes=len(data), score=number(found.score), miou=number(found.miou), lpips=number(found.lpips),
                cared=sorted(care), hit=hit, truth=there, shown=seen,
            )  # fmt: skip

    def codec(self, name: str, care: dict[int, int]) -> BitCodec:
        """One of :data:`COMPARED`."""
        if name == WEIGHTED:
            return RlAsc(self.run.networks, area, name, care=care, told=True)
        return self.run.codec(POLICY if name == UNTOLD else name, care=care if name == POLICY else None)
