"""Recipe ``deepjscc``: the convolutional rival, one network for each bandwidth.

k = 8192 is trained on random crops, on which the fully convolutional network is the same; the small budgets on whole
faces. SNR uniform in [-2, 20] dB, MSE (and ``perceptual`` times LPIPS, ``name=deepjscc-perceptual``). Training starts at the
closed-form linear code of image blocks, and learns what that cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from semcast.errors import BadInput
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.rivals.deepjscc import DeepJscc, load_network
from semcast.rivals.jscc import WIDEST_DB, Jscc, JsccConfig
from semcast.train.data import load_all_faces, load_faces, random_flip, shuffled
from semcast.train.losses import perceptual, random_window
from semcast.train.ranks import Ranks
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
from semcast.train.validation import measure_over_awgn, show_over_awgn
from semcast.weights import save

WHOLE = ((9, 4), (5, 2), (5, 2), (3, 2), (3, 1))
CONFIGS = {
    8192: JsccConfig(channels=4, block=16),
    640: JsccConfig(channels=20, layers=WHOLE, last=3, block=32),
    64: JsccConfig(channels=2, layers=WHOLE, last=3, block=64),
}


@dataclass(frozen=True)
class Settings:
    """``symbols``: k at 256 px; ``crop``: side of the random crops, 256 for whole faces.

    ``warm_start``: the weights to go on from, a name or a path.
    """

    symbols: int = 8192
    crop: int = 64
    steps: int = 1500
    batch: int = 32
    rate: float = 1e-3
    perceptual: float = 0.0
    snr_low: float = WIDEST_DB[0]
    snr_high: float = WIDEST_DB[1]
    schedule: Schedule = Schedule(floor=0.02)
    seed: int = 0
    warm_start: str = ""


def cross(network: Jscc, image: Tensor, snr: Tensor, random: torch.Generator, ranks: Ranks | None = None) -> Tensor:
    """Photos or crops through AWGN of each one's SNR ``[B]`` in dB; each burst has unit power per complex symbol.

    ``ranks``: these are the rows of one process of several.
    """
    sent = network.analyse(image, snr).float()
    # a real carries half of a symbol's power, and half of its noise
    sent = sent * torch.rsqrt(2 * sent.square().mean((1, 2, 3), keepdim=True).clamp_min(1e-12))
    deviation = (10 ** (-snr / 10) / 2).sqrt()[:, None, None, None]
    ranks = ranks or Ranks()
    noise = ranks.share(torch.randn((len(sent) * ranks.count, *sent.shape[1:]), generator=random)).to(sent.device)
    return network.synthesise(sent + deviation * noise, snr)


def _some_blocks(data: Path, side: int) -> Tensor:
    """Blocks ``[N, 3, side, side]`` of training photos, for the linear code."""
    faces = load_faces(data / "faces256", "train", 256, limit=600)
    tiles = faces.images.float().div_(255).unfold(2, side, side).unfold(3, side, side)
    return tiles.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, side, side)


def _groups(network: Jscc) -> list[dict[str, object]]:
    """Parameters, and the share of the learning rate that they get.

    A tenth for the linear code, which starts at its optimum, and for β and γ: four inverse GDNs in a row raise a signal to
    its sixteenth power, so they must not run ahead of the convolutions.
    """
    careful = ("blocks.", "down_norm.", "up_norm.")
    return [
        {"params": [p for name, p in network.named_parameters() if name.startswith(careful) == slow], "share": share}
        for slow, share in ((False, 1.0), (True, 0.1))
    ]


class DeepJsccRecipe(Recipe):
    """One network; writes ``deepjscc-K.safetensors``, or ``deepjscc-perceptual-K.safetensors``."""

    name, defaults = "deepjscc", Settings()
    settings: Settings
    network: Jscc
    clip, every_s = 0.05, 180.0

    def build(self) -> None:
        """The network, beside the linear code of blocks."""
        s = self.settings
        if s.symbols not in CONFIGS:
            raise BadInput(f"deepjscc is trained for {', '.join(map(str, CONFIGS))} symbols, not {s.symbols}")
        network = load_network(s.warm_start).train() if s.warm_start else Jscc(CONFIGS[s.symbols])
        if network.blocks is not None and not s.warm_start:
            network.blocks.start(_some_blocks(self.job.data, network.config.block))
        self.network = channels_last(network.to(self.device))
        self.optimiser = torch.optim.Adam(_groups(network), s.rate)
        self.lpips = perceptual(self.device) if s.perceptual else None
        self.val = load_faces(self.job.data / "faces256", "val", 256, limit=32)

    def batches(self, first: int) -> Iterator[tuple[Tensor]]:
        """Random crops of the sharp photos, or whole faces of both sets."""
        crop = self.settings.crop
        whole = crop == 256
        faces = load_all_faces(self.job.data, 256) if whole else load_faces(self.job.data / "faces256", "train", 256)
        for index in shuffled(len(faces), self.whole, self.settings.seed, first):
            photo = faces.images[index]
            if not whole:
                y, x = torch.randint(0, 257 - crop, (2, len(index)), generator=self.random).tolist()
                photo = torch.stack([p[:, j : j + crop, i : i + crop] for p, j, i in zip(photo, y, x, strict=True)])
            yield (random_flip(photo.float().div_(255), None, self.random)[0],)

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Of photos through AWGN, each at its own SNR."""
        (photo,), s = batch, self.settings
        snr = self.rows(lambda n: torch.empty(n).uniform_(s.snr_low, s.snr_high, generator=self.random), len(photo))
        with mixed(self.device):
            made = cross(self.network, photo, snr, self.random, self.ranks).float()
            losses = {"mse": F.mse_loss(made, photo)}
            total = losses["mse"]
            if self.lpips is not None:
                window = random_window(self.random)
                losses["lpips"] = self.lpips(photo[window], made[window]).mean()
                total = total + s.perceptual * losses["lpips"]
        return total, losses

    def ship(self, network: Jscc) -> None:
        """In 8 bits."""
        name = ("deepjscc-perceptual" if self.settings.perceptual else "deepjscc") + f"-{self.settings.symbols}"
        path = self.job.out / f"{name}.safetensors"
        save(path, network.state_dict(), kind="jscc", config=self.configuration(), int8=("",))

    def validate(self, network: Jscc) -> dict[str, float]:
        """PSNR over AWGN at three SNRs."""
        points = [(self.settings.symbols, snr) for snr in (0.0, 10.0, 20.0)]
        return measure_over_awgn(DeepJscc({self.settings.symbols: network}), self.val, points=points, batch=4)

    def sheet(self, network: Jscc) -> list[list[Tensor]]:
        """Photos and what arrives of them."""
        k = self.settings.symbols
        return show_over_awgn(DeepJscc({k: network}), self.val, points=((k, 0.0), (k, 10.0)))

    def configuration(self) -> dict[str, object]:
        """The network's."""
        return asdict(self.network.config)
