"""LPIPS: how far apart two images look, and where the evaluation networks' files are found.

The networks are third-party and not part of semcast: where their files are absent the metric is left out, and
:func:`missing` gives the line that says how to get them.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from semcast.errors import BadInput, Damaged
from semcast.metrics import fetch

if TYPE_CHECKING:
    from jaxtyping import Float

SHORTEST = 32
"""The shortest side, px: less leaves nothing after the last pool. The heads were fitted on patches of 64 px."""
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)

# Stages of torchvision's `features`, one string a stage; LPIPS taps the end of each. c: convolution + ReLU, f: fire
# module, p: 2 x 2 pool (VGG), q: 3 x 3 pool (SqueezeNet). The number is the layer's index in `features`.
_STAGES = {
    "squeeze": ("c0", "q2 f3 f4", "q5 f6 f7", "q8 f9", "f10", "f11", "f12"),
    "vgg": ("c0 c2", "p4 c5 c7", "p9 c10 c12 c14", "p16 c17 c19 c21", "p23 c24 c26 c28"),
}
_BACKBONES = {
    "squeeze": ("squeezenet1_1-features.safetensors", "squeezenet1_1-*.pth"),
    "vgg": ("vgg16-features.safetensors", "vgg16-*.pth"),
}
_TORCHVISION = {"squeeze": "squeezenet1_1", "vgg": "vgg16"}


def _folders() -> list[Path]:
    """Where evaluation files may lie, most explicit first."""
    folders = []
    if shared := os.environ.get("SEMCAST_SHARED"):
        folders.append(Path(shared) / "weights")
    roots = [Path.cwd()]
    source = Path(__file__).resolve().parents[2]
    if source.name == "src":  # a source checkout: its root as well
        roots.append(source.parent)
    for root in roots:
        folders += [root / "shared" / "weights", root.parent / "shared" / "weights"]
    return [*folders, fetch.default_folder()]


def find_weights(name: str) -> Path | None:
    """Path of a third-party evaluation file, or None.

    Looked for in ``$SEMCAST_SHARED/weights``, then in ``shared/weights`` in and beside the working directory and the
    source checkout, and where :mod:`~semcast.metrics.fetch` puts files; ``squeezenet1_1-*.pth`` and ``vgg16-*.pth``
    (torchvision's names) in the torch hub cache as well.

    Args:
        name: a file name or a glob pattern.
    """
    folders = _folders()
    if name.startswith(("squeezenet1_1-", "vgg16-")):
        folders.append(Path(torch.hub.get_dir()) / "checkpoints")
    for folder in folders:
        for path in sorted(folder.glob(name)):
            if path.is_file():
                return path
    return None


def _find_backbone(net: str) -> Path | None:
    return next((path for name in _BACKBONES[net] if (path := find_weights(name))), None)


def _find_heads(net: str) -> Path | None:
    """The linear heads: among the evaluation files, or as an installed torchmetrics ships them."""
    if path := find_weights(f"lpips_v0.1_{net}.safetensors"):
        return path
    spec = importlib.util.find_spec("torchmetrics")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "functional" / "image" / "lpips_models" / f"{net}.pth"
        if path.is_file():
            return path
    return None


def missing(net: str) -> str | None:
    """One line that says what LPIPS with ``net`` lacks and how to get it; None when nothing is missing."""
    if _find_backbone(net) is None:
        name = _TORCHVISION[net]
        return (
            f"LPIPS ({net}) is left out: its backbone was not found; "
            + ("semcast fetch metrics gets it, or " if net == "squeeze" else "")
            + f"put it into the torch hub cache with torchvision.models.{name}(weights='DEFAULT')"
        )
    if _find_heads(net) is None:
        return (
            f"LPIPS ({net}) is left out: lpips_v0.1_{net}.safetensors was not found; set SEMCAST_SHARED to the folder "
            "whose weights/ has it, or pip install torchmetrics, which ships it"
        )
    return None


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors or torchvision file, never unpickling objects."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return tensors
    except Exception as error:
        raise Damaged(f"{path} is not a readable weights file") from error


class _Fire(nn.Module):
    """SqueezeNet's fire module: 1 x 1 squeeze, then 1 x 1 and 3 x 3 expand side by side."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.squeeze, self.expand1x1, self.expand3x3 = (
            _conv(weights, f"{name}.") for name in ("squeeze", "expand1x1", "expand3x3")
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


def _conv(weights: dict[str, Tensor], prefix: str, stride: int = 1, padding: int | None = None) -> nn.Conv2d:
    """A convolution that holds the given weights; padding keeps the size unless said otherwise."""
    weight, bias = weights[f"{prefix}weight"].float(), weights[f"{prefix}bias"].float()
    out_channels, in_channels, side, _ = weight.shape
    conv = nn.Conv2d(in_channels, out_channels, side, stride, side // 2 if padding is None else padding)
    conv.load_state_dict({"weight": weight, "bias": bias})
    return conv


def _layer(code: str, net: str, weights: dict[str, Tensor]) -> nn.Module:
    """One layer from its code in ``_STAGES``."""
    kind, index = code[0], code[1:]
    if kind == "p":
        return nn.MaxPool2d(2)
    if kind == "q":
        return nn.MaxPool2d(3, stride=2, ceil_mode=True)
    own = {key.removeprefix(f"{index}."): value for key, value in weights.items() if key.startswith(f"{index}.")}
    if kind == "f":
        return _Fire(own)
    stem = net == "squeeze"  # its one plain convolution: stride 2, no padding
    return nn.Sequential(_conv(own, "", stride=2, padding=0) if stem else _conv(own, ""), nn.ReLU())


class Lpips(nn.Module):
    """Learned perceptual image patch similarity, v0.1, on frozen SqueezeNet 1.1 or VGG16 features.

    d(a, b) = sum over layers l of mean over positions of w_l · (u_l(a) - u_l(b))², with u the features normalised to
    unit length over channels (Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric,
    2018, arXiv:1801.03924, eq. 1). 0 for identical images; differentiable in both.

    Args:
        net: ``squeeze`` or ``vgg``.
        backbone: weights of torchvision's ``features``, with or without that prefix.
        heads: the linear heads, ``lin0.model.1.weight`` and on.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str, backbone: dict[str, Tensor], heads: dict[str, Tensor]) -> None:
        super().__init__()
        self.net = net
        weights = {key.removeprefix("features."): value for key, value in backbone.items()}
        self.stages = nn.ModuleList(
            nn.Sequential(*(_layer(code, net, weights) for code in stage.split())) for stage in _STAGES[net]
        )
        self.heads = nn.ParameterList(
            nn.Parameter(heads[f"lin{i}.model.1.weight"].float()) for i in range(len(self.stages))
        )
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))
        self.requires_grad_(False)

    @classmethod
    def load(cls, net: str = "squeeze") -> Lpips | None:
        """LPIPS from the files found on this computer; None where they are absent (see :func:`missing`).

        Raises:
            SemcastError: the net is unknown, or a file is not what its name says.
        """
        if net not in _STAGES:
            raise BadInput(f"unknown LPIPS net {net!r}; known: {', '.join(_STAGES)}")
        backbone, heads = _find_backbone(net), _find_heads(net)
        if backbone is None or heads is None:
            return None
        try:
            return cls(net, _read(backbone), _read(heads)).eval()
        except (KeyError, RuntimeError, ValueError) as error:
            raise Damaged(f"{backbone} and {heads} do not fit LPIPS ({net})") from error

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch _ _ _"]]:
        """Unit-length feature maps ``[B, C_l, H_l, W_l]``, float32, of images ``[B, 3, H, W]`` in [0, 1]."""
        x = (2.0 * x.float() - 1.0 - self.shift) / self.scale
        maps = []
        for stage in self.stages:
            x = stage(x)
            raw = x.float()
            # the small term under the root keeps the gradient finite where all channels are 0
            maps.append(raw * torch.rsqrt(raw.square().sum(1, keepdim=True) + 1e-20))
        return maps

    def distance(
        self, features_a: list[Float[Tensor, "batch _ _ _"]], features_b: list[Float[Tensor, "#batch _ _ _"]]
    ) -> Float[Tensor, " batch"]:
        """LPIPS ``[B]`` from two results of :meth:`features`; a target's features need computing only once."""
        total = torch.zeros(features_a[0].shape[0], device=features_a[0].device)
        for a, b, weight in zip(features_a, features_b, self.heads, strict=True):
            total = total + ((a - b).square() * weight).sum(1).mean((-2, -1))
        return total

    def forward(
        self, a: Float[Tensor, "batch 3 height width"], b: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """LPIPS ``[B]`` of images ``[B, 3, H, W]`` in [0, 1], sides of 32 pixels and more.

        Raises:
            SemcastError: a side is shorter.
        """
        if min(a.shape[-2:]) < SHORTEST:
            raise BadInput(f"LPIPS needs sides of at least {SHORTEST} px, not {min(a.shape[-2:])}")
        return self.distance(self.features(a), self.features(b))
