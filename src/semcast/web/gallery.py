"""The gallery of the documentation: pictures that are made once and lie under sliders which need no server.

``semcast report`` makes it anew where the systems that painted it are others (``gallery.json`` has their fingerprints), and
``semcast report --check`` says so. All of it is of the portrait in the public domain and of a street that is drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semcast.errors import DoesNotFit
from semcast.files import whole, write_text
from semcast.hashes import hash_numbers
from semcast.photos import Photo
from semcast.trust import find_trust
from semcast.web import codec, link, privacy
from semcast.web.images import encode, stamp
from semcast.web.shelf import Shelf
from semcast.web.visitor import Face, Subject

if TYPE_CHECKING:
    from semcast.mark import Mark

INDEX, PAGE = "gallery.json", "gallery.html"
PHOTO = "photo"


@dataclass(frozen=True)
class Axis:
    """A slider: its label, the values that it stops at, the place where it begins, and what stands after a value."""

    label: str
    values: tuple[int, ...]
    start: int
    unit: str = ""


@dataclass(frozen=True)
class Block:
    """Two pictures under a slider, and what chooses them.

    Args:
        name: begins the names of its files.
        title, about: what is said above it.
        left, right: what may be chosen for each side, by name: what it is called.
        axes: what else is chosen, for all but the photo.
    """

    name: str
    title: str
    about: str
    left: dict[str, str]
    right: dict[str, str]
    axes: tuple[Axis, ...]


_SYSTEMS = {"sketch": "sketch", "generative": "generative", "linear": "linear: nothing painted"}
_RIVALS = {PHOTO: "the photo", "avif": "AVIF", "jpeg2000": "JPEG 2000"}
_BYTES = Axis("Bytes of the file, at most", (300, 500, 1000), 1)
BLOCKS = (
    Block("link", "A face over a noisy channel", "Move k and the SNR; every picture met the same noise.",
          {PHOTO: "the photo"} | _SYSTEMS, _SYSTEMS,
          (Axis("k, complex symbols", (64, 256, 640), 2), Axis("SNR", (0, 5, 10), 1, " dB"))),
    Block("face", "A face in a few hundred bytes", "The semantic codec beside others in at most the same bytes.",
          _RIVALS, {"rl-asc": "rl-asc"}, (_BYTES,)),
    Block("street", "A street in a few hundred bytes", "The street is drawn: no photo of one may be given away here.",
          _RIVALS | {PHOTO: "the drawing"}, {"rl-asc": "rl-asc"}, (_BYTES,)),
    Block("privacy", "What never leaves", "Violet parts are taken out before anything is computed; the receiver sees others.",
          {"eyes": "private: eyes", "mouth": "private: mouth", "hair": "private: hair"},
          {f"{part} received": f"{part} made up" for part in ("eyes", "mouth", "hair")}, ()),
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A picture of the gallery: its pixels, the text on its edge, its mark, and what is said of it."""

    key: str
    pixels: Photo
    text: str
    mark: Mark | None
    says: str

    def file(self) -> bytes:
        """The picture with its edge, its text at both ends: it may lie at either side of a slider."""
        left, right = (stamp(self.pixels, self.text, painted=self.mark is not None, right=side) for side in (False, True))
        middle = left.shape[1] // 2
        return encode(np.hstack([left[:, :middle], right[:, middle:]]), self.mark, "WEBP")


def renew(folder: Path, *, check: bool = False, shelf: Shelf | None = None) -> list[Path]:
    """Make the gallery of a folder anew where it is not of what is there now.

    Args:
        check: write nothing.
        shelf: of networks that are loaded already.

    Returns:
        the index where it was not current; nothing where it was.

    Raises:
        SemcastError: weights or a library are missing, or a file cannot be written.
    """
    index, shelf = folder / INDEX, shelf or Shelf("cpu")
    of = fingerprints(shelf)
    try:
        held: Any = json.loads(index.read_text(encoding="utf-8"))
        current = held["of"] == of and all((folder / name).is_file() for name in (*held["files"], PAGE))
    except (OSError, ValueError, KeyError, TypeError):
        current = False
    if current or check:
        return [] if current else [index]
    written = {}
    parts = []
    for block in BLOCKS:
        said = {}
        for made in draw(shelf, block):
            name = f"{block.name}-{made.key.replace(' ', '-')}.webp"
            with whole(folder / name) as file:
                file.write(made.file())
            written[name] = made.says
            said[made.key] = [name, made.says]
        parts.append(markup(block, said))
    for old in folder.glob("*.webp"):
        if old.name not in written:
            old.unlink()
    write_text(folder / PAGE, "\n".join(parts))
    write_text(index, json.dumps({"of": of, "files": written}, indent=1) + "\n")
    return [index]


def fingerprints(shelf: Shelf) -> dict[str, str]:
    """What the pictures depend on, by name: the systems, what fills private parts, and the plan of the gallery itself."""
    plan = json.dumps([asdict(block) for block in BLOCKS])
    return {
        **{name: shelf.system(name).fingerprint() for name in _SYSTEMS},
        **{f"rl-asc {domain}": shelf.codec("rl-asc", domain).coder.version for domain in ("face", "street")},
        "trust": ", ".join(f"{name} {trust and trust.bits}" for name in _SYSTEMS for trust in [find_trust(shelf.system(name))]),
        "knowledge": hash_numbers(shelf.knowledge.state_dict()),
        "plan": hashlib.sha256(plan.encode()).hexdigest()[:16],
    }


