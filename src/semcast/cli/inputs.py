"""Many inputs and their outputs: files, folders and ``-``, checked before anything is loaded; a bad one stops no other."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from semcast.cli.console import complain, say
from semcast.errors import BadInput, Missing, SemcastError, Unfinished
from semcast.files import reason_of

STREAM = Path("-")
"""stdin as an input, stdout as an output."""
MAX_STDIN = 1 << 30
FEW = 5
"""Names of files that are left out, as many as are shown."""

Check = Callable[[Path], None]
"""Raises SemcastError where a file cannot be written."""


@dataclass(frozen=True)
class Item:
    """One input, and where what is made of it goes.

    Args:
        path: of the input; ``-`` for stdin.
        out: of the output; None where there is none, ``-`` for stdout.
        streams: which of both are a temporary file that stands for stdin or stdout.
    """

    path: Path
    out: Path | None = None
    streams: Collection[str] = ()

    @property
    def name(self) -> str:
        """What sentences call it."""
        return "stdin" if self.path == STREAM or "stdin" in self.streams else str(self.path)

    @property
    def out_name(self) -> str:
        """What sentences call its output."""
        return "stdout" if "stdout" in self.streams else str(self.out)

    @property
    def stem(self) -> str:
        """The beginning of its output's name."""
        return "stdin" if self.path == STREAM else self.path.stem


def check_input(path: Path) -> None:
    """Raise SemcastError where there is nothing at a path that could be read."""
    try:
        if not path.exists():
            raise Missing(f"{path} does not exist")
        if path.is_dir():
            raise BadInput(f"{path} is a folder, not a file")
        if not os.access(path, os.R_OK):
            raise Missing(f"{path} cannot be read: no permission")
    except (OSError, ValueError) as error:
        raise Missing(f"{path} cannot be read ({reason_of(error)})") from None


def check_inputs(paths: Sequence[Path]) -> None:
    """Raise SemcastError where one of several files or folders is not there."""
    for path in paths:
        if not path.is_dir():
            check_input(path)


def find_inputs(paths: Sequence[Path], suffixes: Collection[str]) -> tuple[list[Path], bool]:
    """Every file that was named or is in a folder that was named (not in its subfolders), and whether they count as several.

    What in a folder does not count (masks beside photos, hidden files, subfolders, other kinds) is said.

    Raises:
        SemcastError: a folder holds no such file or cannot be read, or stdin is named twice.
    """
    from semcast.photos import MASK

    def counts(file: Path) -> bool:
        return file.suffix.lower() in suffixes and file.name[0] != "." and not file.name.lower().endswith(MASK)

    found: list[Path] = []
    for path in paths:
        try:
            folder = path != STREAM and path.is_dir()
            files = sorted(path.iterdir()) if folder else [path]
            inside = [file for file in files if not folder or counts(file)]
        except (OSError, ValueError) as error:
            raise Missing(f"{path} cannot be read ({reason_of(error)})") from None
        if not inside:
            raise BadInput(f"the folder {path} holds nothing that this verb takes")
        _say_left_out(path, [file for file in files if folder and not counts(file)])
        found += inside
    if found.count(STREAM) > 1:
        raise BadInput("stdin can be read once: give - once")
    return found, len(found) > 1 or found != list(paths)


def _say_left_out(folder: Path, files: Sequence[Path]) -> None:
    if files:
        shown = ", ".join(file.name for file in files[:FEW]) + (", ..." if len(files) > FEW else "")
        say(f"{len(files)} of {folder} left out, not taken by their names: {shown}")


