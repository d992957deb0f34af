"""``rl-asc``: the semantic codec against the codecs in use, its allocations against each other, and noise.

A folder gets ``codecs.jsonl`` (rates), ``branches.jsonl`` (the painter's branches), ``oracle.jsonl`` (allocations against greedy
and exhaustive search), ``noise.jsonl`` and ``protection.jsonl``; figures, tables, contact sheets, and ``targets.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product

import numpy as np
import torch
from PIL import Image

from semcast.bench.codec_tables import as_rows
from semcast.bench.codecs import GREY, CodecRecord, Original, set_miou
from semcast.bench.plots import Axis, Page, Panel
from semcast.bench.records import finite
from semcast.bench.tables import markdown
from semcast.codec.bitstream import unpack
from semcast.codec.codec import POLICY
from semcast.codec.painter import BRANCHES
from semcast.errors import SemcastError
from semcast.photos import Photo, write_image
from semcast.pictures import enlarge, grid
from semcast.source_coding import BitCodec
from semcast.sources import SIZE
from semcast.studies.claims import as_rows as as_claims
from semcast.studies.codec_claims import claim_all
from semcast.studies.codec_run import CodecRun
from semcast.studies.layouts import lose
from semcast.studies.noise import CONVENTIONS, spoil
from semcast.studies.protection import protect
from semcast.studies.search import OracleRecord, search
from semcast.studies.targets import RIVALS, Target, against_bytes, all_targets, best_standard, difference
from semcast.studies.tasks import TaskRecord, tell


@torch.no_grad()
def measure_codec(run: CodecRun) -> None:
    """Measure, draw and write everything.

    Raises:
        SemcastError: the results there are of other networks, or no photo works.
    """
    records = tabulate(run)
    sheet(run, records)


def tabulate(run: CodecRun) -> list[CodecRecord]:
    """Measure everything, or take what the folder holds of it, and write tables and figures; returns the rates."""
    records, branches = rates(run), ablation(run)
    searched = search(run)
    noisy, told = spoil(run), tell(run)
    protect(run)
    lose(run, records)
    targets(run, records, branches, searched, told)
    claims = claim_all(records, branches, noisy, told, run.size.named, run.size.main)
    run.write("claims.md", markdown(as_claims(claims)) + "\n")
    return records


# ---- rates -----------------------------------------------------------------------------------------------------------


def rates(run: CodecRun) -> list[CodecRecord]:
    """Bytes against mIoU, LPIPS and PSNR; paired differences of the allocations."""
    file = "codecs.jsonl"
    found = run.rate(file, (POLICY, *RIVALS), run.size.budgets)
    if run.in_use:
        found += run.rate(file, run.in_use, run.size.standard)
    records = list({record.key: record for record in found}.values())
    ceiling = set_miou([r for r in records if r.codec == Original.name]).mean
    panels = [
        Panel("what can still be seen", "miou", against_bytes(records, "miou"), levels={"judge on the originals": ceiling}),
        Panel("how it looks", "lpips_squeeze", against_bytes(records, "lpips_squeeze")),
        Panel("pixels", "psnr_db", against_bytes(records, "psnr_db")),
    ]
    ticks = tuple(float(most) for most in sorted({*run.size.budgets, *run.size.standard}))
    notes = ["x: mean bytes of the photos that could be coded; one that could not is shown as grey and counts."]
    axis = Axis("bytes a photo of 256 x 256", ticks[:: max(1, len(ticks) // 6)])
    run.draw("rates", panels, Page(f"Rates, {run.domain}", notes, axis=axis, conventions=CONVENTIONS))
    named = [r for r in records if r.max_bytes in run.size.named or r.codec == Original.name]
    run.write("rates.md", markdown(as_rows(named)) + "\n")
    run.write("paired.md", markdown(paired_rows(run, records)) + "\n")
    return records


def paired_rows(run: CodecRun, records: Sequence[CodecRecord]) -> list[list[str]]:
    """The learned allocation less each plain one, at each budget and over all."""
    rows = [["budget", "rl-asc less", "J", "mIoU a photo", "LPIPS-squeeze", "photos"]]
    for most, rival in product((*run.size.budgets, None), RIVALS):
        found = [difference(records, POLICY, rival, most, metric) for metric in ("rsp", "miou", "lpips_squeeze")]
        count = max((each.count for each in found if each), default=0)
        rows.append([str(most or "all"), rival, *(each.text(4) if each else "-" for each in found), str(count)])
    return rows


# ---- the painter's branches ------------------------------------------------------------------------------------------


def ablation(run: CodecRun) -> list[CodecRecord]:
    """The same files shown by both branches together and by either alone."""
    records = run.rate("branches.jsonl", BRANCHES, run.size.named)
    rows = [["budget", "fused less", "mIoU a photo", "LPIPS-squeeze", "PSNR dB"]]
    for most, branch in product(run.size.named, BRANCHES[1:]):
        found = [difference(records, BRANCHES[0], branch, most, metric) for metric in ("miou", "lpips_squeeze", "psnr_db")]
        rows.append([str(most), branch, *(each.text(4) if each else "-" for each in found)])
    run.write("branches.md", f"{markdown(as_rows(records))}\n\n{markdown(rows)}\n")
    return records


# ---- contact sheets --------------------------------------------------------------------------------------------------


def sheet(run: CodecRun, records: Sequence[CodecRecord]) -> None:
    """``sheet.png``: photos, their layouts as sent, what arrives at each budget, the best standard codec at the same bytes.

    ``made.png`` holds of it only what the painter made: most sets of photos may not be shown to others, nor may copies of them.
    ``coded.png`` shows all codecs at the main budget all the same, on pictures that the painter made, which are easier for it
    than photos.
    """
    ours, rows, painted = run.codec(), [], list[list[Photo]]()
    everybody = (POLICY, *run.in_use)
    rivals = {most: best_standard(records, most) for most in run.size.named}
    for source in run.sources[: run.size.sheet_photos]:
        pixels = source.scene(run.networks.domain)
        layout = np.full_like(pixels, 255)
        mine, theirs = [], []
        for most in run.size.named:
            data, picture = _send(ours, pixels, most)
            mine.append(picture)
            if data and (most == run.size.main or most == run.size.named[-1] and (layout == 255).all()):
                layout = _paint_layout(run, data)
            rival = rivals[most]
            if rival is not None:
                theirs.append(_send(run.codec(rival), pixels, most)[1])
        coded = [_send(run.codec(name), mine[-1], run.size.main)[1] for name in everybody]
        aspect = run.networks.domain.aspect
        rows.append([_proportion(tile, aspect) for tile in (pixels, layout, *mine, *theirs)])
        painted.append([_proportion(tile, aspect) for tile in (mine[-1], *coded)])
    columns = ["photo", f"layout at {run.size.main}", *(f"{POLICY}, {most} bytes" for most in run.size.named)]
    columns += [f"{rival}, {most} bytes" for most, rival in rivals.items() if rival is not None]
    own = slice(1, 2 + len(run.size.named))
    for name, part in (("sheet.png", slice(None)), ("made.png", own)):
        write_image(run.out / name, grid([row[part] for row in rows], columns=columns[part]))
    headings = ["painted", *(f"{name}, {run.size.main} bytes" for name in everybody)]
    write_image(run.out / "coded.png", grid(painted, columns=headings))
    run.written += [run.out / name for name in ("sheet.png", "made.png", "coded.png")]


def _paint_layout(run: CodecRun, data: bytes) -> Photo:
    return enlarge(run.networks.domain.paint(unpack(data, run.networks.tables).layout), SIZE)


def _send(codec: BitCodec, photo: Photo, most: int) -> tuple[bytes, Photo]:
    """The file and its picture; no bytes and grey where nothing fits."""
    try:
        data = codec.compress(photo, most)
        return data, codec.decompress(data)
    except SemcastError:
        return b"", np.full_like(photo, GREY)


def _proportion(tile: Photo, aspect: float) -> Photo:
    """A square picture with the proportions that its photo had."""
    size = (SIZE, round(SIZE / aspect))
    return tile if aspect == 1 else np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.LANCZOS))


# ---- what it must show -----------------------------------------------------------------------------------------------


def targets(
    run: CodecRun, records: Sequence[CodecRecord], branches: Sequence[CodecRecord], searched: Sequence[OracleRecord],
    told: Sequence[TaskRecord],
) -> list[Target]:  # fmt: skip
    """``targets.md`` and ``targets.json``: the ratios that the codec is held to."""
    main = run.size.main
    found = all_targets(records, branches, searched, told, run.time(), run.size.named, main, run.threads)
    rows = [["what", "measured [95 %]", "must be", "aim", "met", ""], *(target.cells() for target in found)]
    run.write("targets.md", f"{run.domain}, {main} bytes where no budget is named\n\n{markdown(rows)}\n")
    named = [finite(asdict(target)) | {"verdict": target.verdict} for target in found]
    run.write("targets.json", json.dumps(named, indent=1, allow_nan=False) + "\n")
    return found
