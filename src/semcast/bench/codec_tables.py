"""Records of codecs as a table: a row for each budget and codec, and columns for what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.table import Table

from semcast.bench.codecs import CodecRecord, Original, set_miou
from semcast.bench.records import mean
from semcast.bench.statistics import group

HEADING = (
    "budget", "codec", "labels", "bytes", "mIoU", "95 %", "mIoU a photo", "LPIPS-squeeze", "PSNR dB", "J", "encode ms",
    "decode ms", "photos", "failed",
)  # fmt: skip


STRANGERS = {"hit_2": "mIoU, stranger", "efficientnet": "EfficientNet", "identity_3": "identity, stranger"}
"""Columns of judges that nothing here was made with, where they judged."""


def as_rows(records: Sequence[CodecRecord]) -> list[list[str]]:
    """The headings, and a row for each budget x codec, best mIoU first; the original above all."""
    besides = [field for field in STRANGERS if any(getattr(record, field) is not None for record in records)]
    return [[*HEADING, *(STRANGERS[field] for field in besides)], *_rows(records, besides)]


def _rows(records: Sequence[CodecRecord], besides: Sequence[str]) -> list[list[str]]:
    def by(record: CodecRecord) -> tuple[int, str, str]:
        return record.max_bytes, record.codec + (f", {record.care}" if record.care else ""), record.reference

    found = []
    for (most, codec, reference), members in group(records, by).items():
        miou = set_miou(members) if members[0].hit else None
        raw = codec == Original.name
        cells = [
            "-" if raw else str(most), codec, reference,
            mean([m.bytes for m in members], 0), f"{miou.mean:.3f}" if miou else "-",
            f"{miou.low:.3f}-{miou.high:.3f}" if miou else "-",
            mean([m.miou for m in members], 3), mean([m.lpips_squeeze for m in members], 3),
            "-" if raw else mean([m.psnr_db for m in members], 2), "-" if raw else mean([m.rsp for m in members], 3),
            *("-" if raw else mean([1000 * seconds for seconds in times], 1)
              for times in ([m.encode_s for m in members], [m.decode_s for m in members])),
            str(len(members)), str(sum(not m.ok for m in members)), *(_stranger(members, field) for field in besides),
        ]  # fmt: skip
        found.append(((not raw, most, reference, -miou.mean if miou else 0.0), cells))
    return [cells for _, cells in sorted(found, key=lambda pair: pair[0])]


def _stranger(members: Sequence[CodecRecord], field: str) -> str:
    if field != "hit_2":
        return mean([getattr(member, field) for member in members], 3)
    counted = [replace(m, hit=m.hit_2, shown=m.shown_2) for m in members if m.hit_2 is not None and m.shown_2 is not None]
    return f"{set_miou(counted, draws=1).mean:.3f}" if counted else "-"


def summary(records: Sequence[CodecRecord]) -> Table:
    """The same as a table for reading."""
    table = Table(caption="mIoU: of all photos together; everything else: means over photos (of PSNR: of the dB); budgets: bytes")
    headings, *rows = as_rows(records)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("codec", "labels") else "right", no_wrap=True)
    for cells in rows:
        table.add_row(*cells)
    return table
