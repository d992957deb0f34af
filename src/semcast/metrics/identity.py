"""Identity: whether a face recogniser still takes the received face for the same person.

Every recogniser has its crop, its measure and its threshold; :data:`KINDS` knows them by the file's name. All of them are
ONNX files that semcast does not ship.

- *cosine* (ArcFace crops): s(a, b) = e(a)·e(b) / (|e(a)| |e(b)|); accepted from the threshold on;
- *distance* (dlib's ResNet; King, Dlib-ml, JMLR 2009): d(a, b) = |e(a) - e(b)|, accepted under 0.6, and s = 1 - d, so
  that 1 is the same picture and more is more alike for every recogniser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.errors import BadInput, SemcastError
from semcast.metrics.onnx import open_session

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SIDE = 112
DLIB_SIDE = 150
GEOMETRY = 256
SHORTEST = 64
"""The shortest side, px, of an aligned face that says something of who it is; smaller ones are left out of reports."""
# (x, y) of the two eye centres and the mouth centre: in semcast's aligned 256 px faces ...
ALIGNED_POINTS = ((97.0, 122.0), (158.0, 121.0), (128.0, 186.0))
# ... and in the 112 px ArcFace template (its two mouth corners averaged).
ARCFACE_POINTS = ((38.29, 51.70), (73.53, 51.50), (56.14, 92.285))
# dlib's own alignment (a chip of 150 px with padding 0.25) takes this square of the aligned 256 px face: left, top
_DLIB_LEFT, _DLIB_TOP = 53, 80


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The 2 x 3 matrix M of the similarity (scale, rotation, shift) with ``M [x, y, 1] ~ target``, least squares.

    Args:
        source: points ``[N, 2]``.
        target: points ``[N, 2]``.

    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    >>> bool(np.allclose(similarity_transform(square, 2 * square + 3), [[2, 0, 3], [0, 2, 3]]))
    True
    """
    x, y = source.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, shift_x, shift_y = np.linalg.lstsq(rows, np.concatenate([target[:, 0], target[:, 1]]), rcond=None)[0]
    return np.array([[a, -b, shift_x], [b, a, shift_y]])


