"""The rate-semantic-perceptual criterion (RSP): what a semantic codec is good at, in one number.

J = -(λr bpp + λs (1 - mIoU) + λp LPIPS)                   (after Huang et al. 2023, whose abstract gives no weights)

bpp is 8 x bytes / pixels, everything counted; mIoU is of the picture's labels against the photo's, over the classes in
either; LPIPS is by SqueezeNet. J is 0 for a picture that cannot be told from the photo and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from semcast.metrics.perceptual import Lpips
from semcast.metrics.semantic import counts, mean_iou_of_counts


@dataclass(frozen=True)
class Weights:
    """λr, λs and λp; the defaults are our choice.

    1 - mIoU and LPIPS both run from 0 to about 1, and neither is to be bought with the other: they weigh the same. λr is the
    price of a bit: 0.2 makes 410 bytes of a 256 x 256 photo cost as much as 0.01 of mIoU or of LPIPS. It was chosen on validation
    streets such that bits are worth sending over the budgets of interest and cease to be beyond them: a bpp more lowers
    LPIPS by 1.1 from no features to three steps (up to some 400 bytes), by 0.25 from three to five (600), by 0.17 from five to
    nine (800) and by 0.03 from there on. (AVIF's falls by 5.1 from 300 to 500 bytes and by 2.2 to 1,000, from far above.)
    """

    rate: float = 0.2
    semantic: float = 1.0
    perceptual: float = 1.0


WEIGHTS = Weights()


def bits_per_pixel(sent_bytes: float, pixels: int = 256 * 256) -> float:
    """bpp = 8 x bytes / pixels (not per colour sample).

    >>> bits_per_pixel(512)
    0.0625
    """
    return 8 * sent_bytes / pixels


@overload
def score(bpp: float, miou: float, lpips: float, weights: Weights = ...) -> float: ...
@overload
def score(bpp: Tensor, miou: Tensor, lpips: Tensor, weights: Weights = ...) -> Tensor: ...
def score(
    bpp: float | Tensor, miou: float | Tensor, lpips: float | Tensor, weights: Weights = WEIGHTS
) -> float | Tensor:
    """J = -(λr bpp + λs (1 - mIoU) + λp LPIPS); higher is better, 0 is the most.

    >>> score(0.0625, 0.75, 0.25)
    -0.5125
    """
    return -(weights.rate * bpp + weights.semantic * (1 - miou) + weights.perceptual * lpips)


@dataclass(frozen=True)
class Rsp:
    """What J is made of, for each picture: ``bpp``, ``miou`` and ``lpips`` ``[B]``, ``counts`` int64 ``[B, 3, classes]``."""

    bpp: Tensor
    counts: Tensor
    miou: Tensor
    lpips: Tensor | None
    weights: Weights = WEIGHTS

    @property
    def score(self) -> Tensor | None:
        """J ``[B]``; None where LPIPS is not available."""
        return None if self.lpips is None else score(self.bpp, self.miou, self.lpips, self.weights)


class Criterion:
    """Measures pictures against their photo.

    Args:
        labels: image ``[B, 3, H, W]`` → labels ``[B, H, W]``. A codec that chooses by J gives its own parser; a measurement
            that is reported gives the judge.
        lpips: the perceptual distance; None leaves it and J out.
        classes: how many categories there are.
        weights: those of J.
    """

    def __init__(
        self, labels: Callable[[Tensor], Tensor], lpips: Lpips | None, classes: int = 19, weights: Weights = WEIGHTS
    ) -> None:
        self.labels, self.lpips, self.classes, self.weights = labels, lpips, classes, weights

    @torch.no_grad()
    def measure(self, photo: Tensor, truth: Tensor, shown: Tensor, sent_bytes: Tensor) -> Rsp:
        """One value a picture.

        Args:
            photo: ``[B, 3, H, W]`` in [0, 1], or ``[1, 3, H, W]`` for several pictures of one photo.
            truth: its labels ``[B, H, W]`` or ``[1, H, W]``, 255 where unknown.
            shown: the pictures ``[B, 3, H, W]``.
            sent_bytes: ``[B]``, everything that was sent of each.
        """
        counted = counts(self.labels(shown), truth.expand(len(shown), -1, -1), self.classes)
        bpp = sent_bytes * bits_per_pixel(1, shown.shape[-1] * shown.shape[-2])
        lpips = None
        if self.lpips is not None:
            lpips = self.lpips.distance(self.lpips.features(shown), self.lpips.features(photo))
        return Rsp(bpp, counted, mean_iou_of_counts(counted), lpips, self.weights)
