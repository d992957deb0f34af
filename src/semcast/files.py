"""Files: written whole or not at all, and asked about before any work is done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from semcast.errors import SemcastError


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which replaces what is at ``path`` only when the block has ended well.

    Raises:
        SemcastError: it cannot be written; what was at ``path`` is then as it was.
    """
    part = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except (OSError, ValueError) as error:
        raise SemcastError(f"{path} cannot be written ({reason_of(error)})") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def check_file(path: Path, force: bool, suffix: str) -> None:
    """Whether a file with that extension can be written there, asked before any work is done.

    Raises:
        SemcastError: another extension, a folder, no such folder, no permission, or it exists and ``force`` is false.
    """
    if path.suffix.lower() != suffix:
        raise SemcastError(f"{path} needs the extension {suffix}")
    if path.is_dir():
        raise SemcastError(f"{path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise SemcastError(f"the folder {path.parent} does not exist")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SemcastError(f"{path} cannot be written: no permission")
    if path.exists() and not force:
        raise SemcastError(f"{path} exists already (-f overwrites it)")


def reason_of(error: BaseException) -> str:
    """An error in a few words: the first line of what it says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
