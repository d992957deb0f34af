"""``semcast reproduce``: the paper's figures, fading and the rivals - measured as sweeps, drawn and written as tables.

A folder gets one JSONL for each study (figures 3 and 4 and the rivals share one, measured once), PNG and SVG, Markdown tables
with confidence intervals, the claims, and ``run.json``: what made it. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from semcast.api import load_system
from semcast.bench import plots
from semcast.bench.plots import Curve, Line, Page, Panel
from semcast.bench.records import Record, read
from semcast.bench.statistics import VERIFIED, Interval
from semcast.bench.sweep import Plan, Sweep, fingerprint
from semcast.bench.tables import markdown
from semcast.channels import make_channel
from semcast.errors import SemcastError
from semcast.generative.system import Generative
from semcast.generative.variants import VARIANTS, EndToEnd, load_paper_link, variant
from semcast.linear.system import load_sketch
from semcast.link import Budget, Channel, System, cross, generator_for
from semcast.metrics.identity import Identity
from semcast.metrics.kid import EMBEDDER, features, kid_interval
from semcast.metrics.perceptual import find_weights
from semcast.metrics.report import Metrics
from semcast.networks.segmenter import FaceParser
from semcast.photos import to_tensor
from semcast.sources import Source
from semcast.studies.bounds import AtCapacity, Ceiling, DigitalTwin, Floor, capacity_bits, opta_psnr_db, rgb_variances
from semcast.studies.claims import NAMES, as_rows, claims, compare, mean_at, outcome, verdict
from semcast.weights import available

STUDIES = ("fig3", "fig4", "fig5", "fading", "rivals", "ablations")
SHARED = "fig3-4.jsonl"
TRAINED_DB = (-2.0, 20.0)
PILOTS = 8
NOISELESS_DB = 60.0

# Which systems are drawn at which k; one that works with a single k stands under its own alone.
LINKS = tuple(Curve(k, name) for k in (64, 640) for name in ("generative", "linear-gan", "linear", "deepjscc"))
WIDE = (Curve(8192, "deepjscc"), Curve(8192, "deepjscc-perceptual"))
CODECS = (Curve(640, "avif"), Curve(8192, "avif"))
CLIFFS = tuple(Curve(8192, f"avif:{scheme}") for scheme in ("qpsk-1/2", "16qam-1/2", "64qam-2/3"))
IDEALS = (
    Curve(64, "digital-twin"), Curve(640, "digital-twin"), Curve(640, "avif-capacity"), Curve(8192, "avif-capacity"),
)  # fmt: skip
REFERENCES = ("ceiling", "floor")
RIVALS = (("generative", "deepjscc"), ("linear-gan", "deepjscc"), ("generative", "linear"), ("linear-gan", "linear"),
          ("linear-gan", "generative"))  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        photos: at most, unless the user says another number.
        snr_db: of figures 3 and 4 and of the rivals.
        cliffs: fixed schemes of the codec drawn.
        flow_symbols: k of figure 5.
        fading_snr_db, fading_photos, draws: of the fading study.
        kid_snr_db: where KID is measured.
        slow_photos: for what takes seconds a photo (refinement), and ``paper_photos`` for half a minute a photo.
    """

    photos: int
    snr_db: tuple[float, ...]
    cliffs: int
    flow_symbols: tuple[int, ...]
    fading_snr_db: tuple[float, ...]
    fading_photos: int
    draws: int
    kid_snr_db: tuple[float, ...]
    slow_photos: int
    paper_photos: int


FULL = Size(
    photos=100, snr_db=(-5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0), cliffs=3,
    flow_symbols=(32, 64, 128, 256, 640, 1280), fading_snr_db=(-5.0, 0.0, 5.0, 10.0, 15.0, 20.0), fading_photos=8, draws=5,
    kid_snr_db=(-5.0, 0.0, 5.0, 10.0, 20.0), slow_photos=20, paper_photos=5,
)  # fmt: skip
QUICK = Size(
    photos=6, snr_db=(-5.0, 0.0, 5.0, 10.0, 20.0), cliffs=2, flow_symbols=(64, 256, 640),
    fading_snr_db=(0.0, 10.0, 20.0), fading_photos=4, draws=2, kid_snr_db=(0.0, 10.0), slow_photos=3, paper_photos=1,
)  # fmt: skip

Track = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def _untracked(what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda count: None)


