"""Find the face in any photo and align it to the geometry of the training faces.

::

    photo ── cascade ── rough square ──┬── parser ── eyes, mouth ── least-squares similarity ──┐
                                       └───────────────────── again, twice ────────────────────┴── aligned 256 x 256

A similarity (scale, rotation, shift) is one complex line, ``photo = a · aligned + b`` with x + jy for a point, so the
least-squares fit (Umeyama 1991, in the plane and without mirroring) is one division.
Pixel coordinates are (x, y) with whole numbers at the pixel centres.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from semcast.domains import PARTS
from semcast.errors import SemcastError
from semcast.networks.segmenter import FaceParser
from semcast.photos import Photo

Point = tuple[float, float]
Complexes = NDArray[np.complex128]

FRAME = 256
# Where the training faces have them, (x, y) in the 256 px frame: mean centroids over the first 100 masks of each
# faces256/train shard (500 photos, 470 of them without glasses); the eyes are the two halves of the part "eyes" left
# and right of its centroid. Spread of one photo: eyes 4.9 x 1.6 px, mouth 2.6 x 4.2 px, nose 4.2 x 3.6 px.
LEFT_EYE: Point = (96.6, 121.8)
RIGHT_EYE: Point = (158.4, 121.8)
MOUTH: Point = (127.0, 191.6)
NOSE: Point = (126.6, 147.2)
# The same for the halves of the part "glasses" where it hides the eyes (25 photos, medians).
LEFT_LENS: Point = (92.2, 127.1)
RIGHT_LENS: Point = (161.1, 126.5)
# What the cascade calls a face, in the same frame: mean over 28 faces of faces256/val.
_BOX_CENTRE = 128.2 + 142.4j
_BOX_SIDE = 161.0

_FACE_CENTRE = 127.5 + 140.0j

_THUMBNAIL = 400  # longest side of what the cascade sees, px
_SMALLEST_BOX = 26
_TILTS = (20.0, -20.0, 35.0, -35.0)  # degrees, where no upright face was found
_CANDIDATES = 8
_SQUARES = (1.3, 1.0, 0.7, 0.5)  # sides over the photo's shorter one
_SMALLEST_SQUARE = 48.0  # px
_MOST_SQUARES = 160  # a panorama would ask for thousands
_BATCH = 8
_ROUNDS = 3
_SEEN = 60.0  # px² of the frame: less of a part counts as none of it
_SEEN_LENSES = 400.0
_MIN_EYE_DISTANCE = 8.0  # photo px
_MAX_TILT = 45.0  # degrees
_MAX_SHIFT = 4.0  # px of the frame: a face settles within 1 px, texture does not
_ONE_GUESS = 50.0  # px of the frame
_ONE_FACE = 90.0
_MIN_SCORE = 0.42  # where the cascade saw an upright face
_MIN_SCORE_BLIND = 0.52  # where it did not


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
class _Similarity:
    """photo = a · aligned + b."""

    a: complex
    b: complex

    def __call__(self, z: complex) -> complex:
        return self.a * z + self.b

    def __matmul__(self, inner: _Similarity) -> _Similarity:
        return _Similarity(self.a * inner.a, self(inner.b))

    @staticmethod
    def fit(aligned: Complexes, photo: Complexes) -> _Similarity:
        """Least squares over pairs of points: a = Σ z̄ p / Σ |z|² with both centred, b = mean(p) - a · mean(z)."""
        z = aligned - aligned.mean()
        a = complex((z.conj() * (photo - photo.mean())).sum() / np.square(np.abs(z)).sum())
        return _Similarity(a, complex(photo.mean()) - a * complex(aligned.mean()))

    @staticmethod
    def of_square(centre: complex, side: float, inner: complex, inner_side: float, turn: complex = 1.0) -> _Similarity:
        """The one that puts a square of the frame (centre, side) onto a square of the photo."""
        a = turn * side / inner_side
        return _Similarity(a, centre - a * inner)


@dataclass(frozen=True)
class _Look:
    """What one look of the parser gives, in the 256 px frame of that look: the points found and the canonical ones."""

    found: Complexes
    canonical: Complexes
    score: float

    @property
    def correction(self) -> _Similarity:
        """A better frame → this frame."""
        return _Similarity.fit(self.canonical, self.found)

    @property
    def shift(self) -> float:
        """How far the correction still moves a canonical point, in pixels."""
        better = self.correction
        return max(abs(better(complex(z)) - complex(z)) for z in self.canonical)


@dataclass(frozen=True)
class _Face:
    where: _Similarity
    look: _Look


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
        SemcastError: there is no face, or none that the parser confirms.
    """
    for guesses, least in _guesses(photo):
        faces = _confirmed(photo, guesses, parser, least)
        if faces:
            where, look = faces[0].where, faces[0].look
            left, right, mouth = (_point(where(complex(z))) for z in look.found)
            a, b = where.a, where.b
            matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
            return _crop(photo, where, size), Alignment(matrix, (left, right), mouth, len(faces), look.score)
    raise SemcastError(f"no face found in {name}")


