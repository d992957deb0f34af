"""What runs of the fuzzer did, kept beside the other results: a line a run, and the table that sums them up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from .harness import Tally

HEADING = """# Fuzzing

How many inputs each target was given so far, by `python -m tests.fuzz --record results/fuzzing.jsonl` (a line of that file is a
run). An input that is refused ended in one sentence; a kind of failure is anything but a result or a sentence. What failed once
is mended and has a test.

"""
COLUMNS = (
    "target", "inputs", "refused", "through the command line", "in a process of its own", "processor s", "kinds of failure",
)  # fmt: skip


def add(path: Path, target: str, seed: int, seconds: float, tally: Tally) -> None:
    """Append a run, and write the table of all of them beside the file."""
    line = {
        "target": target, "seed": seed, "processor_seconds": round(seconds), "inputs": tally.inputs, "refused": tally.refused,
        "command_lines": tally.command_lines, "processes": tally.processes, "failures": sorted(tally.failures),
        "kinds": dict(sorted(tally.kinds.items())),
    }  # fmt: skip
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    path.with_suffix(".md").write_text(tabulate(path), encoding="utf-8")


def tabulate(path: Path) -> str:
    """The table of a file of runs, a row a target and their sum."""
    sums: dict[str, Counter[str]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        for name in (line["target"], "all"):
            counts = sums.setdefault(name, Counter())
            counts.update({key: line[key] for key in ("inputs", "refused", "command_lines", "processes", "processor_seconds")})
            counts["failures"] += len(line["failures"])
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    for name in [*sorted(sums.keys() - {"all"}), "all"]:
        c = sums[name]
        numbers = (c["inputs"], c["refused"], c["command_lines"], c["processes"], c["processor_seconds"], c["failures"])
        rows.append((name, *map(str, numbers)))
    return HEADING + "".join(f"| {' | '.join(row)} |\n" for row in rows)
