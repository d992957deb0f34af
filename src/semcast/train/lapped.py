"""Transform codes in closed form: what learned codecs start as, for what they have to find then is what linear ones lack."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.networks.lapped import LappedBlocks


@torch.no_grad()
def start_components(layer: nn.Conv2d, photos: Tensor) -> None:
    """Give a convolution of cells without overlap their principal components, in an orthonormal basis, the largest first.

    Steps of one width for all of them are then what costs the fewest bits for an error.

    Args:
        photos: ``[N, 3, H, W]``, of sides that are multiples of a cell's.
    """
    blocks = F.unfold(photos, layer.kernel_size, stride=layer.kernel_size)  # [N, 3 cell², cells]
    rows = blocks.transpose(1, 2).flatten(0, 1)
    mean = rows.mean(0)
    _, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    weight = vectors.T.flip(0)[: layer.out_channels]
    layer.weight.copy_(weight.reshape(layer.weight.shape))
    layer.bias.copy_(-weight @ mean)  # type: ignore[union-attr]


@torch.no_grad()
def fit_blocks(layer: LappedBlocks, features: Tensor, photos: Tensor) -> None:
    """Give blocks the least-squares estimate of photos from quantised features, each cell from itself and the eight around it.

    From the four cells nearest to each quarter of a cell the error is the same, but what a pixel is estimated from changes in
    the middle of every cell, and that is seen: spectral lines at 8, 4 and 2 px stood out by 2 to 3 dB, here by at most a half.

    It is fitted, and not trained: steps of Adam, the same for every tap, make a smooth kernel rough, and what is rough in it is a
    pattern of one cell's period on all of a picture (4 dB at 2 px after 450 steps at a fiftieth of the rate).

    Args:
        features: ``[N, channels, R, C]``.
        photos: ``[N, 3, R cell, C cell]``.
    """
    inputs = F.unfold(features, 3, padding=1).transpose(1, 2).flatten(0, 1)
    centre = photos.mean((0, 2, 3))
    outputs = F.unfold(photos - centre[:, None, None], layer.cell, stride=layer.cell).transpose(1, 2).flatten(0, 1)
    gram = inputs.T @ inputs + 1e-3 * len(inputs) * torch.eye(inputs.shape[1])
    found = torch.linalg.solve(gram, inputs.T @ outputs).view(layer.in_channels, 3, 3, 3, layer.cell, layer.cell)
    # a cell is the one above (i = 0) of the cell below it: what it says of it lies in the last third of its rows
    layer.weight.copy_(found.flip(1, 2).permute(0, 3, 1, 4, 2, 5).reshape(layer.weight.shape))
    layer.bias.copy_(centre)  # type: ignore[union-attr]
