"""Recipe ``end-to-end``: the ablation that trains photo → symbols → generator as one, through the channel.

The generator is the shipped link's and stays as it is; the encoder and the two fully connected layers of each end learn from
the picture losses alone, at 128 px. The result is measured by ``semcast reproduce ablations`` and does not ship.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor, nn

from semcast.channels import make_channel
from semcast.generative.channel_codec import ChannelCodec
from semcast.generative.encoder import FaceEncoder
from semcast.generative.system import Generative
from semcast.generative.variants import EndToEnd
from semcast.link import Burst
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.train.data import load_faces, random_flip, shuffled
from semcast.train.linear_gan import random_budget
from semcast.train.picture import PictureLoss, Weights
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
from semcast.train.validation import measure_over_awgn
from semcast.weights import save


@dataclass(frozen=True)
class Settings:
    """Batch 16 at 128x128; k log-uniform in 32..1280 and SNR uniform, as the link's recipe draws them."""

    steps: int = 600
    batch: int = 16
    rate: float = 2e-4
    snr_low: float = -2.0
    snr_high: float = 20.0
    losses: Weights = Weights()
    schedule: Schedule = Schedule(warm=50)
    seed: int = 0


class EndToEndRecipe(Recipe):
    """Encoder and channel codec; writes ``end-to-end.safetensors``."""

    name, defaults = "end-to-end", Settings()
    settings: Settings
    network: nn.ModuleDict
    decay = 0.995

    def build(self) -> None:
        """The shipped link, frozen, and a copy of its encoder and a new codec that learn."""
        s = self.settings
        self.link = Generative.load().requires_grad_(False).to(self.device)
        self.link.generator.octaves = 2
        encoder = copy.deepcopy(self.link.encoder).requires_grad_(True).train()
        self.system = EndToEnd(self.link, encoder, ChannelCodec(self.link.codec.config)).to(self.device)
        self.network = channels_last(nn.ModuleDict({"encoder": encoder, "codec": self.system.codec}))
        self.optimiser = torch.optim.Adam(self.network.parameters(), s.rate, betas=(0.9, 0.99))
        self.faces = load_faces(self.job.data / "faces256", "train", 128)
        self.val = load_faces(self.job.data / "faces256", "val", 256, limit=48)
        self.picture_loss = PictureLoss(s.losses, self.faces.labels, self.random, self.device)
        self.channel = make_channel("awgn")

    def batches(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Photos and masks."""
        for index in shuffled(len(self.faces), self.whole, self.settings.seed, first):
            yield random_flip(self.faces.batch(index), self.faces.labels[index], self.random)

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The picture of what arrives."""
        (photo, mask), s = batch, self.settings
        budget = random_budget(self.random, (32, 1280), (s.snr_low, s.snr_high))
        with mixed(self.device):
            meaning = self.system.encoder(photo).float()
        sent = Burst(self.system.codec.encode(self.system.coordinates.to_normal(meaning), budget), budget)
        received = self.cross(self.channel, sent)
        return self.picture_loss(self.link.generator, self.system.receive(received), photo, mask, swap=False, judged=0.0)

    def ship(self, network: nn.ModuleDict) -> None:
        """In 8 bits."""
        path = self.job.out / "end-to-end.safetensors"
        save(path, network.state_dict(), kind="end-to-end", config=self.configuration(), int8=("encoder.", "codec."))

    def validate(self, network: nn.ModuleDict) -> dict[str, float]:
        """PSNR over AWGN."""
        encoder, codec = cast(FaceEncoder, network["encoder"]), cast(ChannelCodec, network["codec"])
        return measure_over_awgn(EndToEnd(self.link, encoder, codec).to(self.device), self.val)

    def configuration(self) -> dict[str, object]:
        """Of both networks."""
        return {"encoder": asdict(self.link.encoder.config), "codec": asdict(self.system.codec.config)}
