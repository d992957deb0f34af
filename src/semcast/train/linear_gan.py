"""Recipe ``linear-gan``: the painter that turns linear estimates into natural faces.

Loss: 4 MSE + LPIPS, and after ``judge_from`` also a patch discriminator with feature matching. One painter serves every
preset of the sketch, every k and every SNR.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from semcast.channels import make_channel
from semcast.linear.repainter import Repainter, RepainterConfig
from semcast.linear.system import CARES, LinearGan, load_sketch
from semcast.link import Budget
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.train.adversary import PatchJudge, feature_loss, judge_loss, painter_loss
from semcast.train.data import Faces, load_faces, random_flip, shuffled
from semcast.train.loop import Averaged, Trainer, descend, warm_cosine
from semcast.train.losses import perceptual, random_window
from semcast.train.validation import over_awgn
from semcast.weights import load, save


@dataclass(frozen=True)
class Settings:
    """Steps at 128 px first (``small_steps``, all photos), then at 256 px (labelled photos: they alone are sharp)."""

    steps: int = 2600
    small_steps: int = 1400
    judge_from: int = 1900
    batch: int = 16
    rate: float = 1e-3
    pixel: float = 4.0
    adversarial: float = 0.02
    matching: float = 0.3
    seed: int = 0
    warm_start: bool = False


def random_budget(generator: torch.Generator, symbols: tuple[int, int], snr: tuple[float, float]) -> Budget:
    """k log-uniform and SNR uniform in the given ranges."""
    u, v = torch.rand(2, generator=generator).tolist()
    k = round(math.exp(math.log(symbols[0]) + u * math.log(symbols[1] / symbols[0])))
    return Budget(k, snr[0] + v * (snr[1] - snr[0]))


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Writes ``out/painter.safetensors``; ``warm_start`` begins from the shipped painter."""
    config = RepainterConfig()
    torch.manual_seed(settings.seed)
    painter = Repainter(config)
    if settings.warm_start:
        painter.load_state_dict(load("painter", kind="painter").tensors)
    painter = channels_last(painter)
    judge = channels_last(PatchJudge())
    optimiser = torch.optim.Adam(painter.parameters(), settings.rate, betas=(0.9, 0.99))
    judge_optimiser = torch.optim.Adam(judge.parameters(), 4e-4, betas=(0.0, 0.99))
    average = Averaged(painter)
    state = {"painter": painter, "judge": judge, "optimiser": optimiser, "judge_optimiser": judge_optimiser, "average": average}
    trainer = Trainer(out, state, {"recipe": "linear-gan", **asdict(settings), **asdict(config)}, resume=resume)
    systems = {care: LinearGan(load_sketch(care), painter) for care in CARES}
    lpips, channel = perceptual(), make_channel("awgn")
    generator = torch.Generator().manual_seed(settings.seed + trainer.first)
    val = load_faces(data / "faces256", "val", 256, limit=48)

    def photos(start: int) -> Iterator[torch.Tensor]:
        if start < settings.small_steps:
            small = [load_faces(data / "faces256", "train", 128)]
            small.append(load_faces(data / "faces160-unlabelled", "train", 128, labelled=False))
            both = Faces(torch.cat([f.images for f in small]).contiguous(memory_format=torch.channels_last), None, ())
            del small
            batches = shuffled(len(both), settings.batch, settings.seed, start)
            for _ in range(start, settings.small_steps):
                yield both.batch(next(batches))
        faces = load_faces(data / "faces256", "train", 256)
        for index in shuffled(len(faces), settings.batch, settings.seed + 1, max(0, start - settings.small_steps)):
            yield faces.batch(index)

    stream = photos(trainer.first)

    def step(i: int) -> dict[str, float]:
        photo, _ = random_flip(next(stream), None, generator)
        photo = photo.contiguous(memory_format=torch.channels_last)
        painter.octaves = 1 if i < settings.small_steps else 2
        judged = i >= settings.judge_from
        care = ("plain", "face", "face", "identity")[int(torch.randint(4, (), generator=generator))]
        budget = random_budget(generator, (32, 1280), (-2, 20))
        system = systems[care]
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * warm_cosine(i, settings.steps, floor=0.1)
        with torch.no_grad():
            received = channel.draw(len(photo), budget.symbols, budget.snr_db, generator)(system.encode(photo, budget))
            window = random_window(generator)
            with mixed():
                target = lpips.features(photo[window])
        fake = system.paint(received)
        losses = {"mse": F.mse_loss(fake, photo)}
        with mixed():
            losses["lpips"] = lpips.distance(target, lpips.features(fake[window])).mean()
            total = settings.pixel * losses["mse"] + losses["lpips"]
            if judged:
                for p in judge.parameters():
                    p.requires_grad_(False)
                score, features = judge(fake)
                with torch.no_grad():
                    _, real_features = judge(photo)
                losses["adversarial"] = painter_loss(score)
                losses["matching"] = feature_loss(real_features, features)
                ramp = min(1.0, (i - settings.judge_from) / 100)
                total = total + ramp * (
                    settings.adversarial * losses["adversarial"] + settings.matching * losses["matching"]
                )
        descend(total, optimiser, average)
        if judged:
            for p in judge.parameters():
                p.requires_grad_(True)
            with mixed():
                both, _ = judge(torch.cat((photo, fake.detach().clamp(0, 1))))
            losses["judge"] = judge_loss(*both.chunk(2))
            judge_optimiser.zero_grad(set_to_none=True)
            losses["judge"].backward()
            judge_optimiser.step()
        return {k: float(v.detach()) for k, v in losses.items()}

    def validate(_: int) -> dict[str, float]:
        shipped = Repainter(config)
        shipped.load_state_dict(average.values)
        shipped.octaves = painter.octaves
        system = LinearGan(load_sketch("face"), channels_last(shipped.eval()))
        save(out / "painter.safetensors", average.values, kind="painter", config=asdict(config), int8=("",))
        return over_awgn(system, val, lpips=lpips)

    trainer.every_s = 240
    trainer.run(settings.steps, step, after_save=validate)
