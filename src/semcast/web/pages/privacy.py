"""The tab Privacy: click what is private, see what is sent and what comes out, and put it to the proof."""

from __future__ import annotations

from dataclasses import replace
from html import escape

from nicegui import ui

from semcast.web import privacy
from semcast.web.images import constellation
from semcast.web.link import STOPS, Setting
from semcast.web.pages.controls import Chips, Figure, button, choice, html, slider
from semcast.web.pages.desk import Desk, Redraw
from semcast.web.pages.link import SNR_STEPS

FITTING = tuple(k for k in STOPS if 32 <= k <= 1280)


class PrivacyTab:
    """The tab and what is set in it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.setting = Setting()
        self.parts, self.mode, self.system = ["eyes"], "blind", "generative"
        self.safe: privacy.Safe | None = None
        self.turn = 0
        self.redraw = Redraw(desk, self.quick)
        with ui.element("div").classes("desk"):
            self._controls()
            self._pictures()
        desk.follow("Privacy", self.fresh)

    def _controls(self) -> None:
        systems = {name: name for name in privacy.SYSTEMS}
        with ui.element("div").classes("side card"):
            with ui.element("div").classes("stack"):
                html("Private parts: press them, or click them in the face.", tag="p")
                self.chips = Chips("private parts", self.toggle)
            choice("Protection", privacy.MODES, self.mode, lambda mode: self._set(mode=mode))
            choice("System", systems, self.system, lambda name: self._set(system=name))
            slider("k, complex symbols of data", FITTING, self.setting.symbols, lambda k: self._send(symbols=int(k)))
            slider("SNR, Es/N0", SNR_STEPS, self.setting.snr_db, lambda snr: self._send(snr_db=snr), unit=" dB")
            self.promise = html(escape(privacy.promise(self.mode)), tag="p")

    def _pictures(self) -> None:
        with ui.element("div").classes("main-area"):
            with ui.element("div").classes("pictures"):
                violet = '<span class="key private">Violet</span>: never leaves. Click a part to choose it.'
                self.face = Figure("the face, its private parts in violet", violet, clicked=self.clicked)
                self.instead = Figure("what is sent from", "What is sent from: the private parts are made up from the rest.")
                self.out = Figure("what the receiver sees", "What the receiver sees.")
            with ui.element("div").classes("card stack"):
                html("Does a symbol know of the private pixels?", tag="h2")
                html("Paint something else over them, send again, and count the symbols that differ.", tag="p")
                with ui.element("div").classes("buttons"):
                    button("Repaint the private pixels", self.prove, main=True)
                self.sentence = html("", "proof", tag="p")
                with ui.element("div").classes("pictures") as self.proof:
                    self.painted = Figure("the face with other private pixels", "The photo as it would have been.")
                    with ui.element("figure"):
                        self.symbols = html("")
                        html('Protected symbols <span class="key sent">before (grey)</span> and <span class="key came">after '
                             "(blue)</span>: where none differs, blue covers grey.", tag="figcaption")  # fmt: skip
        self.proof.set_visibility(False)

    def _set(self, **changes: str) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        self.promise.set_content(escape(privacy.promise(self.mode)))
        self._forget()
        self.redraw()

    def _send(self, **changes: float) -> None:
        self.setting = replace(self.setting, **changes)  # type: ignore[arg-type]
        self._forget()
        self.redraw()

    def _forget(self) -> None:
        """A proof is of one setting and one photo."""
        self.safe = None
        self.desk.drop("proof")
        self.proof.set_visibility(False)
        self.sentence.set_content("")

    def toggle(self, name: str) -> None:
        """A part was pressed."""
        self.parts = [part for part in self.parts if part != name] if name in self.parts else [*self.parts, name]
        self._forget()
        self.redraw()

    def clicked(self, x: float, y: float) -> None:
        """A place of the face was clicked."""

        async def act() -> None:
            face = self.desk.visitor.need_face()
            self.toggle(await self.desk.compute("part", lambda: privacy.part_at(self.desk.shelf, face, x, y)))

        self.desk.start(act)

    async def fresh(self) -> None:
        """There is another photo."""
        self._forget()
        await self.redraw.draw()

    async def quick(self) -> None:
        """Protect, send, receive, show."""
        shelf, face = self.desk.shelf, self.desk.visitor.need_face()
        parts, mode, system, setting = list(self.parts), self.mode, self.system, self.setting
        seen, drawn = await self.desk.compute(
            "parts", lambda: (privacy.parts_seen(shelf, face), privacy.draw_parts(shelf, face, parts))
        )
        self.chips.show([(name, "", f"{share:.0%}" if share > 0.01 else "") for name, share in seen.items()], parts)
        self.face.show(drawn)

        def act() -> tuple[privacy.Safe, str, str]:
            safe = privacy.protect(shelf, face, system, parts, mode)
            return safe, privacy.show_instead(safe), privacy.transmit(safe, face, setting).show(right=False)

        known = system in shelf.systems and "generative" in shelf.systems
        self.safe, instead, out = await self.desk.compute("privacy", act, what="protecting" if known else "loading networks")
        self.instead.show(instead)
        self.out.show(out)

    def prove(self) -> None:
        """Repaint, send, count."""
        self.turn += 1
        turn, setting, safe = self.turn, self.setting, self.safe

        async def act() -> None:
            if safe is None:
                return
            face = self.desk.visitor.need_face()
            proof = await self.desk.compute("proof", lambda: privacy.repaint(face, safe, setting, turn), what="sending both")
            if safe is not self.safe or turn != self.turn:
                return  # something was moved meanwhile
            self.painted.show(proof.picture)
            self.symbols.set_content(constellation(*proof.bursts))
            self.sentence.set_content(escape(proof.sentence))
            self.proof.set_visibility(True)

        self.desk.start(act)
