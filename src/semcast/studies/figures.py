"""The paper's figures 3, 4 and 5, fading, and transmitters that expect another SNR: drawn, and written as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from semcast.bench import plots
from semcast.bench.plots import Curve, Line, Page, Panel
from semcast.bench.records import HEADINGS, Record, mean, read
from semcast.bench.summary import Columns, power_notes, tone_thirds
from semcast.bench.sweep import Plan
from semcast.bench.tables import markdown
from semcast.channels import make_channel
from semcast.errors import SemcastError
from semcast.generative.variants import VARIANTS
from semcast.linear.system import load_sketch
from semcast.metrics.tone import THIRDS
from semcast.studies.bounds import opta_psnr_db, rgb_variances
from semcast.studies.claims import as_rows, claims, mean_at
from semcast.studies.faces import CODECS, LINKS, NOISELESS_DB, PILOTS, SHARED, TRAINED_DB, WIDE, FaceRun

CLIFFS = tuple(Curve(8192, f"avif:{scheme}") for scheme in ("qpsk-1/2", "16qam-1/2", "64qam-2/3"))
IDEALS = (
    Curve(64, "digital-twin"), Curve(640, "digital-twin"), Curve(640, "avif-capacity"), Curve(8192, "avif-capacity"),
)  # fmt: skip
REFERENCES = ("ceiling", "floor")
DESIGN_DB = HEADLINE_DB = 10.0


# ---- figures 3 and 4 -------------------------------------------------------------------------------------------------


def _over_awgn(run: FaceRun, curves: Sequence[Curve]) -> list[Record]:
    plan = Plan(snr_db=run.size.snr_db, symbols=(1,))
    return run.sweep(SHARED, curves, plan)


def _levels(run: FaceRun, metric: str) -> dict[str, float]:
    """Generator ceiling, noiseless bottlenecks (60 dB) and the mean-code floor: what a flat curve may be sitting on."""
    once = run.sweep(SHARED, [Curve(64, name) for name in REFERENCES], Plan((10.0,), (1,)))
    noiseless = run.sweep(SHARED, [Curve(k, "generative") for k in (64, 640)], Plan((NOISELESS_DB,), (1,)))
    lines = {f"generator {name}" if name == "ceiling" else "mean-code floor": mean_at(once, name, metric) for name in REFERENCES}
    for k in (640, 64):
        lines[f"noiseless, k = {k}"] = mean_at([r for r in noiseless if r.symbols == k], "generative", metric)
    return {name: level for name, level in lines.items() if level is not None}


def _fig3_4(run: FaceRun) -> list[Record]:
    return _over_awgn(run, (*LINKS, *WIDE, *CODECS, *CLIFFS[: run.size.cliffs], *IDEALS))


def fig3(run: FaceRun) -> None:
    """PSNR against SNR, with the Gaussian model's bound."""
    records = _fig3_4(run)
    panel = Panel("AWGN", "psnr_db", plots.against_snr(records, "psnr_db"), _opta(run), _levels(run, "psnr_db"))
    _snr_figure(run, "fig3", "PSNR against SNR", panel, records)


def fig4(run: FaceRun) -> None:
    """LPIPS against SNR, out of the same records."""
    records = _fig3_4(run)
    panel = Panel("AWGN", "lpips_squeeze", plots.against_snr(records, "lpips_squeeze"), (), _levels(run, "lpips_squeeze"))
    _snr_figure(run, "fig4", "LPIPS against SNR", panel, records)
    run.write("headline.md", headline(records) + "\n")
    if told := looks(records):
        run.write("looks.md", told + "\n")


