"""Sweeps: resumed where they stopped, never mixed, the same noise for every system."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Mosaic, same_parser
from PIL import Image

from semcast.bench.engine import Outcome
from semcast.bench.records import KEY, Record, read
from semcast.bench.summary import FEW, excess_db, summary, tone_thirds
from semcast.bench.sweep import Plan, Sweep
from semcast.bench.tables import means
from semcast.channels import make_channel
from semcast.crossing import cross
from semcast.domains import PARTS
from semcast.errors import SemcastError
from semcast.hashes import generator_for
from semcast.link import Budget, System
from semcast.metrics.report import Metrics
from semcast.networks.segmenter import FaceParser
from semcast.photos import read_aligned, to_tensor
from semcast.pictures import beside, fit, grid
from semcast.sources import find_photos

PLAN = Plan(snr_db=(0.0, 10.0), symbols=(32, 64), aligned=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((256, 256)).save(folder / f"{i}.png")
    (folder / "notes.txt").write_text("not a photo")
    return folder


def sweep_of(plan: Plan, systems: list[System]) -> Sweep:
    return Sweep(plan, systems, [make_channel("awgn"), make_channel("rayleigh")], Metrics({}, None, []), same_parser)


def run(folder: Path, plan: Plan = PLAN, *, systems: list[System] | None = None, force: bool = False) -> Outcome:
    sweep = sweep_of(plan, systems or [Mosaic("mosaic"), Mosaic("tiles")])
    return sweep.run(find_photos([folder]), folder.parent / "r.jsonl", force=force)


def test_one_line_a_point(folder: Path) -> None:
    outcome = run(folder)
    lines = [json.loads(line) for line in (folder.parent / "r.jsonl").read_text().splitlines()]
    assert len(lines) == outcome.measured == 3 * 2 * 2 * 4
    assert len({tuple(line[name] for name in KEY) for line in lines}) == len(lines)
    promised = "image system channel snr_db symbols seed psnr_db ms_ssim lpips_squeeze side_bytes encode_s decode_s ok"
    assert set(promised.split()) <= lines[0].keys()
    assert lines[0]["lpips_squeeze"] is None and lines[0]["psnr_db"] > 0
    assert read(folder.parent / "r.jsonl") == outcome.records
    assert summary(outcome.records).row_count == 16


def shown(records: list[Record]) -> dict[str, list[str]]:
    """The columns of the summary."""
    return {str(column.header): list(column.cells) for column in summary(records).columns}


def test_texture_and_tone_are_columns_and_lines_of_before_them_are_gone_on_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skin = PARTS.index("skin")
    monkeypatch.setattr(FaceParser, "labels", lambda self, image: torch.full((len(image), *image.shape[-2:]), skin))
    outcome, out = run(folder), folder.parent / "r.jsonl"
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(isinstance(line[name], float) for line in lines for name in ("grid_8_db", "grid_4_db", "grid_2_db"))
    assert all(len(line["directions"]) == 144 and line["tone"] is not None and line["tone_error"] >= 0 for line in lines)
    columns = shown(list(outcome.records))
    assert all(cell.count("/") == 2 for cell in columns["grid 8/4/2 px dB"])
    assert set(columns["excess dB"]) == {"-"} and "tone error °" in columns, "three photos tell no excess"
    new = ("grid_8_db", "grid_4_db", "grid_2_db", "tone", "tone_error", "directions")
    for line in lines:
        for name in new:
            del line[name]
    out.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    again = run(folder)
    assert again.measured == 1 and [r.grid_8_db is None for r in again.records].count(False) == 1
    assert "grid 8/4/2 px dB" in shown(list(again.records))
    assert not any("grid" in heading for heading in shown([r for r in again.records if r.grid_8_db is None]))


def test_the_excess_is_of_all_pictures_together(folder: Path) -> None:
    record = run(folder).records[0]
    many = [replace(record, image=str(i), directions=[40 if cell == 7 else 0 for cell in range(144)]) for i in range(FEW)]
    assert excess_db(many[1:]) is None and excess_db(many) == pytest.approx(4 * 23 / 24)
    other = [replace(each, directions=[0] * 144) for each in many]
    assert excess_db([*many, *other]) == pytest.approx(2 * 23 / 24)
    assert "| 3.8 |" in means(many)


def test_who_is_served_worse_is_said_by_thirds_of_tone(folder: Path) -> None:
    record = run(folder).records[0]
    told = [replace(record, tone=float(tone), tone_error=error, identity=0.5) for tone, error in ((0, 6.0), (30, 3.0), (60, 3.0))]
    assert tone_thirds(told) == [["tone error", "6.00", "3.00", "3.00", "2.00"], ["identity", "0.50", "0.50", "0.50", "1.00"]]
    assert tone_thirds(told[:2]) == [] and tone_thirds([replace(record, tone=None)]) == []


def test_resumed_where_it_stopped(folder: Path) -> None:
    out = folder.parent / "r.jsonl"
    run(folder)
    whole = out.read_text().splitlines(keepends=True)
    out.write_text("".join(whole[:20]) + whole[20][:37])
    outcome = run(folder)
    assert outcome.measured == len(whole) - 20
    again = out.read_text().splitlines(keepends=True)
    assert again[:20] == whole[:20]
    timeless = [[{k: v for k, v in json.loads(x).items() if k[-2:] != "_s"} for x in y] for y in (whole, again)]
    assert timeless[0] == timeless[1]
    assert run(folder).measured == 0


def test_last_line_without_its_end_is_kept(folder: Path) -> None:
    out = folder.parent / "r.jsonl"
    run(folder)
    whole = out.read_text()
    out.write_text(whole.rstrip("\n"))
    assert run(folder).measured == 0
    assert out.read_text() == whole


def test_force_starts_afresh(folder: Path) -> None:
    run(folder)
    outcome = run(folder, Plan(snr_db=(5.0,), symbols=(64,), aligned=True), force=True)
    assert outcome.measured == len((folder.parent / "r.jsonl").read_text().splitlines()) == 12


OTHERS = ["hello\n", '{"image": 1}\n', '{"a": 1}', "\x89PNG", '{"image": "a"}\n{"image": "b']


@pytest.mark.parametrize("content", OTHERS)
def test_a_file_of_something_else_is_left_alone(folder: Path, content: str) -> None:
    out = folder.parent / "r.jsonl"
    out.write_text(content)
    with pytest.raises(SemcastError, match="not a semcast result"):
        run(folder)
    assert out.read_text() == content


def test_other_settings_are_not_mixed(folder: Path) -> None:
    run(folder)
    with pytest.raises(SemcastError, match="with aligned faces"):
        run(folder, Plan(snr_db=(0.0,), symbols=(32,)))
    other = Mosaic()
    other.level.data += 0.01
    with pytest.raises(SemcastError, match="other weights of mosaic"):
        run(folder, systems=[other])


def test_same_noise_for_every_system_another_for_every_photo(folder: Path) -> None:
    lines = run(folder, Plan(snr_db=(0.0,), symbols=(32,), draws=2, aligned=True)).records
    psnr = {(r.image, r.system, r.channel, r.draw): r.psnr_db for r in lines}
    for (image, system, channel, draw), value in psnr.items():
        assert value == psnr[image, "tiles" if system == "mosaic" else "mosaic", channel, draw]
    assert len(set(psnr.values())) == 3 * 2 * 2
    noise = [make_channel("awgn").draw(1, 8, 0.0, generator_for(0, name)).noise for name in ("a", "b")]
    assert not torch.equal(*noise)


def test_unusable_photos_are_skipped_and_said(folder: Path) -> None:
    (folder / "1.png").write_bytes(b"")
    outcome = run(folder)
    assert len(outcome.refused) == 1 and "1.png is empty" in outcome.refused[0]
    assert outcome.measured == 2 * 16
    before = (folder.parent / "r.jsonl").read_text()
    for path in folder.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(SemcastError, match="none of the 3"):
        run(folder, force=True)
    assert (folder.parent / "r.jsonl").read_text() == before


def test_points_that_a_system_cannot_serve_are_left_out(folder: Path) -> None:
    narrow = Mosaic("narrow")
    narrow.max_symbols = 32
    sweep = sweep_of(Plan(snr_db=(0.0, 5.0), symbols=(16, 32, 64), aligned=True), [Mosaic(), narrow])
    assert len(sweep.points) == 2 * 2 * 3
    assert len(sweep.skipped) == 2
    assert "mosaic at k = 16 (4 points a photo): mosaic works with 32 to" in sweep.skipped[0]
    assert "narrow at k = 16, 64 (8 points a photo): narrow works with 32 to 32" in sweep.skipped[1]
    records = sweep.run(find_photos([folder]), folder.parent / "r.jsonl").records
    assert {(r.system, r.symbols) for r in records} == {("mosaic", 32), ("mosaic", 64), ("narrow", 32)}


def test_nothing_possible_is_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(SemcastError, match="mosaic works with 32"):
        run(folder, Plan(snr_db=(0.0,), symbols=(8, 16), aligned=True))
    assert not (folder.parent / "r.jsonl").exists()
    with pytest.raises(SemcastError, match="draws"):
        Plan(snr_db=(0.0,), symbols=(64,), draws=0)


def test_shard(folder: Path) -> None:
    shard = folder.parent / "test.tar"
    with tarfile.open(shard, "w") as tar:
        tar.add(folder / "0.png", "a.png")
        tar.add(folder / "0.png", "a.mask.png")
        tar.add(folder / "notes.txt", "b.jpg")
    sources = find_photos([shard])
    assert [source.name for source in sources] == ["a", "b"]
    assert np.array_equal(sources[0].face(None)[0], read_aligned(folder / "0.png"))
    with pytest.raises(SemcastError, match="test.tar:b is not an image"):
        sources[1].face(None)
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(SemcastError, match=r"test\.tar"):
        find_photos([shard])
    with pytest.raises(SemcastError, match="two photos are called 0.png"):
        find_photos([folder, folder / "0.png"])


def test_pilots_come_on_top_of_the_data(folder: Path) -> None:
    image = to_tensor(read_aligned(folder / "0.png"))
    channel = make_channel("rayleigh", pilots=8)
    crossing = cross(Mosaic(), channel, image, Budget(64, 10.0), generator_for(0, "a"))
    assert crossing.burst.symbols.shape == (1, 64) and channel.uses(64) == 72


def test_pictures() -> None:
    tile = np.zeros((20, 30, 3), np.uint8)
    block = grid([[tile, tile], [tile]], columns=["a", "b"], names=["first", "second"], title="both")
    assert block.dtype == np.uint8 and block.shape[0] > 40 and block.shape[1] > 60
    assert beside([block, tile]).shape == (block.shape[0], block.shape[1] + 30, 3)
    assert fit(np.zeros((10, 40, 3), np.uint8), 20).shape == (20, 20, 3)
    with pytest.raises(SemcastError):
        grid([[tile, tile[:5]]])


def test_lines_from_before_there_was_a_second_identity(folder: Path) -> None:
    out = folder.parent / "r.jsonl"
    new = run(folder).records
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert list(lines[0])[list(lines[0]).index("identity") + 1] == "identity_2"
    for line in lines[:20]:
        del line["identity_2"]
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read(out) == new
    assert run(folder).measured == 0


def test_headings_and_gaps(folder: Path) -> None:
    records = run(folder, Plan(snr_db=(0.0, 5.0), symbols=(32,), aligned=True)).records
    assert "identity 2" not in means(records)
    some = [replace(r, identity=0.5, identity_2=0.25) if r.snr_db == 5 else r for r in records]
    table = summary(some)
    assert [column.header for column in table.columns][4:8] == ["PSNR dB", "MS-SSIM", "identity", "identity 2"]
    rows = means(some).splitlines()
    assert "| identity | identity 2 |" in rows[0]
    assert "| - | - |" in rows[2] and "| 0.500 | 0.250 |" in "".join(rows[3:])
