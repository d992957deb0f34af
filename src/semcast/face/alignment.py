"""Find the face in any photo and align it to the geometry of the training faces (:func:`align`)."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semcast.errors import BadInput
from semcast.face.geometry import FRAME, LEFT_EYE, NOSE, ONE_FACE, RIGHT_EYE, Point, Similarity, crop, distance
from semcast.face.look import Look, read, see
from semcast.face.search import Idea, guess
from semcast.networks.segmenter import FaceParser
from semcast.photos import Photo

_BATCH = 8
_ROUNDS = 3
_MIN_EYE_DISTANCE = 8.0  # photo px
_MAX_TILT = 45.0  # degrees
_MAX_SHIFT = 4.0  # px of the frame: a face settles within 1 px, texture does not
_SCORE_MARGIN, _SHIFT_MARGIN = 0.05, 1.0  # a batch rounds otherwise than one photo alone


class NoFace(BadInput):
    """A photo without a face, where one was looked for."""


@dataclass(frozen=True)
class Alignment:
    """Where the aligned face came from.

    Attributes:
        matrix: ``[2, 3]``, (x, y, 1) in the 256 px frame → (x, y) in the photo, in pixels.
        eyes: centres in the photo in pixels, the image's left one first.
        mouth: its centre in the photo in pixels.
        faces_found: faces in the photo; the largest was aligned.
        score: 0..1, how much of what the parser sees lies where a face has it.
    """

    matrix: NDArray[np.float64]
    eyes: tuple[Point, Point]
    mouth: Point
    faces_found: int
    score: float

    @property
    def scale(self) -> float:
        """Photo pixels per pixel of the 256 px frame."""
        return math.hypot(self.matrix[0, 0], self.matrix[1, 0])

    @property
    def tilt_deg(self) -> float:
        """How far the head is turned clockwise in the photo, in degrees."""
        return math.degrees(math.atan2(self.matrix[1, 0], self.matrix[0, 0]))


@dataclass(frozen=True)
class _Face:
    where: Similarity
    look: Look


def align(photo: Photo, parser: FaceParser, size: int = FRAME, *, name: str = "the photo") -> tuple[Photo, Alignment]:
    """The largest face of a photo, moved to where the training faces are.

    Args:
        photo: uint8 ``[height, width, 3]``, upright.
        parser: finds eyes and mouth; in eval mode.
        size: side of the aligned face in pixels.
        name: what to call the photo in an error.

    Returns:
        The aligned face, uint8 ``[size, size, 3]`` (beyond the photo's edges it is mirrored), and where it was.

    Raises:
        NoFace: there is no face, or none that the parser confirms.
    """
    for idea in guess(photo):
        faces = _confirm(photo, idea, parser)
        if faces:
            where, look = faces[0].where, faces[0].look
            left, right, mouth = (_point(where(complex(z))) for z in look.found)
            a, b = where.a, where.b
            matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
            return crop(photo, where, size), Alignment(matrix, (left, right), mouth, len(faces), look.score)
    raise NoFace(f"no face found in {name}")


def _point(z: complex) -> Point:
    return (z.real, z.imag)


def _confirm(photo: Photo, idea: Idea, parser: FaceParser) -> list[_Face]:
    """The guesses that turn out to be faces, exactly placed; each face once, the largest first."""
    seen = list(zip(idea.guesses, _look(photo, idea.guesses, parser), strict=True))
    if idea.blind:
        seen = _screen(photo, seen, parser, idea.least)
    refined = [_refine(photo, where, look, parser) for where, look in seen]
    found = [face for face in refined if face is not None and face.look.score >= idea.least]
    faces: list[_Face] = []
    for face in sorted(found, key=lambda f: -f.look.score):  # of two readings of one face the better one
        if not any(distance(face.where, other.where) < ONE_FACE for other in faces):
            faces.append(face)
    return sorted(faces, key=lambda f: -abs(f.where.a))


def _look(photo: Photo, places: list[Similarity], parser: FaceParser) -> list[Look | None]:
    """What the parser sees at each place."""
    looks: list[Look | None] = []
    for start in range(0, len(places), _BATCH):
        some = places[start : start + _BATCH]
        looks += map(read, see([crop(photo, place, parser.config.size) for place in some], parser))
    return looks


def _screen(
    photo: Photo, seen: list[tuple[Similarity, Look | None]], parser: FaceParser, least: float
) -> list[tuple[Similarity, Look | None]]:
    """Those of many places that :func:`_refine` will confirm, found by the same steps for all of them at once.

    Most photos that come here have no face: one place after the other would take three times as long on a busy machine.
    """
    here = {i: (where, look) for i, (where, look) in enumerate(seen)}
    for _ in range(_ROUNDS):
        moved = {i: where @ look.correction for i, (where, look) in here.items() if look is not None}
        moved = {i: where for i, where in moved.items() if _is_sane(where, photo)}
        looks = _look(photo, list(moved.values()), parser)
        here = {i: (where, look) for (i, where), look in zip(moved.items(), looks, strict=True)}
    return [
        seen[i]
        for i, (_, look) in here.items()
        if look is not None and look.score >= least - _SCORE_MARGIN and look.shift <= _MAX_SHIFT + _SHIFT_MARGIN
    ]


def _refine(photo: Photo, where: Similarity, look: Look | None, parser: FaceParser) -> _Face | None:
    """Fit, look again, fit again; None where the parser sees no eyes or mouth, or the place does not settle."""
    for _ in range(_ROUNDS):
        if look is None:
            return None
        where = where @ look.correction
        if not _is_sane(where, photo):
            return None
        look = read(see([crop(photo, where, parser.config.size)], parser)[0])
    return None if look is None or look.shift > _MAX_SHIFT else _Face(where, look)


def _is_sane(where: Similarity, photo: Photo) -> bool:
    """Eyes far enough apart, head not too tilted, nose inside the photo, frame not far larger than the photo."""
    height, width = photo.shape[:2]
    nose = where(complex(*NOSE))
    return (
        abs(where.a) * (RIGHT_EYE[0] - LEFT_EYE[0]) >= _MIN_EYE_DISTANCE
        and abs(math.degrees(cmath.phase(where.a))) <= _MAX_TILT
        and 0 <= nose.real < width
        and 0 <= nose.imag < height
        and abs(where.a) * FRAME < 3 * max(height, width)
    )
