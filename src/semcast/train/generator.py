"""Recipe ``generator``: encoder and semantic generator together, from photos and part masks.

Three stretches: 128 px on all photos; 256 px; 256 px with the dual-branch discriminator, which also judges part swaps.
Loss: weighted MSE + LPIPS + cross-entropy of the composed and the rendered mask + locality of swaps (+ adversarial).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.domains import NUM_PARTS, PARTS
from semcast.generative.encoder import EncoderConfig, FaceEncoder
from semcast.generative.generator import GeneratorConfig, SemanticGenerator, swap_part
from semcast.linear.system import load_sketch
from semcast.metrics.pixel import psnr_db
from semcast.metrics.semantic import confusion, mean_iou
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.train.data import load_all_faces, load_faces, random_flip, shuffled
from semcast.train.eigen_parts import initialise
from semcast.train.picture import PictureLoss, Weights, outside_union, shrink
from semcast.train.pretrained import load_generator, prepare
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
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
    losses: Weights = Weights()
    schedule: Schedule = Schedule(floor=0.1)
    seed: int = 0
    warm_start: bool = False


class GeneratorRecipe(Recipe):
    """Encoder and generator; writes ``generator.safetensors``. ``warm_start`` begins from the shipped ones."""

    name, defaults = "generator", Settings()
    settings: Settings

    def build(self) -> None:
        """Networks in two groups, losses, photos."""
        s, data = self.settings, self.job.data
        self.encoder, self.generator = FaceEncoder(EncoderConfig()), SemanticGenerator(GeneratorConfig())
        networks = nn.ModuleDict({"encoder": self.encoder, "generator": self.generator})
        self.network = channels_last(networks.to(self.device))
        named = list(networks.named_parameters())
        groups = [
            {"params": [p for name, p in named if _closed_form(name) == slow], "share": share}
            for slow, share in ((False, 1.0), (True, s.closed_form))
        ]
        self.optimiser = torch.optim.Adam(groups, s.rate, betas=(0.9, 0.99))
        self.labelled = load_faces(data / "faces256", "train", 128)
        self.val = load_faces(data / "faces256", "val", 256, limit=64)
        prepare(self.generator, self.labelled.labels, s.losses.a, s.losses.b)
        self.picture_loss = PictureLoss(s.losses, self.labelled.labels, self.random, self.device)
        self.adversary = self.picture_loss.adversary

    def start(self) -> None:
        """From what ships, or from the principal components of the parts."""
        if self.settings.warm_start:
            encoder, generator, _ = load_generator("generative")
            self.encoder.load_state_dict(encoder.state_dict())
            self.generator.load_state_dict(generator.state_dict() | {"care": self.generator.care})
            return
        self.network.cpu()  # closed forms are computed where all photos are
        initialise(self.encoder, self.generator, self.labelled, load_sketch("face"))
        channels_last(self.network.to(self.device))

    def batches(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Small photos of both sets, then sharp ones at full size, with their masks."""
        s = self.settings
        if first < s.small_steps:
            both = load_all_faces(self.job.data, 128)
            batches = shuffled(len(both), self.whole, s.seed, first)
            for _ in range(first, s.small_steps):
                index = next(batches)
                yield random_flip(both.batch(index), both.labels[index], self.random)
            del both
        faces = load_faces(self.job.data / "faces256", "train", 256)
        for index in shuffled(len(faces), self.whole, s.seed + 1, max(0, first - s.small_steps)):
            yield random_flip(faces.batch(index), faces.labels[index], self.random)

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The encoder's codes, a little noisy, rendered."""
        (photo, mask), s, i = batch, self.settings, self.i
        judged = max(0.0, min(1.0, (i - s.judge_from + 1) / 100))
        with mixed(self.device):
            codes = self.encoder(photo)
        level = s.code_noise * self.rows(lambda n: torch.rand(n, 1, 1, generator=self.random), len(photo))
        noise = self.rows(lambda n: torch.randn(n, *codes.shape[1:], generator=self.random), len(photo))
        swap = i >= s.swap_from and (i % 2 == 0 or judged > 0)
        return self.picture_loss(self.generator, codes + level * noise, photo, mask, swap=swap, judged=judged)

    def ship(self, network: nn.ModuleDict) -> None:
        """Both networks in 16 bits."""
        path = self.job.out / "generator.safetensors"
        save(path, network.state_dict(), kind="generator", config=self.configuration())

    @torch.no_grad()
    def validate(self, network: nn.ModuleDict) -> dict[str, float]:
        """Of the encoder's codes: PSNR, LPIPS, mIoU of the masks, and how local swaps are."""
        encoder, generator = self._parts(network)
        psnr, distance, swap = [], [], []
        total = torch.zeros(NUM_PARTS, NUM_PARTS, dtype=torch.long)
        for index in torch.arange(len(self.val)).split(16):
            whole, masks = self.val.batch(index).to(self.device), self.val.labels[index].to(self.device)
            with mixed(self.device):
                codes = encoder(whole)
                made = generator(codes)
                image = made.image.clamp(0, 1)
                photo = F.interpolate(whole, image.shape[-2:], mode="area")
                psnr.append(psnr_db(photo, image))
                distance.append(self.picture_loss.lpips(photo, image))
                total += confusion(made.mask.argmax(1).cpu(), shrink(masks, 64).cpu(), NUM_PARTS)
                swap += swap_locality(generator, codes, image, masks)
        return {
            "val_psnr": round(float(torch.cat(psnr).mean()), 2), "val_lpips": round(float(torch.cat(distance).mean()), 4),
            "val_miou": round(mean_iou(total), 4), "val_swap": round(float(torch.stack(swap).mean()), 3),
        }  # fmt: skip

    @torch.no_grad()
    def sheet(self, network: nn.ModuleDict) -> list[list[Tensor]]:
        """Photos, and what the encoder's codes show."""
        encoder, generator = self._parts(network)
        photo = self.val.batch(torch.arange(min(6, len(self.val)))).to(self.device)
        with mixed(self.device):
            image = generator(encoder(photo)).image.float()
        return [list(F.interpolate(photo, image.shape[-2:], mode="area")), list(image)]

    def _parts(self, network: nn.ModuleDict) -> tuple[FaceEncoder, SemanticGenerator]:
        encoder, generator = cast(FaceEncoder, network["encoder"]), cast(SemanticGenerator, network["generator"])
        generator.octaves = 2 if self.i < self.settings.small_steps else 3
        return encoder, generator

    def configuration(self) -> dict[str, object]:
        """Of both."""
        return {"encoder": asdict(self.encoder.config), "generator": asdict(self.generator.config)}


def swap_locality(generator: SemanticGenerator, codes: Tensor, image: Tensor, masks: Tensor) -> list[Tensor]:
    """For four parts: of what changes when each is taken from the other half of the batch, the share inside both masks."""
    found, half, size = [], len(codes) // 2, image.shape[-1]
    for name in ("eyes", "mouth", "nose", "hair"):
        part = PARTS.index(name)
        other = generator(swap_part(codes[:half], codes[half : 2 * half], part))
        outside = outside_union(masks[:half], masks[half : 2 * half], part, size)
        change = (other.image.clamp(0, 1) - image[:half]).square()
        found.append(1 - (change * outside).sum() / change.sum())
    return found


def _closed_form(name: str) -> bool:
    """Parameters that start from closed-form statistics: they learn more slowly, so that noise does not undo them."""
    return any(key in name for key in ("generator.eigen_", "encoder.project", "encoder.linear"))
