"""Results → Markdown: every number in the documents comes out of a results file through here.

``python -m semcast.bench.tables results/link-test.jsonl README.md`` replaces what stands between
``<!-- results/link-test.jsonl -->`` and ``<!-- end -->`` in README.md. A ``.md`` file (the tables of ``semcast reproduce``) goes
in as it is, a ``.png`` or ``.svg`` as a picture.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semcast.bench import codecs
from semcast.bench.records import HEADINGS, METRICS, Record, mean, read


def means(records: Sequence[Record]) -> str:
    """A table of means: a row for each k x SNR x system (and preset), in that order."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        name = record.system + (f" ({record.care})" if record.care else "")
        name += f", refine {record.refine}" if record.refine else ""
        name += f", {record.private}" if record.private else ""
        groups.setdefault((record.channel, record.symbols, record.snr_db, name), []).append(record)
    shown = [m for m in METRICS if any(getattr(r, m) is not None for r in records)]
    rows = [["channel", "k", "SNR dB", "system", *(HEADINGS[m] for m in shown), "photos"]]
    for key, group in sorted(groups.items()):
        cells = [mean([getattr(r, m) for r in group], 2 if m == "psnr_db" else 3) for m in shown]
        rows.append([*map(_text, key), *cells, str(len(group))])
    return markdown(rows)


def nested(values: dict[str, Any]) -> str:
    """A JSON report as tables: one for each section, its rows by name."""
    sections = []
    for name, section in values.items():
        if not isinstance(section, dict):
            sections.append(f"{name}: {section}")
            continue
        if all(isinstance(row, dict) for row in section.values()):
            columns = list(dict.fromkeys(key for row in section.values() for key in row))
            rows = [[name, *columns]] + [[key, *(_text(row.get(c, "")) for c in columns)] for key, row in section.items()]
        else:
            rows = [[name, ""]] + [[key, _text(value)] for key, value in section.items()]
        sections.append(markdown(rows))
    return "\n\n".join(sections)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells (the first is the heading) as a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def render(path: Path, document: Path = Path("README.md")) -> str:
    """What a document shows of a results file: records, a report, a ready table, or a picture with its place from there."""
    if path.suffix in (".png", ".svg"):
        return f"![{path.stem}]({Path(os.path.relpath(path, document.parent)).as_posix()})"
    if path.suffix == ".md":
        return path.read_text().strip()
    if path.suffix == ".json":
        return nested(json.loads(path.read_text()))
    with path.open() as file:
        of_codecs = '"codec": ' in file.readline()
    return markdown([codecs.HEADING, *codecs.rows(read(path, codecs.CodecRecord))]) if of_codecs else means(read(path))


def insert(document: str, marker: str, table: str) -> str:
    """The document with the text between its markers replaced; unchanged where it has none."""
    pattern = re.compile(rf"(<!-- {re.escape(marker)} -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda match: match[1] + table + "\n" + match[2], document)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    source, *documents = map(Path, sys.argv[1:])
    for document in documents:
        document.write_text(insert(document.read_text(), source.as_posix(), render(source, document)))
    if not documents:
        print(render(source))
