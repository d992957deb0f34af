"""``linear`` and ``linear-gan``: the best linear code, alone, and with a receiver that repaints what it cannot send.

::

    linear      photo → KLT components → optimal analog powers → channel → Wiener estimate → photo      nothing is learned
    linear-gan  the same with a KLT weighted by part                      → Wiener estimate → repainter (U-Net) → photo
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.errors import BadInput
from semcast.files import quote
from semcast.linear.repainter import Repainter, RepainterConfig
from semcast.linear.sketch import Sketch, SketchConfig
from semcast.link import Budget, Burst, Received, Reception, System, snr_db, to_complex, to_real
from semcast.networks.blocks import channels_last
from semcast.networks.equaliser import Equaliser
from semcast.networks.precision import mixed
from semcast.weights import load

if TYPE_CHECKING:
    from jaxtyping import Float

CARES = ("plain", "face", "identity", "person")
"""What a sketch spends its symbols on: every pixel alike, those of a face, those of its features more still, or a face and what a
recogniser tells people apart by."""


def load_sketch(care: str) -> Sketch:
    """Load the shipped KLT of a preset, one of :data:`CARES`."""
    checkpoint = load(f"sketch-{care}", kind="sketch")
    return checkpoint.build(Sketch, SketchConfig).eval()


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

    def encode(self, image: Float[Tensor, "batch 3 height width"], budget: Budget) -> Burst:
        """Project, scale each component to its power, pair into complex symbols."""
        self.check(budget)
        reals = self.sketch.modulate(self.sketch.project(image), budget.symbols, budget.snr_db)
        return Burst(to_complex(reals), budget)

    def symbol_powers(self, budget: Budget) -> Float[Tensor, " {budget.symbols}"]:
        """Mean |x|² of each symbol over photos ``[k]``, by the closed form: a receiver that lost some of a burst asks for it."""
        power = self.sketch.powers(budget.symbols, budget.snr_db)
        return F.pad(power, (0, 2 * budget.symbols - len(power))).reshape(-1, 2).sum(1)

    def estimate(self, received: Received) -> tuple[Float[Tensor, "batch 3 side side"], Float[Tensor, "batch components"]]:
        """The linear estimate ``[B, 3, 64, 64]`` and the variance left on each component ``[B, components]``."""
        received.check()
        k, snr = received.budget.symbols, received.budget.snr_db
        noise = (received.noise_var / 2).repeat_interleave(2, -1)
        components = self.sketch.demodulate(to_real(received.symbols), noise, k, snr)
        return self.sketch.restore(components), self.sketch.error(noise, k, snr)

    def decode(self, received: Received) -> Reception:
        """Wiener estimate, upsampled to the full size."""
        small, _ = self.estimate(received)
        image = F.interpolate(small, (self.image_size, self.image_size), mode="bicubic").clamp(0, 1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool, device=image.device))


def condition_of(noise_var: Float[Tensor, "batch k"], symbols: int) -> Float[Tensor, "batch 2"]:
    """What the repainter is told of the channel, ``[B, 2]``: effective SNR in dB / 10 and log2(k / 256) / 2."""
    return tell(snr_db(noise_var.mean(-1).clamp_min(1e-6)), symbols)


def tell(snr: Float[Tensor, " batch"], symbols: int) -> Float[Tensor, "batch 2"]:
    """An SNR in dB for each photo and k as networks are told them: SNR / 10 and log2(k / 256) / 2."""
    return torch.stack((snr / 10, torch.full_like(snr, math.log2(symbols / 256) / 2)), 1)


class LinearGan(Linear):
    """The transmitter of :class:`Linear` with another weighting; the receiver repaints what was not sent.

    Args:
        sketch: a weighted KLT.
        repainter: a receiver's network. (Its weights keep their first name, ``painter``, by which results know them.)
    """

    name = "linear-gan"
    min_symbols, max_symbols = 16, 2048
    care: str | None = None
    """What was asked for, for results; None: nothing."""

    def __init__(self, sketch: Sketch, repainter: Repainter) -> None:
        super().__init__(sketch)
        self.painter = repainter
        self.equaliser: Equaliser | None = None

    @classmethod
    def load(cls, care: str | None = None) -> LinearGan:
        """Load the shipped weights.

        Args:
            care: what the sketch spends its symbols on, one of :data:`CARES`; ``face`` by default.

        Raises:
            BadInput: there is no such care.
        """
        if care is not None and not (isinstance(care, str) and care in CARES):
            raise BadInput(f"unknown care {quote(care)}; known: {', '.join(CARES)}")
        checkpoint = load("painter", kind="painter")
        repainter = checkpoint.build(Repainter, RepainterConfig)
        system = cls(load_sketch(care or "face"), channels_last(repainter.eval()))
        system.care = care
        return system

    def decode(self, received: Received) -> Reception:
        """Estimate, its expected error, and the repainter's picture of both."""
        image = self.paint(received).clamp(0, 1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool, device=image.device))

    def paint(self, received: Received, octaves: int | None = None) -> Float[Tensor, "batch 3 side side"]:
        """The repainted photo before clipping (training needs it), smaller with fewer ``octaves``."""
        estimate, error, condition = self.prepare(received)
        with mixed(estimate.device):
            painted: Tensor = self.painter(estimate, error, condition, octaves)
        image = painted.float()
        return self.equaliser(image) if self.equaliser and octaves is None else image

    def prepare(
        self, received: Received
    ) -> tuple[Float[Tensor, "batch 3 side side"], Float[Tensor, "batch 1 side side"], Float[Tensor, "batch 2"]]:
        """What the repainter is given: the linear estimate, its expected error per pixel, and k and SNR."""
        small, variance = self.estimate(received)
        condition = condition_of(received.noise_var, received.budget.symbols)
        return small.contiguous(memory_format=torch.channels_last), self.sketch.error_map(variance), condition