def headline(records: Sequence[Record]) -> str:
    """A table of one SNR, for the first page: a row each system, in the order of :data:`LINKS` and then of the codecs.

    Identity is by the second recogniser where there is one: the first may have been a loss of some.
    """
    at = {curve: [r for r in records if (Curve(r.symbols, r.system), r.snr_db) == (curve, HEADLINE_DB)]
          for curve in (*LINKS, *CODECS)}  # fmt: skip
    names = dict.fromkeys(curve.system for curve, held in at.items() if held)
    identity = "identity_2" if any(r.identity_2 is not None for held in at.values() for r in held) else "identity"
    columns = [(metric, k) for metric in ("lpips_squeeze", identity, "psnr_db") for k in (64, 640)]
    rows = [["system", *(f"{HEADINGS[metric]}, k = {k}" for metric, k in columns)]]
    for name in names:
        held = [at.get(Curve(k, name), []) for _, k in columns]
        digits = [2 if metric == "psnr_db" else 3 for metric, _ in columns]
        rows.append([f"`{name}`", *(mean([getattr(r, metric) for r in few], places)
                                    for (metric, _), few, places in zip(columns, held, digits, strict=True))])  # fmt: skip
    photos = len({record.image for held in at.values() for record in held})
    table = f"AWGN at {HEADLINE_DB:g} dB, means over {photos} test photos:\n\n{markdown(rows)}"
    return "\n\n".join([table, *power_notes([record for held in at.values() for record in held])])


def looks(records: Sequence[Record]) -> str:
    """Texture and skin tone of what is shown at one SNR, as tables; nothing of records of before these were measured."""
    at = {curve: [r for r in records if (Curve(r.symbols, r.system), r.snr_db) == (curve, HEADLINE_DB) and r.directions]
          for curve in LINKS}  # fmt: skip
    held = {curve: members for curve, members in at.items() if members}
    if not held:
        return ""
    columns = replace(Columns.of([record for members in held.values() for record in members]), metrics=())
    texture = [["system", "k", *columns.headings, "photos"]]
    tone = [["system", "k", "measure", *THIRDS, "worst / best"]]
    for curve, members in held.items():
        name, k = f"`{curve.system}`", str(curve.symbols)
        texture.append([name, k, *columns.cells(members), str(len({record.image for record in members}))])
        tone += [[name, k, *row] for row in tone_thirds(members)]
    heading = f"AWGN at {HEADLINE_DB:g} dB: power on the lines of period 8, 4 and 2 px and directional excess, over the photos'; "
    heading += "skin tone's error"
    by_tone = "By thirds of the photos' own skin tone, so that it shows whom a system serves worse:"
    return "\n\n".join([f"{heading}:", markdown(texture), *([by_tone, markdown(tone)] if len(tone) > 1 else [])])


def _snr_figure(run: FaceRun, name: str, heading: str, panel: Panel, records: Sequence[Record]) -> None:
    notes = [*power_notes(records), *codec_notes(records), *run.codec_note()]
    if any(name.startswith("noiseless") for name in panel.levels):
        notes.append(f"Noiseless: generative at {NOISELESS_DB:g} dB, which it was not trained for.")
    if panel.lines:
        notes.append("OPTA bounds the error of the Gaussian model at 64 x 64, not the PSNR of real faces.")
    run.draw(name, [panel], Page(heading, notes, TRAINED_DB))
    run.write(f"{name}.md", "\n\n".join([curve_table(panel), *notes]) + "\n")


