"""Recipe ``linear-gan``: the painter that turns linear estimates into natural faces.

Loss: 4 MSE + LPIPS, and after ``judge_from`` also a patch discriminator with feature matching. One painter serves every
preset of the sketch, every k and every SNR.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.channels import make_channel
from semcast.linear.repainter import Repainter
from semcast.linear.system import CARES, LinearGan, load_sketch
from semcast.link import Budget, Burst, to_complex
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.train.adversary import Adversary, PatchDiscriminator
from semcast.train.data import load_all_faces, load_faces, random_flip, shuffled
from semcast.train.losses import perceptual, random_window
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
from semcast.train.validation import measure_over_awgn, show_over_awgn
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
    schedule: Schedule = Schedule(floor=0.1)
    seed: int = 0
    warm_start: bool = False


def random_budget(generator: torch.Generator, symbols: tuple[int, int], snr: tuple[float, float]) -> Budget:
    """k log-uniform and SNR uniform in the given ranges."""
    u, v = torch.rand(2, generator=generator).tolist()
    k = round(math.exp(math.log(symbols[0]) + u * math.log(symbols[1] / symbols[0])))
    return Budget(k, snr[0] + v * (snr[1] - snr[0]))


class LinearGanRecipe(Recipe):
    """The painter of ``linear-gan``; writes ``painter.safetensors``. ``warm_start`` begins from the shipped painter."""

    name, defaults = "linear-gan", Settings()
    settings: Settings
    network: Repainter

    def build(self) -> None:
        """The painter, the linear systems around it, the discriminator."""
        s = self.settings
        painter = Repainter()
        if s.warm_start:
            painter.load_state_dict(load("painter", kind="painter").tensors)
        self.network = channels_last(painter.to(self.device))
        self.optimiser = torch.optim.Adam(self.network.parameters(), s.rate, betas=(0.9, 0.99))
        self.adversary = Adversary(
            PatchDiscriminator(), adversarial=s.adversarial, matching=s.matching, device=self.device
        )
        self.systems = {care: LinearGan(load_sketch(care), self.network).to(self.device) for care in CARES}
        self.lpips, self.channel = perceptual(self.device), make_channel("awgn")
        self.val = load_faces(self.job.data / "faces256", "val", 256, limit=48)

    def batches(self, first: int) -> Iterator[tuple[Tensor]]:
        """Small photos of both sets, then sharp ones at full size."""
        s = self.settings
        if first < s.small_steps:
            both = load_all_faces(self.job.data, 128)
            batches = shuffled(len(both), self.whole, s.seed, first)
            for _ in range(first, s.small_steps):
                yield (random_flip(both.batch(next(batches)), None, self.random)[0],)
            del both
        faces = load_faces(self.job.data / "faces256", "train", 256)
        for index in shuffled(len(faces), self.whole, s.seed + 1, max(0, first - s.small_steps)):
            yield (random_flip(faces.batch(index), None, self.random)[0],)

    @property
    def octaves(self) -> int:
        """How far above 64 px is painted now."""
        return 1 if self.i < self.settings.small_steps else 2

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """A random sketch, k and SNR; what arrives is painted."""
        (photo,), s, adversary = batch, self.settings, self.adversary
        assert adversary is not None
        care = ("plain", "face", "face", "identity")[int(torch.randint(4, (), generator=self.random))]
        budget, system = random_budget(self.random, (32, 1280), (-2, 20)), self.systems[care]
        window = random_window(self.random)
        with torch.no_grad():
            reals = system.sketch.modulate(system.sketch.project(photo), budget.symbols, budget.snr_db)
            received = self.cross(self.channel, Burst(to_complex(reals), budget))
            with mixed(self.device):
                target = self.lpips.features(photo[window])
        fake = system.paint(received, self.octaves)
        losses = {"mse": F.mse_loss(fake, photo)}
        with mixed(self.device):
            losses["lpips"] = self.lpips.distance(target, self.lpips.features(fake[window])).mean()
        total = s.pixel * losses["mse"] + losses["lpips"]
        if self.i >= s.judge_from:
            strength = min(1.0, (self.i - s.judge_from) / 100)
            asked, named = adversary.losses((photo,), (fake,), strength)
            total, losses = total + asked, losses | named
        return total, losses

    def ship(self, network: Repainter) -> None:
        """In 8 bits."""
        path = self.job.out / "painter.safetensors"
        save(path, network.state_dict(), kind="painter", config=self.configuration(), int8=("",))

    def system(self, network: Repainter) -> LinearGan:
        """The link with this painter, at the size that is trained now."""
        network.octaves = self.octaves
        return LinearGan(load_sketch("face"), network).to(self.device)

    def validate(self, network: Repainter) -> dict[str, float]:
        """PSNR and LPIPS over AWGN."""
        return measure_over_awgn(self.system(network), self.val, lpips=self.lpips)

    def sheet(self, network: Repainter) -> list[list[Tensor]]:
        """Photos and what arrives of them."""
        return show_over_awgn(self.system(network), self.val)

    def configuration(self) -> dict[str, object]:
        """The painter's."""
        return asdict(self.network.config)
