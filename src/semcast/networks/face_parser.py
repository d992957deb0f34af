"""Face parser: photo → a probability for each of the 13 parts at each pixel (a small U-Net, our own)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.domains import NUM_PARTS
from semcast.networks.blocks import ResBlock, channels_last
from semcast.weights import load


@dataclass(frozen=True)
class ParserConfig:
    """Sizes of the parser: ``size`` is the side it works at, ``widths`` the channels at size/2, /4, /8, /16."""

    size: int = 128
    widths: tuple[int, ...] = (32, 64, 96, 128)
    parts: int = NUM_PARTS


class FaceParser(nn.Module):
    """U-Net with GroupNorm: image ``[B, 3, H, W]`` in [0, 1] → logits ``[B, 13, size, size]``.

    Trained with random zoom, rotation and shift, so that it can also find the eyes and the mouth of a face that is
    only roughly cropped (the front end aligns with it).
    """

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
        checkpoint = load("parser", kind="parser")
        parser = cls(checkpoint.configuration(ParserConfig))
        parser.load_state_dict(checkpoint.tensors)
        return channels_last(parser.eval())

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the parser's own size; photos of another size are resized first."""
        size = self.config.size
        if image.shape[-1] != size or image.shape[-2] != size:
            image = F.interpolate(image, (size, size), mode="area" if image.shape[-1] > size else "bilinear")
        x = self.stem(image * 2 - 1)
        skips = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.avg_pool2d(x, 2))
            skips.append(x)
        x = self.middle(skips.pop())
        for block in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat((x, skips.pop()), 1))
        return F.pixel_shuffle(self.head(x), 2)

    @torch.no_grad()
    def labels(self, image: Tensor, size: int | None = None) -> Tensor:
        """The most likely part of each pixel, uint8 ``[B, size, size]`` (the image's own size by default)."""
        side = size or image.shape[-1]
        logits = self(image).float()
        if side != logits.shape[-1]:
            logits = F.interpolate(logits, (side, side), mode="bilinear")
        return logits.argmax(1).to(torch.uint8)
