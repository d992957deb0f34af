"""The rate-semantic-perceptual criterion (RSP): what a semantic codec is good at, in one number.

J = -(λr bpp + λs (1 - mIoU) + λp LPIPS)                   (after Huang et al. 2023, whose abstract gives no weights)

bpp is 8 x bytes / pixels, everything counted; mIoU is of the picture's labels against the photo's, over the classes in
either; LPIPS is by SqueezeNet. J is 0 for a picture that cannot be told from the photo and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.codec.concepts import GRID
from semcast.metrics.perceptual import Lpips
from semcast.metrics.semantic import counts, iou_of_counts, mean_iou_of_counts


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


@dataclass(frozen=True)
class Task:
    """What a picture is for: the weights of J, and what each category counts in it.

    With factors w_c, mIoU is Σ w_c IoU_c / Σ w_c over the categories that are there, and LPIPS is the mean of its cells weighted
    by the photo's own categories. Without factors both are what they always are.

    Args:
        weights: λr, λs, λp.
        care: factors by category; 1 where nothing is said.
    """

    weights: Weights = WEIGHTS
    care: tuple[tuple[int, float], ...] = ()

    def factors(self, classes: int) -> Tensor:
        """w ``[classes]``."""
        factors = torch.ones(classes)
        for category, factor in self.care:
            factors[category] = factor
        return factors

    @classmethod
    def of(cls, care: Mapping[int, float], weights: Weights = WEIGHTS) -> Task:
        """Of what somebody cares for."""
        return cls(weights, tuple(sorted(care.items())))


PLAIN_TASK = Task()


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
        task: what the pictures are for.
    """

    def __init__(
        self, labels: Callable[[Tensor], Tensor], lpips: Lpips | None, classes: int = 19, task: Task = PLAIN_TASK
    ) -> None:
        self.labels, self.lpips, self.classes, self.task = labels, lpips, classes, task

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
        factors = self.task.factors(self.classes).to(shown.device)
        miou = weigh_iou(counted, factors) if self.task.care else mean_iou_of_counts(counted)
        lpips = None
        if self.lpips is not None:
            made, target = self.lpips.features(shown), self.lpips.features(photo)
            if self.task.care:
                cells = lpips_cells(self.lpips, target, made)
                lpips = weigh_cells(cells, truth, factors)
            else:
                lpips = self.lpips.distance(made, target)
        return Rsp(bpp, counted, miou, lpips, self.task.weights)


def weigh_iou(counted: Tensor, factors: Tensor) -> Tensor:
    """Σ w_c IoU_c / Σ w_c over the categories that are in either map, of counts ``[..., 3, classes]``."""
    each = iou_of_counts(counted)
    there = ~each.isnan()
    weights = torch.where(there, factors.to(each.dtype), 0.0)
    return (each.nan_to_num() * weights).sum(-1) / weights.sum(-1)


def weigh_cells(cells: Tensor, truth: Tensor, factors: Tensor) -> Tensor:
    """The mean of cells ``[B, n, n]`` that sum to a distance, weighted by the labels ``[1 or B, H, W]`` that lie in each."""
    known = torch.cat((factors, factors.new_ones(256 - len(factors))))[truth.long()]
    weights = F.adaptive_avg_pool2d(known[:, None].to(cells.dtype), cells.shape[-1])[:, 0]
    return (cells * weights).sum((1, 2)) / weights.mean((1, 2))


def lpips_cells(lpips: Lpips, target: Sequence[Tensor], features: Sequence[Tensor], side: int = GRID) -> Tensor:
    """Each cell's share of LPIPS, ``[B, side, side]``: it sums to the distance.

    Args:
        target: features of the photo, ``[1, C, H, W]`` a layer.
        features: those of the pictures.
    """
    total = torch.zeros(len(features[0]), side, side, device=features[0].device)
    for a, b, weight in zip(target, features, lpips.heads, strict=True):
        here = ((a - b).square() * weight).sum(1, keepdim=True).float()
        cells = F.adaptive_avg_pool2d(here, side) if here.shape[-1] >= side else F.interpolate(here, (side, side), mode="area")
        cells = cells * (here.mean((2, 3), keepdim=True) / cells.mean((2, 3), keepdim=True).clamp_min(1e-12))
        total = total + cells[:, 0] / side**2
    return total
