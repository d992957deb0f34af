"""The queue: one computation at a time, in the order of asking; of each visitor's wishes of a kind only the newest counts.

What is wanted no longer stops also while it is computed: networks ask at each of their layers (:func:`checkpoint`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from threading import local
from typing import Any, TypeVar

T = TypeVar("T")
MOST_WAITING = 200
"""Wishes of all visitors together."""
GRACE_S = 0.5
"""What a newer wish overtakes may run so long in all: a slider that moves shows pictures on its way, if they are quick."""


class Superseded(Exception):  # noqa: N818 - it is no error: a newer wish took the place, or the visitor left
    """What was asked for is wanted no longer."""


@dataclass(order=True)
class _Wish:
    slow: bool
    number: int
    visitor: str = field(compare=False)
    kind: str = field(compare=False)
    act: Callable[[], Any] = field(compare=False)
    made: asyncio.Future[Any] = field(compare=False)
    tell: Callable[[int], None] | None = field(compare=False, default=None)
    ends: float = field(compare=False, default=float("inf"))
    begun: float = field(compare=False, default=0.0)


_THREAD = local()


def checkpoint(*_: object) -> None:
    """Stop what this thread computes for a visitor, where it is wanted no longer; elsewhere nothing happens.

    Raises:
        Superseded: it is not.
    """
    wish: _Wish | None = getattr(_THREAD, "wish", None)
    if wish is not None and time.monotonic() > wish.ends:
        raise Superseded


class Queue:
    """Work for one thread, which computes for all visitors: the processor is one, and two photos at once are no faster.

    What is quick goes before what is slow, and both in the order of asking. A visitor who moves a slider has only the newest
    place of it computed.
    """

    def __init__(self) -> None:
        self._wishes: list[_Wish] = []
        self._numbers = count()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="semcast-web")
        self._busy: asyncio.Task[None] | None = None
        self._now: _Wish | None = None

    @property
    def waiting(self) -> int:
        """Wishes that have not begun."""
        return len(self._wishes)

    async def run(
        self, visitor: str, kind: str, act: Callable[[], T], *, slow: bool = False, tell: Callable[[int], None] | None = None
    ) -> T:
        """Compute something when its turn comes.

        Args:
            visitor: whose wish it is.
            kind: of wish; an earlier one of the same kind and visitor is dropped, one that is being computed after a grace.
            act: computes it, in another thread.
            slow: it waits for all that is quick.
            tell: is told how many are before it, whenever that changes; -1 when it begins.

        Raises:
            Superseded: it was dropped.
        """
        self._drop(lambda wish: (wish.visitor, wish.kind) == (visitor, kind), GRACE_S)
        if len(self._wishes) >= MOST_WAITING:
            raise Superseded
        wish = _Wish(slow, next(self._numbers), visitor, kind, act, asyncio.get_running_loop().create_future(), tell)
        self._wishes.append(wish)
        self._wishes.sort()
        self._tell()
        if self._busy is None or self._busy.done():
            self._busy = asyncio.get_running_loop().create_task(self._work())
        result: T = await wish.made
        return result

    def begin(self, act: Callable[[], object]) -> None:
        """Compute something before the first wish, whatever comes of it: who needs it hears of it then."""

        def quietly() -> None:
            with suppress(Exception):
                act()

        self._thread.submit(quietly)

    def leave(self, visitor: str, but: Collection[str] = ()) -> None:
        """Drop all that a visitor waits for and what is being computed for them, but for some kinds."""
        self._drop(lambda wish: wish.visitor == visitor and wish.kind not in but)

    def drop(self, visitor: str, kind: str) -> None:
        """Drop a visitor's wish of a kind."""
        self._drop(lambda wish: (wish.visitor, wish.kind) == (visitor, kind))

    def close(self) -> None:
        """Compute nothing more."""
        self._drop(lambda wish: True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while self._wishes:
            self._now = wish = self._wishes.pop(0)
            wish.begun = time.monotonic()
            self._tell()
            if wish.tell:
                wish.tell(-1)
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._thread, _compute, wish)
            except Exception as error:  # noqa: BLE001 - whoever asked hears of it
                if not wish.made.done():  # what went wrong with a wish that was overtaken is no concern any longer
                    wish.made.set_exception(error if wish.ends == float("inf") else Superseded())
            else:
                if not wish.made.done():
                    wish.made.set_result(result)
            self._now = None
            del wish  # what it holds is its visitor's

    def _drop(self, which: Callable[[_Wish], bool], grace: float = 0.0) -> None:
        for wish in [wish for wish in self._wishes if which(wish)]:
            self._wishes.remove(wish)
            if not wish.made.done():
                wish.made.set_exception(Superseded())
        if self._now is not None and which(self._now):
            self._now.ends = min(self._now.ends, self._now.begun + grace)

    def _tell(self) -> None:
        for place, wish in enumerate(self._wishes):
            if wish.tell:
                wish.tell(place + 1)


def _compute(wish: _Wish) -> Any:
    _THREAD.wish = wish
    try:
        return wish.act()
    finally:
        _THREAD.wish = None
