"""The tab Link: one face through systems, over one channel, with the same noise for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import semcast
from semcast.channels import make_channel
from semcast.errors import BadInput
from semcast.generative.system import Generative
from semcast.linear.system import Linear
from semcast.link import Budget, Burst, Channel, Received, Reception, System, mark_of
from semcast.mark import MOST_TEXT
from semcast.metrics.report import NAMES
from semcast.photos import Photo, to_uint8
from semcast.rivals.digital import DigitalSystem
from semcast.station.maps import GUESSED, received_share
from semcast.trust import doubt
from semcast.web.images import encode, grey, show, small, stamp, tint
from semcast.web.limits import sentence
from semcast.web.shelf import recognisers

if TYPE_CHECKING:
    from semcast.mark import Mark
    from semcast.web.shelf import Shelf
    from semcast.web.visitor import Face

STOPS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 640, 896, 1280, 2048, 4096, 8192)
"""k that the slider stops at."""
SNRS = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
"""Of the strip, in dB."""
CHANNELS = {
    "awgn": "AWGN: noise alone",
    "rayleigh": "Rayleigh: fading, no line of sight",
    "rician": "Rician: fading and a line of sight",
}
SAYS = {
    "sketch": "sketch: semcast's own",
    "generative": "generative: codes of a face generator",
    "linear-gan": "linear-gan: best linear code, repainted",
    "linear": "linear: best linear code, nothing painted",
    "deepjscc": "deepjscc: convolutions (k = 64, 640 or 8192)",
    "avif": "avif over 5G LDPC and QAM",
    "jpeg2000": "jpeg2000 over 5G LDPC and QAM",
    "rl-asc": "rl-asc over 5G LDPC and QAM",
}
"""The systems in words."""
MEANING = {
    "psnr_db": "pixel by pixel, in dB: 20 is rough, 30 hard to tell apart; repainted pictures lose here",
    "ms_ssim": "structure: 1 is the same, 0.8 is recognisable",
    "lpips_squeeze": "how different a network finds them: 0 is the same, under 0.25 is good; it was a training loss here",
    "lpips_vgg": "how different another network finds them: 0 is the same",
    "identity": "is it the same person, by a face recogniser: from 0.47 on it says yes",
    "verified": "1: the recogniser takes them for one person",
}
"""What the metrics mean, for a visitor."""


@dataclass(frozen=True)
class Setting:
    """What a visitor sets: k, the channel and its SNR in dB, and the number that the noise follows from."""

    symbols: int = 640
    snr_db: float = 5.0
    channel: str = "awgn"
    seed: int = 0

    @property
    def budget(self) -> Budget:
        """Both ends know the SNR."""
        return Budget(self.symbols, self.snr_db)

    def draw(self) -> Channel:
        """The channel."""
        if self.channel not in CHANNELS:
            raise BadInput(f"unknown channel {self.channel!r}; the known are {', '.join(CHANNELS)}")
        return make_channel(self.channel)


@dataclass(frozen=True)
class Arrived:
    """What crossed of a face: what was sent, what came, what the receiver shows, and the seconds that it took."""

    system: System
    setting: Setting
    burst: Burst
    received: Received
    reception: Reception
    seconds: float

    @property
    def pixels(self) -> Photo:
        """uint8 ``[256, 256, 3]``."""
        return to_uint8(self.reception.image[:1].cpu())

    @property
    def mark(self) -> Mark | None:
        """What its file says of the network that painted it; None where none did."""
        if not self.system.paints:
            return None
        mark = mark_of(self.system, self.received.budget, self.setting.channel, self.setting.snr_db)
        return replace(mark, doubt=self.doubt[:MOST_TEXT])

    @cached_property
    def doubt(self) -> str:
        """Why it is unsure whom the picture shows; "" where it is not."""
        return doubt(self.system, self.received)

    @property
    def caption(self) -> str:
        """What its edge says."""
        lost = "unsure: " * bool(self.doubt) if bool(self.reception.ok.all()) else "nothing arrived: "
        return f"{lost}{self.system.name}, {self.setting.symbols} symbols, {self.setting.snr_db:g} dB"

    def show(self, right: bool = True) -> str:
        """The picture with its edge, as an address."""
        return show(self.pixels, self.caption, self.mark, right=right)

    def file(self) -> bytes:
        """The picture as it is received, 256 x 256, as PNG with its mark and its edge."""
        return encode(stamp(self.pixels, self.caption, painted=self.mark is not None), self.mark, "PNG")


def encode_face(face: Face, system: System, budget: Budget) -> Burst:
    """The burst of a face; what is found once of a face (its codes) is not looked for again.

    Raises:
        SemcastError: the system does not work with this budget.
    """
    system.check(budget)
    if not isinstance(system, Generative):
        burst = system.encode(face.picture, budget)
    else:
        if "codes" not in face.kept:
            face.kept["codes"] = system.invert(face.tensor.to(system.device))
        burst = system.send(face.kept["codes"], budget)
    return replace(burst, name=face.picture.name)  # the noise follows from the photo's name and the seed, for every system


@torch.no_grad()
def transmit(shelf: Shelf, face: Face, name: str, setting: Setting) -> Arrived:
    """Send a face through a system.

    Raises:
        SemcastError: the system is unknown, or does not work with this k.
    """
    system = shelf.system(name)
    begun = perf_counter()
    burst = encode_face(face, system, setting.budget)
    received = setting.draw()(burst, seed=setting.seed).check()
    reception = system.decode(received)
    return Arrived(system, setting, burst, received, reception, perf_counter() - begun)


def measure(face: Face, arrived: Arrived) -> list[tuple[str, str, str]]:
    """Metrics of what arrived: name, value, and what it means."""
    values = semcast.metrics(face.tensor, arrived.reception.image.cpu(), identity=recognisers())  # type: ignore[operator]
    return [(NAMES[key].heading, NAMES[key].form.format(value), MEANING.get(key, "")) for key, value in values.items()]


def draw_share(arrived: Arrived) -> tuple[str, float]:
    """The picture in grey with what was guessed in orange, as an address, and the share that was received."""
    share = received_share(arrived.system, arrived.received)[0, 0].cpu().numpy()
    drawn = tint(grey(arrived.pixels), GUESSED, 0.85 * (1 - share))
    part = float(share.mean())
    return show(drawn, f"{part:.0%} received", arrived.mark), part


def explain_share(arrived: Arrived) -> str:
    """How the map was found, a sentence."""
    if isinstance(arrived.system, DigitalSystem):
        return "A codec behind error correction arrives whole or not at all."
    if isinstance(arrived.system, Linear):
        text = "In closed form: the variance that is left of each pixel's brightness, against the one before anything came."
    else:
        text = "By decoding again with other noise, and with nothing at all: what varies as much either way was guessed."
    finer = " Detail finer than that the network makes up, everywhere." if arrived.system.paints else ""
    return text + finer


def strip(shelf: Shelf, face: Face, name: str, setting: Setting) -> list[Callable[[], tuple[float, str]]]:
    """The same photo over all SNRs, the same noise scaled: a piece of work for each, which gives its SNR and picture."""

    def piece(snr: float) -> Callable[[], tuple[float, str]]:
        def draw() -> tuple[float, str]:
            arrived = transmit(shelf, face, name, replace(setting, snr_db=snr))
            return snr, small(arrived.pixels, f"{snr:g} dB", arrived.mark)

        return draw

    return [piece(snr) for snr in SNRS]


def symbols_of(arrived: Arrived) -> tuple[Any, Any]:
    """The symbols that were sent and that came, complex ``[k]`` each."""
    return arrived.burst.symbols[0].cpu().numpy(), arrived.received.symbols[0].cpu().numpy()


def describe(arrived: Arrived) -> str:
    """What crossed, in a sentence or two."""
    setting = arrived.setting
    uses = setting.draw().uses(setting.symbols)
    numbers = 3 * 256 * 256
    text = (
        f"{setting.symbols} complex symbols for {numbers:,} numbers of the photo: 1 for {numbers / setting.symbols:.0f}. "
        f"Sent, received and decoded in {1000 * arrived.seconds:.0f} ms."
    )
    if uses > setting.symbols:
        text += f" {uses - setting.symbols} pilots come on top."
    if not bool(arrived.reception.ok.all()):
        text += f" The receiver shows its mean face: {arrived.reception.reason}."
    elif arrived.doubt:
        text += f" {sentence(arrived.doubt)}"
    return text


def power_db(arrived: Arrived) -> float:
    """The burst's mean power in dB."""
    return 10 * float(np.log10(float(arrived.burst.power.mean())))
