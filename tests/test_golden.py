"""Golden vectors: files that were written once are read alike for as long as their weights ship, on any machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("constriction")

from golden import make

ROOT = Path(__file__).resolve().parents[1]


def test_files_are_read_as_they_were() -> None:
    """Layouts, levels and indices to the last bit, pixels as far as machines agree."""
    assert list(make.check_files()) == []


def test_there_are_fifteen_files_of_each_kind_and_not_many_bytes() -> None:
    known = json.loads((make.HERE / "sem.json").read_text(encoding="utf-8"))
    files, kinds = known["files"], known["weights"]
    assert {make.part(kind)[0] for kind in kinds} == set(make.CARES) and {make.part(kind)[1] for kind in kinds} >= {1}
    assert all(len([name for name in files if name.startswith(f"{kind}-")]) == 15 for kind in kinds)
    assert len(files) == 15 * len(kinds) and {f"{name}.sem" for name in files} == {path.name for path in make.HERE.glob("*.sem")}
    assert sum(path.stat().st_size for path in make.HERE.iterdir() if path.is_file()) < 400_000
    for name in files:
        assert (make.HERE / f"{name}.sem").stat().st_size <= int(name.split("-")[1])


@pytest.mark.parametrize("name", make.LINKS)
def test_systems_send_and_show_the_portrait_as_they_did(name: str) -> None:
    assert list(make.check_links((name,))) == []


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The vectors, to be changed."""
    folder = tmp_path / "golden"
    shutil.copytree(make.HERE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(make, "HERE", folder)
    return folder


def rewrite(path: Path, **changes: object) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        values[key] |= value
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.slow
def test_other_weights_are_said_and_not_passed_over(copied: Path) -> None:
    rewrite(copied / "sem.json", weights={"street": {"codec": "of yesterday", "bits": "too"}})
    rewrite(copied / "links.json", linear={"fingerprint": "of yesterday"})
    street, *others = make.check_files()
    assert "the .sem files of street are of other weights" in street and make.AGAIN in street and not others
    (linear,) = make.check_links(("linear",))
    assert "the symbols of linear are of other weights" in linear and make.AGAIN in linear


def test_every_file_of_weights_is_the_one_that_was_written_down(copied: Path) -> None:
    assert list(make.check_weights()) == []
    known = json.loads((copied / "weights.json").read_text(encoding="utf-8"))
    changed = {name: value for name, value in known.items() if name != "painter"} | {"sketch": "other", "of-old": "x"}
    (copied / "weights.json").write_text(json.dumps(changed), encoding="utf-8")
    found = list(make.check_weights())
    assert [said.split(":")[0] for said in found] == ["of-old", "painter", "sketch"] and all(make.AGAIN in said for said in found)
    assert "are gone" in found[0] and "are new" in found[1] and "are other weights" in found[2]


def test_what_differs_is_found(copied: Path) -> None:
    """A bit of a file, a symbol, a picture: each is noticed, or the vectors would hold nothing fast."""
    some = sorted(copied.glob("face-*.sem"))[0]
    files = json.loads((copied / "sem.json").read_text(encoding="utf-8"))["files"]
    then, now = files[some.stem], make.describe_file(some.read_bytes())
    assert list(make.compare_file(then, now)) == []
    for key in ("layout", "levels", "indices", "width"):
        assert list(make.compare_file(then | {key: "other"}, now)) == [f"{key} is {now[key]}, was other"]
    darker = make.to_text(make.of_text(then["thumbnail"], np.uint8) // 2)
    (said,) = make.compare_file(then | {"pixels": "other", "thumbnail": darker}, now)
    assert "levels of 255" in said
    links = json.loads((copied / "links.json").read_text(encoding="utf-8"))
    symbols = make.of_text(links["linear"]["symbols"], np.complex64).copy()
    symbols[0] += 0.1
    rewrite(copied / "links.json", linear={"symbols": make.to_text(symbols)})
    assert any("symbols are" in said for said in make.check_links(("linear",)))


def test_making_them_again_leaves_files_of_the_same_weights_alone(copied: Path) -> None:
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    make.make_files()
    make.make_links()
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("machine", [{"OMP_NUM_THREADS": "2"}, {"ATEN_CPU_CAPABILITY": "default"}], ids=["threads", "kernels"])
def test_on_another_machine(machine: dict[str, str]) -> None:
    """With another number of threads, and with torch's kernels for any processor."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")} | machine
    command = [sys.executable, str(make.HERE / "make.py"), "--check"]
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
