"""Pictures as the page shows them: each says on its edge what it is, and its file says it again."""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from semcast.photos import Photo, mark_options
from semcast.pictures import enlarge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semcast.mark import Mark

SIDE = 512
"""At which pictures of 256 pixels are shown."""
BAND, LINE = 58, 25
PAINTED, PLAIN = (84, 36, 122), (62, 66, 72)
"""The edge of what a network painted, violet, and of what none did, grey; white letters on both (9 : 1)."""
_HEAT = np.array([(20, 12, 70), (101, 21, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)


@cache
def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def stamp(pixels: Photo, text: str, *, painted: bool = False, right: bool = False) -> Photo:
    """A picture 512 wide with an edge below it that says in two lines what it is.

    Args:
        pixels: uint8 ``[256, 256, 3]``, or of any square.
        text: on the edge; what is wider than half of it is set smaller.
        painted: by a network: the edge is violet and says so above the text.
        right: the text stands at the right, for what lies under a slider at its right side.

    >>> stamp(np.zeros((256, 256, 3), np.uint8), "the photo").shape
    (570, 512, 3)
    """
    shown = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (SIDE, shown.height + BAND), PAINTED if painted else PLAIN)
    canvas.paste(shown, (0, 0))
    first, _, second = f"painted by a network\n{text}".partition("\n") if painted else text.partition("\n")
    draw = ImageDraw.Draw(canvas)
    for line, said in enumerate(part for part in (first, second) if part):
        size = next((size for size in range(21, 12, -1) if font_of(size).getlength(said) <= SIDE // 2 - 16), 13)
        y = SIDE + (BAND // 2 if not second else 17 + line * LINE)
        draw.text((SIDE - 10 if right else 10, y), said, "white", font_of(size), anchor="rm" if right else "lm")
    return np.asarray(canvas)


def small(pixels: Photo, text: str, mark: Mark | None) -> str:
    """A picture of 256 pixels for a row of many, its edge one short line, as an address."""
    canvas = Image.new("RGB", (256, 256 + 44), PLAIN if mark is None else PAINTED)
    canvas.paste(Image.fromarray(pixels), (0, 0))
    said = text if mark is None else f"painted: {text}"
    ImageDraw.Draw(canvas).text((128, 256 + 22), said, "white", font_of(28), anchor="mm")
    return address(encode(np.asarray(canvas), mark))


def encode(pixels: Photo, mark: Mark | None = None, kind: str = "JPEG") -> bytes:
    """A picture's file in memory, JPEG, PNG or WEBP (small), with what it says of the network that painted it."""
    small = {"JPEG": {"quality": 94, "subsampling": 0}, "WEBP": {"quality": 72, "method": 6}}
    options: dict[str, object] = {**small.get(kind, {})}
    if mark is not None:
        options |= mark_options(mark, kind)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def address(data: bytes, kind: str = "image/jpeg") -> str:
    """A file as an address that holds it: nothing lies on the server for others to find."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def show(pixels: Photo, text: str, mark: Mark | None = None, *, right: bool = False) -> str:
    """A picture with its edge, as an address; with a mark it is a painted one."""
    return address(encode(stamp(pixels, text, painted=mark is not None, right=right), mark))


def tint(pixels: Photo, colour: tuple[int, int, int], strength: NDArray[np.floating]) -> Photo:
    """Mix a colour into a picture ``[H, W, 3]``, as much as ``strength`` says at each pixel ``[H, W]``, 0 to 1."""
    mixed = pixels + strength[..., None] * (np.array(colour, np.float32) - pixels)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def grey(pixels: Photo) -> Photo:
    """A picture in pale grey, to draw upon."""
    pale = 0.35 * 255 + 0.6 * pixels.mean(-1, keepdims=True)
    drawn: Photo = np.rint(pale).astype(np.uint8).repeat(3, -1)
    return drawn


def heat(values: NDArray[np.floating]) -> Photo:
    """Numbers in 0..1 ``[H, W]`` as colours from dark blue to pale yellow."""
    at = np.linspace(0, 1, len(_HEAT))
    colours: Photo = np.stack([np.interp(values, at, channel) for channel in _HEAT.T], -1).round().astype(np.uint8)
    return colours


def constellation(sent: NDArray[np.complexfloating], came: NDArray[np.complexfloating], reach: float = 0.0) -> str:
    """Symbols in the complex plane as SVG: sent ones as rings' centres in grey, those that came in blue.

    Its colours are the page's (``currentColor``), so that it can be read on light and on dark.

    Args:
        sent, came: complex ``[k]``; either may be empty.
        reach: what the edge stands for; 0: so that nearly all is inside.
    """
    both = np.concatenate([sent, came])
    largest = float(np.quantile(np.abs(both), 0.995)) if len(both) else 1.0
    edge = reach or max(1.5, 1.1 * largest)
    scale = 150 / edge
    unit = f'<circle cx="160" cy="160" r="{scale:.1f}" fill="none" stroke="currentColor" stroke-dasharray="3 4" opacity=".55"/>'
    axes = '<path d="M10 160H310M160 10V310" stroke="currentColor" opacity=".4"/>'
    dots = "".join(
        f'<path class="{name}" d="{_dots(values, scale)}" stroke-linecap="round" fill="none"/>'
        for name, values in (("sent", sent), ("came", came))
    )
    label = f"{len(came)} symbols in the complex plane, the edge is {edge:.1f}; the dashed circle is 1"
    return (
        f'<svg class="constellation" viewBox="0 0 320 320" role="img" aria-label="{label}">{axes}{unit}{dots}'
        f'<text x="308" y="154" text-anchor="end">I, {edge:.1f}</text><text x="166" y="22">Q</text></svg>'
    )


def _dots(values: NDArray[np.complexfloating], scale: float) -> str:
    x = np.clip(160 + scale * values.real, 2, 318)
    y = np.clip(160 - scale * values.imag, 2, 318)
    return "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y, strict=True))


def blocks(values: NDArray[np.uint8]) -> Photo:
    """A small square picture at 512 pixels, each of its own repeated."""
    return enlarge(values, SIDE)
