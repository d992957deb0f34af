"""Segmenters: photo → a probability for each category at each pixel. One base class and three bodies, all our own.

* :class:`FaceParser`: the 13 parts of a face, also of one that is only roughly cropped;
* :class:`SceneParser`: the semantic codec's parser of a domain;
* :class:`Judge`: trained apart from it, says what can still be seen in a picture. It has another architecture, other
  normalisation and activation, another seed and other augmentation, so a codec that learned to please its own parser gains
  nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.domains import NUM_PARTS, Domain
from semcast.errors import BadInput
from semcast.networks.blocks import ResBlock, channels_last, through_u_net
from semcast.weights import load

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


class Segmenter(nn.Module):
    """Image ``[B, 3, H, W]`` in [0, 1] → logits ``[B, categories, H', W']``. A body sets ``kind`` and ``Config``."""

    kind: ClassVar[str]
    """Of its weights files."""
    Config: ClassVar[type[Any]]
    """Its configuration, a frozen dataclass of sizes."""
    fingerprint = "untrained"
    """The first 12 digits of that of the weights: results of other weights are not compared with those of these."""

    @classmethod
    def load_shipped(cls, name: str) -> Self:
        """The segmenter with the weights of that name, ready to be used.

        Raises:
            SemcastError: there are no such weights.
        """
        checkpoint = load(name, kind=cls.kind)
        network = checkpoint.build(cls, cls.Config)
        network.fingerprint = checkpoint.fingerprint[:12]
        return channels_last(network.eval())

    @torch.no_grad()
    def labels(
        self, image: Float[Tensor, "batch 3 height width"], size: int | None = None
    ) -> UInt8[Tensor, "batch rows columns"]:
        """The most likely category of each pixel, uint8 ``[B, H, W]``, or ``[B, size, size]``."""
        logits: Tensor = self(image).float()
        sides = (size, size) if size else image.shape[-2:]
        if tuple(sides) != tuple(logits.shape[-2:]):
            logits = F.interpolate(logits, sides, mode="bilinear")
        return logits.argmax(1).to(torch.uint8)


# ---- faces -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParserConfig:
    """Sizes of the parser: ``size`` is the side it works at, ``widths`` the channels at size/2, /4, /8, /16."""

    size: int = 128
    widths: tuple[int, ...] = (32, 64, 96, 128)
    parts: int = NUM_PARTS


class FaceParser(Segmenter):
    """U-Net with GroupNorm: image ``[B, 3, H, W]`` in [0, 1] → logits ``[B, 13, size, size]``.

    Trained with random zoom, rotation and shift, so that it can also find the eyes and the mouth of a face that is
    only roughly cropped (the front end aligns with it).
    """

    kind, Config = "parser", ParserConfig

    def __init__(self, config: ParserConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ParserConfig()
        widths = config.widths
        self.stem = nn.Conv2d(3, widths[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            self.down.append(nn.Sequential(ResBlock(widths[max(0, i - 1)] if i else width, width)))
        self.middle = ResBlock(widths[-1], widths[-1])
        self.up = nn.ModuleList(
            ResBlock(widths[i] + widths[i - 1], widths[i - 1]) for i in range(len(widths) - 1, 0, -1)
        )
        self.head = nn.Conv2d(widths[0], config.parts * 4, 3, padding=1)

    @classmethod
    def load(cls) -> FaceParser:
        """The shipped parser."""
        return cls.load_shipped("parser")

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch {self.config.parts} {self.config.size} {self.config.size}"]:
        """Logits at the parser's own size; photos of another size are resized first."""
        size = self.config.size
        if image.shape[-1] != size or image.shape[-2] != size:
            image = F.interpolate(image, (size, size), mode="area" if image.shape[-1] > size else "bilinear")
        x = through_u_net(self.stem(image * 2 - 1), self.down, self.middle, self.up)
        return F.pixel_shuffle(self.head(x), 2)


# ---- the semantic codec's own parser ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SceneParserConfig:
    """Sizes: ``size`` is the side of the photos it is trained for, ``widths`` the channels at size/2, /4, /8, /16, /32."""

    size: int = 256
    widths: tuple[int, ...] = (24, 48, 80, 112, 128)
    classes: int = 19


