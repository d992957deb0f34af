"""The links at equal bandwidth: LPIPS, identity by two recognisers, KID; and who is better than whom at every SNR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semcast.bench import plots
from semcast.bench.plots import Curve, Page, Panel
from semcast.bench.records import Record
from semcast.bench.statistics import Interval
from semcast.bench.summary import power_notes
from semcast.bench.sweep import Plan
from semcast.bench.tables import markdown
from semcast.studies.claims import NAMES, compare, outcome, verdict
from semcast.studies.faces import LINKS, SHARED, TRAINED_DB, FaceRun
from semcast.studies.figures import curve_table

RIVALS = (("generative", "deepjscc"), ("linear-gan", "deepjscc"), ("generative", "linear"), ("linear-gan", "linear"),
          ("linear-gan", "generative"))  # fmt: skip


def rivals(run: FaceRun) -> None:
    """Equal bandwidth: LPIPS, identity by both embedders and KID of the four links at k = 640 and 64."""
    records = run.sweep(SHARED, LINKS, Plan(snr_db=run.size.snr_db, symbols=(1,)))
    distances = run.distances(LINKS)
    panels = []
    for metric in ("lpips_squeeze", "identity", "identity_2", "kid"):
        curves: Mapping[Curve, Mapping[float, Interval]]
        curves = distances if metric == "kid" else plots.against_snr(records, metric)
        for k in (640, 64):
            mine = {curve: points for curve, points in curves.items() if curve.symbols == k}
            panels.append(Panel(f"k = {k} (k / n = {plots.ratio(k)})", metric, mine))
    notes = [
        "KID: unbiased MMD² with a cubic kernel on the embeddings of a network that none of the systems was trained with; not "
        "comparable with published FID or KID; its bands are random halves of the photos.",
        *power_notes(records),
    ]
    run.draw("rivals", panels, Page("Rivals at equal bandwidth", notes, TRAINED_DB))
    tables = [curve_table(panel) for panel in panels if panel.curves]
    run.write("rivals.md", "\n\n".join(["Better at every SNR?", markdown(better_rows(records)), *tables, *notes]) + "\n")


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
