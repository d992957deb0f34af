"""Recipe ``link``: stages 2 and 3 of the generative link, through the channel.

Stage 2 trains flow and channel codec with encoder and generator frozen: picture losses + MSE(N, N̂), the noise rising
from the top of the SNR range to the whole of it. Stage 3 (ours) also lets the generator adapt to what really arrives, at
128 px, then at 256 px with the discriminator. The codes are those of inversion, made once: an encoder that trained along
would drift away from the distribution that the flow makes normal. The paper's setting is ``snr_low=5 snr_high=10``; the
shipped model's is [-2, 20].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from semcast.channels import make_channel
from semcast.generative.channel_codec import ChannelCodec, CodecConfig
from semcast.generative.system import Generative, prefix
from semcast.link import Burst
from semcast.networks.blocks import channels_last
from semcast.train.data import load_faces, shuffled
from semcast.train.linear_gan import random_budget
from semcast.train.loop import Averaged, Trainer, descend, warm_cosine
from semcast.train.picture import PictureLoss, Weights
from semcast.train.pretrained import cached_codes, codes_of, load_flow, load_generator, prepare
from semcast.train.validation import over_awgn
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
    losses: Weights = field(default_factory=Weights)
    seed: int = 0
    source: str = "generative"
    flow: str = ""
    codes: str = ""


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Writes ``out/generative.safetensors``; starts from ``source`` (the shipped link by default)."""
    torch.manual_seed(settings.seed)
    encoder, generator, link = load_generator(settings.source)
    flow = load_flow(settings.flow, link)
    codec = link.codec if link is not None and not settings.flow else ChannelCodec(CodecConfig(dims=flow.config.dims))
    codec.importance.copy_(flow.importance)
    system = channels_last(Generative(encoder, generator, flow, codec))
    optimiser = torch.optim.Adam(
        [
            {"params": [*codec.parameters(), *flow.couplings.parameters()]},
            {"params": [*generator.parameters()]},
        ],
        settings.rate, betas=(0.9, 0.99),
    )  # fmt: skip
    average = Averaged(system, 0.995)
    labelled = load_faces(data / "faces256", "train", 128)
    prepare(generator, labelled.labels, settings.losses.a, settings.losses.b)
    encoder.requires_grad_(False)
    out.mkdir(parents=True, exist_ok=True)
    cache = Path(settings.codes or out) / "codes.safetensors"
    latents = cached_codes(cache, lambda: codes_of(encoder, generator, labelled.images))
    random = torch.Generator()
    loss = PictureLoss(settings.losses, labelled.labels, random)
    trainer = Trainer(
        out, {"system": system, "optimiser": optimiser, "average": average, **loss.state()},
        {"recipe": "link", **asdict(settings)}, resume=resume, every_s=240,
    )  # fmt: skip
    flow.refresh()
    random.manual_seed(settings.seed + trainer.first)
    val = load_faces(data / "faces256", "val", 256, limit=48)
    channel = make_channel("awgn")

    def photos(start: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Photos, masks and codes, half of them mirrored."""
        for stop, size in ((settings.small_steps, 128), (1 << 30, 256)):
            if start >= stop:
                continue
            faces = labelled if size == 128 else load_faces(data / "faces256", "train", 256)
            batches = shuffled(len(faces), settings.batch, settings.seed + 2, start)
            for _ in range(start, stop):
                index = next(batches)
                photo, mask = faces.batch(index), faces.labels[index]
                mirror = torch.rand(len(index), generator=random) < 0.5
                photo = torch.where(mirror[:, None, None, None], photo.flip(-1), photo)
                mask = torch.where(mirror[:, None, None], mask.flip(-1), mask)
                yield photo.contiguous(memory_format=torch.channels_last), mask, latents[index + len(faces) * mirror]
            start = stop

    stream = photos(trainer.first)

    def step(i: int) -> dict[str, float]:
        photo, mask, latent = next(stream)
        adapting = i >= settings.codec_steps
        generator.octaves = 3 if i >= settings.small_steps else 2
        generator.requires_grad_(adapting)
        # the noise rises: from the quiet end of the range to all of it over the first third of stage 2
        quiet = max(0.0, 1 - 3 * i / max(1, settings.codec_steps))
        low = settings.snr_low + quiet * (settings.snr_high - settings.snr_low) * 0.9
        budget = random_budget(random, (32, 1280), (low, settings.snr_high))
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * warm_cosine(i, settings.steps, warm=50, floor=0.1)
        normal = flow.to_normal(latent)
        received = channel.draw(len(photo), budget.symbols, budget.snr_db, random)(Burst(codec.encode(normal, budget), budget))
        if float(torch.rand((), generator=random)) < 0.2 and budget.symbols >= 64:  # only the start of the burst arrived
            received = prefix(received, int(torch.randint(32, budget.symbols, (), generator=random)))
        estimate = codec.decode(received)
        codes = flow.to_codes(estimate)
        if adapting and float(torch.rand((), generator=random)) < settings.clean:
            codes = latent  # the generator must not forget what clean codes look like
        judged = min(1.0, (i - settings.judge_from + 1) / 50)
        total, losses, made = loss(generator, codes, photo, mask, swap=adapting and i % 2 == 0, judged=max(0.0, judged))
        losses["latent"] = (estimate - normal.detach()).square().mean()  # MSE(N, N̂)
        descend(total + settings.latent * losses["latent"], optimiser, average)
        if judged > 0:
            losses["judge"] = loss.judge_step(photo, mask, made)
        return {k: float(v.detach()) for k, v in losses.items()}

    def validate(_: int) -> dict[str, float]:
        kept = {k: v.detach().clone() for k, v in system.state_dict().items()}
        system.load_state_dict(average.values)
        flow.refresh()
        numbers = over_awgn(system, val, lpips=loss.lpips)
        tensors = {k: v for k, v in system.state_dict().items() if k != "flow.inverse_matrix"}
        save(out / "generative.safetensors", tensors, kind="generative", config=system.configuration(), int8=INT8, int4=INT4)
        system.load_state_dict(kept)
        flow.refresh()
        return numbers

    trainer.run(settings.steps, step, after_save=validate)
