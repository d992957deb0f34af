"""KID: how far the set of received pictures is from the set of photos, in the features of any network.

With k(x, y) = (x·y / d + 1)³ on features of dimension d, the unbiased estimate of the squared maximum mean discrepancy
(Gretton et al., A kernel two-sample test, JMLR 2012, eq. 4; kernel: Binkowski et al., Demystifying MMD GANs, 2018) is

    KID = 1 / (n (n - 1)) Σ_{i≠j} k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i).

The terms i = j are left out of the cross sums too: y_i is often the received x_i, and without them the estimate is unbiased
whether or not it is. **Not comparable with published FID or KID**, which use Inception features. Ours are either embeddings of
aligned faces, of length sqrt(d), so that the kernel is (cos + 1)³, or the pooled features of EfficientNet-Lite0 for pictures of
anything (:mod:`semcast.metrics.efficientnet`). Compare only numbers with the same network, picture size and photos.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from semcast.errors import BadInput

if TYPE_CHECKING:
    from jaxtyping import Float

EMBEDDER = "mobileface_v2.onnx"
LEVEL = 0.95


class Judge(Protocol):
    """A network whose features KID compares: a face recogniser (``Identity``) or ``EfficientNet``."""

    def features(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dims"]:
        """``[B, d]`` of pictures ``[B, 3, H, W]`` in [0, 1]."""
        ...


@torch.no_grad()
def features(judge: Judge, images: Iterable[Float[Tensor, "batch 3 height width"]]) -> Float[Tensor, "pictures dims"]:
    """A judge's features ``[N, d]`` of pictures ``[B, 3, H, W]`` in [0, 1], one batch after the other, on the CPU."""
    return torch.cat([judge.features(image).cpu() for image in images])


def kid(x: Tensor, y: Tensor) -> float:
    """Unbiased KID of two sets of features ``[n, d]`` of one size; about 0 (of either sign) for one distribution.

    Raises:
        SemcastError: the shapes differ, or there are fewer than two.

    >>> kid(torch.eye(4), torch.eye(4))
    0.0
    """
    return _mean(_terms(x, y))


def kid_interval(x: Tensor, y: Tensor, *, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """KID and the ends of its 95 % interval, from ``draws`` random halves of the photos.

    A half drawn without replacement scatters about the whole as the whole does about the truth (the delete-half
    jackknife): resampling with replacement would compare photos with themselves and bias a U-statistic upwards.

    Raises:
        SemcastError: what :func:`kid` refuses, or fewer than four photos.
    """
    terms = _terms(x, y)
    count = len(terms)
    if count < 4:
        raise BadInput(f"a confidence interval of KID needs at least 4 photos, not {count}")
    rng = np.random.default_rng(seed)
    whole = _mean(terms)
    halves = []
    for _ in range(draws):
        chosen = rng.permutation(count)[: count // 2]
        halves.append(_mean(terms[np.ix_(chosen, chosen)]))
    low, high = np.quantile(halves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return whole, 2 * whole - float(high), 2 * whole - float(low)


def _terms(x: Tensor, y: Tensor) -> np.ndarray:
    """h_ij, ``[n, n]`` in float64, its diagonal 0."""
    if x.ndim != 2 or x.shape != y.shape or len(x) < 2:
        raise BadInput(f"KID needs two feature sets of one shape, at least 2 photos each: {[*x.shape]}, {[*y.shape]}")
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    cross = _kernel(x, y)
    terms = _kernel(x, x) + _kernel(y, y) - cross - cross.T
    return terms.fill_diagonal_(0).numpy()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean(terms: np.ndarray) -> float:
    count = len(terms)
    return float(terms.sum()) / (count * (count - 1))
