"""The receiver's network: layout, quantised features and levels → picture, by a global and a local branch and attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.codec.concepts import (
    CATEGORIES,
    GRID,
    SIZE,
    Concept,
    Layout,
    at_64,
    map_features,
    map_levels,
    one_hot,
)
from semcast.codec.encoder import ConceptEncoder, ConceptEncoderConfig
from semcast.codec.ladder import V1, Ladder, ladder_of
from semcast.domains import Domain
from semcast.errors import BadInput
from semcast.networks.blocks import LightBlock, ResBlock, channels_last, double, norm
from semcast.networks.lapped import LappedBlocks
from semcast.networks.precision import exact, mixed
from semcast.weights import load_version

if TYPE_CHECKING:
    from jaxtyping import Float, Integer

CELL = SIZE // GRID
"""Side of a cell in pixels."""

BRANCHES = ("fused", "global", "local")


@dataclass(frozen=True)
class ScenePainterConfig:
    """``widths``: channels of the global branch at 16, 32, 64, 128 and 256 px; ``local``: those of the local one at 64, 128 and
    256 px; ``own``: channels of each category's own path; ``version``: of the format. Version 1 doubles by PixelShuffle, which
    leaves a grid in light areas; later ones do not."""

    widths: tuple[int, ...] = (160, 112, 64, 32, 16)
    local: tuple[int, ...] = (32, 16, 12)
    own: int = 8
    classes: int = CATEGORIES
    version: int = V1.version


class Painting(NamedTuple):
    """The picture ``[B, 3, 256, 256]`` about [0, 1], those of the two branches, the global one's share ``[B, 1, 256, 256]``."""

    image: Float[Tensor, "batch 3 256 256"]
    whole: Float[Tensor, "batch 3 256 256"]
    parts: Float[Tensor, "batch 3 256 256"]
    share: Float[Tensor, "batch 1 256 256"]


class ClassNorm(nn.Module):
    """norm(x) · (1 + γ_c) + β_c, with γ and β a table of the categories c of each place.

    Class-adaptive normalisation (Tan et al., Efficient Semantic Image Synthesis via Class-Adaptive Normalization, 2020,
    arXiv:2012.04644): the layout is told at every scale at almost no cost.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm(channels).num_groups, channels, affine=False)
        self.table = nn.Conv2d(classes, 2 * channels, 1)
        nn.init.normal_(self.table.weight, std=0.1)
        nn.init.zeros_(self.table.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "batch channels height width"], shares: Float[Tensor, "batch classes rows columns"]
    ) -> Float[Tensor, "batch channels height width"]:
        """``[B, channels, H, W]`` and the categories' shares ``[B, classes, h, w]``, h at most H → as x."""
        told = self.table(shares)
        if told.shape[-1] != x.shape[-1]:
            told = F.interpolate(told, x.shape[-2:], mode="nearest")
        scale, shift = told.chunk(2, 1)
        return torch.addcmul(shift, self.norm(x).to(scale.dtype), scale + 1)


