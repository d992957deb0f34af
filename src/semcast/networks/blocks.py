"""Small convolutional blocks that the parser, the encoder and the painters share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

M = TypeVar("M", bound=nn.Module)


def channels_last(module: M) -> M:
    """The module with its weights in channels_last order, several times as fast for convolutions on a CPU."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with groups of 8 or more channels: independent of the batch, so one photo and many agree."""
    return nn.GroupNorm(max(1, min(8, channels // 8)), channels)


class ResBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), with a 1x1 shortcut where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, inputs, H, W]`` → ``[batch, outputs, H, W]``."""
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        made: Tensor = self.skip(x) + y
        return made


def through_u_net(x: Tensor, down: Iterable[nn.Module], middle: nn.Module, up: Iterable[nn.Module]) -> Tensor:
    """Halve the side after each step ``down`` but the last, and double it before each step ``up``, which sees what was there.

    Args:
        x: ``[batch, channels, H, W]``, of sides that can be halved so often.
        down, middle, up: each of ``up`` takes the channels from below and, behind them, those of the step down at its side.

    Returns:
        what the last step up makes, ``[batch, its channels, H, W]``.
    """
    skips: list[Tensor] = []
    for step in down:
        x = step(F.avg_pool2d(x, 2) if skips else x)
        skips.append(x)
    x = middle(skips.pop())
    for step in up:
        x = step(torch.cat((F.interpolate(x, scale_factor=2.0, mode="nearest"), skips.pop()), 1))
    return x


class LightBlock(nn.Module):
    """A light residual step at high resolution: x + conv(act(norm(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = norm(width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, width, H, W]`` → the same shape."""
        made: Tensor = x + self.conv(F.silu(self.norm(x)))
        return made


class ScaledBlock(nn.Module):
    """x + conv(act(s x + t)), s and t a number for each channel: a light residual step that sees no statistics of the picture.

    So what it makes of a place does not depend on what else is in view, and a window of a picture is painted as the whole is.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """``[B, width, H, W]`` → the same shape."""
        scaled = x * self.scale[:, None, None] + self.shift[:, None, None]
        made: Tensor = x + self.conv(F.silu(scaled))
        return made


class SmoothOctave(nn.Module):
    """Twice the side without a grid: a convolution, bilinear doubling, two light residual steps.

    Args:
        windowed: its steps see no statistics (:class:`ScaledBlock`).
    """

    def __init__(self, inputs: int, outputs: int, *, windowed: bool) -> None:
        super().__init__()
        block = ScaledBlock if windowed else LightBlock
        self.enter, self.a, self.b = nn.Conv2d(inputs, outputs, 3, padding=1), block(outputs), block(outputs)

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs 2*height 2*width"]:
        """``[B, inputs, S, S]`` → ``[B, outputs, 2 S, 2 S]``."""
        made: Tensor = self.b(self.a(double(self.enter(x))))
        return made


def double(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels 2*height 2*width"]:
    """Bilinear doubling of the side: no place of the result is made by weights of its own, so no grid can come of it."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")


MARGIN = 4
"""Pixels at half the size that a window is painted with on each side: as far as a windowed :class:`SmoothOctave` sees."""


def paint_window(
    paint: Callable[[Tensor], Tensor], features: Float[Tensor, "batch channels half half"],
    picture: Float[Tensor, "batch 3 half half"], top: int, left: int, side: int,
) -> Float[Tensor, "batch 3 {side} {side}"]:  # fmt: skip
    """A window of the picture that a last octave paints: the same as that place of the whole, for less.

    Args:
        paint: features → what is added to the doubled picture; it sees no statistics.
        features, picture: at half the size.
        top, left, side: of the window at the full size, even.
    """
    size, y, x, reach = features.shape[-1], top // 2, left // 2, side // 2 + MARGIN
    rows, columns = slice(max(0, y - MARGIN), min(size, y + reach)), slice(max(0, x - MARGIN), min(size, x + reach))
    wide = paint(features[..., rows, columns]) + double(picture[..., rows, columns])
    first, second = top - 2 * rows.start, left - 2 * columns.start
    return wide[..., first : first + side, second : second + side]
