"""``on-air``: what the waveform and its receiver do, against the ideal channel: symbols, headers, faces, false alarms.

Symbols are unit Gaussian ones: they know no picture. Each burst is made, sent through a simulated path with a random fade and
random noise, and received by a receiver that hears nothing but the sound. Faces are sent by systems, the same ones over AWGN.
The SNR is Es/N0 of a cell of unit energy; in 2.4 kHz it is 0.28 dB less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any, ClassVar

import numpy as np

from semcast.bench.plots import Axis, Curve, Page, Panel
from semcast.bench.records import Line, Record
from semcast.bench.statistics import Interval, bootstrap, group
from semcast.bench.summary import power_notes
from semcast.bench.sweep import Plan
from semcast.bench.tables import markdown
from semcast.channels import AWGN
from semcast.link import noise_var
from semcast.onair import waveform
from semcast.onair.channel import CELLS_TO_2400_HZ, OnAir
from semcast.onair.foreign import KINDS, Foreign
from semcast.onair.receiver import REVISION, Receiver
from semcast.onair.simulate import Simulator
from semcast.studies.faces import FaceRun
from semcast.studies.run import Point, Points

AIR: dict[str, Simulator] = {
    "awgn": Simulator(),
    "moderate fading": Simulator(channel="watterson-moderate"),
    "poor fading": Simulator(channel="watterson-poor"),
    "disturbed fading": Simulator(channel="watterson-disturbed"),
    "offset 100 Hz": Simulator(offset_hz=100),
    "clock 100 ppm": Simulator(ppm=100),
    "clock -200 ppm": Simulator(ppm=-200),
    "echo 3 ms, -3 dB": Simulator(echo=(3, -3)),
    "level wobbles": Simulator(wobble=(0.5, 1.5)),
    "whistle, 0 dB": Simulator(whistle=(1010, 0)),
    "telephone": Simulator(band=(300, 2700)),
    "filter 500-2300 Hz": Simulator(band=(500, 2300)),
    "6 bits": Simulator(bits=6),
    "clipped at half": Simulator(clip=0.5),
    "30 % missing at the end": Simulator(cut=0.3),
    "30 % missing at the start": Simulator(cut_start=0.3),
    "half missing at the end": Simulator(cut=0.5),
}
"""The paths by name."""
SYSTEMS = (Curve(640, "sketch"), Curve(64, "sketch"), Curve(640, "generative"), Curve(640, "linear"))
FACES = ("awgn", "moderate fading", "poor fading", "30 % missing at the end", "30 % missing at the start",
         "half missing at the end")  # fmt: skip
"""Paths that faces are sent over."""


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        photos: at most, for faces.
        bursts: of each condition, for the symbols.
        tries: of each condition, for the headers.
        seconds: of each foreign signal.
        snr_db: of the symbols over AWGN; the other paths are measured at 10 dB.
    """

    photos: int | None
    bursts: int
    tries: int
    seconds: float
    snr_db: tuple[float, ...] = (0.0, 3.0, 5.0, 10.0, 20.0)


FULL = Size(photos=100, bursts=50, tries=200, seconds=3600)
QUICK = Size(photos=4, bursts=4, tries=8, seconds=20)


@dataclass(frozen=True)
class BurstRecord(Line):
    """One burst of unit Gaussian symbols over one path.

    ``heard``: its header was read. ``error`` is the mean of e² = |x̂ - x|² over the symbols, ``ratio`` that of e² / noise_var.
    ``cpu_s``: what the receiver took for the recording of about a second, on one thread.
    """

    KEY: ClassVar[tuple[str, ...]] = ("image", "path", "snr_db", "symbols")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) | {"version", "heard"}

    image: str
    path: str
    snr_db: float
    symbols: int
    version: str
    heard: bool
    error: float | None
    ratio: float | None
    share: float | None
    rho: float | None
    cpu_s: float