@dataclass
class Bench:
    """Photos, tools and the folder of one run; systems are loaded once, and a missing one is said once.

    Args:
        sources: photos, cropped already.
        out: the folder.
        size: how much is measured.
        metrics: what of.
        say: hears one line at a time.
        track: a progress bar for (what, how many): tells how many more are done.
        force: start each JSONL afresh.
        seed: of every draw.
        command: what the user typed, for ``run.json``.
    """

    sources: Sequence[Source]
    out: Path
    size: Size
    metrics: Metrics
    say: Callable[[str], None] = lambda text: None
    track: Track = _untracked
    force: bool = False
    seed: int = 0
    command: str = ""
    written: list[Path] = field(default_factory=list)
    _systems: dict[tuple[str, int], System | None] = field(default_factory=dict)
    _begun: set[Path] = field(default_factory=set)
    _said: set[str] = field(default_factory=set)

    def once(self, text: str) -> None:
        """Say it, but never twice."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def system(self, name: str, refine: int = 0) -> System | None:
        """A system, bound or variant by name; None, and a line, where it is not available here."""
        key = (name, refine)
        if key not in self._systems:
            try:
                self._systems[key] = self._load(name, refine).eval()
            except SemcastError as error:
                self.once(f"{name} is left out: {error}")
                self._systems[key] = None
        return self._systems[key]

    def _load(self, name: str, refine: int) -> System:
        kinds = {"ceiling": Ceiling, "floor": Floor, "digital-twin": DigitalTwin, "end-to-end": EndToEnd.load}
        if name in kinds or name in VARIANTS:
            link = self.system("generative")
            if not isinstance(link, Generative):
                raise SemcastError("it needs the generative link")
            return kinds[name](link) if name in kinds else variant(name, link)
        if name.endswith("-capacity"):
            return AtCapacity(name.removesuffix("-capacity"))
        if name == "generative-paper":
            return load_paper_link()
        return load_system(name, refine=refine) if refine else load_system(name)

    def sweep(self, file: str, curves: Sequence[Curve], plan: Plan, channel: Channel) -> list[Record]:
        """Every curve with the plan (its ``symbols`` are the curve's), out of the file or measured into it."""
        records: list[Record] = []
        for curve in curves:
            system = self.system(curve.system, plan.refine)
            if system is None:
                continue
            asked = replace(plan, symbols=(curve.symbols,), aligned=True, seed=self.seed)
            try:
                sweep = Sweep(asked, [system], [channel], self.metrics, FaceParser.load)
            except SemcastError as error:
                self.once(f"{curve.system} is left out at k = {curve.symbols}: {error}")
                continue
            path = self.out / file
            what = f"{path.stem}: {curve.system}, k = {asked.symbols[0]}"
            with self.track(what, len(self.sources) * len(sweep.points)) as progress:
                found = sweep.run(self.sources, path, force=self.force and path not in self._begun, progress=progress)
            self._begun.add(path)
            for reason in found.refused:
                self.once(f"skipped: {reason}")
            records += found.records
        return records

    def first(self, count: int) -> Bench:
        """The same bench with at most ``count`` photos; what it has loaded and written is shared."""
        return replace(self, sources=self.sources[:count])

    def write(self, name: str, text: str) -> None:
        """A text file in the folder, whole or not at all."""
        write_text(self.out / name, text)
        self.written.append(self.out / name)

    def draw(self, name: str, panels: Sequence[Panel], page: Page) -> None:
        """A figure, without the panels of which nothing was measured."""
        shown = [panel for panel in panels if panel.curves]
        if not shown:
            self.say(f"{name} is not drawn: nothing of it was measured")
            return
        self.written += plots.draw(shown, page, self.out / name)


def reproduce(study: str, bench: Bench) -> list[Path]:
    """Measure, draw and write a study of :data:`STUDIES`, or ``all``; returns what was written.

    Raises:
        SemcastError: the study is unknown, the folder cannot be made, its results are of other weights, or no photo works.
    """
    if study not in (*STUDIES, "all"):
        raise SemcastError(f"unknown study {study!r}; known: {', '.join(STUDIES)}, all")
    ready_folder(bench.out, study)
    chosen = STUDIES if study == "all" else (study,)
    makers = {"fig3": fig3, "fig4": fig4, "fig5": fig5, "fading": fading, "rivals": rivals, "ablations": ablations}
    for name in chosen:
        makers[name](bench)
    if study in ("fig3", "fig4", "fig5", "all"):
        write_claims(bench)
    bench.write("run.json", about_run(bench.out / "run.json", chosen, bench.command, bench.size, bench.sources))
    return bench.written


# ---- figures 3 and 4 -------------------------------------------------------------------------------------------------


def _over_awgn(bench: Bench, curves: Sequence[Curve]) -> list[Record]:
    plan = Plan(snr_db=bench.size.snr_db, symbols=(1,))
    return bench.sweep(SHARED, curves, plan, make_channel("awgn"))


def _levels(bench: Bench, metric: str) -> dict[str, float]:
    """Generator ceiling, noiseless bottlenecks (60 dB) and the mean-code floor: what a flat curve may be sitting on."""
    awgn = make_channel("awgn")
    once = bench.sweep(SHARED, [Curve(64, name) for name in REFERENCES], Plan((10.0,), (1,)), awgn)
    noiseless = bench.sweep(SHARED, [Curve(k, "generative") for k in (64, 640)], Plan((NOISELESS_DB,), (1,)), awgn)
    lines = {f"generator {name}" if name == "ceiling" else "mean-code floor": mean_at(once, name, metric) for name in REFERENCES}
    for k in (640, 64):
        lines[f"noiseless, k = {k}"] = mean_at([r for r in noiseless if r.symbols == k], "generative", metric)
    return {name: level for name, level in lines.items() if level is not None}


def _fig3_4(bench: Bench) -> list[Record]:
    return _over_awgn(bench, (*LINKS, *WIDE, *CODECS, *CLIFFS[: bench.size.cliffs], *IDEALS))


def fig3(bench: Bench) -> None:
    """PSNR against SNR, with the Gaussian model's bound."""
    records = _fig3_4(bench)
    panel = Panel("AWGN", "psnr_db", plots.against_snr(records, "psnr_db"), _opta(bench), _levels(bench, "psnr_db"))
    _snr_figure(bench, "fig3", "PSNR against SNR", panel, records)


def fig4(bench: Bench) -> None:
    """LPIPS against SNR, out of the same records."""
    records = _fig3_4(bench)
    panel = Panel("AWGN", "lpips_squeeze", plots.against_snr(records, "lpips_squeeze"), (), _levels(bench, "lpips_squeeze"))
    _snr_figure(bench, "fig4", "LPIPS against SNR", panel, records)


def _snr_figure(bench: Bench, name: str, heading: str, panel: Panel, records: Sequence[Record]) -> None:
    notes = codec_notes(records) + _smallest_codec(bench)
    if any(name.startswith("noiseless") for name in panel.levels):
        notes.append(f"Noiseless: generative at {NOISELESS_DB:g} dB, which it was not trained for.")
    if panel.lines:
        notes.append("OPTA bounds the error of the Gaussian model at 64 x 64, not the PSNR of real faces.")
    bench.draw(name, [panel], Page(heading, notes, TRAINED_DB))
    bench.write(f"{name}.md", "\n\n".join([curve_table(panel), *notes]) + "\n")


def _opta(bench: Bench) -> list[Line]:
    try:
        sketch = load_sketch("plain")
    except SemcastError as error:
        bench.once(f"OPTA is left out: {error}")
        return []
    variances, side = rgb_variances(sketch), sketch.config.side
    styles: dict[int, str] = {64: ":", 640: "--"}
    return [
        Line(f"OPTA, k = {k}", {snr: opta_psnr_db(variances, side, k, snr) for snr in bench.size.snr_db}, style=style)
        for k, style in styles.items()
    ]


def codec_notes(records: Sequence[Record]) -> list[str]:
    """Where an adaptive codec shows nothing but its mean image: said, because its curve is drawn all the same."""
    notes = []
    for curve in sorted({Curve(r.symbols, r.system) for r in records if r.system in ("avif", "avif-capacity")}):
        mine = [r for r in records if (r.system, r.symbols) == (curve.system, curve.symbols)]
        failed = [snr for snr in sorted({r.snr_db for r in mine}) if not any(r.ok for r in mine if r.snr_db == snr)]
        if failed:
            points = ", ".join(f"{snr:g}" for snr in failed)
            where = f"{curve.system} at k = {curve.symbols}"
            notes.append(f"{where} delivers no photo at {points} dB (the mean face is shown).")
    return notes


def _smallest_codec(bench: Bench) -> list[str]:
    """What a codec makes of k = 64, tried on the first photo at the best SNR."""
    codec = bench.system("avif")
    if codec is None:
        return []
    low, high = (capacity_bits(64, snr) / 8 for snr in (min(bench.size.snr_db), max(bench.size.snr_db)))
    room = f"k = 64 carries {low:.0f} to {high:.0f} bytes at capacity"
    try:
        image = to_tensor(bench.sources[0].face(None)[0])
        budget = Budget(64, max(bench.size.snr_db))
        crossing = cross(codec, make_channel("awgn"), image, budget, generator_for(bench.seed, bench.sources[0].name))
        fits = bool(crossing.reception.ok.all())
    except SemcastError:
        fits = False
    says = "AVIF fits at the best SNR at most, so it has no curve." if fits else "no picture of AVIF fits, so it has no curve."
    return [f"{room}: {says}"]


def curve_table(panel: Panel) -> str:
    """Curves by rows, the axis by columns, ``mean [low, high]`` in the cells."""
    places = sorted({x for points in panel.curves.values() for x in points})
    digits = 2 if panel.metric == "psnr_db" else 3
    rows = [["k", "system", *(f"{x:g}" for x in places)]]
    for curve, points in sorted(panel.curves.items()):
        cells = [points[x].text(digits) if x in points else "-" for x in places]
        rows.append([str(curve.symbols or "-"), curve.system, *cells])
    axis = "SNR in dB" if any(curve.symbols for curve in panel.curves) else "k"
    levels = "".join(f"\n- {name}: {level:.{digits}f}" for name, level in panel.levels.items())
    title = f"{plots.AXES[panel.metric]}; columns: {axis}; mean [95 % interval over photos]"
    return f"{title}\n\n{markdown(rows)}" + (f"\n{levels}" if levels else "")


# ---- figure 5 --------------------------------------------------------------------------------------------------------


def fig5(bench: Bench) -> None:
    """PSNR against k / n at 10 dB: the shipped link, and the closed-form code with and without a flow."""
    records = _flow_records(bench)
    panels = [
        Panel(f"AWGN, {10:g} dB", metric, plots.against_k(records, metric), (), _ceiling_only(bench, metric))
        for metric in ("psnr_db", "lpips_squeeze")
    ]
    notes = ["generative: the whole link as it ships; code-*: closed-form analog code of the same encoder's codes, nothing else "
             "learned, in the flow's coordinates, whitened, standardised, or their principal components."]  # fmt: skip
    bench.draw("fig5", panels, Page("With and without the flow", notes))
    bench.write("fig5.md", "\n\n".join([*(curve_table(panel) for panel in panels if panel.curves), *notes]) + "\n")


def _flow_records(bench: Bench) -> list[Record]:
    curves = [Curve(k, name) for name in ("generative", *VARIANTS) for k in bench.size.flow_symbols]
    return bench.sweep("fig5.jsonl", curves, Plan((10.0,), (1,)), make_channel("awgn"))


def _ceiling_only(bench: Bench, metric: str) -> dict[str, float]:
    return {name: level for name, level in _levels(bench, metric).items() if name == "generator ceiling"}


# ---- fading ----------------------------------------------------------------------------------------------------------


def fading(bench: Bench) -> None:
    """The curves of figures 3 and 4 over block Rayleigh fading, the gain estimated from pilots, and the outage."""
    plan = Plan(bench.size.fading_snr_db, (1,), draws=bench.size.draws, pilots=PILOTS)
    few = bench.first(bench.size.fading_photos)
    channel = make_channel("rayleigh", pilots=PILOTS)
    records = few.sweep("fading.jsonl", (*LINKS, *WIDE, *CODECS), plan, channel)
    panels = [
        Panel(f"block Rayleigh, {PILOTS} pilots", metric, plots.against_snr(records, metric))
        for metric in ("psnr_db", "lpips_squeeze", "outage")
    ]
    told = any(record.identity is not None for record in records)
    notes = [
        f"Here k in the legend is data alone; {PILOTS} pilots come on top, for every system alike. "
        f"One gain a burst, {plan.draws} draws a photo; SNR is the average one.",
        f"Outage: identity below {VERIFIED:.2f}, or the receiver itself does not trust it."
        if told else "Outage: the receiver does not trust it (identity was not measured).",
    ]  # fmt: skip
    bench.draw("fading", panels, Page("Block Rayleigh fading", notes, TRAINED_DB))
    bench.write("fading.md", "\n\n".join([*(curve_table(panel) for panel in panels if panel.curves), *notes]) + "\n")


# ---- rivals ----------------------------------------------------------------------------------------------------------


def rivals(bench: Bench) -> None:
    """Equal bandwidth: LPIPS, identity by both embedders and KID of the four links at k = 640 and 64."""
    records = _over_awgn(bench, LINKS)
    distances = _distances(bench)
    panels = []
    for metric in ("lpips_squeeze", "identity", "identity_2", "kid"):
        curves: Mapping[Curve, Mapping[float, Interval]]
        curves = distances if metric == "kid" else plots.against_snr(records, metric)
        for k in (640, 64):
            mine = {curve: points for curve, points in curves.items() if curve.symbols == k}
            panels.append(Panel(f"k = {k} (k / n = {plots.ratio(k)})", metric, mine))
    notes = [
        "KID: unbiased MMD² with a cubic kernel on the embeddings of a network that none of the systems was trained with; not "
        "comparable with published FID or KID; its bands are random halves of the photos."
    ]
    bench.draw("rivals", panels, Page("Rivals at equal bandwidth", notes, TRAINED_DB))
    tables = [curve_table(panel) for panel in panels if panel.curves]
    bench.write("rivals.md", "\n\n".join(["Better at every SNR?", markdown(better_rows(records)), *tables, *notes]) + "\n")


def better_rows(records: Sequence[Record]) -> list[list[str]]:
    """A row for each pair, k and metric: is the first better at every SNR, and by how much on the worst and the best one."""
    rows = [["k", "better?", "metric", "at every SNR", "least advantage", "greatest advantage", "won", "lost", "open"]]
    for k in (640, 64):
        for first, second in RIVALS:
            for metric in ("lpips_squeeze", "identity", "identity_2"):
                found = compare(records, Curve(k, first), Curve(k, second), metric)
                if found:
                    rows.append([str(k), f"{first} than {second}", NAMES[metric], *_standing(found, metric)])
    return rows


def _standing(found: Mapping[float, Interval], metric: str) -> list[str]:
    sign = -1 if metric == "lpips_squeeze" else 1
    by_gain = sorted(found, key=lambda snr: sign * found[snr].mean)
    ends = [f"{found[snr].text(3)} at {snr:g} dB" for snr in (by_gain[0], by_gain[-1])]
    outcomes = [outcome(difference, metric) for difference in found.values()]
    answer = "yes" if verdict(found, metric) == "holds" else "no"
    return [answer, *ends, *(str(outcomes.count(name)) for name in ("won", "lost", "open"))]


def _distances(bench: Bench) -> dict[Curve, dict[float, Interval]]:
    """KID of each curve at each of its SNRs; what ``rivals-kid.json`` holds already is not measured again."""
    path = find_weights(EMBEDDER)
    if path is None or len(bench.sources) < 4:
        missing = "it needs at least 4 photos" if path else f"there is no {EMBEDDER} in $SEMCAST_SHARED/weights"
        bench.say(f"KID is left out: {missing}")
        return {}
    store = bench.out / "rivals-kid.json"
    known = _known(store) if store.exists() and not bench.force else {}
    embedder = Identity(path)
    images = [to_tensor(source.face(None)[0]) for source in bench.sources]
    photos = hashlib.sha256("\n".join(source.name for source in bench.sources).encode()).hexdigest()[:12]
    originals: torch.Tensor | None = None
    curves: dict[Curve, dict[float, Interval]] = {}
    with bench.track("rivals: KID", len(LINKS) * len(bench.size.kid_snr_db)) as progress:
        for curve in LINKS:
            system = bench.system(curve.system)
            for snr in bench.size.kid_snr_db if system is not None else ():
                assert system is not None
                key = f"{curve.system} {curve.symbols} {snr:g} {fingerprint(system)} {photos} {bench.seed}"
                if key not in known:
                    originals = features(embedder, images) if originals is None else originals
                    received = [_received(bench, system, i, image, Budget(curve.symbols, snr)) for i, image in enumerate(images)]
                    known[key] = list(kid_interval(originals, features(embedder, received)))
                    bench.write(store.name, json.dumps(known, indent=1) + "\n")
                curves.setdefault(curve, {})[snr] = Interval(known[key][0], known[key][1], known[key][2], len(images))
                progress(1)
    return curves


def _received(bench: Bench, system: System, i: int, image: torch.Tensor, budget: Budget) -> torch.Tensor:
    return cross(system, make_channel("awgn"), image, budget, generator_for(bench.seed, bench.sources[i].name)).reception.image


def _known(path: Path) -> dict[str, list[float]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): [float(x) for x in values] for key, values in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        raise SemcastError(f"{path} is not what rivals wrote (-f starts it afresh)") from None


# ---- ablations -------------------------------------------------------------------------------------------------------


def ablations(bench: Bench) -> None:
    """Refinement through the channel, the paper's own inversion, and an end-to-end encoder, on few photos, 10 dB."""
    awgn, plan, size = make_channel("awgn"), Plan((10.0,), (1,)), bench.size
    few, fewer = bench.first(size.slow_photos), bench.first(size.paper_photos)
    curves = [Curve(k, name) for name in ("generative", "end-to-end") for k in (64, 640)]
    records = few.sweep("ablations.jsonl", curves, plan, awgn)
    records += few.sweep("ablations.jsonl", [Curve(640, "generative")], replace(plan, refine=50), awgn)
    records += fewer.sweep("ablations.jsonl", [Curve(640, "generative-paper")], plan, awgn)
    named = [replace(r, system=f"{r.system}, refine {r.refine}") if r.refine else r for r in records]
    panels = [Panel("AWGN, 10 dB", metric, plots.against_k(named, metric)) for metric in ("psnr_db", "lpips_squeeze", "identity")]
    notes = [
        f"Photos: {len(few.sources)}, generative-paper (mean start, MSE alone, 400 steps) {len(fewer.sources)}, the first ones.",
        "The flow, whitening, standardising and PCA: fig5.md.",
    ]
    tables = [curve_table(panel) for panel in panels if panel.curves]
    bench.write("ablations.md", "\n\n".join([*tables, _against_plain(named), *notes]) + "\n")


def _against_plain(records: Sequence[Record]) -> str:
    """Each variant less the plain link, photo by photo: the variants have fewer photos."""
    rows = [["k", "variant", *(f"{NAMES[m]} less that of generative" for m in ("psnr_db", "lpips_squeeze", "identity"))]]
    for k, system in sorted({(r.symbols, r.system) for r in records if r.system != "generative"}):
        cells = []
        for metric in ("psnr_db", "lpips_squeeze", "identity"):
            found = compare(records, Curve(k, system), Curve(k, "generative"), metric)
            cells.append("; ".join(f"{each.text(3)}" for each in found.values()) or "-")
        rows.append([str(k), system, *cells])
    return markdown(rows)


# ---- claims and what made it -----------------------------------------------------------------------------------------


def write_claims(bench: Bench) -> None:
    """``claims.md`` and ``claims.json`` out of what the folder holds of this run's photos."""
    names = {source.name for source in bench.sources}

    def of(file: str) -> list[Record]:
        path = bench.out / file
        found = read(path) if path.exists() else []
        return [r for r in found if r.image in names and r.seed == bench.seed and r.snr_db < NOISELESS_DB]

    found = claims(of(SHARED), of("fig5.jsonl"))
    bench.write("claims.json", json.dumps([asdict(claim) for claim in found], indent=1) + "\n")
    bench.write("claims.md", markdown(as_rows(found)) + "\n")


def ready_folder(out: Path, study: str) -> None:
    """Make the folder of a study where there is none.

    Raises:
        SemcastError: it is a file, or cannot be made or written.
    """
    if out.suffix in (".json", ".jsonl") or out.is_file():
        raise SemcastError(f"{study} writes several files: name a folder, not {out}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SemcastError(f"{out} cannot be made ({error.strerror})") from None
    if not os.access(out, os.W_OK):
        raise SemcastError(f"{out} cannot be written: no permission")


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all.

    Raises:
        SemcastError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise SemcastError(f"{path} cannot be written ({error.strerror})") from None


def about_run(path: Path, studies: Sequence[str], command: str, size: Any, sources: Sequence[Source]) -> str:
    """``run.json``: for each study the command, the versions, the fingerprint of each weights file, and the photos.

    Args:
        path: the file as it is, whose other studies are kept.
        size: a dataclass that says how much was measured.
    """
    try:
        runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError):
        runs = {}
    about = {
        "command": command,
        "versions": {name: _version(name) for name in ("semcast", "torch", "numpy", "matplotlib")}
        | {"python": platform.python_version()},
        "weights": {path.stem: _stored_fingerprint(path) for path in available()},
        "size": asdict(size),
        "photos": [source.name for source in sources],
    }
    return json.dumps((runs if isinstance(runs, dict) else {}) | {study: about for study in studies}, indent=1) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _stored_fingerprint(path: Path) -> str:
    with safe_open(path, framework="np") as file:
        return (file.metadata() or {}).get("sha256", "")[:12]
