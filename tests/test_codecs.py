"""The criterion, and codecs measured at equal bytes: counts against naive loops, files resumed, bad input said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import Run, refused, run  # noqa: F401 - a fixture
from test_scenes import shard

from semcast.bench import tables
from semcast.bench.codec_tables import HEADING, STRANGERS, as_rows, summary
from semcast.bench.codecs import RAW_BYTES, CodecRecord, CodecSweep, set_miou
from semcast.bench.records import Record, parse, read
from semcast.bench.strangers import Strangers
from semcast.codec.codec import RlAsc
from semcast.codec.criterion import Criterion, Task, Weights, bits_per_pixel, score
from semcast.domains import FACE, STREET
from semcast.errors import BadInput, SemcastError
from semcast.metrics.segmenter import USUAL, StreetSegmenter
from semcast.metrics.semantic import confusion, counts, iou, mean_iou, mean_iou_of_counts
from semcast.networks.segmenter import Judge
from semcast.photos import to_tensor
from semcast.rivals.bit_codecs import BIT_CODECS, load_bit_codec
from semcast.sources import find_photos


class Tiny:
    """Codes a photo as its mean colours on a grid, as large as the bytes allow."""

    name = "tiny"
    version = "1"

    def __init__(self, least: int = 3) -> None:
        self.least, self.calls = least, 0

    def compress(self, image, max_bytes):
        self.calls += 1
        if max_bytes < self.least:
            raise SemcastError("that is too little")
        side = min(16, int((max_bytes / 3) ** 0.5))
        return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX)).tobytes()

    def decompress(self, stream):
        side = int((len(stream) / 3) ** 0.5)
        small = np.frombuffer(stream, np.uint8).reshape(side, side, 3)
        return np.asarray(Image.fromarray(small).resize((256, 256), Image.Resampling.NEAREST))


class Greyscale(Judge):
    """Reads the labels that test_scenes.shard paints as grey."""

    fingerprint = "grey"

    def labels(self, image):
        return (image[:, 0] * 25.5).round().clamp(0, 18).to(torch.uint8)


def bench(*, max_bytes: tuple[int, ...] = (48, 192), domain=STREET, least: int = 3) -> CodecSweep:
    return CodecSweep(domain, {"tiny": Tiny(least)}, max_bytes, Greyscale(), None)


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    return shard(tmp_path / "street256" / "val-000.tar", 3)


# ---- counts and the criterion ----------------------------------------------------------------------------------------


def test_counts_are_those_of_the_confusion_matrix() -> None:
    random = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 7, (4, 9, 11), generator=random)
    predicted = torch.where(torch.rand(4, 9, 11, generator=random) < 0.5, truth, torch.randint(0, 7, (4, 9, 11)))
    truth[0, :3] = 255
    truth[1] = 255
    counted = counts(predicted.to(torch.uint8), truth.to(torch.uint8), 7)
    assert counted.shape == (4, 3, 7)
    for i in range(4):
        matrix = confusion(predicted[i], truth[i], 7)
        assert torch.equal(counted[i], torch.stack((matrix.diagonal(), matrix.sum(1), matrix.sum(0))))
    assert mean_iou_of_counts(counted)[1].isnan()
    whole = mean_iou(confusion(predicted, truth, 7))
    assert float(mean_iou_of_counts(counted.sum(0))) == pytest.approx(whole, abs=1e-6)


def test_iou_is_the_naive_one_over_classes_in_either_map() -> None:
    truth, predicted = torch.tensor([[[0, 0, 1, 1, 2, 255]]]), torch.tensor([[[0, 1, 1, 1, 3, 4]]])
    naive = []
    known = truth != 255
    for c in range(5):
        there, seen = (truth == c) & known, (predicted == c) & known
        if (there | seen).any():
            naive.append(((there & seen).sum() / (there | seen).sum()).item())
    assert len(naive) == 4  # 4 is only where the truth is unknown
    assert float(mean_iou_of_counts(counts(predicted, truth, 5))) == pytest.approx(np.mean(naive))
    assert iou(confusion(predicted, truth, 5))[4].isnan()


def test_the_criterion_is_its_formula() -> None:
    assert score(0.1, 0.5, 0.2, Weights(2.0, 3.0, 4.0)) == pytest.approx(-(0.2 + 1.5 + 0.8))
    assert score(0.0, 1.0, 0.0) == 0
    assert bits_per_pixel(8192) == 1
    better = [score(0.1, 0.5, 0.2) < s for s in (score(0.05, 0.5, 0.2), score(0.1, 0.6, 0.2), score(0.1, 0.5, 0.1))]
    assert all(better)


class Mean(torch.nn.Module):
    """Stands in for LPIPS: the difference of the means."""

    def features(self, x):
        return x.mean((1, 2, 3))

    def distance(self, a, b):
        return (a - b).abs()


def test_several_pictures_of_one_photo() -> None:
    photo = torch.full((1, 3, 64, 64), 0.5)
    truth = Greyscale().labels(photo)
    shown = torch.stack((photo[0], torch.zeros(3, 64, 64)))
    rsp = Criterion(Greyscale().labels, Mean(), 19, Task(Weights(1, 2, 3))).measure(photo, truth, shown, torch.tensor([0, 512]))
    assert rsp.bpp.tolist() == [0, 1] and rsp.miou.tolist() == [1, 0] and rsp.lpips.tolist() == [0, 0.5]
    assert rsp.score.tolist() == [0, -(1 + 2 + 1.5)]
    assert Criterion(Greyscale().labels, None).measure(photo, truth, shown, torch.zeros(2)).score is None


# ---- codecs by name --------------------------------------------------------------------------------------------------


def test_codecs_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_bit_codec("webp", "street").name == "webp"
    with pytest.raises(SemcastError, match="unknown codec 'zip'; the known are rl-asc, uniform"):
        load_bit_codec("zip", "street")
    with pytest.raises(SemcastError, match="unknown domain"):
        load_bit_codec("webp", "sea")
    asked = []
    monkeypatch.setattr(RlAsc, "load", lambda *given, device: asked.append((*given, device)) or Tiny())
    assert load_bit_codec("greedy", "face", {3: 2}).name == "tiny"
    assert load_bit_codec("area", "face", device="cpu:0").name == "tiny"
    assert asked == [("greedy", "face", {3: 2}, torch.device("cpu")), ("area", "face", None, torch.device("cpu:0"))]
    for name in ("webp", "greedy"):
        with pytest.raises(BadInput, match="no device 'abacus'"):
            load_bit_codec(name, "street", device="abacus")
    assert len(set(BIT_CODECS)) == len(BIT_CODECS)


# ---- the bench -------------------------------------------------------------------------------------------------------


def test_one_line_a_point_and_the_original(tar: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    outcome = bench().run(find_photos([tar], 3), out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == outcome.measured == 3 * 3
    promised = "image codec max_bytes bytes miou lpips_squeeze psnr_db encode_s decode_s"
    assert set(promised.split()) <= lines[0].keys()
    assert read(out, CodecRecord) == outcome.records
    for line in lines:
        assert line["bytes"] <= line["max_bytes"] and line["ok"]
        assert sum(line["truth"]) == sum(line["shown"]) == 256 * 248  # 8 rows are unknown
    original = [r for r in outcome.records if r.codec == "original"]
    assert [r.bytes for r in original] == [RAW_BYTES] * 3 and all(r.miou == 1 and r.psnr_db == 100 for r in original)
    some, more = ([r for r in outcome.records if r.max_bytes == most] for most in (48, 192))
    assert all(a.miou < b.miou for a, b in zip(some, more, strict=True))  # the tiles of the shard are an 8 x 8 grid
    assert [r.bytes for r in some] == [48] * 3 and some[0].bpp == pytest.approx(48 * 8 / 65536, abs=1e-6)


def test_a_photo_without_labels_is_compared_with_what_the_judge_sees(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((512, 256), Image.Resampling.NEAREST).save(tmp_path / "wide.png")
    (record, _) = bench(max_bytes=(96,)).run(find_photos([tmp_path / "wide.png"]), tmp_path / "r.jsonl").records
    assert record.reference == "judge" and record.miou == 1 and sum(record.truth) == 65536
    with pytest.raises(SemcastError, match="must be square"):
        bench(domain=FACE).run(find_photos([tmp_path / "wide.png"]), tmp_path / "f.jsonl")


def test_resumed_where_it_stopped(tar: Path, tmp_path: Path) -> None:
    out, sources = tmp_path / "r.jsonl", find_photos([tar], 3)
    bench().run(sources, out)
    whole = out.read_text().splitlines(keepends=True)
    out.write_text("".join(whole[:4]) + whole[4][:50])
    assert bench().run(sources, out).measured == 5
    timeless = [[{k: v for k, v in json.loads(x).items() if k[-2:] != "_s"} for x in y]
                for y in (whole, out.read_text().splitlines())]  # fmt: skip
    assert timeless[0] == timeless[1]
    more = bench(max_bytes=(48, 192, 300)).run(sources, out)
    assert more.measured == 3 and len(more.records) == 12
    assert bench().run(sources, out, force=True).measured == 9


def test_other_results_are_not_mixed(tar: Path, tmp_path: Path) -> None:
    out, sources = tmp_path / "r.jsonl", find_photos([tar], 1)
    bench().run(sources, out)
    before = out.read_bytes()
    newer, judged = bench(), bench()
    newer.codecs["tiny"].version = "2"
    judged.judge.fingerprint = "other"
    for other, words in ((newer, "another version of tiny"), (judged, "another judge"), (bench(domain=FACE), "domain street")):
        with pytest.raises(SemcastError, match=words):
            other.run(sources, out)
    record = read(out, CodecRecord)[0]
    assert parse(record.line()) is None and parse(record.line(), Record) is None
    with pytest.raises(SemcastError, match="not a semcast result"):
        read(out)
    assert out.read_bytes() == before


def test_what_does_not_fit_is_grey_and_counted(tar: Path, tmp_path: Path) -> None:
    records = bench(max_bytes=(48,), least=100).run(find_photos([tar], 2), tmp_path / "r.jsonl").records
    lost = [r for r in records if r.codec == "tiny"]
    assert all(not r.ok and r.bytes == 0 and sum(s > 0 for s in r.shown) == 1 for r in lost)
    assert as_rows(records)[2][-2:] == ["2", "2"]


def test_a_codec_that_takes_too_much_is_said(tar: Path, tmp_path: Path) -> None:
    greedy = bench(max_bytes=(2,), least=0)
    with pytest.raises(SemcastError, match="at least 1 byte"):
        bench(max_bytes=(5, 0))
    greedy.codecs["tiny"].compress = lambda image, max_bytes: bytes(3)
    with pytest.raises(SemcastError, match="made 3 bytes where 2 are allowed"):
        greedy.run(find_photos([tar], 1), tmp_path / "r.jsonl")


def test_unusable_photos_are_skipped_and_said(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    outcome = bench().run(find_photos([tmp_path]), tmp_path / "r.jsonl")
    assert outcome.measured == 3 and len(outcome.refused) == 1 and "b.png is empty" in outcome.refused[0]
    with pytest.raises(SemcastError, match=r"b.png is empty"):
        bench().run(find_photos([tmp_path / "b.png"]), tmp_path / "s.jsonl")
    source = replace(find_photos([tmp_path / "a.png"])[0], mask=b"PNG?")
    with pytest.raises(SemcastError, match="mask of a.png .* is damaged"):
        bench().run([source], tmp_path / "s.jsonl")


def test_the_miou_of_a_set_is_that_of_all_its_pixels(tar: Path, tmp_path: Path) -> None:
    records = [r for r in bench().run(find_photos([tar], 3), tmp_path / "r.jsonl").records if r.max_bytes == 48]
    total = np.array([[r.hit, r.truth, r.shown] for r in records]).sum(0)
    union = total[1] + total[2] - total[0]
    miou = set_miou(records)
    assert miou.mean == pytest.approx((total[0] / np.maximum(union, 1))[union > 0].mean())
    assert miou.low <= miou.mean <= miou.high and miou.count == 3
    assert miou == set_miou(records)


def test_tables_of_codecs(tar: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    records = bench().run(find_photos([tar], 3), out).records
    assert summary(records).row_count == 3
    lines = tables.render(out).splitlines()
    assert lines[0] == "| " + " | ".join(HEADING) + " |" and len(lines) == 5
    assert [line.split(" | ")[1] for line in lines[2:]] == ["original", "tiny", "tiny"]


# ---- strangers -------------------------------------------------------------------------------------------------------


class Level:
    """Sees one category more wherever it is bright; a distance of brightness."""

    path = Path("level.onnx")

    def labels(self, image: torch.Tensor) -> torch.Tensor:
        return (image.mean(1) > 0.5).long()

    def __call__(self, image: torch.Tensor, received: torch.Tensor) -> torch.Tensor:
        return (image - received).abs().mean()[None]


def test_strangers_judge_beside_our_own(tar: Path, tmp_path: Path) -> None:
    plain, judged = bench(), bench()
    judged.strangers = Strangers(Level(), Level(), None)
    out = tmp_path / "r.jsonl"
    first = plain.run(find_photos([tar], 2), out).records
    again = judged.run(find_photos([tar], 2), out)
    assert again.measured == len(first)  # all of them anew: they lacked the strangers
    records = read(out, CodecRecord)
    assert {r.strangers for r in records} == {"level.onnx efficientnet-lite0"}
    whole = [r for r in records if r.codec == "original"]
    assert [r.efficientnet for r in whole] == [0.0] * 2 and all(r.identity_3 is None for r in records)
    assert all(sum(r.shown_2) == sum(r.truth) and sum(r.hit_2) <= sum(r.truth) and 0 <= r.miou_2 <= 1 for r in records)
    lines = as_rows(records)
    assert lines[0][-2:] == [STRANGERS["hit_2"], STRANGERS["efficientnet"]] and all(len(line) == len(lines[0]) for line in lines)
    assert len(as_rows(first)[0]) == len(HEADING)


def test_a_street_segmenter_is_of_any_size_and_better_than_chance(shared: Path) -> None:
    pytest.importorskip("onnxruntime")
    segmenter = StreetSegmenter(shared / "weights" / USUAL)
    source = next(find_photos([shared / "data" / "street256" / "val-000.tar"], 1).__iter__())
    photo, truth = to_tensor(source.scene(STREET)), torch.from_numpy(source.labels(STREET))
    known = truth < 19
    for size in (256, 200):
        seen = segmenter.labels(torch.nn.functional.interpolate(photo, (size, size)))
        assert seen.shape == (1, size, size) and seen.max() < 19
        if size == 256:
            assert float((seen[0] == truth)[known].float().mean()) > 0.6
    with pytest.raises(SemcastError, match="there is no segmenter model"):
        StreetSegmenter("nowhere.onnx")
    with pytest.raises(SemcastError, match="does not take streets"):
        StreetSegmenter(shared / "weights" / "mobileface_v2.onnx")


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def load(name: str, domain: str, care=None, *, device="cpu") -> Tiny:
        if name not in ("rl-asc", "uniform"):
            raise SemcastError(f"there are no weights of {name} for the domain {domain}")
        return Tiny()

    monkeypatch.setattr(RlAsc, "load", load)
    monkeypatch.setattr(Judge, "load", classmethod(lambda cls, domain: Greyscale()))
    monkeypatch.setattr("semcast.bench.codecs.Lpips.load", lambda net: None)
    yield


def test_command(run: Run, tar: Path, stand_ins: None) -> None:  # noqa: F811
    given = ("evaluate-codec", tar, "--codecs", "rl-asc,uniform", "--max-bytes", "48,192", "--limit", 2, "-o", "r.jsonl")
    code, out, err = run(*given)
    assert code == 0, err
    assert "rl-asc" in out and "original" in out and "10 measured" in err
    assert "0 measured, 10 were there already" in run(*given)[2]
    assert "10 measured" in run(*given, "-f")[2]


def test_what_is_cared_for_is_part_of_the_key(run: Run, tar: Path, stand_ins: None) -> None:  # noqa: F811
    given = ("evaluate-codec", tar, "--codecs", "uniform,webp", "--max-bytes", 192, "--limit", 1, "-o", "r.jsonl")
    assert "3 measured, 0 were" in run(*given)[2]
    code, out, err = run(*given, "--care", "car=2,person")
    assert code == 0 and "1 measured, 2 were there already" in err, err
    assert "uniform, person=4,car=2" in out
    lines = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert [(line["codec"], line["care"]) for line in lines][-1] == ("uniform", "person=4,car=2")
    assert {line["care"] for line in lines[:-1]} == {None}
    assert "0 measured, 3 were" in run(*given, "--care", "person=4,car=2")[2]


def test_a_codec_of_another_package(run: Run, tar: Path, stand_ins: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    class Point:
        name = "theirs"

        def load(self) -> type[Tiny]:
            return Tiny

    def points(group: str, name: str | None = None) -> list[Point]:
        return [Point()] if (group, name) == ("semcast.codecs", "theirs") else []

    monkeypatch.setattr("importlib.metadata.entry_points", points)
    given = ("--codecs", "theirs,webp", "--max-bytes", 400, "--limit", 1, "-o", "r.jsonl")
    code, out, err = run("evaluate-codec", tar, *given)
    assert code == 0 and "theirs" in out and "3 measured" in err, err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--domain", "sea"], "unknown domain 'sea'"),
        (["--codecs", "zip"], "unknown codec 'zip'"),
        (["--codecs", "greedy"], "no weights of greedy"),
        (["--max-bytes", "0"], "at least 1 byte"),
        (["--max-bytes", "x"], "--max-bytes takes numbers"),
        (["--care", "boat"], "no 'boat' in the domain street"),
        (["--codecs", "webp", "--care", "car"], "--care is for rl-asc"),
        (["-o", "r.json"], "extension .jsonl"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_bad_options(run: Run, tar: Path, stand_ins: None, options: list[str], words: str) -> None:  # noqa: F811
    refused(run("evaluate-codec", tar, "--codecs", "rl-asc", "-o", "r.jsonl", *options), words)
    assert not Path("r.jsonl").exists()
