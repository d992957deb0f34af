"""A recipe of a few hundred weights with everything that the loop knows: noise, a channel, a discriminator, a second network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semcast.channels import make_channel
from semcast.link import Budget, Burst, to_complex
from semcast.train.adversary import Adversary, PatchDiscriminator
from semcast.train.data import shuffled
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
from semcast.weights import save


@dataclass(frozen=True)
class Settings:
    """Few steps of few photos."""

    steps: int = 6
    batch: int = 4
    rate: float = 0.01
    adversarial: float = 0.1
    gain: float = 0.1
    schedule: Schedule = Schedule("wsd", warm=2, decay=0.5)
    seed: int = 0


class Tiny(Recipe):
    """Paints noisy photos, of whose gains it learns a second network."""

    name, defaults = "tiny", Settings()
    settings: Settings
    every_s, report_every = 1e9, 2

    def build(self) -> None:
        """Two networks, a discriminator, forty photos out of nothing."""
        self.network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 3, padding=1)).to(self.device)
        self.gain = nn.Linear(1, 1).to(self.device)
        self.optimiser = torch.optim.Adam([
            {"params": list(self.network.parameters())}, {"params": list(self.gain.parameters()), "share": self.settings.gain},
        ], self.settings.rate)  # fmt: skip
        if self.settings.adversarial:
            self.adversary = Adversary(
                PatchDiscriminator((4, 4, 4, 4), smooth=True, normalised=False), adversarial=self.settings.adversarial,
                matching=0.1, penalty=0.5, lazily=2, device=self.device,
            )  # fmt: skip
        self.photos = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(5))
        self.channel, self.started = make_channel("awgn"), False

    def configuration(self) -> dict[str, Any]:
        """Of a network that is named like a setting."""
        return {"gain": {"features": self.gain.in_features}}

    def start(self) -> None:
        """Said, so that a test can see it."""
        self.started = True

    def state(self) -> dict[str, Any]:
        """The second network."""
        return {"gain": self.gain}

    def batches(self, first: int) -> Iterator[tuple[Tensor]]:
        """Photos."""
        for index in shuffled(len(self.photos), self.whole, self.settings.seed, first):
            yield (self.photos[index],)

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error, and what the discriminator asks for from the second step on."""
        (photo,) = batch
        level = self.rows(lambda n: torch.rand(n, 1, generator=self.random), len(photo))
        sent = Burst(to_complex(self.gain(level).expand(-1, 16)), Budget(8, 0.0))
        noise = self.cross(self.channel, sent).symbols.abs().mean(1)[:, None, None, None]
        made = self.network(photo + 0.1 * noise)
        losses = {"mse": (made - photo).square().mean()}
        total = losses["mse"]
        if self.adversary is not None and self.i:
            asked, named = self.adversary.losses((photo,), (made,))
            total, losses = total + asked, losses | named
        return total, losses

    def ship(self, network: nn.Module) -> None:
        """As it is."""
        save(self.job.out / "tiny.safetensors", network.state_dict(), kind="tiny", config={})

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Squared error on all photos."""
        return {"val_mse": float((network(self.photos.to(self.device)) - self.photos.to(self.device)).square().mean())}

    @torch.no_grad()
    def sheet(self, network: nn.Module) -> list[list[Tensor]]:
        """Two photos and what is made of them."""
        photo = self.photos[:2].to(self.device)
        return [list(photo), list(network(photo))]
