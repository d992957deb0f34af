"""Recipe ``equaliser``: what a system weaves into all of its pictures alike, measured on training photos and turned down.

With P and P_photos the mean power spectra of its pictures and of their photos (:mod:`semcast.metrics.texture`), smoothed over
``smooth`` bins of 1/256 cycles a pixel, D = 10 log10 (P / P_photos) says how much too strong a frequency is. Pictures that lack
detail are weaker everywhere on a ring of frequencies, which no filter can mend; what stands out of its ring is woven. The gain is

    g(f) = -max(0, D(f) - mean of D over the ring of f)  dB,

faded in from 1/12 to 1/8 cycles a pixel: coarser than that there is the face itself.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from semcast.channels import make_channel
from semcast.errors import BadInput
from semcast.generative.system import Generative
from semcast.linear.learned import LearnedSketch
from semcast.link import Budget
from semcast.metrics.pixel import psnr_db
from semcast.metrics.texture import Texture
from semcast.networks.equaliser import Equaliser, EqualiserConfig, shape_kernel
from semcast.train.data import Faces, load_faces
from semcast.train.loop import console
from semcast.train.recipe import Task
from semcast.weights import load, save

SYSTEMS: dict[str, tuple[type[Generative] | type[LearnedSketch], str]] = {
    "generative": (Generative, "generative"), "sketch": (LearnedSketch, "learned-sketch"),
}  # fmt: skip
"""The systems whose networks paint, with the kind of their weights."""
WINDOW = 256
_FROM, _FULL = 1 / 12, 1 / 8
_RING = 1 / 64


@dataclass(frozen=True)
class Settings:
    """``photos`` of train are sent by ``system``, each at a k of ``symbols`` and an SNR of ``snr_db``; val says what it did.

    ``source`` names other weights than those that ship.
    """

    system: str = "generative"
    source: str = ""
    photos: int = 192
    val_photos: int = 64
    symbols: tuple[int, ...] = (64, 128, 256, 640)
    snr_db: tuple[float, ...] = (0.0, 5.0, 10.0)
    side: int = 33
    smooth: float = 2.0
    seed: int = 0


class EqualiserTask(Task):
    """Writes ``equaliser-<system>.safetensors``, which serves those weights alone that it was measured on."""

    name, defaults = "equaliser", Settings()
    settings: Settings

    def run(self) -> None:
        """Send, compare the spectra, shape the filter, and say what it does to val.

        Raises:
            SemcastError: no data, no such system, or no weights.
        """
        if not self.ranks.leads:
            return
        s, out = self.settings, self.job.out
        if s.system not in SYSTEMS:
            raise BadInput(f"there is no equaliser of {s.system!r}: it is for {' and '.join(SYSTEMS)}")
        kind, weights = SYSTEMS[s.system]
        checkpoint = load(s.source or s.system, kind=weights)
        system = kind.of(checkpoint).to(self.device)
        faces = {split: load_faces(self.job.data / "faces256", split, WINDOW, limit=limit)
                 for split, limit in (("train", s.photos), ("val", s.val_photos))}  # fmt: skip
        made = send(system, faces["train"], s)
        photos = faces["train"].batch(torch.arange(len(made)))
        equaliser = Equaliser(EqualiserConfig(s.side))
        gain = find_gain(Texture(WINDOW).add(made), Texture(WINDOW).add(photos), s.smooth)
        equaliser.kernel.copy_(shape_kernel(gain, s.side))
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"equaliser-{s.system}.safetensors"
        config = asdict(equaliser.config) | {"of": checkpoint.fingerprint}
        save(path, equaliser.state_dict(), kind="equaliser", config=config)
        console.print(f"{path} written")
        made = send(system, faces["val"], replace(s, seed=s.seed + 1))
        photos = faces["val"].batch(torch.arange(len(made)))
        for name, pictures in (("as painted", made), ("equalised", equaliser(made).clamp(0, 1))):
            texture = Texture(WINDOW).add(pictures).result(Texture(WINDOW).add(photos))
            found = {"psnr_db": float(psnr_db(photos, pictures).mean()), **texture}
            said = "  ".join(f"{metric} {value:.2f}" for metric, value in found.items())
            console.print(f"val, {name}: {said}", highlight=False)


@torch.no_grad()
def send(system: Generative | LearnedSketch, faces: Faces, settings: Settings) -> Tensor:
    """What a receiver shows of each face over AWGN, at a k and an SNR at random, ``[N, 3, 256, 256]``."""
    random, channel, shown = torch.Generator().manual_seed(settings.seed), make_channel("awgn"), []
    for i in range(len(faces)):
        k = settings.symbols[int(torch.randint(len(settings.symbols), (), generator=random))]
        snr = settings.snr_db[int(torch.randint(len(settings.snr_db), (), generator=random))]
        photo = faces.batch(torch.tensor([i])).to(system.device)
        shown.append(system(photo, channel.draw(1, k, snr, random), Budget(k, snr)).image.cpu())
        if (i + 1) % 50 == 0:
            console.print(f"{i + 1} of {len(faces)} faces sent")
    return torch.cat(shown)


def find_gain(made: Texture, photos: Texture, smooth: float) -> Tensor:
    """The gain g at each frequency, as a factor, float64 ``[n, n]``."""
    n = made.window
    excess = _smooth(10 * torch.log10(made.spectrum / photos.spectrum), smooth)
    f = torch.fft.fftfreq(n, dtype=torch.float64)
    radius = torch.hypot(f[:, None], f)
    ring = (radius / _RING).round().long()
    mean = torch.bincount(ring.flatten(), excess.flatten()) / torch.bincount(ring.flatten()).clamp_min(1)
    fading = ((radius - _FROM) / (_FULL - _FROM)).clamp(0, 1)
    gain_db = -(excess - mean[ring]).clamp_min(0) * fading
    return (gain_db * (math.log(10) / 20)).exp()


def _smooth(values: Tensor, bins: float) -> Tensor:
    """Each value's mean over its neighbours ``[n, n]``, weighted by a Gaussian of that standard deviation; it goes round."""
    n = len(values)
    weight = torch.exp(-((torch.fft.fftfreq(n, dtype=torch.float64) * n) ** 2) / (2 * bins**2))
    transfer = torch.fft.fft(weight / weight.sum())
    smooth: Tensor = torch.fft.ifft2(torch.fft.fft2(values) * transfer[:, None] * transfer).real
    return smooth


__all__ = ["EqualiserTask", "Settings", "find_gain", "send"]
