"""All the metrics of one received image, those that this computer has the files for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from semcast.errors import SemcastError
from semcast.metrics import perceptual
from semcast.metrics.identity import Identity
from semcast.metrics.perceptual import Lpips
from semcast.metrics.pixel import ms_ssim, psnr_db

IDENTITIES = ("identity", "identity_2")


class Metrics:
    """Measures received images against their photos.

    Args:
        lpips: perceptual distances by net (``squeeze``, ``vgg``), those available.
        identity: face recognisers, at most two; the second one's similarity is called ``identity_2``. None is none.
        notes: what is left out and how to get it, and which recogniser gives which value, one line each.

    Raises:
        SemcastError: more than two recognisers.
    """

    def __init__(self, lpips: dict[str, Lpips], identity: Sequence[Identity] | None, notes: list[str]) -> None:
        identity = identity or ()
        if len(identity) > len(IDENTITIES):
            raise SemcastError(f"identity is measured by at most two models, not {len(identity)}")
        self.lpips = lpips
        self.identity = dict(zip(IDENTITIES, identity, strict=False))
        self.notes = notes

    @classmethod
    def load(cls, identity: Sequence[Path] | None = None, vgg: bool = True) -> Metrics:
        """The metrics available here.

        Args:
            identity: ONNX face recognisers, at most two (see :class:`Identity`).
            vgg: LPIPS with VGG16 as well, where its weights are found; it takes about ten times as long as squeeze.

        Raises:
            SemcastError: more than two identity models, one that cannot be used, or a damaged weights file.
        """
        recognisers = [Identity(path) for path in identity or ()]
        nets = ("squeeze", "vgg") if vgg else ("squeeze",)
        loaded = {net: Lpips.load(net) for net in nets}
        notes = [note for net in nets if (note := perceptual.missing(net))]
        if not recognisers:
            notes.append("identity similarity is left out: name an ONNX face recogniser (112 x 112 ArcFace crops)")
        for name, recogniser in zip(IDENTITIES, recognisers, strict=False):
            notes.append(f"{name.replace('_', ' ')} is by {recogniser.path.name}")
        found = {net: lpips for net, lpips in loaded.items() if lpips is not None}
        return cls(found, recognisers, notes)

    @torch.no_grad()
    def measure(self, photo: Tensor, received: Tensor) -> dict[str, float]:
        """``psnr_db``, ``ms_ssim`` and, where available, ``lpips_squeeze``, ``lpips_vgg``, ``identity``, ``identity_2``.

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
        for name, recogniser in self.identity.items():
            values[name] = recogniser.similarity(photo, received)
        return {name: float(value.mean()) for name, value in values.items()}