class ClassBlock(nn.Module):
    """A residual block that is told the categories: x + conv(act(norm(conv(act(class norm(x))))))."""

    def __init__(self, inputs: int, outputs: int, classes: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = ClassNorm(inputs, classes), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(
        self, x: Float[Tensor, "batch inputs height width"], shares: Float[Tensor, "batch classes rows columns"]
    ) -> Float[Tensor, "batch outputs height width"]:
        """``[B, inputs, H, W]`` and the categories' shares → ``[B, outputs, H, W]``."""
        y = self.conv1(F.silu(self.norm1(x, shares)))
        made: Tensor = self.skip(x) + self.conv2(F.silu(self.norm2(y)))
        return made


class ClassRefine(nn.Module):
    """A light step that is told the categories: x + conv(act(class norm(x)))."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm, self.conv = ClassNorm(width, classes), nn.Conv2d(width, width, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], shares: Float[Tensor, "batch classes rows columns"]
    ) -> Float[Tensor, "batch channels height width"]:
        """``[B, width, H, W]`` and the categories' shares → as x."""
        made: Tensor = x + self.conv(F.silu(self.norm(x, shares)))
        return made


class SmoothUp(nn.Module):
    """A step to twice the side without a grid: a convolution, bilinear doubling."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs 2*height 2*width"]:
        """``[B, inputs, S, S]`` → ``[B, outputs, 2 S, 2 S]``."""
        return double(self.conv(x))


def _up(inputs: int, outputs: int, version: int) -> nn.Module:
    """Build a step to twice the side; of version 1 a convolution that makes four pixels of one."""
    if version == V1.version:
        return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))
    return SmoothUp(inputs, outputs)


def _look(side: int, outputs: int) -> nn.Conv2d:
    """A layer that sees a picture in squares of ``side`` x ``side`` pixels, and says nothing of it at first."""
    layer = nn.Conv2d(3 * side**2, outputs, 3, padding=1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class LocalBranch(nn.Module):
    """A small path of its own for each category, over its own places alone, then layers that all share.

    As in LGGAN (Tang et al., 2020, arXiv:1912.12215) the features are masked by category and every category has its own
    filters. Here these are one grouped convolution at 64 x 64, a group a category; its result is masked again, so that one
    1x1 convolution over all groups is each category's own 1x1 layer, summed by the masks.
    """

    def __init__(self, inputs: int, config: ScenePainterConfig) -> None:
        super().__init__()
        c, own, classes = config.local, config.own, config.classes
        self.enter = nn.Conv2d(inputs, own, 1)
        self.first = nn.Conv2d(own * classes, own * classes, 3, padding=1, groups=classes)
        self.second = nn.Conv2d((own + 1) * classes, c[0], 1)
        self.shared = ResBlock(c[0], c[0])
        v = config.version
        self.up = nn.ModuleList([nn.Sequential(_up(c[0], c[1], v), LightBlock(c[1])), _up(c[1], c[2], v)])
        if v > V1.version:
            self.look = _look(2, c[1])

    def forward(
        self, x: Float[Tensor, "batch inputs 32 32"], masks: Float[Tensor, "batch classes 64 64"],
        seen: Float[Tensor, "batch 12 128 128"] | None = None,
    ) -> tuple[Float[Tensor, "batch wide 128 128"], Float[Tensor, "batch thin 256 256"]]:  # fmt: skip
        """``[B, inputs, 32, 32]``, one-hot masks ``[B, classes, 64, 64]`` and, from version 2 on, the linear estimate in squares
        of 2 x 2 pixels ``[B, 12, 128, 128]`` → features at 128 and at 256 px."""
        x = _double(self.enter(x))
        masks = masks.to(x.dtype)
        spread = masks.repeat_interleave(self.first.in_channels // masks.shape[1], 1)
        own = F.silu(self.first(x.repeat(1, masks.shape[1], 1, 1) * spread)) * spread
        x = self.up[0](self.shared(self.second(torch.cat((own, masks), 1))))
        if seen is not None:
            x = x + self.look(seen.to(x.dtype))
        return x, self.up[1](x)


LEAST = 0.1
"""Of the picture, each branch's own at least."""


class ScenePainter(nn.Module):
    """Layout, features and levels → picture (RL-ASC's decoder as far as its abstract tells it; the sizes are our choice).

    ::

        features, levels, layout - 16 - blocks - 32 --.-- global: 64 - 128 - 256 ------------ I_g --.
                                                      |             '- a = softmax at 128 ----------+- a_g I_g + a_l I_l
                                                      '-- local: a path a category, 64 - 256 - I_l -'

    Both pictures are added to one that is linear in the features (:attr:`linear`, a lapped block for each cell): it starts as
    the least-squares estimate of the photo, and the branches learn what that lacks. The categories are told again at every scale
    of the global branch. A learned map of positions tells where a cell is: photos of both domains are framed alike.

    From version 2 on the branches see the linear estimate, the global one at 64 and 128 px, the local one at 128, and each has
    :data:`LEAST` of the picture everywhere: one that is shut out learns nothing more.
    """

    def __init__(self, config: ScenePainterConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ScenePainterConfig()
        w, classes, v = config.widths, config.classes, config.version
        self.ladder = ladder_of(v)
        self.least = 0.0 if v == 1 else LEAST
        channels = self.ladder.channels
        self.place = nn.Parameter(torch.zeros(1, w[0], GRID, GRID))
        self.stem = nn.Conv2d(channels + self.ladder.levels + classes, w[0], 3, padding=1)
        self.deep = nn.ModuleList([ClassBlock(w[0], w[0], classes), ClassBlock(w[0], w[0], classes)])
        self.trunk = nn.ModuleList([ClassBlock(w[0], w[1], classes), ClassBlock(w[1], w[1], classes)])
        self.up = nn.ModuleList([_up(w[1], w[2], v), _up(w[2], w[3], v), _up(w[3], w[4], v)])
        self.whole = nn.ModuleList([ClassBlock(w[2], w[2], classes), ClassRefine(w[3], classes)])
        self.fine = nn.Conv2d(w[4], w[4], 3, padding=1)
        self.parts = LocalBranch(w[1] + channels, config)
        self.paint_whole = nn.Conv2d(w[4], 3, 3, padding=1)
        self.paint_parts = nn.Conv2d(config.local[-1], 3, 3, padding=1)
        half = nn.ConvTranspose2d(channels, 3, 2 * CELL, stride=CELL, padding=CELL // 2)
        self.linear = half if v == V1.version else LappedBlocks(channels, CELL)
        self.attend = nn.Conv2d(w[3] + config.local[1], 2, 3, padding=1)
        self.look = nn.ModuleList([_look(4, w[2]), _look(2, w[3])] if v > V1.version else [])
        for head in (self.paint_whole, self.paint_parts, self.attend):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def forward(
        self, layout: Integer[Tensor, "batch 64 64"], features: Float[Tensor, "batch channels 16 16"],
        levels: Float[Tensor, "batch levels 16 16"],
    ) -> Painting:  # fmt: skip
        """Paint.

        Args:
            layout: categories ``[B, 64, 64]``.
            features: dequantised, ``[B, channels, GRID, GRID]``, 0 where skipped.
            levels: of each cell, one-hot ``[B, levels, GRID, GRID]``.
        """
        masks = one_hot(layout, self.config.classes)
        half = F.avg_pool2d(masks, 2)
        quarter = F.avg_pool2d(half, 2)
        x = self.stem(torch.cat((features, levels, quarter), 1))
        x = x + self.place.to(x.dtype)
        for block in self.deep:
            x = block(x, quarter)
        x = _double(x)
        for block in self.trunk:
            x = block(x, half)
        with exact(features.device):  # the picture's colours: bfloat16 has too few
            estimate = self.linear(features.float())
        seen = [F.pixel_unshuffle(estimate - 0.5, side).to(x.dtype) for side in (4, 2)] if self.look else []
        middle, parts = self.parts(torch.cat((x, _double(features).to(x.dtype)), 1), masks, *seen[1:])
        for i, block in enumerate(self.whole):
            x = self.up[i](x)
            x = block(x + self.look[i](seen[i]) if seen else x, masks)
        share = self.attend(torch.cat((x, middle), 1)).float().softmax(1)[:, :1]
        share = self.least + (1 - 2 * self.least) * share
        share = F.interpolate(share, scale_factor=2.0, mode="bilinear")
        whole = self.up[2](x)
        whole = whole + self.fine(F.silu(whole))  # no norm: at the full size it costs more than a convolution
        of_whole = self.paint_whole(F.silu(whole)).float() + estimate
        of_parts = self.paint_parts(F.silu(parts)).float() + estimate
        return Painting(of_parts + share * (of_whole - of_parts), of_whole, of_parts, share)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def branch_of(painting: Painting, branch: str) -> Float[Tensor, "batch 3 256 256"]:
    """Choose the picture of one of :data:`BRANCHES`, for the ablation.

    Raises:
        BadInput: there is no such branch.
    """
    if branch not in BRANCHES:
        raise BadInput(f"unknown branch {branch!r}; the known are {', '.join(BRANCHES)}")
    return {"fused": painting.image, "global": painting.whole, "local": painting.parts}[branch]


class SceneCodec(nn.Module):
    """The two networks that are trained together and share a file: the sender's encoder, the receiver's painter."""

    def __init__(self, encoder: ConceptEncoderConfig | None = None, painter: ScenePainterConfig | None = None) -> None:
        super().__init__()
        self.encoder, self.painter = ConceptEncoder(encoder), ScenePainter(painter)
        self.fingerprint = ""

    @property
    def ladder(self) -> Ladder:
        """What its levels mean."""
        return self.painter.ladder

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return self.painter.place.device

    @classmethod
    def load(cls, domain: Domain | str, version: int | None = None) -> SceneCodec:
        """Load the shipped networks of a domain (or of its name), weights ``codec-<domain>``.

        Args:
            version: of the format; the one that this semcast writes where none is given.

        Raises:
            Missing: there are no such weights.
        """
        name = domain if isinstance(domain, str) else domain.name
        checkpoint = load_version(f"codec-{name}", "scene-codec", version)
        with torch.device("meta"):  # of no size: both networks take its place
            codec = cls()
        codec.encoder = checkpoint.build(ConceptEncoder, ConceptEncoderConfig, "encoder")
        codec.painter = checkpoint.build(ScenePainter, ScenePainterConfig, "painter")
        codec.fingerprint = checkpoint.fingerprint
        return channels_last(codec.eval())


@torch.no_grad()
def paint(
    codec: SceneCodec, layouts: Sequence[Layout], concepts: Sequence[Sequence[Concept]], branch: str = BRANCHES[0]
) -> Float[Tensor, "pictures 3 256 256"]:
    """Paint the pictures that a receiver shows.

    Args:
        codec: the networks; the pictures are on their device.
        layouts: one a picture, ``[side, side]``, of any sides.
        concepts: those of each picture. What of them did not arrive is painted by the layout alone.
        branch: one of :data:`BRANCHES`.

    Returns:
        pictures ``[B, 3, 256, 256]`` in [0, 1].

    Raises:
        BadInput: there is no such branch.
    """
    maps = (
        np.stack([at_64(layout) for layout in layouts]),
        np.stack([map_features(each, codec.ladder) for each in concepts]),
        np.stack([map_levels(each) for each in concepts]),
    )
    layout, features, levels = (torch.from_numpy(each).to(codec.device) for each in maps)
    with mixed(codec.device):
        painting = codec.painter(layout, features, one_hot(levels, codec.ladder.levels))
    return branch_of(painting, branch).float().clamp(0, 1)
