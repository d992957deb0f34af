"""Figures, tables and claims: out of made-up records whose answers are known, and once from end to end."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from conftest import Mosaic
from PIL import Image

from semcast.bench import plots
from semcast.bench.plots import Curve, Line, Page, Panel
from semcast.bench.records import Record, read
from semcast.bench.statistics import Interval, by_photo, interval
from semcast.bench.summary import power_notes
from semcast.bench.sweep import Plan, fingerprint
from semcast.bench.tables import fill, means, render
from semcast.cli import main
from semcast.errors import SemcastError
from semcast.metrics.report import Metrics
from semcast.sources import find_photos
from semcast.studies import faces as faces_module
from semcast.studies import figures
from semcast.studies.claims import claims, compare, outcome, verdict
from semcast.studies.faces import FaceRun, Size
from semcast.studies.figures import codec_notes, curve_table, looks
from semcast.studies.kid import KidRecord
from semcast.studies.report import report
from semcast.studies.rivals import better_rows
from semcast.studies.study import FIGURES, STUDIES, reproduce

TINY = Size(
    photos=2, snr_db=(0.0, 20.0), cliffs=1, flow_symbols=(64, 640), fading_snr_db=(10.0,), fading_photos=1, draws=2,
    kid_snr_db=(10.0,), slow_photos=1, paper_photos=1,
)  # fmt: skip


def record(image: int | str, system: str, symbols: int, snr_db: float, **values: Any) -> Record:
    known = dict.fromkeys((field.name for field in fields(Record)), None) | {
        "image": str(image), "system": system, "channel": "awgn", "snr_db": snr_db, "symbols": symbols, "seed": 0, "draw": 0,
        "refine": 0, "pilots": 0, "aligned": True, "weights": "w", "side_bytes": 0, "encode_s": 0.0, "decode_s": 0.0, "ok": True,
    }  # fmt: skip
    return Record(**(known | values))


def made_up() -> list[Record]:
    """20 photos, some hard: generative beats deepjscc on LPIPS everywhere, and is 1 dB worse in PSNR."""
    rng = np.random.default_rng(0)
    records = []
    for i in range(20):
        hard = rng.normal(0, 2)
        for snr in (0.0, 10.0, 20.0):
            slope = snr / 10
            records += [
                record(i, "generative", 64, snr, psnr_db=20 + hard + 0.1 * slope, lpips_squeeze=0.2 - 0.001 * slope,
                       identity=0.3 + hard / 50),
                record(i, "generative", 640, snr, psnr_db=21 + hard + slope, lpips_squeeze=0.19 - 0.02 * slope, identity=0.5),
                record(i, "deepjscc", 8192, snr, psnr_db=21.2 + hard + rng.normal(0, 0.1), lpips_squeeze=0.4),
                record(i, "deepjscc", 64, snr, psnr_db=15.0, lpips_squeeze=0.6, identity=0.4 - 0.01 * slope),
                record(i, "avif", 640, snr, psnr_db=20 + slope, lpips_squeeze=0.5, ok=snr > 0),
            ]  # fmt: skip
    return records


# ---- statistics over records, claims ---------------------------------------------------------------------------------


def test_draws_are_averaged_before_photos() -> None:
    records = [record("a", "s", 64, 0.0, draw=draw, psnr_db=float(draw)) for draw in range(3)]
    records += [record("b", "s", 64, 0.0, psnr_db=5.0), record("c", "s", 64, 0.0)]
    assert by_photo(records, "psnr_db") == {"a": 1.0, "b": 5.0}
    found = interval(records, "psnr_db")
    assert found is not None and found.mean == 3.0 and found.count == 2
    assert interval(records, "lpips_vgg") is None


def test_outage_is_no_trust_or_another_person() -> None:
    records = [
        record("a", "s", 64, 0.0, identity=0.39), record("b", "s", 64, 0.0, identity=0.41),
        record("c", "s", 64, 0.0, identity=0.9, ok=False), record("d", "s", 64, 0.0),
    ]  # fmt: skip
    assert by_photo(records, "outage") == {"a": 1.0, "b": 0.0, "c": 1.0, "d": 0.0}


def test_outage_is_what_the_second_recogniser_says() -> None:
    """The first one is a loss of some systems; what a line says of verification counts before its similarity."""
    records = [
        record("a", "s", 64, 0.0, identity=0.9, identity_2=0.46), record("b", "s", 64, 0.0, identity=0.1, identity_2=0.48),
        record("c", "s", 64, 0.0, identity_2=0.9, verified_2=0.0), record("d", "s", 64, 0.0, identity=0.1, verified=1.0),
    ]  # fmt: skip
    assert by_photo(records, "outage") == {"a": 1.0, "b": 0.0, "c": 1.0, "d": 0.0}


def test_power_that_is_not_1_over_these_photos_is_said() -> None:
    loud = [record(i, "sketch", k, snr, power=1.4 - 0.4 * i) for i in range(2) for k in (64, 640) for snr in (0.0, 10.0)]
    even = [record(i, "generative", 64, 0.0, power=1.0) for i in range(2)]
    old = [record(0, "linear", 64, 0.0), record(0, "deepjscc", 64, 0.0)]
    said = "(it is 1 over many): sketch +0.79 dB at k = 64 and +0.79 dB at k = 640, not recorded for linear."
    assert power_notes(loud + even + old) == [f"Mean power over these photos {said}"] and said in means(loud + old)
    assert power_notes(even) == power_notes(old[1:]) == []


def test_comparisons_and_verdicts() -> None:
    found = compare(made_up(), Curve(64, "generative"), Curve(8192, "deepjscc"), "psnr_db")
    assert sorted(found) == [0.0, 10.0, 20.0]
    assert -1.4 < found[0.0].low < found[0.0].high < -1.0  # paired: what makes a photo hard has cancelled
    assert outcome(found[0.0], "psnr_db") == "lost" and outcome(found[0.0], "lpips_squeeze") == "won"
    up, none = Interval(1, 0.5, 1.5, 9), Interval(0, -1, 1, 9)
    assert verdict({0.0: up, 5.0: up}, "psnr_db") == "holds"
    assert verdict({0.0: up, 5.0: none}, "psnr_db") == "in part: at 0"
    assert verdict({0.0: none}, "psnr_db") == "does not hold"
    assert verdict({}, "psnr_db") == "not measured"


def test_claims() -> None:
    flow = [
        record(i, system, k, 10.0, psnr_db=level + i)
        for i in range(9) for k in (64, 640)
        for system, level in (("code-flow", 18.0 + (k == 64)), ("code-whitened", 18.5), ("code-pca", 17.0))
    ]  # fmt: skip
    holds = {claim.reading: claim.holds for claim in claims(made_up(), flow)}
    assert holds["LPIPS of generative at k = 64 below deepjscc at k = 8192 at every SNR"] == "holds"
    assert holds["LPIPS of linear-gan at k = 64 below deepjscc at k = 8192 at every SNR"] == "not measured"
    assert holds["PSNR of generative at k = 64 0 to 2 dB below deepjscc at k = 8192 at every SNR"] == "holds"
    assert holds["PSNR of generative at k = 640 0 to 2 dB below deepjscc at k = 8192 at every SNR"].startswith("in part")
    assert holds["PSNR of generative at k = 64 changes by less than 1 dB from 0 to 20 dB"] == "holds"
    assert holds["LPIPS of generative at k = 640 changes by less than 0.02 from 0 to 20 dB"] == "does not hold"
    by_variant = [claim.holds for claim in claims(made_up(), flow)][-3:]
    assert by_variant == ["in part: at 64", "not measured", "holds"]
    assert all(claim.holds == "not measured" for claim in claims([], []))


def test_rivals_table() -> None:
    rows = better_rows(made_up())
    first = {row[2]: row for row in rows[1:] if row[:2] == ["64", "generative than deepjscc"]}
    assert first["LPIPS"][3] == "yes" and first["LPIPS"][6:] == ["3", "0", "0"]
    assert first["identity"][3] == "no"


# ---- plots -----------------------------------------------------------------------------------------------------------


def panel() -> Panel:
    lines = [Line("OPTA, k = 64", {0.0: 20.0, 20.0: 90.0})]
    return Panel("AWGN", "psnr_db", plots.against_snr(made_up(), "psnr_db"), lines, {"ceiling": 22.0, "noiseless": 22.01})


def test_plots_are_the_same_bytes_for_the_same_records(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written = plots.draw([panel(), panel()], Page("PSNR", ["A note."], (-2.0, 20.0)), tmp_path / name / "fig")
        assert [path.suffix for path in written] == [".png", ".svg"]
    for suffix in (".png", ".svg"):
        assert (tmp_path / "a" / f"fig{suffix}").read_bytes() == (tmp_path / "b" / f"fig{suffix}").read_bytes()
    svg = (tmp_path / "a" / "fig.svg").read_text()
    assert "<dc:date>" not in svg and str(tmp_path) not in svg
    with Image.open(tmp_path / "a" / "fig.png") as picture:
        assert picture.width > 1200 and picture.height > 500
    with pytest.raises(SemcastError, match="nothing to draw"):
        plots.draw([Panel("", "psnr_db", {})], Page(""), tmp_path / "c")


def test_plot_against_bandwidth_and_one_panel_with_levels(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    curves = plots.against_k([record(i, "code-pca", k, 10.0, psnr_db=i + k / 64) for i in range(3) for k in (64, 640)], "psnr_db")
    assert list(curves) == [Curve(0, "code-pca")] and sorted(curves[Curve(0, "code-pca")]) == [64.0, 640.0]
    assert len(plots.draw([Panel("", "psnr_db", curves, (), {"ceiling": 9.0})], Page("x"), tmp_path / "k")) == 2


def test_one_colour_a_system_one_style_a_k() -> None:
    shown = panel()
    looks = {curve: plots._look(curve, shown) for curve in shown.curves}
    assert looks[Curve(64, "generative")]["color"] == looks[Curve(640, "generative")]["color"]
    assert looks[Curve(64, "generative")]["ls"] == looks[Curve(64, "deepjscc")]["ls"]
    assert len({str(looks[Curve(k, "deepjscc")]["ls"]) for k in (64, 8192)}) == 2
    other = plots._look(Curve(64, "something-new"), Panel("", "psnr_db", {Curve(64, "something-new"): {}}))
    assert other["color"].startswith("#")


def test_tables_and_notes(tmp_path: Path) -> None:
    table = curve_table(panel())
    assert "| 64 | generative |" in table and "- ceiling: 22.00" in table
    assert codec_notes(made_up()) == ["avif at k = 640 delivers no photo at 0 dB (the mean face is shown)."]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "fig3.md").write_text("a table\n")
    (tmp_path / "results" / "fig3.png").touch()
    (tmp_path / "results" / "README.md").write_text("<!-- results/fig3.png -->\n<!-- end -->")
    assert "![fig3](fig3.png)" in fill(tmp_path / "results" / "README.md", tmp_path, {})
    assert render(tmp_path / "results" / "fig3.png", tmp_path / "README.md") == "![fig3](results/fig3.png)"
    assert render(tmp_path / "results" / "fig3.md") == "a table"


# ---- from end to end -------------------------------------------------------------------------------------------------


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Two small square photos out of the astronaut's portrait."""
    folder = tmp_path / "faces"
    folder.mkdir()
    portrait = Image.fromarray(skimage.data.astronaut()[0:220, 110:330])
    portrait.resize((256, 256)).save(folder / "a.png")
    portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((256, 256)).save(folder / "b.png")
    return folder


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the systems, few points, and only the metrics that need no files."""
    monkeypatch.setattr(faces_module, "load", stand_ins)
    monkeypatch.setattr(faces_module, "AtCapacity", stand_ins)
    monkeypatch.setattr(faces_module, "load_paper_link", lambda: stand_ins("generative"))
    monkeypatch.setattr(Metrics, "load", classmethod(lambda cls, identity=None, vgg=True: cls({}, None, [])))
    for name in (*FIGURES, "mismatch"):
        monkeypatch.setitem(STUDIES, name, replace(STUDIES[name], sizes=(TINY, TINY)))


def test_texture_and_tone_of_records_that_tell_them() -> None:
    told = {"grid_8_db": 0.1, "grid_4_db": 4.5, "grid_2_db": 0.0, "directions": [0] * 144, "tone_error": 3.0}
    records = [record(i, "linear", 64, 10.0, tone=10.0 * i, **told) for i in range(3)]
    shown = looks(records)
    assert "| `linear` | 64 | 0.1/4.5/0.0 | - | 3.0 | 3 |" in shown
    assert "| `linear` | 64 | tone error | 3.00 | 3.00 | 3.00 | 1.00 |" in shown
    assert looks([record(0, "linear", 64, 10.0)]) == "", "it was measured before these were"


def run_of(faces: Path, out: Path, said: list[str], **options: Any) -> FaceRun:
    return FaceRun(sources=find_photos([faces]), out=out, size=TINY, metrics=Metrics({}, None, []), say=said.append, **options)


def stand_ins(name: str, **_: Any) -> Mosaic:
    if name in ("linear", "linear-gan", "deepjscc"):
        system = Mosaic(name)
        system.min_symbols = 64 if name == "deepjscc" else 32
        system.max_symbols = 64 if name == "deepjscc" else 1280
        return system
    raise SemcastError(f"unknown system {name!r}")


@pytest.mark.slow
def test_all_with_what_there_is(faces: Path, tmp_path: Path, few: None) -> None:
    pytest.importorskip("matplotlib")
    said: list[str] = []
    written = {path.name for path in reproduce("all", faces, tmp_path / "out", say=said.append, command="semcast reproduce")}
    assert {"fig3.png", "fig3.svg", "fig3.md"} <= written
    assert {"headline.md", "fading.png", "rivals.md", "claims.md", "claims.json"} <= written
    records = read(tmp_path / "out" / "fig3-4.jsonl")
    assert len(records) == len({r.key for r in records}) == 2 * 2 * 5  # photos, SNRs; linear and linear-gan at both k
    assert {(r.system, r.symbols) for r in records} >= {("deepjscc", 64), ("linear", 640)}
    for missing in ("generative", "avif", "deepjscc-perceptual", "digital-twin", "avif-capacity"):
        assert sum(line.startswith(f"{missing} is left out") for line in said) == 1, (missing, said)
    assert any(line.startswith("deepjscc is left out at k = 640: deepjscc works with 64") for line in said)
    assert all("\n" not in line for line in said)
    faded = read(tmp_path / "out" / "fading.jsonl")
    assert {(r.symbols, r.uses, r.pilots, r.channel) for r in faded} == {(64, 72, 8, "rayleigh"), (640, 648, 8, "rayleigh")}
    about = json.loads((tmp_path / "out" / "run.json").read_text())["fig3"]
    assert about["photos"] == ["a.png", "b.png"] and about["versions"]["torch"] and about["weights"]
    assert len(json.loads((tmp_path / "out" / "claims.json").read_text())) == 13
    assert report(tmp_path / "out", [], check=True) == []  # out of the records alone it is all the same


def test_another_snr_than_the_transmitter_expects(faces: Path, tmp_path: Path, few: None) -> None:
    pytest.importorskip("matplotlib")
    assert "mismatch.md" in {path.name for path in reproduce("mismatch", faces, tmp_path)}
    records = read(tmp_path / "mismatch.jsonl")
    assert {(r.snr_db, r.design_snr_db) for r in records} == {(10.0, None)} and len({r.system for r in records}) == 3
    assert report(tmp_path, [], check=True) == []


@pytest.mark.slow
def test_a_second_run_measures_nothing_again(faces: Path, tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(figures, "_opta", lambda run: [])  # computed afresh each time, and not what is asked here
    first, again, forced = (run_of(faces, tmp_path, [], force=force) for force in (False, False, True))
    figures.fig3(first)
    lines, picture = (tmp_path / "fig3-4.jsonl").read_bytes(), (tmp_path / "fig3.svg").read_bytes()
    figures.fig3(again)
    assert (tmp_path / "fig3-4.jsonl").read_bytes() == lines
    assert (tmp_path / "fig3.svg").read_bytes() == picture
    assert all(system is None or system.encoded == 0 for system in again._systems.values())  # type: ignore[attr-defined]
    figures.fig3(forced)
    assert len((tmp_path / "fig3-4.jsonl").read_bytes().splitlines()) == len(lines.splitlines())


@pytest.mark.slow
def test_the_link_that_ships_and_its_variants(faces: Path, tmp_path: Path) -> None:
    said: list[str] = []
    one = run_of(faces, tmp_path, said).first(1)
    curves = [Curve(64, name) for name in ("generative", "code-whitened", "digital-twin", "ceiling", "floor")]
    records = one.sweep("few.jsonl", curves, Plan((10.0,), (1,)))
    psnr = {r.system: r.psnr_db for r in records}
    assert set(psnr) == {curve.system for curve in curves} and not said
    again = run_of(faces, tmp_path, [])
    assert all(fingerprint(again.system(name)) == fingerprint(one.system(name)) for name in psnr)  # or nothing could be resumed
    assert min(psnr["ceiling"], psnr["digital-twin"], psnr["code-whitened"]) > psnr["floor"]


ROOT = Path(__file__).resolve().parents[1]


def test_the_documents_are_current() -> None:
    """Every table of the documents is what the committed records say; `semcast report` makes it so."""
    documents = [path for path in (ROOT / "README.md", ROOT / "results" / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
    shown = [path for path in documents if "<!-- results/" in path.read_text()]
    assert len(shown) >= 3
    assert report(ROOT / "results", shown, check=True) == []


def test_a_document_that_is_not_current_is_found_and_made_so(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "r.jsonl").write_text("".join(each.line() for each in made_up()))
    document = tmp_path / "README.md"
    document.write_text("# It\n<!-- results/r.jsonl -->\nold\n<!-- end -->\nrest\n")
    assert report(results, [document], check=True) == [document] and "old" in document.read_text()
    assert report(results, [document]) == [document]
    text = document.read_text()
    assert "| awgn | 64 | 0 | generative |" in text and text.endswith("<!-- end -->\nrest\n") and "old" not in text
    assert report(results, [document], check=True) == []
    document.write_text("<!-- results/gone.md -->\n<!-- end -->")
    with pytest.raises(SemcastError, match="shows results/gone.md, which is not there"):
        report(results, [document])


def test_bad_input(faces: Path, tmp_path: Path, few: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SemcastError, match="name a folder"):
        reproduce("fig3", faces, tmp_path / "r.jsonl")
    with pytest.raises(SemcastError, match="unknown study"):
        reproduce("fig7", faces, tmp_path)
    (tmp_path / "rivals-kid.jsonl").write_text("[1]")
    with pytest.raises(SemcastError, match="rivals-kid.jsonl"):
        read(tmp_path / "rivals-kid.jsonl", KidRecord)
    for arguments, words in (
        (["fig7", faces, "-o", tmp_path / "x"], "unknown study 'fig7'"),
        (["fig3", tmp_path / "nowhere", "-o", tmp_path / "x"], "nowhere"),
        (["link", faces, "--quick", "-o", tmp_path / "x"], "needs photos with masks"),
        (["privacy", faces, "-o", tmp_path / "x"], "at least 4 photos"),
        (["fig3", faces, "--identity", tmp_path / "no.onnx", "-o", tmp_path / "x"], "no.onnx does not exist"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["reproduce", *map(str, arguments)])
        assert stopped.value.code == 2
        err = capsys.readouterr().err
        assert words in err and "Traceback" not in err and err.splitlines()[-1].startswith("semcast: ")
    assert not (tmp_path / "x").exists()


def test_what_is_missing_is_said_before_any_work(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semcast.studies.study.find_spec", lambda name: None)
    with pytest.raises(SemcastError, match=r"semcast\[plots\]"):
        reproduce("fig3", faces, tmp_path / "x")
    assert not (tmp_path / "x").exists()
