"""How the recipes of the links measure a system on val."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.channels import make_channel
from semcast.link import Budget, System
from semcast.metrics.identity import Identity
from semcast.metrics.perceptual import find_weights
from semcast.metrics.pixel import psnr_db
from semcast.train.data import Faces

POINTS = ((64, 0.0), (64, 10.0), (640, 0.0), (640, 10.0))
"""k and SNR (dB) of the measurements."""

JUDGE = "mobileface_v2.onnx"
"""The embedder that measures on val: no loss sees it."""


def load_judge() -> Identity | None:
    """The embedder that no loss sees; None where its file is not here."""
    path = find_weights(JUDGE)
    return Identity(path) if path is not None else None


@torch.no_grad()
def measure_over_awgn(
    system: System, photos: Faces, *, points: Sequence[tuple[int, float]] = POINTS, lpips: nn.Module | None = None,
    identity: Identity | None = None, batch: int = 16,
) -> dict[str, float]:  # fmt: skip
    """Mean PSNR (dB) at each point, LPIPS and identity where their networks are given: ``psnr_<k>_<SNR>`` and so on.

    The noise is the same at each call. Photos are compared at the size that the system paints, on the system's device.
    """
    channel, found, device = make_channel("awgn"), dict[str, float](), device_of(system)
    for k, snr in points:
        fixed, values = torch.Generator().manual_seed(1), defaultdict[str, list[Tensor]](list)
        for index in torch.arange(len(photos)).split(batch):
            photo = photos.batch(index).to(device)
            image = system(photo, channel.draw(len(photo), k, snr, fixed), Budget(k, snr)).image
            photo = F.interpolate(photo, image.shape[-2:], mode="area")
            values["psnr"].append(psnr_db(photo, image))
            if lpips is not None:
                values["lpips"].append(lpips(photo, image))
            if identity is not None:
                values["identity"].append(identity.similarity(photo, image))
        for name, all_of_them in values.items():
            found[f"{name}_{k}_{snr:.0f}"] = round(float(torch.cat(all_of_them).mean()), 2 if name == "psnr" else 4)
    return found


@torch.no_grad()
def show_over_awgn(
    system: System, photos: Faces, *, points: Sequence[tuple[int, float]] = ((64, 10.0), (640, 0.0), (640, 10.0)), count: int = 6
) -> list[list[Tensor]]:  # fmt: skip
    """The first photos, then what arrives of them at each point: rows of ``[3, H, W]``, with the same noise at each call."""
    channel, photo = make_channel("awgn"), photos.batch(torch.arange(min(count, len(photos)))).to(device_of(system))
    rows = []
    for k, snr in points:
        draw = channel.draw(len(photo), k, snr, torch.Generator().manual_seed(1))
        rows.append(list(system(photo, draw, Budget(k, snr)).image))
    return [list(F.interpolate(photo, rows[0][0].shape[-2:], mode="area")), *rows]


def device_of(module: nn.Module) -> torch.device:
    """Where its parameters (or, for want of any, its buffers) are."""
    return next((tensor.device for tensor in (*module.parameters(), *module.buffers())), torch.device("cpu"))
