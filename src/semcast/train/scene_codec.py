"""Recipe ``scene-codec``: the semantic codec's encoder and painter together (``--set domain=street`` or ``face``).

One pair serves every allocation: levels are drawn for each concept and the layout's side for each step. Loss: MSE + L1 +
LPIPS-squeeze + parsing of the picture by the codec's frozen parser + bits of the features, and late in training a
discriminator at two scales with feature matching.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcast.codec.concepts import (
    CHANNELS,
    GRID,
    LEVELS,
    SIDES,
    SIZE,
    STEPS,
    at_64,
    cells_of,
    one_hot,
    quantise,
)
from semcast.codec.encoder import parse_layout
from semcast.codec.painter import BRANCHES, CELL, Painting, SceneCodec, branch_of
from semcast.domains import IGNORED, domain_named
from semcast.metrics.pixel import psnr_db
from semcast.metrics.semantic import confusion, mean_iou
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.networks.segmenter import SceneParser
from semcast.train.adversary import Adversary, DualDiscriminator, Judged, PatchDiscriminator
from semcast.train.data import load_scenes, random_mirror, shuffled
from semcast.train.losses import Window, coarse_square, perceptual, random_square
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
from semcast.weights import save

LIKELY = (0.22, 0.22, 0.22, 0.16, 0.1, 0.08)
"""How often each level is drawn: a few hundred bytes buy low ones."""


@dataclass(frozen=True)
class Losses:
    """Weights of the losses. ``bits`` is per bit of a photo: a thousand bits of features are then worth .008 LPIPS.

    More than that, or charged before the painter can use the features, and the encoder makes ones that finer steps say no more of
    than coarse ones. ``branches`` weights the MSE of the two branches' own pictures, so that each stays able to stand alone.
    """

    mse: float = 4.0
    absolute: float = 0.5
    lpips: float = 1.0
    parsing: float = 0.08
    branches: float = 0.5
    bits: float = 8e-6
    adversarial: float = 0.03
    matching: float = 0.4


@dataclass(frozen=True)
class Settings:
    """Batch 4, Adam 1e-3.

    LPIPS, parsing and the discriminator see another square of ``window`` pixels (a multiple of 32) at each step: whole pictures
    would double the cost of a step.
    ``parsed`` of the steps see the parser's layout, the others the dataset's; ``single`` of them train one branch alone;
    ``noisy`` of them add uniform noise instead of rounding. The bits count in full from ``bits_from`` on, the discriminator from
    ``judged_from``, both ramped. Without a shipped parser set ``parsed=0`` and ``parsing=0``. ``warm_start`` names the
    codec to go on from, also that of another domain: ``codec-street``.
    """

    domain: str = "street"
    steps: int = 5000
    judged_from: int = 3500
    bits_from: int = 2000
    batch: int = 4
    window: int = 160
    rate: float = 1e-3
    parsed: float = 0.5
    single: float = 0.2
    noisy: float = 0.25
    losses: Losses = Losses()
    schedule: Schedule = Schedule()
    seed: int = 0
    warm_start: str = ""


class RateModel(nn.Module):
    """Bits of the quantised features, differentiable: a logistic for each value given its neighbours in the same concept.

    P(v^) = σ((v^ + 1/L - μ) / s) - σ((v^ - 1/L - μ) / s), the outermost steps open, with μ and s from the left and the upper
    cell, their belonging to the same category, and the level. Used in training only: it makes features that the table-driven
    arithmetic coder can compress.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2 * CHANNELS + 2 + LEVELS, width, 1), nn.SiLU(), nn.Conv2d(width, 2 * CHANNELS, 1))

    def forward(self, made: Tensor, cells: Tensor, levels: Tensor) -> Tensor:
        """Bits of each photo, ``[B]``.

        Args:
            made: dequantised (or noisy) features ``[B, CHANNELS, GRID, GRID]``.
            cells: categories ``[B, GRID, GRID]``.
            levels: of each cell, as ``cells``.
        """
        made, known = made.float(), []
        for axis in (-1, -2):
            same = _before(cells + 1, axis) == cells + 1
            known += [_before(made, axis) * same[:, None], same[:, None].float()]
        mean, spread = self.layers(torch.cat((*known, one_hot(levels, LEVELS)), 1)).float().chunk(2, 1)
        half = (1 / torch.tensor(STEPS, dtype=torch.float32, device=levels.device)[levels.long()])[:, None]
        scale = F.softplus(spread) + 0.02
        upper = torch.where(made + half > 0.999, 1.0, ((made + half - mean) / scale).sigmoid())
        lower = torch.where(made - half < -0.999, 0.0, ((made - half - mean) / scale).sigmoid())
        return -((upper - lower).clamp_min(1e-6).log2() * (levels > 0)[:, None]).sum((1, 2, 3))


