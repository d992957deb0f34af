"""A street segmenter that others trained: it judges codecs whose training, policy and choice of weights it has never seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.errors import BadInput
from semcast.metrics.onnx import open_session

if TYPE_CHECKING:
    from jaxtyping import Float, Integer

USUAL = "espnetv2_s2_cityscapes.onnx"
"""ESPNetv2 (Mehta et al. 2019, arXiv:1811.11431) on Cityscapes."""
CLASSES, HEIGHT, WIDTH = 19, 256, 512


class StreetSegmenter:
    """An ONNX segmenter of Cityscapes' 19 classes: RGB ``[1, 3, 256, 512]`` in [0, 1] → logits ``[1, 19, 256, 512]``.

    Args:
        path: the ONNX file.
        threads: CPU threads for it.

    Raises:
        SemcastError: onnxruntime is not installed, or the file is no such model.
    """

    def __init__(self, path: Path | str, threads: int = 2) -> None:
        self.path = Path(path)
        self._session = open_session(self.path, threads, "segmenter")
        inputs = self._session.get_inputs()
        self._input = inputs[0].name if inputs else ""
        try:
            found = self._run(np.zeros((1, 3, HEIGHT, WIDTH), np.float32))
        except Exception as error:
            raise BadInput(f"{self.path} does not take streets [1, 3, {HEIGHT}, {WIDTH}] of float32") from error
        if getattr(found, "shape", None) != (1, CLASSES, HEIGHT, WIDTH):
            raise BadInput(f"{self.path} does not give {CLASSES} classes for each pixel of a street")

    def _run(self, image: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._session.run(None, {self._input: image})[0]
        return found

    @torch.no_grad()
    def labels(self, image: Float[Tensor, "batch 3 height width"]) -> Integer[Tensor, "batch height width"]:
        """Label each pixel of streets squeezed to any size: stretched to 2:1 for the network, its logits squeezed back."""
        wide = F.interpolate(image.float().cpu(), (HEIGHT, WIDTH), mode="bilinear", antialias=True)
        logits = torch.cat([torch.from_numpy(self._run(each[None].numpy())) for each in wide])
        back = F.interpolate(logits, image.shape[-2:], mode="bilinear", antialias=True)
        return back.argmax(1).to(image.device)
