"""Recipe ``generator``: encoder and semantic generator together, from photos and part masks.

Two batches of three are sharp photos (the face at 128 px, a window at 256 px, with the dual-branch discriminator, which also
judges part swaps), every third are photos of 128 px: more people. Losses: :class:`~semcast.train.picture.PictureLoss`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from typing import cast

import torch
from torch import Tensor, nn

from semcast.domains import NUM_PARTS, PARTS
from semcast.generative.encoder import EncoderConfig, FaceEncoder
from semcast.generative.generator import GeneratorConfig, SemanticGenerator, swap_part
from semcast.generative.inversion import correct
from semcast.linear.system import load_sketch
from semcast.metrics.pixel import psnr_db
from semcast.metrics.semantic import confusion, mean_iou
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.train.data import load_all_faces, load_faces, random_flip, shuffled
from semcast.train.eigen_parts import initialise
from semcast.train.picture import SIDE, PictureLoss, Weights, outside_union, shrink
from semcast.train.pretrained import load_generator, prepare
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
from semcast.train.validation import load_judge
from semcast.weights import save

INT8 = ("encoder.", "generator.eigen_", "generator.shape_place", "generator.texture_place")
RENDER = ("join", "body", "grow", "polish", "to_rgb", "to_mask")
"""Of the generator: what paints on the eigen-parts' picture."""


@dataclass(frozen=True)
class Settings:
    """``judge_from`` is the step from which the discriminator takes part; ``warm_start`` goes on from ``source``.

    ``code``: numbers a code of a new generator, and ``render``: channels at 64, 128 and 256 px. ``more_every``: how often a batch
    shows more people, none where 0. ``closed_form``: share of the learning rate of what starts from closed forms.
    """

    steps: int = 1_000_000
    judge_from: int = 600
    batch: int = 16
    rate: float = 4e-4
    more_every: int = 3
    closed_form: float = 0.5
    code_noise: float = 0.2
    code: int = 48
    render: tuple[int, ...] = (48, 32, 16)
    losses: Weights = Weights()
    schedule: Schedule = Schedule("wsd", decay=0.1)
    seed: int = 0
    warm_start: bool = True
    source: str = "generator"


