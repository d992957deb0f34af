"""The judge: a second segmenter, trained apart from the codec's own, that says what can still be seen in a picture.

It has another architecture than the codec's parser, other normalisation and activation, another seed and other augmentation,
so a codec that learned to please its own parser gains nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.weights import load


@dataclass(frozen=True)
class JudgeConfig:
    """Sizes: channels at size/2, /4 and /8; the dilation of each block at size/8; the grids of the pyramid."""

    size: int = 256
    widths: tuple[int, ...] = (24, 48, 96)
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    pyramid: tuple[int, ...] = (1, 2, 4, 8)
    classes: int = 19


def _normalised(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """3 x 3 convolution and GroupNorm."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(outputs // 8, outputs))


class Dilated(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))), both convolutions dilated (He et al. 2016; Yu and Koltun 2016)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first = _normalised(width, width, dilation=dilation)
        self.second = _normalised(width, width, dilation=dilation)
        nn.init.zeros_(self.second[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """``[B, width, H, W]`` → the same."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class Pyramid(nn.Module):
    """What surrounds each place, averaged over grids of several sizes (PSPNet, Zhao et al. 2017)."""

    def __init__(self, width: int, grids: tuple[int, ...]) -> None:
        super().__init__()
        self.grids = grids
        part = width // len(grids)
        self.parts = nn.ModuleList(nn.Conv2d(width, part, 1) for _ in grids)
        self.join = _normalised(width + part * len(grids), width)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, width, H, W]`` → the same."""
        seen = [x]
        for grid, part in zip(self.grids, self.parts, strict=True):
            pooled = F.relu(part(F.adaptive_avg_pool2d(x, grid)))
            seen.append(F.interpolate(pooled, x.shape[-2:], mode="bilinear", align_corners=False))
        return F.relu(self.join(torch.cat(seen, 1)))


class Judge(nn.Module):
    """Dilated residual encoder and pyramid pooling, no skips: image ``[B, 3, H, W]`` in [0, 1] → logits ``[B, classes, H, W]``.

    Three strided convolutions to size/8, dilated blocks there, a pyramid, and a head that decides at size/2 (pixel shuffle);
    about 1 GMAC for 256 x 256 pixels.
    """

    fingerprint = "untrained"
    """Of the weights: results of another judge are not compared with those of this one."""

    def __init__(self, config: JudgeConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or JudgeConfig()
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise((3, *config.widths)):
            stages += [_normalised(inputs, outputs, stride=2), nn.ReLU()]
            if inputs != 3:
                stages.append(Dilated(outputs, 1))
        width = config.widths[-1]
        self.encoder = nn.Sequential(*stages, *(Dilated(width, dilation) for dilation in config.dilations))
        self.pyramid = Pyramid(width, config.pyramid)
        self.head = nn.Conv2d(width, config.classes * 16, 1)

    @classmethod
    def load(cls, domain: str) -> Judge:
        """The shipped judge of the domain of that name.

        Raises:
            SemcastError: there are no such weights.
        """
        checkpoint = load(f"judge-{domain}", kind="judge")
        judge = cls(checkpoint.configuration(JudgeConfig))
        judge.load_state_dict(checkpoint.tensors)
        judge.fingerprint = checkpoint.fingerprint[:12]
        return judge.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each pixel; sides are multiples of 8."""
        logits = F.pixel_shuffle(self.head(self.pyramid(self.encoder(image * 2 - 1))), 4)
        return F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)

    @torch.no_grad()
    def labels(self, image: Tensor) -> Tensor:
        """The most likely category of each pixel, uint8 ``[B, H, W]``."""
        return self(image).argmax(1).to(torch.uint8)
