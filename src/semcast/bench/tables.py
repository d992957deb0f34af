"""Results → Markdown: every number in the documents comes out of a results file through here.

What stands between ``<!-- results/link-test.jsonl -->`` and ``<!-- end -->`` in a document is rendered from that file. A ``.md``
file (the tables of ``semcast reproduce``) goes in as it is, a ``.png`` or ``.svg`` as a picture.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semcast.bench import codec_tables, codecs
from semcast.bench.records import Record, read
from semcast.bench.statistics import group
from semcast.bench.summary import Columns, power_notes
from semcast.errors import Missing


def means(records: Sequence[Record]) -> str:
    """Make a table of means: a row for each k x SNR x system (and preset), and below it what is to say of power."""
    def by(record: Record) -> tuple[Any, ...]:
        name = record.system + (f" ({record.care})" if record.care else "")
        name += f", refine {record.refine}" if record.refine else ""
        name += f", {record.private}" if record.private else ""
        return record.channel, record.symbols, record.snr_db, name

    columns = Columns.of(records)
    rows = [["channel", "k", "SNR dB", "system", *columns.headings, "photos"]]
    for key, members in sorted(group(records, by).items()):
        rows.append([*map(_text, key), *columns.cells(members), str(len(members))])
    return "\n\n".join([markdown(rows), *power_notes(records)])


def as_tables(values: dict[str, Any]) -> str:
    """Show a JSON report as tables: one for each section, its rows by name."""
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
    """Make a Markdown table of rows of cells, the first of them the heading."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def render(path: Path, document: Path = Path("README.md"), text: str | None = None) -> str:
    """Show a results file in a document: records, a report, a ready table, or a picture with its place from there.

    Args:
        text: what a table says now, where that is not what the file holds yet.
    """
    if path.suffix in (".png", ".svg"):
        return f"![{path.stem}]({Path(os.path.relpath(path, document.parent)).as_posix()})"
    if path.suffix == ".md":
        return (path.read_text() if text is None else text).strip()
    if path.suffix == ".json":
        return as_tables(json.loads(path.read_text()))
    with path.open() as file:
        of_codecs = '"codec": ' in file.readline()
    return markdown(codec_tables.as_rows(read(path, codecs.CodecRecord))) if of_codecs else means(read(path))


def fill(document: Path, root: Path, fresh: Mapping[Path, str]) -> str:
    """Give a document with everything between its markers as it is now.

    Args:
        root: where the markers' paths begin.
        fresh: what tables say, by file, where the files are not written yet.

    Raises:
        Missing: the document, or a file that it shows, is not there.
    """
    def show(match: re.Match[str]) -> str:
        path = root / match[2]
        if path not in fresh and not path.is_file():
            raise Missing(f"{document} shows {match[2]}, which is not there")
        return match[1] + render(path, document, fresh.get(path)) + "\n" + match[3]

    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise Missing(f"{document} cannot be read ({error.strerror})") from None
    return re.sub(r"(<!-- (results/\S+) -->\n).*?(<!-- end -->)", show, text, flags=re.DOTALL)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
