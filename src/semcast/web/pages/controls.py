"""Sliders, choices and pictures of the page: plain HTML that a keyboard and a screen reader know.

Controls are the browser's own, written as one block each: what the browser changes in them the page must not write again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

Changed = Callable[[Any], Any]
PAUSE = 0.06
"""Seconds between two places of a slider that are sent while it moves."""


def html(content: str, classes: str = "", tag: str = "div") -> ui.html:
    """A block of our own HTML; text of visitors must be escaped before."""
    return ui.html(content, sanitize=False, tag=tag).classes(classes)


def slider(
    label: str, values: Sequence[float], value: float, changed: Changed, *, unit: str = "", help: str = "",
    says: Sequence[str] = (),
) -> ui.html:  # fmt: skip
    """A slider over a row of values; ``changed`` is given the one that it stops at.

    Args:
        label: over it.
        values: it stops at.
        value: where it begins.
        unit: after the number.
        help: a line below.
        says: what is said of each value, where that is not the number.
    """
    shown = list(says) or [f"{each:g}{unit}" for each in values]
    at = list(values).index(value)
    small = f"<small>{escape(help)}</small>" if help else ""
    block = html(
        f'<label class="field range"><span>{escape(label)}<output>{escape(shown[at])}</output></span>'
        f'<input type="range" min="0" max="{len(values) - 1}" step="1" value="{at}" aria-valuetext="{escape(shown[at])}" '
        f"data-says='{escape(json.dumps(shown))}' oninput=\"semcast.say(this)\">{small}</label>"
    )

    def moved(event: GenericEventArguments) -> Any:
        place = _whole(event.args)
        return changed(values[place]) if 0 <= place < len(values) else None

    block.on("input", moved, throttle=PAUSE, leading_events=True, js_handler="(e) => emit(e.target.value)")
    return block


def choice(label: str, options: Mapping[str, str], value: str, changed: Changed, help: str = "") -> ui.html:
    """One of several, by name; ``changed`` is given the name."""
    inside = "".join(
        f'<option value="{escape(name)}"{" selected" if name == value else ""}>{escape(says)}</option>'
        for name, says in options.items()
    )
    small = f"<small>{escape(help)}</small>" if help else ""
    block = html(f'<label class="field"><span>{escape(label)}</span><select>{inside}</select>{small}</label>')

    def chosen(event: GenericEventArguments) -> Any:
        return changed(event.args) if event.args in options else None

    block.on("change", chosen, js_handler="(e) => emit(e.target.value)")
    return block


def button(label: str, act: Callable[[], Any] | None = None, *, main: bool = False, script: str = "") -> ui.element:
    """A button; ``script`` runs in the browser, where a click is needed to open files, camera or microphone."""
    made = ui.element("button").props("type=button").classes("main" if main else "")
    with made:
        html(escape(label), tag="span")
    if script:
        made.on("click", js_handler=f"(e) => {{ {script} }}")
    if act is not None:
        made.on("click", lambda: act(), args=[])
    return made


class Chips:
    """Buttons that are pressed or not, each with a colour and a word of what it has.

    Args:
        label: of the group, for those who do not see it.
        pressed: is given the name of one that was pressed.
    """

    def __init__(self, label: str, pressed: Changed) -> None:
        self.block = ui.element("div").classes("chips").props(f'role=group aria-label="{escape(label)}"')
        self.pressed = pressed
        self.buttons: dict[str, tuple[ui.element, ui.html]] = {}

    def show(self, rows: Sequence[tuple[str, str, str]], on: Sequence[str]) -> None:
        """Show name, colour and a word for each; those that are on are pressed."""
        if [row[0] for row in rows] != list(self.buttons):
            self.block.clear()
            self.buttons = {}
            with self.block:
                for name, _, _ in rows:
                    made = ui.element("button").props("type=button")
                    with made:
                        inside = html("", tag="span").style("display: contents")
                    made.on("click", lambda name=name: self.pressed(name), args=[])
                    self.buttons[name] = (made, inside)
        for name, colour, word in rows:
            made, inside = self.buttons[name]
            dot = f'<i style="background: {escape(colour)}"></i>' if colour else ""
            inside.set_content(f"{dot}{escape(name)}" + (f" <small>{escape(word)}</small>" if word else ""))
            made.props["aria-pressed"] = "true" if name in on else "false"
            made.update()


class Figure:
    """A picture with a caption.

    Args:
        alt: what it shows, for those who do not see it.
        caption: our own HTML below it.
        clicked: is given the place of a click, both in 0..1.
    """

    def __init__(
        self, alt: str, caption: str = "", classes: str = "", clicked: Callable[[float, float], Any] | None = None
    ) -> None:
        with ui.element("figure").classes(classes + (" clickable" if clicked else "")) as self.block:
            self.image = ui.element("img")
            self.image.props["alt"] = alt
            self.caption = html(caption, tag="figcaption")
        if clicked:
            script = "(e) => { const r = e.target.getBoundingClientRect();"
            script += " emit([(e.clientX - r.left) / r.width, (e.clientY - r.top) / r.height]); }"
            self.image.on("click", lambda event: clicked(*_place(event.args)), js_handler=script)

    def show(self, address: str, caption: str | None = None, alt: str | None = None) -> None:
        """Another picture, and what is said of it; none where the address is empty."""
        if address:
            self.image.props["src"] = address
        else:
            self.image.props.pop("src", None)
        if alt is not None:
            self.image.props["alt"] = alt
        self.image.update()
        if caption is not None:
            self.caption.set_content(caption)


class Compare:
    """Two pictures under one slider.

    Args:
        left, right: what they show, for those who do not see them.
    """

    def __init__(self, left: str, right: str) -> None:
        with ui.element("div").classes("compare") as self.block:
            self.under = ui.element("img")
            self.under.props["alt"] = right
            self.over = ui.element("img").classes("top")
            self.over.props["alt"] = left
            ui.element("div").classes("handle")
            label = f"how much of the left picture is shown: {left} and {right}"
            html(
                f'<input type="range" min="0" max="100" value="50" aria-label="{escape(label)}" oninput="semcast.slide(this)">'
            ).style("position: absolute; inset: 0")

    def show(self, left: str | None = None, right: str | None = None) -> None:
        """Other pictures; None leaves one as it is."""
        for image, address in ((self.over, left), (self.under, right)):
            if address is not None:
                image.props["src"] = address
                image.update()


def numbers(rows: Sequence[tuple[str, ...]]) -> str:
    """A table of names, values and what they mean, as HTML."""
    lines = (f"<th>{escape(row[0])}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) for row in rows)
    return '<table class="numbers">' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return -1


def _place(value: Any) -> tuple[float, float]:
    try:
        x, y = (min(1.0, max(0.0, float(each))) for each in value)
    except (TypeError, ValueError):
        return 0.5, 0.5
    return x, y