def _before(x: Tensor, axis: int) -> Tensor:
    """Each value's neighbour to the left (axis -1) or above (axis -2); 0 at the border."""
    pad = (1, 0, 0, 0) if axis == -1 else (0, 0, 1, 0)
    return F.pad(x, pad).narrow(axis, 0, x.shape[axis])


class SceneDiscriminator(nn.Module):
    """Is the picture natural, and does it belong to the layout? At 256 px with the layout, at 128 px without."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fine, self.coarse = DualDiscriminator(classes, (24, 48, 96, 128, 160)), PatchDiscriminator((24, 48, 96, 128))

    def forward(self, image: Tensor, masks: Tensor) -> Judged:
        """Image ``[B, 3, S, S]``, one-hot layout ``[B, classes, S/4, S/4]``, S a multiple of 32 → scores and features
        of all scales."""
        scores, features = self.fine(image, masks)
        coarse, more = self.coarse(F.avg_pool2d(image, 2))
        return scores + coarse, features + more


def layout_of(labels: Tensor, side: int, classes: int) -> Tensor:
    """Labels ``[B, S, S]`` with ignored places → the most frequent category of each block, ``[B, side, side]`` uint8.

    A block without a known label takes that of the block around it, twice as large, and so on.
    """
    shares = F.adaptive_avg_pool2d(one_hot(labels, classes), side)
    known, counts = shares.argmax(1), shares
    while counts.shape[-1] > 1 and not bool((shares.sum(1) > 0).all()):
        counts = F.avg_pool2d(counts, 2)
        around = F.interpolate(counts, (side, side), mode="nearest")
        known = torch.where((shares.sum(1) > 0), known, around.argmax(1))
        shares = torch.where((shares.sum(1, keepdim=True) > 0), shares, around)
    return known.to(torch.uint8)


def upsample(layout: Tensor) -> Tensor:
    """A layout at 64 x 64, each place repeated."""
    return torch.from_numpy(at_64(layout.numpy()))


def random_levels(cells: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Levels of each cell ``[B, GRID, GRID]``: of the photos a tenth is skipped, three tenths have one level, the rest one a
    concept."""
    return random_table(len(cells), classes, generator).to(cells.device).gather(1, cells.flatten(1).long()).view_as(cells)


def random_table(count: int, classes: int, generator: torch.Generator) -> Tensor:
    """What :func:`random_levels` gives each category of each photo, ``[count, classes]``."""
    likely = torch.tensor(LIKELY)
    table = torch.multinomial(likely, count * classes, replacement=True, generator=generator).view(count, classes)
    kind = torch.rand(count, 1, generator=generator)
    table = torch.where(kind < 0.4, table[:, :1], table)
    return torch.where(kind < 0.1, 0, table)


class Described(NamedTuple):
    """What a step codes of each photo: layout ``[B, 64, 64]``, cells and levels ``[B, GRID, GRID]``."""

    layout: Tensor
    cells: Tensor
    levels: Tensor


