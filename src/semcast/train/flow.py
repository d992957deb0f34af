"""Recipe ``flow``: RealNVP by maximum likelihood on the codes of the training photos (stage 1 of the link).

The paper's image MSE of this stage has no gradient (the flow is inverted exactly), so the likelihood alone is left; the
round trip is checked by a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.generative.flow import CodeFlow, FlowConfig
from semcast.generative.generator import SemanticGenerator
from semcast.networks.precision import mixed
from semcast.train.data import Faces, has_more_faces, load_faces
from semcast.train.linear import pixel_weight
from semcast.train.loop import console
from semcast.train.losses import IdentityLoss, perceptual, pull_back
from semcast.train.picture import Weights
from semcast.train.pretrained import cached_codes, codes_of, load_generator, prepare
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
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
    losses: Weights = Weights(a=12.0, b=2.5)
    schedule: Schedule = Schedule()
    seed: int = 0
    source: str = "generative"


def picture_metric(generator: SemanticGenerator, codes: Tensor, weight: Tensor, settings: Settings) -> Tensor:
    """G = E[JᵀJ] ``[dims, dims]`` of the weighted picture, its LPIPS features and its face embedding, from random projections.

    One backward pass a photo (:func:`~semcast.train.losses.pull_back`). Of embeddings that are δ apart 1 - cos is ½ ‖δ‖².
    """
    device, losses = next(generator.parameters()).device, settings.losses
    lpips, person, weight = perceptual(device), IdentityLoss.load(device), weight.to(device)
    random = torch.Generator().manual_seed(settings.seed)
    dims = codes[0].numel()
    total = torch.zeros(dims, dims, dtype=torch.float64)
    chosen = torch.randperm(len(codes), generator=random)[: settings.probes]
    for index in chosen.split(16):
        c = codes[index].to(device).requires_grad_(True)
        with mixed(device):
            image = generator(c, 2).image.float()
            outputs = [((losses.whole + losses.pixel) * weight / (3 * weight.numel())).sqrt() * image]
            for features, head in zip(lpips.features(image), lpips.heads, strict=True):
                here = F.interpolate(weight[None, None], features.shape[-2:], mode="area")
                outputs.append(features * (losses.perceptual * head * here / features[0, 0].numel()).sqrt())
            outputs.append((losses.person / 2) ** 0.5 * person.embed(image))
        g = pull_back(outputs, c, random).double().cpu()
        total += g.T @ g
    total /= len(chosen)
    return total + 0.01 * total.diagonal().mean() * torch.eye(dims, dtype=torch.float64)


class FlowRecipe(Recipe):
    """The flow; writes ``flow.safetensors``, and the codes of the photos, which later recipes take."""

    name, defaults = "flow", Settings()
    settings: Settings
    network: CodeFlow
    clip, report_every, every_s = 5.0, 200, 90.0

    def build(self) -> None:
        """Codes of all photos, and the flow."""
        s, data, out = self.settings, self.job.data, self.job.out
        self.encoder, self.generator, self.link = load_generator(s.source)
        self.encoder.to(self.device)
        self.generator.to(self.device)
        self.faces = load_faces(data / "faces256", "train", 128)
        prepare(self.generator, self.faces.labels, s.losses.a, s.losses.b)
        with self.ranks.first():
            out.mkdir(parents=True, exist_ok=True)
            self.codes = cached_codes(out / "codes.safetensors", lambda: self._codes(self.faces))
            if s.unlabelled and has_more_faces(data):
                more = cached_codes(out / "codes-unlabelled.safetensors", self._unlabelled)
                self.codes = torch.cat((self.codes, more))
        self.val = self._codes(load_faces(data / "faces256", "val", 128)).to(self.device)
        self.network = CodeFlow(FlowConfig(dims=self.codes[0].numel())).to(self.device)
        self.optimiser = torch.optim.Adam(self.network.couplings.parameters(), s.rate)

    def _codes(self, faces: Faces) -> Tensor:
        return codes_of(self.encoder, self.generator, faces.images)

    def _unlabelled(self) -> Tensor:
        return self._codes(load_faces(self.job.data / "faces160-unlabelled", "train", 128, labelled=False))

    def start(self) -> None:
        """The whitening, in the metric of the picture or in that of the source."""
        s = self.settings
        if s.probes or self.link is None:
            weight = pixel_weight(self.faces.labels, s.losses.a, s.losses.b, 128)
            metric = picture_metric(self.generator, self.codes, weight / weight.mean(), s)
        else:
            metric = self.link.flow.metric()
        flat = self.codes.flatten(1)
        self.network.set_whitening(flat.mean(0), torch.cov(flat.T), metric)
        share = float(self.network.importance[:128].sum() / self.network.importance.sum())
        console.print(f"whitening ready; share of the picture in the first 128 coordinates: {share:.3f}")

    def batches(self, first: int) -> Iterator[tuple[Tensor]]:
        """Noisy codes."""
        self.network.refresh()
        while True:
            batch = self.codes[torch.randint(len(self.codes), (self.whole,), generator=self.random)]
            yield (batch + self.settings.noise * torch.randn(batch.shape, generator=self.random),)

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative log-likelihood."""
        loss = self.network.nll(batch[0]).mean()
        return loss, {"nll": loss}

    def ship(self, network: CodeFlow) -> None:
        """The couplings in 8 bits."""
        path = self.job.out / "flow.safetensors"
        save(path, network.state_dict(), kind="flow", config=self.configuration(), int8=("couplings",))

    @torch.no_grad()
    def validate(self, network: CodeFlow) -> dict[str, float]:
        """Likelihood of val, and how exactly codes come back."""
        network.refresh()
        trip = (network.to_codes(network.to_normal(self.val)) - self.val).abs().max()
        return {"val_nll": round(float(network.nll(self.val).mean()), 5), "round_trip": round(float(trip), 6)}

    def configuration(self) -> dict[str, object]:
        """The flow's."""
        return asdict(self.network.config)
