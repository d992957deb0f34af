"""Recipe ``judge``: the segmenter that measures the semantic codec and never trains it (``--set domain=street`` or ``face``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from semcast.metrics.judge import Judge, JudgeConfig
from semcast.semantics.domains import domain_named
from semcast.train.data import random_affine, random_crop
from semcast.train.scene_parser import train_segmenter


@dataclass(frozen=True)
class Settings:
    """Batch 8, AdamW 2e-3; photos zoomed, turned a little and shifted, and crops of ``crop`` pixels, in turns.

    Light and contrast vary instead of the colours. ``warm_start`` goes on from what ships.
    """

    domain: str = "street"
    steps: int = 1200
    batch: int = 8
    rate: float = 2e-3
    overlap: float = 0.5
    crop: int = 224
    seed: int = 1031
    warm_start: bool = False


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Train on the domain's shards; writes ``out/judge-<domain>.safetensors``.

    Its score on the originals, which is the ceiling of everything measured with it, is ``val_miou`` in the log.
    """
    config = JudgeConfig()
    domain = domain_named(settings.domain)

    def augment(i: int, image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if i % 2:
            image, mask = random_affine(image, mask, generator, scale=1.25, degrees=4, shift=0.08)
        else:
            image, mask = random_crop(image, mask, generator, side=settings.crop, zoom=(0.9, 1.4))
        light = torch.empty(len(image), 1, 1, 1).uniform_(-0.12, 0.12, generator=generator)
        contrast = torch.empty(len(image), 1, 1, 1).uniform_(0.75, 1.25, generator=generator)
        mean = image.mean((1, 2, 3), keepdim=True)
        return ((image - mean) * contrast + mean + light).clamp(0, 1), mask

    torch.manual_seed(settings.seed)
    model = Judge.load(domain.name) if settings.warm_start else Judge(config)
    run = asdict(settings) | {"recipe": "judge", "kind": "judge", "weights": f"judge-{domain.name}"}
    train_segmenter(model, Judge(config), asdict(config), domain, data, out, augment, run, resume=resume)
