"""What the abstract of RL-ASC claims, out of made-up records; and coding for a task with tiny networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("constriction")

from test_codecs import Greyscale  # noqa: E402
from test_reproduce_rl_asc import coded  # noqa: E402
from test_rl_asc import networks, photo_of, shipped  # noqa: E402, F401 - fixtures
from test_sem import policy  # noqa: E402, F401 - a fixture

from semcast.bench.records import read  # noqa: E402
from semcast.codec.allocation import area  # noqa: E402
from semcast.codec.bitstream import unpack  # noqa: E402
from semcast.codec.codec import Networks, RlAsc  # noqa: E402
from semcast.codec.ladder import V2, Ladder  # noqa: E402
from semcast.networks.segmenter import Judge  # noqa: E402
from semcast.sources import find_photos  # noqa: E402
from semcast.studies import codec_run  # noqa: E402
from semcast.studies.claims import Claim  # noqa: E402
from semcast.studies.codec_claims import claim_all  # noqa: E402
from semcast.studies.codec_run import QUICK, load_run  # noqa: E402
from semcast.studies.noise import BITS, SAFE, NoiseRecord  # noqa: E402
from semcast.studies.tasks import COMPARED, UNTOLD, WEIGHTED, TaskRecord, tabulate, tell  # noqa: E402


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    """The newest."""
    return V2


def claims(**records: list) -> dict[str, Claim]:
    given = {"records": [], "branches": [], "noisy": [], "told": []} | records
    return {claim.says: claim for claim in claim_all(budgets=(500,), main=500, **given)}


def test_nothing_measured_is_said_of_every_claim() -> None:
    assert {claim.holds for claim in claims().values()} == {"not measured"}


def test_against_codecs_in_use() -> None:
    records = [
        coded(codec, most, hit, image, lpips, rsp)
        for image in "abc"
        for codec, most, hit, lpips, rsp in (
            ("rl-asc", 500, 60, 0.2, -0.7), ("uniform", 500, 55, 0.2, -0.8), ("area", 500, 55, 0.2, -0.7),
            ("avif", 500, 30, 0.4, -1.0), ("avif", 1500, 60, 0.25, -1.0), ("avif", 2000, 70, 0.1, -1.0),
        )
    ]  # fmt: skip
    found = claims(records=records)
    times = found["saves times of bit cost compared to standard codecs"]
    assert times.holds == "holds" and times.measured.startswith("mIoU: 3.0 times (avif, 1500 bytes); LPIPS: 3.3 times")
    assert found["saves times of bit cost compared to other deep learning-based image codecs"].holds == "not measured"
    assert found["reconstructs visually pleasant images"].holds == "holds"
    assert found["reconstructs semantically consistent images"].measured.startswith("2.000 [2.000, 2.000] at 500 bytes (avif")
    allocates = "allocates bits by reinforcement learning, adaptively (against {})"
    assert found[allocates.format("uniform")].holds == "holds" and found[allocates.format("area")].holds == "does not hold"
    cheap = [replace(record, hit=[60]) if record.codec == "avif" else record for record in records]
    assert claims(records=cheap)["saves times of bit cost compared to standard codecs"].holds == "in part: 1 of 2"


def test_noise_and_branches() -> None:
    def noisy(test: str, codec: str, rate: float, hit: int, decoded: bool = True) -> NoiseRecord:
        return NoiseRecord("a", test, codec, "street", 500, rate, 0, "", 500, 1, decoded, None, None, [hit], [100], [hit])

    errors = [noisy(SAFE, "rl-asc", rate, hit) for rate, hit in ((0.0, 80), (0.01, 79), (0.1, 70))]
    errors += [noisy(BITS, "rl-asc", 1e-3, 0, decoded=False), noisy(BITS, "rl-asc", 1e-3, 0), noisy(BITS, "avif", 1e-3, 0)]
    found = claims(noisy=errors)
    safe = found["is noise robust (errors in what was quantised, layout safe)"]
    assert safe.holds == "in part: 1 of 2" and safe.measured == "98.8% at 0.01; 87.5% at 0.1"
    files = found["(not in the abstract) the same of errors in the bits of whole files"]
    assert files.holds == "does not hold" and files.measured == "50% against 100% (avif) at 0.001"
    branches = [coded(branch, 500, hit, image, lpips) for image in "ab"
                for branch, hit, lpips in (("fused", 60, 0.2), ("global", 50, 0.3), ("local", 60, 0.2))]  # fmt: skip
    found = claims(branches=branches)
    assert found["fuses locally and globally by attention (against the global branch alone)"].holds == "holds"
    assert found["fuses locally and globally by attention (against the local branch alone)"].holds == "does not hold"


def told(task: str, codec: str, score: float, image: str = "a", hit: int = 5) -> TaskRecord:
    return TaskRecord(image, task, codec, "street", 500, "", True, 490, score, 0.5, 0.2, [1], [9, hit], [9, 10], [9, 10])


def test_tasks_are_compared_photo_by_photo() -> None:
    records = [
        told(task, codec, score - i / 10, image, hit)
        for i, image in enumerate("ab")
        for task, codec, score, hit in (
            ("signs", "rl-asc", -0.5, 8), ("signs", UNTOLD, -0.6, 5), ("signs", "uniform", -0.7, 5),
            ("signs", WEIGHTED, -0.4, 5), ("people", "rl-asc", -0.5, 8), ("people", UNTOLD, -0.5, 5),
            ("people", "uniform", -0.7, 5), ("people", WEIGHTED, -0.9, 5),
        )
    ]  # fmt: skip
    rows = {(row[0], row[1]): row for row in tabulate(records)[1:]}
    assert rows["signs", UNTOLD][4] == "0.100 [0.100, 0.100]" and rows["signs", "rl-asc"][4] == "-"
    assert rows["signs", "rl-asc"][5] == f"{16 / 24:.3f}", "16 of 24 pixels of the category that counts"
    holds = {says.rpartition("(")[2]: claim.holds for says, claim in claims(told=records).items() if says.startswith("preserves")}
    assert holds == {"against rl-asc, untold)": "in part: 1 of 2", "against uniform)": "holds",
                     "against area x weight)": "in part: 1 of 2"}  # fmt: skip


def test_area_gives_more_to_what_counts(networks: Networks) -> None:  # noqa: F811
    photo = photo_of(3)
    plain = RlAsc(networks, area, "area")
    stream = unpack(plain.compress(photo, 700), networks.tables)
    smallest = min(stream.concepts, key=lambda concept: len(concept.cells)).category
    caring = RlAsc(networks, area, "area x weight", care={smallest: 200}, told=True)
    assert caring.version != RlAsc(networks, area, "area x weight", care={smallest: 200}).version
    cared = unpack(caring.compress(photo, 700), networks.tables)
    told, usual = (next(c.level for c in each.concepts if c.category == smallest) for each in (cared, stream))
    assert told > usual


@pytest.mark.slow
def test_told_what_it_is_for(
    shipped: Path, policy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setattr(Judge, "load", classmethod(lambda cls, domain: Greyscale()))
    monkeypatch.setattr(codec_run, "STANDARD", ())
    sources = find_photos([shipped / "street256" / "val-000.tar"])
    run = load_run("street", sources, tmp_path, replace(QUICK, task_photos=1, main=1500))
    records = tell(run)
    assert {(r.task, r.codec) for r in records} == {(task, codec) for task in run.tasks for codec in COMPARED}
    assert {r.image for r in records} == {sources[0].name} and all(r.ok and 0 < r.bytes <= 1500 for r in records)
    assert read(tmp_path / "tasks.jsonl", TaskRecord) == records == tell(run)
    table = (tmp_path / "tasks.md").read_text()
    assert all(table.count(f"| {task} |") == len(COMPARED) for task in run.tasks)
    mean = {codec: np.mean([r.bytes for r in records if r.codec == codec]) for codec in COMPARED}
    assert mean["rl-asc"] != mean[UNTOLD], "what is cared for stands in the file"
