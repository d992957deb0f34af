"""A street that is drawn, not photographed: what the codec of streets shows where nobody brings a photo of one."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from semcast.photos import Photo

SIZE = (1024, 512)
"""It is drawn as wide as the photos that the codec was trained on, and then squeezed as they are."""
HORIZON = 232
_HOUSES = ((0, 20, 250, (150, 128, 108)), (250, 70, 352, (128, 118, 112)), (352, 120, 418, (164, 148, 126)),
           (1024, 10, 812, (118, 108, 104)), (812, 60, 700, (158, 134, 116)), (700, 112, 622, (136, 128, 120)))  # fmt: skip
"""The outer edge, the top of it, the inner edge, and the colour; their tops and feet run to the vanishing point."""
_CARS = ((150, 398, 150, (52, 58, 66)), (318, 318, 66, (140, 26, 26)), (812, 372, 118, (196, 198, 200)),
         (668, 300, 46, (40, 70, 120)))  # fmt: skip
"""The middle, the ground, the width and the paint."""


def draw_street() -> Photo:
    """A street under a pale sky: a road, pavements, houses, trees, cars, people and a sign, uint8 ``[256, 256, 3]``.

    >>> draw_street().shape
    (256, 256, 3)
    """
    rows = np.linspace(0, 1, HORIZON + 20)[:, None, None]
    sky = np.array((186, 202, 220)) * (1 - rows) + np.array((236, 238, 238)) * rows
    canvas = np.full((SIZE[1], SIZE[0], 3), 120.0)
    canvas[: HORIZON + 20] = sky
    image = Image.fromarray(canvas.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for outer, top, inner, colour in _HOUSES:
        _draw_house(draw, outer, top, inner, colour)
    _draw_ground(draw)
    for x, y, size in ((478, 190, 34), (440, 176, 46), (560, 188, 36), (604, 170, 52), (60, 210, 120)):
        _draw_tree(draw, x, y, size)
    for x, y, width, paint in _CARS:
        _draw_car(draw, x, y, width, paint)
    for x, y, height in ((900, 400, 150), (962, 416, 170), (392, 306, 52), (90, 452, 190)):
        _draw_person(draw, x, y, height)
    draw.rectangle((752, 96, 757, 330), (92, 94, 96))
    draw.polygon(((754, 92), (734, 126), (774, 126)), (206, 40, 36))
    draw.polygon(((754, 102), (742, 122), (766, 122)), (240, 240, 236))
    return _weather(image)


def _towards(x: float, y: float, at: float) -> float:
    """The height at which a line from a point to the vanishing point passes a place."""
    return y + (HORIZON - y) * (at - x) / (SIZE[0] / 2 - x)


def _draw_house(draw: ImageDraw.ImageDraw, outer: int, top: int, inner: int, colour: tuple[int, int, int]) -> None:
    """A front that runs into the picture, with windows and a darker ground floor."""
    edge = 0 if outer < SIZE[0] / 2 else SIZE[0]
    foot = _towards(edge, 412, outer)
    corners = ((outer, top), (inner, _towards(outer, top, inner)), (inner, _towards(outer, foot, inner)), (outer, foot))
    draw.polygon(corners, colour)
    shop = top + 0.72 * (foot - top)
    darker = tuple(int(0.7 * each) for each in colour)
    draw.polygon(((outer, shop), (inner, _towards(outer, shop, inner)), corners[2], corners[3]), darker)
    for floor in range(4):
        y = top + (0.08 + 0.16 * floor) * (foot - top)
        for window in range(5):
            left, right = (outer + (inner - outer) * (window + part) / 5 for part in (0.25, 0.7))
            low = y + 0.1 * (foot - top)
            pane = [(x, _towards(outer, level, x)) for x, level in ((left, y), (right, y), (right, low), (left, low))]
            draw.polygon(pane, (66, 74, 84))


def _draw_ground(draw: ImageDraw.ImageDraw) -> None:
    """Pavements, the road between them, and its lines."""
    far = HORIZON + 8
    draw.polygon(((0, 408), (500, far), (524, far), (1024, 408), (1024, 512), (0, 512)), (142, 134, 136))
    draw.polygon(((150, 512), (504, far), (522, far), (1010, 512)), (92, 90, 92))
    draw.line(((150, 512), (504, far)), (176, 172, 170), 5)
    for near, beyond in ((512, 456), (424, 390), (366, 342), (322, 308), (292, 282)):
        half = (near - far) / 60
        x, further = (512 + 0.02 * (y - far) for y in (near, beyond))
        dash = ((x - half, near), (further - half / 2, beyond), (further + half / 2, beyond), (x + half, near))
        draw.polygon(dash, (208, 206, 200))


def _draw_tree(draw: ImageDraw.ImageDraw, x: int, y: int, size: int) -> None:
    random = np.random.default_rng(size)
    draw.rectangle((x - size // 14, y, x + size // 14, y + 1.4 * size), (64, 52, 44))
    for dx, dy in random.normal(0, 0.36, (60, 2)) * size:
        shade = int(random.integers(-16, 16))
        radius = size / 5
        draw.ellipse((x + dx - radius, y + dy - radius, x + dx + radius, y + dy + radius), (58 + shade, 82 + shade, 48 + shade))


def _draw_car(draw: ImageDraw.ImageDraw, x: int, y: int, width: int, paint: tuple[int, int, int]) -> None:
    """A car from behind, standing on a line."""
    height = 0.8 * width
    half = width / 2
    draw.ellipse((x - 0.55 * width, y - 0.08 * width, x + 0.55 * width, y + 0.08 * width), (54, 54, 56))
    draw.rounded_rectangle((x - half, y - 0.6 * height, x + half, y - 0.08 * height), 0.08 * width, paint)
    roof = ((x - 0.44 * width, y - 0.58 * height), (x - 0.33 * width, y - height), (x + 0.33 * width, y - height),
            (x + 0.44 * width, y - 0.58 * height))  # fmt: skip
    draw.polygon(roof, paint)
    glass = [(x + 0.86 * (px - x), y - 0.6 * height + 0.8 * (py - y + 0.6 * height)) for px, py in roof]
    draw.polygon(glass, (40, 46, 54))
    for side in (-1, 1):
        lamp, wheel = (sorted((x + side * 0.46 * width, x + side * inner * width)) for inner in (0.34, 0.3))
        draw.rectangle((lamp[0], y - 0.5 * height, lamp[1], y - 0.38 * height), (176, 34, 30))
        draw.rectangle((wheel[0], y - 0.1 * height, wheel[1], y), (26, 26, 28))
    draw.rectangle((x - 0.14 * width, y - 0.3 * height, x + 0.14 * width, y - 0.22 * height), (226, 226, 220))


def _draw_person(draw: ImageDraw.ImageDraw, x: int, y: int, height: int) -> None:
    unit = height / 8
    hip = y - 4 * unit
    draw.polygon(((x - unit, y), (x - 0.8 * unit, hip), (x + 0.8 * unit, hip), (x + unit, y), (x, y - 3 * unit)), (42, 46, 62))
    draw.rounded_rectangle((x - 1.1 * unit, y - 6.8 * unit, x + 1.1 * unit, y - 3.8 * unit), unit / 2, (86, 50, 52))
    draw.ellipse((x - 0.5 * unit, y - 8 * unit, x + 0.5 * unit, y - 6.8 * unit), (188, 148, 126))


def _weather(image: Image.Image) -> Photo:
    """What a drawing lacks: soft edges, uneven surfaces, and the dim, greenish look of a camera behind a windscreen."""
    random = np.random.default_rng(0)
    uneven = np.zeros((SIZE[1], SIZE[0]), np.float32)
    for side, strength in ((24, 5.0), (96, 4.0), (384, 4.0)):
        noise = Image.fromarray(random.normal(0, strength, (side // 2, side)).astype(np.float32))
        uneven += np.asarray(noise.resize(SIZE, Image.Resampling.BICUBIC))
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(1.2)), np.float32) + uneven[..., None]
    dim = 255 * (np.clip(soft, 0, 255) / 255) ** 1.8 * np.array((0.93, 1.0, 0.95))
    squeezed: Photo = np.asarray(Image.fromarray(dim.astype(np.uint8)).resize((256, 256), Image.Resampling.LANCZOS))
    return squeezed
