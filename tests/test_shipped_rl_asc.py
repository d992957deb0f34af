"""The semantic codec's networks that ship: what their files show, how fast they are, and that the bytes are well spent."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, median
from time import process_time

import numpy as np
import pytest
from skimage.data import astronaut

pytest.importorskip("constriction")

from yardstick import slowness

from semcast.bench.codecs import CodecRecord, CodecSweep, set_miou
from semcast.codec.codec import RlAsc, receive
from semcast.domains import DOMAINS, STREET
from semcast.face import align
from semcast.metrics.perceptual import Lpips
from semcast.networks.segmenter import FaceParser, Judge
from semcast.rivals.photo_codecs import load_codec
from semcast.source_coding import BitCodec
from semcast.sources import find_photos

SCARCE, BUDGET = 300, 500


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return align(astronaut(), FaceParser.load())[0]


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_file_keeps_its_budget_and_shows_something(domain: str, portrait: np.ndarray) -> None:
    """Whatever the photo is: a codec of streets may paint a face badly, but in as many bytes."""
    codec = RlAsc.load("rl-asc", domain)
    for most in (200, BUDGET, 1000):
        data = codec.compress(portrait, most)
        assert 50 < len(data) <= most
        shown = receive(data)
        assert shown.pixels.shape == (256, 256, 3) and not shown.notes and shown.pixels.std() > 10


def test_a_face_is_nearer_to_its_photo_with_more_bytes(portrait: np.ndarray) -> None:
    codec = RlAsc.load("uniform", "face")
    pictures = [receive(codec.compress(portrait, most)).pixels for most in (150, 400, 1000)]
    errors = [float(np.square(picture.astype(float) - portrait).mean()) for picture in pictures]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 255**2 * 10 ** (-18 / 10)


@pytest.mark.timed
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_photo_takes_less_than_a_third_of_a_second(domain: str, portrait: np.ndarray) -> None:
    codec = RlAsc.load("rl-asc", domain)
    spent: dict[str, list[float]] = {"encode": [], "decode": []}
    for _ in range(5):  # seconds of this process on all its threads: what others do on the machine does not count
        begun = process_time()
        data = codec.compress(portrait, BUDGET)
        spent["encode"].append(process_time() - begun)
        begun = process_time()
        codec.receive(data)
        spent["decode"].append(process_time() - begun)
    assert max(map(median, spent.values())) < 3 * 0.3 * slowness()  # the aim, and a margin for slower machines


@pytest.fixture(scope="module")
def measured(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[CodecRecord]]:
    """Twelve streets of val through the codec, its plain allocation and AVIF, at 300 and 500 bytes."""
    pytest.importorskip("pillow_heif")
    names = ("rl-asc", "uniform", "avif")
    codecs: dict[str, BitCodec] = {n: load_codec(n) if n == "avif" else RlAsc.load(n, "street") for n in names}
    bench = CodecSweep(STREET, codecs, (SCARCE, BUDGET), Judge.load("street"), Lpips.load("squeeze"))
    photos = find_photos([shared / "data" / "street256" / "val-000.tar"], 12)
    records = bench.run(photos, tmp_path_factory.mktemp("codecs") / "r.jsonl").records
    return {name: [r for r in records if r.codec == name] for name in (*names, "original")}


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "times"), [(SCARCE, 1.8), (BUDGET, 1.5)])
def test_streets_beat_the_codec_of_today(measured: dict[str, list[CodecRecord]], budget: int, times: float) -> None:
    """By how much is in results/; this is a guard. The judge on these photos themselves: 2.2 times AVIF at 500 bytes."""
    chosen = {name: [r for r in records if r.max_bytes == budget] for name, records in measured.items() if name != "original"}
    miou = {name: set_miou(records).mean for name, records in chosen.items()}
    assert miou["rl-asc"] > times * miou["avif"] and miou["rl-asc"] > 0.72 * set_miou(measured["original"]).mean
    lpips = {name: mean(r.lpips_squeeze for r in records if r.lpips_squeeze is not None) for name, records in chosen.items()}
    assert lpips["rl-asc"] < 0.8 * lpips["avif"]
    assert all(r.bytes <= budget for r in chosen["rl-asc"])


@pytest.mark.slow
def test_the_policy_spends_better_than_all_alike(measured: dict[str, list[CodecRecord]]) -> None:
    score = {name: mean(r.rsp for r in measured[name] if r.rsp is not None) for name in ("rl-asc", "uniform")}  # both budgets
    assert score["rl-asc"] > score["uniform"]


@pytest.mark.slow
def test_the_demonstration_has_a_picture_and_a_row_for_each_size() -> None:
    from semcast.metrics.report import Metrics
    from semcast.studies.demo import MAX_BYTES, run_codec_demo

    pytest.importorskip("pillow_heif")
    shown = run_codec_demo(Metrics({}, None, []))
    assert shown.table.row_count == len(MAX_BYTES) and shown.picture.shape[1] > 4 * 256
