"""Unequal protection: parts of a file in code blocks of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("constriction")
pytest.importorskip("sionna")

from test_codecs import Greyscale  # noqa: E402
from test_rl_asc import networks, shipped  # noqa: E402, F401 - fixtures
from test_sem import policy  # noqa: E402, F401 - a fixture

from semcast.bench.records import read  # noqa: E402
from semcast.codec.ladder import V2, Ladder  # noqa: E402
from semcast.networks.segmenter import Judge  # noqa: E402
from semcast.rivals.modem import Modem, scheme_named, threshold_db  # noqa: E402
from semcast.sources import find_photos  # noqa: E402
from semcast.studies import codec_run, protection  # noqa: E402
from semcast.studies.codec_run import QUICK, load_run  # noqa: E402
from semcast.studies.protection import EQUAL, UNEQUAL, Protection, ProtectionRecord, protect, send, tabulate  # noqa: E402

K = 512
BOTH = Protection("qpsk-1/3", "16qam-3/4", 0.5)


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    """The newest."""
    return V2


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_parts_fill_the_burst_and_the_first_one_reaches_further() -> None:
    for each in UNEQUAL:
        assert sum(symbols for _, symbols in each.parts(K)) == K
        assert 1 >= each.reach(K, 10.0)[0] >= each.reach(K, 10.0)[1] >= 0
    assert [len(each.parts(K)) for each in EQUAL] == [1] * len(EQUAL)
    (room,) = Protection("16qam-1/2").rooms(K)
    assert room == Modem(scheme_named("16qam-1/2")).payload_bytes(K)


def test_a_fade_takes_the_rest_first() -> None:
    file = np.random.default_rng(0).bytes(sum(BOTH.rooms(K)))
    assert send(file, BOTH, K, 60.0, seeded(0), draws=4) == [0, 0, 4]
    assert send(file, BOTH, K, -30.0, seeded(0), draws=4) == [4, 0, 0]
    none, first, every = send(file, BOTH, K, 10.0, seeded(1), draws=40)
    assert none + first + every == 40 and first > 0 < every
    expected = BOTH.reach(K, 10.0)
    assert abs((first + every) / 40 - expected[0]) < 0.25 and abs(every / 40 - expected[1]) < 0.25
    alike = send(file[:40], Protection("16qam-3/4"), K, 10.0, seeded(1), draws=40)
    assert alike[1] == 0 and alike[2] <= first + every, "the same fades: what is less robust never arrives more often"


def test_reach_is_that_of_rayleigh() -> None:
    needed = threshold_db(scheme_named("qpsk-1/3"), K)
    assert Protection("qpsk-1/3").reach(K, needed)[0] == pytest.approx(np.exp(-1))


def record(image: str, name: str, arrived: list[int], miou: list[float]) -> ProtectionRecord:
    return ProtectionRecord(image, "street", name, K, 10.0, "", [50, 100], miou, [0.9, 0.5, 0.3], [[1], [5], [8]], [[9]] * 3,
                            [[9]] * 3, arrived)  # fmt: skip


def test_differences_are_photo_by_photo() -> None:
    records = [record(f"{i}", "a", [4, 0, 4], [0.0, 0.2, 0.4 + i / 10]) for i in range(3)]
    records += [record(f"{i}", "b", [2, 6, 0], [0.0, 0.2, 0.4 + i / 10]) for i in range(3)]
    rows = tabulate(records, {(10.0, False): "a", (10.0, True): "b"})
    assert [row[1] for row in rows[1:]] == ["a", "b"] and rows[1][5] == "-" and rows[1][3] == "50% / 0% / 50%"
    means = [np.dot(r.shares, r.scores) for r in records]
    assert rows[2][5].startswith(f"{np.mean(means[3:]) - np.mean(means[:3]):.3f}")


@pytest.mark.slow
def test_chosen_on_some_photos_and_measured_on_others(
    shipped: Path, policy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setattr(Judge, "load", classmethod(lambda cls, domain: Greyscale()))
    monkeypatch.setattr(codec_run, "STANDARD", ())
    monkeypatch.setattr(protection, "SNRS_DB", (15.0,))
    names = ("qpsk-2/3", "16qam-1/2", "16qam-1/2 for 0.5, 16qam-3/4", "qpsk-2/3 for 0.5, 16qam-3/4")
    monkeypatch.setattr(protection, "BY_NAME", {name: protection.BY_NAME[name] for name in names})
    sources = find_photos([shipped / "street256" / "val-000.tar"])
    run = load_run("street", sources, tmp_path, replace(QUICK, noise_photos=1))
    records = protect(run)
    assert {r.image for r in records} == {sources[0].name} and all(sum(r.arrived) == protection.DRAWS for r in records)
    kept = read(tmp_path / "protection.jsonl", ProtectionRecord)
    assert {r.image for r in kept if r.snr_db is None} == {sources[1].name}
    table = (tmp_path / "protection.md").read_text()
    assert table.count("| 15 |") == 2
    assert protect(load_run("street", sources, tmp_path, replace(QUICK, noise_photos=1))) == records
    assert protect(replace(run, sources=sources[:1])) == []
