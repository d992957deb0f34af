"""Refinement: better symbols for one photo, by gradient descent on the symbols themselves (our own; the receiver is the same)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.channels import make_channel
from semcast.errors import BadInput
from semcast.files import quote
from semcast.generative.channel_codec import TRAINED_DB
from semcast.given import whole_of
from semcast.link import Burst, to_complex, to_real, unit_power

if TYPE_CHECKING:
    from semcast.generative.system import Generative

RATE = 0.02


@dataclass(frozen=True)
class Refine:
    """argmin_X E_n ||W^½ (decode(X + n) - F)||², by ``steps`` Adam steps through fresh simulated noise at each.

    Noise in the loss is what makes it pay: symbols fitted without it land where the receiver cannot tell them apart.

    Args:
        steps: 1 to 5000.
        report: called at each step with its number and the error.

    Raises:
        BadInput: ``steps`` is out of range, or ``report`` no function.
    """

    steps: int = 50
    report: Callable[[int, float], None] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        steps = whole_of(self.steps)
        if steps is None or not 1 <= steps <= 5000:
            raise BadInput(f"refinement takes 1 to 5000 steps, not {quote(self.steps if steps is None else steps)}")
        object.__setattr__(self, "steps", steps)
        if self.report is not None and not callable(self.report):
            raise BadInput(f"what is told of each step is a function, not {quote(self.report)}")

    def __call__(self, link: Generative, image: Tensor, burst: Burst) -> Burst:
        """Refine.

        Args:
            link: whose receiver the symbols are fitted to.
            image: what it shall show, ``[B, 3, S, S]`` in [0, 1].
            burst: where the descent starts.
        """
        budget, noise = burst.budget, torch.Generator().manual_seed(0)
        awgn = make_channel("awgn")
        weight = F.interpolate(link.generator.care[None, None], image.shape[-2:], mode="bilinear")
        with torch.enable_grad():
            reals = to_real(burst.symbols).detach().clone().requires_grad_(True)
            optimiser = torch.optim.Adam([reals], RATE, betas=(0.9, 0.99))
            for i in range(self.steps):
                optimiser.param_groups[0]["lr"] = RATE * min(1.0, 4 * (1 - i / self.steps))
                sent = replace(burst, symbols=unit_power(to_complex(reals)))
                received = awgn.draw(len(image), budget.symbols, min(budget.snr_db, TRAINED_DB[1]), noise)(sent)
                latent = link.flow.to_codes(link.codec.decode(replace(received, budget=budget)))
                error = ((link.render(latent) - image).square() * weight).mean((1, 2, 3)).sum()
                if self.report is not None:
                    self.report(i, float(error.detach()))
                (reals.grad,) = torch.autograd.grad(error, reals)
                optimiser.step()
        return replace(burst, symbols=unit_power(to_complex(reals.detach())))
