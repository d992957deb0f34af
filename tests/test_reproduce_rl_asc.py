"""The study of the semantic codec with tiny networks: every file of it, resumed; and its statistics on made-up records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("constriction")

from test_cli import Run, refused, run  # noqa: E402, F401 - a fixture
from test_codecs import Greyscale  # noqa: E402
from test_rl_asc import networks, photo_of, shipped  # noqa: E402, F401 - fixtures
from test_sem import policy  # noqa: E402, F401 - a fixture

from semcast.bench import plots
from semcast.bench.codecs import CodecRecord
from semcast.bench.records import read
from semcast.codec.allocation import PLAIN
from semcast.codec.bitstream import unpack
from semcast.codec.codec import Networks, RlAsc
from semcast.codec.ladder import V1, V2, Ladder
from semcast.codec.painter import paint
from semcast.errors import SemcastError
from semcast.metrics.perceptual import missing
from semcast.networks.segmenter import Judge
from semcast.photos import to_uint8
from semcast.sources import find_photos
from semcast.studies import codec_run, targets
from semcast.studies import study as studies
from semcast.studies.codec import measure_codec
from semcast.studies.codec_run import FULL, QUICK, CodecRun, load_run
from semcast.studies.noise import BITS, NoiseRecord, flip_bits, flip_indices, pool
from semcast.studies.report import report
from semcast.studies.search import OracleRecord
from semcast.studies.targets import Target

SMALL = replace(
    QUICK, named=(1200, 1500), main=1500, budgets=(1500,), standard=(400, 1500), oracle_budgets=(700,), small_budgets=(400,),
    oracle_photos=1, small_photos=1, small_concepts=1, noise_photos=2, rates=(1e-3, 1e-1), sheet_photos=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    """The newest."""
    return V2


@pytest.fixture
def shard(shipped: Path, policy: None, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    monkeypatch.setattr(Judge, "load", classmethod(lambda cls, domain: Greyscale()))
    monkeypatch.setattr(codec_run, "STANDARD", ("webp", "jpeg2000"))
    return shipped / "street256" / "val-000.tar"


def test_a_version_is_measured_at_budgets_of_use_to_it() -> None:
    first = FULL.of(V1)
    assert first.named == (300, 500, 1000) and max(first.budgets) == 1000 and first.main == FULL.main
    assert FULL.of(V2) == FULL and 2000 in FULL.named and set(FULL.named) <= set(FULL.budgets)


@pytest.mark.slow
def test_the_whole_study_and_again(shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(studies.STUDIES, "rl-asc", replace(studies.STUDIES["rl-asc"], sizes=(SMALL, SMALL)))
    out = tmp_path / "out"
    written = {path.name for path in studies.reproduce("rl-asc", shard, out, command="semcast reproduce rl-asc")}
    tables = {f"{name}.md" for name in ("rates", "paired", "branches", "noise", "tasks", "layouts", "targets", "claims")}
    pictures = {"rates.png", "rates.svg", "noise.png", "noise.svg", "sheet.png", "made.png", "coded.png"}
    assert written >= tables | pictures | {"targets.json", "run.json"}
    found = json.loads((out / "targets.json").read_text())
    named = {target["what"]: target for target in found}
    assert len(named) == len(found) == 22 and named["encode, ms"]["value"] > 0
    assert named["mIoU / that of the best standard codec, 1500 bytes"]["value"] is not None
    rows = (out / "rates.md").read_text().splitlines()
    assert {"rl-asc", "uniform", "area", "random", "webp", "original"} <= {row.split(" | ")[1] for row in rows[2:]}
    spoilt = read(out / "noise.jsonl", NoiseRecord)
    assert len(spoilt) == 2 * (2 + 2) * 3 and all(r.errors == 0 and r.decoded for r in spoilt if r.rate == 0)
    assert all(r.bytes > 280 for r in spoilt)  # indices and not the layout alone: else there is nothing to spoil
    assert all(r.errors > 0 for r in spoilt if r.rate == 0.1)
    whole = {r.image: r.hit for r in spoilt if r.rate == 0 and r.codec == "rl-asc" and r.test == BITS}
    assert all(r.hit == whole[r.image] for r in spoilt if r.rate == 0 and r.codec == "rl-asc")  # all tests begin alike
    if missing("squeeze") is None:
        searched = read(out / "oracle.jsonl", OracleRecord)
        assert {r.allocation for r in searched if r.case == "photo"} == {"rl-asc", "uniform", "random", "area", "greedy"}
        small = {r.allocation: r.score for r in searched if r.case == "small"}
        assert set(small) == {"rl-asc", "uniform", "random", "area", "greedy", "exhaustive"}
        assert max(small.values()) <= small["exhaustive"] + 1e-5
        assert "exhaustive" in (out / "oracle.md").read_text()
    before = {path.name: path.read_bytes() for path in out.glob("*.jsonl")}
    assert report(out, [], check=True) == []  # out of the records alone it is all the same
    monkeypatch.setattr(plots, "draw", lambda *_: [])  # drawn once is enough
    again = load_run("street", find_photos([shard]), out, SMALL)
    measure_codec(again)
    assert {path.name: path.read_bytes() for path in out.glob("*.jsonl")} == before
    again.policy.fingerprint = "another"
    with pytest.raises(SemcastError, match="another version of rl-asc|other networks"):
        measure_codec(again)


def test_command(run: Run, shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    called: list[CodecRun] = []
    monkeypatch.setattr("semcast.studies.codec.measure_codec", lambda made: called.append(made) or made.write("x.md", ""))
    code, _, err = run("reproduce", "rl-asc", shard, "--domain", "street", "--quick", "-o", "results/rl-asc")
    assert code == 0 and "x.md" in err and called[0].size == QUICK
    assert called[0].command.endswith("--domain street --quick -o rl-asc") and len(called[0].sources) == 2
    refused(run("reproduce", "rl-asc", shard, "--domain", "sea", "-o", "no"), "unknown domain")
    refused(run("reproduce", "rl-asc", shard, "-o", "x.json"), "name a folder")


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_bit_errors_are_as_many_as_asked() -> None:
    data = bytes(1000)
    assert flip_bits(data, 0.0, np.random.default_rng(0)) == (data, 0)
    spoilt, errors = flip_bits(data, 0.1, np.random.default_rng(0))
    assert errors == sum(byte.bit_count() for byte in spoilt) and 650 < errors < 950 and len(spoilt) == len(data)


def test_index_errors_stay_in_their_alphabet(networks: Networks) -> None:  # noqa: F811
    codec = RlAsc(networks, PLAIN["uniform"], "uniform")
    stream = codec.compress(photo_of(3), 1500)
    sent = unpack(stream, networks.tables)
    layout, concepts, errors = flip_indices(sent, 0.0, np.random.default_rng(0), V2, layout=True)
    shown = to_uint8(paint(networks.codec, [layout], [concepts]))
    assert errors == 0 and np.array_equal(shown, codec.decompress(stream))
    layout, concepts, errors = flip_indices(sent, 0.5, np.random.default_rng(0), V2, layout=False)
    assert layout is sent.layout
    pairs = [(bad, good) for bad, good in zip(concepts, sent.concepts, strict=True) if good.indices is not None]
    assert pairs and all((bad.category, bad.level) == (good.category, good.level) for bad, good in pairs)
    assert errors == sum(int((bad.indices != good.indices).sum()) for bad, good in pairs)
    assert all((bad.indices < V2.alphabet(good.level)).all() for bad, good in pairs)
    layout, _, _ = flip_indices(sent, 1.0, np.random.default_rng(0), V2, layout=True)
    assert (layout != sent.layout).all() and layout.max() < 19


def test_draws_of_a_photo_are_pool() -> None:
    def record(image: str, draw: int, hit: int, decoded: bool) -> NoiseRecord:
        return NoiseRecord(image, BITS, "webp", "street", 500, 0.1, draw, "", 500, 1, decoded, None, None, [hit], [10], [10])

    found = pool([record("a", 0, 10, True), record("a", 1, 0, False), record("b", 0, 5, True)])
    assert [(p.hit, p.truth, p.decoded) for p in found] == [([10], [20], 0.5), ([5], [10], 1.0)]


# ---- ratios ----------------------------------------------------------------------------------------------------------


def coded(codec: str, most: int, hit: int, image: str = "a", lpips: float | None = 0.4, rsp: float = -1.0) -> CodecRecord:
    return CodecRecord(
        image=image, codec=codec, domain="street", max_bytes=most, version="", judge="", reference="mask", ok=True, bytes=most,
        bpp=0.1, miou=hit / 100, lpips_squeeze=lpips, psnr_db=20.0, rsp=rsp, encode_s=0.01, decode_s=0.02, hit=[hit], truth=[100],
        shown=[hit],
    )  # fmt: skip


def test_ratios_against_the_best_standard_codec() -> None:
    records = [
        coded(codec, most, hit, image, lpips)
        for image in "abc"
        for codec, most, hit, lpips in (
            ("rl-asc", 500, 60, 0.2), ("avif", 500, 30, 0.5), ("hevc", 500, 20, 0.4), ("avif", 1000, 50, 0.4),
            ("avif", 2000, 70, 0.3),
        )
    ]  # fmt: skip
    seen, looks, learned, needed = targets._against_standard(records, 500, 500)
    assert seen.value == pytest.approx(2.0) and seen.note == "avif" and seen.verdict == "must"
    assert needed.value == pytest.approx(1000 * 2**0.5 / 500) and needed.note.startswith("avif")
    assert looks.value == pytest.approx(0.5) and looks.note == "hevc" and looks.verdict == "must"
    assert learned.verdict == "not measured"
    few = [record for record in records if record.max_bytes == 500]
    *_, bound = targets._against_standard(few, 500, 500)
    assert bound.value == 1 and "lower bound" in bound.note
    assert {target.verdict for target in targets._against_standard([], 300, 500)} == {"not measured"}


def test_what_more_bytes_buy_and_what_a_task_gains() -> None:
    scored = ((500, -0.9), (1000, -0.87), (2000, -0.87))
    records = [coded("rl-asc", most, 50, image, rsp=rsp) for image in "ab" for most, rsp in scored]
    one, two = targets._room_targets(records, (300, 500, 1000, 2000), 500)
    assert one.value == pytest.approx(0.03) and one.verdict == "must" and two.verdict == "missed"
    scores = (("rl-asc", -0.5), ("uniform", -0.52))
    told = [SimpleNamespace(image=image, task="signs", codec=codec, max_bytes=500, score=score)
            for image in "ab" for codec, score in scores]  # fmt: skip
    (gain,) = targets._task_targets(told)
    assert gain.value == pytest.approx(0.02) and gain.verdict == "must" and "signs" in gain.what


def test_paired_differences_and_verdicts() -> None:
    records = [coded(codec, 500, 50, image, rsp=rsp + i / 100) for i, image in enumerate("abcd")
               for codec, rsp in (("rl-asc", -0.8), ("uniform", -0.9))]  # fmt: skip
    gap = targets.difference(records, "rl-asc", "uniform", 500, "rsp")
    assert gap is not None and gap.mean == pytest.approx(0.1) and gap.low == pytest.approx(0.1)
    assert targets.difference(records, "rl-asc", "area", 500, "rsp") is None
    records += [coded("rl-asc", 1000, 50, rsp=-0.5), coded("uniform", 1000, 50, rsp=-0.3), coded("uniform", 300, 5, "b")]
    whole = targets.difference(records, "rl-asc", "uniform", None, "rsp")  # photo a: the mean of +0.1 and -0.2
    assert whole is not None and whole.count == 4 and whole.mean == pytest.approx((3 * 0.1 - 0.05) / 4)
    clear = Target("x", 0.1, 0, low=-0.1, high=0.3, clear=True)
    assert clear.verdict == "missed" and replace(clear, low=0.01).verdict == "must"
    assert Target("ms", 250.0, 300, 100, over=False).verdict == "must"
    assert Target("x", 0.5, None, 1, over=False).verdict == "aim" and Target("x", 2.0, None, 1, over=False).verdict == "no"
