"""Recipe ``scene-codec``: the semantic codec's encoder and painter together (``--set domain=street`` or ``face``).

One pair serves every allocation: levels are drawn for each concept and the layout's side for each step. Loss: MSE + L1 +
LPIPS-squeeze + parsing of the picture by the codec's frozen parser + bits of the features, and late in training a
discriminator at two scales with feature matching.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

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
from semcast.domains import IGNORED, Domain, domain_named
from semcast.metrics.pixel import psnr_db
from semcast.metrics.semantic import confusion, mean_iou
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.networks.segmenter import SceneParser
from semcast.train.adversary import DualJudge, PatchJudge, feature_loss, judge_loss, painter_loss
from semcast.train.data import load_scenes, random_mirror, shuffled
from semcast.train.loop import CHECKPOINT, Averaged, Trainer, warm_cosine
from semcast.train.losses import perceptual
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
    losses: Losses = field(default_factory=Losses)
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
        half = (1 / torch.tensor(STEPS, dtype=torch.float32)[levels.long()])[:, None]
        scale = F.softplus(spread) + 0.02
        upper = torch.where(made + half > 0.999, 1.0, ((made + half - mean) / scale).sigmoid())
        lower = torch.where(made - half < -0.999, 0.0, ((made - half - mean) / scale).sigmoid())
        return -((upper - lower).clamp_min(1e-6).log2() * (levels > 0)[:, None]).sum((1, 2, 3))


def _before(x: Tensor, axis: int) -> Tensor:
    """Each value's neighbour to the left (axis -1) or above (axis -2); 0 at the border."""
    pad = (1, 0, 0, 0) if axis == -1 else (0, 0, 1, 0)
    return F.pad(x, pad).narrow(axis, 0, x.shape[axis])


class SceneJudge(nn.Module):
    """Is the picture natural, and does it belong to the layout? At 256 px with the layout, at 128 px without."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fine, self.coarse = DualJudge(classes, (24, 48, 96, 128, 160)), PatchJudge((24, 48, 96, 128))

    def forward(self, image: Tensor, masks: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Image ``[B, 3, S, S]``, one-hot layout ``[B, classes, S/4, S/4]``, S a multiple of 32 → scores and features
        of all scales."""
        scores, features = self.fine(image, masks)
        score, more = self.coarse(F.avg_pool2d(image, 2))
        return [*scores, score], features + more


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


def upsampled(layout: Tensor) -> Tensor:
    """A layout at 64 x 64, each place repeated."""
    return torch.from_numpy(at_64(layout.numpy()))


