"""Recipe ``generator``: encoder and semantic generator together, from photos and part masks.

Three stretches: 128 px on all photos; 256 px; 256 px with the dual-branch discriminator, which also judges part swaps.
Loss: weighted MSE + LPIPS + cross-entropy of the composed and the rendered mask + locality of swaps (+ adversarial).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.domains import NUM_PARTS, PARTS
from semcast.generative.encoder import EncoderConfig, FaceEncoder
from semcast.generative.generator import GeneratorConfig, SemanticGenerator, swap_part
from semcast.linear.system import load_sketch
from semcast.metrics.pixel import psnr_db
from semcast.metrics.semantic import confusion, mean_iou
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.train.data import Faces, load_faces, random_flip, shuffled
from semcast.train.eigen_parts import initialise
from semcast.train.loop import Averaged, Trainer, descend, warm_cosine
from semcast.train.picture import PictureLoss, Weights, outside_union, shrink
from semcast.train.pretrained import load_generator, prepare
from semcast.weights import save


@dataclass(frozen=True)
class Settings:
    """``small_steps`` at 128 px, then 256 px; from ``judge_from`` on with the discriminator, from ``swap_from`` with swaps."""

    steps: int = 6000
    small_steps: int = 3600
    swap_from: int = 1800
    judge_from: int = 4400
    batch: int = 16
    rate: float = 6e-4
    closed_form: float = 0.5
    code_noise: float = 0.2
    losses: Weights = field(default_factory=Weights)
    seed: int = 0
    warm_start: bool = False


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Writes ``out/generator.safetensors`` (encoder and generator); ``warm_start`` begins from the shipped ones."""
    torch.manual_seed(settings.seed)
    encoder, generator = FaceEncoder(EncoderConfig()), SemanticGenerator(GeneratorConfig())
    networks = torch.nn.ModuleDict({"encoder": encoder, "generator": generator})
    optimiser = torch.optim.Adam(
        [
            {"params": [p for n, p in networks.named_parameters() if not _closed_form(n)]},
            {"params": [p for n, p in networks.named_parameters() if _closed_form(n)]},
        ],
        settings.rate, betas=(0.9, 0.99),
    )  # fmt: skip
    average = Averaged(networks)
    labelled = load_faces(data / "faces256", "train", 128)
    prepare(generator, labelled.labels, settings.losses.a, settings.losses.b)
    random = torch.Generator()
    loss = PictureLoss(settings.losses, labelled.labels, random)
    trainer = Trainer(
        out,
        {"networks": networks, "optimiser": optimiser, "average": average, **loss.state()},
        {"recipe": "generator", **asdict(settings), **asdict(generator.config), "encoder": asdict(encoder.config)},
        resume=resume, every_s=240,
    )  # fmt: skip
    random.manual_seed(settings.seed + trainer.first)
    if trainer.first == 0:
        if settings.warm_start:
            shipped_encoder, shipped_generator, _ = load_generator("generative")
            encoder.load_state_dict(shipped_encoder.state_dict())
            generator.load_state_dict(shipped_generator.state_dict() | {"care": generator.care})
        else:
            initialise(encoder, generator, labelled, load_sketch("face"))
        average.values = {k: v.detach().clone() for k, v in networks.state_dict().items()}
    channels_last(networks)
    val = load_faces(data / "faces256", "val", 256, limit=64)

    def photos(start: int) -> Iterator[tuple[Tensor, Tensor]]:
        if start < settings.small_steps:
            more = load_faces(data / "faces160-unlabelled", "train", 128, labelled=False)
            unknown = torch.full((len(more), 128, 128), 255, dtype=torch.uint8)
            both = Faces(
                torch.cat((labelled.images, more.images)).contiguous(memory_format=torch.channels_last),
                torch.cat((labelled.labels, unknown)), (),
            )  # fmt: skip
            del more, unknown
            batches = shuffled(len(both), settings.batch, settings.seed, start)
            for _ in range(start, settings.small_steps):
                index = next(batches)
                yield both.batch(index), both.labels[index]
        faces = load_faces(data / "faces256", "train", 256)
        for index in shuffled(len(faces), settings.batch, settings.seed + 1, max(0, start - settings.small_steps)):
            yield faces.batch(index), faces.labels[index]

    stream = photos(trainer.first)

    def step(i: int) -> dict[str, float]:
        photo, mask = random_flip(*next(stream), random)
        photo = photo.contiguous(memory_format=torch.channels_last)
        generator.octaves = 2 if photo.shape[-1] == 128 else 3
        judged = min(1.0, (i - settings.judge_from + 1) / 100)
        for group, scale in zip(optimiser.param_groups, (1.0, settings.closed_form), strict=True):
            group["lr"] = settings.rate * scale * warm_cosine(i, settings.steps, floor=0.1)
        with mixed():
            codes = encoder(photo)
        level = torch.rand(len(photo), 1, 1, generator=random) * settings.code_noise
        codes = codes + level * torch.randn(codes.shape, generator=random)
        swap = i >= settings.swap_from and (i % 2 == 0 or judged > 0)
        total, losses, made = loss(generator, codes, photo, mask, swap=swap, judged=judged)
        descend(total, optimiser, average)
        if judged > 0:
            losses["judge"] = loss.judge_step(photo, mask, made)
        return {k: float(v.detach()) for k, v in losses.items()}

    def validate(_: int) -> dict[str, float]:
        guess, made_by = FaceEncoder(encoder.config), SemanticGenerator(generator.config)
        shipped = torch.nn.ModuleDict({"encoder": guess, "generator": made_by})
        shipped.load_state_dict(average.values)
        channels_last(shipped.eval())
        made_by.octaves = generator.octaves
        size = 64 * 2 ** (generator.octaves - 1)
        psnr, dist, swap = [], [], []
        total = torch.zeros(NUM_PARTS, NUM_PARTS, dtype=torch.long)
        with torch.no_grad(), mixed():
            for index in torch.arange(len(val)).split(16):
                photo = F.interpolate(val.batch(index), (size, size), mode="area")
                codes = guess(val.batch(index))
                made = made_by(codes)
                psnr.append(psnr_db(photo, made.image.clamp(0, 1)))
                dist.append(loss.lpips(photo, made.image.clamp(0, 1)))
                total += confusion(made.mask.argmax(1), shrink(val.labels[index], 64), NUM_PARTS)
                for name in ("eyes", "mouth", "nose", "hair"):
                    part = PARTS.index(name)
                    other = made_by(swap_part(codes[:8], codes[8:], part))
                    outside = outside_union(val.labels[index[:8]], val.labels[index[8:]], part, size)
                    change = (other.image.clamp(0, 1) - made.image[:8].clamp(0, 1)).square()
                    swap.append(1 - (change * outside).sum() / change.sum())
        save(out / "generator.safetensors", average.values, kind="generator",
             config={"encoder": asdict(encoder.config), "generator": asdict(generator.config)})  # fmt: skip
        return {
            "val_psnr": round(float(torch.cat(psnr).mean()), 2), "val_lpips": round(float(torch.cat(dist).mean()), 4),
            "val_miou": round(mean_iou(total), 4), "val_swap": round(float(torch.stack(swap).mean()), 3),
        }  # fmt: skip

    trainer.run(settings.steps, step, after_save=validate)


def _closed_form(name: str) -> bool:
    """Parameters that start from closed-form statistics: they learn more slowly, so that noise does not undo them."""
    return any(key in name for key in ("generator.eigen_", "encoder.project", "encoder.linear"))
