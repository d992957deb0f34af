"""Whether a receiver says that it is unsure where it is, and how it was measured from when on it is not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_cli import Run, run  # noqa: F401 - a fixture

import semcast as sc
from semcast import trust
from semcast.errors import Damaged
from semcast.link import Budget, Received
from semcast.photos import read_mark, read_photo
from semcast.pictures import label
from semcast.train.trust import threshold
from semcast.trust import FILE, UNSURE, count_bits, doubt, find_trust


def arrived(symbols: int, noise: float) -> Received:
    return Received(torch.zeros(1, symbols, dtype=torch.complex64), torch.full((1, symbols), noise), Budget(symbols, 0.0))


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sc.System]:
    """``linear``, measured to need 500 bits."""
    system = sc.load("linear", device="cpu")
    monkeypatch.setenv("SEMCAST_WEIGHTS", str(tmp_path))
    (tmp_path / FILE).write_text(json.dumps({"systems": {"linear": {"bits": 500.0, "fingerprint": system.fingerprint()}}}))
    trust._read.cache_clear()
    yield system
    trust._read.cache_clear()


def test_bits_are_those_of_the_channel() -> None:
    assert float(count_bits(arrived(100, 1.0))) == pytest.approx(100)
    assert float(count_bits(arrived(640, 0.1))) == pytest.approx(640 * math.log2(11))
    half = arrived(640, 0.1)
    half.noise_var[:, 320:] = 1e9  # did not come
    assert float(count_bits(half)) == pytest.approx(320 * math.log2(11), rel=1e-5)
    assert torch.isfinite(count_bits(arrived(5, 0.0))).all()


def test_too_little_is_doubted(known: sc.System) -> None:
    assert doubt(known, arrived(640, 0.5)) == ""
    assert doubt(known, arrived(640, 1.0)) == ""
    said = doubt(known, arrived(64, 0.1))
    assert said.startswith("221 bits came, and linear needs 500") and "somebody else" in said
    other = sc.load("linear-gan", device="cpu")
    assert find_trust(other) is None and doubt(other, arrived(64, 1)) == ""


def test_of_other_weights_nothing_is_known(known: sc.System) -> None:
    name, value = next(iter(known.named_buffers()))
    value.add_(1.0)
    assert find_trust(known) is None


def test_a_system_that_never_was_sure(known: sc.System, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"systems": {"linear": {"bits": None, "fingerprint": known.fingerprint()}}}))
    trust._read.cache_clear()
    assert "never" in doubt(known, arrived(2048, 1e-3))


@pytest.mark.parametrize("text", [
    "", "[]", "{}", "[" * 100_000, '{"systems": {"linear": {"bits": 1%s, "fingerprint": ""}}}' % ("0" * 400),
    '{"systems": {"linear": {"bits": "many", "fingerprint": ""}}}', '{"systems": 3}',
], ids=lambda text: text[:20])  # fmt: skip
def test_a_damaged_file_is_a_sentence(known: sc.System, tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    trust._read.cache_clear()
    with pytest.raises(Damaged, match="does not say whom to trust"):
        find_trust(known)


def test_the_threshold_is_the_least_from_which_on_all_points_are_good() -> None:
    def records(symbols: int, snr: float, verified: list[float], second: list[float] | None = None) -> list[SimpleNamespace]:
        second = second or verified
        pairs = zip(verified, second, strict=True)
        return [SimpleNamespace(symbols=symbols, snr_db=snr, verified=a, verified_2=b) for a, b in pairs]

    bad, good = [1.0, 0.0] * 10, [1.0] * 20
    points = records(100, 0, bad) + records(200, 0, good) + records(400, 0, good)
    assert threshold(points, 0.95) == 200
    assert threshold(points + records(300, 0, bad), 0.95) == 400  # a good point below a bad one is luck
    assert threshold(points + records(500, 0, bad), 0.95) is None
    assert threshold(records(200, 0, good, bad), 0.95) is None  # every recogniser counts
    assert threshold(points, 0.4) == 100


def test_transmit_says_it_on_the_edge_and_in_the_file(run: Run, known: sc.System, tmp_path: Path) -> None:  # noqa: F811
    from skimage.data import astronaut

    from semcast.photos import write_image

    write_image(tmp_path / "me.png", astronaut())
    painter = sc.load("linear-gan", device="cpu")
    told = {"systems": {"linear-gan": {"bits": 500.0, "fingerprint": painter.fingerprint()}}}
    (tmp_path / FILE).write_text(json.dumps(told))
    trust._read.cache_clear()
    given = ("transmit", tmp_path / "me.png", "--system", "linear-gan", "--snr", 10, "--json")
    code, out, err = run(*given, "--symbols", 640, "-o", tmp_path / "sure.png")
    assert code == 0 and json.loads(out)["ok"] and "trust" not in err, err
    code, out, err = run(*given, "--symbols", 64, "-o", tmp_path / "unsure.png")
    values = json.loads(out)
    assert code == 0 and not values["ok"] and "linear-gan needs 500" in values["reason"], err
    assert "the receiver does not trust what it received: 221 bits came" in " ".join(err.split())
    mark = read_mark(tmp_path / "unsure.png")
    assert mark is not None and "unsure: 221 bits came" in mark.sentence and read_mark(tmp_path / "sure.png").doubt == ""
    unsure, sure = read_photo(tmp_path / "unsure.png"), read_photo(tmp_path / "sure.png")
    assert unsure.shape == sure.shape == (256, 256, 3)
    assert (unsure[-3:, 2:6] == (120, 20, 20)).all() and not (sure[-3:, 2:6] == (120, 20, 20)).all()


@pytest.mark.parametrize("side", [32, 256, 700])
def test_the_strip_has_room_for_its_words(side: int) -> None:
    picture = np.full((side, side, 3), 200, np.uint8)
    labelled = label(picture, UNSURE)
    assert labelled.shape == picture.shape and (picture == 200).all()
    changed = (labelled != picture).any(-1).any(1)
    assert changed[-1] and not changed[: side // 2].any()


def test_what_ships_knows_its_own_weights() -> None:
    """Thresholds of other weights than those that ship would never be used: `semcast train trust` measures again."""
    trust._read.cache_clear()
    for name in ("sketch", "generative", "linear-gan"):
        assert find_trust(sc.load(name, device="cpu")) is not None, f"{name} has other weights than trust.json was measured with"
