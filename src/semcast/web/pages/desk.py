"""What the tabs of one visitor share: their photo, the queue, and the line that says how it goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from nicegui import background_tasks, ui

from semcast.errors import SemcastError
from semcast.web.work import Queue, Superseded

if TYPE_CHECKING:
    from semcast.web.shelf import Shelf
    from semcast.web.visitor import Visitor

T = TypeVar("T")
FILES = ("photo", "recording", "sem")
"""Kinds of wishes that are files to be read: a photo that was chosen before them is no reason to forget them."""
log = logging.getLogger("semcast.web")


class Desk:
    """Where the tabs meet.

    Args:
        shelf: networks of all visitors.
        queue: of all visitors.
        visitor: this one.
    """

    def __init__(self, shelf: Shelf, queue: Queue, visitor: Visitor) -> None:
        self.shelf, self.queue, self.visitor = shelf, queue, visitor
        self.followers: dict[str, Callable[[], Awaitable[None]]] = {}
        self.open_tab = ""
        self.stale: set[str] = set()
        self.gone = False
        self.doing = 0
        self.troubles = 0
        self.page: ui.element | None = None
        self.status: ui.label | None = None

    def say(self, text: str, bad: bool = False) -> None:
        """One line under the photo; what went wrong is said in another colour and at once."""
        self.troubles += bad
        if self.status is not None and not self.gone:
            self.status.set_text(text)
            self.status.classes(add="bad" if bad else "", remove="" if bad else "bad")

    def say_unless(self, troubles: int, text: str) -> None:
        """Say how it goes, unless something went wrong since there were so many troubles: that stays to be read."""
        if self.troubles == troubles:
            self.say(text)

    async def compute(self, kind: str, act: Callable[[], T], *, slow: bool = False, what: str = "") -> T:
        """Compute something in the queue.

        Args:
            kind: of wish, of which only the newest counts.
            slow: it waits for all that is quick.
            what: is being done, where that is worth a word.

        Raises:
            Superseded: nobody waits for it any longer.
        """
        troubles = self.troubles

        def tell(place: int) -> None:
            if what and place != 0:
                self.say_unless(troubles, f"{what} ..." if place < 0 else f"{what}: {place} before you in the queue")

        self._busy(1)
        try:
            result = await self.queue.run(self.visitor.name, kind, act, slow=slow, tell=tell if what else None)
        finally:
            self._busy(-1)
        if self.gone:
            raise Superseded
        if what:
            self.say_unless(troubles, "")
        return result

    def _busy(self, more: int) -> None:
        self.doing += more
        if self.page is not None and not self.gone:
            self.page.classes(add="busy" if self.doing else "", remove="" if self.doing else "busy")

    async def guard(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do something for the visitor; whatever goes wrong is one sentence on the page, and never a traceback."""
        try:
            await act()
        except Superseded:
            return
        except SemcastError as error:
            self.say(str(error), bad=True)
        except Exception as error:  # noqa: BLE001 - the last resort: where it came from is for the terminal
            if not self.gone:
                log.exception("the page failed")
                self.say(f"sorry, this should not happen ({type(error).__name__}): the terminal says more", bad=True)

    def start(self, act: Callable[[], Awaitable[None]]) -> None:
        """The same in the background: a handler of a slider must not wait for its picture."""
        background_tasks.create(self.guard(act), name="semcast")

    def follow(self, tab: str, act: Callable[[], Awaitable[None]]) -> None:
        """Let a tab draw anew when there is another photo, or when it is opened after that."""
        self.followers[tab] = act
        self.stale.add(tab)

    def photo_changed(self) -> None:
        """Nothing goes on of the last photo; the tab that is open draws at once, the others when they are opened."""
        self.queue.leave(self.visitor.name, but=FILES)
        self.stale = set(self.followers)
        self.show(self.open_tab)

    def show(self, tab: str) -> None:
        """A tab was opened."""
        self.open_tab = tab
        if tab in self.stale and self.visitor.subject is not None:
            self.stale.discard(tab)
            self.start(lambda: self._follow(tab))

    async def _follow(self, tab: str) -> None:
        """Draw a tab; one that could not be drawn still shows the last photo and is tried again when it is opened."""
        try:
            await self.followers[tab]()
        except SemcastError:  # one that was overtaken is drawn by what overtook it
            self.stale.add(tab)
            raise

    def drop(self, kind: str) -> None:
        """Nobody waits for that any longer."""
        self.queue.drop(self.visitor.name, kind)

    def leave(self) -> None:
        """The visitor is gone: nothing more is computed for them, nothing of them is kept."""
        self.gone = True
        self.queue.leave(self.visitor.name)
        self.followers.clear()


class Redraw:
    """The rhythm of a tab: what is quick at every move, what is slow when the moving has stopped.

    Args:
        desk: of the visitor.
        quick, slow: draw; the second is begun anew, or dropped, whenever the first is asked for again.
        more: the kind of wish that the second is.
    """

    def __init__(
        self, desk: Desk, quick: Callable[[], Awaitable[None]], slow: Callable[[], Awaitable[None]] | None = None, more: str = ""
    ) -> None:
        self.desk, self.quick, self.slow, self.more = desk, quick, slow, more
        self.turn = 0
        self.took = 0.0

    def __call__(self) -> None:
        """Something was moved."""
        self.desk.start(self.draw)

    async def draw(self) -> None:
        """Draw what is quick, then what is slow."""
        self.turn += 1
        turn, begun, troubles = self.turn, time.perf_counter(), self.desk.troubles
        self.desk.drop(self.more)
        await self.quick()
        self.desk.say_unless(troubles, "")
        self.took = time.perf_counter() - begun
        if turn == self.turn and self.slow is not None:
            await self.slow()

    def current(self, turn: int) -> None:
        """Raise Superseded where something was moved since that turn."""
        if turn != self.turn:
            raise Superseded
