"""The tab Link: what arrives of a face, beside the photo or another system."""

from __future__ import annotations

from dataclasses import replace
from html import escape

from nicegui import ui

from semcast.errors import SemcastError
from semcast.web import link
from semcast.web.images import constellation, show
from semcast.web.pages.controls import Compare, Figure, button, choice, html, numbers, slider
from semcast.web.pages.desk import Desk, Redraw

PHOTO = "photo"
SNR_STEPS = tuple(float(snr) for snr in range(-10, 31))
SEEDS = tuple(range(20))


class LinkTab:
    """The tab and what is set in it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.setting = link.Setting()
        self.system, self.other = "sketch", PHOTO
        self.arrived: link.Arrived | None = None
        self.redraw = Redraw(desk, self.quick, self.slow, "link more")
        with ui.element("div").classes("desk"):
            self._controls()
            self._pictures()
        desk.follow("Link", self.redraw.draw)

    def _controls(self) -> None:
        with ui.element("div").classes("side card"):
            choice("System (right side)", link.SAYS, self.system, lambda name: self._set(system=name))
            choice("Compare with (left side)", {PHOTO: "the photo"} | link.SAYS, self.other, lambda name: self._set(other=name))
            slider("k, complex symbols of data", link.STOPS, self.setting.symbols, lambda k: self._set(symbols=int(k)))
            slider("SNR, Es/N0", SNR_STEPS, self.setting.snr_db, lambda snr: self._set(snr_db=snr), unit=" dB",
                   help="Both ends know it. 0 dB: as much noise as signal.")  # fmt: skip
            choice("Channel", link.CHANNELS, self.setting.channel, lambda name: self._set(channel=name))
            slider("Noise number", SEEDS, 0, lambda seed: self._set(seed=int(seed)),
                   help="Another number is another noise. For one number all systems meet the same noise.")  # fmt: skip
            button("Save what arrived", self.save)

    def _pictures(self) -> None:
        with ui.element("div").classes("main-area"):
            with ui.element("div").classes("pictures two"):
                with ui.element("div").classes("stack"):
                    self.compare = Compare("left: the photo, or the other system", "right: what arrived")
                    self.words = html("", tag="p")
                with ui.element("div").classes("stack"), ui.element("figure"):
                    self.symbols = html("")
                    html('The symbols as points: <span class="key sent">grey sent</span>, <span class="key came">blue '
                         "received</span>.", tag="figcaption")  # fmt: skip
            with ui.element("div").classes("pictures"):
                self.map = Figure("the received picture in grey, with what was guessed in orange")
                with ui.element("div"):
                    html("Measured against the photo", tag="h2")
                    self.numbers = html("")
            with ui.element("div"):
                html("The same photo at every SNR, with the same noise", tag="h2")
                with ui.element("div").classes("strip"):
                    self.strip = [Figure(f"at {snr:g} dB") for snr in link.SNRS]

    def _set(self, **changes: object) -> None:
        for name in ("system", "other"):
            if name in changes:
                setattr(self, name, changes.pop(name))
        self.setting = replace(self.setting, **changes)  # type: ignore[arg-type]
        self.redraw()

    async def quick(self) -> None:
        """Send, receive, show: all that moves with a slider."""
        shelf, setting, names = self.desk.shelf, self.setting, (self.system, self.other)
        face = self.desk.visitor.need_face()
        known = all(name in shelf.systems or name == PHOTO for name in names)

        def act() -> tuple[link.Arrived, str, str]:
            arrived = link.transmit(shelf, face, names[0], setting)
            if names[1] == PHOTO:
                return arrived, arrived.show(), show(face.picture.pixels, "the photo\nits face, aligned")
            return arrived, arrived.show(), link.transmit(shelf, face, names[1], setting).show(right=False)

        arrived, right, left = await self.desk.compute("link", act, what="" if known else "loading networks")
        self.arrived = arrived
        self.compare.show(left, right)
        self.symbols.set_content(constellation(*link.symbols_of(arrived)))
        self.words.set_content(escape(link.describe(arrived)))

    async def slow(self) -> None:
        """The map, the numbers, and the strip, piece by piece."""
        arrived, turn = self.arrived, self.redraw.turn
        assert arrived is not None
        shelf, face, name = self.desk.shelf, self.desk.visitor.need_face(), self.system
        rows = await self.desk.compute("link more", lambda: link.measure(face, arrived), slow=True)
        self.redraw.current(turn)
        self.numbers.set_content(numbers(rows))
        for figure, piece in zip(self.strip, link.strip(shelf, face, name, self.setting), strict=True):
            try:
                snr, address = await self.desk.compute("link more", piece, slow=True)
            except SemcastError:
                address = ""
            else:
                figure.image.props["alt"] = f"at {snr:g} dB"
            self.redraw.current(turn)
            figure.show(address)
        drawn, _ = await self.desk.compute("link more", lambda: link.draw_share(arrived), slow=True)
        self.redraw.current(turn)
        orange = '<span class="key guessed">Orange: guessed</span> by the receiver. '
        self.map.show(drawn, orange + escape(link.explain_share(arrived)))

    def save(self) -> None:
        """The received picture as a file, with its edge and its mark."""
        if self.arrived is not None:
            setting = self.arrived.setting
            name = f"{self.arrived.system.name}-{setting.symbols}-{setting.snr_db:g}dB.png".replace(":", "-")
            ui.download(self.arrived.file(), name)
