"""Recipe ``link``: stages 2 and 3 of the generative link, through the channel.

Stage 2 trains flow and channel codec with encoder and generator frozen: picture losses + MSE(N, N̂), the noise rising
from the top of the SNR range to the whole of it. Stage 3 (ours) also lets the generator adapt to what really arrives, at
128 px, then at 256 px with the discriminator. The codes are those of inversion, made once: an encoder that trained along
would drift away from the distribution that the flow makes normal. The paper's setting is ``snr_low=5 snr_high=10``; the
shipped model's is [-2, 20].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from semcast.channels import make_channel
from semcast.generative.channel_codec import ChannelCodec, CodecConfig
from semcast.generative.system import Generative, prefix
from semcast.link import Burst, Received
from semcast.networks.blocks import channels_last
from semcast.train.data import load_faces, shuffled
from semcast.train.linear_gan import random_budget
from semcast.train.picture import PictureLoss, Weights
from semcast.train.pretrained import cached_codes, codes_of, load_flow, load_generator, prepare
from semcast.train.recipe import Recipe
from semcast.train.schedule import Schedule
from semcast.train.validation import measure_over_awgn, show_over_awgn
from semcast.weights import save

# matrices and kernels kept in 8 bits; what is left in 16 is small or decides the picture's last step
INT8 = ("codec.", "flow.couplings", "flow.forward_matrix", "encoder.", "generator.eigen_", "generator.shape_place",
        "generator.texture_place")  # fmt: skip
INT4 = {"encoder.out.weight": 0, "encoder.linear.weight": 0}  # inversion corrects what the guess then lacks


@dataclass(frozen=True)
class Settings:
    """``codec_steps`` of stage 2 at 128 px, stage 3 at 128 px up to ``small_steps``, then at 256 px.

    ``source`` and ``flow``: names or paths of weights. ``codes``: the folder of a flow run, which holds the inverted photos.
    """

    steps: int = 900
    codec_steps: int = 200
    small_steps: int = 500
    judge_from: int = 550
    batch: int = 16
    rate: float = 3e-4
    latent: float = 0.02
    snr_low: float = -2.0
    snr_high: float = 20.0
    clean: float = 0.25
    losses: Weights = Weights()
    schedule: Schedule = Schedule(warm=50, floor=0.1)
    seed: int = 0
    source: str = "generative"
    flow: str = ""
    codes: str = ""


class LinkRecipe(Recipe):
    """The link; writes ``generative.safetensors``, starts from ``source`` (the shipped link by default)."""

    name, defaults = "link", Settings()
    settings: Settings
    network: Generative
    decay = 0.995

    def build(self) -> None:
        """All four networks, of which the encoder stays as it is; the codes of the photos."""
        s, data, out = self.settings, self.job.data, self.job.out
        encoder, generator, link = load_generator(s.source)
        flow = load_flow(s.flow, link)
        codec = link.codec if link is not None and not s.flow else ChannelCodec(CodecConfig(dims=flow.config.dims))
        codec.importance.copy_(flow.importance)
        self.network = channels_last(Generative(encoder, generator, flow, codec).to(self.device))
        groups = [{"params": [*codec.parameters(), *flow.couplings.parameters()]}, {"params": [*generator.parameters()]}]
        self.optimiser = torch.optim.Adam(groups, s.rate, betas=(0.9, 0.99))
        self.labelled = load_faces(data / "faces256", "train", 128)
        self.val = load_faces(data / "faces256", "val", 256, limit=48)
        prepare(generator, self.labelled.labels, s.losses.a, s.losses.b)
        encoder.requires_grad_(False)
        with self.ranks.first():
            out.mkdir(parents=True, exist_ok=True)
            cache = Path(s.codes or out) / "codes.safetensors"
            self.latents = cached_codes(cache, lambda: codes_of(encoder, generator, self.labelled.images))
        self.picture_loss = PictureLoss(s.losses, self.labelled.labels, self.random, self.device)
        self.adversary, self.channel = self.picture_loss.adversary, make_channel("awgn")

    def batches(self, first: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Photos, masks and codes, half of them mirrored."""
        self.network.flow.refresh()
        for stop, size in ((self.settings.small_steps, 128), (1 << 60, 256)):
            if first >= stop:
                continue
            faces = self.labelled if size == 128 else load_faces(self.job.data / "faces256", "train", 256)
            batches = shuffled(len(faces), self.whole, self.settings.seed + 2, first)
            for _ in range(first, stop):
                index = next(batches)
                photo, mask = faces.batch(index), faces.labels[index]
                mirror = torch.rand(len(index), generator=self.random) < 0.5
                photo = torch.where(mirror[:, None, None, None], photo.flip(-1), photo)
                mask = torch.where(mirror[:, None, None], mask.flip(-1), mask)
                yield photo, mask, self.latents[index + len(faces) * mirror]
            first = stop

    def loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Codes through the channel, and the picture of what arrives of them."""
        (photo, mask, latent), s, link, i = batch, self.settings, self.network, self.i
        adapting = i >= s.codec_steps
        link.generator.requires_grad_(adapting)
        normal = link.flow.to_normal(latent)
        estimate = link.codec.decode(self._received(normal))
        codes = link.flow.to_codes(estimate)
        if adapting and self.coin(s.clean):
            codes = latent  # the generator must not forget what clean codes look like
        judged = min(1.0, max(0.0, (i - s.judge_from + 1) / 50))
        total, losses = self.picture_loss(link.generator, codes, photo, mask, swap=adapting and i % 2 == 0, judged=judged)
        losses["latent"] = (estimate - normal.detach()).square().mean()  # MSE(N, N̂)
        return total + s.latent * losses["latent"], losses

    def _received(self, normal: Tensor) -> Received:
        """N through a channel of random k and SNR; now and then only the start of the burst arrives."""
        s = self.settings
        # the noise rises: from the quiet end of the range to all of it over the first third of stage 2
        quiet = max(0.0, 1 - 3 * self.i / max(1, s.codec_steps))
        low = s.snr_low + quiet * (s.snr_high - s.snr_low) * 0.9
        budget = random_budget(self.random, (32, 1280), (low, s.snr_high))
        received = self.cross(self.channel, Burst(self.network.codec.encode(normal, budget), budget))
        if self.coin(0.2) and budget.symbols >= 64:
            received = prefix(received, int(torch.randint(32, budget.symbols, (), generator=self.random)))
        return received

    def ship(self, network: Generative) -> None:
        """Most matrices in 8 bits, some in 4."""
        tensors = {k: v for k, v in network.state_dict().items() if k != "flow.inverse_matrix"}
        path = self.job.out / "generative.safetensors"
        save(path, tensors, kind="generative", config=network.configuration(), int8=INT8, int4=INT4)

    def validate(self, network: Generative) -> dict[str, float]:
        """PSNR and LPIPS over AWGN."""
        return measure_over_awgn(self._ready(network), self.val, lpips=self.picture_loss.lpips)

    def sheet(self, network: Generative) -> list[list[Tensor]]:
        """Photos and what arrives of them."""
        return show_over_awgn(self._ready(network), self.val)

    def _ready(self, network: Generative) -> Generative:
        network.flow.refresh()
        network.generator.octaves = 2 if self.i < self.settings.small_steps else 3
        return network
