"""Recipe ``tables``: what the bitstream's entropy coder expects, learned from masks and, once there are any, from features."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from semcast.codec.concepts import CATEGORIES, GRID, SIDES, reduce_labels
from semcast.codec.context_coder import ContextCoder
from semcast.codec.ladder import V2
from semcast.codec.layout_coder import LAG, NEAR, OUTSIDE, LayoutCoder, LayoutTables
from semcast.domains import Domain, domain_named
from semcast.errors import Damaged
from semcast.networks.precision import mixed
from semcast.shards import shard_members
from semcast.train.context import ContextNetwork
from semcast.train.data import find_shards, shuffled
from semcast.train.loop import console
from semcast.train.recipe import Task
from semcast.train.schedule import warm_cosine
from semcast.weights import load, save

_TOP, _LEFT = -min(dy for dy, _ in NEAR), -min(dx for _, dx in NEAR)
_RIGHT = max(dx for _, dx in NEAR)
_CEILING = 16.0  # of an activation; 4095 in whole numbers
UNIT = 512 * math.log2(math.e)  # a nat in 1/512 bit


class LayoutNetwork(nn.Module):
    """The float twin of :class:`~semcast.codec.layout_coder.LayoutCoder`, for a side.

    Layouts int64 ``[B, side, side]`` → logits ``[B, 19, side, side]`` (nats). The neighbours are a masked convolution of one-hot
    maps.
    """

    kept: Tensor
    wave: Tensor

    def __init__(self, side: int, hidden: int) -> None:
        super().__init__()
        self.side, self.hidden = side, hidden
        both = hidden + CATEGORIES
        kept = torch.zeros(_TOP + 1, _LEFT + _RIGHT + 1)
        for dy, dx in NEAR:
            kept[_TOP + dy, _LEFT + dx] = 1
        self.register_buffer("kept", kept)
        self.near = nn.Parameter(torch.randn(both, CATEGORIES + 1, *kept.shape) * 0.15)
        self.seen = nn.Parameter(torch.zeros(both, CATEGORIES))
        self.row = nn.Parameter(torch.zeros(both, side))
        self.column = nn.Parameter(torch.zeros(both, side))
        self.inner = nn.Conv2d(hidden, hidden, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.outer = nn.Conv2d(hidden, CATEGORIES, 1, bias=False)
        self.register_buffer("wave", torch.arange(side) + LAG * torch.arange(side)[:, None])

    def forward(self, layout: Tensor) -> Tensor:
        """Logits at every place given the earlier waves."""
        shown = F.one_hot(layout, CATEGORIES).permute(0, 3, 1, 2).float()
        padded = F.pad(layout, (_LEFT, _RIGHT, _TOP, 0), value=OUTSIDE)
        one_hot = F.one_hot(padded, CATEGORIES + 1).permute(0, 3, 1, 2).float()
        first = torch.where(shown > 0, self.wave, 10**6).amin((2, 3), keepdim=True)
        seen = (first < self.wave).float()
        with mixed():
            z = F.conv2d(one_hot, self.near * self.kept) + F.conv2d(seen, self.seen[:, :, None, None])
        z = z.float() + self.row[:, :, None] + self.column[:, None]
        with mixed():
            g = self.inner(z[:, : self.hidden].clamp(0, _CEILING)) + self.bias[:, None, None]
            g = g.clamp(0, _CEILING)
            outer: Tensor = self.outer(g).float()
            return z[:, self.hidden :] + outer

    @torch.no_grad()
    def whole(self) -> LayoutTables:
        """Its tables in whole numbers: activations in 1/256, logits in 1/512 bit, weights in 1/1024."""
        unit = torch.cat((torch.full((self.hidden,), 256.0), torch.full((CATEGORIES,), UNIT)))
        near = torch.stack([self.near[:, :, _TOP + dy, _LEFT + dx].T for dy, dx in NEAR])
        outer = self.outer.weight[:, :, 0, 0].T * UNIT * 4
        power = np.round(2.0**20 * 2.0 ** (-np.arange(64 * 20 + 1) / 64)).astype(np.int32)
        return LayoutTables(
            near=_whole(near * unit), seen=_whole(self.seen.T * unit), row=_whole(self.row.T * unit),
            column=_whole(self.column.T * unit), inner=_whole(self.inner.weight[:, :, 0, 0].T * 1024),
            bias=(self.bias * 256 * 1024).round().to(torch.int32).numpy(), outer=_whole(outer), power=power,
        )  # fmt: skip


def _whole(values: Tensor) -> NDArray[np.int16]:
    return values.round().clamp(-32767, 32767).to(torch.int16).numpy()


@dataclass(frozen=True)
class Settings:
    """``steps`` of batches of 32,768 places at 64 x 64, half as many at 32 and a quarter at 16, Adam; then the feature tables.

    Args:
        domain: ``street`` or ``face``.
        layout: weights to take the layout networks from instead of learning them (``bits-street``: those that ship).
        features: an .npz of ``features`` ``[N, 96, 16, 16]`` and ``cells`` ``[N, 16, 16]``; without it nothing is
            expected of a feature but that it is small.
        context_steps: of batches of eight photos, for the network that expects features.
    """

    domain: str = "street"
    steps: int = 3000
    hidden: int = 32
    rate: float = 5e-3
    seed: int = 0
    layout: str = ""
    features: str = ""
    context_steps: int = 2000


def load_layouts(folder: Path, split: str, side: int) -> Tensor:
    """The masks of ``folder/split-*.tar`` as layouts, uint8 ``[N, side, side]``.

    Raises:
        SemcastError: there is no such shard.
    """
    masks = [mask for shard in find_shards(folder, split) for _, _, mask in shard_members(shard) if mask is not None]
    return torch.from_numpy(np.stack([reduce_labels(np.asarray(Image.open(io.BytesIO(mask))), side) for mask in masks]))


def learned_layout(layouts: Tensor, domain: Domain, settings: Settings) -> LayoutTables:
    """The tables of one side from layouts uint8 ``[N, side, side]`` and their mirror images."""
    side = layouts.shape[-1]
    mirrored = torch.tensor(domain.flipped, dtype=torch.uint8)[layouts.flip(-1).long()]
    both = torch.cat((layouts, mirrored))
    torch.manual_seed(settings.seed)
    network = LayoutNetwork(side, settings.hidden)
    optimiser = torch.optim.AdamW(network.parameters(), settings.rate, betas=(0.9, 0.99))
    batches = shuffled(len(both), min(len(both), 32768 // side**2), settings.seed)
    steps = settings.steps * side // max(SIDES)  # the smaller ones are fewer places, and are learned by heart sooner
    for i in range(steps):
        batch = both[next(batches)].long()
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * warm_cosine(i, steps)
        loss = F.cross_entropy(network(batch), batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if (i + 1) % 500 == 0:
            bytes_each = float(loss.detach()) * side**2 / np.log(2) / 8
            console.print(f"{domain.name} {side}, step {i + 1}: {bytes_each:.1f} bytes a layout")
    return network.whole()


class TablesTask(Task):
    """Writes ``bits-<domain>.safetensors``; a side that a run had finished is not learned again."""

    name, defaults = "tables", Settings()

    def run(self) -> None:
        """The layout networks, then the feature tables.

        Raises:
            SemcastError: no shards, an unknown domain, or a file of features that is not one.
        """
        if not self.ranks.leads:
            return
        settings, out, resume = self.settings, self.job.out, self.job.resume
        domain = domain_named(settings.domain)
        folder = self.job.data / domain.folder
        out.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        for side in SIDES:
            tensors |= _layout_tensors(folder, out / f"layout-{side}.safetensors", side, domain, resume, settings)
        config = {"domain": domain.name, "hidden": settings.hidden, "version": V2.version}
        coder = learned_context(*_features(settings.features), settings) if settings.features else plain_context(settings)
        tensors |= {f"features.{name}": torch.from_numpy(table) for name, table in coder.pack().items()}
        path = out / f"bits-{domain.name}.safetensors"
        save(path, tensors, kind="bits", config=config)
        console.print(f"{path} written")


def _layout_tensors(folder: Path, path: Path, side: int, domain: Domain, resume: bool, settings: Settings) -> dict[str, Tensor]:
    name = f"layout{side}"
    if settings.layout:
        return {f"{name}.{key}": value for key, value in load(settings.layout, kind="bits").part(name).items()}
    if resume and path.exists():
        return {f"{name}.{key}": value for key, value in load(str(path), kind="bits").part(name).items()}
    tables = learned_layout(load_layouts(folder, "train", side), domain, settings)
    tensors = {f"{name}.{field.name}": torch.from_numpy(getattr(tables, field.name)) for field in fields(tables)}
    save(path, tensors, kind="bits", config={"domain": domain.name, "hidden": settings.hidden})
    coder = LayoutCoder(tables)
    val = np.mean([coder.cost_bits(layout.numpy()) for layout in load_layouts(folder, "val", side)])
    console.print(f"{domain.name} {side} x {side}: {val / 8:.1f} bytes a layout of val")
    return tensors


def plain_context(settings: Settings) -> ContextCoder:
    """A coder that has learned nothing: all features are expected about 0."""
    torch.manual_seed(settings.seed)
    return ContextNetwork(settings.hidden).whole()


def learned_context(features: Tensor, cells: Tensor, settings: Settings) -> ContextCoder:
    """The coder of the features of version 2, from features ``[N, 96, 16, 16]`` and cells ``[N, 16, 16]`` at random levels."""
    torch.manual_seed(settings.seed)
    random = torch.Generator().manual_seed(settings.seed)
    network = ContextNetwork(settings.hidden)
    optimiser = torch.optim.Adam(network.parameters(), settings.rate, betas=(0.9, 0.99))
    batches = shuffled(len(features), min(8, len(features)), settings.seed)
    for i in range(settings.context_steps):
        index = next(batches)
        levels = torch.randint(1, V2.levels, (len(index), 1, 1), generator=random).expand(-1, GRID, GRID)
        bits = network(V2.quantise(features[index], levels), cells[index], levels).sum((1, 2))
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * warm_cosine(i, settings.context_steps)
        optimiser.zero_grad(set_to_none=True)
        (bits / bits.detach().clamp_min(1)).mean().backward()
        optimiser.step()
        if (i + 1) % 200 == 0:
            console.print(f"features, step {i + 1}: {float(bits.detach().mean()) / 8:.0f} bytes a photo at mean levels")
    return network.whole()


def _features(path: str) -> tuple[Tensor, Tensor]:
    try:
        with np.load(path) as file:
            features, cells = file["features"], file["cells"]
    except (OSError, KeyError, ValueError) as error:
        raise Damaged(f"{path} is no .npz with features and cells ({error})") from None
    if features.shape[1:] != (V2.channels, GRID, GRID) or cells.shape != (len(features), GRID, GRID):
        raise Damaged(f"{path} needs features [N, {V2.channels}, 16, 16] and cells [N, 16, 16]")
    return torch.from_numpy(features).float(), torch.from_numpy(cells)
