"""Recipe ``flow``: RealNVP by maximum likelihood on the codes of the training photos (stage 1 of the link).

The paper's image MSE of this stage has no gradient (the flow is inverted exactly), so the likelihood alone is left; the
round trip is checked by a test.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.generative.flow import CodeFlow, FlowConfig
from semcast.generative.generator import SemanticGenerator
from semcast.networks.precision import mixed
from semcast.train.data import load_faces
from semcast.train.linear import pixel_weight
from semcast.train.loop import Averaged, Trainer, console, descend, warm_cosine
from semcast.train.losses import perceptual
from semcast.train.picture import Weights
from semcast.train.pretrained import cached_codes, codes_of, load_generator, prepare
from semcast.weights import save


@dataclass(frozen=True)
class Settings:
    """``source``: weights of encoder and generator (a name or a path); ``probes``: photos that measure the picture's metric.

    0 probes take the metric that the source's flow was made with. ``losses`` weights the metric: features of the face far
    above the rest, because they say who it is.
    """

    steps: int = 3000
    batch: int = 256
    rate: float = 5e-4
    noise: float = 0.1
    probes: int = 4096
    unlabelled: bool = True
    losses: Weights = field(default_factory=lambda: Weights(a=12.0, b=2.5))
    seed: int = 0
    source: str = "generative"


def picture_metric(generator: SemanticGenerator, codes: Tensor, weight: Tensor, settings: Settings) -> Tensor:
    """G = E[JᵀJ] ``[dims, dims]`` of the weighted picture and of its LPIPS features, from random projections.

    For v ~ N(0, I), E[(Jᵀv)(Jᵀv)ᵀ] = JᵀJ: one backward pass a photo.
    """
    lpips, losses = perceptual(), settings.losses
    random = torch.Generator().manual_seed(settings.seed)
    dims = codes[0].numel()
    total = torch.zeros(dims, dims, dtype=torch.float64)
    chosen = torch.randperm(len(codes), generator=random)[: settings.probes]
    for index in chosen.split(16):
        c = codes[index].clone().requires_grad_(True)
        with mixed():
            image = generator(c).image.float()
            pixels = (losses.pixel * weight / (3 * weight.numel())).sqrt() * image
            out = (pixels * torch.randn(pixels.shape, generator=random)).sum()
            for features, head in zip(lpips.features(image), lpips.heads, strict=True):
                here = F.interpolate(weight[None, None], features.shape[-2:], mode="area")
                scale = (head * here / features[0, 0].numel()).sqrt()
                out = out + (features * scale * torch.randn(features.shape, generator=random)).sum()
        (gradient,) = torch.autograd.grad(out, c)
        g = gradient.flatten(1).double()
        total += g.T @ g
    total /= len(chosen)
    return total + 0.01 * total.diagonal().mean() * torch.eye(dims, dtype=torch.float64)


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Writes ``out/flow.safetensors``."""
    encoder, generator, link = load_generator(settings.source)
    faces = load_faces(data / "faces256", "train", 128)
    prepare(generator, faces.labels, settings.losses.a, settings.losses.b)

    def unlabelled() -> Tensor:
        more = load_faces(data / "faces160-unlabelled", "train", 128, labelled=False)
        return codes_of(encoder, generator, more.images)

    out.mkdir(parents=True, exist_ok=True)
    val = codes_of(encoder, generator, load_faces(data / "faces256", "val", 128).images)
    codes = cached_codes(out / "codes.safetensors", lambda: codes_of(encoder, generator, faces.images))
    if settings.unlabelled:
        codes = torch.cat((codes, cached_codes(out / "codes-unlabelled.safetensors", unlabelled)))
    config = FlowConfig(dims=codes[0].numel())
    torch.manual_seed(settings.seed)
    flow = CodeFlow(config)
    optimiser = torch.optim.Adam(flow.couplings.parameters(), settings.rate)
    average = Averaged(flow)
    settings_ = {"recipe": "flow", **asdict(settings), **asdict(config)}
    trainer = Trainer(out, {"flow": flow, "optimiser": optimiser, "average": average}, settings_, resume=resume)
    if trainer.first == 0:
        if settings.probes or link is None:
            generator.octaves = 2
            weight = pixel_weight(faces.labels, settings.losses.a, settings.losses.b, 128)
            metric = picture_metric(generator, codes, weight / weight.mean(), settings)
        else:
            metric = link.flow.metric()
        flat = codes.flatten(1)
        flow.set_whitening(flat.mean(0), torch.cov(flat.T), metric)
        average.values = {k: v.detach().clone() for k, v in flow.state_dict().items()}
        console.print("whitening ready; share of the picture in the first 128 coordinates:",
                      round(float(flow.importance[:128].sum() / flow.importance.sum()), 3))  # fmt: skip
    flow.refresh()
    random = torch.Generator().manual_seed(settings.seed + trainer.first)

    def step(i: int) -> dict[str, float]:
        index = torch.randint(len(codes), (settings.batch,), generator=random)
        batch = codes[index]
        batch = batch + settings.noise * torch.randn(batch.shape, generator=random)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * warm_cosine(i, settings.steps)
        loss = flow.nll(batch).mean()
        descend(loss, optimiser, average, clip=5.0)
        return {"nll": float(loss.detach())}

    def validate(_: int) -> dict[str, float]:
        shipped = CodeFlow(config)
        shipped.load_state_dict(average.values)
        shipped.refresh()
        with torch.no_grad():
            nll = float(shipped.nll(val).mean())
            trip = float((shipped.to_codes(shipped.to_normal(val)) - val).abs().max())
        save(out / "flow.safetensors", shipped.state_dict(), kind="flow", config=asdict(config), int8=("couplings",))
        return {"val_nll": round(nll, 5), "round_trip": round(trip, 6)}

    trainer.run(settings.steps, step, report_every=200, after_save=validate)
