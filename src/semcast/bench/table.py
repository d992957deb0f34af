"""Results as a table: records, means for reading, data frames, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.table import Table as RichTable

from semcast.bench import codec_tables, codecs, summary
from semcast.bench.records import Line, Record
from semcast.errors import BadInput, Missing
from semcast.files import whole

L = TypeVar("L", bound=Line)


@dataclass(frozen=True)
class Table(Generic[L]):
    """What :func:`~semcast.bench.evaluate` gives.

    Attributes:
        records: one a measurement (:class:`~semcast.bench.records.Record`, or of codecs
            :class:`~semcast.bench.codecs.CodecRecord`), in the order of photos and points.
        measured: how many were measured now; the others were in the file.
        skipped: photos that could not be used and points that a system cannot serve, a sentence each.
        notes: what was left out of the metrics, a sentence each.
    """

    records: Sequence[L]
    measured: int = 0
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        who = dict.fromkeys(r.codec if isinstance(r, codecs.CodecRecord) else getattr(r, "system", "") for r in self.records)
        return f"Table({len(self)} records of {', '.join(filter(None, who)) or 'nothing'}; {len(self.skipped)} skipped)"

    def __len__(self) -> int:
        return len(self.records)

    def summary(self) -> RichTable:
        """Average over photos and draws, as a table for reading: ``rich.print(table.summary())``."""
        if self.records and isinstance(self.records[0], codecs.CodecRecord):
            return codec_tables.summary(self.records)  # type: ignore[arg-type]
        return summary.summary(self.records)  # type: ignore[arg-type]

    def to_pandas(self) -> Any:
        """Make a data frame, a row a record.

        Raises:
            Missing: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise Missing("data frames need pandas: pip install 'semcast[bench]'") from None
        kind: Any = type(self.records[0]) if self.records else Record
        rows = [asdict(record) for record in self.records]  # type: ignore[call-overload]
        return pandas.DataFrame(rows, columns=[field.name for field in fields(kind)])

    def save(self, path: Path | str) -> None:
        """Write every record: ``.jsonl`` (which :func:`~semcast.bench.evaluate` resumes) or ``.csv``.

        Raises:
            BadInput: another extension, or the file cannot be written.
            Missing: ``.csv`` without pandas.
        """
        path = Path(path)
        if path.suffix not in (".jsonl", ".csv"):
            raise BadInput(f"{path} needs the extension .jsonl or .csv")
        text = self.to_pandas().to_csv(index=False) if path.suffix == ".csv" else "".join(r.line() for r in self.records)
        with whole(path) as file:
            file.write(text.encode())
