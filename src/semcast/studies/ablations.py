"""One thing changed at a time: refinement through the channel, the paper's own inversion, an encoder trained end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from semcast.bench import plots
from semcast.bench.plots import Curve, Panel
from semcast.bench.records import Record
from semcast.bench.sweep import Plan
from semcast.bench.tables import markdown
from semcast.studies.claims import NAMES, compare
from semcast.studies.faces import FaceRun
from semcast.studies.figures import curve_table


def ablations(run: FaceRun) -> None:
    """Refinement through the channel, the paper's own inversion, and an end-to-end encoder, on few photos, 10 dB."""
    plan, size = Plan((10.0,), (1,)), run.size
    few, fewer = run.first(size.slow_photos), run.first(size.paper_photos)
    curves = [Curve(k, name) for name in ("generative", "end-to-end") for k in (64, 640)]
    records = few.sweep("ablations.jsonl", curves, plan)
    records += few.sweep("ablations.jsonl", [Curve(640, "generative")], plan, refine=50)
    records += fewer.sweep("ablations.jsonl", [Curve(640, "generative-paper")], plan)
    named = [replace(r, system=f"{r.system}, refine {r.refine}") if r.refine else r for r in records]
    panels = [Panel("AWGN, 10 dB", metric, plots.against_k(named, metric)) for metric in ("psnr_db", "lpips_squeeze", "identity")]
    notes = [
        f"Photos: {len(few.sources)}, generative-paper (mean start, MSE alone, 400 steps) {len(fewer.sources)}, the first ones.",
        "The flow, whitening, standardising and PCA: fig5.md.",
    ]
    tables = [curve_table(panel) for panel in panels if panel.curves]
    run.write("ablations.md", "\n\n".join([*tables, _against_plain(named), *notes]) + "\n")


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