def pair(
    paths: Sequence[Path], suffixes: Collection[str], out: Path | None, ending: str, beside: str | None = None
) -> Batch:
    """Give each input its output; of several inputs ``out`` is the folder, made where it is not there.

    Args:
        paths: files, folders, ``-``.
        suffixes: of the files of a folder that count, in any case.
        out: a file, a folder for several inputs, ``-``, or None.
        ending: of an output's name in a folder, after its input's stem.
        beside: the same of outputs in the folder one is in, where ``out`` is None; None: there are none then.

    Raises:
        SemcastError: as :func:`find_inputs`; or several inputs and one output, or two with the same output.
    """
    found, several = find_inputs(paths, suffixes)
    if out is None and beside is not None:
        return Batch(_apart([Item(path, Path(f"{Item(path).stem}{beside}")) for path in found]), several)
    if out is None or not several:
        return Batch([Item(path, out) for path in found], several)
    if out == STREAM or (out.exists() and not out.is_dir()) or (out.suffix and not out.exists()):
        raise BadInput(f"of several inputs -o names a folder, not {out}")
    items = _apart([replace(item, out=out / f"{item.stem}{ending}") for item in map(Item, found)])
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise BadInput(f"the folder {out} cannot be made ({reason_of(error)})") from None
    return Batch(items, several)


def _apart(items: Sequence[Item]) -> Sequence[Item]:
    """The same, where no two have one output."""
    first: dict[Path | None, Item] = {}
    for item in items:
        if first.setdefault(item.out, item) is not item:
            raise BadInput(f"{first[item.out].name} and {item.name} would both become {item.out}: do them apart")
    return items


class Batch:
    """Inputs that a verb works through; of several, one that cannot be done is said and stops no other.

    Args:
        items: the inputs and their outputs.
        several: a folder or more than one file was named.
    """

    def __init__(self, items: Sequence[Item], several: bool) -> None:
        self.items, self.several, self.count = list(items), several, len(items)

    def check(self, check: Check) -> None:
        """Ask of every item whether it can be done, before anything is loaded; those that cannot are left out.

        Args:
            check: raises SemcastError where an output cannot be written.

        Raises:
            SemcastError: none is left.
        """
        self.items = [item for item in self.items if self._tried(lambda item=item: _check_item(item, check))]  # type: ignore[misc]
        if not self.items:
            self._finish()

    def work_through(self, work: Callable[[Item], None], ending: str = "") -> None:
        """Do the work of every item.

        Args:
            ending: of the temporary file that stands for stdout.

        Raises:
            SemcastError: the only one failed, or in the end: so many of several did.
        """
        done = 0
        for item in self.items:
            done += self._tried(lambda item=item: _do(item, work, ending))  # type: ignore[misc]
        if done < self.count:
            self._finish(done)

    def _tried(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except SemcastError as error:
            if not self.several:
                raise
            complain(error)
            return False
        return True

    def _finish(self, done: int = 0) -> None:
        raise Unfinished(f"{self.count - done} of {self.count} files could not be done" + (", the others are" if done else ""))


def _check_item(item: Item, check: Check) -> None:
    if item.out is not None and item.out != STREAM:
        check(item.out)
        if item.path != STREAM and _are_one(item.out, item.path):
            raise BadInput(f"{item.out} is the input itself: name another output")
    if item.out == STREAM and sys.stdout.isatty():
        raise BadInput("a terminal cannot show what -o - writes: pipe it into something")
    if item.path != STREAM:
        check_input(item.path)


def _are_one(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return False


def _do(item: Item, work: Callable[[Item], None], ending: str) -> None:
    """Work on an item, with files for its streams; what stdout's holds in the end is written there."""
    if STREAM not in (item.path, item.out):
        work(item)
        return
    with tempfile.TemporaryDirectory() as name:
        folder, ready = Path(name), item
        if item.path == STREAM:
            ready = replace(ready, path=folder / "stdin", streams=("stdin",))
            ready.path.write_bytes(_read_stdin())
        if item.out == STREAM:
            ready = replace(ready, out=folder / f"stdout{ending}", streams=(*ready.streams, "stdout"))
        try:
            with redirect_stdout(sys.stderr) if item.out == STREAM else nullcontext():  # no table between the bytes
                work(ready)
        except SemcastError as error:
            raise type(error)(str(error).replace(f"{folder}{os.sep}", "")) from None
        if item.out == STREAM:
            sys.stdout.flush()
            sys.stdout.buffer.write((folder / f"stdout{ending}").read_bytes())
            sys.stdout.buffer.flush()


def _read_stdin() -> bytes:
    data = b"" if sys.stdin is None else sys.stdin.buffer.read(MAX_STDIN + 1)
    if len(data) > MAX_STDIN:
        raise BadInput("stdin holds over a gigabyte: nothing here is that long")
    return data
