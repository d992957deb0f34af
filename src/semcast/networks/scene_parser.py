"""The codec's own parser: photo → a probability for each of a domain's categories at each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.domains import Domain
from semcast.errors import SemcastError
from semcast.networks.blocks import ResBlock, channels_last
from semcast.weights import load


@dataclass(frozen=True)
class SceneParserConfig:
    """Sizes: ``size`` is the side of the photos it is trained for, ``widths`` the channels at size/2, /4, /8, /16, /32."""

    size: int = 256
    widths: tuple[int, ...] = (24, 48, 80, 112, 128)
    classes: int = 19


class SceneParser(nn.Module):
    """U-Net with GroupNorm, its skips added: image ``[B, 3, H, W]`` in [0, 1] → logits ``[B, classes, H, W]``.

    ::

        H/2    stem ------------------------------ + - ResBlock - 1x1 - pixel shuffle → logits
        H/4       ResBlock ---------------- + - ResBlock
        H/8          ResBlock x 2 --- + - ResBlock
        H/16            ResBlock - + - ResBlock
        H/32               ResBlock x 2

    About 1 GMAC for 256 x 256 pixels. It is *not* the judge of :mod:`semcast.networks.judge`: what the codec optimises with one
    must be measured with the other.
    """

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
        name = domain if isinstance(domain, str) else domain.name
        checkpoint = load(f"parser-{name}", kind="scene-parser")
        parser = cls(checkpoint.configuration(SceneParserConfig))
        parser.load_state_dict(checkpoint.tensors)
        return channels_last(parser.eval())

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each pixel.

        Raises:
            SemcastError: a side is no multiple of 32.
        """
        step = 2 ** len(self.config.widths)
        if image.shape[-1] % step or image.shape[-2] % step:
            raise SemcastError(f"the parser works on sides that are multiples of {step}, not {tuple(image.shape[-2:])}")
        x = self.stem(image * 2 - 1)
        skips = []
        for block in self.down:
            skips.append(x)
            x = block(F.avg_pool2d(x, 2))
        for lift, block in zip(self.lift, self.up, strict=True):
            x = block(F.interpolate(lift(x), scale_factor=2.0, mode="nearest") + skips.pop())
        return F.pixel_shuffle(self.head(F.silu(x)), 2)

    @torch.no_grad()
    def labels(self, image: Tensor) -> Tensor:
        """The most likely category of each pixel, uint8 ``[B, H, W]``."""
        return self(image).argmax(1).to(torch.uint8)
