"""``report``: every table and figure that the documents show, out of the committed records alone; nothing is measured.

A folder of results says in ``run.json`` which studies it holds, of which photos and how large. Each study is done again by a
run that takes its records from the folder, where it would have measured them; its tables and figures are then put into the
documents, between ``<!-- results/NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from semcast.bench import plots
from semcast.bench.codecs import CodecRecord, Original
from semcast.bench.plots import Curve, Page, Panel
from semcast.bench.records import Line, Record, read
from semcast.bench.statistics import Interval
from semcast.bench.sweep import Plan
from semcast.bench.tables import fill
from semcast.errors import Damaged, Missing
from semcast.files import reason_of, write_text
from semcast.link import Channel, System
from semcast.metrics.report import Metrics
from semcast.studies import ablations, codec, figures, rivals
from semcast.studies.codec_run import CodecRun
from semcast.studies.codec_run import Size as CodecSize
from semcast.studies.faces import QUICK, FaceRun, Size
from semcast.studies.kid import KidRecord, as_curves, name_set
from semcast.studies.on_air import Draw, OnAirRun, measure_on_air
from semcast.studies.on_air import Size as AirSize
from semcast.studies.run import Make, Point
from semcast.studies.targets import STANDARD

L = TypeVar("L", bound=Line)
MAKERS: dict[str, Callable[[FaceRun], None]] = {
    "fig3": figures.fig3, "fig4": figures.fig4, "fig5": figures.fig5, "fading": figures.fading, "mismatch": figures.mismatch,
    "rivals": rivals.rivals, "ablations": ablations.ablations,
}  # fmt: skip


@dataclass(frozen=True)
class PhotoName:
    """A photo that is not here: its name is enough for what was measured of it."""

    name: str
    mask: bytes | None = None


@dataclass(kw_only=True)
class Recorded:
    """What a run writes, held back: tables by file, and figures that are yet to be drawn."""

    texts: dict[str, str] = field(default_factory=dict)
    figures: dict[str, tuple[list[Panel], Page]] = field(default_factory=dict)

    def write(self, name: str, text: str) -> None:
        """Hold back a table; other files say what was measured, which has not changed."""
        if name.endswith(".md"):
            self.texts[name] = text

    def draw(self, name: str, panels: Sequence[Panel], page: Page) -> None:
        """Hold back a figure."""
        if shown := [panel for panel in panels if panel.curves]:
            self.figures[name] = (shown, page)


@dataclass(kw_only=True)
class RecordedFaces(Recorded, FaceRun):
    """A run of the figures over what a folder holds."""

    def system(self, name: str, refine: int = 0) -> System | None:
        """Give none: nothing is sent."""
        return None

    def sweep(
        self, file: str, curves: Sequence[Curve], plan: Plan, channel: Channel | None = None, refine: int = 0
    ) -> list[Record]:
        """Take the records of these curves, in their order."""
        photos = {source.name for source in self.sources}
        held = [
            record for record in read_held(self.out / file, Record)
            if record.image in photos and record.snr_db in plan.snr_db and record.draw < plan.draws and record.seed == self.seed
            and record.design_snr_db in (None, plan.design_snr_db) and (plan.design_snr_db in (None, record.snr_db)
                                                                        or record.design_snr_db is not None)
        ]  # fmt: skip
        return [record for curve in curves for record in held
                if (record.system, record.symbols) == (curve.system, curve.symbols)
                and record.refine == (refine if record.system == "generative" else 0)]  # fmt: skip

    def distances(self, curves: Sequence[Curve]) -> dict[Curve, dict[float, Interval]]:
        """Take KID of each curve."""
        photos, path = name_set([source.name for source in self.sources]), self.out / "rivals-kid.jsonl"
        return as_curves(r for r in read_held(path, KidRecord) if r.image == photos and r.seed == self.seed)

    def codec_note(self) -> list[str]:
        """Take the note from the table that it stands under: only a codec can tell."""
        try:
            lines = (self.out / "fig3.md").read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.startswith("k = 64 carries")]


@dataclass(kw_only=True)
class RecordedAir(RecordedFaces, OnAirRun):
    """A run of what is on the air over what a folder holds."""

    def points(self, file: str, kind: type[Any], draws: Sequence[Draw], points: Sequence[Point], make: Any) -> list[Any]:
        """Take the records of these points, in their order."""
        held = {record.key: record for record in read_held(self.out / file, kind)}
        keys = [(draw.name, *point) for draw in draws for point in points]
        return [held[key] for key in keys if key in held]

    def sweep(
        self, file: str, curves: Sequence[Curve], plan: Plan, channel: Channel | None = None, refine: int = 0
    ) -> list[Record]:
        """Take the records of these curves over this channel."""
        name = "awgn" if channel is None else channel.name
        return [record for record in super().sweep(file, curves, plan, channel, refine) if record.channel == name]


@dataclass(kw_only=True)
class RecordedCodec(Recorded, CodecRun):
    """A run of the semantic codec's study over what a folder holds."""

    named_domain: str

    @property
    def domain(self) -> str:
        """The name of the domain."""
        return self.named_domain

    @property
    def in_use(self) -> tuple[str, ...]:
        """The codecs in use that were measured."""
        measured = {record.codec for record in read_held(self.out / "codecs.jsonl", CodecRecord)}
        return tuple(name for name in STANDARD if name in measured)

    @property
    def searches(self) -> bool:
        """Whether anything was searched for."""
        return (self.out / "oracle.jsonl").exists()

    def rate(self, file: str, names: Sequence[str], budgets: Sequence[int]) -> list[CodecRecord]:
        """Take the records of these codecs at these budgets, photo by photo."""
        held = read_held(self.out / file, CodecRecord)
        asked = {(name, most) for name in names for most in budgets}
        return [r for r in held if (r.codec, r.max_bytes) in asked or r.codec == Original.name]

    def make(self, file: str, kind: type[L], count: int, points: Sequence[Point], make: Make[L]) -> list[L]:
        """Take the records of the first photos at these points, in their order."""
        held = {record.key: record for record in read_held(self.out / file, kind)}
        keys = [(source.name, *point) for source in self.sources[:count] for point in points]
        return [held[key] for key in keys if key in held]

    def time(self) -> dict[str, list[float]]:
        """Take the times of the run that measured them."""
        return {what: [self._timed(f"{what}, ms")["value"] / 1000] for what in ("encode", "decode")}

    @property
    def threads(self) -> int:
        """How many threads that run had."""
        return int(str(self._timed("encode, ms")["note"]).split()[0])

    def _timed(self, what: str) -> dict[str, Any]:
        targets = json.loads((self.out / "targets.json").read_text(encoding="utf-8"))
        found: dict[str, Any] = next(target for target in targets if target["what"] == what)
        return found


