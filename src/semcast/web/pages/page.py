"""The page of one visitor: their photo above, the tabs below."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from nicegui import ui
from nicegui.events import UploadEventArguments

from semcast.web.images import address, encode
from semcast.web.limits import MOST_BYTES, MOST_MEGAPIXELS, sentence
from semcast.web.pages.codec import CodecTab
from semcast.web.pages.controls import button, html
from semcast.web.pages.link import LinkTab
from semcast.web.pages.privacy import PrivacyTab
from semcast.web.pages.radio import RadioTab

if TYPE_CHECKING:
    from collections.abc import Callable

    from semcast.web.pages.desk import Desk

TABS = {"Link": LinkTab, "Codec": CodecTab, "Privacy": PrivacyTab, "Radio": RadioTab}
SAYS = {
    "Link": "A face crosses a noisy channel as a few complex symbols. Move k and SNR and see what arrives.",
    "Codec": "A photo in a few hundred bytes: what is where, and each thing as well as its bytes allow.",
    "Privacy": "Parts of the face that never leave: what is sent instead, and the proof that no symbol knows them.",
    "Radio": "The symbols as sound, over a bad path, and what a receiver finds in a recording.",
}
PROMISE = (
    "Photos stay on this computer. What you upload is read in memory and let go at once, only its face and a small copy are kept "
    "while this tab is open, and nothing is stored. What a network painted says so on its edge and in its file."
)


class Page:
    """All that one visitor sees."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.dark = ui.dark_mode(None)
        with ui.element("main").classes("page") as desk.page:
            self._head()
            self._photo()
            desk.status = ui.label("").classes("status").props('role=status aria-live=polite')
            self._tabs()
        ui.on("semcast-trouble", lambda event: desk.say(str(event.args)[:200], bad=True))
        codec, radio = self.tabs["Codec"], self.tabs["Radio"]
        assert isinstance(codec, CodecTab) and isinstance(radio, RadioTab)
        ids = f"{{photo: {self.upload.id}, sem: {codec.upload.id}, sound: {radio.upload.id}}}"
        ui.run_javascript(f"semcast.uploads = {ids}")

    def _head(self) -> None:
        with ui.element("div").classes("head"):
            html("semcast", tag="h1")
            html(escape(PROMISE), tag="p")
            button("Light or dark", self._turn)

    def _turn(self) -> None:
        """From what the system asks for to dark, to light, and so on."""
        self.dark.set_value({None: True, True: False, False: True}[self.dark.value])

    def _photo(self) -> None:
        with ui.element("section").classes("card photo").props('aria-label="your photo"'):
            self.face = ui.element("img")
            self.face.props["alt"] = "the face that was found"
            with ui.element("div").classes("stack"):
                self.words = html("One moment: the portrait is being framed.", tag="p")
                with ui.element("div").classes("buttons"):
                    button("Choose a photo", script="semcast.pick('photo')", main=True)
                    button("Camera", script="semcast.camera()")
                    button("Bundled portrait", lambda: self.desk.start(self.take_portrait))
        self.upload = ui.upload(
            on_upload=self.uploaded, max_file_size=MOST_BYTES, auto_upload=True,
            on_rejected=lambda: self.desk.say(f"a photo has at most {MOST_BYTES // 10**6} MB here", bad=True),
        ).classes("hidden-upload").props("aria-hidden=true inert")  # fmt: skip

    def _tabs(self) -> None:
        self.buttons, self.panels, self.tabs = dict[str, ui.element](), dict[str, ui.element](), dict[str, object]()
        with ui.element("div").classes("tabs").props('role=tablist aria-label="what to look at"'):
            for name in TABS:
                self.buttons[name] = button(name, self._opens(name)).props(f"role=tab data-tab={name}")
        for name, kind in TABS.items():
            with ui.element("section").props(f'role=tabpanel aria-label="{name}" data-panel={name}') as self.panels[name]:
                html(escape(SAYS[name]), "soft", tag="p").style("margin-bottom: 12px")
                self.tabs[name] = kind(self.desk)
        self.open("Link")

    def _opens(self, name: str) -> Callable[[], None]:
        return lambda: self.open(name)

    def open(self, name: str) -> None:
        """Show a tab."""
        for each in TABS:
            self.buttons[each].props["aria-selected"] = "true" if each == name else "false"
            self.buttons[each].update()
            self.panels[each].set_visibility(each == name)
        self.desk.say("")
        self.desk.show(name)

    # ---- the photo ---------------------------------------------------------------------------------------------------

    async def take_portrait(self) -> None:
        """The portrait that everybody may see."""
        shelf = self.desk.shelf
        self.desk.visitor.subject = await self.desk.compute("photo", lambda: shelf.portrait.fresh(), what="framing the portrait")
        self._show_photo()

    async def uploaded(self, event: UploadEventArguments) -> None:
        """A photo came."""
        data, name = await event.file.read(), event.file.name
        self.upload.reset()

        async def act() -> None:
            visitor = self.desk.visitor
            await self.desk.compute("photo", lambda: visitor.take_photo(data, name), what="finding the face")
            self._show_photo()

        self.desk.start(act)

    def _show_photo(self) -> None:
        subject = self.desk.visitor.need()
        shown = subject.face.picture.pixels if subject.face else subject.scene
        self.face.props["src"] = address(encode(shown))
        self.face.update()
        what = "its face, found and aligned" if subject.face else "no face was found: the tab Codec takes streets"
        limit = f"Any photo of up to {MOST_BYTES // 10**6} MB and {MOST_MEGAPIXELS} megapixels; drop or paste one anywhere."
        width, height = subject.size
        notes = escape("".join(f" {sentence(note)}" for note in subject.notes)) if subject.face else ""
        self.words.set_content(f"<b>{escape(subject.name)}</b>, {width} x {height}: {what}.{notes} {limit}")
        self.desk.photo_changed()
        if subject.face is None:
            for note in subject.notes:
                self.desk.say(note, bad=True)


def refuse(sentence: str) -> None:
    """A page with one sentence."""
    with ui.element("main").classes("page"):
        html("semcast", tag="h1")
        html(escape(sentence), tag="p")