class SceneParser(Segmenter):
    """U-Net with GroupNorm, its skips added: image ``[B, 3, H, W]`` in [0, 1] → logits ``[B, classes, H, W]``.

    ::

        H/2    stem ------------------------------ + - ResBlock - 1x1 - pixel shuffle → logits
        H/4       ResBlock ---------------- + - ResBlock
        H/8          ResBlock x 2 --- + - ResBlock
        H/16            ResBlock - + - ResBlock
        H/32               ResBlock x 2

    About 1 GMAC for 256 x 256 pixels. It is *not* the :class:`Judge`: what the codec optimises with one must be measured with
    the other.
    """

    kind, Config = "scene-parser", SceneParserConfig

    def __init__(self, config: SceneParserConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SceneParserConfig()
        widths = config.widths
        self.stem = nn.Conv2d(3, widths[0], 5, stride=2, padding=2)
        self.down = nn.ModuleList()
        for i in range(1, len(widths)):
            twice = [ResBlock(widths[i], widths[i])] if i in (2, len(widths) - 1) else []
            self.down.append(nn.Sequential(ResBlock(widths[i - 1], widths[i]), *twice))
        self.lift = nn.ModuleList(nn.Conv2d(widths[i], widths[i - 1], 1) for i in range(len(widths) - 1, 0, -1))
        self.up = nn.ModuleList(ResBlock(widths[i - 1], widths[i - 1]) for i in range(len(widths) - 1, 0, -1))
        self.head = nn.Conv2d(widths[0], config.classes * 4, 1)

    @classmethod
    def load(cls, domain: Domain | str) -> SceneParser:
        """The shipped parser of a domain (or of its name).

        Raises:
            SemcastError: there are no such weights.
        """
        return cls.load_shipped(f"parser-{domain if isinstance(domain, str) else domain.name}")

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch {self.config.classes} height width"]:
        """Logits of each pixel.

        Raises:
            SemcastError: a side is no multiple of 32.
        """
        step = 2 ** len(self.config.widths)
        if image.shape[-1] % step or image.shape[-2] % step:
            raise BadInput(f"the parser works on sides that are multiples of {step}, not {tuple(image.shape[-2:])}")
        x = self.stem(image * 2 - 1)
        skips = []
        for block in self.down:
            skips.append(x)
            x = block(F.avg_pool2d(x, 2))
        for lift, block in zip(self.lift, self.up, strict=True):
            x = block(F.interpolate(lift(x), scale_factor=2.0, mode="nearest") + skips.pop())
        return F.pixel_shuffle(self.head(F.silu(x)), 2)


# ---- the judge -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgeConfig:
    """Sizes: channels at size/2, /4 and /8; the dilation of each block at size/8; the grids of the pyramid."""

    size: int = 256
    widths: tuple[int, ...] = (24, 48, 96)
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    pyramid: tuple[int, ...] = (1, 2, 4, 8)
    classes: int = 19


def _convolution(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """3 x 3 convolution and GroupNorm."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(outputs // 8, outputs))


class Dilated(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))), both convolutions dilated (He et al. 2016; Yu and Koltun 2016)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first = _convolution(width, width, dilation=dilation)
        self.second = _convolution(width, width, dilation=dilation)
        nn.init.zeros_(self.second[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """``[B, width, H, W]`` → the same."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class Pyramid(nn.Module):
    """What surrounds each place, averaged over grids of several sizes (PSPNet, Zhao et al. 2017)."""

    def __init__(self, width: int, grids: tuple[int, ...]) -> None:
        super().__init__()
        self.grids = grids
        part = width // len(grids)
        self.parts = nn.ModuleList(nn.Conv2d(width, part, 1) for _ in grids)
        self.join = _convolution(width + part * len(grids), width)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """``[B, width, H, W]`` → the same."""
        seen = [x]
        for grid, part in zip(self.grids, self.parts, strict=True):
            pooled = F.relu(part(F.adaptive_avg_pool2d(x, grid)))
            seen.append(F.interpolate(pooled, x.shape[-2:], mode="bilinear", align_corners=False))
        return F.relu(self.join(torch.cat(seen, 1)))


class Judge(Segmenter):
    """Dilated residual encoder and pyramid pooling, no skips: image ``[B, 3, H, W]`` in [0, 1] → logits ``[B, classes, H, W]``.

    Three strided convolutions to size/8, dilated blocks there, a pyramid, and a head that decides at size/2 (pixel shuffle);
    about 1 GMAC for 256 x 256 pixels.
    """

    kind, Config = "judge", JudgeConfig

    def __init__(self, config: JudgeConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or JudgeConfig()
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise((3, *config.widths)):
            stages += [_convolution(inputs, outputs, stride=2), nn.ReLU()]
            if inputs != 3:
                stages.append(Dilated(outputs, 1))
        width = config.widths[-1]
        self.encoder = nn.Sequential(*stages, *(Dilated(width, dilation) for dilation in config.dilations))
        self.pyramid = Pyramid(width, config.pyramid)
        self.head = nn.Conv2d(width, config.classes * 16, 1)

    @classmethod
    def load(cls, domain: Domain | str) -> Judge:
        """The shipped judge of a domain (or of its name).

        Raises:
            SemcastError: there are no such weights.
        """
        return cls.load_shipped(f"judge-{domain if isinstance(domain, str) else domain.name}")

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch {self.config.classes} height width"]:
        """Logits of each pixel; sides are multiples of 8."""
        logits = F.pixel_shuffle(self.head(self.pyramid(self.encoder(image * 2 - 1))), 4)
        return F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)
