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

from semcast.errors import SemcastError
from semcast.networks.blocks import channels_last
from semcast.networks.precision import mixed
from semcast.rivals.deepjscc import DeepJscc, load_network
from semcast.rivals.jscc import WIDEST_DB, Jscc, JsccConfig
from semcast.train.data import load_faces, random_flip, shuffled
from semcast.train.loop import Averaged, Trainer, descend, warm_cosine
from semcast.train.losses import perceptual, random_window
from semcast.train.validation import over_awgn
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
    seed: int = 0
    warm_start: str = ""


def cross(network: Jscc, image: Tensor, snr: Tensor, random: torch.Generator) -> Tensor:
    """Photos or crops through AWGN of each one's SNR ``[B]`` in dB; each burst has unit power per complex symbol."""
    sent = network.analyse(image, snr).float()
    # a real carries half of a symbol's power, and half of its noise
    sent = sent * torch.rsqrt(2 * sent.square().mean((1, 2, 3), keepdim=True).clamp_min(1e-12))
    deviation = (10 ** (-snr / 10) / 2).sqrt()[:, None, None, None]
    return network.synthesise(sent + deviation * torch.randn(sent.shape, generator=random), snr)


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


def train(data: Path, out: Path, *, resume: bool, settings: Settings) -> None:
    """Writes ``out/deepjscc-K.safetensors``."""
    if settings.symbols not in CONFIGS:
        raise SemcastError(f"deepjscc is trained for {', '.join(map(str, CONFIGS))} symbols, not {settings.symbols}")
    name = ("deepjscc-perceptual" if settings.perceptual else "deepjscc") + f"-{settings.symbols}"
    torch.manual_seed(settings.seed)
    network = load_network(settings.warm_start).train() if settings.warm_start else Jscc(CONFIGS[settings.symbols])
    if network.blocks is not None and not settings.warm_start:
        network.blocks.start(_some_blocks(data, network.config.block))
    network = channels_last(network)
    optimiser = torch.optim.Adam(_groups(network), settings.rate)
    average = Averaged(network)
    trainer = Trainer(
        out, {"network": network, "optimiser": optimiser, "average": average},
        {"recipe": "deepjscc", **asdict(settings), **asdict(network.config)}, resume=resume,
    )  # fmt: skip
    random = torch.Generator().manual_seed(settings.seed + trainer.first)
    lpips = perceptual() if settings.perceptual else None
    val = load_faces(data / "faces256", "val", 256, limit=32)

    def photos(start: int) -> Iterator[Tensor]:
        faces = load_faces(data / "faces256", "train", 256)
        images = faces.images
        if settings.crop == 256:  # whole faces: the sketchier photos help as well
            more = load_faces(data / "faces160-unlabelled", "train", 256, labelled=False)
            images = torch.cat((images, more.images)).contiguous(memory_format=torch.channels_last)
            del more
        for index in shuffled(len(images), settings.batch, settings.seed, start):
            photo = images[index]
            if settings.crop < 256:
                y, x = torch.randint(0, 257 - settings.crop, (2, len(index)), generator=random).tolist()
                photo = torch.stack(
                    [p[:, j : j + settings.crop, i : i + settings.crop] for p, j, i in zip(photo, y, x, strict=True)]
                )
            yield random_flip(photo.float().div_(255), None, random)[0]

    stream = photos(trainer.first)

    def step(i: int) -> dict[str, float]:
        photo = next(stream).contiguous(memory_format=torch.channels_last)
        snr = torch.empty(len(photo)).uniform_(settings.snr_low, settings.snr_high, generator=random)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * group["share"] * warm_cosine(i, settings.steps, floor=0.02)
        with mixed():
            made = cross(network, photo, snr, random).float()
            losses = {"mse": F.mse_loss(made, photo)}
            total = losses["mse"]
            if lpips is not None:
                window = random_window(random)
                losses["lpips"] = lpips(photo[window], made[window]).mean()
                total = total + settings.perceptual * losses["lpips"]
        descend(total, optimiser, average, clip=0.05)
        return {k: float(v.detach()) for k, v in losses.items()}

    def validate(_: int) -> dict[str, float]:
        shipped = Jscc(network.config)
        shipped.load_state_dict(average.values)
        save(out / f"{name}.safetensors", average.values, kind="jscc", config=asdict(network.config), int8=("",))
        system = DeepJscc({settings.symbols: channels_last(shipped.eval())})
        return over_awgn(system, val, points=[(settings.symbols, snr) for snr in (0.0, 10.0, 20.0)], batch=4)

    trainer.every_s = 180
    trainer.run(settings.steps, step, after_save=validate)
