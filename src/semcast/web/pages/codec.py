"""The tab Codec: a photo in so many bytes, concept by concept, beside other codecs at the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

from nicegui import ui
from nicegui.events import UploadEventArguments

from semcast.errors import SemcastError
from semcast.web import codec
from semcast.web.images import show
from semcast.web.limits import MOST_SEM, sentence
from semcast.web.pages.controls import Chips, Compare, Figure, button, choice, html, slider
from semcast.web.pages.desk import Desk, Redraw

if TYPE_CHECKING:
    from semcast.web.visitor import Subject

PHOTO = "photo"
STEPS = tuple(range(codec.LEAST, 1000, codec.STEP)) + tuple(range(1000, codec.MOST + 1, 50))


class CodecTab:
    """The tab and what is set in it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.domain, self.bytes, self.other = "face", codec.USUAL, PHOTO
        self.cares: dict[str, int] = {}
        self.coded: codec.Coded | None = None
        self.drawn: Subject | None = None
        self.redraw = Redraw(desk, self.quick, self.slow, "codec more")
        with ui.element("div").classes("desk"):
            self._controls()
            self._pictures()
        desk.follow("Codec", self.redraw.draw)

    def _controls(self) -> None:
        rivals = {PHOTO: "the photo"} | {name: f"{name} at the same bytes" for name in codec.RIVALS}
        with ui.element("div").classes("side card"):
            slider("Bytes of the file, at most", STEPS, self.bytes, lambda most: self._set(bytes=int(most)))
            choice("The photo shows", codec.DOMAINS, self.domain, lambda name: self._set(domain=name),
                   "It is never guessed: each has networks of its own.")  # fmt: skip
            choice("Compare with (left side)", rivals, self.other, lambda name: self._set(other=name))
            with ui.element("div").classes("stack"):
                html("Care: press a concept, or click it in the layout, and it counts four times.", tag="p")
                self.chips = Chips("concepts to care for", self.care)
            with ui.element("div").classes("buttons"):
                button("Save as .sem", self.save)
                button("Open a .sem", script="semcast.pick('sem')")
        self.upload = ui.upload(
            on_upload=self.opened, on_rejected=lambda: self.desk.say("a .sem file has at most 64 kB", bad=True),
            max_file_size=MOST_SEM, auto_upload=True,
        ).classes("hidden-upload").props("aria-hidden=true inert")  # fmt: skip

    def _pictures(self) -> None:
        with ui.element("div").classes("main-area"):
            with ui.element("div").classes("pictures two"):
                with ui.element("div").classes("stack"):
                    self.compare = Compare("left: the photo, or another codec", "right: rl-asc")
                    self.words = html("", tag="p")
                    self.quality = html("", tag="p")
                said = "The layout as it is sent. Click something to care for it."
                self.layout = Figure("what lies where, in colours", said, clicked=self.clicked)
            self.receipt = Figure("where the bytes went: layout, bytes a cell, and a list",
                                  "The receipt: what each section and each concept was given.", "wide")  # fmt: skip

    def _set(self, **changes: object) -> None:
        if changes.get("domain", self.domain) != self.domain:
            self.cares = {}
            self.drawn = None
        for name, value in changes.items():
            setattr(self, name, value)
        self.redraw()

    def care(self, name: str) -> None:
        """A concept was pressed."""
        if self.coded is not None and self.coded.original is not None:
            self.cares.pop(name) if name in self.cares else self.cares.update({name: codec.CARED})
            self.redraw()

    def clicked(self, x: float, y: float) -> None:
        """A place of the layout was clicked."""
        if self.coded is not None:
            self.care(self.coded.concept_at(x, y))

    async def quick(self) -> None:
        """Code, paint, show."""
        shelf, subject = self.desk.shelf, self._subject()
        domain, most, cares = self._domain(), self.bytes, dict(self.cares)
        known = ("rl-asc", domain) in shelf.codecs

        def act() -> tuple[codec.Coded, str, str]:
            coded = codec.code(shelf, subject(), domain, most, cares)
            return coded, coded.show(), coded.show_layout()

        self.coded, right, layout = await self.desk.compute("codec", act, what="" if known else "loading networks")
        self.compare.show(right=right)
        self._tell(layout)

    def _domain(self) -> str:
        return "street" if self.domain == codec.DRAWN else self.domain

    def _subject(self) -> Callable[[], Subject]:
        """The visitor's photo, or the drawn street, to be asked for where it is computed."""
        if self.domain == codec.DRAWN:
            return self._draw
        subject = self.desk.visitor.need()
        return lambda: subject

    def _draw(self) -> Subject:
        if self.drawn is None:
            self.drawn = self.desk.shelf.street.fresh()
        return self.drawn

    def _tell(self, layout: str) -> None:
        coded = self.coded
        assert coded is not None
        self.words.set_content(escape(codec.spent(coded)))
        self.layout.show(layout)
        self.chips.show(coded.concepts(), list(self.cares))

    async def slow(self) -> None:
        """The rival, its quality beside ours, the receipt, and what is doubtful."""
        coded, turn, other = self.coded, self.redraw.turn, self.other
        assert coded is not None and coded.original is not None
        shelf, subject, original = self.desk.shelf, self._subject(), coded.original
        most, domain = self.bytes, self._domain()
        what = "a drawn street" if self.domain == codec.DRAWN else "the photo"

        def compare() -> tuple[str, str]:
            ours = f"rl-asc: {len(coded.data)} bytes, {codec.quality(original, coded.shown.pixels)}"
            meaning = "LPIPS: 0 is the same, less is better; PSNR: more is better."
            if other == PHOTO:
                return show(original, f"{what}\n256 x 256"), f"{ours}. {meaning}"
            try:
                picture, size = codec.rival(shelf, original, other, most)
            except SemcastError as error:
                return show(original, f"{what}\n{other} does not fit"), f"{ours}. {sentence(str(error))}"
            said = f"{ours}; {other}: {size} bytes, {codec.quality(original, picture)}. {meaning}"
            return show(picture, f"{other}\n{size} bytes"), said

        left, said = await self.desk.compute("codec more", compare, slow=True)
        self.redraw.current(turn)
        self.compare.show(left=left)
        self.quality.set_content(escape(said))
        receipt = await self.desk.compute("codec more", coded.show_receipt, slow=True)
        self.redraw.current(turn)
        self.receipt.show(receipt)
        doubts = await self.desk.compute("codec more", lambda: subject().doubts(domain), slow=True)
        self.redraw.current(turn)
        if doubts:
            self.desk.say(doubts[0], bad=True)

    def save(self) -> None:
        """The file of meaning."""
        if self.coded is not None:
            ui.download(self.coded.data, f"{self.coded.receipt.domain.name}-{len(self.coded.data)}.sem")

    async def opened(self, event: UploadEventArguments) -> None:
        """A file of meaning came."""
        data, name = await event.file.read(), event.file.name
        self.upload.reset()
        self.desk.start(lambda: self._open(data, name))

    async def _open(self, data: bytes, name: str) -> None:
        shelf = self.desk.shelf
        self.desk.visitor.count_upload()

        def act() -> tuple[codec.Coded, str, str, str]:
            coded = codec.open_sem(shelf, data, name)
            return coded, coded.show(), coded.show_layout(), coded.show_receipt()

        coded, picture, layout, receipt = await self.desk.compute("sem", act, what="painting")
        self.redraw.turn += 1  # it takes the place of what was being drawn
        for kind in ("codec", "codec more"):
            self.desk.drop(kind)
        self.desk.stale.discard("Codec")
        self.coded = coded
        self.cares = {}
        self.compare.show(picture, picture)
        self.receipt.show(receipt)
        self._tell(layout)
        self.quality.set_content("An uploaded file: there is no photo to compare it with.")
        self.desk.say("; ".join(coded.shown.notes))