class GeneratorRecipe(Recipe):
    """Encoder and generator; writes ``generator.safetensors``."""

    name, defaults = "generator", Settings()
    decay, every_s = 0.998, 900.0
    settings: Settings

    def build(self) -> None:
        """Networks in two groups, losses, photos."""
        s, data = self.settings, self.job.data
        code = GeneratorConfig.code if s.warm_start else s.code
        self.encoder = FaceEncoder(EncoderConfig(code=code))
        self.generator = SemanticGenerator(GeneratorConfig(code=code, render=tuple(s.render), smooth=True))
        networks = nn.ModuleDict({"encoder": self.encoder, "generator": self.generator})
        self.network = channels_last(networks.to(self.device))
        named = list(networks.named_parameters())
        groups = [
            {"params": [p for name, p in named if _closed_form(name) == slow], "share": share}
            for slow, share in ((False, 1.0), (True, s.closed_form))
        ]
        self.optimiser = torch.optim.Adam(groups, s.rate, betas=(0.9, 0.99))
        self.faces = load_faces(data / "faces256", "train", 256)
        self.more = load_all_faces(data, SIDE)
        self.val = load_faces(data / "faces256", "val", 256, limit=48)
        prepare(self.generator, self.faces.labels, s.losses.a, s.losses.b)
        self.picture_loss = PictureLoss(s.losses, self.faces.labels, self.random, self.device)
        self.adversary = self.picture_loss.adversary
        self.judge = load_judge()

    def start(self) -> None:
        """From ``source`` (the generator in training, or ``generative``), or from the principal components of the parts.

        A shipped generator that doubles by PixelShuffle gives all but its render net, which begins with the eigen-parts' picture.
        """
        if self.settings.warm_start:
            encoder, generator, _ = load_generator(self.settings.source)
            self.encoder.load_state_dict(encoder.state_dict())
            kept = generator.state_dict() | {"care": self.generator.care}
            if not generator.config.smooth:
                kept = {name: value for name, value in kept.items() if not name.startswith(RENDER)}
            self.generator.load_state_dict(kept, strict=False)
            return
        self.network.cpu()  # closed forms are computed where all photos are
        initialise(self.encoder, self.generator, load_faces(self.job.data / "faces256", "train", SIDE), load_sketch("face"))
        channels_last(self.network.to(self.device))

    def batches(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Photos and masks."""
        every, seed = self.settings.more_every, self.settings.seed
        more = first // every if every else 0
        sharp = shuffled(len(self.faces), self.whole, seed + 1, first - more)
        small = shuffled(len(self.more), self.whole, seed, more)
        for i in count(first):
            faces, stream = (self.more, small) if every and i % every == every - 1 else (self.faces, sharp)
            index = next(stream)
            yield random_flip(faces.batch(index), faces.labels[index], self.random)

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The encoder's codes, a little noisy, rendered."""
        (photo, mask), s, i = batch, self.settings, self.i
        judged = max(0.0, min(1.0, (i - s.judge_from + 1) / 200)) if photo.shape[-1] > SIDE else 0.0
        with mixed(self.device):
            codes = self.encoder(photo)
        level = s.code_noise * self.rows(lambda n: torch.rand(n, 1, 1, generator=self.random), len(photo))
        noise = self.rows(lambda n: torch.randn(n, *codes.shape[1:], generator=self.random), len(photo))
        swap = i % 2 == 0 or judged > 0
        total, losses = self.picture_loss(self.generator, codes + level * noise, photo, mask, swap=swap, judged=judged)
        more = "" if photo.shape[-1] > SIDE else "_more"
        return total, {name + more: value for name, value in losses.items()}

    def ship(self, network: nn.ModuleDict) -> None:
        """What starts from closed forms in 8 bits, the rest in 16."""
        path = self.job.out / "generator.safetensors"
        save(path, network.state_dict(), kind="generator", config=self.configuration(), int8=INT8)

    @torch.no_grad()
    def validate(self, network: nn.ModuleDict) -> dict[str, float]:
        """Of the encoder's codes and of inversion's: PSNR, LPIPS and identity; mIoU of the masks, and how local swaps are."""
        encoder, generator = self._parts(network)
        found: dict[str, list[Tensor]] = {}
        swap, total = [], torch.zeros(NUM_PARTS, NUM_PARTS, dtype=torch.long)
        for index in torch.arange(len(self.val)).split(16):
            photo, masks = self.val.batch(index).to(self.device), self.val.labels[index].to(self.device)
            with mixed(self.device):
                codes = encoder(photo).float()
                made = generator(codes)
            total += confusion(made.mask.argmax(1).cpu(), shrink(masks, 64).cpu(), NUM_PARTS)
            with mixed(self.device):
                inverted = correct(generator, codes, photo)
                shown = {"guess": made.image, "inverted": generator(inverted).image}
                swap += swap_locality(generator, codes, made.image.clamp(0, 1), masks)
            for name, image in shown.items():
                for metric, value in self._compare(photo, image.float().clamp(0, 1)).items():
                    found.setdefault(f"{metric}_{name}", []).append(value)
        means = {name: round(float(torch.cat(values).mean()), 4) for name, values in found.items()}
        return means | {"val_miou": round(mean_iou(total), 4), "val_swap": round(float(torch.stack(swap).mean()), 3)}

    def _compare(self, photo: Tensor, image: Tensor) -> dict[str, Tensor]:
        found = {"psnr": psnr_db(photo, image), "lpips": self.picture_loss.lpips(photo, image)}
        return found if self.judge is None else found | {"identity": self.judge.similarity(photo, image)}

    @torch.no_grad()
    def sheet(self, network: nn.ModuleDict) -> list[list[Tensor]]:
        """Photos, what inversion's codes show, and faces with another's eyes and mouth."""
        encoder, generator = self._parts(network)
        photo = self.val.batch(torch.arange(min(8, len(self.val)))).to(self.device)
        with mixed(self.device):
            codes = correct(generator, encoder(photo).float(), photo)
            other = codes.roll(1, 0)
            swapped = swap_part(swap_part(codes, other, PARTS.index("eyes")), other, PARTS.index("mouth"))
            rows = [generator(each).image.float() for each in (codes, swapped)]
        return [list(photo), *(list(row) for row in rows)]

    def _parts(self, network: nn.ModuleDict) -> tuple[FaceEncoder, SemanticGenerator]:
        encoder, generator = cast(FaceEncoder, network["encoder"]), cast(SemanticGenerator, network["generator"])
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
