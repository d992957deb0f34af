"""Files: written whole or not at all, and asked about before any work is done."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from semcast.errors import BadInput, Missing
from semcast.stopping import unbroken

LONGEST = 300
"""Characters of what a library says that are passed on."""


_ERRORS = 2
"""The file descriptor of stderr."""
_HUSHED = threading.RLock()


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Without what libraries in C print about a damaged file beside the error that they raise: the sentence is ours."""
    with _HUSHED:
        try:
            kept = os.dup(_ERRORS)
        except OSError:  # closed
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), _ERRORS)
            yield
        finally:
            os.dup2(kept, _ERRORS)
            os.close(kept)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which replaces what is at ``path`` only when the block has ended well.

    Raises:
        BadInput: it cannot be written; what was at ``path`` is then as it was.
    """
    # A name of its own and short: the one asked for may be as long as the file system allows, and two may write at once.
    part = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be written ({reason_of(error)})") from None
    finally:
        with unbroken(), contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all.

    Raises:
        BadInput: it cannot be written; what was at ``path`` is then as it was.
    """
    with whole(path) as file:
        file.write(text.encode())


def check_file(path: Path, force: bool, suffix: str) -> None:
    """Whether a file with that extension can be written there, asked before any work is done.

    Raises:
        SemcastError: another extension, a folder, no such folder, no permission, or it exists and ``force`` is false.
    """
    check_place(path, (suffix,), force, f"the extension {suffix}")


def check_place(path: Path, suffixes: Collection[str], force: bool, needed: str) -> None:
    """Whether a file with one of those extensions can be written there; ``needed`` says which ones in the sentence that refuses.

    Raises:
        SemcastError: another extension, a folder, no such folder, no permission, a link in a circle, or it exists and ``force``
            is false.
    """
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder: name a file in it")
        if path.suffix.lower() not in suffixes:
            raise BadInput(f"{path} needs {needed}")
        if not path.parent.is_dir():
            raise Missing(f"the folder {path.parent} does not exist")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise BadInput(f"{path} cannot be written: no permission to write in {path.parent}")
        try:
            path.stat()
        except FileNotFoundError:
            return
        if not force:
            raise BadInput(f"{path} exists already (force overwrites it)")
        if not os.access(path, os.W_OK):
            raise BadInput(f"{path} cannot be overwritten: it is read-only")
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be written ({reason_of(error)})") from None


def reason_of(error: BaseException) -> str:
    """An error in a few words: the first line of what it says, cut where it is long (a library may quote the file)."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return _cut(lines[0], LONGEST)


def quote(value: object) -> str:
    """What a stranger's file says, for a message: as Python writes it, cut where it is long.

    >>> quote("cf32_le"), len(quote("x" * 10**6))
    ("'cf32_le'", 81)
    """
    try:
        return _cut(repr(value), 80)
    except (RecursionError, ValueError):  # lists in lists; numbers of thousands of digits
        return f"a {type(value).__name__}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"
