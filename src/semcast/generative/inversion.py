"""GAN inversion the paper's way: which codes make the generator show this photo?

The mean code and gradient descent on the MSE alone, 400 Adam steps as in Semantic StyleGAN's script (Han et al. 2023, sec.
3.1). What ships is five hundred times as fast: the encoder's guess and two closed-form steps (:mod:`.tangent`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from semcast.generative.encoder import BOUND
from semcast.generative.generator import SemanticGenerator
from semcast.networks.precision import mixed

PAPER_STEPS = 400


def descend(
    codes: Tensor, render: Callable[[Tensor], Tensor], photo: Tensor, steps: int, rate: float,
    report: Callable[[int, float], None] | None = None,
) -> Tensor:  # fmt: skip
    """Adam on the codes against the MSE of ``render(codes)`` to the photo; returns the best codes met.

    The learning rate ramps up over the first 5 % and down over the last 25 % of the steps.
    """
    codes = codes.detach().clone().requires_grad_(True)
    optimiser = torch.optim.Adam([codes], rate)
    best, kept = torch.full((len(photo),), torch.inf), codes.detach().clone()
    for i in range(steps + 1):
        t = i / max(1, steps)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (t + 1e-2) / 0.05, (1 - t) / 0.25 + 1e-2)
        error = (render(codes) - photo).square().flatten(1).mean(1)
        with torch.no_grad():
            better = error < best
            best = torch.where(better, error, best)
            kept[better] = codes[better]
        if report is not None:
            report(i, float(error.mean()))
        if i == steps:
            break
        (gradient,) = torch.autograd.grad(error.sum(), codes)
        codes.grad = gradient
        optimiser.step()
        with torch.no_grad():
            codes.clamp_(-BOUND, BOUND)
    return kept


def paper_inversion(
    generator: SemanticGenerator, photo: Tensor, mean_code: Tensor, *, steps: int = PAPER_STEPS, rate: float = 0.1,
    report: Callable[[int, float], None] | None = None,
) -> Tensor:  # fmt: skip
    """From the mean code ``[28, code]``, ``steps`` gradient steps on the MSE; ``report(step, mse)`` is called at each."""

    def render(codes: Tensor) -> Tensor:
        with mixed():
            return generator(codes).image.float()

    with torch.enable_grad():
        return descend(mean_code.expand(len(photo), -1, -1), render, photo, steps, rate, report)
