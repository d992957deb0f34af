"""Recipe ``knowledge``: the knowledge base from the codes of the training photos (nothing is iterated).

``codes`` names the folder of a ``flow`` run, whose inverted photos are taken as they are; without it the photos are
inverted here, which takes minutes. Codes and generator belong together: make it again whenever the generator changes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.domains import BASE_CODES, NUM_CODES, NUM_PARTS, PARTS, shape_code, texture_code
from semcast.errors import BadInput, Missing
from semcast.files import write_text
from semcast.generative.encoder import BOUND
from semcast.generative.generator import SemanticGenerator
from semcast.privacy.knowledge import KnowledgeBase, KnowledgeConfig
from semcast.train.data import load_faces
from semcast.train.loop import console
from semcast.train.pretrained import cached_codes, codes_of, load_generator
from semcast.train.recipe import Task
from semcast.train.settings import note

NEAR = 512  # the photos that a donor is mixed from are among the nearest ones of the first
NATURAL = 0.9  # a donor is that much as individual as a photo is


@dataclass(frozen=True)
class Settings:
    """``mixed``: photos in each donor, at least 3. ``codes``: the folder of a flow run, which holds the inverted photos."""

    steps: int = 1
    factors: int = 96
    donors: int = 384
    mixed: int = 6
    seed: int = 0
    source: str = "generative"
    codes: str = ""


class KnowledgeTask(Task):
    """Writes ``knowledge.safetensors``, and ``knowledge.json`` with how far every donor is from everybody."""

    name, defaults = "knowledge", Settings()

    @torch.no_grad()
    def run(self) -> None:
        """Learn it from the codes of the photos.

        Raises:
            SemcastError: the folder holds a run, or there are no codes where they are said to be.
        """
        settings, out = self.settings, self.job.out
        path = out / "knowledge.safetensors"
        if path.exists() and not self.job.resume:
            raise BadInput(f"{out} already holds a run; go on with --resume or name another folder")
        if path.exists() or not self.ranks.leads:
            return
        encoder, generator, _ = load_generator(settings.source)
        out.mkdir(parents=True, exist_ok=True)
        cache = Path(settings.codes or out) / "codes.safetensors"
        if settings.codes and not cache.is_file():
            raise Missing(f"there is no {cache}")
        faces = self.job.data / "faces256"
        codes = cached_codes(cache, lambda: codes_of(encoder, generator, load_faces(faces, "train", 128).images))
        base, numbers = learn(codes, visibility(generator), settings)
        base.save(path)
        note(out, {"recipe": self.name, **asdict(settings)}, 0)
        write_text(out / "knowledge.json", json.dumps(numbers, indent=1) + "\n")
        console.print(f"{path} written: {json.dumps(numbers)}", highlight=False)


def visibility(generator: SemanticGenerator) -> Tensor:
    """w ``[28, code]``, mean square 1: how much of the picture a unit of each number of a code moves, to first order.

    A texture code moves the colours of its box by the norm of its eigen-part. A shape code's depths are taken to matter as
    much as the colours of the same part do; the base codes move every part a little.
    """
    config, weight = generator.config, torch.ones(NUM_CODES, generator.config.code)
    for part in range(NUM_PARTS):
        y0, y1, x0, x1 = config.boxes[part]
        care = generator.care[y0:y1, x0:x1].flatten().sqrt()
        colour = generator.eigen_colour.basis[part].float().unflatten(1, (3, -1)) * care
        depth = generator.eigen_depth.basis[part].float() * care
        texture, shape = colour.flatten(1).norm(dim=1), depth.norm(dim=1)
        weight[texture_code(part)] = texture
        weight[shape_code(part)] = shape * texture.norm() / shape.norm().clamp_min(1e-9)
    weight[:BASE_CODES] = weight[texture_code(PARTS.index("skin"))].mean()
    weight = weight / weight.square().mean().sqrt()
    return weight.clamp_min(0.02)


def learn(codes: Tensor, weight: Tensor, settings: Settings) -> tuple[KnowledgeBase, dict[str, float]]:
    """The knowledge base of codes ``[2 N, 28, code]`` (photos, then their mirror images), and how private its donors are.

    Raises:
        SemcastError: too few photos, or donors of fewer than three of them.
    """
    count = len(codes) // 2
    if settings.mixed < 3:
        raise BadInput(f"a donor is mixed from at least 3 photos, not {settings.mixed}")
    if count <= settings.mixed:
        raise BadInput(f"a knowledge base needs more than {settings.mixed} photos, not {count}")
    config = KnowledgeConfig(codes.shape[2], min(settings.factors, count - 1), settings.donors)
    base = KnowledgeBase(config)
    base.mean.copy_(codes.mean(0))
    base.weight.copy_(weight)
    y = ((codes - base.mean) * weight).flatten(1)
    values, vectors = torch.linalg.eigh((y.T @ y / len(y)).double())
    factors = (vectors[:, -config.factors :] * values[-config.factors :].clamp_min(0).sqrt()).T.float()
    base.factors.copy_(factors.view_as(base.factors))
    left = y.square().mean(0) - factors.square().sum(0)
    base.spread.copy_(left.clamp_min(1e-3 * float(y.square().mean())).view_as(base.spread))
    donors, numbers = _mixes(y, y @ vectors[:, -config.factors :].float(), count, settings)
    base.donors.copy_((base.mean + donors.view_as(base.donors) / weight).clamp(-BOUND, BOUND))
    return base, numbers


def _mixes(y: Tensor, scores: Tensor, count: int, settings: Settings) -> tuple[Tensor, dict[str, float]]:
    """Donors ``[K, 28 · code]``: a photo and others near it in equal shares, brought back to the norm that a photo has."""
    random = torch.Generator().manual_seed(settings.seed)
    first = torch.randperm(len(y), generator=random)
    first = first.repeat(-(-settings.donors // len(y)))[: settings.donors]
    donors, typical = [], y.norm(dim=1).median()
    for i in first.tolist():
        order = (scores - scores[i]).square().sum(1).argsort().tolist()
        near = list(dict.fromkeys(j % count for j in order if j % count != i % count))[:NEAR]  # a mirror image is the same person
        others = torch.tensor(near)[torch.randperm(len(near), generator=random)[: settings.mixed - 1]]
        # of each person the one of the two views that is nearer
        nearer = (scores[others] - scores[i]).square().sum(1) <= (scores[others + count] - scores[i]).square().sum(1)
        mix = torch.cat((y[i : i + 1], y[torch.where(nearer, others, others + count)])).mean(0)
        # more than sqrt(mixed) would make more of the photos' shares than independent ones have
        donors.append(mix * min(float(NATURAL * typical / mix.norm()), settings.mixed**0.5))
    mixed, person = torch.stack(donors), torch.arange(len(y)) % count
    alike = (F.normalize(mixed, dim=1) @ F.normalize(y, dim=1).T).amax(1)
    some = torch.randperm(len(y), generator=random)[: settings.donors]
    among = F.normalize(y[some], dim=1) @ F.normalize(y, dim=1).T
    among[person[some][:, None] == person[None]] = -1
    return mixed, {
        "photos": count, "donors": len(mixed),
        "nearest photo of a donor, cosine of codes, mean": round(float(alike.mean()), 4),
        "nearest photo of a donor, cosine of codes, largest": round(float(alike.max()), 4),
        "nearest other photo of a photo, cosine of codes, mean": round(float(among.amax(1).mean()), 4),
    }  # fmt: skip
