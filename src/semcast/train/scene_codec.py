"""Recipe ``scene-codec``: the semantic codec's encoder and painter together (``--set domain=street`` or ``face``).

One pair serves every allocation: levels are drawn for each concept and the layout's side for each step. Loss: MSE + L1 +
LPIPS (SqueezeNet, through random views) + spectra of blocks + parsing of the picture by the codec's frozen parser + bits of the
features, and from early on a discriminator at two scales with feature matching.

The squared error of a cell counts by its level (:func:`weigh_errors`): where next to nothing is sent it would ask for the mean of
all that may be there, which is a blur that no parser reads; there the picture is painted, and only where much is sent it is held
to the photo. A bit costs more where steps are wide: with D ~ Δ²/12 a component the error falls by 2 ln 2 Δ²/12 a bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.codec.concepts import GRID, SIDES, SIZE, cells_of, one_hot
from semcast.codec.encoder import ConceptEncoderConfig, parse_layout
from semcast.codec.ladder import V2
from semcast.codec.painter import BRANCHES, Painting, SceneCodec, ScenePainterConfig, branch_of
from semcast.domains import IGNORED, domain_named
from semcast.metrics.pixel import psnr_db
from semcast.metrics.semantic import confusion, mean_iou
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.networks.segmenter import SceneParser
from semcast.train.adversary import Adversary
from semcast.train.context import ContextNetwork
from semcast.train.data import load_scenes, random_mirror, shuffled
from semcast.train.losses import Window, coarse_square, perceptual, random_square, spectrum_loss, view_loss
from semcast.train.recipe import Recipe
from semcast.train.scene_parts import (
    Described,
    SceneDiscriminator,
    fit_estimate,
    layout_of,
    random_table,
    start_encoder,
    upsample,
)
from semcast.train.schedule import Schedule
from semcast.weights import save

MEASURED = (0, 2, 3, 5, 7)
"""The levels that validation looks at."""
FITTED = 300
"""Photos that linear paths are fitted to."""


@dataclass(frozen=True)
class Losses:
    """Weights of the losses; ``mse`` at the highest level. ``bits``: what a bit of a photo's features costs at steps of width 1.

    ``branches`` weights the MSE of the two branches' own pictures, so that each stays able to stand alone; ``balance`` the square
    of how far a photo's mean attention is from a half. Without it attention takes the branch that is ahead, that one alone learns
    from the other losses, and the other is shut out within a thousand steps. Where in the picture each is heard stays free.
    """

    mse: float = 40.0
    absolute: float = 0.5
    lpips: float = 1.2
    texture: float = 0.12
    parsing: float = 0.4
    branches: float = 4.0
    balance: float = 1.0
    bits: float = 1.5e-5
    adversarial: float = 0.03
    matching: float = 0.4


@dataclass(frozen=True)
class Settings:
    """Batch 4, Adam 5e-4, constant until it decays at the end.

    LPIPS, parsing and the discriminator see another square of ``window`` pixels (a multiple of 32) at each step: whole pictures
    would double the cost of a step.
    ``parsed`` of the steps see the parser's layout, the others the dataset's; ``single`` of them train one branch alone;
    ``noisy`` of them add uniform noise instead of rounding. The bits count in full from ``bits_from`` on, the discriminator from
    ``judged_from``, both ramped. Without a shipped parser set ``parsed=0`` and ``parsing=0``. ``widths`` and ``local`` are the
    painter's channels. ``linear`` is the share of the rate at which the encoder's linear path, and what is added to it, move:
    it begins as the best there is, and Adam's steps, as large for each weight whatever it is worth, undo that within a few
    hundred. The painter's linear path is fitted to it every ``fitted`` steps.
    ``warm_start`` names the codec to go on from, also that of another domain: ``codec-street``; of one of an
    older version what fits is taken.
    """

    domain: str = "street"
    steps: int = 1_000_000
    judged_from: int = 600
    bits_from: int = 300
    batch: int = 4
    window: int = 160
    rate: float = 5e-4
    linear: float = 0.02
    fitted: int = 1000
    parsed: float = 0.5
    single: float = 0.2
    noisy: float = 0.25
    widths: tuple[int, ...] = (160, 128, 80, 40, 20)
    local: tuple[int, ...] = (32, 20, 16)
    losses: Losses = Losses()
    schedule: Schedule = Schedule("wsd", decay=0.1)
    seed: int = 0
    warm_start: str = ""


class SceneCodecRecipe(Recipe):
    """The semantic codec's encoder and painter of a domain; writes ``codec-<domain>.safetensors``."""

    name, defaults = "scene-codec", Settings()
    settings: Settings
    network: SceneCodec
    decay, every_s = 0.998, 900.0

    def build(self) -> None:
        """Codec, rate model, parser, discriminator.

        Raises:
            SemcastError: no data, no LPIPS, or no parser where the settings ask for one.
        """
        s = self.settings
        self.domain = domain_named(s.domain)
        self.classes = len(self.domain.classes)
        self.parser = None
        if s.parsed > 0 or s.losses.parsing > 0:
            self.parser = SceneParser.load(self.domain).requires_grad_(False).to(self.device)
        painter = ScenePainterConfig(widths=tuple(s.widths), local=tuple(s.local), version=V2.version)
        codec = SceneCodec(ConceptEncoderConfig(version=V2.version), painter)
        self.network, self.coder = channels_last(codec.to(self.device).train()), ContextNetwork().to(self.device)
        self.network.painter.linear.requires_grad_(False)
        slow = [p for layer in (self.network.encoder.linear, self.network.encoder.head) for p in layer.parameters()]
        fast = [p for part in self.parameters() for p in part if p.requires_grad and all(p is not each for each in slow)]
        groups: list[dict[str, Any]] = [{"params": fast}, {"params": slow, "share": s.linear}]
        self.optimiser = torch.optim.Adam(groups, s.rate, betas=(0.9, 0.99))
        self.adversary = Adversary(
            SceneDiscriminator(self.classes), adversarial=s.losses.adversarial, matching=s.losses.matching, device=self.device
        )
        self.lpips = perceptual(self.device)
        self.scenes = load_scenes(self.job.data, self.domain, "train", SIZE)
        self.val = load_scenes(self.job.data, self.domain, "val", SIZE, limit=24)

    def start(self) -> None:
        """What a codec to go on from has that fits; where its features are others, principal components."""
        codec = SceneCodec.load(self.settings.warm_start.removeprefix("codec-")) if self.settings.warm_start else None
        if codec is not None:
            own, theirs = self.network.state_dict(), codec.state_dict()
            fitting = {name: value for name, value in theirs.items() if name in own and own[name].shape == value.shape}
            self.network.load_state_dict(fitting, strict=False)
        if codec is None or codec.ladder is not V2:
            self.network.cpu()
            start_encoder(self.network, self.scenes.batch(torch.arange(min(FITTED, len(self.scenes)))))
            channels_last(self.network.to(self.device))

    @torch.no_grad()
    def fit(self) -> None:
        """Fit the painter's linear path to what the encoder says by now."""
        photos, features = self.scenes.batch(torch.arange(min(FITTED, len(self.scenes)))), []
        for i in torch.arange(len(photos)).split(20):
            layout = upsample(layout_of(self.scenes.masks[i], SIDES[1], self.classes)).to(self.device)
            with mixed(self.device):
                features.append(self.network.encoder(photos[i].to(self.device), layout).float().cpu())
        fit_estimate(self.network, torch.cat(features), photos, self.random)

    def state(self) -> dict[str, Any]:
        """The network that counts the bits."""
        return {"coder": self.coder}

    def parameters(self) -> list[list[nn.Parameter]]:
        """The codec and what counts its bits are clipped apart."""
        return [list(self.network.parameters()), list(self.coder.parameters())]

    def batches(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Photos and labels."""
        for index in shuffled(len(self.scenes), self.whole, self.settings.seed, first):
            yield random_mirror(self.scenes.batch(index), self.scenes.masks[index], self.domain, self.random)

    def describe(self, photo: Tensor, mask: Tensor) -> Described:
        """A side of the layout, the parser's or the dataset's, and levels, all at random."""
        side = SIDES[int(torch.randint(len(SIDES), (), generator=self.random))]
        if self.parser is not None and self.coin(self.settings.parsed):
            layout = parse_layout(self.parser, photo, side).cpu()
        else:
            layout = layout_of(mask, side, self.classes).cpu()
        cells = torch.from_numpy(cells_of(layout.numpy())).to(self.device)
        table = self.rows(lambda n: random_table(n, self.classes, self.random), len(photo))
        levels = table.gather(1, cells.flatten(1).long()).view_as(cells)
        return Described(upsample(layout).to(self.device), cells, levels)

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Picture, bits, and late the discriminator; LPIPS, parsing and discriminator see a random square."""
        (photo, mask), s, codec = batch, self.settings, self.network
        if self.i % s.fitted == 0:
            self.fit()
        layout, cells, levels = described = self.describe(photo, mask)
        kind = float(torch.rand((), generator=self.random))  # mostly the fused picture, now and then that of one branch alone
        branch = BRANCHES[0] if kind >= s.single else BRANCHES[1 + int(kind < s.single / 2)]
        square = random_square(self.random, SIZE, s.window)
        noise = self.random if self.coin(s.noisy) else None
        with mixed(self.device):
            made = V2.quantise(codec.encoder(photo, layout), levels, noise)
            painted = codec.painter(layout, made, one_hot(levels, V2.levels))
            image = branch_of(painted, branch)
            faithful = weigh_errors(levels)
            losses = _picture_losses(painted, image, photo, faithful, s.losses)
            losses["lpips"] = s.losses.lpips * view_loss(self.lpips, photo[square], image[square], self.random)
            losses["balance"] = s.losses.balance * (painted.share.mean((1, 2, 3)) - 0.5).square().mean()
            losses["texture"] = s.losses.texture * spectrum_loss(photo[square], image[square], self.random)
            bits = self.coder(made, cells, levels)
            worth = (torch.tensor(V2.widths, device=levels.device)[levels.long()] / 64).square() * (0.3 + 0.7 * faithful)
            losses["bits"] = s.losses.bits * min(1.0, self.i / max(1, s.bits_from)) * (worth * bits).sum((1, 2)).mean()
            losses["coder"] = 0.01 * _evenly(self.coder(made.detach(), cells, levels))
            if self.parser is not None and s.losses.parsing > 0:
                losses["parsing"] = s.losses.parsing * _parsing_loss(self.parser, image[square], mask[square], self.i)
        total, judged = torch.stack(list(losses.values())).sum(), self._judged(photo, image, described, square)
        if judged is not None:
            total, losses = total + judged[0], losses | judged[1]
        losses["bytes"] = bits.sum((1, 2)).mean() / 8
        losses["psnr"] = psnr_db(photo, image.detach().clamp(0, 1)).mean()
        losses["share"] = painted.share.mean()
        return total, losses

    def _judged(
        self, photo: Tensor, image: Tensor, described: Described, square: Window
    ) -> tuple[Tensor, dict[str, Tensor]] | None:
        """What the discriminator asks for, once it takes part: of the square, moved to the layout's grid."""
        strength = min(1.0, (self.i - self.settings.judged_from) / 200)
        if strength <= 0 or self.adversary is None:
            return None
        quarter, around = coarse_square(square, 4)  # the layout has a fourth of the side
        masks = one_hot(described.layout[quarter], self.classes)
        return self.adversary.losses((photo[around], masks), (image[around], masks), strength)

    def ship(self, network: SceneCodec) -> None:
        """In 8 bits."""
        path = self.job.out / f"codec-{self.domain.name}.safetensors"
        save(path, network.state_dict(), kind="scene-codec", config=self.configuration(), int8=("",))

    def configuration(self) -> dict[str, Any]:
        """Of encoder and painter."""
        encoder, painter = self.network.encoder.config, self.network.painter.config
        return {"encoder": asdict(encoder), "painter": asdict(painter), "domain": self.domain.name, "version": V2.version}

    def _val(self) -> tuple[Tensor, Tensor, Tensor]:
        """The photos of val, and their layouts and cells at side 32."""
        photo = self.val.batch(torch.arange(len(self.val))).to(self.device, memory_format=torch.channels_last)
        masks = self.val.masks
        layout = parse_layout(self.parser, photo, 32).cpu() if self.parser else layout_of(masks, 32, self.classes)
        return photo, upsample(layout).to(self.device), torch.from_numpy(cells_of(layout.numpy())).to(self.device)

    @torch.no_grad()
    def validate(self, network: SceneCodec) -> dict[str, float]:
        """With every concept at some levels: PSNR (dB), LPIPS, bytes of the features, with a parser mIoU."""
        (photo, layout, cells), found = self._val(), dict[str, float]()
        for level in MEASURED:
            levels = torch.full((len(photo), GRID, GRID), level, device=self.device)
            with mixed(self.device):
                made = V2.quantise(network.encoder(photo, layout), levels)
                image = network.painter(layout, made, one_hot(levels, V2.levels)).image.clamp(0, 1)
                found[f"val_lpips_{level}"] = round(float(self.lpips(photo, image).mean()), 4)
            found[f"val_psnr_{level}"] = round(float(psnr_db(photo, image).mean()), 2)
            found[f"val_bytes_{level}"] = round(float(self.coder(made, cells, levels).sum((1, 2)).mean()) / 8, 1)
            if self.parser is not None:
                with mixed(self.device):
                    seen = self.parser.labels(image).cpu()
                found[f"val_miou_{level}"] = round(mean_iou(confusion(seen, self.val.masks, self.classes)), 4)
        return found

    @torch.no_grad()
    def sheet(self, network: SceneCodec) -> list[list[Tensor]]:
        """Photos, and what is painted of them with every concept at some levels."""
        photo, layout, _ = (thing[:6] for thing in self._val())
        rows = [list(photo)]
        for level in MEASURED:
            levels = torch.full((len(photo), GRID, GRID), level, device=self.device)
            with mixed(self.device):
                made = V2.quantise(network.encoder(photo, layout), levels)
                rows.append(list(network.painter(layout, made, one_hot(levels, V2.levels)).image.float()))
        return rows


def weigh_errors(levels: Tensor) -> Tensor:
    """How much of the squared error of cells ``[B, GRID, GRID]`` counts: the root of what their level spends, of the highest."""
    spent = torch.tensor(V2.plain, device=levels.device) / V2.plain[-1]
    return spent.sqrt().clamp_min(0.05)[levels.long()]


def _picture_losses(painted: Painting, image: Tensor, photo: Tensor, faithful: Tensor, w: Losses) -> dict[str, Tensor]:
    def error(picture: Tensor, power: int = 2) -> Tensor:
        each = (picture - photo).abs().pow(power).mean(1)
        return (F.avg_pool2d(each, SIZE // GRID) * faithful).mean()

    return {
        "mse": w.mse * error(image),
        "absolute": w.absolute * error(image, 1),
        "branches": w.branches * (error(painted.whole) + error(painted.parts)) / 2,
    }


def _evenly(bits: Tensor) -> Tensor:
    """Bits ``[B, GRID, GRID]`` such that each photo weighs the same: one of 2,000 bytes must not outvote one of 200."""
    return (bits.sum((1, 2)) / bits.detach().sum((1, 2)).clamp_min(1)).mean()


def _parsing_loss(parser: SceneParser, image: Tensor, mask: Tensor, step: int) -> Tensor:
    """Cross-entropy of what the frozen parser sees in the picture, at a quarter of the pixels, another quarter each step."""
    row, column = divmod(step % 4, 2)
    logits = parser(image)[..., row::2, column::2].float()
    labels = mask[:, row::2, column::2].long()
    loss = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return loss / (labels != IGNORED).sum().clamp_min(1)
