"""Semantic agreement: confusion matrices and mean intersection over union."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion(predicted: Tensor, truth: Tensor, classes: int, ignore: int = 255) -> Tensor:
    """Count matrix ``[classes, classes]``: rows truth, columns predicted; ``truth == ignore`` is left out."""
    truth, predicted = truth.flatten().long(), predicted.flatten().long()
    keep = truth != ignore
    return torch.bincount(truth[keep] * classes + predicted[keep], minlength=classes * classes).view(classes, classes)


def iou(matrix: Tensor) -> Tensor:
    """Per-class IoU = TP / (TP + FP + FN) of a confusion matrix; NaN for a class in neither map."""
    hit = matrix.diagonal().double()
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return torch.where(union > 0, hit / union.clamp_min(1), torch.full_like(hit, torch.nan))


def mean_iou(matrix: Tensor) -> float:
    """Mean of :func:`iou` over the classes that appear in either map."""
    return float(torch.nanmean(iou(matrix)))
