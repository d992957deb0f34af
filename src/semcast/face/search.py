"""Where a face may be: what a cascade of local binary patterns sees, upright and tilted, and then squares all over the photo."""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semcast.face.geometry import BOX_CENTRE, BOX_SIDE, FRAME, Similarity, distance
from semcast.photos import Photo

_FACE_CENTRE = 127.5 + 140.0j

_THUMBNAIL = 400  # longest side of what the cascade sees, px
_SMALLEST_BOX = 26
_TILTS = (20.0, -20.0, 35.0, -35.0)  # degrees, where no upright face was found
_CANDIDATES = 8
_SQUARES = (1.3, 1.0, 0.7, 0.5)  # sides over the photo's shorter one
_SMALLEST_SQUARE = 48.0  # px
_MOST_SQUARES = 160  # a panorama would ask for thousands
_MIN_SCORE = 0.42  # where the cascade saw an upright face
_MIN_SCORE_BLIND = 0.52  # where it did not
_ONE_GUESS = 50.0  # px of the frame


@dataclass(frozen=True)
class Idea:
    """Where a face may be: rough similarities, the surest first or (``blind``) in no order, many and hardly one of them right."""

    guesses: list[Similarity]
    least: float = _MIN_SCORE_BLIND
    """The score that confirms one of them."""
    blind: bool = False


def guess(photo: Photo) -> Iterator[Idea]:
    """Where a face may be; the cheapest and surest idea first.

    The next idea is asked for when nothing of the one before was a face.
    """
    thumbnail, reduction = _thumbnail(photo)
    yield Idea(pick_distinct(detect(thumbnail, reduction, 0.0)), least=_MIN_SCORE)
    yield Idea(pick_distinct([rough for tilt in _TILTS for rough in detect(thumbnail, reduction, tilt)]))
    yield Idea(list(islice(tile(photo), _MOST_SQUARES)), blind=True)


def tile(photo: Photo) -> Iterator[Similarity]:
    """Overlapping squares of a few sizes: the parser itself finds a large face that the cascade misses."""
    height, width = photo.shape[:2]
    for share in _SQUARES:
        side = max(share * min(height, width), _SMALLEST_SQUARE)
        for y in _steps(height, side):
            for x in _steps(width, side):
                yield Similarity.of_square(complex(x, y), side, _FACE_CENTRE, FRAME)


def _steps(length: int, side: float) -> NDArray[np.float64]:
    """Centres along an axis, about a third of a side apart; a face is not cut by more than a tenth of a side."""
    free = length - 0.8 * side
    if free <= 0:
        return np.array([length / 2])
    return np.linspace(0.4 * side, length - 0.4 * side, 1 + round(free / side * 3))


@cache
def _cascade() -> object:
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())


def _thumbnail(photo: Photo) -> tuple[Image.Image, float]:
    """A grey copy of at most 400 px, and how many photo pixels one of its pixels is."""
    reduction = max(1.0, max(photo.shape[:2]) / _THUMBNAIL)
    size = (max(1, round(photo.shape[1] / reduction)), max(1, round(photo.shape[0] / reduction)))
    return Image.fromarray(photo).convert("L").resize(size, Image.Resampling.BOX), reduction


def detect(thumbnail: Image.Image, reduction: float, tilt: float) -> list[Similarity]:
    """What the cascade takes for faces tilted by ``tilt`` degrees (clockwise), as rough similarities."""
    grey = thumbnail.rotate(tilt, Image.Resampling.BILINEAR, expand=True, fillcolor=128) if tilt else thumbnail
    if min(grey.size) < _SMALLEST_BOX:
        return []
    boxes = _cascade().detect_multi_scale(  # type: ignore[attr-defined]
        np.asarray(grey),
        scale_factor=1.1,
        step_ratio=1.0,
        min_size=(_SMALLEST_BOX, _SMALLEST_BOX),
        max_size=grey.size[::-1],
    )
    turn = cmath.exp(1j * math.radians(tilt))
    middle = complex(*grey.size) / 2
    guesses = []
    for box in boxes:
        centre = complex(box["c"] + box["width"] / 2, box["r"] + box["height"] / 2)
        upright = (centre - middle) * turn + complex(*thumbnail.size) / 2
        side = box["width"] * reduction
        guesses.append(Similarity.of_square(upright * reduction, side, BOX_CENTRE, BOX_SIDE, turn))
    return guesses


def pick_distinct(guesses: list[Similarity]) -> list[Similarity]:
    """The largest guesses first, each place, size and tilt once."""
    kept: list[Similarity] = []
    for guess in sorted(guesses, key=lambda g: -abs(g.a)):
        if not any(distance(guess, other) < _ONE_GUESS and abs(guess.a / other.a - 1) < 0.25 for other in kept):
            kept.append(guess)
    return kept[:_CANDIDATES]
