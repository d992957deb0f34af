"""``python -m tests.fuzz``: fuzz for some seconds, or run an input that failed again.

Exit code 0: nothing was found; 1: something was, each kind is kept as a file; 2: the command line is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from semcast.errors import SemcastError

from .harness import Case, Failure, Tally, bound_memory, fuzz, try_case, try_command, watch
from .record import add
from .targets import TARGETS


def main(arguments: list[str]) -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60, help="of each target, on the clock")
    parser.add_argument("--seed", type=int, help="of what is drawn; a new one each time where none is given")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="folder of inputs that failed")
    parser.add_argument("--record", type=Path, metavar="X.jsonl", help="file of what runs did, and its table beside it")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run such an input again")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.replay:
        return replay(given.replay)
    if given.worker:
        return work(given)
    seed = given.seed if given.seed is not None else int.from_bytes(os.urandom(4), "big")
    code = 0
    for name in TARGETS if given.target == "all" else [given.target]:
        print(f"{name}: {given.seconds:g} s with --seed {seed}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            told = ["--target", name, "--seconds", str(given.seconds), "--seed", str(seed), "--failures", str(given.failures)]
            told += ["--record", str(given.record)] if given.record else []
            place = Path(folder)
            code |= watch([*told, "--worker", folder], place / "current.zip", name, given.failures, 40 * TARGETS[name].seconds)
    return code


def work(given: argparse.Namespace) -> int:
    """Fuzz one target in this process."""
    bound_memory()
    folder: Path = given.worker
    sys.stderr = sys.stdout  # what goes wrong here is said; decoders that talk to the terminal themselves say it to nobody
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    target = TARGETS[given.target](folder)
    end = time.monotonic() + given.seconds
    found: Tally = fuzz(
        target, Random(f"{given.target} {given.seed}"), folder, given.failures, lambda _: time.monotonic() < end,
        folder / "current.zip",
    )  # fmt: skip
    (folder / "current.zip").unlink(missing_ok=True)
    print(f"{given.target}: {found}", flush=True)
    if given.record:
        add(given.record, given.target, given.seed, time.process_time(), found)
    return 1 if found.failures else 0


def replay(path: Path) -> int:
    """Run an input that failed again, its error shown whole."""
    name = path.name.partition("-")[0]
    if name not in TARGETS:
        print(f"{path} is not called as inputs that failed are: one of {', '.join(TARGETS)} comes first", file=sys.stderr)
        return 2
    case = Case.load(path)
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](Path(folder))
        try:
            refused = try_case(target, case, Path(folder))
            try_command(target, case, Path(folder), apart=True)
        except Failure as failure:
            print(f"fails: {failure}", file=sys.stderr)
            if failure.__cause__ is not None:
                raise
            return 1
        except SemcastError as error:
            print(f"refused: {error}")
            return 0
    print("refused in a sentence" if refused else "done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
