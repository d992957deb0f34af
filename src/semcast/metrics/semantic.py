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
    return iou_of_counts(torch.stack((matrix.diagonal(), matrix.sum(1), matrix.sum(0))))


def mean_iou(matrix: Tensor) -> float:
    """Mean of :func:`iou` over the classes that appear in either map."""
    return float(torch.nanmean(iou(matrix)))


def counts(predicted: Tensor, truth: Tensor, classes: int, ignore: int = 255) -> Tensor:
    """What of a confusion matrix the IoU needs, an image at a time: int64 ``[B, 3, classes]``.

    The three rows count the pixels of each class that are right, that are in the truth, and that are in the prediction;
    ``truth == ignore`` is left out. Counts of several images add up.

    Args:
        predicted: labels ``[B, H, W]``.
        truth: labels of the same shape.
    """
    truth, predicted = truth.flatten(1).long(), predicted.flatten(1).long()
    known = truth != ignore
    own = torch.arange(len(truth))[:, None] * classes

    def each(labels: Tensor, where: Tensor) -> Tensor:
        return torch.bincount((labels + own)[where], minlength=len(labels) * classes).view(-1, classes)

    return torch.stack((each(truth, known & (predicted == truth)), each(truth, known), each(predicted, known)), 1)


def iou_of_counts(counted: Tensor) -> Tensor:
    """Per-class IoU ``[..., classes]`` of :func:`counts` ``[..., 3, classes]``; NaN for a class in neither map."""
    hit, truth, predicted = counted.unbind(-2)
    union = truth + predicted - hit
    return torch.where(union > 0, hit / union.clamp_min(1), torch.nan).double()


def mean_iou_of_counts(counted: Tensor) -> Tensor:
    """Mean of :func:`iou_of_counts` over the classes that appear in either map, ``[...]``; NaN where nothing is labelled.

    >>> truth, predicted = torch.tensor([[[0, 1, 1, 255]]]), torch.tensor([[[0, 1, 0, 0]]])
    >>> mean_iou_of_counts(counts(predicted, truth, classes=3))
    tensor([0.5000], dtype=torch.float64)
    """
    return torch.nanmean(iou_of_counts(counted), -1)