@dataclass(frozen=True)
class ForeignRecord(Line):
    """A foreign signal: the highest correlation, what was taken for a bookend, and for a burst."""

    KEY: ClassVar[tuple[str, ...]] = ("image", "seconds")
    REQUIRED: ClassVar[frozenset[str]] = frozenset(KEY) | {"version", "highest", "candidates", "bursts"}

    image: str
    seconds: float
    version: str
    highest: float
    candidates: int
    bursts: int
    cpu_s: float


@dataclass(frozen=True)
class Draw:
    """What stands for a photo where there is none: one draw of chance, or one signal."""

    name: str
    number: int = 0

    def carry(self) -> Draw:
        """Itself: it weighs nothing."""
        return self


@dataclass(kw_only=True)
class OnAirRun(FaceRun):
    """A run of this study."""

    air: Size
    version: str = f"receiver {REVISION}"

    def points(self, file: str, kind: type[Any], draws: Sequence[Draw], points: Sequence[Point], make: Any) -> list[Any]:
        """Measure each point of each draw into a file, or take what it holds."""
        return self.measure(file, Points(kind, points, make, self.version), sources=draws)


def measure_on_air(run: OnAirRun) -> None:
    """Measure everything, and write tables and a figure."""
    bursts = _symbols(run) + _headers(run)
    foreign = _foreign(run)
    faces = _faces(run)
    rows = _targets(Found(bursts, foreign, faces))
    run.write("on-air-targets.md", markdown(rows) + "\n")
    run.write("on-air-symbols.md", markdown(_symbol_rows(bursts)) + "\n")
    run.write("on-air-headers.md", markdown(_header_rows(bursts)) + "\n")
    run.write("on-air-foreign.md", markdown(_foreign_rows(foreign)) + "\n")
    run.write("on-air-faces.md", "\n\n".join([markdown(_face_rows(faces)), *power_notes(faces)]) + "\n")
    run.draw("on-air", *_figure(bursts))


# ---- measuring -------------------------------------------------------------------------------------------------------


def _symbols(run: OnAirRun) -> list[BurstRecord]:
    """k = 640: AWGN at each SNR, every other path at 10 dB."""
    points = [("awgn", snr, 640) for snr in run.air.snr_db] + [(name, 10.0, 640) for name in AIR if name != "awgn"]
    points += [("awgn", 10.0, 64), ("echo 3 ms, -3 dB", 20.0, 640), ("clock -200 ppm", 20.0, 640)]
    draws = [Draw(f"draw {i:03d}", i) for i in range(run.air.bursts)]
    return run.points("on-air-symbols.jsonl", BurstRecord, draws, points, Sender(run.version, run.seed))


def _headers(run: OnAirRun) -> list[BurstRecord]:
    """k = 64, many bursts: whether they are heard at all."""
    points = [("awgn", snr, 64) for snr in (-6.0, -4.0, -3.0, -2.0, 0.0, 3.0)]
    points += [(name, snr, 64) for name in ("moderate fading", "poor fading") for snr in (-3.0, 0.0, 3.0, 6.0, 10.0)]
    draws = [Draw(f"try {i:03d}", 10_000 + i) for i in range(run.air.tries)]
    return run.points("on-air-headers.jsonl", BurstRecord, draws, points, Sender(run.version, run.seed))


def _foreign(run: OnAirRun) -> list[ForeignRecord]:
    draws = [Draw(kind, i) for i, kind in enumerate(KINDS)]
    return run.points("on-air-foreign.jsonl", ForeignRecord, draws, [(run.air.seconds,)], Listener(run.version, run.seed))


def _faces(run: OnAirRun) -> list[Record]:
    """Faces over AWGN and over the air, at 10 dB, and at 0 dB over both without more."""
    records: list[Record] = []
    for curve in SYSTEMS:
        powers = getattr(run.system(curve.system), "symbol_powers", None)
        for channel in [AWGN(), *(OnAir(AIR[name], powers=powers) for name in FACES)]:
            plan = Plan((0.0, 10.0) if channel.name in ("awgn", "on-air") else (10.0,), (640,))
            records += run.sweep("on-air-faces.jsonl", [curve], plan, channel)
    return records


