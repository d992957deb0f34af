"""Pixel fidelity: PSNR and MS-SSIM, one number an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.errors import BadInput
from semcast.networks.precision import exact

if TYPE_CHECKING:
    from jaxtyping import Float

MAX_PSNR_DB = 100.0
WINDOW, _SIGMA = 11, 1.5
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def psnr_db(
    a: Float[Tensor, "batch channels height width"], b: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, " batch"]:
    """PSNR ``[B]`` in dB of images ``[B, C, H, W]`` in [0, 1], each rounded to 8 bits as a file would store it.

    PSNR = 10 log10(255² / MSE), at most 100 dB (identical images).

    >>> black = torch.zeros(1, 3, 8, 8)
    >>> psnr_db(black, black + 0.1).round(decimals=1)  # 0.1 is byte 26
    tensor([19.8000])
    """
    error = _bytes(a) - _bytes(b)
    mse = error.square().flatten(1).mean(1)
    return (10.0 * torch.log10(255.0**2 / mse)).clamp_max(MAX_PSNR_DB).float()


def _bytes(image: Tensor) -> Tensor:
    return (image.double().clamp(0.0, 1.0) * 255.0).round()


def ms_ssim(
    a: Float[Tensor, "batch channels height width"], b: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, " batch"]:
    """Multi-scale structural similarity ``[B]`` of images ``[B, C, H, W]`` in [0, 1]; 1 for identical images.

    Wang, Simoncelli and Bovik, Multiscale structural similarity for image quality assessment, 2003, eq. 7: 11 x 11
    Gaussian window of sigma 1.5, five scales. A side under 176 px leaves less than one window at the fifth scale: then
    only as many scales are used as keep a whole window, their weights scaled to sum 1 (128 px: four, 64 px: three).

    >>> ms_ssim(torch.ones(2, 3, 176, 176), torch.ones(2, 3, 176, 176))
    tensor([1., 1.])

    Raises:
        SemcastError: a side is shorter than 11 px.
    """
    side = min(a.shape[-2:])
    if side < WINDOW:
        raise BadInput(f"MS-SSIM needs sides of at least {WINDOW} px, not {side}")
    scales = sum(side >> i >= WINDOW for i in range(len(_SCALE_WEIGHTS)))
    weights = [weight / sum(_SCALE_WEIGHTS[:scales]) for weight in _SCALE_WEIGHTS[:scales]]
    with exact(a.device):
        a, b = a.float(), b.float()
        result = torch.ones(a.shape[0], device=a.device)
        for scale, weight in enumerate(weights):
            luminance, contrast = _ssim_terms(a, b)
            last = scale == scales - 1
            term = luminance * contrast if last else contrast
            result = result * term.mean((1, 2, 3)).relu() ** weight
            if not last:
                a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return result


def full_scales_side() -> int:
    """The shortest side, px, that :func:`ms_ssim` has all five scales for.

    >>> full_scales_side()
    176
    """
    return WINDOW << (len(_SCALE_WEIGHTS) - 1)


def _ssim_terms(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The luminance map l and the contrast-structure map cs; SSIM = l · cs."""
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a * mean_a
    var_b = _blur(b * b) - mean_b * mean_b
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    return luminance, (2 * covariance + c2) / (var_a + var_b + c2)


def _blur(x: Tensor) -> Tensor:
    """Gaussian window, only where it fits."""
    offset = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    window = torch.softmax(-0.5 * (offset / _SIGMA) ** 2, 0)
    channels = x.shape[1]
    x = F.conv2d(x, window.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(x, window.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
