"""Runs a target on input after input, each under a limit of time and memory, and keeps what fails so that it can be run again."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Protocol

from tests.yardstick import slowness

from semcast.errors import SemcastError

ROOT = Path(__file__).resolve().parents[2]
COMMAND_LINE_EVERY, PROCESS_EVERY = 40, 1000
"""Of so many inputs one goes through the command line as well, and one through a process of its own."""
ADDRESS_SPACE = 12 << 30
"""Bytes that a run may ask the operating system for at most, so that a failure costs no computer."""


@dataclass(frozen=True)
class Case:
    """One input: files by name, the first of which is named to whoever reads them, and what kind of input it is."""

    kind: str
    files: Mapping[str, bytes]

    @property
    def first(self) -> str:
        """The name of the file that is opened."""
        return next(iter(self.files))

    def write(self, folder: Path) -> Path:
        """Put the files into a folder, which is emptied before; the first."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder / self.first

    def save(self, path: Path) -> None:
        """As one file."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.comment = self.kind.encode()
            for name, data in self.files.items():
                file.writestr(zipfile.ZipInfo(name), data)

    @classmethod
    def load(cls, path: Path) -> Case:
        """What :meth:`save` wrote."""
        with zipfile.ZipFile(path) as file:
            return cls(file.comment.decode(), {name: file.read(name) for name in file.namelist()})


class Target(Protocol):
    """What is fuzzed."""

    name: str
    seconds: float
    """Of processor time that one input may take."""
    megabytes: int
    """That one input may take at its peak, over what was held before it."""

    def draw(self, random: Random) -> Case:
        """The next input."""

    def run(self, case: Case, path: Path) -> None:
        """Do with it what semcast does; raises SemcastError where it is refused."""

    def command(self, case: Case, path: Path, out: Path) -> list[str] | None:
        """The arguments of a command line that reads it; None where there is none."""


class Slow(BaseException):
    """An input took more than its time: no ``except Exception`` on the way stops it."""


class Failure(Exception):
    """What must not happen: the message says what did."""


@dataclass
class Tally:
    """What a run did."""

    kinds: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    command_lines: int = 0
    processes: int = 0
    failures: dict[str, Path] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """How many there were."""
        return sum(self.kinds.values())

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return (
            f"{self.inputs} inputs ({kinds}): {self.refused} refused, {self.command_lines} through the command line, "
            f"{self.processes} through a process of its own, {len(self.failures)} kinds of failure"
        )


# ---- one input -------------------------------------------------------------------------------------------------------


_slowness = cache(slowness)  # of a run: measured once, not at each input


@contextlib.contextmanager
def limits(seconds: float, megabytes: int) -> Iterator[None]:
    """Raise :class:`Slow` or :class:`Failure` where the block takes more processor time (by a usual machine's) or memory."""
    seconds *= _slowness()

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise Slow

    before = signal.signal(signal.SIGPROF, late)
    held = _reset_peak()
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    except Slow:
        raise Failure(f"took over {seconds:g} s of processor time") from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if held and (peak := _memory("VmHWM") - held) > megabytes << 20:
        raise Failure(f"took {peak >> 20} MB, over {megabytes}")


def _reset_peak() -> int:
    """Forget the peak so far, where the operating system can; bytes held now, 0 where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _memory("VmRSS")
    except OSError:
        return 0


def _memory(what: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) << 10
    return 0


def try_case(target: Target, case: Case, folder: Path) -> bool:
    """Run one input; whether it was refused.

    Raises:
        Failure: it was neither refused in a sentence nor done.
    """
    path = case.write(folder / "in")
    refused = False
    try:
        with limits(target.seconds, target.megabytes):
            target.run(case, path)
    except SemcastError as error:
        refused = True
        _check_sentence(str(error))
    except Failure:
        raise
    except (Exception, RecursionError, MemoryError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise Failure(f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {str(error)[:200]}") from error
    return refused


def _check_sentence(text: str) -> None:
    if not text or len(text) > 4000 or "Traceback" in text:
        raise Failure(f"refused with no sentence to read: {text[:200]!r}")


def try_command(target: Target, case: Case, folder: Path, apart: bool) -> bool:
    """Run the command line on one input, in a process of its own or in this one; false where the input has no command line.

    Raises:
        Failure: it ended otherwise than with 0 or 2, or the input is not what it was.
    """
    path, out = case.write(folder / "in"), folder / "out"
    out.mkdir(exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    arguments = target.command(case, path, out)
    if arguments is None:
        return False
    code, err = _in_process(arguments, folder) if apart else _here(arguments, target)
    lines = [line for line in err.splitlines() if line.startswith("semcast: ")]
    if code not in (0, 2) or "Traceback" in err or "Warning: " in err or (code == 2 and len(lines) != 1):
        raise Failure(f"the command line ended with {code} and said {err[:300]!r}")
    for name, data in case.files.items():
        if (folder / "in" / name).read_bytes() != data:
            raise Failure(f"the command line changed {name}")
    if code == 2 and (left := [each.name for each in out.iterdir()]):
        raise Failure(f"the command line refused the input and left {left}")
    return True


def _in_process(arguments: list[str], folder: Path) -> tuple[int, str]:
    try:
        done = subprocess.run([sys.executable, "-m", "semcast", *arguments], cwd=folder, capture_output=True, timeout=600)
    except subprocess.TimeoutExpired:
        raise Failure("the command line did not end") from None
    return done.returncode, done.stderr.decode("utf-8", "replace")


def _here(arguments: list[str], target: Target) -> tuple[int, str]:
    from semcast.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), limits(4 * target.seconds, 2 * target.megabytes):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    err.flush()
    return int(code or 0), err.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]


# ---- many ------------------------------------------------------------------------------------------------------------


def fuzz(
    target: Target, random: Random, folder: Path, failures: Path, more: Callable[[int], bool], current: Path | None = None
) -> Tally:
    """Input after input while ``more`` of the number so far says so; the first failure of each kind is kept.

    Args:
        folder: for the files of one input.
        failures: where those that fail are kept.
        current: where each input lies while it runs, for whoever watches over this process.
    """
    tally = Tally()
    while more(tally.inputs):
        case = target.draw(random)
        tally.kinds[case.kind] += 1
        if current is not None:
            case.save(current)
        try:
            tally.refused += try_case(target, case, folder)
            if tally.inputs % COMMAND_LINE_EVERY == 0:
                apart = tally.inputs % PROCESS_EVERY == 0
                done = try_command(target, case, folder, apart)
                tally.command_lines, tally.processes = tally.command_lines + done, tally.processes + (done and apart)
        except Failure as failure:
            what = f"{case.kind}: {failure}"
            if (kind := _kind_of(what)) not in tally.failures:
                tally.failures[kind] = keep(case, target.name, failures)
                print(f"{target.name}: {what}\n  kept as {tally.failures[kind]}", flush=True)
    return tally


def _kind_of(text: str) -> str:
    """What failures of one kind have in common: the sentence without its numbers."""
    return re.sub(r"\d+", "#", text)[:80]


def keep(case: Case, target: str, failures: Path) -> Path:
    """Keep an input that failed."""
    failures.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(b"".join(case.files.values())).hexdigest()[:10]
    path = failures / f"{target}-{case.kind}-{name}.zip"
    case.save(path)
    return path


def bound_memory() -> None:
    """Let this process ask for no more than :data:`ADDRESS_SPACE`."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, resource.getrlimit(resource.RLIMIT_AS)[1]))


def watch(arguments: list[str], current: Path, target: str, failures: Path, patience: float) -> int:
    """Run a worker, and keep the input at which it dies or stands still; its exit code, 1 where it had to be ended.

    A crash of a library's own code, or a loop in it that no signal reaches, ends no worker in an orderly way.
    """
    worker = subprocess.Popen([sys.executable, "-m", "tests.fuzz", *arguments], cwd=ROOT, env=os.environ)
    why = ""
    while worker.poll() is None:
        time.sleep(0.5)
        if current.exists() and time.time() - current.stat().st_mtime > patience:
            worker.kill()
            why = f"stood still for {patience:g} s"
    code = worker.wait()
    if code not in (0, 1) and not why:
        why = f"ended the process with {code}"
    if why and current.exists():
        failures.mkdir(parents=True, exist_ok=True)
        kept = failures / f"{target}-dead-{int(time.time())}.zip"
        current.rename(kept)
        print(f"{target}: an input {why}\n  kept as {kept}", flush=True)
    return 1 if why else code