@dataclass
class Sender:
    """Makes the records of one draw: the same symbols and the same noise at every point."""

    version: str
    seed: int

    def __call__(self, draw: Draw, points: Sequence[Point]) -> Iterator[BurstRecord]:
        for path, snr, k in points:
            random = np.random.default_rng([self.seed, draw.number, k])
            symbols = random.standard_normal((k, 2)).view(complex)[:, 0] / 2**0.5
            channel = OnAir(AIR[path])
            sound = channel.make_sound(symbols, noise_var(snr), [self.seed, draw.number])
            begun = process_time()
            got = channel.hear(sound, k)
            spent = round(process_time() - begun, 4)
            told: dict[str, Any] = {"error": None, "ratio": None, "share": None, "rho": None}
            if got is not None:
                error = np.abs(got.symbols - symbols) ** 2
                told = {"error": float(error.mean()), "ratio": float((error / got.noise_var).mean()), "share": got.share,
                        "rho": got.rho}  # fmt: skip
            yield BurstRecord(draw.name, path, snr, k, self.version, got is not None, cpu_s=spent, **told)


@dataclass
class Listener:
    """Makes the record of a foreign signal."""

    version: str
    seed: int
    rate: int = 12_000

    def __call__(self, draw: Draw, points: Sequence[Point]) -> Iterator[ForeignRecord]:
        for (seconds,) in points:
            hearing = Receiver(self.rate)
            heard, spent = 0, 0.0
            for block in Foreign(draw.name, seconds, self.rate, self.seed).blocks(self.rate):
                begun = process_time()
                heard += len(hearing.feed(block[:, 0]))
                spent += process_time() - begun
            heard += len(hearing.finish())
            heard += len(hearing.refused)
            highest, count = hearing.detector.highest, hearing.detector.count
            yield ForeignRecord(draw.name, seconds, self.version, round(highest, 4), count, heard, round(spent, 3))


# ---- tables ----------------------------------------------------------------------------------------------------------


def _by(bursts: Sequence[BurstRecord]) -> dict[tuple[str, float, int], list[BurstRecord]]:
    return group(bursts, lambda r: (r.path, r.snr_db, r.symbols))


def _snr(records: Sequence[BurstRecord]) -> Interval | None:
    """Symbol SNR in dB of the bursts that were heard, -10 log10 of each one's error, with its interval."""
    values = [-10 * float(np.log10(r.error)) for r in records if r.error]
    return bootstrap(values) if values else None


def _symbol_rows(bursts: Sequence[BurstRecord]) -> list[list[str]]:
    rows = [["path", "SNR dB", "k", "symbol SNR dB", "e² / noise_var", "came", "bursts"]]
    for (path, snr, k), records in _by([r for r in bursts if r.image.startswith("draw")]).items():
        heard = [r for r in records if r.heard]
        found, ratio = _snr(heard), [r.ratio for r in heard if r.ratio is not None]
        came = float(np.mean([r.share or 0.0 for r in heard])) if heard else 0.0
        rows.append([path, f"{snr:g}", str(k), found.text(2) if found else "-", f"{np.mean(ratio):.2f}" if ratio else "-",
                     f"{came:.0%}", f"{len(heard)} of {len(records)}"])  # fmt: skip
    return rows


def _header_rows(bursts: Sequence[BurstRecord]) -> list[list[str]]:
    rows = [["path", "SNR dB", "in 2.4 kHz", "headers read", "of"]]
    for (path, snr, _), records in _by([r for r in bursts if r.image.startswith("try")]).items():
        read = sum(r.heard for r in records)
        rows.append([path, f"{snr:g}", f"{snr - CELLS_TO_2400_HZ:.2f}", f"{read / len(records):.1%}", str(len(records))])
    return rows


