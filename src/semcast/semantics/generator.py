"""Semantic generator: 28 codes → 13 local generators → depth compositing → render net → photo and part mask.

The architecture follows Semantic StyleGAN (Shi et al., CVPR 2022, arXiv:2112.02236), written anew and sized for a CPU:
13 parts, two shared base codes and a shape and a texture code a part; a local generator a part (Fourier features,
modulated 1x1 layers), a softmax over pseudo-depths, a render net with an image head and a mask head. Our own choice:
each local generator also adds a *linear* term, its code times a learned basis of maps ("eigen-parts"), which starts from
the principal components of that part, so that training begins with a face and not with noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.semantics.blocks import ResBlock
from semcast.semantics.painter import Refine
from semcast.semantics.parts import BASE_CODES, NUM_CODES, NUM_PARTS


@dataclass(frozen=True)
class GeneratorConfig:
    """``code``: numbers a code; ``grid``: side of the local maps; widths of local layers, features and render net."""

    code: int = 48
    grid: int = 32
    local: int = 48
    place: int = 32
    features: int = 80
    render: tuple[int, ...] = (48, 24, 12)
    octaves: int = 5


def fourier(grid: int, octaves: int) -> Tensor:
    """(x, y, sin 2^j πx, cos 2^j πx, ...) on a grid of [-1, 1]², ``[4 octaves + 2, grid²]``."""
    line = (torch.arange(grid) + 0.5) / grid * 2 - 1
    place = torch.stack(torch.meshgrid(line, line, indexing="ij")).flatten(1)
    waves = [f(place * math.pi * 2**j) for j in range(octaves) for f in (torch.sin, torch.cos)]
    return torch.cat([place, *waves])


class Modulated(nn.Module):
    """A 1x1 layer for each part, its input channels scaled by a code: y = act(W (s(code) * x) + b), W demodulated.

    Modulation and demodulation are folded into one weight a photo and a part, so that all parts of all photos are one
    batched matrix product (element-wise passes over the maps would cost several times as much).
    """

    def __init__(self, code: int, inputs: int, outputs: int, *, demodulate: bool = True) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.style = nn.Parameter(torch.randn(NUM_PARTS, code, inputs) * (0.5 / math.sqrt(code)))
        self.style_bias = nn.Parameter(torch.ones(NUM_PARTS, 1, inputs))
        self.weight = nn.Parameter(torch.randn(NUM_PARTS, outputs, inputs) * math.sqrt(2 / inputs))
        self.bias = nn.Parameter(torch.zeros(NUM_PARTS, outputs, 1))

    def forward(self, code: Tensor, x: Tensor | None, place: Tensor | None = None) -> Tensor:
        """Apply the layer to maps of each photo, to maps that all photos share, or to both side by side.

        Args:
            code: ``[P, B, code]``.
            x: ``[P · B, own inputs, HW]``, part by part.
            place: ``[P, shared inputs, HW]``; its weights are the last of the inputs.

        Returns:
            ``[P · B, outputs, HW]``.
        """
        batch = code.shape[1]
        style = torch.baddbmm(self.style_bias, code, self.style)  # [P, B, inputs]
        weight = self.weight[:, None] * style[:, :, None]  # [P, B, outputs, inputs]
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.float().square().sum(-1, keepdim=True) + 1e-6)
        outputs, own = weight.shape[2], 0 if x is None else x.shape[1]
        weight = weight.to(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype)
        y = self.bias.to(weight.dtype)[:, None].expand(-1, batch, -1, -1).reshape(-1, outputs, 1)
        if x is not None:
            y = torch.baddbmm(y, weight[..., :own].reshape(-1, outputs, own), x)
        if place is not None:
            shared = weight[..., own:].reshape(NUM_PARTS, batch * outputs, -1)
            y = y + torch.bmm(shared, place.to(weight.dtype)).view(-1, outputs, place.shape[-1])
        return F.leaky_relu(y, 0.2, inplace=True)


@dataclass(frozen=True)
class Rendering:
    """What the generator makes: photo ``[B, 3, S, S]`` (not clipped), mask logits at 64 px, and the coarse logits at the grid."""

    image: Tensor
    mask: Tensor
    coarse: Tensor


class SemanticGenerator(nn.Module):
    """Codes ``[B, 28, code]`` → :class:`Rendering`. ``octaves`` 2 paints 128 px, 3 paints 256 px."""

    waves: Tensor

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or GeneratorConfig()
        self.octaves = len(c.render)
        pixels = c.grid**2
        waves = fourier(c.grid, c.octaves)
        self.register_buffer("waves", waves, persistent=False)
        self.shape_place = nn.Parameter(torch.randn(NUM_PARTS, c.place, pixels) * 0.5)
        self.texture_place = nn.Parameter(torch.randn(NUM_PARTS, c.place, pixels) * 0.5)
        self.shape1 = Modulated(c.code, len(waves) + c.place, c.local, demodulate=False)
        self.base0 = Modulated(c.code, c.local, c.local)
        self.base1 = Modulated(c.code, c.local, c.local)
        self.texture1 = Modulated(c.code, c.local + c.place, c.local, demodulate=False)
        self.texture2 = Modulated(c.code, c.local, c.local)
        self.depth = nn.Parameter(torch.zeros(NUM_PARTS, 1, c.local))
        self.head = nn.Parameter(torch.randn(NUM_PARTS, c.features, c.local) / math.sqrt(c.local))
        # eigen-parts: depth and colour as linear functions of the shape and the texture code
        self.depth_mean = nn.Parameter(torch.zeros(NUM_PARTS, pixels))
        self.depth_basis = nn.Parameter(torch.zeros(NUM_PARTS, c.code, pixels))
        self.colour_mean = nn.Parameter(torch.zeros(NUM_PARTS, 3 * pixels))
        self.colour_basis = nn.Parameter(torch.zeros(NUM_PARTS, c.code, 3 * pixels))
        widths = (c.features, *c.render)
        self.join = nn.Conv2d(c.features + 3 + NUM_PARTS, c.features, 3, padding=1)
        self.body = ResBlock(c.features, c.features)
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(widths[i], width * 4, 3, padding=1), nn.PixelShuffle(2),
                ResBlock(width, width) if i == 0 else Refine(width),
            )
            for i, width in enumerate(c.render)
        )  # fmt: skip
        self.to_rgb = nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1) for width in c.render)
        self.to_mask = nn.Conv2d(c.render[0], NUM_PARTS, 1)
        for layer in (*self.to_rgb, self.to_mask):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def local(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All local generators: depths ``[P, B, HW]``, features ``[P, B, F, HW]``, colours ``[P, B, 3, HW]``."""
        codes = codes.transpose(0, 1).contiguous()  # part by part: one product serves all photos of a part
        shape, texture = codes[BASE_CODES::2], codes[BASE_CODES + 1 :: 2]
        # the background takes no base code (it is not part of the head): it gets zeros
        whole = torch.ones(NUM_PARTS, 1, 1, dtype=codes.dtype)
        whole[0] = 0
        h = self.shape1(shape, None, torch.cat((self.waves.expand(NUM_PARTS, -1, -1), self.shape_place), 1))
        h = self.base1(codes[1:2] * whole, self.base0(codes[0:1] * whole, h))
        batch, grid = codes.shape[1], h.shape[-1]
        own = self.depth.to(h.dtype) @ h.view(NUM_PARTS, batch, -1, grid).transpose(1, 2).reshape(NUM_PARTS, h.shape[1], -1)
        depth = own.view(NUM_PARTS, batch, grid).float() + self.depth_mean[:, None] + torch.bmm(shape, self.depth_basis)
        t = self.texture2(texture, self.texture1(texture, h, self.texture_place))
        head = self.head.to(t.dtype)[:, None].expand(-1, batch, -1, -1).reshape(-1, *self.head.shape[1:])
        features = torch.bmm(head, t).view(NUM_PARTS, batch, -1, grid)
        colours = self.colour_mean[:, None] + torch.bmm(texture, self.colour_basis).float()
        return depth, features, colours.unflatten(2, (3, -1))

    def forward(self, codes: Tensor) -> Rendering:
        """Compose the parts by depth and render."""
        c = self.config
        depth, features, colours = self.local(codes)
        share = depth.softmax(0)
        composed = (share.to(features.dtype)[:, :, None] * features).sum(0)
        colour = (share[:, :, None] * colours).sum(0)
        share, depth = share.transpose(0, 1), depth.transpose(0, 1)
        grid = (c.grid, c.grid)
        maps = torch.cat((composed, colour.to(composed.dtype) * 2 - 1, share.to(composed.dtype)), 1).unflatten(2, grid)
        x = self.body(self.join(maps.contiguous(memory_format=torch.channels_last)))
        image, mask = colour.unflatten(2, grid), depth.unflatten(2, grid)
        coarse = mask
        for i in range(self.octaves):
            x = self.up[i](x)
            image = F.interpolate(image, scale_factor=2.0, mode="bilinear") + self.to_rgb[i](x).float()
            if i == 0:
                mask = F.interpolate(mask, scale_factor=2.0, mode="bilinear") + self.to_mask(x).float()
        return Rendering(image, mask, coarse)


def swap_part(codes: Tensor, other: Tensor, part: int) -> Tensor:
    """``codes`` ``[B, 28, code]`` with the shape and texture code of one part taken from ``other``."""
    first = BASE_CODES + 2 * part
    return torch.cat((codes[:, :first], other[:, first : first + 2], codes[:, first + 2 :]), 1)


assert NUM_CODES == BASE_CODES + 2 * NUM_PARTS
