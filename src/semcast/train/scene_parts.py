"""What the recipe ``scene-codec`` is made of: discriminator, layouts and levels to train on, the start of linear paths."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.codec.concepts import GRID, at_64, one_hot
from semcast.codec.ladder import V2
from semcast.codec.painter import CELL, SceneCodec
from semcast.train.adversary import DualDiscriminator, Judged, PatchDiscriminator

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
    """Give the encoder principal components of the photos' cells in an orthonormal basis, the largest first.

    Steps of one width for all of them are then what costs the fewest bits for an error.

    Args:
        photos: ``[N, 3, 256, 256]`` in [0, 1].
    """
    blocks = F.unfold(photos, CELL, stride=CELL)  # [N, 3 CELL², GRID²]
    rows = blocks.transpose(1, 2).reshape(-1, blocks.shape[1])
    mean = rows.mean(0)
    _, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    weight = vectors.T.flip(0)[: V2.channels]
    linear = codec.encoder.linear
    linear.weight.copy_(weight.reshape(linear.weight.shape))
    linear.bias.copy_(-weight @ mean)  # type: ignore[union-attr]
    nn.init.zeros_(codec.encoder.head.weight)
    nn.init.zeros_(codec.encoder.head.bias)  # type: ignore[arg-type]


@torch.no_grad()
def fit_estimate(codec: SceneCodec, features: Tensor, photos: Tensor, random: torch.Generator) -> None:
    """Give the painter's linear path the least-squares estimate of photos given their quantised features.

    It is fitted, and not trained: steps of Adam, the same for every tap, make a smooth kernel rough, and what is rough in it is a
    pattern of one cell's period on all of a picture (4 dB at 2 px after 450 steps at a fiftieth of the rate).

    The regression is over the finer levels: what a coarse one lacks the branches have to guess, and a map that allowed for it
    would blur the fine ones. Each cell is estimated from itself and the eight around it. From the four nearest to each quarter of
    a cell the error is the same, but what a pixel is estimated from changes in the middle of every cell, and that is seen:
    spectral lines at 8, 4 and 2 px stood out by 2 to 3 dB, and do by half a dB at most.

    Args:
        features: ``[N, channels, GRID, GRID]``.
        photos: ``[N, 3, 256, 256]`` in [0, 1].
    """
    levels = torch.randint(V2.levels // 2, V2.levels, (len(photos) * GRID**2,), generator=random).view(-1, GRID, GRID)
    around = F.unfold(V2.quantise(features, levels), 3, padding=1)  # [N, channels 9, GRID²]
    inputs = around.transpose(1, 2).flatten(0, 1)
    centre = photos.mean((0, 2, 3))
    outputs = F.unfold(photos - centre[:, None, None], CELL, stride=CELL).transpose(1, 2).flatten(0, 1)
    gram = inputs.T @ inputs + 1e-3 * len(inputs) * torch.eye(inputs.shape[1])
    found = torch.linalg.solve(gram, inputs.T @ outputs).view(V2.channels, 3, 3, 3, CELL, CELL)
    codec.painter.linear.bias.copy_(centre)  # type: ignore[union-attr]
    # a cell is the one above (i = 0) of the cell below it: what it says of it lies in the last third of its rows
    kernel = found.flip(1, 2).permute(0, 3, 1, 4, 2, 5).reshape(V2.channels, 3, 3 * CELL, 3 * CELL)
    codec.painter.linear.weight.copy_(kernel)
