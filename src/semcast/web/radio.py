"""The tab Radio: faces as sound, a path that spoils it, and a receiver that finds them again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import signal
from scipy.io import wavfile

from semcast.domains import PARTS
from semcast.errors import BadInput
from semcast.link import Budget
from semcast.onair.channel import to_received
from semcast.onair.samples import Block
from semcast.onair.simulate import Simulator
from semcast.photos import Photo, to_uint8
from semcast.station import Heard, Signal, receive, send
from semcast.station.maps import GUESSED, REPLACED, received_share
from semcast.station.numbers import replaced_of
from semcast.web.images import address, encode, font_of, grey, heat, show, tint
from semcast.web.limits import sentence
from semcast.web.work import checkpoint

if TYPE_CHECKING:
    from semcast.web.shelf import Shelf
    from semcast.web.visitor import Face

RATE = 48_000
STOPS = (64, 128, 256, 384, 640, 1024, 1280)
PATHS = {
    "awgn": "noise alone",
    "watterson-good": "short wave, good",
    "watterson-moderate": "short wave, moderate",
    "watterson-poor": "short wave, poor",
    "watterson-disturbed": "short wave, disturbed",
}
TOP_HZ = 3500.0
"""Of the spectrogram: bursts lie between 200 and 2800 Hz."""
WIDTH, HEIGHT, LEFT, BELOW = 944, 300, 80, 36
MOST_BURSTS = 12
"""That are shown of a recording."""


@dataclass(frozen=True)
class Tape:
    """A sound in memory, as the receiver takes recordings.

    Args:
        samples: float32 ``[frames]``, full scale 1.
        rate: samples a second.
        name: what sentences call it.
    """

    samples: NDArray[np.float32]
    rate: float = RATE
    name: str = "the sound"
    is_complex: bool = False
    channels: int = 1
    spacing_hz: float | None = None

    @property
    def frames(self) -> int:
        """How many samples."""
        return len(self.samples)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate

    @property
    def notes(self) -> list[str]:
        """Nothing is odd."""
        return []

    def blocks(self, frames: int) -> Iterator[Block]:
        """So many samples at a time, ``[frames, 1]``."""
        for start in range(0, len(self.samples), frames):
            yield self.samples[start : start + frames, None]

    def wav(self) -> bytes:
        """As a WAV file of 16 bits, made softer where it is beyond full scale."""
        peak = float(np.abs(self.samples).max(initial=0.0))
        file = io.BytesIO()
        wavfile.write(file, round(self.rate), np.rint(self.samples * (32767 / max(1.0, peak))).astype(np.int16))
        return file.getvalue()

    def play(self) -> str:
        """The same as an address."""
        return address(self.wav(), "audio/wav")


@dataclass(frozen=True)
class Trouble:
    """What a visitor does to the sound."""

    snr_db: float | None = None
    path: str = "awgn"
    offset_hz: float = 0.0
    ppm: float = 0.0
    cut: float = 0.0
    seed: int = 0

    @property
    def none(self) -> bool:
        """Whether nothing is done."""
        return self == Trouble(seed=self.seed)

    def simulator(self) -> Simulator:
        """The path.

        Raises:
            BadInput: a value is out of its range.
        """
        return Simulator(
            snr_db=self.snr_db, channel=self.path, offset_hz=self.offset_hz, ppm=self.ppm, cut=self.cut, seed=self.seed
        )


def make(shelf: Shelf, face: Face, system: str, symbols: int, snr_db: float) -> tuple[Tape, Signal]:
    """The sound of a face.

    Args:
        snr_db: that is designed for.

    Raises:
        SemcastError: the system does not work with this k.
    """
    burst = send(shelf.system(system), face.picture, Budget(symbols, snr_db))
    return Tape(burst.sound(), RATE, "the face"), burst


def spoil(tape: Tape, trouble: Trouble) -> Tape:
    """The sound after the path.

    Raises:
        BadInput: it is nothing but silence.
    """
    if trouble.none:
        return tape
    heard = trouble.simulator().apply(tape.samples, tape.rate)
    return Tape(np.asarray(heard, np.float32), tape.rate, tape.name)


@torch.no_grad()
def listen(shelf: Shelf, tape: Tape) -> list[Heard]:
    """All bursts of a sound and what became of them.

    Raises:
        SemcastError: it cannot be listened to.
    """
    if not len(tape.samples):
        raise BadInput("there is no sound to listen to")
    found = []
    for heard in receive(tape, shelf.station):
        checkpoint()
        found.append(heard)
        if len(found) == MOST_BURSTS:
            break
    return found


def show_heard(heard: Heard) -> str:
    """The face that came out, with its edge, as an address; empty where there is none."""
    if heard.reception is None:
        return ""
    pixels = to_uint8(heard.reception.image[:1].cpu())
    trust = "" if heard.ok else "not to be trusted: "
    return show(pixels, f"{trust}{heard.name}, {heard.capture.snr_db:.1f} dB", heard.mark())


@torch.no_grad()
def show_map(shelf: Shelf, heard: Heard) -> str:
    """The map received, guessed (orange), replaced for privacy (violet); empty where there is no picture."""
    if heard.reception is None or heard.system is None:
        return ""
    image = heard.reception.image[:1].cpu()
    share = received_share(heard.system, to_received(heard.capture, heard.budget))[0, 0].cpu().numpy()
    drawn = tint(grey(to_uint8(image)), GUESSED, 0.85 * (1 - share))
    replaced = [part for part in replaced_of(heard.capture.header) if part in PARTS]
    if replaced:
        labels = shelf.parser.labels(image.to(shelf.device))[0].cpu().numpy()
        drawn = tint(drawn, REPLACED, 0.75 * np.isin(labels, [PARTS.index(part) for part in replaced]))
    return show(drawn, f"{float(share.mean()):.0%} received", heard.mark())


def describe(heard: Heard) -> str:
    """A burst in a sentence."""
    capture = heard.capture
    offset = round(capture.offset_hz, 1) + 0.0  # no minus before nothing
    text = (
        f"{heard.name}, {capture.header.symbols} symbols, from {capture.start_s:.2f} s, {capture.seconds:.2f} s long: "
        f"{capture.snr_db:.1f} dB, {offset:+.1f} Hz off, clock {capture.clock_ppm:+.0f} ppm, "
        f"{capture.share:.0%} of it came."
    )
    return text if heard.ok else f"{text} {sentence(heard.reason)}"


def symbols_of(heard: Heard) -> Any:
    """The symbols that came, complex ``[n]``."""
    capture = heard.capture
    return capture.symbols[capture.noise_var < 10]


def noise_left(heard: Heard) -> float:
    """The mean variance on the symbols that came."""
    received = to_received(heard.capture, heard.budget)
    return float(received.noise_var.clamp_max(10).mean())


def spectrogram(tape: Tape, bursts: list[Heard] | None = None) -> Photo:
    """Time to the right, frequency upwards, up to 3.5 kHz; bursts that were found are framed.

    >>> spectrogram(Tape(np.zeros(9600, np.float32))).shape
    (336, 1024, 3)
    """
    canvas = Image.new("RGB", (WIDTH + LEFT, HEIGHT + BELOW), "white")
    canvas.paste(Image.fromarray(heat(_levels(tape))), (LEFT, 0))
    draw, font = ImageDraw.Draw(canvas), font_of(16)
    for hz in (0, 1000, 2000, 3000):
        y = HEIGHT - 1 - hz / TOP_HZ * (HEIGHT - 1)
        draw.line((LEFT - 5, y, LEFT, y), "black")
        draw.text((LEFT - 8, max(9.0, y - (8 if not hz else 0))), f"{hz} Hz" if hz else "0", "black", font, anchor="rm")
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60) if tape.seconds / s <= 10), 120)
    for number in range(int(tape.seconds / step) + 1):
        x = LEFT + number * step / max(tape.seconds, 1e-9) * WIDTH
        draw.line((x, HEIGHT, x, HEIGHT + 5), "black")
        if x < LEFT + WIDTH - 40:
            draw.text((x, HEIGHT + 8), f"{number * step:g} s", "black", font, anchor="ma")
    for heard in bursts or []:
        begin, end = heard.capture.start_s, heard.capture.start_s + heard.capture.seconds
        low, high = (LEFT + at / tape.seconds * WIDTH for at in (begin, end))
        top, bottom = (HEIGHT - 1 - hz / TOP_HZ * (HEIGHT - 1) for hz in (2800, 200))
        draw.rectangle((low, top, min(high, LEFT + WIDTH - 1), bottom), outline="white", width=2)
    return np.asarray(canvas)


def _levels(tape: Tape) -> NDArray[np.floating]:
    """The level of each place of the picture, 0..1 over 60 dB, ``[HEIGHT, WIDTH]``."""
    size = int(2 ** np.round(np.log2(tape.rate / 60)))
    samples = np.pad(tape.samples, (0, max(0, 2 * size - len(tape.samples))))
    hop = max(1, (len(samples) - size) // WIDTH)
    hz, _, power = signal.spectrogram(samples, tape.rate, nperseg=size, noverlap=max(0, size - hop), scaling="spectrum")
    power = power[hz <= TOP_HZ]
    db = 10 * np.log10(power + 1e-12)
    top = float(np.quantile(db, 0.999))
    levels = np.clip((db - top + 60) / 60, 0, 1)[::-1] if top > -110 else np.zeros_like(db)
    return np.asarray(Image.fromarray(levels.astype(np.float32)).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))


def show_spectrogram(tape: Tape, bursts: list[Heard] | None = None) -> str:
    """The spectrogram as an address."""
    return address(encode(spectrogram(tape, bursts), kind="PNG"), "image/png")
