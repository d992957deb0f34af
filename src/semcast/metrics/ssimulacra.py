"""SSIMULACRA2: the number that users of photo codecs ask for, by the package ``ssimulacra2`` (BSD-3, optional)."""

from __future__ import annotations

import importlib.util
import io

import torch
from PIL import Image
from torch import Tensor

from semcast.errors import BadInput, Missing
from semcast.photos import to_uint8

SHORTEST = 225
"""The shortest side, px, that leaves 8 px at the sixth scale: with fewer scales the weights meet other terms."""


def missing() -> str | None:
    """One sentence that says how to get it; None when it is there."""
    if importlib.util.find_spec("ssimulacra2") is None:
        return 'SSIMULACRA2 is left out: pip install "semcast[judges]"'
    return None


def ssimulacra2(photo: Tensor, picture: Tensor) -> Tensor:
    """SSIMULACRA2 ``[B]`` of pictures ``[B, 3 (1), H, W]`` in [0, 1] against their photos, on 8-bit values.

    Sneyers, SSIMULACRA 2 (Cloudinary, 2022): 100 for the same picture, 90 visually lossless, 70 high, 50 medium, 30 low
    quality; negative where little is left. Six scales of SSIM and of edges lost or made, in XYB, weighted to fit scores
    of viewers. About an eighth of a second of processor time for 256 x 256. Not symmetric: the photo comes first.

    Raises:
        SemcastError: the package is absent, the shapes differ, or a side is shorter than 225 px.
    """
    if message := missing():
        raise Missing(message)
    if photo.shape != picture.shape:
        raise BadInput(f"photo and picture differ in shape: {[*photo.shape]} and {[*picture.shape]}")
    if min(photo.shape[-2:]) < SHORTEST:
        raise BadInput(f"SSIMULACRA2 needs sides of at least {SHORTEST} px, not {min(photo.shape[-2:])}")
    from ssimulacra2 import compute_ssimulacra2

    values = [compute_ssimulacra2(_file(a), _file(b)) for a, b in zip(photo, picture, strict=True)]
    return torch.tensor(values, dtype=torch.float32, device=photo.device)


def _file(image: Tensor) -> io.BytesIO:
    """A picture as an uncompressed file in memory, which is what the package reads."""
    file = io.BytesIO()
    Image.fromarray(to_uint8(image.expand(3, -1, -1))).save(file, "BMP")
    file.seek(0)
    return file
