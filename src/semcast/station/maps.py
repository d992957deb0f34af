"""The map that only a receiver can draw: which parts of a picture were received, and how surely; which were guessed or replaced.

The share of a pixel that was received is 1 - v / v0: v is its variance given what came, v0 its variance before anything came.
Of linear systems both are known in closed form (with what was never sent counted in v). Of a learned decoder they are found by
decoding: v from symbols moved by the noise that is left on them, v0 from symbols of chance. What such a decoder makes up beyond
its symbols, however well they came, no receiver can know: its pictures say *painted* in any case.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.linear.system import Linear
from semcast.link import Received, System
from semcast.networks.segmenter import FaceParser
from semcast.onair.channel import MOST_NOISE, to_received
from semcast.onair.spread import WORST
from semcast.photos import Photo, to_uint8
from semcast.pictures import side_by_side
from semcast.rivals.digital import DigitalSystem
from semcast.station.numbers import replaced_of

if TYPE_CHECKING:
    from jaxtyping import Float

    from semcast.station.receiving import Heard

TRIES, SMOOTH = 12, 15
"""Pictures that a learned decoder is asked for, and pixels over which their variance is averaged."""
GUESSED, REPLACED = (230, 120, 20), (150, 60, 170)
"""Orange and violet."""


@torch.no_grad()
def received_share(system: System, received: Received) -> Float[Tensor, "batch 1 side side"]:
    """How much of each pixel was received, 0 to 1, ``[B, 1, 256, 256]``.

    Args:
        system: that decodes it.
        received: symbols and the noise that is left on each.
    """
    if isinstance(system, Linear):
        left, before = _linear_variance(system, received)
    elif isinstance(system, DigitalSystem):
        came = system.decode(received).ok.float()[:, None, None, None]
        return came.expand(-1, 1, 256, 256)
    else:
        left, before = _learned_variance(system, received)
    share = (1 - left / before.clamp_min(1e-8)).clamp(0, 1)
    return F.interpolate(share, (256, 256), mode="bilinear")


def _linear_variance(system: Linear, received: Received) -> tuple[Tensor, Tensor]:
    """Of the luma of each pixel of the estimate, ``[B, 1, 64, 64]``, given what came and before."""
    lost = received.noise_var >= MOST_NOISE  # is written as 0 with that variance, which says much of a symbol of large power
    _, left = system.estimate(replace(received, noise_var=torch.where(lost, WORST, received.noise_var)))
    sketch = system.sketch
    return sketch.error_map(left).square(), sketch.error_map(sketch.eigenvalues[None]).square()


def _learned_variance(system: System, received: Received) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)

    def vary(symbols: Tensor, spread: Tensor) -> Tensor:
        drawn = torch.view_as_complex(torch.randn(*symbols.shape, 2, generator=random)) / 2**0.5
        made = replace(received, symbols=symbols + spread.sqrt() * drawn.to(symbols.device))
        return system.decode(made).image.mean(1, keepdim=True)

    came = torch.where(received.noise_var < MOST_NOISE, received.noise_var, 1.0)  # what did not come is a symbol of chance
    given = torch.stack([vary(received.symbols, came) for _ in range(TRIES)])
    chance = torch.stack([vary(torch.zeros_like(received.symbols), torch.ones_like(came)) for _ in range(TRIES)])
    left, before = (
        F.avg_pool2d(pictures.var(0), SMOOTH, 1, SMOOTH // 2, count_include_pad=False) for pictures in (given, chance)
    )
    return left, before


def draw_map(heard: Heard) -> Photo:
    """The picture, and beside it the same in grey with what was guessed in orange and what was replaced in violet.

    Args:
        heard: a burst of which there is a picture.
    """
    assert heard.system is not None and heard.reception is not None
    image = heard.reception.image[:1].cpu()
    share = received_share(heard.system, to_received(heard.capture, heard.budget))[:1].cpu()
    grey = (0.35 + 0.6 * image.mean(1, keepdim=True)).expand(-1, 3, -1, -1)
    shown = _tint(grey, GUESSED, 0.8 * (1 - share))
    parts = replaced_of(heard.capture.header)
    captions = [f"{heard.name}, {heard.capture.snr_db:.1f} dB", f"received {float(share.mean()):.0%}; orange: guessed"]
    if parts:
        known = [part for part in parts if part != "others"]
        if known:
            shown = _tint(shown, REPLACED, 0.75 * _where(image, known))
        captions[1] += f"; violet: replaced ({', '.join(parts)})" if known else "; parts that are not named were replaced"
    return side_by_side([to_uint8(image), to_uint8(shown)], captions)


def _where(image: Tensor, parts: list[str]) -> Tensor:
    """Where the parser sees these parts in what was received, ``[1, 1, S, S]``: what was there before, nobody here can know."""
    from semcast.domains import PARTS

    labels = FaceParser.load().labels(image)
    wanted = torch.tensor([PARTS.index(part) for part in parts])
    return torch.isin(labels, wanted.to(labels.dtype))[:, None].float()


def _tint(image: Tensor, colour: tuple[int, int, int], strength: Tensor) -> Tensor:
    ink = torch.tensor(np.array(colour, np.float32) / 255)[None, :, None, None]
    return image * (1 - strength) + ink * strength
