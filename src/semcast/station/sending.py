"""Photos → bursts on the air."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semcast.errors import BadInput
from semcast.given import check_kind, check_path
from semcast.link import Budget, System
from semcast.onair.channel import check_spacing
from semcast.onair.files import Annotation, write_iq, write_sound
from semcast.onair.header import Header
from semcast.onair.transmitter import HEADROOM_DB, OVERSAMPLING, SOUND_RATE, to_iq, to_sound, to_wave
from semcast.onair.waveform import CARRIERS, SPACING_HZ, check_headroom, papr_db, seconds_of
from semcast.station.numbers import SIDE, header_of


@dataclass(frozen=True)
class Signal:
    """One or several bursts, ready for the air.

    Args:
        waves: complex baseband of each, 48,000 samples a second.
        headers: what each says of itself.
    """

    waves: tuple[np.ndarray, ...]
    headers: tuple[Header, ...]

    def __add__(self, other: Signal) -> Signal:
        return Signal(self.waves + other.waves, self.headers + other.headers)

    @property
    def seconds(self) -> float:
        """On the air in 2.4 kHz, ramps included, silence not."""
        return sum(seconds_of(header.symbols) for header in self.headers)

    @property
    def papr_db(self) -> float:
        """The highest peak over mean power of a burst's envelope, in dB."""
        return max(papr_db(wave) for wave in self.waves)

    def sound(self) -> np.ndarray:
        """Samples at 48 kHz, around 1500 Hz, peak at -3 dB of full scale."""
        return np.asarray(to_sound(list(self.waves)), np.float32)

    def save(self, path: Path | str, *, spacing_hz: float | None = None) -> None:
        """Write WAV or FLAC by the extension; with ``.sigmf-meta`` samples for a software radio. What exists is overwritten.

        Args:
            path: of the file.
            spacing_hz: of the carriers, for a software radio (:func:`spacing_of`).

        Raises:
            SemcastError: the extension is unknown, a library is missing, or the file cannot be written.
        """
        path = check_path("a recording", path)
        check_spacing(spacing_hz)
        if path.suffix not in (".sigmf-meta", ".sigmf-data"):
            if spacing_hz not in (None, SPACING_HZ):
                raise BadInput("sound has 2.4 kHz: another bandwidth is for the samples of a software radio")
            write_sound(path, self.sound(), SOUND_RATE)
            return
        spacing = spacing_hz or SPACING_HZ
        waves = [wave[::2] for wave in self.waves]  # four times the baseband's rate is enough for a radio
        samples, rate, starts = to_iq(waves, spacing_hz=spacing, oversampling=OVERSAMPLING // 2)
        edges = float(CARRIERS[0] - 0.5) * spacing, float(CARRIERS[-1] + 0.5) * spacing
        bursts = [Annotation(at, len(wave), *edges) for at, wave in zip(starts, waves, strict=True)]
        write_iq(path, samples, rate, bursts, spacing)


@torch.no_grad()
def send(system: System, image: Tensor, budget: Budget, *, headroom_db: float = HEADROOM_DB) -> Signal:
    """Make a burst of a photo.

    Args:
        system: from :func:`semcast.load`, protected or not.
        image: a :class:`Picture` or a tensor ``[1, 3, 256, 256]`` in [0, 1].
        budget: k, and the SNR in dB that the transmitter designs for, a multiple of 0.5.
        headroom_db: of the envelope over its mean power; ``inf``: peaks are left as they are.

    Raises:
        SemcastError: the system does not work with this budget or photo, or has no number on the air.
    """
    check_kind("what sends", system, System, "a System, as load makes it")
    check_kind("what is sent", image, Tensor, "a Picture, framed by .face(), .scene() or .whole(), or a tensor")
    check_kind("the budget", budget, Budget, "a Budget")
    headroom_db = check_headroom(headroom_db)
    if image.ndim != 4 or tuple(image.shape[-2:]) != (SIDE, SIDE) or len(image) != 1:
        raise BadInput(f"on the air photos are [1, 3, {SIDE}, {SIDE}], not {tuple(image.shape)}")
    header = header_of(system, budget)
    burst = system.encode(image, Budget(budget.symbols, header.snr_db))
    wave = to_wave(burst.symbols[0].cpu().numpy().astype(complex), header, headroom_db=headroom_db)
    return Signal((wave,), (header,))
