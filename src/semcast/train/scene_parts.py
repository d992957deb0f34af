"""What the recipe ``scene-codec`` is made of: discriminator, layouts and levels to train on, the start of linear paths."""

from __future__ import annotations

from itertools import product
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
def start_linearly(codec: SceneCodec, photos: Tensor, random: torch.Generator) -> None:
    """Give both linear paths their closed forms: features are principal components, picture = least squares given quantised ones.

    Components of the photos' cells in an orthonormal basis, the largest first: steps of one width for all of them are then what
    costs the fewest bits for an error. The receiver's regression is over the finer levels: what a coarse one lacks the branches
    have to guess, and a map that allowed for it would blur the fine ones. Each quarter of a cell is estimated from the four cells
    around it.

    Args:
        photos: ``[N, 3, 256, 256]`` in [0, 1].
    """
    ladder, channels = V2, V2.channels
    blocks = F.unfold(photos, CELL, stride=CELL)  # [N, 3 CELL², GRID²]
    rows = blocks.transpose(1, 2).reshape(-1, blocks.shape[1])
    mean = rows.mean(0)
    _, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    weight = vectors.T.flip(0)[:channels]
    linear = codec.encoder.linear
    linear.weight.copy_(weight.reshape(linear.weight.shape))
    linear.bias.copy_(-weight @ mean)  # type: ignore[union-attr]
    nn.init.zeros_(codec.encoder.head.weight)
    nn.init.zeros_(codec.encoder.head.bias)  # type: ignore[arg-type]

    own = torch.randint(ladder.levels // 2, ladder.levels, (len(photos) * GRID**2,), generator=random)
    made = ladder.quantise(linear(photos), own.view(-1, GRID, GRID))
    half, kernel = CELL // 2, codec.painter.linear.weight  # [channels, 3, 2 CELL, 2 CELL]
    centre = photos.mean((0, 2, 3))
    codec.painter.linear.bias.copy_(centre)  # type: ignore[union-attr]
    around = F.pad(made, (1, 1, 1, 1))
    for down, right in product(range(2), range(2)):  # each quarter of a cell lies between four cells
        near = [around[..., down + i : down + i + GRID, right + j : right + j + GRID] for i, j in product(range(2), range(2))]
        inputs = torch.cat(near, 1).permute(0, 2, 3, 1).flatten(0, 2)
        parts = (photos - centre[:, None, None]).unflatten(-1, (GRID, CELL)).unflatten(-3, (GRID, CELL))
        parts = parts[..., half * down : half * (down + 1), :, half * right : half * (right + 1)]
        outputs = parts.permute(0, 2, 4, 1, 3, 5).flatten(0, 2).flatten(1)
        gram = inputs.T @ inputs + 1e-3 * len(inputs) * torch.eye(inputs.shape[1])
        found = torch.linalg.solve(gram, inputs.T @ outputs).reshape(2, 2, channels, 3, half, half)
        for i, j in product(range(2), range(2)):
            top, left = half * (3 - down - 2 * i), half * (3 - right - 2 * j)
            kernel[..., top : top + half, left : left + half] = found[i, j]
