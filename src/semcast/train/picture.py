"""What a picture made from codes is judged by: the losses that the generator's and the link's recipes share.

A photo of 128 px is judged whole. Of one of 256 px the face is judged at 128 px, and one window at 256 px: where the generator's
last octave does not mind (``smooth``) that is all that is rendered, a third of the work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.domains import NUM_PARTS, PARTS
from semcast.generative.generator import Rendering, SemanticGenerator, swap_part
from semcast.networks.precision import mixed
from semcast.train.adversary import Adversary, DualDiscriminator
from semcast.train.linear import pixel_weight
from semcast.train.losses import IdentityLoss, Window, perceptual, random_square, spectrum_loss, view_loss

# how often each part is swapped in training: those that every face shows
SWAPPED = tuple(PARTS.index(p) for p in ("skin", "eyes", "eyes", "brows", "mouth", "mouth", "nose", "hair", "background"))
SIDE = 128
"""Of a window, and of the face that is judged whole."""


@dataclass(frozen=True)
class Weights:
    """Weights of the losses; ``a`` and ``b`` weight the pixels of features and skin as in the linear sketch.

    ``whole``: weighted MSE of the face at 128 px; ``pixel``: MSE of the window; ``persons``: how many photos of a batch the
    identity loss sees (its network costs a third of a step).
    """

    whole: float = 8.0
    pixel: float = 4.0
    perceptual: float = 0.8
    texture: float = 0.12
    person: float = 0.4
    persons: int = 8
    mask: float = 0.1
    swap: float = 8.0
    adversarial: float = 0.02
    matching: float = 0.3
    a: float = 3.0
    b: float = 1.0


@dataclass(frozen=True)
class Look:
    """What is looked at of a rendering.

    Args:
        made: the rendering, at 128 px.
        near: a window of the picture at the photo's own size.
        window: where that is; everything of a photo of 128 px.
    """

    made: Rendering
    near: Tensor
    window: Window


def shrink(mask: Tensor, size: int) -> Tensor:
    """Part labels at another size (nearest), int64."""
    return F.interpolate(mask[:, None].float(), (size, size), mode="nearest")[:, 0].long()


def outside_union(mask: Tensor, other: Tensor, part: int, size: int) -> Tensor:
    """1 where neither mask ``[B, S, S]`` shows the part, 0 elsewhere, ``[B, 1, size, size]``."""
    union = ((mask == part) | (other == part)).float()[:, None]
    return 1 - F.interpolate(union, (size, size), mode="nearest")


class PictureLoss:
    """MSE, LPIPS through random views, texture, the person, masks, locality of part swaps, a discriminator that judges both.

    ``adversary`` is to take its step after the painter's. Its two branches judge the picture and whether the mask belongs to it,
    of swapped faces too.

    Args:
        masks: labelled part masks ``[N, S, S]``, for the pixel weights.
        random: where the window and the part to swap come from.
    """

    def __init__(
        self, weights: Weights, masks: Tensor, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> None:
        self.weights, self.random = weights, random
        self.lpips, self.person = perceptual(device), IdentityLoss.load(device)
        self.adversary = Adversary(
            DualDiscriminator(NUM_PARTS, smooth=True), adversarial=weights.adversarial, matching=weights.matching, device=device
        )
        weight = pixel_weight(masks, weights.a, weights.b, SIDE).to(device)
        self.pixel_weight = weight / weight.mean()

    def __call__(
        self, generator: SemanticGenerator, codes: Tensor, photo: Tensor, mask: Tensor, *, swap: bool, judged: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Render the codes and judge the picture.

        Args:
            codes: ``[B, 28, code]``, clean, noisy or received.
            photo: ``[B, 3, S, S]``, S 128 or 256.
            mask: part labels ``[B, S, S]``, 255 where unknown.
            swap: exchange a part between the first and the second half of the batch as well.
            judged: strength of the adversarial losses, 0 to 1.

        Returns:
            the total, and each loss by name.
        """
        window = self._choose(photo.shape[-1])
        with mixed(photo.device):
            look = self.look(generator, codes, photo.shape[-1], window)
            total, losses = self._alike(look, photo, mask)
            looks = [look]
            if swap:
                other, losses["swap"] = self._swap(generator, codes, look, photo.shape[-1])
                total = total + self.weights.swap * losses["swap"]
                looks.append(other)
            if judged > 0:
                real = photo[window], self._parts(_one_hot(mask, photo.shape[-1]), window)
                shares = [self._parts(_at(each.made.mask.float().softmax(1), photo.shape[-1] // 4), window) for each in looks]
                fake = torch.cat([each.near for each in looks]), torch.cat(shares)
                asked, named = self.adversary.losses(real, fake, judged)
                total, losses = total + asked, losses | named
        return total, losses

    def _choose(self, size: int) -> Window:
        return random_square(self.random, size, SIDE, 4) if size > SIDE else (..., slice(0, size), slice(0, size))

    def look(self, generator: SemanticGenerator, codes: Tensor, size: int, window: Window) -> Look:
        """Render as much as is looked at."""
        octaves = (size // generator.config.grid).bit_length() - 1
        if size <= SIDE:
            made = generator(codes, octaves)
            return Look(made, made.image, window)
        if generator.config.smooth:
            top, left = window[1].start, window[2].start
            return Look(*generator.render_window(generator.local(codes), top, left, SIDE), window)
        made = generator(codes, octaves)
        half = F.interpolate(made.image, (SIDE, SIDE), mode="area")
        return Look(Rendering(half, made.mask, made.coarse), made.image[window], window)

    def _parts(self, shares: Tensor, window: Window) -> Tensor:
        """That part of the masks ``[B, 13, S / 4, S / 4]`` which lies under a window."""
        rows, columns = (slice(side.start // 4, side.stop // 4) for side in window[1:])
        return shares[..., rows, columns]

    def _alike(self, look: Look, photo: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """How far picture and masks are from the photo's."""
        w, real = self.weights, photo[look.window].contiguous(memory_format=torch.channels_last)
        small = F.interpolate(photo, look.made.image.shape[-2:], mode="area")
        face, seen = look.made.image, slice(self.weights.persons)
        losses = {
            "mse_whole": ((face - small).square() * self.pixel_weight).mean(),
            "psnr": -10 * (face.detach().clamp(0, 1) - small).square().mean((1, 2, 3)).log10().mean(),
            "lpips": view_loss(self.lpips, real, look.near, self.random),
            "texture": spectrum_loss(real, look.near, self.random),
            "person": self.person(photo[seen], face[seen].float()),
            "coarse": _mask_loss(look.made.coarse, mask),
            "mask": _mask_loss(look.made.mask, mask),
        }
        total = w.whole * losses["mse_whole"] + w.perceptual * losses["lpips"] + w.texture * losses["texture"]
        total = total + w.person * losses["person"] + w.mask * (losses["coarse"] + losses["mask"])
        if photo.shape[-1] > SIDE:
            losses["mse"] = F.mse_loss(look.near, real)
            total = total + w.pixel * losses["mse"]
        return total, losses

    def _swap(self, generator: SemanticGenerator, codes: Tensor, look: Look, size: int) -> tuple[Look, Tensor]:
        """One part of the second half of the batch put into the first, and what that changes where neither shows the part."""
        half = len(codes) // 2
        part = SWAPPED[int(torch.randint(len(SWAPPED), (), generator=self.random))]
        other = self.look(generator, swap_part(codes[:half], codes[half : 2 * half], part), size, look.window)
        shown = look.made.mask.detach().argmax(1)
        outside = outside_union(shown[:half], shown[half : 2 * half], part, look.made.image.shape[-1])
        return other, ((other.made.image - look.made.image[:half].detach()).square() * outside).mean()


def _at(shares: Tensor, size: int) -> Tensor:
    """Probabilities of parts at another size."""
    return shares if shares.shape[-1] == size else F.interpolate(shares, (size, size), mode="area")


def _mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy against the labels at the logits' size; 0 where nothing is labelled."""
    labels = shrink(mask, logits.shape[-1])
    loss = F.cross_entropy(logits.float(), labels, ignore_index=255, reduction="sum")
    return loss / (labels != 255).sum().clamp_min(1)


def _one_hot(mask: Tensor, size: int) -> Tensor:
    return F.one_hot(shrink(mask, size // 4), NUM_PARTS).permute(0, 3, 1, 2).float()
