"""Recipe ``hyperprior``: the learned codec that the semantic one is compared with.

Loss of a photo at a quality q, λ(q) between both ends of its range in proportion of the logarithm::

    bits / pixels + λ · 65025 · (MSE + perceptual · (LPIPS through random views + texture) + adversarial, matching)

With ``perceptual`` 0 it is trained for MSE alone, as Minnen et al. 2018; above, as HiFiC (Mentzer et al. 2020) with our losses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semcast.domains import domain_named
from semcast.metrics.pixel import psnr_db
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.rivals.hyperprior import SCALES, Hyperprior, HyperpriorConfig, round_half_up
from semcast.rivals.hyperprior_codec import Tables, y_tables, z_table
from semcast.train.adversary import Adversary, PatchDiscriminator
from semcast.train.data import Faces, Scenes, load_faces, load_scenes, random_flip, shuffled
from semcast.train.lapped import fit_blocks, start_components
from semcast.train.losses import perceptual, random_square, spectrum_loss, view_loss
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
from semcast.weights import load, save

FITTED = 300
"""Photos that linear paths are fitted to."""
LOG_GAINS = (math.log(0.15), math.log(1.2))
"""At first, of the lowest and of the highest quality: about 200 and 3,000 bytes a photo of 256 x 256."""
SIDE = 128
"""Of the window that is looked at for its texture."""


@dataclass(frozen=True)
class Settings:
    """``domain``: street or face; ``low`` and ``high``: λ at both ends; ``judge_from``: the discriminator's first step.

    The linear path of the analysis moves at a share ``linear`` of the rate, that of the synthesis is fitted to it every
    ``fitted`` steps, as in ``scene-codec``. ``warm_start`` goes on from the weights of that name or path.
    """

    domain: str = "street"
    steps: int = 1_000_000
    batch: int = 8
    rate: float = 2e-4
    low: float = 1.5e-4
    high: float = 5e-3
    perceptual: float = 0.0
    texture: float = 0.2
    adversarial: float = 0.02
    matching: float = 0.3
    judge_from: int = 2000
    linear: float = 0.02
    fitted: int = 1000
    schedule: Schedule = Schedule("wsd", decay=0.1)
    seed: int = 0
    warm_start: str = ""


class HyperpriorRecipe(Recipe):
    """Writes ``hyperprior-DOMAIN.safetensors``, or ``hyperprior-perceptual-DOMAIN.safetensors``."""

    name, defaults = "hyperprior", Settings()
    decay, every_s = 0.998, 900.0
    settings: Settings
    network: Hyperprior

    def build(self) -> None:
        """The network, photos, and the losses that were asked for."""
        s = self.settings
        domain = domain_named(s.domain)
        self.network = Hyperprior(HyperpriorConfig())
        if s.warm_start:
            held = load(s.warm_start, kind="hyperprior").tensors
            self.network.load_state_dict({key: value for key, value in held.items() if not key.startswith("tables.")})
        channels_last(self.network.to(self.device))
        self.network.blocks.requires_grad_(False)
        slow = list(self.network.components.parameters())
        fast = [p for p in self.network.parameters() if p.requires_grad and all(p is not each for each in slow)]
        groups: list[dict[str, Any]] = [{"params": fast}, {"params": slow, "share": s.linear}]
        self.optimiser = torch.optim.Adam(groups, s.rate)
        self.photos, self.val = (self._photos(domain.name, split, limit) for split, limit in (("train", None), ("val", 32)))
        self.lpips = perceptual(self.device)
        if s.perceptual:
            self.adversary = Adversary(
                PatchDiscriminator(smooth=True), adversarial=s.adversarial, matching=s.matching, device=self.device
            )

    def _photos(self, domain: str, split: str, limit: int | None) -> Faces | Scenes:
        data = self.job.data
        if domain == "face":
            return load_faces(data / "faces256", split, 256, labelled=False, limit=limit)
        return load_scenes(data, domain_named(domain), split, limit=limit)

    @torch.no_grad()
    def start(self) -> None:
        """Without weights to go on from: a transform code, steps that fit its rates, and about how large its symbols are."""
        network = self.network
        if self.settings.warm_start:
            return
        photos = self._first()
        start_components(network.components.cpu(), photos * 2 - 1)
        network.components.to(self.device)
        for last in (network.analysis[-1], network.synthesis[-1]):
            for value in last.parameters():
                nn.init.zeros_(value)
        levels = network.config.levels
        network.log_gain.copy_(torch.linspace(*LOG_GAINS, levels)[:, None].expand_as(network.log_gain))
        scale = network.components(photos.to(self.device) * 2 - 1).std((0, 2, 3)) * math.exp(sum(LOG_GAINS) / 2)
        step = math.log(SCALES[1] / SCALES[0])
        network.last.bias[network.config.latent :] = 4 * ((scale / SCALES[0]).log() / step).clamp(0, len(SCALES) - 1)

    def _first(self) -> Tensor:
        return self.photos.batch(torch.arange(min(FITTED, len(self.photos))))

    @torch.no_grad()
    def fit(self) -> None:
        """Fit the linear path of the synthesis to what the analysis says by now, at qualities of chance."""
        photos, made = self._first(), []
        for part in photos.split(20):
            quality = torch.rand(len(part), generator=self.random) * (self.network.config.levels - 1)
            gain = self.network.gain(quality.to(self.device))
            with mixed(self.device):
                made.append((round_half_up(self.network.analyse(part.to(self.device)) * gain) / gain).cpu())
        fit_blocks(self.network.blocks, torch.cat(made), photos * 2 - 1)

    def batches(self, first: int) -> Iterator[tuple[Tensor]]:
        """Photos, half of them mirrored."""
        for index in shuffled(len(self.photos), self.whole, self.settings.seed, first):
            yield (random_flip(self.photos.batch(index), None, self.random)[0],)

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """At a quality of chance for each photo."""
        (photo,), s = batch, self.settings
        if self.i % s.fitted == 0:
            self.fit()
        levels = self.network.config.levels
        quality = self.rows(lambda n: torch.rand(n, generator=self.random), len(photo)).to(photo.device) * (levels - 1)
        price = s.low * (s.high / s.low) ** (quality / (levels - 1))
        picture, bits = self.network(photo, quality)
        error = (picture - photo).square().mean((1, 2, 3))
        losses = {"bpp": (bits / photo[0, 0].numel()).mean(), "mse": error.mean()}
        total = losses["bpp"] + (price * 65025 * error).mean()
        if s.perceptual:
            asked, told = self._look(photo, picture)
            total, losses = total + 65025 * price.mean() * s.perceptual * asked, losses | told
        return total, losses

    def _look(self, photo: Tensor, picture: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """How a window looks."""
        window = random_square(self.random, photo.shape[-1], SIDE, 2)
        real, fake = photo[window].contiguous(memory_format=torch.channels_last), picture[window]
        losses = {
            "lpips": view_loss(self.lpips, real, fake, self.random), "texture": spectrum_loss(real, fake, self.random),
        }  # fmt: skip
        total = losses["lpips"] + self.settings.texture * losses["texture"]
        if self.i >= self.settings.judge_from and self.adversary is not None:
            asked, told = self.adversary.losses((real,), (fake,), min(1.0, (self.i - self.settings.judge_from + 1) / 500))
            total, losses = total + asked, losses | told
        return total, losses

    def ship(self, network: Hyperprior) -> None:
        """Most matrices in 8 bits, and the tables of the entropy coder as whole numbers."""
        kind = "hyperprior-perceptual" if self.settings.perceptual else "hyperprior"
        tables = Tables(y_tables(), z_table(network.z_logits.detach().cpu()))
        path = self.job.out / f"{kind}-{self.settings.domain}.safetensors"
        int8 = ("analysis.", "synthesis.", "hyper_analysis.", "components.", "blocks.")
        save(path, network.state_dict() | tables.pack(), kind="hyperprior", config=asdict(network.config), int8=int8)

    @torch.no_grad()
    def validate(self, network: Hyperprior) -> dict[str, float]:
        """Bytes, PSNR and LPIPS at each whole quality."""
        found: dict[str, float] = {}
        for level in range(network.config.levels):
            values: dict[str, list[Tensor]] = {"bytes": [], "psnr": [], "lpips": []}
            for index in torch.arange(len(self.val)).split(8):
                photo = self.val.batch(index).to(self.device)
                picture, bits = network(photo, torch.full((len(photo),), float(level), device=self.device))
                values["bytes"].append(bits / 8)
                values["psnr"].append(psnr_db(photo, picture.clamp(0, 1)))
                values["lpips"].append(self.lpips(photo, picture.clamp(0, 1)))
            found |= {f"{name}_{level}": round(float(torch.cat(all_).mean()), 4) for name, all_ in values.items()}
        return found

    @torch.no_grad()
    def sheet(self, network: Hyperprior) -> list[list[Tensor]]:
        """Photos, and how they look at the lowest, a middle and the highest quality."""
        photo = self.val.batch(torch.arange(min(6, len(self.val)))).to(self.device)
        levels = (0, network.config.levels // 2, network.config.levels - 1)
        rows = [network(photo, torch.full((len(photo),), float(level), device=self.device))[0] for level in levels]
        return [list(photo), *(list(row) for row in rows)]
