"""Points of an aligned face, the similarity that places them in a photo, and the crop that it cuts.

A similarity (scale, rotation, shift) is one complex line, ``photo = a · aligned + b`` with x + jy for a point, so the
least-squares fit (Umeyama 1991, in the plane and without mirroring) is one division.
Pixel coordinates are (x, y) with whole numbers at the pixel centres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
BOX_CENTRE = 128.2 + 142.4j
BOX_SIDE = 161.0
ONE_FACE = 90.0  # px of the frame: two similarities nearer than that are readings of one face


@dataclass(frozen=True)
class Similarity:
    """photo = a · aligned + b."""

    a: complex
    b: complex

    def __call__(self, z: complex) -> complex:
        return self.a * z + self.b

    def __matmul__(self, inner: Similarity) -> Similarity:
        return Similarity(self.a * inner.a, self(inner.b))

    @staticmethod
    def fit(aligned: Complexes, photo: Complexes) -> Similarity:
        """Least squares over pairs of points: a = Σ z̄ p / Σ |z|² with both centred, b = mean(p) - a · mean(z)."""
        z = aligned - aligned.mean()
        a = complex((z.conj() * (photo - photo.mean())).sum() / np.square(np.abs(z)).sum())
        return Similarity(a, complex(photo.mean()) - a * complex(aligned.mean()))

    @staticmethod
    def of_square(centre: complex, side: float, inner: complex, inner_side: float, turn: complex = 1.0) -> Similarity:
        """The one that puts a square of the frame (centre, side) onto a square of the photo."""
        a = turn * side / inner_side
        return Similarity(a, centre - a * inner)


def distance(one: Similarity, other: Similarity) -> float:
    """How far apart two similarities place the nose, in pixels of the larger one's frame."""
    nose = complex(*NOSE)
    return abs(one(nose) - other(nose)) / max(abs(one.a), abs(other.a))


def crop(photo: Photo, where: Similarity, size: int) -> Photo:
    """The 256 px frame cut out of the photo as ``[size, size, 3]``, low-pass filtered, mirrored beyond the edges."""
    half = 0.5 + 0.5j
    a = where.a * FRAME / size
    b = where.b + half - where.a * half  # from here on corners, not pixel centres, are whole numbers: Pillow's way
    corners = np.array([a * size * z + b for z in (0, 1, 1j, 1 + 1j)])
    reduction = max(1, math.ceil(abs(a) / 2))
    margin = 4 * reduction
    left, right = math.floor(corners.real.min()) - margin, math.ceil(corners.real.max()) + margin
    top, bottom = math.floor(corners.imag.min()) - margin, math.ceil(corners.imag.max()) + margin
    patch = photo[np.ix_(_mirror(top, bottom, photo.shape[0]), _mirror(left, right, photo.shape[1]))]
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


def _mirror(start: int, stop: int, length: int) -> NDArray[np.intp]:
    """Indices start..stop-1 of an axis that goes on as its own mirror image beyond both ends."""
    index = np.arange(start, stop) % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)
