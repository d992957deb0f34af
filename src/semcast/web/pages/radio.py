"""The tab Radio: a face as sound, what a path does to it, and what a receiver finds in it."""

from __future__ import annotations

from dataclasses import replace
from html import escape

from nicegui import ui
from nicegui.events import UploadEventArguments

from semcast.station import Heard
from semcast.web import radio
from semcast.web.images import constellation
from semcast.web.limits import MOST_BYTES, clean_name, read_recording
from semcast.web.pages.controls import Figure, button, choice, html, slider
from semcast.web.pages.desk import Desk, Redraw
from semcast.web.pages.link import SNR_STEPS

SYSTEMS = ("sketch", "generative", "linear-gan", "linear")
NO_NOISE = 99.0
NOISE = (*(float(db) for db in range(-4, 31)), NO_NOISE)


class RadioTab:
    """The tab and what is set in it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.system, self.symbols, self.design = "sketch", 640, 10.0
        self.trouble = radio.Trouble(snr_db=15.0)
        self.tape: radio.Tape | None = None
        self.arrived: radio.Tape | None = None
        self.heard: list[Heard] = []
        self.recorded = False
        self.sound = 0  # which one is wanted: counted up by whatever asks for another
        self.redraw = Redraw(desk, self.quick, self.slow, "radio more")
        with ui.element("div").classes("desk"):
            self._controls()
            self._pictures()
        desk.follow("Radio", self.fresh)

    def _controls(self) -> None:
        names = {name: name for name in SYSTEMS}
        with ui.element("div").classes("side"):
            with ui.element("div").classes("card stack"):
                html("1. Make a sound", tag="h2")
                choice("System", names, self.system, lambda name: self._make(system=name))
                slider("k, complex symbols of data", radio.STOPS, self.symbols, lambda k: self._make(symbols=int(k)))
                slider("SNR it is designed for", SNR_STEPS[:31], self.design, lambda snr: self._make(design=snr), unit=" dB")
                html("Or take one that is there:", tag="p")
                with ui.element("div").classes("buttons"):
                    button("Upload a recording", script="semcast.pick('sound')")
                    button("Record", script="semcast.record(e.currentTarget)")
                    button("The photo again", lambda: self._make())
            with ui.element("div").classes("card stack"):
                html("2. Spoil it", tag="h2")
                says = [f"{snr:g} dB" for snr in NOISE[:-1]] + ["no noise"]
                slider("SNR in 2.4 kHz", NOISE, 15.0, self._noise, says=says)
                choice("Path", radio.PATHS, self.trouble.path, lambda path: self._spoil(path=path))
                slider("Receiver mistuned by", tuple(range(-100, 101, 5)), 0, lambda hz: self._spoil(offset_hz=float(hz)),
                       unit=" Hz")  # fmt: skip
                slider("Recorder's clock wrong by", tuple(range(-100, 101, 10)), 0, lambda ppm: self._spoil(ppm=float(ppm)),
                       unit=" ppm")  # fmt: skip
                slider("Missing in the end", tuple(range(0, 91, 10)), 0, lambda share: self._spoil(cut=share / 100), unit=" %")
        self.upload = ui.upload(
            on_upload=self.opened, on_rejected=lambda: self.desk.say("a recording has at most 25 MB", bad=True),
            max_file_size=MOST_BYTES, auto_upload=True,
        ).classes("hidden-upload").props("aria-hidden=true inert")  # fmt: skip

    def _pictures(self) -> None:
        with ui.element("div").classes("main-area"):
            with ui.element("div").classes("stack"):
                html("What is on the air", tag="h2")
                self.player = ui.element("audio").props("controls")
                self.player.props["aria-label"] = "the sound as it arrives"
                with ui.element("div").classes("buttons"):
                    button("Save the sound (WAV)", self.save)
                self.spectrogram = Figure("spectrogram: time to the right, frequency upwards", "", "wide")
            html("3. What a receiver finds in it", tag="h2")
            self.found = ui.element("div").classes("stack")

    # ---- what is set -------------------------------------------------------------------------------------------------

    def _make(self, **changes: object) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        self.recorded = False
        self._want(None)
        self.desk.drop("recording")
        self.redraw()

    def _want(self, tape: radio.Tape | None) -> None:
        """Another sound: this one, or one that is to be made."""
        self.tape = tape
        self.sound += 1

    def _noise(self, snr: float) -> None:
        self._spoil(snr_db=None if snr == NO_NOISE else snr)

    def _spoil(self, **changes: object) -> None:
        self.trouble = replace(self.trouble, **changes)  # type: ignore[arg-type]
        self.redraw()

    async def fresh(self) -> None:
        """There is another photo: its sound takes the place of the last one, but of no recording."""
        if not self.recorded:
            self._want(None)
        await self.redraw.draw()

    async def opened(self, event: UploadEventArguments) -> None:
        """A recording came, from a file or from the microphone."""
        data, name = await event.file.read(), event.file.name
        self.upload.reset()

        async def act() -> None:
            self.desk.visitor.count_upload()
            samples, rate = await self.desk.compute("recording", lambda: read_recording(data, name), what="reading the recording")
            self.recorded = True
            self._want(radio.Tape(samples, rate, clean_name(name)))
            await self.redraw.draw()

        self.desk.start(act)

    # ---- what is shown -----------------------------------------------------------------------------------------------

    async def quick(self) -> None:
        """Make, spoil, listen, show the sound."""
        shelf, tape, trouble = self.desk.shelf, self.tape, self.trouble
        face = None if self.recorded else self.desk.visitor.need_face()
        system, symbols, design = self.system, self.symbols, self.design

        def act() -> tuple[radio.Tape, radio.Tape, list[Heard], str, str]:
            made = tape
            if made is None:
                assert face is not None
                made, _ = radio.make(shelf, face, system, symbols, design)
            arrived = radio.spoil(made, trouble)
            heard = radio.listen(shelf, arrived)
            return made, arrived, heard, radio.show_spectrogram(arrived, heard), arrived.play()

        known = system in shelf.systems
        wanted = self.sound
        made, arrived, self.heard, picture, sound = await self.desk.compute(
            "radio", act, what="listening" if known else "loading networks"
        )
        if wanted == self.sound:
            self.tape = made
        self.arrived = arrived
        self.player.props["src"] = sound
        self.player.update()
        bursts = len(self.heard)
        count = f"{bursts} burst{'s' * (bursts > 1)} found, framed in white" if bursts else "no burst was found"
        self.spectrogram.show(picture, f"{escape(arrived.name)}, {arrived.seconds:.2f} s: {count}.")

    async def slow(self) -> None:
        """What each burst carried."""
        shelf, heard, turn = self.desk.shelf, self.heard, self.redraw.turn
        shown = []
        for each in heard:

            def act(each: Heard = each) -> tuple[str, str]:
                return radio.show_heard(each), radio.show_map(shelf, each)

            shown.append(await self.desk.compute("radio more", act, slow=True))
            self.redraw.current(turn)
        self.found.clear()
        with self.found:
            if not heard:
                html("Nothing was found: there is too much noise, too little of the burst, or none at all.", tag="p")
            for each, (picture, drawn) in zip(heard, shown, strict=True):
                html(escape(radio.describe(each)), tag="p")
                with ui.element("div").classes("pictures"):
                    if picture:
                        Figure("the face that came out", "The face that came out.").show(picture)
                        said = '<span class="key guessed">Orange: guessed</span>, '
                        said += '<span class="key private">violet: replaced before it was sent</span>.'
                        Figure("the same in grey, what was guessed in orange", said).show(drawn)
                    with ui.element("figure"):
                        html(constellation(radio.symbols_of(each)[:0], radio.symbols_of(each)))
                        html("The symbols as they came.", tag="figcaption")

    def save(self) -> None:
        """The sound as it arrives."""
        if self.arrived is not None:
            ui.download(self.arrived.wav(), "semcast.wav")