def _foreign_rows(foreign: Sequence[ForeignRecord]) -> list[list[str]]:
    rows = [["signal", "minutes", "highest correlation", "candidates", "bursts", "CPU s a second"]]
    for r in foreign:
        rows.append([r.image, f"{r.seconds / 60:g}", f"{r.highest:.3f}", str(r.candidates), str(r.bursts),
                     f"{r.cpu_s / r.seconds:.4f}"])  # fmt: skip
    return rows


def _named(channel: str) -> str:
    """The path of a channel's name."""
    return next((name for name in FACES if OnAir(AIR[name]).name == channel), "ideal") if channel != "awgn" else "ideal"


def _face_rows(faces: Sequence[Record]) -> list[list[str]]:
    rows = [["system", "k", "SNR dB", "path", "PSNR", "over the ideal", "LPIPS-squeeze", "photos"]]
    cells = group(faces, lambda r: (r.system, r.symbols, r.snr_db, _named(r.channel)))
    for (system, k, snr, path), records in cells.items():
        mean, lpips = _mean(records, "psnr_db"), _mean(records, "lpips_squeeze")
        ideal = _mean(cells.get((system, k, snr, "ideal"), []), "psnr_db")
        rows.append([system, str(k), f"{snr:g}", "over the air" if path == "awgn" else path, f"{mean:.2f}",
                     f"{mean - ideal:+.2f}" if path != "ideal" else "", f"{lpips:.3f}", str(len(records))])  # fmt: skip
    return rows


def _mean(records: Sequence[Record], metric: str) -> float:
    values = [value for r in records if (value := getattr(r, metric)) is not None]
    return float(np.mean(values)) if values else float("nan")


@dataclass(frozen=True)
class Found:
    """What all records say together, in the units of the targets."""

    bursts: Sequence[BurstRecord]
    foreign: Sequence[ForeignRecord]
    faces: Sequence[Record]

    def lost(self, path: str, snr: float) -> float:
        """Symbol SNR below that of the channel, in dB, at k = 640."""
        found = _snr(_by(self.bursts).get((path, snr, 640), []))
        return snr - found.mean if found else float("nan")

    def unread(self, path: str, snr: float) -> float:
        """Headers that were not read, in percent."""
        records = [r for r in self.bursts if (r.path, r.snr_db) == (path, snr) and r.image.startswith("try")]
        return 100 - 100 * float(np.mean([r.heard for r in records])) if records else float("nan")

    def fallen(self, path: str, metric: str = "psnr_db") -> float:
        """How far ``sketch`` of k = 640 falls at 10 dB below itself over the ideal channel."""
        own = [r for r in self.faces if (r.system, r.symbols, r.snr_db) == ("sketch", 640, 10.0)]
        ideal = [r for r in own if r.channel == "awgn"]
        return _mean(ideal, metric) - _mean([r for r in own if r.channel == OnAir(AIR[path]).name], metric)

    def uncertain(self) -> float:
        """How far e² / noise_var is from 1 on the path where it is furthest."""
        drawn = [r for r in self.bursts if r.image.startswith("draw") and r.ratio is not None]
        return max((abs(float(np.mean([r.ratio for r in some])) - 1) for some in _by(drawn).values()), default=float("nan"))

    def an_hour(self, count: Callable[[ForeignRecord], float]) -> float:
        """The most that any foreign signal gives, a second times 3600."""
        return max((count(r) * 3600 / r.seconds for r in self.foreign), default=float("nan"))

    def busy(self) -> float:
        """CPU of a recording with one burst of k = 640, in seconds."""
        times = [r.cpu_s for r in self.bursts if (r.path, r.snr_db, r.symbols) == ("awgn", 10.0, 640)]
        return float(np.median(times)) if times else float("nan")


