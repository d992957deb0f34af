"""Identity: whether a face recogniser still takes the received face for the same person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.errors import SemcastError

SIDE = 112
GEOMETRY = 256
# (x, y) of the two eye centres and the mouth centre: in semcast's aligned 256 px faces ...
ALIGNED_POINTS = ((97.0, 122.0), (158.0, 121.0), (128.0, 186.0))
# ... and in the 112 px ArcFace template (its two mouth corners averaged).
ARCFACE_POINTS = ((38.29, 51.70), (73.53, 51.50), (56.14, 92.285))


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


def arcface_crop(image: Tensor) -> Tensor:
    """Aligned faces ``[B, 3, S, S]`` → the ArcFace crop ``[B, 3, 112, 112]``, same range.

    One fixed similarity for all images, since the aligned geometry is fixed; a crop pixel averages 2 x 2 samples.

    Raises:
        SemcastError: the images are not square.
    """
    if image.shape[-1] != image.shape[-2]:
        raise SemcastError(f"identity needs square aligned faces, not {image.shape[-1]} x {image.shape[-2]}")
    image = image.float()
    if image.shape[-1] != GEOMETRY:
        image = F.interpolate(image, (GEOMETRY, GEOMETRY), mode="bilinear", antialias=True)
    to_photo = np.linalg.inv(
        np.vstack([similarity_transform(np.array(ALIGNED_POINTS), np.array(ARCFACE_POINTS)), [0.0, 0.0, 1.0]])
    )
    axis = (np.arange(2 * SIDE) + 0.5) / 2 - 0.5
    x, y = np.meshgrid(axis, axis)
    points = np.stack([x, y, np.ones_like(x)], -1) @ to_photo[:2].T  # pixel coordinates in the photo
    grid = torch.tensor((2 * points + 1) / GEOMETRY - 1, dtype=torch.float32, device=image.device)
    fine = F.grid_sample(image, grid.expand(len(image), -1, -1, -1), mode="bilinear", align_corners=False)
    return F.avg_pool2d(fine, 2)


class Identity:
    """Cosine similarity of face embeddings, through any ONNX face recogniser.

    The network takes ``[N, 3, 112, 112]``, RGB 0..255, ArcFace-aligned, and gives ``[N, D]``. Which similarity verifies
    a person depends on it: about .40 for mobilefacenet, .47 for mobileface_v2.

    Args:
        path: the ONNX file.
        threads: CPU threads for it.

    Raises:
        SemcastError: onnxruntime is not installed, or the file is no such model.
    """

    def __init__(self, path: Path | str, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise SemcastError("identity similarity needs onnxruntime: pip install onnxruntime") from error
        self.path = Path(path)
        if not self.path.is_file():
            raise SemcastError(f"there is no identity model {self.path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # failures reach the user as SemcastError
        try:
            self._session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise SemcastError(f"{self.path} is not an ONNX model that onnxruntime can read") from error
        inputs = self._session.get_inputs()
        self._input = inputs[0].name if inputs else ""
        self._batch = inputs[0].shape[0] if inputs and inputs[0].shape else None  # a number where the model fixes it
        self._check()

    def _check(self) -> None:
        try:
            result = self._run(np.full((1, 3, SIDE, SIDE), 128.0, dtype=np.float32))
        except SemcastError:
            raise
        except Exception as error:
            raise SemcastError(f"{self.path} does not take face crops [N, 3, {SIDE}, {SIDE}] of float32") from error
        if not isinstance(result, np.ndarray) or result.ndim != 2 or len(result) != 1 or result.dtype.kind != "f":
            raise SemcastError(f"{self.path} does not give one embedding vector a face")

    def _run(self, crops: np.ndarray) -> np.ndarray:
        if not isinstance(self._batch, int):
            return self._session.run(None, {self._input: crops})[0]
        if self._batch != 1:
            raise SemcastError(f"{self.path} takes only batches of {self._batch}")
        return np.concatenate([self._session.run(None, {self._input: crop[None]})[0] for crop in crops])

    @torch.no_grad()
    def embed(self, image: Tensor) -> Tensor:
        """Unit-length embeddings ``[B, D]`` of aligned faces ``[B, 3, S, S]`` in [0, 1]."""
        crops = arcface_crop(image).clamp(0.0, 1.0) * 255.0
        return F.normalize(torch.from_numpy(self._run(crops.cpu().numpy())).float(), dim=1)

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosine similarity ``[B]`` of the persons in aligned faces ``[B, 3, S, S]``; 1 for the same image."""
        return (self.embed(a) * self.embed(b)).sum(1)
