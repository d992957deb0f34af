"""Whatever a recording holds → pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from semcast import api
from semcast.errors import BadInput, SemcastError
from semcast.given import check_kind
from semcast.link import Budget, Reception, System, mark_of
from semcast.mark import MOST_TEXT, Mark
from semcast.onair.channel import check_spacing, to_received
from semcast.onair.demodulate import Capture
from semcast.onair.files import open_samples
from semcast.onair.header import Header
from semcast.onair.receiver import Receiver, receive_all
from semcast.onair.waveform import SPACING_HZ
from semcast.rivals.modem import SCHEMES
from semcast.station.numbers import NAMES, SIDE, model_of, replaced_of
from semcast.trust import doubt

if TYPE_CHECKING:
    from semcast.onair.samples import Samples

TRUSTED_SHARE = 0.5
"""A picture of analog symbols of which less came is marked as not to be trusted, whatever the SNR; how much a system needs was
measured (:mod:`semcast.trust`). (Bytes are checked by their CRC.)"""


@dataclass(frozen=True)
class Heard:
    """A burst that was received, and what was made of it.

    Args:
        capture: symbols, noise, and how the burst came.
        system: that painted the picture; None where it could not be had.
        reception: the picture; None where there is none.
        reason: why there is no picture, or why it is not to be trusted; "" where it is.
        budget: k, and the SNR that the transmitter designed for.
    """

    capture: Capture
    system: System | None
    reception: Reception | None
    reason: str
    budget: Budget

    @property
    def ok(self) -> bool:
        """Whether there is a picture that can be trusted."""
        return self.reception is not None and not self.reason

    @property
    def name(self) -> str:
        """Of the system, as the header says."""
        return NAMES.get(self.capture.header.system, f"system {self.capture.header.system}")

    def mark(self) -> Mark | None:
        """What the picture's file says of the network that painted it; None where none did."""
        if self.system is None or not self.system.paints:
            return None
        mark = mark_of(self.system, self.budget, "on-air", round(self.capture.snr_db, 1))
        return replace(mark, doubt=self.reason[:MOST_TEXT])

    def describe(self) -> dict[str, Any]:
        """In numbers and words, as ``receive --json`` prints it."""
        c, h = self.capture, self.capture.header
        return {
            "start_s": round(c.start_s, 3), "seconds": round(c.seconds, 3), "system": self.name, "symbols": h.symbols,
            "design_snr_db": h.snr_db, "snr_db": round(c.snr_db, 2), "offset_hz": round(c.offset_hz, 2),
            "clock_ppm": round(c.clock_ppm, 1), "share": round(c.share, 4), "rho": round(c.rho, 3),
            "delay_spread_ms": c.spread_ms, "doppler_hz": c.doppler_hz, "model": f"{h.model:04x}",
            "scheme": SCHEMES[h.scheme - 1].name if 0 < h.scheme <= len(SCHEMES) else None,
            "replaced": list(replaced_of(h)), "ok": self.ok, "reason": self.reason,
        }  # fmt: skip


class Station:
    """A receiver with its systems: each is loaded when a burst first asks for it, and kept.

    Args:
        device: where systems compute.
        systems: of your own or already loaded, by the name that headers know.

    Attributes:
        refused: what the last recording held and could not be taken for a burst, each as (seconds, sentence).
    """

    def __init__(self, device: str | torch.device = "auto", systems: dict[str, System] | None = None) -> None:
        self.device, self.systems = device, dict(systems or {})
        self.refused: list[tuple[float, str]] = []

    def system(self, header: Header) -> System:
        """The system that a header names.

        Raises:
            SemcastError: its number or scheme is unknown, it is not installed, or its weights here are others.
        """
        name = NAMES.get(header.system)
        if name is None:
            raise BadInput(f"a burst of system {header.system}, which this semcast does not know: a newer one may")
        if header.scheme > len(SCHEMES):
            raise BadInput(f"a burst of modulation {header.scheme}, which this semcast does not know: a newer one may")
        if (name in api.CODED or name == "rl-asc:street") != (not header.analog):
            raise BadInput(f"a burst of {name} whose symbols are of the wrong kind")
        key = name if header.analog else f"{name}/{header.scheme}"
        if key not in self.systems:
            self.systems[key] = self._load(name, header)
        system = self.systems[key]
        model = model_of(system)
        if model != header.model:
            raise BadInput(f"a burst made by other weights of {name}: {header.model:04x}, here are {model:04x}")
        return system

    def _load(self, name: str, header: Header) -> System:
        family, _, domain = name.partition(":")
        if header.analog:
            return api.load(name, device=self.device)
        scheme = SCHEMES[header.scheme - 1].name
        return api.load(family, device=self.device, scheme=scheme, domain=domain or "face")

    def powers(self, header: Header) -> np.ndarray | None:
        """Mean |x|² of each symbol that a header announces, where its system knows."""
        try:
            system = self.system(header)
        except SemcastError:
            return None
        known = getattr(system, "symbol_powers", None)
        return None if known is None else np.asarray(known(Budget(header.symbols, header.snr_db)).cpu(), float)

    @torch.no_grad()
    def show(self, capture: Capture) -> Heard:
        """Decode a burst."""
        header = capture.header
        budget = Budget(header.symbols, header.snr_db, (SIDE, SIDE))
        try:
            system = self.system(header)
            system.check(budget)
        except SemcastError as error:
            return Heard(capture, None, None, str(error), budget)
        received = to_received(capture, budget)
        reception = system.decode(received)
        reason = (reception.reason if not bool(reception.ok.all()) else "") or doubt(system, received)
        if not reason and capture.share < TRUSTED_SHARE:
            reason = f"{capture.share:.0%} of the burst came"
        return Heard(capture, system, reception, reason, budget)


def receive(
    recording: Samples | Path | str, station: Station | None = None, *, spacing_hz: float | None = None, block: int = 1 << 16
) -> Iterator[Heard]:
    """All bursts of a recording, each as soon as it is over, in memory that does not grow with its length.

    Args:
        recording: a sound, the ``.sigmf-meta`` of samples of a software radio, ``-`` for stdin, or anything with blocks.
        station: that has systems loaded already.
        spacing_hz: of the carriers (:func:`spacing_of`), where the recording does not say.
        block: frames that are read at a time.

    Raises:
        SemcastError: it is no recording.
    """
    samples: Samples = recording if callable(getattr(recording, "blocks", None)) else open_samples(recording)  # type: ignore[arg-type, assignment]
    if station is not None:
        check_kind("what receives", station, Station, "a Station")
    check_spacing(spacing_hz)
    station = station or Station()
    spacing = spacing_hz or samples.spacing_hz or SPACING_HZ
    receiver = Receiver(samples.rate, spacing_hz=spacing, is_complex=samples.is_complex, powers=station.powers)
    station.refused = receiver.refused
    for capture in receive_all(receiver, samples.blocks(block)):
        yield station.show(capture)
