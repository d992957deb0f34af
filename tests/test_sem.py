"""encode, decode, inspect: a photo to a file and back, the receipt, and one clear sentence for everything else."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("constriction")

from test_cli import HERE, Run, refused, run  # noqa: E402, F401 - a fixture
from test_rl_asc import networks, no_policy, photo_of, shipped  # noqa: E402, F401 - fixtures

from semcast.codec.front import MAX_FILE
from semcast.codec.ladder import V2, Ladder
from semcast.codec.policy import Policy, PolicyConfig, count_observed
from semcast.codec.receipt import draw_overlay, itemise
from semcast.domains import CARED, FACE, STREET
from semcast.errors import SemcastError
from semcast.rivals.digital import mean_picture
from semcast.weights import save

BUDGET = 1500


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    """The newest."""
    return V2


@pytest.fixture
def street(tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(photo_of(3)).resize((400, 200)).save(path)
    return path


@pytest.fixture
def file(run: Run, street: Path, shipped: Path) -> Path:  # noqa: F811
    code, out, err = run(
        "encode", street, "--domain", "street", "--max-bytes", BUDGET, "--allocation", "uniform", "--care", "car", "-o", "x.sem"
    )
    assert code == 0 and out == "" and "x.sem" in err and "bytes" in err, err
    return Path("x.sem").absolute()


def test_there_and_back(run: Run, file: Path) -> None:  # noqa: F811
    assert 0 < file.stat().st_size <= BUDGET
    assert run("decode", file, "-o", "a.png") == (0, "", "")
    assert run("decode", file, "-o", "b.png", "--stretch")[0] == 0
    with Image.open("a.png") as square, Image.open("b.png") as wide:
        assert square.size == (256, 256) and wide.size == (400, 200)
    before = Path("a.png").read_bytes()
    refused(run("decode", file, "-o", "a.png"), "a.png exists already")
    assert Path("a.png").read_bytes() == before
    assert run("decode", file, "-o", "a.png", "-f")[0] == 0


def test_on_a_device(run: Run, street: Path, file: Path) -> None:  # noqa: F811
    how = ("--domain", "street", "--max-bytes", BUDGET, "--allocation", "uniform", "--care", "car")
    assert run("encode", street, *how, "--device", "cpu", "-o", "y.sem")[0] == 0
    assert Path("y.sem").read_bytes() == file.read_bytes()
    assert run("decode", file, "--device", "cpu", "-o", "a.png") == run("decode", file, "-o", "b.png") == (0, "", "")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_the_receipt_adds_up(run: Run, file: Path) -> None:  # noqa: F811
    code, out, err = run("inspect", file, "--json", "-o", "o.png")
    assert code == 0 and err == "", err
    values = json.loads(out)
    spent = sum(values["sections"].values()) + sum(concept["bytes"] for concept in values["concepts"])
    assert spent == pytest.approx(values["bytes"], abs=0.1) and values["bytes"] == file.stat().st_size
    assert (values["width"], values["height"]) == (400, 200) and values["care"] == {"car": CARED}
    assert sum(concept["cells"] for concept in values["concepts"]) == 256
    assert {concept["state"] for concept in values["concepts"]} <= {"sent", "skipped"}
    with Image.open("o.png") as picture:
        assert picture.width > 1024
    refused(run("inspect", file, "-o", "o.png"), "o.png exists already")
    code, out, _ = run("inspect", file)
    assert code == 0 and "layout" in out and "car x 4" in out and values["concepts"][0]["category"] in out


def test_a_damaged_file_shows_what_arrived(run: Run, file: Path) -> None:  # noqa: F811
    cut = Path("cut.sem")
    cut.write_bytes(file.read_bytes()[:-30])
    code, _, err = run("decode", cut, "-o", "cut.png")
    assert code == 0 and "ends within section" in err and "did not arrive" in err and Path("cut.png").exists()
    code, out, err = run("inspect", cut, "--json")
    values = json.loads(out)
    assert code == 0 and "lost" in {concept["state"] for concept in values["concepts"]} and values["notes"]
    assert draw_overlay(itemise(cut.read_bytes())).shape[1] > 1024
    whole = bytearray(file.read_bytes())
    whole[-5] ^= 64
    Path("bent.sem").write_bytes(whole)
    code, _, err = run("decode", "bent.sem", "-o", "bent.png")
    assert code == 0 and "damaged" in err


def test_foreign_files(run: Run, file: Path, tmp_path: Path) -> None:  # noqa: F811
    data = file.read_bytes()
    for name, content, words in (
        ("empty.sem", b"", "no .sem file"),
        ("png.sem", b"\x89PNG" + bytes(60), "no .sem file"),
        ("long.sem", data + bytes(MAX_FILE), "too long"),
        ("head.sem", data[:20], "ends within its layout"),
        ("tiny.sem", data[:5], "ends within"),
    ):
        Path(name).write_bytes(content)
        for given in (("decode", name, "-o", "no.png"), ("inspect", name), ("inspect", name, "-o", "no.png")):
            refused(run(*given), words)
    refused(run("decode", "none.sem", "-o", "no.png"), "does not exist")
    (tmp_path / "empty").mkdir()
    refused(run("inspect", tmp_path / "empty"), "folder")
    other = bytearray(data)
    other[3] ^= 1  # the networks' number, which the check covers
    Path("other.sem").write_bytes(other)
    refused(run("decode", "other.sem", "-o", "no.png"), "damaged")
    assert not Path("no.png").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--domain", "sea"], "unknown domain 'sea'"),
        (["--care", "boat"], "no 'boat' in the domain street"),
        (["--care", "car=0"], "whole number from 1 to 255"),
        (["--care", "car,car=2"], "cared for twice"),
        (["--allocation", "best"], "unknown allocation 'best'"),
        (["--allocation", "rl-asc"], "allocation-street"),
        (["--max-bytes", "9"], "needs at least"),
        (["--max-bytes", "x"], "--max-bytes"),
        (["-o", "x.png"], "extension .sem"),
        (["-o", "no/x.sem"], "does not exist"),
    ],
)
def test_bad_options(run: Run, street: Path, shipped: Path, no_policy: None, options: list[str], words: str) -> None:  # noqa: F811
    refused(run("encode", street, "--domain", "street", "--allocation", "uniform", "-o", "x.sem", *options), words)
    assert not Path("x.sem").exists()


def test_bad_photos_and_nothing_overwritten(run: Run, street: Path, shipped: Path) -> None:  # noqa: F811
    given = ("--domain", "street", "--allocation", "uniform", "--max-bytes", BUDGET, "-o", "x.sem")
    Path("text.png").write_text("no image")
    refused(run("encode", "text.png", *given), "not an image")
    refused(run("encode", "none.png", *given), "does not exist")
    refused(run("encode", street, "-o", "x.sem"), "--domain")
    Path("x.sem").write_bytes(b"old")
    refused(run("encode", street, *given), "x.sem exists already")
    assert Path("x.sem").read_bytes() == b"old"
    assert run("encode", street, *given, "-f")[0] == 0 and Path("x.sem").stat().st_size > 3


def test_no_face(run: Run, street: Path, tmp_path: Path) -> None:  # noqa: F811
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((300, 300, 3), 90, np.uint8)).save(grey)
    refused(run("encode", grey, "--domain", "face", "-o", "x.sem"), "no face")
    refused(run("encode", street, "--domain", "face", "--aligned", "-o", "x.sem"), "must be square")
    assert not Path("x.sem").exists()


def test_folders_and_streams(run: Run, street: Path, shipped: Path) -> None:  # noqa: F811
    Path("photos").mkdir()
    for name in ("a.png", "b.png"):
        (Path("photos") / name).write_bytes(street.read_bytes())
    (Path("photos") / "bad.png").write_bytes(b"")
    given = ("--domain", "street", "--max-bytes", BUDGET, "--allocation", "uniform", "-o")
    code, _, err = run("encode", "photos", *given, "sems")
    assert code == 2 and "bad.png is empty" in err and "1 of 3 files could not be done" in err, err
    assert sorted(path.name for path in Path("sems").iterdir()) == ["a.sem", "b.sem"]
    Path("sems/c.sem").write_bytes(b"none")
    code, _, err = run("decode", "sems", "-o", "shown")
    assert code == 2 and "no .sem file" in err and sorted(path.name for path in Path("shown").iterdir()) == ["a.png", "b.png"]
    code, out, err = run("inspect", "sems/a.sem", "sems/b.sem", "shown/a.png", "--json")
    values = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [value["file"] for value in values] == ["sems/a.sem", "sems/b.sem", "shown/a.png"], err
    assert values[0]["bytes"] == Path("sems/a.sem").stat().st_size and values[2]["mark"]["system"] == "rl-asc"
    code, out, _ = run("inspect", "sems/a.sem", "shown/a.png")
    assert code == 0 and out.startswith("sems/a.sem:") and "painted by a network: rl-asc" in out and ", weights " in out


@pytest.mark.slow
def test_pipe(street: Path, shipped: Path, tmp_path: Path) -> None:  # noqa: F811
    def piped(given: bytes, *words: object) -> bytes:
        done = subprocess.run([sys.executable, "-m", "semcast", *map(str, words)], input=given, capture_output=True,
                              env=HERE | {"SEMCAST_WEIGHTS": os.environ["SEMCAST_WEIGHTS"]},
                              cwd=tmp_path)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    given = ("--domain", "street", "--max-bytes", BUDGET, "--allocation", "uniform", "-o")
    stream = piped(street.read_bytes(), "encode", "-", *given, "-")
    assert itemise(stream).total == len(stream) <= BUDGET
    picture = piped(stream, "decode", "-", "-o", "-")
    with Image.open(io.BytesIO(picture)) as shown:
        assert shown.format == "PNG" and shown.size == (256, 256)
    assert b"painted by a network: rl-asc" in piped(picture, "inspect", "-")


# ---- over a channel --------------------------------------------------------------------------------------------------


@pytest.fixture
def policy(shipped: Path, tmp_path: Path) -> None:  # noqa: F811
    """An untrained policy beside the tiny networks, rl-asc by its name: it sends features of every concept with room for them.

    Its preferences lie further apart than its weights can move them, so that neither the numbers that were drawn before nor the
    processor's rounding decide whether anything but the layout is sent.
    """
    config = PolicyConfig(hidden=(8,), inputs=count_observed(V2), version=2)
    untrained = Policy(config)
    with torch.no_grad():
        untrained.layers[-1].weight.mul_(0.01)
        untrained.layers[-1].bias.copy_(-(torch.arange(V2.levels) - 2.2).abs())  # level 2, else 3, 1, 4, 0, 5
    save(tmp_path / "weights" / "allocation-street.safetensors", untrained.state_dict(), kind="allocation",
         config=asdict(config))  # fmt: skip


def test_rl_asc_over_a_channel(run: Run, street: Path, policy: None) -> None:  # noqa: F811
    pytest.importorskip("sionna")
    given = ("transmit", street, "--domain", "street", "--symbols", 8192, "--snr", 10, "--json", "-o", "a.png", "-f")
    code, out, err = run(*given)
    values = json.loads(out)
    assert code == 0 and values["ok"] and values["system"] == "rl-asc" and values["domain"] == "street", err
    code, out, err = run(*given[:4], "--symbols", 64, "--json", "-o", "b.png")
    values = json.loads(out)
    assert code == 0 and not values["ok"] and "reason" in values
    assert np.unique(np.asarray(Image.open("b.png"))).tolist() == [128]  # a street that did not arrive is grey
    refused(run(*given, "--private", "eyes"), "about faces")
    refused(run(*given, "--system", "linear"), "linear sends faces alone", "rl-asc")


def test_rl_asc_in_a_sweep(run: Run, shipped: Path, policy: None) -> None:  # noqa: F811
    pytest.importorskip("sionna")
    given = ("evaluate", shipped / "street256" / "val-000.tar", "--snr", 10, "--symbols", 8192, "-o", "r.jsonl")
    code, out, err = run(*given, "--domain", "street", "--systems", "rl-asc,webp")
    assert code == 0 and "4 measured" in err, err
    assert {json.loads(line)["domain"] for line in Path("r.jsonl").read_text().splitlines()} == {"street"}
    assert "0 measured, 4 were there already" in run(*given, "--domain", "street", "--systems", "rl-asc,webp")[2]
    code, _, err = run(*given, "--aligned", "--systems", "webp")
    assert code == 2 and "of the domain street" in err


def test_faces_that_do_not_arrive_are_the_mean_face() -> None:
    assert mean_picture("street").unique().tolist() == [0.5]
    assert mean_picture("face").std() > 0.05
    with pytest.raises(SemcastError, match="unknown domain"):
        mean_picture("sea")


def test_cares() -> None:
    assert STREET.cares("person, traffic-light=2,car=1") == {11: CARED, 6: 2, 13: 1}
    assert STREET.cares("") == {} and FACE.cares("left eye=255") == {4: 255}
    for text in ("=3", "car=", "car=x", "car=256", "car=²"):
        with pytest.raises(SemcastError):
            STREET.cares(text)
