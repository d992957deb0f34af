"""What the recipes of the segmenters share: one training loop, its losses, and more of what is rare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.domains import IGNORED, Domain
from semcast.metrics.semantic import confusion, mean_iou
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.train.data import Scenes, load_scenes, random_crop, random_mirror, shuffled
from semcast.train.loop import Averaged, Trainer, descend, warm_cosine
from semcast.weights import save

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]

SMALL = 128
"""Side of the crops of the first steps, in pixels: a quarter of the cost, so twice the photos in half the time."""


def train_segmenter(
    model: nn.Module, shipped: nn.Module, config: dict[str, Any], domain: Domain, data: Path, out: Path, zoomed: Augment,
    coloured: Callable[[Tensor, torch.Generator], Tensor], run: dict[str, Any], *, resume: bool,
) -> None:  # fmt: skip
    """Cross-entropy, rare classes weighted, plus the overlap loss, over random flips, crops and colours.

    Photos with rare classes are seen more often (:func:`rare_often`).

    The loss is taken at a quarter of the pixels, another quarter at each step: at all of them it would cost as much as the
    network. Each validation measures one confusion matrix over val and writes the weights.

    Args:
        model: trained in place: image → logits of the image's size.
        shipped: of the same shape; takes the averaged weights for validation.
        zoomed: (image, mask, generator) → image, mask: what happens to every other batch of whole photos.
        coloured: (image, generator) → image: what happens to the colours of all.
        run: the settings, with ``kind`` and ``weights`` (the name) of the file to write.
    """
    scenes = load_scenes(data, domain, "train", config["size"])
    val = load_scenes(data, domain, "val", config["size"])
    model = channels_last(model.train())
    shipped = channels_last(shipped.eval())
    optimiser = torch.optim.AdamW(model.parameters(), run["rate"], weight_decay=1e-4)
    average = Averaged(model, 0.995)
    state: dict[str, object] = {"model": model, "optimiser": optimiser, "average": average}
    trainer = Trainer(out, state, run | config, resume=resume, every_s=180)
    small = int(run["small"] * run["steps"])
    often = rare_often(scenes.masks, len(domain.classes), run["seed"])
    batches = shuffled(len(often), run["batch"], run["seed"], trainer.first + min(trainer.first, small))
    generator = torch.Generator().manual_seed(run["seed"] * 7919 + trainer.first)
    weight = class_weights(scenes.masks, len(domain.classes))

    def step(i: int) -> dict[str, float]:
        index = torch.cat((next(batches), next(batches))) if i < small else next(batches)
        index = often[index]
        image, mask = random_mirror(scenes.batch(index), scenes.masks[index], domain, generator)
        if i < small:
            image, mask = random_crop(image, mask, generator, side=SMALL, zoom=(0.5, 1.25))
        elif i % 2:
            image, mask = zoomed(image, mask, generator)
        image = coloured(image, generator)
        for group in optimiser.param_groups:
            group["lr"] = run["rate"] * warm_cosine(i, run["steps"])
        with mixed():
            logits = model(image.contiguous(memory_format=torch.channels_last))
        row, column = divmod(i // 2 % 4, 2)
        logits, labels = logits[..., row::2, column::2].float(), mask[:, row::2, column::2].long()
        loss = segmentation_loss(logits, labels, weight, run["overlap"])
        descend(loss, optimiser, average)
        return {"loss": float(loss.detach())}

    def validate(_: int) -> dict[str, float]:
        shipped.load_state_dict(average.values)
        save(out / f"{run['weights']}.safetensors", average.values, kind=run["kind"], config=config, int8=("",))
        matrix = set_confusion(shipped, val, len(domain.classes))
        right = float(matrix.diagonal().sum() / matrix.sum())
        return {"val_miou": round(mean_iou(matrix), 4), "val_accuracy": round(right, 4)}

    trainer.run(run["steps"], step, after_save=validate)


@torch.no_grad()
def set_confusion(model: nn.Module, scenes: Scenes, classes: int) -> Tensor:
    """One confusion matrix ``[classes, classes]`` over a set; rows truth."""
    total = torch.zeros(classes, classes, dtype=torch.long)
    for index in torch.arange(len(scenes)).split(10):
        with mixed():
            logits = model(scenes.batch(index))
        total += confusion(logits.argmax(1), scenes.masks[index], classes)
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
