"""``linear``: photo → KLT components → optimal analog powers → channel → Wiener estimate → photo. Nothing is learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.linear.sketch import Sketch, SketchConfig
from semcast.link import Budget, Burst, Received, Reception, System, to_complex, to_real
from semcast.weights import load

CARES = ("plain", "face", "identity")


def load_sketch(care: str) -> Sketch:
    """The shipped KLT of a preset (``plain``, ``face`` or ``identity``)."""
    checkpoint = load(f"sketch-{care}", kind="sketch")
    sketch = Sketch(checkpoint.configuration(SketchConfig))
    sketch.load_state_dict(checkpoint.tensors)
    return sketch.eval()


class Linear(System):
    """The Karhunen-Loève transform with optimal analog power allocation (notes: closed form, never beaten by a linear code).

    Mean power is 1 on average over photos (the closed form needs the ensemble's power, not each photo's).
    """

    name = "linear"
    image_size = 256
    power = "mean"
    max_symbols = 8192

    def __init__(self, sketch: Sketch) -> None:
        super().__init__()
        self.sketch = sketch

    @classmethod
    def load(cls) -> Linear:
        """From the shipped statistics."""
        return cls(load_sketch("plain"))

    def encode(self, image: Tensor, budget: Budget) -> Burst:
        """Project, scale each component to its power, pair into complex symbols."""
        self.check(budget)
        reals = self.sketch.modulate(self.sketch.project(image), budget.symbols, budget.snr_db)
        return Burst(to_complex(reals), budget)

    def estimate(self, received: Received) -> tuple[Tensor, Tensor]:
        """The linear estimate ``[B, 3, 64, 64]`` and the variance left on each component ``[B, components]``."""
        received.checked()
        k, snr = received.budget.symbols, received.budget.snr_db
        noise = (received.noise_var / 2).repeat_interleave(2, -1)
        components = self.sketch.demodulate(to_real(received.symbols), noise, k, snr)
        return self.sketch.restore(components), self.sketch.error(noise, k, snr)

    def decode(self, received: Received) -> Reception:
        """Wiener estimate, upsampled to the full size."""
        small, _ = self.estimate(received)
        image = F.interpolate(small, (self.image_size, self.image_size), mode="bicubic").clamp(0, 1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool))
