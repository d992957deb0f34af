"""Where meaning is lost on the way: to the parser, to a coarse layout, or to the painter; and what a finer layout would bring.

::

    judge on the photo       what can be read in it at all
    parser                   what the sender sees, at every pixel
    layout, S places a side  the same reduced to what is sent, S = 128 finer than any layout that is sent
    pictures                 what the judge reads in what the receiver paints

each against the labels of the photo.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from semcast.bench.codecs import CodecRecord, Counted, set_miou
from semcast.bench.records import Line
from semcast.bench.statistics import group
from semcast.bench.tables import markdown
from semcast.codec.codec import POLICY
from semcast.codec.concepts import SIDES, SIZE
from semcast.metrics.semantic import counts, iou_of_counts
from semcast.networks.precision import mixed
from semcast.sources import Source
from semcast.studies.codec_run import CodecRun
from semcast.studies.run import Point

JUDGE, PARSER = "judge on the photo", "parser"
FINER = 128
"""Places a side that no layout has."""
STEPS = (JUDGE, PARSER, *(f"layout, {side} places a side" for side in (FINER, *reversed(SIDES))))


@dataclass(frozen=True)
class LayoutRecord(Line):
    """One photo at one of :data:`STEPS`: pixels as in :class:`~semcast.bench.codecs.CodecRecord`, and ``bytes`` of the layout.

    Those are None where there is none that could be sent.
    """

    KEY: ClassVar[tuple[str, ...]] = ("image", "step", "domain")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) | {"version", "hit", "truth", "shown"}

    image: str
    step: str
    domain: str
    version: str
    bytes: float | None
    hit: list[int]
    truth: list[int]
    shown: list[int]


def lose(run: CodecRun, rates: Sequence[CodecRecord]) -> list[LayoutRecord]:
    """Measure what each step keeps of the labels, into ``layouts.jsonl`` and ``layouts.md``.

    Args:
        rates: of the codec, for what is painted.
    """
    records = run.make("layouts.jsonl", LayoutRecord, len(run.sources), [(step, run.domain) for step in STEPS], Loser(run))
    if records:
        run.write("layouts.md", f"{markdown(tabulate(run, records, rates))}\n\n{NOTE}\n")
    return records


NOTE = "Against the labels of the photos, all photos together; bytes: of the layout alone, or of the whole file."


def tabulate(run: CodecRun, records: Sequence[LayoutRecord], rates: Sequence[CodecRecord]) -> list[list[str]]:
    """Make a row of each step, then one of what is painted at each budget that is named."""
    task = run.tasks[0]
    rows = [["", "mIoU", f"IoU of what counts for {task}", "bytes"]]
    for step, members in group(records, lambda record: record.step).items():
        spent = [r.bytes for r in members if r.bytes is not None]
        rows.append([step, *_cells(run, task, members), f"{np.mean(spent):.0f}" if spent else "-"])
    for most in run.size.named:
        painted = [r for r in rates if (r.codec, r.max_bytes) == (POLICY, most)]
        if painted:
            cells = _cells(run, task, painted)
            rows.append([f"pictures, {most} bytes", *cells, f"{np.mean([r.bytes for r in painted if r.ok] or [0]):.0f}"])
    return rows


def _cells(run: CodecRun, task: str, records: Sequence[Counted]) -> list[str]:
    """mIoU of the set, and the mean IoU of what counts for a task."""
    counted = torch.tensor(np.sum([[r.hit, r.truth, r.shown] for r in records], 0))
    cared = sorted(run.labels.cares_for(task))
    return [set_miou(records).text(3), f"{float(iou_of_counts(counted)[cared].nanmean()):.3f}"]


@dataclass
class Loser:
    """Makes the records of a photo."""

    run: CodecRun

    @torch.no_grad()
    def __call__(self, source: Source, points: Sequence[Point]) -> Iterator[LayoutRecord]:
        run, networks, classes = self.run, self.run.networks, len(self.run.networks.domain.classes)
        _, image, truth = run.photo(source)
        with mixed(image.device):
            shares = networks.parser(image).float().softmax(1)
        labels, spent = {JUDGE: run.judge.labels(image), PARSER: shares.argmax(1)}, dict[str, float]()
        for step, side in zip(STEPS[2:], (FINER, *reversed(SIDES)), strict=True):
            layout = F.adaptive_avg_pool2d(shares, side).argmax(1)
            labels[step] = F.interpolate(layout[:, None].float(), SIZE, mode="nearest")[:, 0].long()
            if side in SIDES:
                spent[step] = networks.tables.layouts[side].cost_bits(layout[0].to(torch.uint8).numpy()) / 8
        for step, domain in points:
            hit, there, seen = counts(labels[step], truth, classes)[0].tolist()
            yield LayoutRecord(
                image=source.name, step=step, domain=domain, version=run.version,
                bytes=round(spent[step], 1) if step in spent else None, hit=hit, truth=there, shown=seen,
            )  # fmt: skip
