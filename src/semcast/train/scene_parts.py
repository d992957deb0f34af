"""What the recipe ``scene-codec`` is made of: discriminator, layouts and levels to train on, linear paths."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.codec.concepts import GRID, at_64, one_hot
from semcast.codec.ladder import V2
from semcast.codec.painter import SceneCodec
from semcast.networks.lapped import LappedBlocks
from semcast.train.adversary import DualDiscriminator, Judged, PatchDiscriminator
from semcast.train.lapped import fit_blocks, start_components

LIKELY = (0.08, 0.1, 0.12, 0.14, 0.15, 0.14, 0.12, 0.1, 0.05)
"""How often each level is drawn."""


class Described(NamedTuple):
    """What a step codes of each photo: layout ``[B, 64, 64]``, cells and levels ``[B, GRID, GRID]``."""

    layout: Tensor
    cells: Tensor
    levels: Tensor


class SceneDiscriminator(nn.Module):
    """Is the picture natural, and does it belong to the layout? At 256 px with the layout, at 128 px without."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fine = DualDiscriminator(classes, (24, 48, 96, 128, 160), smooth=True)
        self.coarse = PatchDiscriminator((24, 48, 96, 128), smooth=True)

    def forward(self, image: Tensor, masks: Tensor) -> Judged:
        """Image ``[B, 3, S, S]``, one-hot layout ``[B, classes, S/4, S/4]``, S a multiple of 32 → scores and features
        of all scales."""
        scores, features = self.fine(image, masks)
        coarse, more = self.coarse(F.avg_pool2d(image, 2))
        return scores + coarse, features + more


def layout_of(labels: Tensor, side: int, classes: int) -> Tensor:
    """Labels ``[B, S, S]`` with ignored places → the most frequent category of each block, ``[B, side, side]`` uint8.

    A block without a known label takes that of the block around it, twice as large, and so on.
    """
    shares = F.adaptive_avg_pool2d(one_hot(labels, classes), side)
    known, counts = shares.argmax(1), shares
    while counts.shape[-1] > 1 and not bool((shares.sum(1) > 0).all()):
        counts = F.avg_pool2d(counts, 2)
        around = F.interpolate(counts, (side, side), mode="nearest")
        known = torch.where((shares.sum(1) > 0), known, around.argmax(1))
        shares = torch.where((shares.sum(1, keepdim=True) > 0), shares, around)
    return known.to(torch.uint8)


def upsample(layout: Tensor) -> Tensor:
    """A layout at 64 x 64, each place repeated."""
    return torch.from_numpy(at_64(layout.numpy()))


def random_table(count: int, classes: int, generator: torch.Generator) -> Tensor:
    """Draw levels of each category of each photo, ``[count, classes]``: a twentieth of the photos is skipped, two fifths have one
    level, the others one a concept."""
    likely = torch.tensor(LIKELY)
    table = torch.multinomial(likely, count * classes, replacement=True, generator=generator).view(count, classes)
    kind = torch.rand(count, 1, generator=generator)
    table = torch.where(kind < 0.45, table[:, :1], table)
    return torch.where(kind < 0.05, 0, table)


@torch.no_grad()
def start_encoder(codec: SceneCodec, photos: Tensor) -> None:
    """Give the encoder principal components of the cells of photos ``[N, 3, 256, 256]``, and nothing else."""
    start_components(codec.encoder.linear, photos)
    nn.init.zeros_(codec.encoder.head.weight)
    nn.init.zeros_(codec.encoder.head.bias)  # type: ignore[arg-type]


@torch.no_grad()
def fit_estimate(codec: SceneCodec, features: Tensor, photos: Tensor, random: torch.Generator) -> None:
    """Fit the painter's linear path to photos ``[N, 3, 256, 256]`` and their features ``[N, channels, GRID, GRID]``.

    Over the finer levels: what a coarse one lacks the branches have to guess, and a map that allowed for it would blur the
    fine ones.
    """
    levels = torch.randint(V2.levels // 2, V2.levels, (len(photos) * GRID**2,), generator=random).view(-1, GRID, GRID)
    linear = codec.painter.linear
    assert isinstance(linear, LappedBlocks)
    fit_blocks(linear, V2.quantise(features, levels), photos)
