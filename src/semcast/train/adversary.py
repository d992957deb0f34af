"""Discriminators and their losses, used in training only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Tower(nn.Module):
    """Strided convolutions down to 1/16: ``[B, inputs, S, S]`` → a feature map after each."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        channels = (inputs, *widths)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(channels[i], width, 4, stride=2, padding=1)) for i, width in enumerate(widths)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at 1/2, 1/4, 1/8, ..."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return features


class PatchJudge(nn.Module):
    """Is each patch of the photo natural? Spectrally normalised PatchGAN; the face's frame is fixed, so it may know where."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 192), inputs: int = 3) -> None:
        super().__init__()
        self.tower = Tower(inputs, widths)
        self.head = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Image in [0, 1] (and further channels) → patch scores ``[B, 1, S/16, S/16]`` and features."""
        features = self.tower(image * 2 - 1)
        return self.head(features[-1]), features


class DualJudge(nn.Module):
    """Dual-branch discriminator (Semantic StyleGAN, sec. 3.4): an image tower and a mask tower, summed, then one head.

    It judges whether the picture is natural *and* whether the mask belongs to it.
    """

    def __init__(self, parts: int, widths: tuple[int, ...] = (24, 48, 96, 160, 192)) -> None:
        super().__init__()
        self.image, self.mask = Tower(3, widths), Tower(parts, (48, 96, widths[-1]))
        self.patch = spectral_norm(nn.Conv2d(widths[-2], 1, 3, padding=1))
        self.joint = nn.Sequential(
            spectral_norm(nn.Conv2d(widths[-1], widths[-1], 3, padding=1)), nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)),
        )  # fmt: skip

    def forward(self, image: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Image ``[B, 3, 256, 256]`` in [0, 1], mask probabilities ``[B, parts, 64, 64]`` → scores (texture patches of
        the image at 1/16; image and mask together at 1/32) and the image's features."""
        features = self.image(image * 2 - 1)
        joint = features[-1] + self.mask(mask * 2 - 1)[-1]
        return [self.patch(features[-2]), self.joint(joint)], features


def judge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge: E[max(0, 1 - D(real))] + E[max(0, 1 + D(fake))]."""
    return F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()


def painter_loss(fake: Tensor) -> Tensor:
    """-E[D(fake)]."""
    return -fake.float().mean()


def feature_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Feature matching: mean absolute difference of the discriminator's features (the real ones are a target)."""
    return torch.stack([(r.detach().float() - f.float()).abs().mean() for r, f in zip(real, fake, strict=True)]).mean()
