"""Semantic generator: 28 codes → 13 local generators → depth compositing → render net → photo and part mask.

The architecture follows Semantic StyleGAN (Shi et al., CVPR 2022, arXiv:2112.02236), written anew and sized for a CPU:
13 parts, two shared base codes and a shape and a texture code a part; a local generator a part (Fourier features,
modulated 1x1 layers), a softmax over pseudo-depths, a render net with an image head and a mask head. Our own choice:
each local generator also adds a *linear* term, its code times a learned basis of maps at twice the grid ("eigen-parts"),
which starts from the principal components of that part, so that training begins with a face and not with noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.domains import BASE_CODES, NUM_CODES, NUM_PARTS
from semcast.networks.blocks import LightBlock, ResBlock, SmoothOctave, paint_window
from semcast.networks.precision import computing_dtype

if TYPE_CHECKING:
    from jaxtyping import Float

# Where on the eigen-parts' 64 x 64 map each part can be: the rows and columns [y0, y1, x0, x1) that its mask reaches in
# the training photos and their mirror images, with a margin. Outside it the part is never in front.
BOXES = (
    (0, 64, 0, 64), (2, 64, 3, 61), (24, 37, 16, 48), (18, 34, 12, 52), (38, 60, 18, 46), (23, 49, 20, 44),
    (22, 50, 0, 64), (0, 64, 0, 64), (38, 64, 0, 64), (34, 64, 0, 64), (16, 44, 8, 56), (0, 36, 0, 64), (34, 64, 2, 62),
)  # fmt: skip
NEVER = -12.0  # the depth of a part outside its box


@dataclass(frozen=True)
class GeneratorConfig:
    """``code``: numbers a code; ``grid``: side of the local maps; widths of local layers, features and render net.

    ``boxes`` are those of the eigen-parts, on a map of twice the grid. ``smooth``: the render net doubles by interpolation, which
    leaves no grid in the picture, and its last octave sees no statistics; without it, by PixelShuffle (the first weights).
    """

    code: int = 48
    grid: int = 32
    local: int = 48
    place: int = 32
    features: int = 80
    render: tuple[int, ...] = (48, 24, 12)
    octaves: int = 5
    boxes: tuple[tuple[int, int, int, int], ...] = BOXES
    smooth: bool = False


def fourier(grid: int, octaves: int) -> Float[Tensor, "4*{octaves}+2 {grid}**2"]:
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

    def forward(
        self, code: Float[Tensor, "parts batch code"], x: Float[Tensor, "parts*batch own pixels"] | None,
        place: Float[Tensor, "parts shared pixels"] | None = None,
    ) -> Float[Tensor, "parts*batch outputs pixels"]:  # fmt: skip
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
        weight = weight.to(computing_dtype(weight))
        y = self.bias.to(weight.dtype)[:, None].expand(-1, batch, -1, -1).reshape(-1, outputs, 1)
        if x is not None:
            y = torch.baddbmm(y, weight[..., :own].reshape(-1, outputs, own), x)
        if place is not None:
            shared = weight[..., own:].reshape(NUM_PARTS, batch * outputs, -1)
            y = y + torch.bmm(shared, place.to(weight.dtype)).view(-1, outputs, place.shape[-1])
        return F.leaky_relu(y, 0.2, inplace=True)


class EigenParts(nn.Module):
    """Each part's map as a linear function of a code: mean + code · basis, within the part's box.

    Args:
        channels: 1 for depths, 3 for colours.
        outside: the value outside the box.
    """

    def __init__(self, config: GeneratorConfig, channels: int, outside: float) -> None:
        super().__init__()
        self.channels, self.outside, self.side, self.boxes = channels, outside, 2 * config.grid, config.boxes
        sizes = [channels * (y1 - y0) * (x1 - x0) for y0, y1, x0, x1 in config.boxes]
        self.mean = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes)
        self.basis = nn.ParameterList(nn.Parameter(torch.zeros(config.code, size)) for size in sizes)
        self._energy: tuple[tuple[object, ...], Tensor] | None = None

    @torch.no_grad()
    def energy(self) -> Float[Tensor, "parts code"]:
        """Mean square of each basis map a pixel, summed over channels, ``[P, code]``; kept until a basis changes."""
        # a basis made in inference mode has no version, and never changes
        versions = (self.basis[0].device, *(0 if basis.is_inference() else basis._version for basis in self.basis))
        if self._energy is None or self._energy[0] != versions:
            self._energy = versions, torch.stack([basis.square().mean(1) * self.channels for basis in self.basis])
        return self._energy[1]

    def forward(self, codes: Float[Tensor, "parts batch code"]) -> list[Float[Tensor, "batch {self.channels} _ _"]]:
        """Codes ``[P, B, code]`` → the boxes' maps, ``[B, channels, height, width]`` each."""
        maps = []
        for code, mean, basis, (y0, y1, x0, x1) in zip(codes, self.mean, self.basis, self.boxes, strict=True):
            flat = torch.addmm(mean, code, basis).float()
            maps.append(flat.view(len(code), self.channels, y1 - y0, x1 - x0))
        return maps

    def whole(
        self, maps: list[Float[Tensor, "batch channels _ _"]]
    ) -> Float[Tensor, "parts batch channels {self.side} {self.side}"]:
        """Boxes' maps → ``[P, B, channels, side, side]``, ``outside`` where there is none."""
        padded = [
            F.pad(m, (x0, self.side - x1, y0, self.side - y1), value=self.outside)
            for m, (y0, y1, x0, x1) in zip(maps, self.boxes, strict=True)
        ]
        return torch.stack(padded)


