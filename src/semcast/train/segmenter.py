"""Recipes ``parser``, ``scene-parser`` and ``judge``: three segmenters, one training, its losses, and more of what is rare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.domains import IGNORED, NUM_PARTS, Domain, domain_named
from semcast.metrics.semantic import confusion, mean_iou
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.networks.segmenter import FaceParser, Judge, SceneParser, Segmenter
from semcast.train.data import Scenes, load_faces, load_scenes, random_affine, random_crop, random_flip, random_mirror, shuffled
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
from semcast.weights import save

SMALL = 128
"""Side of the crops of the first steps, in pixels: a quarter of the cost, so twice the photos in half the time."""

Labelled = tuple[Tensor, Tensor]
"""Photos ``[B, 3, S, S]`` and their labels uint8 ``[B, S, S]``."""


@dataclass(frozen=True)
class Settings:
    """Batch 16 at 128x128, Adam 1e-3, half of the photos seen through a random zoom, rotation and shift.

    ``overlap`` weights the soft intersection over union of the parts in the batch, which is what is reported in the end:
    cross-entropy alone leaves small parts to chance. ``warm_start`` goes on from what ships.
    """

    steps: int = 3200
    batch: int = 16
    rate: float = 1e-3
    overlap: float = 0.5
    schedule: Schedule = Schedule()
    seed: int = 0
    warm_start: bool = False


class SegmenterRecipe(Recipe):
    """Cross-entropy, rare classes weighted, plus the overlap loss, over random flips, crops and colours.

    Each validation measures one confusion matrix over val. A subclass says which body it trains and what happens to its photos.
    """

    body: ClassVar[type[Segmenter]]
    categories: ClassVar[int] = 19
    settings: Settings

    @property
    def weights(self) -> str:
        """The name of the weights file."""
        raise NotImplementedError

    def load(self, split: str) -> Scenes:
        """Photos and labels of a split."""
        raise NotImplementedError

    def order(self) -> Tensor:
        """Indices of the photos, as often as they are to be seen."""
        return torch.arange(len(self.photos))

    def augment(self, i: int, index: Tensor) -> Labelled:
        """Photos and labels of these indices as step i sees them."""
        raise NotImplementedError

    def build(self) -> None:
        """Network, optimiser, photos."""
        self.photos, self.val = self.load("train"), self.load("val")
        network = self.body.load_shipped(self.weights) if self.settings.warm_start else self.body()
        self.network = channels_last(network.to(self.device).train())
        self.optimiser = torch.optim.AdamW(self.network.parameters(), self.settings.rate, weight_decay=1e-4)
        self.weight = class_weights(self.photos.masks, self.categories).to(self.device)

    def batches(self, first: int) -> Iterator[Labelled]:
        """Photos and labels."""
        order = self.order()
        for i, index in enumerate(shuffled(len(order), self.whole, self.settings.seed, first), first):
            yield self.augment(i, order[index])

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """At every pixel of the logits."""
        image, mask = batch
        with mixed(self.device):
            logits = self.network(image)
        loss = segmentation_loss(logits.float(), mask.long(), self.weight, self.settings.overlap)
        return loss, {"loss": loss}

    def ship(self, network: Segmenter) -> None:
        """In 8 bits."""
        path = self.job.out / f"{self.weights}.safetensors"
        save(path, network.state_dict(), kind=self.body.kind, config=self.configuration(), int8=("",))

    def validate(self, network: Segmenter) -> dict[str, float]:
        """Mean intersection over union, and the share of pixels that are right."""
        matrix = set_confusion(network, self.val, self.categories)
        right = float(matrix.diagonal().sum() / matrix.sum())
        return {"val_miou": round(mean_iou(matrix), 4), "val_accuracy": round(right, 4)}

    def configuration(self) -> dict[str, object]:
        """That of the network."""
        return asdict(self.network.config)  # type: ignore[call-overload, no-any-return]


class FaceParserRecipe(SegmenterRecipe):
    """The 13-part face parser, robust to rough crops; writes ``parser.safetensors``."""

    name, defaults, body = "parser", Settings(), FaceParser
    weights, categories, decay, every_s = "parser", NUM_PARTS, 0.998, 90.0

    def load(self, split: str) -> Scenes:
        """Parts at the size the parser works at."""
        faces = load_faces(self.job.data / "faces256", split, FaceParser.Config().size)
        return Scenes(faces.images, faces.labels, faces.names)

    def augment(self, i: int, index: Tensor) -> Labelled:
        """Every other batch zoomed, turned and shifted; colours vary."""
        image, mask = random_flip(self.photos.batch(index), self.photos.masks[index], self.random)
        if i % 2:
            image, mask = random_affine(image, mask, self.random, scale=1.7, degrees=30, shift=0.15)
        return random_colours(image, self.random), mask


@dataclass(frozen=True)
class SceneSettings(Settings):
    """AdamW 2e-3; batch 16 of small zoomed crops at first, then batch 8 of whole photos and crops of ``crop`` pixels in turns.

    ``small`` is the share of the steps with small crops.
    """

    domain: str = "street"
    steps: int = 5000
    small: float = 0.6
    batch: int = 8
    rate: float = 2e-3
    crop: int = 192


class SceneRecipe(SegmenterRecipe):
    """A segmenter of a domain's categories at 256 px. Photos with rare classes are seen more often (:func:`rare_often`).

    The loss is taken at a quarter of the pixels, another quarter at each step: at all of them it would cost as much as the
    network.
    """

    settings: SceneSettings
    decay, every_s = 0.995, 180.0

    def build(self) -> None:
        """As all; the domain first."""
        self.domain: Domain = domain_named(self.settings.domain)
        super().build()

    def load(self, split: str) -> Scenes:
        """With the domain's own categories."""
        return load_scenes(self.job.data, self.domain, split, self.body.Config().size)

    def order(self) -> Tensor:
        """Photos with rare classes several times."""
        return rare_often(self.photos.masks, self.categories, self.settings.seed)

    def batches(self, first: int) -> Iterator[Labelled]:
        """Two batches of small crops in place of one of whole photos at first."""
        order, small = self.order(), int(self.settings.small * self.settings.steps)
        index = shuffled(len(order), self.whole, self.settings.seed, first + min(first, small))
        i = first
        while True:
            yield self.augment(i, order[torch.cat((next(index), next(index))) if i < small else next(index)])
            i += 1

    def augment(self, i: int, index: Tensor) -> Labelled:
        """Small crops at first, then whole photos and what :meth:`vary` makes of them in turns; colours vary."""
        image, mask = random_mirror(self.photos.batch(index), self.photos.masks[index], self.domain, self.random)
        if i < int(self.settings.small * self.settings.steps):
            image, mask = random_crop(image, mask, self.random, side=SMALL, zoom=(0.5, 1.25))
        elif i % 2:
            image, mask = self.vary(image, mask)
        return self.colour(image), mask

    def vary(self, image: Tensor, mask: Tensor) -> Labelled:
        """What happens to every other batch of whole photos."""
        raise NotImplementedError

    def colour(self, image: Tensor) -> Tensor:
        """What happens to the colours of all."""
        raise NotImplementedError

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """At a quarter of the pixels."""
        image, mask = batch
        with mixed(self.device):
            logits = self.network(image)
        row, column = divmod(self.i // 2 % 4, 2)
        logits, labels = logits[..., row::2, column::2].float(), mask[:, row::2, column::2].long()
        loss = segmentation_loss(logits, labels, self.weight, self.settings.overlap)
        return loss, {"loss": loss}


class SceneParserRecipe(SceneRecipe):
    """The semantic codec's parser of a domain; writes ``parser-<domain>.safetensors``."""

    name, defaults, body = "scene-parser", SceneSettings(), SceneParser

    @property
    def weights(self) -> str:
        """One a domain."""
        return f"parser-{self.domain.name}"

    def vary(self, image: Tensor, mask: Tensor) -> Labelled:
        """Crops."""
        return random_crop(image, mask, self.random, side=self.settings.crop, zoom=(0.8, 1.6))

    def colour(self, image: Tensor) -> Tensor:
        """Each channel by another factor."""
        return random_colours(image, self.random)


@dataclass(frozen=True)
class JudgeSettings(Settings):
    """AdamW 2e-3; batch 16 of small crops at first, then batch 8 of whole photos and of zoomed, turned and shifted ones in turns.

    ``small`` is the share of the steps with small crops. Light and contrast vary instead of the colours.
    """

    domain: str = "street"
    steps: int = 4000
    small: float = 0.6
    batch: int = 8
    rate: float = 2e-3
    seed: int = 1031


class JudgeRecipe(SceneRecipe):
    """The segmenter that measures the semantic codec and never trains it; writes ``judge-<domain>.safetensors``.

    Its score on the originals is ``val_miou`` in the log.
    """

    name, defaults, body = "judge", JudgeSettings(), Judge

    @property
    def weights(self) -> str:
        """One a domain."""
        return f"judge-{self.domain.name}"

    def vary(self, image: Tensor, mask: Tensor) -> Labelled:
        """Zoomed, turned, shifted."""
        return random_affine(image, mask, self.random, scale=1.25, degrees=4, shift=0.08)

    def colour(self, image: Tensor) -> Tensor:
        """Light and contrast."""
        light = torch.empty(len(image), 1, 1, 1).uniform_(-0.12, 0.12, generator=self.random)
        contrast = torch.empty(len(image), 1, 1, 1).uniform_(0.75, 1.25, generator=self.random)
        mean = image.mean((1, 2, 3), keepdim=True)
        return ((image - mean) * contrast + mean + light).clamp(0, 1)


def random_colours(image: Tensor, random: torch.Generator) -> Tensor:
    """Each channel of each photo ``[B, 3, H, W]`` by a factor in 0.8..1.2."""
    return (image * torch.empty(len(image), 3, 1, 1).uniform_(0.8, 1.2, generator=random)).clamp(0, 1)


@torch.no_grad()
def set_confusion(network: Segmenter, scenes: Scenes, classes: int) -> Tensor:
    """One confusion matrix ``[classes, classes]`` over a set; rows truth."""
    device = next(network.parameters()).device
    total = torch.zeros(classes, classes, dtype=torch.long)
    for index in torch.arange(len(scenes)).split(10):
        masks = scenes.masks[index]
        with mixed(device):
            labels = network.labels(scenes.batch(index).to(device), masks.shape[-1])
        total += confusion(labels.cpu(), masks, classes)
    return total


def rare_often(masks: Tensor, classes: int, seed: int, *, common: float = 0.3, visible: int = 256) -> Tensor:
    """Indices of photos, those with rare classes several times.

    Repeat factors (Gupta et al., LVIS, CVPR 2019): a photo counts max over its classes of max(1, sqrt(common / share)) times,
    ``share`` being that of the photos which show the class; a broken count is rounded at random.

    Args:
        masks: ``[N, S, S]``.
        visible: in so many pixels or more a class counts as shown.
    """
    shows = torch.stack([torch.bincount(mask.flatten().long(), minlength=classes)[:classes] >= visible for mask in masks])
    factor = (common / shows.float().mean(0).clamp_min(1 / len(masks))).sqrt().clamp_min(1)
    times = torch.where(shows, factor, 1.0).amax(1)
    times = times + torch.rand(len(times), generator=torch.Generator().manual_seed(seed))
    return torch.arange(len(masks)).repeat_interleave(times.floor().long())


def class_weights(masks: Tensor, classes: int) -> Tensor:
    """Weights ``[classes]``, 1 a pixel on average and at most 6: a class counts more by the square root of how rare it is."""
    share = torch.bincount(masks[:1000].flatten().long(), minlength=IGNORED + 1)[:classes].float()
    weight = (share.sum() / share.clamp_min(1)).sqrt()
    return (weight / (weight * share).sum() * share.sum()).clamp_max(6)


def segmentation_loss(logits: Tensor, labels: Tensor, weight: Tensor, overlap: float) -> Tensor:
    """Cross-entropy weighted by class, plus ``overlap`` times :func:`overlap_loss`, which has the shapes."""
    return F.cross_entropy(logits, labels, weight=weight, ignore_index=IGNORED) + overlap * overlap_loss(logits, labels)


def overlap_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - mean over the parts present of Σ p t / Σ (p + t - p t), over all labelled pixels of the batch.

    Args:
        logits: ``[B, parts, S, S]``.
        labels: int64 ``[B, S, S]``, 255 where unknown.
    """
    known = (labels != IGNORED)[:, None]
    target = F.one_hot(labels.where(known[:, 0], 0), logits.shape[1]).permute(0, 3, 1, 2) * known
    share = logits.float().softmax(1) * known
    both = (share * target).sum((0, 2, 3))
    either = (share + target).sum((0, 2, 3)) - both
    present = target.sum((0, 2, 3)) > 0
    return 1 - (both / either.clamp_min(1e-6))[present].mean()
