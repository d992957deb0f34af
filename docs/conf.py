"""The documentation site: Sphinx, MyST (Markdown), furo. ``make docs`` makes it; nothing is fetched to make or to read it."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "semcast"
sys.path.insert(0, str(PACKAGE.parent))

project = "semcast"
author = copyright = "semcast contributors"
extensions = [
    "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton",
]  # fmt: skip
exclude_patterns = ["conf.py"]
html_theme = "furo"
html_title = "semcast"
html_static_path = ["_static", "gallery"]  # the gallery: its pictures, and what moves them
html_show_sphinx = False
pygments_style, pygments_dark_style = "tango", "monokai"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
suppress_warnings = [
    "myst.header",  # results/README.md is shown one level down
    "ref.python",  # the type bytes is taken for one of several fields that are called so
]

ROOMS = (
    "generative", "codec", "linear", "rivals", "privacy", "channels", "link", "source_coding", "sources", "framing", "face",
    "photos", "mark", "networks", "metrics", "weights", "bench", "studies", "train", "testing", "domains", "files", "errors",
)  # fmt: skip
"""In the order of reading; what is not named here follows."""


def modules_of(room: str) -> list[str]:
    """The modules of a room, the room itself first."""
    if (PACKAGE / f"{room}.py").is_file():
        return [f"semcast.{room}"]
    return [f"semcast.{room}", *(f"semcast.{room}.{path.stem}" for path in sorted((PACKAGE / room).glob("[a-z]*.py")))]


def first_sentence(path: Path) -> str:
    """The first line of what a module says of itself."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0] if text else ""


def write_rooms(app: Any) -> None:
    """Write a page a room, ``rooms/NAME.rst``: what is in it follows from the package, so that no module is forgotten."""
    found = {path.stem for path in PACKAGE.glob("[a-z]*.py")} | {path.parent.name for path in PACKAGE.glob("[a-z]*/__init__.py")}
    names = [room for room in ROOMS if room in found] + sorted(found - {*ROOMS, "api", "cli"})
    folder = Path(app.srcdir) / "rooms"
    folder.mkdir(exist_ok=True)
    index = ["All rooms", "=========", "", "Every module, from its docstrings; one page a room.", "", ".. toctree::", ""]
    for room in names:
        lines = [room, "=" * len(room), ""]
        for module in modules_of(room):
            if module != f"semcast.{room}":
                name = module.removeprefix("semcast.")
                lines += [name, "-" * len(name), ""]
            lines += [f".. automodule:: {module}", "   :members:", "   :undoc-members:"]
            elsewhere = described_there(module)
            if elsewhere:
                lines.append(f"   :exclude-members: {', '.join(elsewhere)}")
                own = [name for name in elsewhere if front_door()[name].__module__ == module]
                lines += ["", f"{', '.join(own)}: see :doc:`the front door </api>`."] if own else []
            lines.append("")
        write_if_new(folder / f"{room}.rst", lines)
        index.append(f"   {room}")
    write_if_new(folder / "index.rst", [*index, ""])
    for old in folder.glob("*.rst"):
        if old.stem not in (*names, "index"):
            old.unlink()


@cache
def front_door() -> dict[str, type]:
    """The classes that api.rst describes."""
    import semcast

    things = {name: getattr(semcast, name) for name in semcast.__all__}
    return {name: thing for name, thing in things.items() if isinstance(thing, type) and thing.__module__ != "semcast.errors"}


def described_there(module: str) -> list[str]:
    """Those of a module's classes that the front door describes: each is described once, under one name."""
    try:
        held = vars(import_module(module))
    except ImportError:  # autodoc says it better
        return []
    return sorted(name for name, thing in front_door().items() if held.get(name) is thing)


def write_if_new(path: Path, lines: list[str]) -> None:
    """Leave the file alone where it says the same: an unchanged page is not built again."""
    text = "\n".join(lines)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def drop_pointers(app: Any, name: str, source: list[str]) -> None:
    """Leave out what points a reader of the bare file to the text that the site includes."""
    source[0] = re.sub(r"^This page shows \[.*?\n\n", "", source[0], flags=re.DOTALL | re.MULTILINE)


def plain_bars(app: Any, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Let |h| and tables drawn with bars be what they are in a docstring: reStructuredText takes bars for marks of its own."""
    plain: list[str] = []
    for line in lines:
        if line.startswith("|"):  # a table: shown as it is written
            plain += [] if plain and plain[-1].startswith("    |") else ["::", ""]
            plain.append("    " + line)
        else:
            parts = re.split(r"(``.*?``)", line)
            parts[::2] = [re.sub(r"\|(?=\S)", r"\\|", part) for part in parts[::2]]
            plain.append("".join(parts))
    lines[:] = plain


def setup(app: Any) -> None:
    """Hooks of the build."""
    app.connect("builder-inited", write_rooms)
    app.connect("source-read", drop_pointers)
    app.connect("autodoc-process-docstring", plain_bars)
