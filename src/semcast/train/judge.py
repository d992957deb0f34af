"""Recipe ``judge``: the segmenter that measures the semantic codec and never trains it (``--set domain=street`` or ``face``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from semcast.domains import domain_named
from semcast.networks.segmenter import Judge, JudgeConfig
from semcast.train.data import random_affine
from semcast.train.segmenter import train_segmenter


@dataclass(frozen=True)
class Settings:
    """AdamW 2e-3; batch 16 of small crops at first, then batch 8 of whole photos and of zoomed, turned and shifted ones in turns.

    ``small`` is the share of the steps with small crops. Light and contrast vary instead of the colours. ``warm_start`` goes on
    from what ships.
    """

    domain: str = "street"
    steps: int = 4000
    small: float = 0.6
    batch: int = 8
    rate: float = 2e-3
    overlap: float = 0.5
    seed: int = 1031
    warm_start: bool = False


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Train on the domain's shards; writes ``out/judge-<domain>.safetensors``.

    Its score on the originals is ``val_miou`` in the log.
    """
    config = JudgeConfig()
    domain = domain_named(settings.domain)

    def zoomed(image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return random_affine(image, mask, generator, scale=1.25, degrees=4, shift=0.08)

    def coloured(image: Tensor, generator: torch.Generator) -> Tensor:
        light = torch.empty(len(image), 1, 1, 1).uniform_(-0.12, 0.12, generator=generator)
        contrast = torch.empty(len(image), 1, 1, 1).uniform_(0.75, 1.25, generator=generator)
        mean = image.mean((1, 2, 3), keepdim=True)
        return ((image - mean) * contrast + mean + light).clamp(0, 1)

    torch.manual_seed(settings.seed)
    model = Judge.load(domain.name) if settings.warm_start else Judge(config)
    run = asdict(settings) | {"recipe": "judge", "kind": "judge", "weights": f"judge-{domain.name}"}
    train_segmenter(model, Judge(config), asdict(config), domain, data, out, zoomed, coloured, run, resume=resume)
