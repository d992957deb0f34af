"""A filter at the end of a receiver, which takes out what its network weaves into all pictures alike.

A hatch is too much power at the same frequencies of every picture (:mod:`semcast.metrics.texture`). What is always there can be
measured once and turned down, as loudspeakers are equalised to their room; the recipe ``equaliser`` does so on training photos.
It turns nothing up, and it does not see the photo: what the network paints of it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.errors import Missing
from semcast.networks.precision import exact
from semcast.weights import load

if TYPE_CHECKING:
    from jaxtyping import Float, Float64


@dataclass(frozen=True)
class EqualiserConfig:
    """``side`` of the kernel in pixels, odd."""

    side: int = 33


class Equaliser(nn.Module):
    """Convolves each colour with one ``kernel`` ``[side, side]`` of sum 1; at first with the one that changes nothing."""

    kernel: Tensor

    def __init__(self, config: EqualiserConfig | None = None) -> None:
        super().__init__()
        self.config = config or EqualiserConfig()
        kernel = torch.zeros(self.config.side, self.config.side)
        kernel[self.config.side // 2, self.config.side // 2] = 1
        self.register_buffer("kernel", kernel)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """The picture, equalised; beyond its edges it is mirrored. As a product of spectra: large kernels are slow otherwise."""
        far = self.config.side // 2
        with exact(image.device):
            padded = F.pad(image.float(), (far,) * 4, mode="reflect")
            size = padded.shape[-2:]
            spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(self.kernel, s=size)
            shown: Tensor = torch.fft.irfft2(spectrum, s=size)[..., 2 * far :, 2 * far :]
        return shown


def shape_kernel(gain: Float64[Tensor, "n n"], side: int) -> Float64[Tensor, "{side} {side}"]:
    """The kernel of a gain at each frequency (in the order of ``torch.fft.fftfreq``, the same at f and -f), cut off softly.

    The cut is the root of a Hann window, which blurs the gain over about 1 / side cycles a pixel; the sum is 1 again after it.
    """
    whole = torch.fft.fftshift(torch.fft.ifft2(gain).real)
    middle, far = len(gain) // 2, side // 2
    part = whole[middle - far : middle + far + 1, middle - far : middle + far + 1]
    fading = torch.hann_window(side + 2, periodic=False, dtype=gain.dtype)[1:-1].sqrt()
    kernel: Tensor = part * fading[:, None] * fading
    return kernel / kernel.sum()


def find_equaliser(name: str, fingerprint: str) -> Equaliser | None:
    """The equaliser ``equaliser-<name>`` of a system's weights; None where there is none, or it was measured on others.

    Args:
        fingerprint: of the weights that it must be for.

    Raises:
        Damaged: there is one, and it cannot be used.
    """
    try:
        checkpoint = load(f"equaliser-{name}", kind="equaliser")
    except Missing:
        return None
    if checkpoint.config.get("of") != fingerprint:
        return None
    return checkpoint.build(Equaliser, EqualiserConfig).eval()
