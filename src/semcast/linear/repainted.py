"""``linear-gan``: a semantically weighted linear sketch of the photo, painted by the receiver.

photo → KLT of the photo weighted by part → analog powers → channel → Wiener estimate → painter (U-Net) → photo
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semcast.errors import SemcastError
from semcast.linear.repainter import Painter, PainterConfig
from semcast.linear.sketch import Sketch
from semcast.linear.system import CARES, Linear, load_sketch
from semcast.link import Received, Reception, snr_db
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.weights import load


def condition_of(noise_var: Tensor, symbols: int) -> Tensor:
    """What the painter is told of the channel, ``[B, 2]``: effective SNR in dB / 10 and log2(k / 256) / 2."""
    snr = snr_db(noise_var.mean(-1).clamp_min(1e-6))
    return torch.stack((snr / 10, torch.full_like(snr, math.log2(symbols / 256) / 2)), 1)


class LinearGan(Linear):
    """The transmitter of :class:`Linear` with another weighting; the receiver repaints what was not sent."""

    name = "linear-gan"
    min_symbols, max_symbols = 16, 2048

    def __init__(self, sketch: Sketch, painter: Painter) -> None:
        super().__init__(sketch)
        self.painter = painter

    @classmethod
    def load(cls, care: str | None = None) -> LinearGan:  # type: ignore[override]
        """From the shipped weights.

        Args:
            care: what the sketch spends its symbols on: ``plain`` (every pixel alike), ``face`` or ``identity``.
        """
        care = care or "face"
        if care not in CARES:
            raise SemcastError(f"unknown care {care!r}; known: {', '.join(CARES)}")
        checkpoint = load("painter", kind="painter")
        painter = Painter(checkpoint.configuration(PainterConfig))
        painter.load_state_dict(checkpoint.tensors)
        return cls(load_sketch(care), channels_last(painter.eval()))

    def decode(self, received: Received) -> Reception:
        """Estimate, its expected error, and the painter's picture of both."""
        image = self.paint(received).clamp(0, 1)
        return Reception(image, torch.ones(len(image), dtype=torch.bool))

    def paint(self, received: Received) -> Tensor:
        """The painted photo before clipping (training needs it)."""
        small, variance = self.estimate(received)
        error = self.sketch.error_map(variance)
        condition = condition_of(received.noise_var, received.budget.symbols)
        with mixed():
            return self.painter(small.contiguous(memory_format=torch.channels_last), error, condition).float()