def _point(z: complex) -> Point:
    return (z.real, z.imag)


# ---- the rough guess -------------------------------------------------------------------------------------------------


def _guesses(photo: Photo) -> Iterator[tuple[list[_Similarity], float]]:
    """Where a face may be, and the score that confirms one; the cheapest and surest idea first.

    The next idea is asked for when nothing of the one before was a face.
    """
    thumbnail, reduction = _thumbnail(photo)
    yield _distinct(_detect(thumbnail, reduction, 0.0)), _MIN_SCORE
    yield _distinct([guess for tilt in _TILTS for guess in _detect(thumbnail, reduction, tilt)]), _MIN_SCORE_BLIND
    yield list(islice(_squares(photo), _MOST_SQUARES)), _MIN_SCORE_BLIND


def _squares(photo: Photo) -> Iterator[_Similarity]:
    """Overlapping squares of a few sizes: the parser itself finds a large face that the cascade misses."""
    height, width = photo.shape[:2]
    for share in _SQUARES:
        side = max(share * min(height, width), _SMALLEST_SQUARE)
        for y in _steps(height, side):
            for x in _steps(width, side):
                yield _Similarity.of_square(complex(x, y), side, _FACE_CENTRE, FRAME)


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


def _detect(thumbnail: Image.Image, reduction: float, tilt: float) -> list[_Similarity]:
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
        guesses.append(_Similarity.of_square(upright * reduction, side, _BOX_CENTRE, _BOX_SIDE, turn))
    return guesses


def _distinct(guesses: list[_Similarity]) -> list[_Similarity]:
    """The largest guesses first, each place, size and tilt once."""
    kept: list[_Similarity] = []
    for guess in sorted(guesses, key=lambda g: -abs(g.a)):
        if not any(_distance(guess, other) < _ONE_GUESS and abs(guess.a / other.a - 1) < 0.25 for other in kept):
            kept.append(guess)
    return kept[:_CANDIDATES]


def _distance(one: _Similarity, other: _Similarity) -> float:
    """How far apart two similarities place the nose, in pixels of the larger one's frame."""
    nose = complex(*NOSE)
    return abs(one(nose) - other(nose)) / max(abs(one.a), abs(other.a))


# ---- the exact place -------------------------------------------------------------------------------------------------


def _confirmed(photo: Photo, guesses: list[_Similarity], parser: FaceParser, least: float) -> list[_Face]:
    """The guesses that turn out to be faces, exactly placed; each face once, the largest first."""
    found: list[_Face] = []
    side = parser.config.size
    for start in range(0, len(guesses), _BATCH):
        some = guesses[start : start + _BATCH]
        for guess, chance in zip(some, _see([_crop(photo, g, side) for g in some], parser), strict=True):
            face = _refine(photo, guess, _read(chance), parser)
            if face is not None and face.look.score >= least:
                found.append(face)
    faces: list[_Face] = []
    for face in sorted(found, key=lambda f: -f.look.score):  # of two readings of one face the better one
        if not any(_distance(face.where, other.where) < _ONE_FACE for other in faces):
            faces.append(face)
    return sorted(faces, key=lambda f: -abs(f.where.a))


def _refine(photo: Photo, where: _Similarity, look: _Look | None, parser: FaceParser) -> _Face | None:
    """Fit, look again, fit again; None where the parser sees no eyes or mouth, or the place does not settle."""
    for _ in range(_ROUNDS):
        if look is None:
            return None
        where = where @ look.correction
        if not _sane(where, photo):
            return None
        look = _read(_see([_crop(photo, where, parser.config.size)], parser)[0])
    return None if look is None or look.shift > _MAX_SHIFT else _Face(where, look)


def _sane(where: _Similarity, photo: Photo) -> bool:
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


def _see(crops: list[Photo], parser: FaceParser) -> NDArray[np.float64]:
    """Probability of each part, ``[crops, 13, side, side]``."""
    device = next(parser.parameters()).device
    images = torch.tensor(np.stack(crops), device=device).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return parser(images).float().softmax(1).double().cpu().numpy()