# ---- the pictures ----------------------------------------------------------------------------------------------------


def draw(shelf: Shelf, block: Block) -> Iterator[Made]:
    """Make the pictures of a block."""
    portrait = shelf.portrait.fresh()
    if block.name == "link":
        yield from _draw_link(shelf, block, portrait.need_face())
    elif block.name == "privacy":
        yield from _draw_privacy(shelf, block, portrait.need_face())
    else:
        yield from _draw_codec(shelf, block, portrait if block.name == "face" else shelf.street.fresh())


def _draw_link(shelf: Shelf, block: Block, face: Face) -> Iterator[Made]:
    yield Made(PHOTO, face.picture.pixels, "the photo\nits face, aligned", None, "the photo")
    for name, symbols, snr in product(block.right, block.axes[0].values, block.axes[1].values):
        arrived = link.transmit(shelf, face, name, link.Setting(symbols, float(snr)))
        quality = codec.quality(face.picture.pixels, arrived.pixels)
        yield Made(f"{name} {symbols} {snr}", arrived.pixels, arrived.caption, arrived.mark, f"{arrived.caption}: {quality}")


def _draw_codec(shelf: Shelf, block: Block, subject: Subject) -> Iterator[Made]:
    pixels, what = codec.pixels_of(subject, block.name), block.left[PHOTO]
    yield Made(PHOTO, pixels, f"{what}\n256 x 256", None, what)
    for most in block.axes[0].values:
        coded = codec.code(shelf, subject, block.name, most, {})
        text = f"rl-asc, {len(coded.data)} bytes"
        yield Made(f"rl-asc {most}", coded.shown.pixels, text, coded.mark, f"{text}: {codec.quality(pixels, coded.shown.pixels)}")
        for name in (name for name in block.left if name != PHOTO):
            try:
                picture, size = codec.rival(shelf, pixels, name, most)
            except DoesNotFit as error:
                yield Made(f"{name} {most}", np.full_like(pixels, 128), f"{block.left[name]}\ndoes not fit", None, str(error))
            else:
                text = f"{block.left[name]}, {size} bytes"
                yield Made(f"{name} {most}", picture, text, None, f"{text}: {codec.quality(pixels, picture)}")


def _draw_privacy(shelf: Shelf, block: Block, face: Face) -> Iterator[Made]:
    for part in block.left:
        setting = link.Setting()
        safe = privacy.protect(shelf, face, "generative", [part], "blind")
        arrived, proof = privacy.transmit(safe, face, setting), privacy.repaint(face, safe, setting)
        yield Made(part, privacy.tint_parts(shelf, face, [part]), f"the photo\nprivate: {part}", None, f"violet: the {part}")
        yield Made(f"{part} received", arrived.pixels, arrived.caption, arrived.mark, f"{arrived.caption}. {proof.sentence}")


# ---- the page --------------------------------------------------------------------------------------------------------


def markup(block: Block, said: dict[str, list[str]]) -> str:
    """A block as HTML; ``said`` has the file and the sentence of each picture.

    Without scripts it shows the pictures that it begins with.
    """
    start = [str(axis.values[axis.start]) for axis in block.axes]
    sides = []
    for side, options in (("left", block.left), ("right", block.right)):
        first = next(iter(options))
        name, says = said.get(" ".join([first, *start])) or said[first]
        sides.append((side, options, name, says))
    images = "".join(
        f'<img class="{side}" src="_static/{escape(name)}" alt="{escape(says)}" width="512" height="570" loading="lazy">'
        for side, _, name, says in reversed(sides)
    )
    controls = "".join(_select(side, options) for side, options, _, _ in sides if len(options) > 1)
    controls += "".join(_range(axis) for axis in block.axes)
    label = f"how much of the left picture is shown: {block.title}"
    return (
        f"<section class=\"gallery\" data-pictures='{escape(json.dumps(said))}'>\n<h2>{escape(block.title)}</h2>\n"
        f'<p>{escape(block.about)}</p>\n<div class="compare">{images}<div class="handle"></div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{escape(label)}"></div>\n'
        f'<p class="said" aria-live="polite">{escape("Left: " + sides[0][3])}<br>{escape("Right: " + sides[1][3])}</p>\n'
        f'<div class="controls">{controls}</div>\n</section>\n'
    )


def _select(side: str, options: dict[str, str]) -> str:
    inside = "".join(f'<option value="{escape(name)}">{escape(says)}</option>' for name, says in options.items())
    return f'<label>{side.capitalize()}<select data-side="{side}">{inside}</select></label>'


def _range(axis: Axis) -> str:
    values = " ".join(map(str, axis.values))
    return (
        f'<label>{escape(axis.label)}: <output>{axis.values[axis.start]}{axis.unit}</output><input type="range" min="0" '
        f'max="{len(axis.values) - 1}" value="{axis.start}" data-values="{values}" data-unit="{axis.unit}"></label>'
    )