def _opta(run: FaceRun) -> list[Line]:
    try:
        sketch = load_sketch("plain")
    except SemcastError as error:
        run.once(f"OPTA is left out: {error}")
        return []
    variances, side = rgb_variances(sketch), sketch.config.side
    styles: dict[int, str] = {64: ":", 640: "--"}
    return [
        Line(f"OPTA, k = {k}", {snr: opta_psnr_db(variances, side, k, snr) for snr in run.size.snr_db}, style=style)
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


def fig5(run: FaceRun) -> None:
    """PSNR against k / n at 10 dB: the shipped link, and the closed-form code with and without a flow."""
    records = _flow_records(run)
    panels = [
        Panel(f"AWGN, {10:g} dB", metric, plots.against_k(records, metric), (), _ceiling_only(run, metric))
        for metric in ("psnr_db", "lpips_squeeze")
    ]
    notes = ["generative: the whole link as it ships; code-*: closed-form analog code of the same encoder's codes, nothing else "
             "learned, in the flow's coordinates, whitened, standardised, or their principal components."]  # fmt: skip
    run.draw("fig5", panels, Page("With and without the flow", notes))
    run.write("fig5.md", "\n\n".join([*(curve_table(panel) for panel in panels if panel.curves), *notes]) + "\n")


def _flow_records(run: FaceRun) -> list[Record]:
    curves = [Curve(k, name) for name in ("generative", *VARIANTS) for k in run.size.flow_symbols]
    return run.sweep("fig5.jsonl", curves, Plan((10.0,), (1,)))


def _ceiling_only(run: FaceRun, metric: str) -> dict[str, float]:
    return {name: level for name, level in _levels(run, metric).items() if name == "generator ceiling"}


# ---- fading ----------------------------------------------------------------------------------------------------------


def fading(run: FaceRun) -> None:
    """The curves of figures 3 and 4 over block Rayleigh fading, the gain estimated from pilots, and the outage."""
    plan = Plan(run.size.fading_snr_db, (1,), draws=run.size.draws)
    few = run.first(run.size.fading_photos)
    channel = make_channel("rayleigh", pilots=PILOTS)
    records = few.sweep("fading.jsonl", (*LINKS, *WIDE, *CODECS), plan, channel)
    panels = [
        Panel(f"block Rayleigh, {PILOTS} pilots", metric, plots.against_snr(records, metric))
        for metric in ("psnr_db", "lpips_squeeze", "outage")
    ]
    told = any(record.identity is not None or record.identity_2 is not None for record in records)
    notes = [
        f"Here k in the legend is data alone; {PILOTS} pilots come on top, for every system alike. "
        f"One gain a burst, {plan.draws} draws a photo; SNR is the average one.",
        "Outage: the second recogniser, which no training saw, does not take it for the same person, or the receiver itself does "
        "not trust it." if told else "Outage: the receiver does not trust it (identity was not measured).",
        *power_notes(records),
    ]  # fmt: skip
    run.draw("fading", panels, Page("Block Rayleigh fading", notes, TRAINED_DB))
    run.write("fading.md", "\n\n".join([*(curve_table(panel) for panel in panels if panel.curves), *notes]) + "\n")


# ---- another SNR than the transmitter expects ----------------------------------------------------------------------------


def mismatch(run: FaceRun) -> None:
    """PSNR and LPIPS against the channel's SNR, where every transmitter expects the same one: who degrades gracefully."""
    plan = Plan(run.size.fading_snr_db, (1,), design_snr_db=DESIGN_DB)
    records = run.first(run.size.fading_photos).sweep("mismatch.jsonl", (*LINKS, *CODECS), plan)
    panels = [Panel("AWGN", metric, plots.against_snr(records, metric)) for metric in ("psnr_db", "lpips_squeeze")]
    notes = [f"Every transmitter expects {DESIGN_DB:g} dB, whatever the channel does; receivers know what arrived."]
    notes += power_notes(records)
    run.draw("mismatch", panels, Page(f"Built for {DESIGN_DB:g} dB", notes, TRAINED_DB))
    run.write("mismatch.md", "\n\n".join([*(curve_table(panel) for panel in panels if panel.curves), *notes]) + "\n")


# ---- claims -----------------------------------------------------------------------------------------------------------


def write_claims(run: FaceRun) -> None:
    """``claims.md`` and ``claims.json`` out of what the folder holds of this run's photos."""
    names = {source.name for source in run.sources}

    def of(file: str) -> list[Record]:
        path = run.out / file
        found = read(path) if path.exists() else []
        return [r for r in found if r.image in names and r.seed == run.seed and r.snr_db < NOISELESS_DB]

    found = claims(of(SHARED), of("fig5.jsonl"))
    run.write("claims.json", json.dumps([asdict(claim) for claim in found], indent=1) + "\n")
    run.write("claims.md", markdown(as_rows(found)) + "\n")
