"""``sketch``, semcast's own system: the linear sketch of a face, corrected by a network that has seen the face, and repainted.

::

    photo ─┬→ KLT, longer where people differ ───→ + ─→ optimal analog powers → channel → Wiener estimate → repainter → photo
           └→ correction (network, told k and SNR) ─┘

The correction starts at zero, so the system starts as the best linear code there is; what it learns is what a linear code
cannot: to spend the symbols on what the repainter cannot know, this face's own features. Both ends are trained together through
the channel (``semcast train sketch``). Powers and Wiener gains stay those of the closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.errors import Damaged
from semcast.files import quote
from semcast.linear.repainter import RepainterConfig, SmoothRepainter
from semcast.linear.sketch import Sketch
from semcast.linear.system import CARES, LinearGan, load_sketch, tell
from semcast.link import Budget, Burst, Received, to_complex
from semcast.networks.blocks import ResBlock, channels_last, norm
from semcast.networks.equaliser import find_equaliser
from semcast.networks.precision import mixed
from semcast.weights import Checkpoint, load

if TYPE_CHECKING:
    from jaxtyping import Float

SIDE = 128
"""Of the face that the correction looks at, in pixels."""


@dataclass(frozen=True)
class CorrectionConfig:
    """``widths``: channels at 64, 32, 16 and 8 px; ``neck``: channels before the last layer; ``components`` it corrects."""

    widths: tuple[int, ...] = (32, 56, 96, 144)
    neck: int = 32
    components: int = 1024


class Correction(nn.Module):
    """A face, k and SNR → what is added to the whitened components of its sketch."""

    def __init__(self, config: CorrectionConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CorrectionConfig()
        w = config.widths
        self.stem = nn.Conv2d(3, w[0], 4, 2, 1)
        self.cond = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, w[3]))
        self.blocks = nn.ModuleList(
            [ResBlock(w[0], w[0]), ResBlock(w[0], w[1]), ResBlock(w[1], w[2]), ResBlock(w[2], w[3]), ResBlock(w[3], w[3])]
        )
        self.flat = nn.Sequential(norm(w[3]), nn.SiLU(), nn.Conv2d(w[3], config.neck, 1))
        self.out = nn.Linear(config.neck * (SIDE // 16) ** 2, config.components)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, image: Float[Tensor, "batch 3 height width"], condition: Float[Tensor, "batch 2"]
    ) -> Float[Tensor, "batch components"]:
        """Correct.

        Args:
            image: faces ``[B, 3, S, S]`` in [0, 1].
            condition: ``[B, 2]``: SNR in dB / 10 and log2(k / 256) / 2.

        Returns:
            ``[B, components]``, in standard deviations of each component.
        """
        small = F.interpolate(image, (SIDE, SIDE), mode="area")
        x = self.stem(small.contiguous(memory_format=torch.channels_last) * 2 - 1)
        for i, block in enumerate(self.blocks):
            x = block(F.avg_pool2d(x, 2) if 0 < i < 4 else x)
        change: Tensor = self.out(self.flat(x + self.cond(condition)[:, :, None, None]).flatten(1))
        return change.float()


def care_of(checkpoint: Checkpoint) -> str:
    """The KLT that a checkpoint's correction was trained with, one of :data:`~semcast.linear.system.CARES`.

    Raises:
        Damaged: it names none of them.
    """
    care = checkpoint.config.get("care", "face")
    if care not in CARES:
        raise Damaged(f"{checkpoint.path} was trained with an unknown sketch, {quote(care)}; known: {', '.join(CARES)}")
    return str(care)


SYMBOLS, SNRS_DB = (16, 32, 64, 128, 256, 512, 1024, 2048), (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
"""k and SNR at which the loudness is known; between them it is interpolated."""


class LearnedSketch(LinearGan):
    """``sketch``: the transmitter of :class:`~semcast.linear.system.Linear`, corrected, and a repainter without a grid.

    Mean power is 1 over photos, as ``linear``'s: the closed form sees to it that it is without the correction, and
    ``loudness``, measured over training photos (:meth:`calibrate`), takes off what the correction adds. While training, a batch
    is its own measure.
    """

    name = "sketch"
    loudness: Tensor

    def __init__(self, sketch: Sketch, repainter: SmoothRepainter, correction: Correction) -> None:
        super().__init__(sketch, repainter)
        self.correction = correction
        self.register_buffer("loudness", torch.ones(len(SYMBOLS), len(SNRS_DB)))

    @classmethod
    def load(cls) -> LearnedSketch:  # type: ignore[override]
        """Load the shipped weights."""
        checkpoint = load("sketch", kind="learned-sketch")
        system = cls.of(checkpoint)
        system.equaliser = find_equaliser(cls.name, checkpoint.fingerprint)
        return system

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> LearnedSketch:
        """From a checkpoint of both networks and the loudness; the KLT is the shipped one that they were trained with.

        Raises:
            Damaged: it holds no loudness, or names no KLT that there is.
        """
        if "loudness" not in checkpoint.tensors:
            raise Damaged(f"{checkpoint.path} says not how loud its bursts are: it is no whole file of sketch")
        repainter = checkpoint.build(SmoothRepainter, RepainterConfig, "repainter")
        correction = checkpoint.build(Correction, CorrectionConfig, "correction")
        system = cls(load_sketch(care_of(checkpoint)), channels_last(repainter.eval()), channels_last(correction.eval()))
        with checkpoint.trusted():
            system.loudness.copy_(checkpoint.tensors["loudness"])
        return system

    def encode(self, image: Float[Tensor, "batch 3 height width"], budget: Budget) -> Burst:
        """Project, correct, scale each component to its power, pair into complex symbols."""
        self.check(budget)
        reals = self.modulate(image, budget)
        power = power_of(reals).mean() if self.training else self.loudness_at(budget)
        return Burst(to_complex(reals * power.rsqrt()), budget)

    def modulate(
        self, image: Float[Tensor, "batch 3 height width"], budget: Budget, corrected: bool = True
    ) -> Float[Tensor, "batch 2*{budget.symbols}"]:
        """The reals of a burst ``[B, 2k]`` before their power is set right."""
        components = self.sketch.project(image)
        if corrected:
            told = tell(image.new_full((len(image),), budget.snr_db), budget.symbols)
            with mixed(image.device):
                change = self.correction(image, told)
            components = components + change * self.sketch.eigenvalues.sqrt()
        return self.sketch.modulate(components, budget.symbols, budget.snr_db)

    def loudness_at(self, budget: Budget) -> Float[Tensor, ""]:
        """Mean power of the corrected bursts at this k and SNR: bilinear in log k and SNR, beyond the grid that of its edge."""
        k = min(max(math.log2(budget.symbols / SYMBOLS[0]), 0.0), len(SYMBOLS) - 1.0)
        step = SNRS_DB[1] - SNRS_DB[0]
        snr = min(max((budget.snr_db - SNRS_DB[0]) / step, 0.0), len(SNRS_DB) - 1.0)
        i, j = min(int(k), len(SYMBOLS) - 2), min(int(snr), len(SNRS_DB) - 2)
        rows = torch.lerp(self.loudness[i], self.loudness[i + 1], k - i)
        return torch.lerp(rows[j], rows[j + 1], snr - j)

    @torch.no_grad()
    def calibrate(self, photos: Float[Tensor, "batch 3 height width"]) -> None:
        """Measure the loudness over faces ``[N, 3, S, S]``.

        1 + E[power corrected - power uncorrected]: the second one is 1 over all photos, and in the difference most of what
        distinguishes these photos from all cancels.
        """
        for i, k in enumerate(SYMBOLS):
            for j, snr in enumerate(SNRS_DB):
                budget = Budget(k, snr)
                more = power_of(self.modulate(photos, budget)) - power_of(self.modulate(photos, budget, corrected=False))
                self.loudness[i, j] = (1 + more.mean()).clamp_min(0.1)

    def paint_window(
        self, received: Received, top: int, left: int
    ) -> tuple[Float[Tensor, "batch 3 128 128"], Float[Tensor, "batch 3 128 128"]]:
        """For training: the face at 128 px and a window of it at 256 px (:meth:`SmoothRepainter.paint_window`), not clipped."""
        with mixed(received.symbols.device):
            half, window = self.painter.paint_window(*self.prepare(received), top, left)  # type: ignore[operator]
        return half.float(), window.float()


def power_of(reals: Float[Tensor, "batch reals"]) -> Float[Tensor, " batch"]:
    """Mean power of the complex symbols that reals ``[B, 2k]`` make, ``[B]``."""
    return 2 * reals.square().mean(1)
