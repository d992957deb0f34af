"""Recipe ``scene-parser``: the semantic codec's parser of a domain (``--set domain=street`` or ``face``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from semcast.domains import domain_named
from semcast.networks.segmenter import SceneParser, SceneParserConfig
from semcast.train.data import random_crop
from semcast.train.segmenter import train_segmenter


@dataclass(frozen=True)
class Settings:
    """AdamW 2e-3; batch 16 of small zoomed crops at first, then batch 8 of whole photos and crops of ``crop`` pixels in turns.

    ``small`` is the share of the steps with small crops. ``overlap`` weights the soft intersection over union, as in the recipe
    ``parser``. ``warm_start`` goes on from what ships.
    """

    domain: str = "street"
    steps: int = 5000
    small: float = 0.6
    batch: int = 8
    rate: float = 2e-3
    overlap: float = 0.5
    crop: int = 192
    seed: int = 0
    warm_start: bool = False


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Train on the domain's shards; writes ``out/parser-<domain>.safetensors``."""
    config = SceneParserConfig()
    domain = domain_named(settings.domain)

    def zoomed(image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return random_crop(image, mask, generator, side=settings.crop, zoom=(0.8, 1.6))

    def coloured(image: Tensor, generator: torch.Generator) -> Tensor:
        return (image * torch.empty(len(image), 3, 1, 1).uniform_(0.8, 1.2, generator=generator)).clamp(0, 1)

    torch.manual_seed(settings.seed)
    model = SceneParser.load(domain) if settings.warm_start else SceneParser(config)
    run = asdict(settings) | {"recipe": "scene-parser", "kind": "scene-parser", "weights": f"parser-{domain.name}"}
    train_segmenter(model, SceneParser(config), asdict(config), domain, data, out, zoomed, coloured, run, resume=resume)
