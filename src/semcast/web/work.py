"""The queue: one computation at a time, in the order of asking; of each visitor's wishes of a kind only the newest counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")
MOST_WAITING = 200
"""Wishes of all visitors together."""


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
            kind: of wish; an earlier one of the same kind and visitor that has not begun is dropped.
            act: computes it, in another thread.
            slow: it waits for all that is quick.
            tell: is told how many are before it, whenever that changes; -1 when it begins.

        Raises:
            Superseded: it was dropped.
        """
        self._drop(lambda wish: (wish.visitor, wish.kind) == (visitor, kind))
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

    def leave(self, visitor: str) -> None:
        """Drop all that a visitor waits for."""
        self._drop(lambda wish: wish.visitor == visitor)

    def close(self) -> None:
        """Compute nothing more."""
        self._drop(lambda wish: True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while self._wishes:
            wish = self._wishes.pop(0)
            self._tell()
            if wish.tell:
                wish.tell(-1)
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._thread, wish.act)
            except Exception as error:  # noqa: BLE001 - whoever asked hears of it
                if not wish.made.done():
                    wish.made.set_exception(error)
            else:
                if not wish.made.done():
                    wish.made.set_result(result)

    def _drop(self, which: Callable[[_Wish], bool]) -> None:
        for wish in [wish for wish in self._wishes if which(wish)]:
            self._wishes.remove(wish)
            if not wish.made.done():
                wish.made.set_exception(Superseded())

    def _tell(self) -> None:
        for place, wish in enumerate(self._wishes):
            if wish.tell:
                wish.tell(place + 1)