def arcface_crop(image: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 3 112 112"]:
    """Aligned faces ``[B, 3, S, S]`` → the ArcFace crop ``[B, 3, 112, 112]``, same range.

    One fixed similarity for all images, since the aligned geometry is fixed; a crop pixel averages 2 x 2 samples.

    Raises:
        SemcastError: the images are not square.
    """
    image = _aligned(image)
    to_photo = np.linalg.inv(
        np.vstack([similarity_transform(np.array(ALIGNED_POINTS), np.array(ARCFACE_POINTS)), [0.0, 0.0, 1.0]])
    )
    axis = (np.arange(2 * SIDE) + 0.5) / 2 - 0.5
    x, y = np.meshgrid(axis, axis)
    points = np.stack([x, y, np.ones_like(x)], -1) @ to_photo[:2].T  # pixel coordinates in the photo
    grid = torch.tensor((2 * points + 1) / GEOMETRY - 1, dtype=torch.float32, device=image.device)
    fine = F.grid_sample(image, grid.expand(len(image), -1, -1, -1), mode="bilinear", align_corners=False)
    return F.avg_pool2d(fine, 2)


def dlib_crop(image: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 3 150 150"]:
    """Aligned faces ``[B, 3, S, S]`` → dlib's crop ``[B, 3, 150, 150]``: x 53..203, y 80..230 at 256 px, same range.

    Raises:
        SemcastError: the images are not square.
    """
    return _aligned(image)[..., _DLIB_TOP : _DLIB_TOP + DLIB_SIDE, _DLIB_LEFT : _DLIB_LEFT + DLIB_SIDE]


def _aligned(image: Tensor) -> Tensor:
    """Float32 faces of 256 x 256, three channels."""
    if image.shape[-1] != image.shape[-2]:
        raise BadInput(f"identity needs square aligned faces, not {image.shape[-1]} x {image.shape[-2]}")
    image = image.float()
    if image.shape[1] == 1:
        image = image.expand(-1, 3, -1, -1)
    if image.shape[-1] != GEOMETRY:
        image = F.interpolate(image, (GEOMETRY, GEOMETRY), mode="bilinear", antialias=True)
    return image


@dataclass(frozen=True)
class Kind:
    """How one recogniser is used.

    Args:
        side: its crops are ``[N, 3, side, side]``, RGB 0..255.
        crop: aligned faces ``[B, 3, S, S]`` → such crops, same range as the faces.
        measure: what its embeddings are compared by.
        threshold: the similarity from which, or the distance under which, two faces are one person; None: not known.
    """

    side: int
    crop: Callable[[Tensor], Tensor]
    measure: Literal["cosine", "distance"]
    threshold: float | None


KINDS = {
    "mobilefacenet": Kind(SIDE, arcface_crop, "cosine", 0.40),
    "mobileface_v2": Kind(SIDE, arcface_crop, "cosine", 0.47),
    "dlib_resnet": Kind(DLIB_SIDE, dlib_crop, "distance", 0.60),
}
"""Recognisers by the beginning of their file's name. About one stranger in a hundred passes the first's and dlib's threshold."""
UNKNOWN = Kind(SIDE, arcface_crop, "cosine", None)
"""Any other file: ArcFace crops and cosines, and no threshold, since it belongs to the weights."""


def kind_of(path: Path | str) -> Kind:
    """The kind of recogniser in a file, by the beginning of the file's name.

    >>> kind_of("weights/dlib_resnet_v1_face150.onnx").measure
    'distance'
    >>> print(kind_of("my-own.onnx").threshold)
    None
    """
    return next((kind for start, kind in KINDS.items() if Path(path).name.startswith(start)), UNKNOWN)


class Identity:
    """Similarity of face embeddings, through any ONNX face recogniser.

    The network takes crops ``[N, 3, side, side]``, RGB 0..255, and gives ``[N, D]``; how, and from which similarity on it
    takes two faces for one person, depends on it (:class:`Kind`). ONNX runs on the CPU; results go to the images' device.

    Args:
        path: the ONNX file.
        threads: CPU threads for it.
        kind: how it is used; by the file's name where it is not given.

    Raises:
        SemcastError: onnxruntime is not installed, or the file is no such model.
    """

    def __init__(self, path: Path | str, threads: int = 1, kind: Kind | None = None) -> None:
        self.path = Path(path)
        self.kind = kind or kind_of(self.path)
        self._session = open_session(self.path, threads, "identity")
        inputs = self._session.get_inputs()
        self._input = inputs[0].name if inputs else ""
        self._batch = inputs[0].shape[0] if inputs and inputs[0].shape else None  # a number where the model fixes it
        self._check()

    def _check(self) -> None:
        side = self.kind.side
        try:
            result = self._run(np.full((1, 3, side, side), 128.0, dtype=np.float32))
        except SemcastError:
            raise
        except Exception as error:
            raise BadInput(f"{self.path} does not take face crops [N, 3, {side}, {side}] of float32") from error
        if not isinstance(result, np.ndarray) or result.ndim != 2 or len(result) != 1 or result.dtype.kind != "f":
            raise BadInput(f"{self.path} does not give one embedding vector a face")

    def _run(self, crops: np.ndarray) -> np.ndarray:
        if not isinstance(self._batch, int):
            found: np.ndarray = self._session.run(None, {self._input: crops})[0]
            return found
        if self._batch != 1:
            raise BadInput(f"{self.path} takes only batches of {self._batch}")
        return np.concatenate([self._session.run(None, {self._input: crop[None]})[0] for crop in crops])

    @torch.no_grad()
    def embed(self, image: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dims"]:
        """Embeddings ``[B, D]`` of aligned faces ``[B, 3, S, S]`` in [0, 1], as :meth:`scores` compares them.

        They have unit length for cosines; for distances they are what the network gave.
        """
        crops = self.kind.crop(image).clamp(0.0, 1.0) * 255.0
        found = torch.from_numpy(self._run(crops.cpu().numpy())).float().to(image.device)
        return F.normalize(found, dim=1) if self.kind.measure == "cosine" else found

    def features(self, image: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dims"]:
        """Embeddings ``[B, D]`` of length sqrt(D): what :func:`semcast.metrics.kid.kid` compares sets of faces by."""
        found = self.embed(image)
        if self.kind.measure != "cosine":
            found = F.normalize(found, dim=1)
        scaled: Tensor = found * found.shape[1] ** 0.5
        return scaled

    def scores(self, a: Float[Tensor, "n dims"], b: Float[Tensor, "m dims"]) -> Float[Tensor, "n m"]:
        """Similarities ``[N, M]`` of all pairs of embeddings ``[N, D]`` and ``[M, D]``: cosines, or 1 - distance."""
        if self.kind.measure == "cosine":
            return a @ b.T
        return 1.0 - torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")

    def compare(self, a: Float[Tensor, "batch dims"], b: Float[Tensor, "batch dims"]) -> Float[Tensor, " batch"]:
        """Similarities ``[N]`` of embeddings ``[N, D]`` two by two: cosines, or 1 - distance."""
        if self.kind.measure == "cosine":
            return (a * b).sum(1)
        return 1.0 - (a - b).square().sum(1).sqrt()

    def similarity(
        self, a: Float[Tensor, "batch channels height width"], b: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, " batch"]:
        """Similarity ``[B]`` of the persons in aligned faces ``[B, 3, S, S]``; 1 for the same image."""
        return self.compare(self.embed(a), self.embed(b))

    @property
    def threshold(self) -> float | None:
        """The similarity from which two faces are one person (1 - 0.6 for dlib's distance); None: not known."""
        known = self.kind.threshold
        return known if known is None or self.kind.measure == "cosine" else 1.0 - known

    def verify(self, similarity: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Which similarities ``[...]`` mean the same person, bool ``[...]``; their mean is the verification rate.

        Raises:
            SemcastError: nobody has said from which similarity on this recogniser takes two faces for one person.
        """
        if self.threshold is None:
            raise BadInput(f"{self.path.name} has no known threshold: give it a Kind that has one")
        return similarity >= self.threshold if self.kind.measure == "cosine" else similarity > self.threshold

    @property
    def note(self) -> str:
        """One sentence on the rate of verified faces by this recogniser."""
        if self.threshold is None:
            return f"{self.path.name} has no known threshold: no rate of verified faces by it"
        rule = "a cosine of {} and more" if self.kind.measure == "cosine" else "a distance under {} (similarity is 1 - distance)"
        return f"{self.path.name} takes two faces for one person at {rule.format(f'{self.kind.threshold:.2f}')}"
