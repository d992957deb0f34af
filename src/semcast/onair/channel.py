"""Channels that are sound: one that is made, sent through a simulated radio path and received, and one that was recorded.

Both end in the same :class:`~semcast.link.Received` as any other channel, so that every system, metric, plot and table works
with them. Nothing here has gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from semcast.channels.draw import image_seeds, noise_variances
from semcast.errors import BadInput
from semcast.files import quote
from semcast.given import check_kind, number_of, whole_of
from semcast.link import Budget, Burst, Channel, Realisation, Received, snr_db
from semcast.onair.demodulate import Capture
from semcast.onair.files import MAX_RATE, open_samples
from semcast.onair.header import Header
from semcast.onair.receiver import Receiver, receive_all
from semcast.onair.simulate import Simulator, active_parts, active_power
from semcast.onair.spread import WORST
from semcast.onair.transmitter import HEADROOM_DB, PEAK, to_sound, to_wave
from semcast.onair.waveform import BASE_RATE, SPACING_HZ, WIDTH, check_headroom, rows_of

if TYPE_CHECKING:
    from jaxtyping import Float

Powers = Callable[[Budget], Tensor]

MOST_NOISE = 10.0
"""Of a symbol that a receiver still listens to; what is noisier is taken for one that did not come."""
CELLS_TO_2400_HZ = 10 * float(np.log10(2400 / (WIDTH * SPACING_HZ)))
"""dB that Es/N0 of a cell is above the SNR in 2.4 kHz."""


def to_received(capture: Capture | None, budget: Budget) -> Received:
    """What a system is given of a burst ``[1, k]``; None: none came.

    Symbols whose noise is over :data:`MOST_NOISE` are 0 with that variance: an estimate that says nothing, and not a number
    that would mislead whoever averages the variances.
    """
    symbols = np.zeros(budget.symbols, complex) if capture is None else capture.symbols
    noise = np.full(budget.symbols, WORST) if capture is None else capture.noise_var
    lost = noise > MOST_NOISE
    return Received(
        torch.from_numpy(np.where(lost, 0, symbols).astype(np.complex64))[None],
        torch.from_numpy(np.minimum(noise, MOST_NOISE).astype(np.float32))[None], budget,
    )  # fmt: skip


def check_spacing(spacing_hz: float | None) -> None:
    """Raise BadInput where a spacing of the carriers is said that is none."""
    if spacing_hz is not None and not 1.0 <= (number_of(spacing_hz) or 0.0) <= 1e6:
        raise BadInput(f"the spacing of the carriers is a number of Hz from 1 to a million, not {quote(spacing_hz)}")


def _join(received: list[Received], budget: Budget) -> Received:
    return Received(torch.cat([one.symbols for one in received]), torch.cat([one.noise_var for one in received]), budget)


@dataclass(frozen=True)
class OnAir(Channel):
    """Symbols → sound → a simulated radio path → the receiver, which knows nothing but the sound.

    The SNR is Es/N0 of a cell of unit energy, as on every channel, so that curves can be laid over those of :class:`AWGN`. A
    burst of which no header can be read arrives as symbols 0 of large variance.

    Args:
        path: what happens to the sound; its own ``snr_db`` is not used.
        headroom_db: what the transmitter leaves over the mean power (:func:`~semcast.onair.waveform.limit_peaks`).
        rate: samples a second of the sound, a multiple of 6000.
        powers: mean |x|² of each symbol of the system that sends, as a real receiver knows it from the header; it matters where
            a part of a burst is missing. None: unknown.

    >>> channel = OnAir()
    >>> burst = Burst(torch.ones(1, 64, dtype=torch.complex64), Budget(64, 10.0))
    >>> bool((channel(burst).symbols - 1).abs().square().mean() < 0.2), channel.uses(64)
    (True, 672)
    """

    path: Simulator = field(default=Simulator(), metadata={"said": True})
    headroom_db: float = HEADROOM_DB
    rate: int = 24_000
    powers: Powers | None = field(default=None, compare=False, repr=False, metadata={"said": True})

    @property
    def name(self) -> str:  # type: ignore[override]
        """``on-air``, and what is special about the path: ``on-air:watterson-poor``, ``on-air:cut=0.3``."""
        usual = Simulator()
        said = {each.name: getattr(self.path, each.name) for each in fields(Simulator)}
        odd = [str(value) if name == "channel" else f"{name}={value}" for name, value in said.items()
               if value != getattr(usual, name) and name not in ("snr_db", "seed")]  # fmt: skip
        return "on-air" + (":" + ",".join(odd) if odd else "")

    def __post_init__(self) -> None:
        check_kind("the path", self.path, Simulator, "a Simulator")
        object.__setattr__(self, "headroom_db", check_headroom(self.headroom_db))
        rate = whole_of(self.rate)
        if rate is None or not 12_000 <= rate <= MAX_RATE or rate % BASE_RATE:
            raise BadInput(f"the sound has a multiple of 6000 samples a second, from 12000 to a million, not {quote(self.rate)}")
        object.__setattr__(self, "rate", rate)
        if self.powers is not None and not callable(self.powers):
            raise BadInput(f"powers is a function of a budget, not {quote(self.powers)}")

    def uses(self, symbols: int) -> int:
        """Cells of a burst: data, pilots, headers and bookends."""
        return WIDTH * rows_of(Budget(symbols, 0.0).symbols)

    def draw(
        self, batch: int, symbols: int, snr_db: float | Float[Tensor, " snrs"], generator: torch.Generator
    ) -> Realisation:
        """Fixes fading and noise of each image's burst."""
        n0 = noise_variances(batch, symbols, snr_db)[:, 0].tolist()
        seeds = image_seeds(batch, generator)

        def send(burst: Burst) -> Received:
            if burst.symbols.shape != (batch, symbols):
                raise BadInput(f"the channel was drawn for {(batch, symbols)} symbols, not {tuple(burst.symbols.shape)}")
            sent = burst.symbols.detach().cpu().numpy()
            known = None if self.powers is None else self.powers(burst.budget).cpu().numpy().astype(float)
            captures = [self.cross(*one, known) for one in zip(sent, n0, seeds, strict=True)]
            return _join([to_received(capture, burst.budget) for capture in captures], burst.budget)

        return send

    def cross(self, symbols: np.ndarray, n0: float, seeds: list[int], power: np.ndarray | None = None) -> Capture | None:
        """One burst ``[k]`` and what a receiver makes of it; None where it finds none."""
        return self.hear(self.make_sound(symbols, n0, seeds), len(symbols), power)

    def make_sound(self, symbols: np.ndarray, n0: float, seeds: list[int]) -> np.ndarray:
        """What the receiver's loudspeaker would play of one burst ``[k]``, over noise of N0 for cells of unit energy."""
        header = _header(len(symbols))
        oversampling = self.rate // int(BASE_RATE)
        wave = to_wave(symbols.astype(complex), header, headroom_db=self.headroom_db, oversampling=oversampling)
        sound = to_sound([wave], rate=self.rate)
        # the simulator counts from the burst's own power; the SNR is that of cells of unit energy
        unit = 0.5 * (PEAK / np.abs((wave * np.exp(2j * np.pi * 1500 / self.rate * np.arange(len(wave)))).real).max()) ** 2
        louder = active_power(sound, active_parts(sound, self.rate)) / unit
        met = snr_db(n0) - CELLS_TO_2400_HZ + 10 * float(np.log10(louder))
        random = np.random.default_rng(seeds)
        return replace(self.path, snr_db=met).apply(sound.astype(np.float32), self.rate, random)

    def hear(self, sound: np.ndarray, symbols: int, power: np.ndarray | None = None) -> Capture | None:
        """What a receiver makes of a sound; None where it finds no burst of so many symbols."""
        receiver = Receiver(self.rate, powers=lambda header: power if header.symbols == symbols else None)
        found = [one for one in receive_all(receiver, [sound]) if one.header == _header(symbols)]
        return max(found, key=lambda one: one.share, default=None)