def random_levels(cells: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Levels of each cell ``[B, GRID, GRID]``: of the photos a tenth is skipped, three tenths have one level, the rest one a
    concept."""
    batch = len(cells)
    likely = torch.tensor(LIKELY)
    table = torch.multinomial(likely, batch * classes, replacement=True, generator=generator).view(batch, classes)
    kind = torch.rand(batch, 1, generator=generator)
    table = torch.where(kind < 0.4, table[:, :1], table)
    table = torch.where(kind < 0.1, 0, table)
    return table.gather(1, cells.flatten(1).long()).view_as(cells)


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Train on the domain's shards; writes ``out/codec-<domain>.safetensors``.

    Raises:
        SemcastError: no data, no LPIPS, or no parser where the settings ask for one.
    """
    domain, w = domain_named(settings.domain), settings.losses
    classes = len(domain.classes)
    torch.manual_seed(settings.seed)
    parser = None
    if settings.parsed > 0 or w.parsing > 0:
        parser = SceneParser.load(domain).requires_grad_(False)
    codec = SceneCodec.load(settings.warm_start.removeprefix("codec-")) if settings.warm_start else SceneCodec()
    codec = channels_last(codec.train())
    coder, judge, lpips = RateModel(), channels_last(SceneJudge(classes)), perceptual()
    optimiser = torch.optim.Adam([*codec.parameters(), *coder.parameters()], settings.rate, betas=(0.9, 0.99))
    judge_optimiser = torch.optim.Adam(judge.parameters(), 4e-4, betas=(0.0, 0.99))
    scenes = load_scenes(data, domain, "train", SIZE)
    random = torch.Generator().manual_seed(settings.seed * 7919)
    if not settings.warm_start and not (resume and (out / CHECKPOINT).exists()):
        start_linearly(codec, scenes.batch(torch.arange(min(400, len(scenes)))), random)
    average = Averaged(codec, 0.998)
    state: dict[str, object] = {
        "codec": codec, "coder": coder, "judge": judge, "optimiser": optimiser, "judge_optimiser": judge_optimiser,
        "average": average,
    }  # fmt: skip
    config = {"encoder": asdict(codec.encoder.config), "painter": asdict(codec.painter.config), "domain": domain.name}
    trainer = Trainer(out, state, {"recipe": "scene-codec", **asdict(settings), **config}, resume=resume, every_s=240)
    batches = shuffled(len(scenes), settings.batch, settings.seed, trainer.first)
    random.manual_seed(settings.seed * 7919 + trainer.first)

    def coin() -> float:
        return float(torch.rand((), generator=random))

    def step(i: int) -> dict[str, float]:
        index = next(batches)
        photo, mask = random_mirror(scenes.batch(index), scenes.masks[index], domain, random)
        photo = photo.contiguous(memory_format=torch.channels_last)
        side = SIDES[int(torch.randint(len(SIDES), (), generator=random))]
        if parser is not None and coin() < settings.parsed:
            layout = parse_layout(parser, photo, side)
        else:
            layout = layout_of(mask, side, classes)
        cells = torch.from_numpy(cells_of(layout.numpy()))
        layout = upsampled(layout)
        levels = random_levels(cells, classes, random)
        judged = min(1.0, max(0.0, (i - settings.judged_from) / 200))
        kind = coin()  # mostly the fused picture, now and then that of one branch alone
        branch = BRANCHES[0] if kind >= settings.single else BRANCHES[1 + int(kind < settings.single / 2)]
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * warm_cosine(i, settings.steps)
        corner = torch.randint(SIZE - settings.window + 1, (2,), generator=random).tolist()
        with mixed():
            with torch.no_grad():
                target = lpips.features(_square(photo, corner, settings.window))
            features = codec.encoder(photo, layout)
            made = quantise(features, levels, random if coin() < settings.noisy else None)
            painted = codec.painter(layout, made, one_hot(levels, LEVELS))
            image = branch_of(painted, branch)
            losses = _picture_losses(painted, image, photo, w)
            losses["lpips"] = w.lpips * lpips.distance(target, lpips.features(_square(image, corner, settings.window))).mean()
            bits = coder(made, cells, levels)
            losses["bits"] = w.bits * min(1.0, i / max(1, settings.bits_from)) * bits.mean()
            if parser is not None and w.parsing > 0:
                losses["parsing"] = w.parsing * _parsing_loss(
                    parser, _square(image, corner, settings.window), _square(mask, corner, settings.window), i
                )
            if judged > 0:
                around = [4 * (c // 4) for c in corner]  # the layout has a fourth of the side
                masks = one_hot(_square(layout, [c // 4 for c in around], settings.window // 4), classes)
                real_part, made_part = (_square(x, around, settings.window) for x in (photo, image))
                judge.requires_grad_(False)
                scores, shown = judge(made_part, masks)
                with torch.no_grad():
                    _, real = judge(real_part, masks)
                losses["adversarial"] = judged * w.adversarial * torch.stack([painter_loss(s) for s in scores]).mean()
                losses["matching"] = judged * w.matching * feature_loss(real, shown)
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        nn.utils.clip_grad_norm_(coder.parameters(), 1.0)
        optimiser.step()
        average.update()
        if judged > 0:
            losses["judge"] = _judge_step(judge, judge_optimiser, real_part, made_part, masks)
        coded = (levels > 0).sum((1, 2)) * CHANNELS
        losses["bits_a_value"] = bits.sum() / coded.sum().clamp_min(1)
        losses["psnr"] = psnr_db(photo, image.detach().clamp(0, 1)).mean()
        losses["share"] = painted.share.mean()
        return {name: float(value.detach()) for name, value in losses.items()}

    validate = Validation(data, domain, coder, lpips, parser)

    def after_save(_: int) -> dict[str, float]:
        save(out / f"codec-{domain.name}.safetensors", average.values, kind="scene-codec", config=config, int8=("",))
        return validate(average)

    trainer.run(settings.steps, step, after_save=after_save)


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


def _square(x: Tensor, corner: list[int], side: int) -> Tensor:
    """The square of ``side`` from ``[..., H, W]`` whose top left corner that is."""
    return x[..., corner[0] : corner[0] + side, corner[1] : corner[1] + side]


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


def _judge_step(judge: SceneJudge, optimiser: torch.optim.Optimizer, photo: Tensor, image: Tensor, masks: Tensor) -> Tensor:
    """One step of the discriminator: photos against pictures, each with the layout that was sent."""
    judge.requires_grad_(True)
    with mixed():
        scores, _ = judge(torch.cat((photo, image.detach().clamp(0, 1))), masks.repeat(2, 1, 1, 1))
        loss = torch.stack([judge_loss(s[: len(photo)], s[len(photo) :]) for s in scores]).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.detach()


class Validation:
    """What the averaged networks do on 24 photos of val: layout side 32, every concept skipped, at 3 steps, at 17 steps."""

    def __init__(self, data: Path, domain: Domain, coder: RateModel, lpips: nn.Module, parser: SceneParser | None) -> None:
        self.scenes = load_scenes(data, domain, "val", SIZE, limit=24)
        self.classes, self.coder, self.lpips, self.parser = len(domain.classes), coder, lpips, parser

    @torch.no_grad()
    def __call__(self, average: Averaged) -> dict[str, float]:
        """At each level PSNR (dB), LPIPS, bits of the features by the rate model, and with a parser mIoU."""
        codec = SceneCodec(average.module.encoder.config, average.module.painter.config)  # type: ignore[arg-type, union-attr]
        codec.load_state_dict(average.values)
        channels_last(codec.eval())
        photo = self.scenes.batch(torch.arange(len(self.scenes))).contiguous(memory_format=torch.channels_last)
        masks = self.scenes.masks
        layout = parse_layout(self.parser, photo, 32) if self.parser else layout_of(masks, 32, self.classes)
        cells = torch.from_numpy(cells_of(layout.numpy()))
        layout, found = upsampled(layout), {}
        for level in (0, 2, 5):
            levels = torch.full((len(photo), GRID, GRID), level)
            with mixed():
                made = quantise(codec.encoder(photo, layout), levels)
                image = codec.painter(layout, made, one_hot(levels, LEVELS)).image.clamp(0, 1)
                found[f"val_lpips_{level}"] = round(float(self.lpips(photo, image).mean()), 4)
            found[f"val_psnr_{level}"] = round(float(psnr_db(photo, image).mean()), 2)
            found[f"val_bits_{level}"] = round(float(self.coder(made, cells, levels).mean()), 1)
            if self.parser is not None:
                with mixed():
                    seen = self.parser(image).argmax(1)
                found[f"val_miou_{level}"] = round(mean_iou(confusion(seen, masks, self.classes)), 4)
        return found
