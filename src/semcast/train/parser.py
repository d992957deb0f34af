"""Recipe ``parser``: the 13-part face parser from labelled faces, robust to rough crops."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from semcast.domains import NUM_PARTS
from semcast.metrics.semantic import confusion, mean_iou
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.networks.segmenter import FaceParser, ParserConfig
from semcast.train.data import load_faces, random_affine, random_flip, shuffled
from semcast.train.loop import Averaged, Trainer, descend, warm_cosine
from semcast.train.segmenter import class_weights, segmentation_loss
from semcast.weights import save


@dataclass(frozen=True)
class Settings:
    """Batch 16 at 128x128, Adam 1e-3, half of the photos seen through a random zoom, rotation and shift.

    ``overlap`` weights the soft intersection over union of the parts in the batch, which is what is reported in the end:
    cross-entropy alone leaves small parts to chance. ``warm_start`` goes on from the shipped parser.
    """

    steps: int = 3200
    batch: int = 16
    rate: float = 1e-3
    overlap: float = 0.5
    seed: int = 0
    warm_start: bool = False


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Train on ``data/faces256``; writes ``out/parser.safetensors``."""
    config = ParserConfig()
    faces = load_faces(data / "faces256", "train", config.size)
    val = load_faces(data / "faces256", "val", config.size)
    torch.manual_seed(settings.seed)
    model = FaceParser.load() if settings.warm_start else channels_last(FaceParser(config))
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, weight_decay=1e-4)
    average = Averaged(model, 0.998)
    trainer = Trainer(
        out, {"model": model, "optimiser": optimiser, "average": average},
        {"recipe": "parser", **asdict(settings), **asdict(config)}, resume=resume,
    )  # fmt: skip
    batches = shuffled(len(faces), settings.batch, settings.seed, trainer.first)
    generator = torch.Generator().manual_seed(settings.seed + trainer.first)
    weight = class_weights(faces.labels, NUM_PARTS)

    def step(i: int) -> dict[str, float]:
        index = next(batches)
        image, mask = random_flip(faces.batch(index), faces.labels[index], generator)
        if i % 2:
            image, mask = random_affine(image, mask, generator, scale=1.7, degrees=30, shift=0.15)
        jitter = torch.empty(len(image), 3, 1, 1).uniform_(0.8, 1.2, generator=generator)
        image = (image * jitter).clamp(0, 1).contiguous(memory_format=torch.channels_last)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * warm_cosine(i, settings.steps)
        with mixed():
            logits = model(image)
        loss = segmentation_loss(logits.float(), mask.long(), weight, settings.overlap)
        descend(loss, optimiser, average)
        return {"loss": float(loss.detach())}

    def validate(_: int) -> dict[str, float]:
        shipped = FaceParser(config)
        shipped.load_state_dict(average.values)
        total = torch.zeros(NUM_PARTS, NUM_PARTS, dtype=torch.long)
        for index in torch.arange(len(val)).split(25):
            total += confusion(shipped.labels(val.batch(index)), val.labels[index], NUM_PARTS)
        save(out / "parser.safetensors", average.values, kind="parser", config=asdict(config), int8=("",))
        return {"val_miou": round(float(mean_iou(total)), 4)}

    trainer.run(settings.steps, step, after_save=validate)