def _header(symbols: int) -> Header:
    return Header(symbols, 1, 1, 0.0)


@dataclass(frozen=True)
class Recording(Channel):
    """What was recorded, as a channel: a burst that was sent is looked for among those that the recording holds.

    A burst is recognised by what it carries: of those with the same k, the one whose symbols agree best with the sent ones. So
    the photos of an experiment may have been sent in any order, and a table of what arrived needs no list beside the recording.

    Args:
        path: a sound, or the ``.sigmf-meta`` of samples of a software radio.
        spacing_hz: of the carriers, where the recording does not say.

    Raises:
        SemcastError: it is no recording.
    """

    name: ClassVar[str] = "recording"
    path: Path | str
    spacing_hz: float | None = None

    def __post_init__(self) -> None:
        open_samples(self.path)
        check_spacing(self.spacing_hz)

    @property
    def captures(self) -> list[Capture]:
        """The bursts of the recording, in the order of time."""
        return self._captures

    @cached_property
    def _captures(self) -> list[Capture]:  # results name a channel by what is in its __dict__ without an underscore
        samples = open_samples(self.path)
        spacing = self.spacing_hz or samples.spacing_hz or SPACING_HZ
        receiver = Receiver(samples.rate, spacing_hz=spacing, is_complex=samples.is_complex)
        return sorted(receive_all(receiver, samples.blocks(1 << 16)), key=lambda one: one.start_s)

    def uses(self, symbols: int) -> int:
        """Cells of a burst."""
        return WIDTH * rows_of(Budget(symbols, 0.0).symbols)

    def draw(
        self, batch: int, symbols: int, snr_db: float | Float[Tensor, " snrs"], generator: torch.Generator
    ) -> Realisation:
        """The recording has one realisation, and its own SNR: both arguments of chance are not used."""

        def send(burst: Burst) -> Received:
            sent = burst.symbols.detach().cpu().numpy()
            return _join([to_received(self.find(one), burst.budget) for one in sent], burst.budget)

        return send

    def find(self, symbols: np.ndarray) -> Capture | None:
        """The burst that carries these symbols ``[k]``; None where no burst of the recording does."""
        best, score = None, 0.25
        for capture in self.captures:
            if capture.header.symbols == len(symbols):
                weight = 1 / (capture.noise_var + np.abs(symbols) ** 2 + 1e-6)
                both = np.vdot(symbols * weight, capture.symbols).real
                sizes = (np.abs(symbols) ** 2 * weight).sum() * (np.abs(capture.symbols) ** 2 * weight).sum()
                agreement = both / np.sqrt(max(sizes, 1e-12))
                if agreement > score:
                    best, score = capture, agreement
        return best
