"""Ctrl-C and SIGTERM: what was begun is cleaned up, and what must not be cut in two is not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, what ``kill`` and service managers send, and what a terminal sends when it is closed."""
_WAIT_S, _MOST_WAITS = 0.05, 100


class Stopped(KeyboardInterrupt):
    """Somebody asked this process to stop.

    A class of its own: where a plain KeyboardInterrupt meets code that a library runs as text (torch does while it is imported),
    Python remembers that, and in the end dies of SIGINT whatever exit code was meant.
    """


class Stop:
    """Whether somebody asked this process to stop.

    Attributes:
        number: of the signal; None where none came.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._waits = 0

    @property
    def code(self) -> int:
        """What the process exits with, as shells count: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (signal.SIGINT if self.number is None else self.number)

    @contextmanager
    def listening(self, *, to_the_end: bool) -> Iterator[None]:
        """Make every signal that stops a KeyboardInterrupt, which cleans up on its way; one that is ignored stays so.

        Args:
            to_the_end: the process ends after the block: a signal that comes later ends it at once and says nothing.
        """
        before = _handle(self._interrupt)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if to_the_end else handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._waits < _MOST_WAITS and _imports(frame):
            self._waits += 1
            again = threading.Timer(_WAIT_S, signal.raise_signal, (number,))
            again.daemon = True
            again.start()
            return
        self.number = number
        raise Stopped


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported there: one in C++ may end the process at once when it meets an exception."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def unbroken() -> Iterator[None]:
    """Let signals that stop wait until the block has ended: for what takes little time and is of no use in halves."""
    came: list[int] = []
    before = _handle(lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _handle(handler: Any) -> dict[int, Any]:
    """Set a handler where there is one to set, which only the main thread may do; the handlers that were there."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: there for number, there in before.items() if there not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    return before
