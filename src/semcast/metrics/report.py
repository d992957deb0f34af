"""All the metrics of one received image, those that this computer has the files for."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from semcast.errors import SemcastError
from semcast.metrics import perceptual
from semcast.metrics.identity import Identity
from semcast.metrics.perceptual import Lpips
from semcast.metrics.pixel import ms_ssim, psnr_db


class Metrics:
    """Measures received images against their photos.

    Args:
        lpips: perceptual distances by net (``squeeze``, ``vgg``), those available.
        identity: a face recogniser, or None.
        notes: what is left out and how to get it, one line each.
    """

    def __init__(self, lpips: dict[str, Lpips], identity: Identity | None, notes: list[str]) -> None:
        self.lpips = lpips
        self.identity = identity
        self.notes = notes

    @classmethod
    def load(cls, identity: Path | None = None, vgg: bool = True) -> Metrics:
        """The metrics available here.

        Args:
            identity: an ONNX face recogniser (see :class:`Identity`).
            vgg: LPIPS with VGG16 as well, where its weights are found; it takes about ten times as long as squeeze.

        Raises:
            SemcastError: the identity model cannot be used, or a weights file is damaged.
        """
        nets = ("squeeze", "vgg") if vgg else ("squeeze",)
        loaded = {net: Lpips.load(net) for net in nets}
        notes = [note for net in nets if (note := perceptual.missing(net))]
        if identity is None:
            notes.append("identity similarity is left out: name an ONNX face recogniser (112 x 112 ArcFace crops)")
        found = {net: lpips for net, lpips in loaded.items() if lpips is not None}
        return cls(found, Identity(identity) if identity is not None else None, notes)

    @torch.no_grad()
    def measure(self, photo: Tensor, received: Tensor) -> dict[str, float]:
        """``psnr_db``, ``ms_ssim`` and, where available, ``lpips_squeeze``, ``lpips_vgg``, ``identity``.

        Args:
            photo: ``[3, H, W]`` or ``[B, 3, H, W]`` in [0, 1]; of a batch the mean is given.
            received: the same shape.

        Raises:
            SemcastError: the shapes differ.
        """
        if photo.shape != received.shape:
            raise SemcastError(f"photo and received image differ in shape: {[*photo.shape]} and {[*received.shape]}")
        if photo.ndim == 3:
            photo, received = photo[None], received[None]
        values = {"psnr_db": psnr_db(photo, received), "ms_ssim": ms_ssim(photo, received)}
        for net, lpips in self.lpips.items():
            values[f"lpips_{net}"] = lpips(photo, received)
        if self.identity is not None:
            values["identity"] = self.identity.similarity(photo, received)
        return {name: float(value.mean()) for name, value in values.items()}
