"""Recipe ``sketch``: correction and repainter together, through the channel.

Loss, on the face at 128 px and on one window of it at 256 px::

    whole MSE_128 + pixel MSE_window + perceptual LPIPS + texture |S - S'| + person (1 - cos)
        + adversarial (-D) + matching |D's features|

LPIPS (SqueezeNet) sees both pictures through one random view (E-LPIPS), so that it cannot be pleased by a texture of its own; S
are the log amplitudes of windowed blocks; the person is mobilefacenet's. Every third batch are photos that are not sharp at
256 px (faces160-unlabelled): more people, judged at 128 px alone, without the discriminator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.channels import make_channel
from semcast.linear.learned import Correction, LearnedSketch, care_of
from semcast.linear.repainter import RepainterConfig, SmoothRepainter
from semcast.linear.system import load_sketch
from semcast.link import Received
from semcast.networks.blocks import channels_last
from semcast.train.adversary import Adversary, PatchDiscriminator
from semcast.train.data import load_faces, load_more_faces, random_flip, shuffled
from semcast.train.linear_gan import random_budget
from semcast.train.losses import IdentityLoss, perceptual, random_square, spectrum_loss, view_loss
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
from semcast.train.validation import POINTS, load_judge, measure_over_awgn, show_over_awgn
from semcast.weights import load, save


@dataclass(frozen=True)
class Settings:
    """Batch 16, Adam 2e-4, constant until the last tenth of the minutes; weights of the losses as above.

    ``persons`` is how many photos of a batch the identity loss sees (its network costs a third of a step), ``more_every`` how
    often a batch shows more people; ``warm_start`` goes on from what ships. ``care`` is the KLT that is corrected: with another
    one than that of what ships, the correction starts anew. ``correction`` is its share of the learning rate.
    """

    steps: int = 1_000_000
    batch: int = 16
    rate: float = 2e-4
    whole: float = 36.0
    pixel: float = 24.0
    perceptual: float = 0.6
    texture: float = 0.12
    person: float = 0.6
    adversarial: float = 0.02
    matching: float = 0.3
    persons: int = 8
    more_every: int = 3
    schedule: Schedule = Schedule("wsd", decay=0.1)
    seed: int = 0
    warm_start: bool = True
    care: str = "person"
    correction: float = 0.1


class SketchRecipe(Recipe):
    """Writes ``sketch.safetensors``."""

    name, defaults = "sketch", Settings()
    decay, every_s = 0.998, 900.0
    settings: Settings
    network: nn.ModuleDict
    _ready: tuple[int, LearnedSketch] | None = None

    def build(self) -> None:
        """Networks, losses, photos."""
        data, repainter, correction = self.job.data, SmoothRepainter(RepainterConfig(fine=(32, 16))), Correction()
        if self.settings.warm_start:
            shipped = load("sketch", kind="learned-sketch")
            repainter.load_state_dict(shipped.part("repainter"))
            if care_of(shipped) == self.settings.care:
                correction.load_state_dict(shipped.part("correction"))
        self.network = nn.ModuleDict({"repainter": repainter, "correction": correction})
        channels_last(self.network.to(self.device))
        self.sketch = load_sketch(self.settings.care).to(self.device)
        self.system = self.of(self.network)
        # at the whole rate the correction came out worse on val than none: the closed form leaves it little to learn
        groups = [
            {"params": [*repainter.parameters()], "share": 1.0},
            {"params": [*correction.parameters()], "share": self.settings.correction},
        ]
        self.optimiser = torch.optim.Adam(groups, self.settings.rate, betas=(0.9, 0.99))
        self.adversary = Adversary(
            PatchDiscriminator(smooth=True), adversarial=self.settings.adversarial, matching=self.settings.matching,
            device=self.device,
        )  # fmt: skip
        self.lpips, self.person, self.channel = perceptual(self.device), IdentityLoss.load(self.device), make_channel("awgn")
        self.faces = load_faces(data / "faces256", "train", 256)
        self.more = load_more_faces(data, 128)
        self.val = load_faces(data / "faces256", "val", 256, limit=48)
        self.judge = load_judge()

    def of(self, network: nn.Module) -> LearnedSketch:
        """The system with these two networks."""
        return LearnedSketch(self.sketch, network["repainter"], network["correction"]).to(self.device)  # type: ignore[index]

    def ready(self, network: nn.Module) -> LearnedSketch:
        """The system as it would ship; measured once a validation, which ships it, tests it and shows it."""
        if self._ready is None or self._ready[0] != self.i:
            system = self.of(network).eval()
            system.calibrate(self.faces.batch(torch.arange(min(64, len(self.faces)))).to(self.device))
            self._ready = self.i, system
        return self._ready[1]

    def batches(self, first: int) -> Iterator[tuple[Tensor]]:
        """Photos at 256 px; every ``more_every``-th batch at 128 px."""
        every, size = self.settings.more_every, self.whole
        sharp = shuffled(len(self.faces), size, self.settings.seed, first - first // every)
        others = shuffled(len(self.more), size, self.settings.seed + 1, first // every)
        for i in count(first):
            source, stream = (self.more, others) if i % every == every - 1 else (self.faces, sharp)
            yield (random_flip(source.batch(next(stream)), None, self.random)[0],)

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Of one batch over one channel, at one k and SNR."""
        (photo,) = batch
        budget = random_budget(self.random, (32, 1280), (-2, 20))
        received = self.cross(self.channel, self.system.encode(photo, budget))
        if photo.shape[-1] == 256:
            return self._sharp(photo, received)
        face = self.system.paint(received, octaves=1)
        losses = {"mse_more": F.mse_loss(face, photo)} | self._look(photo, face, "_more") | self._who(photo, face)
        weights = self.settings
        total = (weights.whole + weights.pixel) * losses["mse_more"] + self._weigh(losses, "_more")
        return total, losses

    def _sharp(self, photo: Tensor, received: Received) -> tuple[Tensor, dict[str, Tensor]]:
        window = random_square(self.random, 256, 128, 2)
        face, fake = self.system.paint_window(received, window[1].start, window[2].start)
        real = photo[window].contiguous(memory_format=torch.channels_last)
        small = F.interpolate(photo, face.shape[-2:], mode="area")
        losses = {"mse": F.mse_loss(fake, real), "mse_whole": F.mse_loss(face, small)}
        losses |= self._look(real, fake) | self._who(photo, face)
        assert self.adversary is not None
        asked, told = self.adversary.losses((real,), (fake,), min(1.0, (self.i + 1) / 200))
        total = self.settings.pixel * losses["mse"] + self.settings.whole * losses["mse_whole"] + self._weigh(losses) + asked
        return total, losses | told

    def _look(self, real: Tensor, fake: Tensor, suffix: str = "") -> dict[str, Tensor]:
        """How it looks."""
        return {
            "lpips" + suffix: view_loss(self.lpips, real, fake, self.random),
            "texture" + suffix: spectrum_loss(real, fake, self.random),
        }

    def _who(self, photo: Tensor, face: Tensor) -> dict[str, Tensor]:
        """Who it is."""
        seen = slice(self.settings.persons)
        return {"person": self.person(photo[seen], face[seen])}

    def _weigh(self, losses: dict[str, Tensor], suffix: str = "") -> Tensor:
        s = self.settings
        looks = s.perceptual * losses["lpips" + suffix] + s.texture * losses["texture" + suffix]
        return looks + s.person * losses["person"]

    def ship(self, network: nn.Module) -> None:
        """Matrices in 8 bits, and how loud the correction makes a burst."""
        path = self.job.out / "sketch.safetensors"
        tensors = network.state_dict() | {"loudness": self.ready(network).loudness}
        save(path, tensors, kind="learned-sketch", config=self.configuration(), int8=("repainter", "correction"))

    def configuration(self) -> dict[str, object]:
        """Those of both networks."""
        repainter, correction = self.network["repainter"].config, self.network["correction"].config
        networks = {"repainter": asdict(repainter), "correction": asdict(correction)}  # type: ignore[call-overload]
        return {**networks, "care": self.settings.care}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """PSNR, LPIPS and the identity that no loss sees, at four points."""
        return measure_over_awgn(self.ready(network), self.val, lpips=self.lpips, identity=self.judge)

    def sheet(self, network: nn.Module) -> Sequence[Sequence[Tensor]]:
        """Eight val photos, and what arrives of them at the four points."""
        return show_over_awgn(self.ready(network), self.val, points=POINTS, count=8)