def _read(chance: NDArray[np.float64]) -> _Look | None:
    """Eyes and mouth from the parser's probabilities ``[13, side, side]``; None where one is missing."""
    side = chance.shape[-1]
    axis = (np.arange(side) + 0.5) * FRAME / side - 0.5
    grid: Complexes = axis[None, :] + 1j * axis[:, None]
    # The haze of a large area would pull a centroid: weak probabilities do not count.
    eyes, lenses, mouth, nose = (
        np.where((weight := chance[PARTS.index(part)]) > 0.25, weight, 0.0)
        for part in ("eyes", "glasses", "mouth", "nose")
    )
    seen = _SEEN * (side / FRAME) ** 2
    if mouth.sum() < seen or nose.sum() < seen:
        return None
    hidden = eyes.sum() < seen
    pair = _two(grid, lenses if hidden else eyes, _SEEN_LENSES / _SEEN * seen if hidden else seen)
    if pair is None:
        return None
    found = np.array([*pair, _centroid(grid, mouth)])
    if ((found[2] - found[0]) / (found[1] - found[0])).imag < 0.4:  # the mouth is not below the eyes
        return None
    frame = (LEFT_LENS, RIGHT_LENS, MOUTH) if hidden else (LEFT_EYE, RIGHT_EYE, MOUTH)
    return _Look(found, np.array([complex(*point) for point in frame]), _score(chance, grid))


def _centroid(grid: Complexes, weight: NDArray[np.float64]) -> complex:
    return complex((grid * weight).sum() / weight.sum())


def _two(grid: Complexes, weight: NDArray[np.float64], least: float) -> tuple[complex, complex] | None:
    """Centroids of the two blobs of a part, left one first (2-means from its two ends); None where there is nothing."""
    if weight.sum() < least:
        return None
    points, weights = grid[weight > 0], weight[weight > 0]
    centred = points - (points * weights).sum() / weights.sum()
    spread = complex((weights * centred**2).sum())
    along = (centred * cmath.exp(-0.5j * cmath.phase(spread))).real  # the first principal axis
    right = along > 0
    for _ in range(8):
        if not right.any() or right.all():
            return None
        ends = [complex((points[s] * weights[s]).sum() / weights[s].sum()) for s in (~right, right)]
        right = np.abs(points - ends[1]) < np.abs(points - ends[0])
    ends.sort(key=lambda z: z.real)
    return ends[0], ends[1]


def _score(chance: NDArray[np.float64], grid: Complexes) -> float:
    """Share of eyes, mouth and nose that lies where a face has them, times how surely the middle is a face; 0..1.

    Measured with a parser of mIoU 0.6: 79 of 80 faces over 0.52 (one was misaligned: 0.15); 156 places without a face
    where the parser saw eyes, nose and mouth all the same: below 0.32.
    """
    eyes, lenses, mouth, nose, brows, skin = (
        chance[PARTS.index(part)] for part in ("eyes", "glasses", "mouth", "nose", "brows", "skin")
    )

    def near(point: Point, radius: float) -> NDArray[np.bool_]:
        return np.abs(grid - complex(*point)) < radius

    x, y = grid.real - 127.5, grid.imag
    band = (np.abs(x) < 70) & (np.abs(y - LEFT_EYE[1]) < 26)
    middle = np.hypot(x / 62, (y - 150) / 80) < 1
    in_place = (eyes * (near(LEFT_EYE, 26) | near(RIGHT_EYE, 26)) + lenses * band).sum() / (eyes + lenses).sum()
    for weight, point in ((mouth, MOUTH), (nose, NOSE)):
        in_place *= (weight * near(point, 36)).sum() / weight.sum()
    face = (skin + eyes + lenses + brows + mouth + nose)[middle].mean()
    return float(in_place * face * chance.max(0)[middle].mean())


# ---- the crop --------------------------------------------------------------------------------------------------------


def _crop(photo: Photo, where: _Similarity, size: int) -> Photo:
    """The 256 px frame cut out of the photo as ``[size, size, 3]``, low-pass filtered, mirrored beyond the edges."""
    half = 0.5 + 0.5j
    a = where.a * FRAME / size
    b = where.b + half - where.a * half  # from here on corners, not pixel centres, are whole numbers: Pillow's way
    corners = np.array([a * size * z + b for z in (0, 1, 1j, 1 + 1j)])
    reduction = max(1, math.ceil(abs(a) / 2))
    margin = 4 * reduction
    left, right = math.floor(corners.real.min()) - margin, math.ceil(corners.real.max()) + margin
    top, bottom = math.floor(corners.imag.min()) - margin, math.ceil(corners.imag.max()) + margin
    patch = photo[np.ix_(_mirrored(top, bottom, photo.shape[0]), _mirrored(left, right, photo.shape[1]))]
    image = Image.fromarray(patch)
    if reduction > 1:
        image = image.reduce(reduction)
    a, b = a / reduction / 2, (b - complex(left, top)) / reduction
    # Twice the size and then half of it: bicubic alone would alias where the photo is finer than the frame.
    fine = image.transform(
        (2 * size, 2 * size),
        Image.Transform.AFFINE,
        (a.real, -a.imag, b.real, a.imag, a.real, b.imag),
        Image.Resampling.BICUBIC,
    )
    return np.asarray(fine.resize((size, size), Image.Resampling.LANCZOS))


def _mirrored(start: int, stop: int, length: int) -> NDArray[np.intp]:
    """Indices start..stop-1 of an axis that goes on as its own mirror image beyond both ends."""
    index = np.arange(start, stop) % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)
