"""Recipe ``end-to-end``: the ablation that trains photo → symbols → generator as one, through the channel.

The generator is the shipped link's and stays as it is; the encoder and the two fully connected layers of each end learn from
the picture losses alone, at 128 px. The result is measured by ``semcast reproduce ablations`` and does not ship.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from semcast.channels import make_channel
from semcast.generative.channel_codec import ChannelCodec
from semcast.generative.system import Generative
from semcast.generative.variants import EndToEnd
from semcast.link import Burst
from semcast.networks.blocks import channels_last
from semcast.train.data import load_faces, random_flip, shuffled
from semcast.train.linear_gan import random_budget
from semcast.train.loop import Averaged, Trainer, descend, warm_cosine
from semcast.train.picture import PictureLoss, Weights
from semcast.train.validation import over_awgn
from semcast.weights import save


@dataclass(frozen=True)
class Settings:
    """Batch 16 at 128x128; k log-uniform in 32..1280 and SNR uniform, as the link's recipe draws them."""

    steps: int = 600
    batch: int = 16
    rate: float = 2e-4
    snr_low: float = -2.0
    snr_high: float = 20.0
    losses: Weights = field(default_factory=Weights)
    seed: int = 0


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Writes ``out/end-to-end.safetensors``."""
    torch.manual_seed(settings.seed)
    link = Generative.load().requires_grad_(False)
    link.generator.octaves = 2
    encoder = channels_last(copy.deepcopy(link.encoder)).requires_grad_(True).train()
    system = EndToEnd(link, encoder, ChannelCodec(link.codec.config))
    trained = torch.nn.ModuleDict({"encoder": encoder, "codec": system.codec})
    optimiser = torch.optim.Adam(trained.parameters(), settings.rate, betas=(0.9, 0.99))
    average = Averaged(trained, 0.995)
    faces = load_faces(data / "faces256", "train", 128)
    val = load_faces(data / "faces256", "val", 256, limit=48)
    random = torch.Generator()
    loss = PictureLoss(settings.losses, faces.labels, random)
    trainer = Trainer(
        out, {"trained": trained, "optimiser": optimiser, "average": average},
        {"recipe": "end-to-end", **asdict(settings)}, resume=resume, every_s=240,
    )  # fmt: skip
    random.manual_seed(settings.seed + trainer.first)
    channel = make_channel("awgn")

    def photos(start: int) -> Iterator[tuple[Tensor, Tensor]]:
        for index in shuffled(len(faces), settings.batch, settings.seed, start):
            photo, mask = random_flip(faces.batch(index), faces.labels[index], random)
            yield photo.contiguous(memory_format=torch.channels_last), mask

    stream = photos(trainer.first)

    def step(i: int) -> dict[str, float]:
        photo, mask = next(stream)
        budget = random_budget(random, (32, 1280), (settings.snr_low, settings.snr_high))
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * warm_cosine(i, settings.steps, warm=50)
        burst: Burst = system.encode(photo, budget)
        received = channel.draw(len(photo), budget.symbols, budget.snr_db, random)(burst)
        total, losses, _ = loss(link.generator, system.received(received), photo, mask, swap=False, judged=0.0)
        descend(total, optimiser, average)
        return {k: float(v.detach()) for k, v in losses.items()}

    def validate(_: int) -> dict[str, float]:
        kept = {k: v.detach().clone() for k, v in trained.state_dict().items()}
        trained.load_state_dict(average.values)
        numbers = over_awgn(system, val)
        tensors = {k: v.clone() for k, v in trained.state_dict().items()}
        save(
            out / "end-to-end.safetensors", tensors, kind="end-to-end",
            config={"encoder": asdict(encoder.config), "codec": asdict(system.codec.config)}, int8=("encoder.", "codec."),
        )  # fmt: skip
        trained.load_state_dict(kept)
        return numbers

    trainer.run(settings.steps, step, after_save=validate)