class SceneCodecRecipe(Recipe):
    """The semantic codec's encoder and painter of a domain; writes ``codec-<domain>.safetensors``."""

    name, defaults = "scene-codec", Settings()
    settings: Settings
    network: SceneCodec
    decay = 0.998

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
        codec = SceneCodec.load(s.warm_start.removeprefix("codec-")) if s.warm_start else SceneCodec()
        self.network, self.coder = channels_last(codec.to(self.device).train()), RateModel().to(self.device)
        self.optimiser = torch.optim.Adam([p for part in self.parameters() for p in part], s.rate, betas=(0.9, 0.99))
        self.adversary = Adversary(
            SceneDiscriminator(self.classes), adversarial=s.losses.adversarial, matching=s.losses.matching, device=self.device
        )
        self.lpips = perceptual(self.device)
        self.scenes = load_scenes(self.job.data, self.domain, "train", SIZE)
        self.val = load_scenes(self.job.data, self.domain, "val", SIZE, limit=24)

    def start(self) -> None:
        """Both linear paths in closed form, unless it goes on from a codec."""
        if not self.settings.warm_start:
            self.network.cpu()
            start_linearly(self.network, self.scenes.batch(torch.arange(min(400, len(self.scenes)))), self.random)
            channels_last(self.network.to(self.device))

    def state(self) -> dict[str, Any]:
        """The rate model."""
        return {"coder": self.coder}

    def parameters(self) -> list[list[nn.Parameter]]:
        """Codec and rate model are clipped apart."""
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
        layout, cells, levels = described = self.describe(photo, mask)
        kind = float(torch.rand((), generator=self.random))  # mostly the fused picture, now and then that of one branch alone
        branch = BRANCHES[0] if kind >= s.single else BRANCHES[1 + int(kind < s.single / 2)]
        square = random_square(self.random, SIZE, s.window)
        noise = self.random if self.coin(s.noisy) else None
        with mixed(self.device):
            made = quantise(codec.encoder(photo, layout), levels, noise)
            painted = codec.painter(layout, made, one_hot(levels, LEVELS))
            image = branch_of(painted, branch)
            losses = _picture_losses(painted, image, photo, s.losses)
            losses["lpips"] = s.losses.lpips * self.lpips(photo[square], image[square]).mean()
            bits = self.coder(made, cells, levels)
            losses["bits"] = s.losses.bits * min(1.0, self.i / max(1, s.bits_from)) * bits.mean()
            if self.parser is not None and s.losses.parsing > 0:
                losses["parsing"] = s.losses.parsing * _parsing_loss(self.parser, image[square], mask[square], self.i)
        total, judged = torch.stack(list(losses.values())).sum(), self._judged(photo, image, described, square)
        if judged is not None:
            total, losses = total + judged[0], losses | judged[1]
        coded = (levels > 0).sum((1, 2)) * CHANNELS
        losses["bits_a_value"] = bits.sum() / coded.sum().clamp_min(1)
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
        return {"encoder": asdict(encoder), "painter": asdict(painter), "domain": self.domain.name}

    def _val(self) -> tuple[Tensor, Tensor, Tensor]:
        """The photos of val, and their layouts and cells at side 32."""
        photo = self.val.batch(torch.arange(len(self.val))).to(self.device, memory_format=torch.channels_last)
        masks = self.val.masks
        layout = parse_layout(self.parser, photo, 32).cpu() if self.parser else layout_of(masks, 32, self.classes)
        return photo, upsample(layout).to(self.device), torch.from_numpy(cells_of(layout.numpy())).to(self.device)

    @torch.no_grad()
    def validate(self, network: SceneCodec) -> dict[str, float]:
        """With every concept skipped, at 3 and at 17 steps: PSNR (dB), LPIPS, bits by the rate model, with a parser mIoU."""
        (photo, layout, cells), found = self._val(), dict[str, float]()
        for level in (0, 2, 5):
            levels = torch.full((len(photo), GRID, GRID), level, device=self.device)
            with mixed(self.device):
                made = quantise(network.encoder(photo, layout), levels)
                image = network.painter(layout, made, one_hot(levels, LEVELS)).image.clamp(0, 1)
                found[f"val_lpips_{level}"] = round(float(self.lpips(photo, image).mean()), 4)
            found[f"val_psnr_{level}"] = round(float(psnr_db(photo, image).mean()), 2)
            found[f"val_bits_{level}"] = round(float(self.coder(made, cells, levels).mean()), 1)
            if self.parser is not None:
                with mixed(self.device):
                    seen = self.parser.labels(image).cpu()
                found[f"val_miou_{level}"] = round(mean_iou(confusion(seen, self.val.masks, self.classes)), 4)
        return found

    @torch.no_grad()
    def sheet(self, network: SceneCodec) -> list[list[Tensor]]:
        """Photos, and what is painted of them with every concept skipped, at 3 and at 17 steps."""
        photo, layout, _ = (thing[:6] for thing in self._val())
        rows = [list(photo)]
        for level in (0, 2, 5):
            levels = torch.full((len(photo), GRID, GRID), level, device=self.device)
            with mixed(self.device):
                made = quantise(network.encoder(photo, layout), levels)
                rows.append(list(network.painter(layout, made, one_hot(levels, LEVELS)).image.float()))
        return rows