def _targets(found: Found) -> list[list[str]]:
    """What was promised of the waveform, what it must at least, and what was measured."""
    lost = max(found.lost("awgn", snr) for snr in (0.0, 3.0, 5.0, 10.0))
    late, early = "30 % missing at the start", "30 % missing at the end"
    rows: list[tuple[str, float, float | None, float, int]] = [
        ("on the air, k = 640, s", waveform.seconds_of(640), 0.85, 0.72, 3),
        ("on the air, k = 64, s", waveform.seconds_of(64), 0.45, 0.36, 3),
        ("symbol SNR lost over AWGN, worst of 0 to 10 dB, dB", lost, 0.3, 0.1, 2),
        ("symbol SNR lost over AWGN, 20 dB, dB", found.lost("awgn", 20.0), 0.6, 0.25, 2),
        ("PSNR lost to the ideal channel, 10 dB, dB", found.fallen("awgn"), 0.3, 0.1, 2),
        ("LPIPS over that of the ideal channel", -found.fallen("awgn", "lpips_squeeze"), 0.01, 0.003, 4),
        ("headers not read, AWGN 0 dB, %", found.unread("awgn", 0.0), 0.5, 0.0, 2),
        ("headers not read, AWGN -3 dB, %", found.unread("awgn", -3.0), None, 5.0, 1),
        ("headers not read, moderate fading 6 dB, %", found.unread("moderate fading", 6.0), 2.0, 0.5, 1),
        ("PSNR lost to moderate fading, 10 dB, dB", found.fallen("moderate fading"), 0.7, 0.4, 2),
        ("PSNR lost to poor fading, 10 dB, dB", found.fallen("poor fading"), 1.5, 1.0, 2),
        ("e² / noise_var, off by, on the worst path", found.uncertain(), 0.2, 0.05, 2),
        ("false bursts in all hours", float(sum(r.bursts for r in found.foreign)), 0.0, 0.0, 0),
        ("false candidates an hour, of the worst signal", found.an_hour(lambda r: r.candidates), 1.0, 0.0, 1),
        ("PSNR lost, 30 % missing at the end, dB", found.fallen(early), 1.0, 0.6, 2),
        ("PSNR lost, 30 % missing at the start, dB", found.fallen(late), 1.0, 0.6, 2),
        ("CPU of a second without a burst, s", found.an_hour(lambda r: r.cpu_s) / 3600, 0.03, 0.01, 4),
        ("CPU of a second with one of k = 640, s", found.busy(), 0.25, 0.1, 3),
    ]
    table = [["what", "measured", "at most", "aim", "holds"]]
    for what, value, most, aim, digits in rows:
        verdict = "yes" if value <= aim else "-" if most is None else "at least" if value <= most else "no"
        table.append([what, f"{value:.{digits}f}", "-" if most is None else f"{most:g}", f"{aim:g}", verdict])
    return table


def _figure(bursts: Sequence[BurstRecord]) -> tuple[list[Panel], Page]:
    """Headers read against SNR, and symbol SNR over AWGN against the ideal."""
    read: dict[Curve, dict[float, Interval]] = {}
    for (path, snr, _), records in _by([r for r in bursts if r.image.startswith("try")]).items():
        read.setdefault(Curve(0, path), {})[snr] = bootstrap([float(r.heard) for r in records])
    got: dict[Curve, dict[float, Interval]] = {}
    for (path, snr, k), records in _by([r for r in bursts if r.image.startswith("draw")]).items():
        if path == "awgn" and k == 640 and (value := _snr(records)) is not None:
            got.setdefault(Curve(640, "over the air"), {})[snr] = value
            got.setdefault(Curve(640, "ideal"), {})[snr] = Interval(snr, snr, snr, value.count)
    panels = [Panel("headers read", "heard", read), Panel("symbol SNR", "symbol_snr", got)]
    axis = Axis("SNR (dB)", (-6.0, -3.0, 0.0, 3.0, 6.0, 10.0, 20.0), 0)
    about = "SNR: Es/N0 of a cell of unit energy; in 2.4 kHz 0.28 dB less."
    page = Page("On the air", [about], axis=axis, conventions="Simulated paths of ITU-R F.1487; one burst a draw.")
    return panels, page


__all__ = ["AIR", "FULL", "QUICK", "BurstRecord", "ForeignRecord", "OnAirRun", "Size", "measure_on_air"]
