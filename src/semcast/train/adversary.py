"""Discriminators, their losses, and the one step that every recipe with a discriminator takes."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from semcast.networks.blocks import channels_last
from semcast.networks.precision import exact, mixed
from semcast.train.ranks import Ranks


class Smooth(nn.Module):
    """Half the size without aliasing: the binomial filter [1, 3, 3, 1] both ways, then every other pixel (Zhang 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` → ``[B, C, H/2, W/2]``."""
        line = x.new_tensor([1.0, 3.0, 3.0, 1.0]) / 8
        kernel = (line[:, None] * line).expand(x.shape[1], 1, 4, 4)
        return F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class Tower(nn.Module):
    """Strided convolutions down to 1/16: ``[B, inputs, S, S]`` → a feature map after each.

    Args:
        widths: channels of each.
        smooth: the first layer sees every pixel alike (stride 1, then a blur before striding). A convolution of stride 2 sees
            textures of a period of two pixels otherwise depending on where they lie.
        normalised: spectral normalisation; without it the discriminator needs a penalty on its gradient.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], *, smooth: bool = False, normalised: bool = True) -> None:
        super().__init__()
        channels = (inputs, *widths)
        self.layers = nn.ModuleList(
            _norm(nn.Conv2d(channels[i], width, 4, stride=2, padding=1), normalised) for i, width in enumerate(widths)
        )
        self.smooth = Smooth() if smooth else None
        if smooth:
            self.layers[0] = _norm(nn.Conv2d(inputs, widths[0], 3, padding=1), normalised)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at 1/2, 1/4, 1/8, ..."""
        features: list[Tensor] = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            if self.smooth is not None and not features:
                x = self.smooth(x)
            features.append(x)
        return features


def _norm(layer: nn.Module, normalised: bool) -> nn.Module:
    return spectral_norm(layer) if normalised else layer


Judged = tuple[list[Tensor], list[Tensor]]
"""What a discriminator says: scores (higher: more natural) and its features."""


class PatchDiscriminator(nn.Module):
    """Is each patch of the photo natural? A PatchGAN; the face's frame is fixed, so it may know where.

    Args:
        widths, smooth, normalised: of its :class:`Tower`.
        inputs: channels of the picture, 3 and further ones.
    """

    def __init__(
        self, widths: tuple[int, ...] = (32, 64, 128, 192), inputs: int = 3, *, smooth: bool = False, normalised: bool = True
    ) -> None:
        super().__init__()
        self.tower = Tower(inputs, widths, smooth=smooth, normalised=normalised)
        self.head = _norm(nn.Conv2d(widths[-1], 1, 3, padding=1), normalised)

    def forward(self, image: Tensor) -> Judged:
        """Image in [0, 1] (and further channels) → patch scores ``[B, 1, S/16, S/16]`` and features."""
        features = self.tower(image * 2 - 1)
        return [self.head(features[-1])], features


class DualDiscriminator(nn.Module):
    """Dual-branch discriminator (Semantic StyleGAN, sec. 3.4): an image tower and a mask tower, summed, then one head.

    It judges whether the picture is natural *and* whether the mask belongs to it.

    Args:
        parts: categories of the mask.
        widths: of the image tower. ``smooth``: of its first layer, as in :class:`Tower`.
    """

    def __init__(self, parts: int, widths: tuple[int, ...] = (24, 48, 96, 160, 192), *, smooth: bool = False) -> None:
        super().__init__()
        self.image, self.mask = Tower(3, widths, smooth=smooth), Tower(parts, (48, 96, widths[-1]))
        self.patch = spectral_norm(nn.Conv2d(widths[-2], 1, 3, padding=1))
        self.joint = nn.Sequential(
            spectral_norm(nn.Conv2d(widths[-1], widths[-1], 3, padding=1)), nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)),
        )  # fmt: skip

    def forward(self, image: Tensor, mask: Tensor) -> Judged:
        """Image ``[B, 3, 256, 256]`` in [0, 1], mask probabilities ``[B, parts, 64, 64]`` → scores (texture patches of
        the image at 1/16; image and mask together at 1/32) and the image's features."""
        features = self.image(image * 2 - 1)
        joint = features[-1] + self.mask(mask * 2 - 1)[-1]
        return [self.patch(features[-2]), self.joint(joint)], features


# ---- losses ----------------------------------------------------------------------------------------------------------


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's E[max(0, 1 - D(real))] + E[max(0, 1 + D(fake))]."""
    return F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()


def fool(fake: Tensor) -> Tensor:
    """The painter's -E[D(fake)] against :func:`hinge`."""
    return -fake.float().mean()


def pairs(better: Tensor, worse: Tensor) -> Tensor:
    """E[softplus(-(D(better) - D(worse)))]: relativistic pairs (R3GAN, Huang et al. 2024).

    The discriminator's with (real, fake), the painter's with (fake, real).
    """
    return F.softplus(worse.float() - better.float()).mean()


def feature_matching(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Mean absolute difference of the discriminator's features (the real ones are a target), over the real batch."""
    return torch.stack(
        [(r.detach().float() - f[: len(r)].float()).abs().mean() for r, f in zip(real, fake, strict=True)]
    ).mean()


def gradient_penalty(discriminator: nn.Module, shown: tuple[Tensor, ...]) -> Tensor:
    """E‖∇ D(x)‖² in the picture x: R1 for photos, R2 for painted ones (Mescheder, Geiger and Nowozin 2018).

    Args:
        shown: what the discriminator takes, the picture ``[B, 3, H, W]`` first; in float32.
    """
    image = shown[0].detach().float().requires_grad_(True)
    with exact(image.device):
        scores, _ = discriminator(image, *(thing.float() for thing in shown[1:]))
        total = torch.stack([score.float().flatten(1).mean(1).sum() for score in scores]).sum()
        (slope,) = torch.autograd.grad(total, image, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean()


class Adversary:
    """A discriminator with its optimiser: what it asks of the painter, and its own step.

    ``losses`` is part of the painter's loss; ``step`` follows the painter's step and uses what was shown before. The two are one
    turn: a recipe that leaves ``losses`` out for a step leaves out the discriminator's as well.

    Args:
        discriminator: (picture, further things) → scores, features.
        rate: Adam's learning rate.
        adversarial, matching: weights of the painter's two losses.
        penalty: γ / 2 of R1 + R2, taken every ``lazily`` steps and as many times as strong; 0: none.
        relativistic: :func:`pairs` in place of :func:`hinge`.
        device: where it is to be.
    """

    def __init__(
        self, discriminator: nn.Module, *, adversarial: float, matching: float, rate: float = 4e-4, penalty: float = 0.0,
        lazily: int = 8, relativistic: bool = False, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.discriminator = channels_last(discriminator.to(device))
        self.optimiser = torch.optim.Adam(self.discriminator.parameters(), rate, betas=(0.0, 0.99))
        self.adversarial, self.matching, self.penalty, self.lazily = adversarial, matching, penalty, lazily
        self.relativistic, self.turns = relativistic, 0
        self._shown: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] | None = None

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint must hold."""
        return {"discriminator": self.discriminator.state_dict(), "optimiser": self.optimiser.state_dict(), "turns": self.turns}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from :meth:`state_dict`."""
        self.discriminator.load_state_dict(cast(dict[str, Tensor], state["discriminator"]))
        self.optimiser.load_state_dict(cast(dict[str, object], state["optimiser"]))
        self.turns = int(cast(int, state["turns"]))

    def losses(
        self, real: tuple[Tensor, ...], fake: tuple[Tensor, ...], strength: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The painter's: weighted sum, and each by name (unweighted).

        Args:
            real, fake: what the discriminator takes, pictures in [0, 1] first; there may be more fake than real ones. The first
                of them are matched with the real ones.
            strength: of both losses, 0 to 1.
        """
        with mixed(fake[0].device):
            self.discriminator.requires_grad_(False)
            scores, features = self.discriminator(*fake)
            with torch.no_grad():
                wanted, targets = self.discriminator(*real)
            self.discriminator.requires_grad_(True)
            told = [pairs(f[: len(r)], r) if self.relativistic else fool(f) for r, f in zip(wanted, scores, strict=True)]
            losses = {"adversarial": torch.stack(told).mean(), "matching": feature_matching(targets, features)}
        self._shown = real, tuple(thing.detach() for thing in fake)
        return strength * (self.adversarial * losses["adversarial"] + self.matching * losses["matching"]), losses

    def step(self, ranks: Ranks) -> dict[str, Tensor]:
        """The discriminator's step on what :meth:`losses` was shown, and its losses; nothing where it was shown nothing."""
        if self._shown is None:
            return {}
        (photo, *more), (picture, *others) = self._shown
        self._shown, count = None, len(photo)
        real, fake = (photo, *more), (picture.clamp(0, 1), *others)
        with mixed(photo.device):
            scores, _ = self.discriminator(*(torch.cat(both) for both in zip(real, fake, strict=True)))
            found = [
                pairs(s[:count], s[count : 2 * count]) if self.relativistic else hinge(s[:count], s[count:]) for s in scores
            ]
            losses = {"discriminator": torch.stack(found).mean()}
        total = losses["discriminator"]
        if self.penalty and self.turns % self.lazily == 0:
            losses["penalty"] = gradient_penalty(self.discriminator, real) + gradient_penalty(
                self.discriminator, tuple(thing[:count] for thing in fake)
            )
            total = total + self.penalty * self.lazily * losses["penalty"]
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        ranks.average(self.discriminator.parameters())
        self.optimiser.step()
        self.turns += 1
        return {name: value.detach() for name, value in losses.items()}