@cache
def _read(path: Path, kind: type[Any], changed_ns: int) -> list[Any]:
    return read(path, kind)


def read_held(path: Path, kind: type[L]) -> list[L]:
    """Give the records of a file, read once for as long as it does not change; none where there is no file."""
    key: Any = kind
    return _read(path, key, path.stat().st_mtime_ns) if path.exists() else []


def redo(folder: Path) -> Recorded:
    """Do every study of a folder again that its ``run.json`` names, out of its records.

    Raises:
        Missing: there is no such file.
        Damaged: it describes something else than what lies beside it.
    """
    try:
        runs = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise Missing(f"{folder} has no run.json: no study was reproduced there") from None
    try:
        return _redo(folder, runs)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        raise Damaged(f"{folder / 'run.json'} describes no records that lie beside it ({reason_of(error)})") from error


def _redo(folder: Path, runs: Any) -> Recorded:
    everything = Recorded()
    for name, about in runs.items():
        size: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in about["size"].items()
        }
        run: RecordedFaces | RecordedCodec | RecordedAir
        shared: dict[str, Any] = {"sources": [PhotoName(photo) for photo in about["photos"]], "out": folder}
        networks: Any = None
        if name in MAKERS:
            run = RecordedFaces(size=Size(**size), metrics=Metrics({}, None, []), **shared)
            MAKERS[name](run)
            if name in ("fig3", "fig4", "fig5"):
                figures.write_claims(run)
        elif name == "on-air":
            air = AirSize(**size)
            run = RecordedAir(size=QUICK, air=air, metrics=Metrics({}, None, []), **shared)
            measure_on_air(run)
        else:
            run = RecordedCodec(size=CodecSize(**size), networks=networks, policy=networks, standard={}, judge=networks,
                                lpips=None, named_domain=_domain(about["command"]), **shared)  # fmt: skip
            codec.tabulate(run)
        everything.texts |= run.texts
        everything.figures |= run.figures
    return everything


def _domain(command: str) -> str:
    words = command.split()
    return words[words.index("--domain") + 1] if "--domain" in words else "street"


def report(results: Path | str, documents: Sequence[Path | str], *, check: bool = False) -> list[Path]:
    """Render every table and figure of a folder of results, and put them into the documents that show them.

    Args:
        results: the folder; it and each of its folders with a ``run.json`` is rendered.
        documents: Markdown, with markers whose paths begin in the folder that holds ``results``.
        check: write nothing.

    Returns:
        the tables and documents that were not current; figures are drawn anew (without ``check``) and not compared, because the
        same records give other bytes under another version of matplotlib.

    Raises:
        SemcastError: records or a run are missing, or a file cannot be written.
    """
    results, stale = Path(results), list[Path]()
    fresh: dict[Path, str] = {}
    for about in sorted(results.rglob("run.json")):
        done = redo(about.parent)
        fresh |= {about.parent / name: text for name, text in done.texts.items()}
        for name, (panels, page) in done.figures.items():
            if not check:
                plots.draw(panels, page, about.parent / name)
    for path, text in fresh.items():
        stale += _renew(path, text, check)
    for document in map(Path, documents):
        stale += _renew(document, fill(document, results.parent, fresh), check)
    return stale


def _renew(path: Path, text: str, check: bool) -> list[Path]:
    """Write a file that says something else; it, or nothing."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return []
    if not check:
        write_text(path, text)
    return [path]