@torch.no_grad()
def start_linearly(codec: SceneCodec, photos: Tensor, random: torch.Generator) -> None:
    """Give both linear paths their closed forms: features v = tanh(p / 1.7σ), picture = least squares given quantised features.

    p are the first principal components of the photos' cells and σ their deviations; 1.7 puts the thresholds of three steps where
    they are best for a normal distribution (±0.6 σ). The receiver's regression is over levels as training draws them; each
    quarter of a cell is estimated from the four cells around it.

    Args:
        photos: ``[N, 3, 256, 256]`` in [0, 1].
    """
    blocks = F.unfold(photos, CELL, stride=CELL)  # [N, 3 CELL², GRID²]
    rows = blocks.transpose(1, 2).reshape(-1, blocks.shape[1])
    mean = rows.mean(0)
    variances, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    weight = (vectors / (1.7 * variances.clamp_min(1e-9).sqrt())).T.flip(0)[:CHANNELS]
    linear = codec.encoder.linear
    linear.weight.copy_(weight.reshape(linear.weight.shape))
    linear.bias.copy_(-weight @ mean)  # type: ignore[union-attr]

    own = torch.multinomial(torch.tensor(LIKELY), len(photos) * GRID**2, replacement=True, generator=random)
    made = quantise(linear(photos).tanh(), own.view(-1, GRID, GRID))
    half, kernel = CELL // 2, codec.painter.linear.weight  # [CHANNELS, 3, 2 CELL, 2 CELL]
    centre = photos.mean((0, 2, 3))
    codec.painter.linear.bias.copy_(centre)  # type: ignore[union-attr]
    around = F.pad(made, (1, 1, 1, 1))
    for down, right in product(range(2), range(2)):  # each quarter of a cell lies between four cells
        near = [around[..., down + i : down + i + GRID, right + j : right + j + GRID] for i, j in product(range(2), range(2))]
        inputs = torch.cat(near, 1).permute(0, 2, 3, 1).flatten(0, 2)
        parts = (photos - centre[:, None, None]).unflatten(-1, (GRID, CELL)).unflatten(-3, (GRID, CELL))
        parts = parts[..., half * down : half * (down + 1), :, half * right : half * (right + 1)]
        outputs = parts.permute(0, 2, 4, 1, 3, 5).flatten(0, 2).flatten(1)
        gram = inputs.T @ inputs + 1e-3 * len(inputs) * torch.eye(inputs.shape[1])
        found = torch.linalg.solve(gram, inputs.T @ outputs).reshape(2, 2, CHANNELS, 3, half, half)
        for i, j in product(range(2), range(2)):
            top, left = half * (3 - down - 2 * i), half * (3 - right - 2 * j)
            kernel[..., top : top + half, left : left + half] = found[i, j]


def _picture_losses(painted: Painting, image: Tensor, photo: Tensor, w: Losses) -> dict[str, Tensor]:
    alone = ((painted.whole - photo).square().mean() + (painted.parts - photo).square().mean()) / 2
    return {
        "mse": w.mse * (image - photo).square().mean(),
        "absolute": w.absolute * (image - photo).abs().mean(),
        "branches": w.branches * alone,
    }


def _parsing_loss(parser: SceneParser, image: Tensor, mask: Tensor, step: int) -> Tensor:
    """Cross-entropy of what the frozen parser sees in the picture, at a quarter of the pixels, another quarter each step."""
    row, column = divmod(step % 4, 2)
    logits = parser(image)[..., row::2, column::2].float()
    labels = mask[:, row::2, column::2].long()
    loss = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return loss / (labels != IGNORED).sum().clamp_min(1)
