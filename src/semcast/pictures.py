"""Pictures with captions: tiles in rows and columns, and blocks of them side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from semcast.errors import BadInput
from semcast.photos import Photo

_GAP = 6
_TEXT = 18
_LINE = 28
_FOLLOWING = 23
_INK = (40, 40, 40)


def grid(
    rows: Sequence[Sequence[Photo]],
    *,
    columns: Sequence[str] = (),
    names: Sequence[str] = (),
    title: str = "",
) -> Photo:
    """Tiles of one size in rows, with a title, a caption over each column and a name beside each row.

    Args:
        rows: uint8 ``[H, W, 3]`` tiles; a row may be shorter than the others.
        columns: captions from the left; none: no line for them.
        names: one for each row; none: no margin for them.
        title: over the columns.

    Raises:
        SemcastError: there is no tile, or their sizes differ.
    """
    tiles = [tile for row in rows for tile in row]
    if not tiles or any(tile.shape != tiles[0].shape for tile in tiles):
        raise BadInput("a grid needs tiles, all of one size")
    height, width = tiles[0].shape[:2]
    font = ImageFont.load_default(_TEXT)
    left = _GAP + (int(max(font.getlength(name) for name in names)) + 2 * _GAP if names else 0)
    captions = [wrap(caption, font, width) for caption in columns]
    more = max((caption.count("\n") for caption in captions), default=0)
    top = _GAP + _LINE * (bool(title) + bool(columns)) + _FOLLOWING * more
    across = max(map(len, rows))
    canvas = Image.new("RGB", (left + across * (width + _GAP), top + len(rows) * (height + _GAP)), "white")
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((left, _GAP), title, _INK, font)
    for x, caption in enumerate(captions):
        place = (left + x * (width + _GAP) + width // 2, top - _GAP)
        draw.text(place, caption, _INK, font, anchor="md", align="center")
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            canvas.paste(Image.fromarray(tile), (left + x * (width + _GAP), top + y * (height + _GAP)))
        if names:
            place = (left - 2 * _GAP, top + y * (height + _GAP) + height // 2)
            draw.text(place, names[y], _INK, font, anchor="rm")
    return np.asarray(canvas)


def sheet(tiles: Sequence[Photo]) -> Photo:
    """Tiles of one size in about as many rows as columns.

    >>> sheet([np.zeros((8, 8, 3), np.uint8)] * 4).shape
    (34, 34, 3)
    """
    across = max(1, round(len(tiles) ** 0.5))
    return grid([tiles[i : i + across] for i in range(0, len(tiles), across)])


def wrap(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Break a caption between its words so that no line is wider than a tile; a word alone may be."""
    lines = [""]
    for word in caption.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def side_by_side(tiles: Sequence[Photo], captions: Sequence[str]) -> Photo:
    """One row of tiles, each under its caption."""
    return grid([tiles], columns=captions)


def beside(blocks: Sequence[Photo]) -> Photo:
    """Blocks of any sizes from left to right on white, their lower edges in line."""
    height = max(block.shape[0] for block in blocks)
    padded = [np.pad(b, ((height - b.shape[0], 0), (0, 0), (0, 0)), constant_values=255) for b in blocks]
    return np.concatenate(padded, 1)


def fit(photo: Photo, size: int) -> Photo:
    """A whole photo inside a white square of that side."""
    image = Image.fromarray(photo)
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (size, size), "white")
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return np.asarray(square)


def enlarge(picture: Photo, side: int) -> Photo:
    """A small square picture at ``side`` pixels, a multiple of its own, each pixel repeated."""
    factor = side // len(picture)
    return picture.repeat(factor, 0).repeat(factor, 1)


def label(picture: Photo, text: str) -> Photo:
    """A picture with words on a dark strip over its lower edge; its size stays."""
    image = Image.fromarray(picture)
    size = max(9, image.height // 18)
    font = ImageFont.load_default(size)
    while size > 6 and font.getlength(text) > image.width - 8:
        size -= 1
        font = ImageFont.load_default(size)
    draw, strip = ImageDraw.Draw(image), size + max(4, size // 2)
    draw.rectangle((0, image.height - strip, image.width, image.height), (120, 20, 20))
    draw.text((4, image.height - strip // 2), text, (255, 255, 255), font, anchor="lm")
    return np.asarray(image)
