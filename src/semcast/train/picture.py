"""What a picture made from codes is judged by: the losses that the generator's and the link's recipes share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.domains import NUM_PARTS, PARTS
from semcast.generative.generator import Rendering, SemanticGenerator, swap_part
from semcast.metrics.perceptual import Lpips
from semcast.networks.precision import mixed
from semcast.train.adversary import Adversary, DualDiscriminator
from semcast.train.linear import pixel_weight
from semcast.train.losses import perceptual, random_window

# how often each part is swapped in training: those that every face shows
SWAPPED = tuple(PARTS.index(p) for p in ("skin", "eyes", "eyes", "brows", "mouth", "mouth", "nose", "hair", "background"))


@dataclass(frozen=True)
class Weights:
    """Weights of the losses; ``a`` and ``b`` weight the pixels of features and skin as in the linear sketch."""

    pixel: float = 8.0
    mask: float = 0.1
    swap: float = 8.0
    adversarial: float = 0.02
    matching: float = 0.3
    a: float = 3.0
    b: float = 1.0


def shrink(mask: Tensor, size: int) -> Tensor:
    """Part labels at another size (nearest), int64."""
    return F.interpolate(mask[:, None].float(), (size, size), mode="nearest")[:, 0].long()


def outside_union(mask: Tensor, other: Tensor, part: int, size: int) -> Tensor:
    """1 where neither mask ``[B, S, S]`` shows the part, 0 elsewhere, ``[B, 1, size, size]``."""
    union = ((mask == part) | (other == part)).float()[:, None]
    return 1 - F.interpolate(union, (size, size), mode="nearest")


def weighted_lpips(lpips: Lpips, target: list[Tensor], features: list[Tensor], weight: Tensor) -> Tensor:
    """LPIPS of feature maps with each position weighted by what the pixels there weigh (``weight`` ``[S, S]``, mean 1)."""
    total = torch.zeros((), device=weight.device)
    for a, b, head in zip(target, features, lpips.heads, strict=True):
        here = F.interpolate(weight[None, None], a.shape[-2:], mode="area")
        total = total + (((a - b).square() * head).sum(1, keepdim=True) * here).mean()
    return total


class PictureLoss:
    """Weighted MSE + weighted LPIPS + masks + locality of part swaps + a dual-branch discriminator that also judges the swaps.

    ``adversary`` is to take its step after the painter's.

    Args:
        masks: labelled part masks ``[N, S, S]``, for the pixel weights.
        random: where the choice of the part to swap comes from.
    """

    def __init__(
        self, weights: Weights, masks: Tensor, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> None:
        self.weights, self.random = weights, random
        self.lpips = perceptual(device)
        self.adversary = Adversary(
            DualDiscriminator(NUM_PARTS), adversarial=weights.adversarial, matching=weights.matching, device=device
        )
        weight = pixel_weight(masks, weights.a, weights.b, 128).to(device)
        self.pixel_weight = weight / weight.mean()

    def __call__(
        self, generator: SemanticGenerator, codes: Tensor, photo: Tensor, mask: Tensor, *, swap: bool, judged: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Render the codes and judge the picture.

        Args:
            codes: ``[B, 28, code]``, clean, noisy or received.
            mask: part labels ``[B, S, S]``, 255 where unknown.
            swap: exchange a part between the first and the second half of the batch as well.
            judged: strength of the adversarial losses, 0 to 1.

        Returns:
            the total, and each loss by name.
        """
        with mixed(photo.device):
            octaves = (photo.shape[-1] // generator.config.grid).bit_length() - 1  # the picture is as large as the photo
            made = generator(codes, octaves)
            total, losses = self._alike(made, photo, mask)
            images, masks = [made.image], [made.mask]
            if swap:
                other, losses["swap"] = self._swap(generator, codes, made, octaves)
                total = total + self.weights.swap * losses["swap"]
                images.append(other.image)
                masks.append(other.mask)
            if judged > 0:
                fake = torch.cat(images), torch.cat(masks).float().softmax(1)
                asked, named = self.adversary.losses((photo, _one_hot(mask)), fake, judged)
                total, losses = total + asked, losses | named
        return total, losses

    def _alike(self, made: Rendering, photo: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """How far picture and masks are from the photo's."""
        w, size = self.weights, photo.shape[-1]
        weight = F.interpolate(self.pixel_weight[None, None], (size, size), mode="bilinear")[0, 0]
        window = random_window(self.random)
        with torch.no_grad():
            target = self.lpips.features(photo[window])
        losses = {
            "mse": ((made.image - photo).square() * weight).mean(),
            "psnr": -10 * (made.image.detach().clamp(0, 1) - photo).square().mean((1, 2, 3)).log10().mean(),
            "lpips": weighted_lpips(self.lpips, target, self.lpips.features(made.image[window]), weight[window[1:]]),
            "coarse": _mask_loss(made.coarse, mask),
            "mask": _mask_loss(made.mask, mask),
        }
        total = w.pixel * losses["mse"] + losses["lpips"] + w.mask * (losses["coarse"] + losses["mask"])
        return total, losses

    def _swap(
        self, generator: SemanticGenerator, codes: Tensor, made: Rendering, octaves: int
    ) -> tuple[Rendering, Tensor]:
        """One part of the second half of the batch put into the first, and what that changes where neither shows the part."""
        half = len(codes) // 2
        part = SWAPPED[int(torch.randint(len(SWAPPED), (), generator=self.random))]
        other = generator(swap_part(codes[:half], codes[half : 2 * half], part), octaves)
        shown = made.mask.detach().argmax(1)
        outside = outside_union(shown[:half], shown[half : 2 * half], part, made.image.shape[-1])
        return other, ((other.image - made.image[:half].detach()).square() * outside).mean()


def _mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy against the labels at the logits' size; 0 where nothing is labelled."""
    labels = shrink(mask, logits.shape[-1])
    loss = F.cross_entropy(logits.float(), labels, ignore_index=255, reduction="sum")
    return loss / (labels != 255).sum().clamp_min(1)


def _one_hot(mask: Tensor) -> Tensor:
    return F.one_hot(shrink(mask, 64), NUM_PARTS).permute(0, 3, 1, 2).float()