@dataclass(frozen=True)
class Rendering:
    """What the generator makes: photo ``[B, 3, S, S]`` (not clipped), mask logits and composed depths at twice the grid."""

    image: Float[Tensor, "batch 3 height width"]
    mask: Float[Tensor, "batch parts side side"]
    coarse: Float[Tensor, "batch parts side side"]


@dataclass(frozen=True)
class Parts:
    """What the local generators make, before composition.

    Args:
        depth: ``[P, B, 2 grid, 2 grid]``.
        features: ``[P, B, F, grid²]``.
        colours: in each part's box, ``[B, 3, height, width]``.
    """

    depth: Float[Tensor, "parts batch side side"]
    features: Float[Tensor, "parts batch features pixels"]
    colours: list[Float[Tensor, "batch 3 _ _"]]


class SemanticGenerator(nn.Module):
    """Codes ``[B, 28, code]`` → :class:`Rendering`.

    ``octaves`` is how far above the grid it paints where the caller does not say: all the way (3: 256 px at a grid of 32).

    ``care`` ``[2 grid, 2 grid]``, mean 1: how much each pixel of an aligned face matters (how often it shows a feature or
    skin in the training photos); inversion weights its errors by it.
    """

    waves: Tensor
    care: Tensor

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or GeneratorConfig()
        self.octaves = len(c.render)
        pixels = c.grid**2
        waves = fourier(c.grid, c.octaves)
        self.register_buffer("waves", waves, persistent=False)
        self.register_buffer("care", torch.ones(2 * c.grid, 2 * c.grid))
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
        self.eigen_depth = EigenParts(c, 1, NEVER)
        self.eigen_colour = EigenParts(c, 3, 0.0)
        widths = (c.features, *c.render)
        self.join = nn.Conv2d(c.features + 3 + NUM_PARTS, c.features, 3, padding=1)
        self.body = ResBlock(c.features, c.features)
        self.grow = nn.ModuleList(self._doubling(i, widths[i], width) for i, width in enumerate(c.render))
        # the eigen-parts' picture joins at its own size, twice the grid
        self.polish = nn.ModuleList(
            ResBlock(width + 3 + NUM_PARTS, width) if i == 0 else nn.Identity() if c.smooth else LightBlock(width)
            for i, width in enumerate(c.render)
        )
        self.to_rgb = nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1) for width in c.render)
        self.to_mask = nn.Conv2d(c.render[0], NUM_PARTS, 1)
        for layer in (*self.to_rgb, self.to_mask):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _doubling(self, octave: int, inputs: int, outputs: int) -> nn.Module:
        """The layer of an octave that doubles the side."""
        if not self.config.smooth:
            return nn.Sequential(nn.Conv2d(inputs, outputs * 4, 3, padding=1), nn.PixelShuffle(2))
        if octave == 0:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.Upsample(scale_factor=2.0, mode="bilinear"))
        return SmoothOctave(inputs, outputs, windowed=octave == len(self.config.render) - 1)

    def local(self, codes: Float[Tensor, "batch 28 code"]) -> Parts:
        """All local generators, part by part: one product serves all photos of a part."""
        codes = codes.transpose(0, 1).contiguous()
        shape, texture = codes[BASE_CODES::2], codes[BASE_CODES + 1 :: 2]
        # the background takes no base code (it is not part of the head): it gets zeros
        whole = codes.new_ones(NUM_PARTS, 1, 1)
        whole[0] = 0
        h = self.shape1(shape, None, torch.cat((self.waves.expand(NUM_PARTS, -1, -1), self.shape_place), 1))
        h = self.base1(codes[1:2] * whole, self.base0(codes[0:1] * whole, h))
        batch, side = codes.shape[1], self.config.grid
        own = self.depth.to(h.dtype)[:, None].expand(-1, batch, -1, -1).reshape(-1, *self.depth.shape[1:])
        own = torch.bmm(own, h).float().view(NUM_PARTS, batch, side, side)
        depth = self.eigen_depth.whole(self.eigen_depth(shape))[:, :, 0] + F.interpolate(own, scale_factor=2.0, mode="bilinear")
        t = self.texture2(texture, self.texture1(texture, h, self.texture_place))
        head = self.head.to(t.dtype)[:, None].expand(-1, batch, -1, -1).reshape(-1, *self.head.shape[1:])
        features = torch.bmm(head, t).view(NUM_PARTS, batch, -1, side * side)
        return Parts(depth, features, self.eigen_colour(texture))

    def forward(self, codes: Float[Tensor, "batch 28 code"], octaves: int | None = None) -> Rendering:
        """Compose the parts by depth and render; fewer ``octaves`` paint a smaller picture (2: 128 px at a grid of 32)."""
        return self.render(self.local(codes), self.octaves if octaves is None else octaves)

    def render(self, parts: Parts, octaves: int) -> Rendering:
        """Compose and render at 2^octaves times the grid."""
        return self._paint(parts, octaves)[0]

    def render_window(
        self, parts: Parts, top: int, left: int, side: int
    ) -> tuple[Rendering, Float[Tensor, "batch 3 {side} {side}"]]:
        """All octaves but the last, whole, and a window of the full picture: what training looks at, for less.

        Needs ``smooth``: the last octave then makes of a window what it makes of the whole.

        Args:
            parts: of :meth:`local`.
            top, left, side: of the window in the full picture, even.
        """
        last = self.octaves - 1
        half, features = self._paint(parts, last)
        paint: Callable[[Tensor], Tensor] = lambda seen: self.to_rgb[last](self.grow[last](seen)).float()  # noqa: E731
        return half, paint_window(paint, features, half.image, top, left, side)

    def compose(self, parts: Parts) -> tuple[Tensor, Tensor, Tensor]:
        """By depth: features at the grid, and at twice the grid the eigen-parts' colours and each part's share."""
        share = parts.depth.softmax(0)
        colour = share.new_zeros(share.shape[1], 3, *share.shape[-2:])
        for part, (map_, (y0, y1, x0, x1)) in enumerate(zip(parts.colours, self.config.boxes, strict=True)):
            seen = share[part, :, None, y0:y1, x0:x1] * map_
            colour = colour + F.pad(seen, (x0, colour.shape[3] - x1, y0, colour.shape[2] - y1))
        coarse = F.avg_pool2d(share, 2).flatten(2)
        features = parts.features
        composed = (coarse.to(features.dtype)[:, :, None] * features).sum(0)
        return torch.unflatten(composed, 2, (self.config.grid, -1)), colour, share.transpose(0, 1)

    def _paint(self, parts: Parts, octaves: int) -> tuple[Rendering, Tensor]:
        """The picture, and the features that its last octave painted it from."""
        composed, colour, share = self.compose(parts)
        depth = parts.depth.transpose(0, 1)
        picture = torch.cat((colour * 2 - 1, share), 1).to(composed.dtype)  # what the eigen-parts show
        x = torch.cat((composed, F.avg_pool2d(picture, 2)), 1).contiguous(memory_format=torch.channels_last)
        x = self.body(self.join(x))
        image, mask = colour, depth
        for i in range(octaves):
            x = self.grow[i](x)
            x = self.polish[i](torch.cat((x, picture), 1) if i == 0 else x)
            if i > 0:
                image = F.interpolate(image, scale_factor=2.0, mode="bilinear")
            image = image + self.to_rgb[i](x).float()
            if i == 0:
                mask = mask + self.to_mask(x).float()
        return Rendering(image, mask, depth), x


def swap_part(
    codes: Float[Tensor, "batch 28 code"], other: Float[Tensor, "batch 28 code"], part: int
) -> Float[Tensor, "batch 28 code"]:
    """``codes`` ``[B, 28, code]`` with the shape and texture code of one part taken from ``other``."""
    first = BASE_CODES + 2 * part
    return torch.cat((codes[:, :first], other[:, first : first + 2], codes[:, first + 2 :]), 1)


assert NUM_CODES == BASE_CODES + 2 * NUM_PARTS
