"""What a person sees: sentences and bars on stderr, results on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console


def say(text: str) -> None:
    """One line on stderr, where that takes any: a full disk behind it must not change how a verb ends."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")  # at once: stopped between both, the next sentence would stand on the same line


def complain(error: object) -> None:
    """Say what went wrong, on one line; where the library names its arguments, by the options that set them."""
    text = " ".join(str(error).split())
    say("semcast: " + ("--" if text.startswith("care is for ") else "") + in_options(text))


def in_options(text: str) -> str:
    """A sentence of the library with its arguments called what their options are."""
    return text.replace("(force ", "(-f ").replace("with domain photo", "with --domain photo")


def ready_streams() -> None:
    """Make streams that no text can break: one that is closed leads nowhere, and a letter that it cannot show is replaced."""
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:  # closed by whoever started us: print would write to the other one
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as we run
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def show(thing: Any) -> None:
    """A table on stdout as wide as it needs to be: a narrow terminal breaks its lines, but no cell loses its end."""
    console = Console(highlight=False, markup=False, emoji=False)
    wide = Console(highlight=False, markup=False, emoji=False, width=10_000)
    needed = wide.measure(thing).maximum
    if not console.is_terminal:
        needed = max(160, needed)
    Console(highlight=False, markup=False, emoji=False, width=max(console.width, needed)).print(thing)


@contextmanager
def track(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr for a task of so many steps, gone when it is done; nothing in a log."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, markup=False, emoji=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def seconds(value: float) -> str:
    """A duration for reading.

    >>> seconds(0.0123), seconds(272.3282)
    ('12.3 ms', '272.3 s')
    """
    return f"{1000 * value:.1f} ms" if value < 1 else f"{value:.1f} s"
