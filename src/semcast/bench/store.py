"""Results on disk: a JSONL file that can be resumed at any line, and that one process at a time writes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import Generic, TypeVar

from semcast.bench.records import Line, split
from semcast.errors import BadInput
from semcast.files import reason_of, whole
from semcast.stopping import unbroken

L = TypeVar("L", bound=Line)


class Store(Generic[L]):
    """The results of one file (``None``: of none, in memory), for as long as the ``with`` block lasts.

    A line that a killed run left cut short is taken off; nothing else is ever changed. Records are appended as whole lines; where
    one replaces an earlier one of its key, the file is written anew at the end of the block, whole or not at all.

    Args:
        path: the file.
        kind: of its records.
        afresh: start it anew; until the first record is added, what was there is untouched.

    Raises (when it is entered):
        BadInput: another process writes it, or it cannot be written.
        Damaged: it holds something else.
    """

    def __init__(self, path: Path | None, kind: type[L], *, afresh: bool = False) -> None:
        self.path, self.kind, self.afresh = path, kind, afresh
        self.earlier: list[L] = []
        self._file: RawIOBase | None = None
        self._replaced = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Store[L]:
        if self.path is not None:
            self._stack.enter_context(lock(self.path))
            try:
                if self.path.exists() and not self.afresh:
                    self.earlier = list({record.key: record for record in mend(self.path, self.kind)}.values())
            except BaseException:
                self._stack.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            if self._file is not None:
                self._file.close()
            if self._replaced and self.path is not None:
                found = {record.key: record for record in mend(self.path, self.kind)}
                with whole(self.path) as file:
                    file.writelines(record.line().encode() for record in found.values())

    def add(self, record: L, *, replaces: bool = False) -> None:
        """Put a record into the file, as a whole line, at once."""
        if self.path is None:
            return
        try:
            if self._file is None:
                self._file = self.path.open("wb" if self.afresh else "ab", buffering=0)
            _append(self._file, record.line().encode())
        except OSError as error:
            raise BadInput(f"{self.path} cannot be written ({reason_of(error)})") from None
        self._replaced = self._replaced or replaces


def _append(file: RawIOBase, line: bytes) -> None:
    """All of a line or, where the disk is full or somebody interrupts, nothing of it."""
    end = file.seek(0, os.SEEK_END)
    left = memoryview(line)
    try:
        while left:
            left = left[file.write(left) or 0 :]
    except BaseException:
        with contextlib.suppress(OSError):
            file.truncate(end)
        raise


def mend(path: Path, kind: type[L]) -> list[L]:
    """Read the records of an unfinished file and make it one that can be appended to: its last line whole, or gone.

    Raises:
        SemcastError: the file holds something else, or cannot be read.
    """
    records, good, size = split(path, kind)
    try:
        if good < size:
            os.truncate(path, good)
        elif good:
            with path.open("rb+", buffering=0) as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the last line is whole, only its end is missing
                    file.write(b"\n")
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({reason_of(error)})") from None
    return records


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Be the one process that writes ``path``. The operating system lets go of the lock of a process that died.

    Raises:
        BadInput: another one writes it, or its folder cannot be written.
    """
    place, held = path.with_name(f".{path.name}.lock"), None
    try:
        with unbroken():  # who is stopped here has it, or not: a file that nobody holds would be left
            while held is None:
                held = _take(path, place)
        yield
    finally:
        if held is not None:
            with unbroken(), contextlib.suppress(OSError):
                place.unlink()
            os.close(held)


def _take(path: Path, place: Path) -> int | None:
    """The descriptor of the lock that is ours now; None where its holder took the file away just before it let go."""
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({reason_of(error)})") from None
    if not _claim(descriptor):
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
        os.close(descriptor)
        who = f"process {holder}" if holder else "another process"
        raise BadInput(f"{path} is being written by {who}: wait until that has ended, or name another file")
    if not _same(descriptor, place):
        os.close(descriptor)
        return None
    with contextlib.suppress(OSError):  # a disk that is full: who holds it is then not known, the lock holds
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _same(descriptor: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), place.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _claim(descriptor: int) -> bool:
        """Lock it, if nobody has: a byte far behind what is written there, which others can then read."""
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
else:
    import fcntl

    def _claim(descriptor: int) -> bool:
        """Lock it, if nobody has."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
