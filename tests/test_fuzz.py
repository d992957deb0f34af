"""A few hundred inputs of each fuzzing target, and that the harness notices what must not happen."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("constriction")
pytest.importorskip("soundfile")
pytest.importorskip("sigmf")

from fuzz import harness
from fuzz.harness import Case, Failure, Tally, fuzz
from fuzz.record import add
from fuzz.targets import TARGETS

from semcast.errors import Damaged

ROOT = Path(__file__).resolve().parents[1]
SMOKE = {"sem": 100, "stored": 200, "photos": 300, "air": 100}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.slow
def test_smoke(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is drawn ends in anything but a result or a sentence."""
    monkeypatch.chdir(tmp_path)
    tally = fuzz(TARGETS[name](tmp_path), Random(0), tmp_path / "work", tmp_path / "failures", lambda done: done < SMOKE[name])
    assert tally.failures == {}, tally
    assert tally.inputs == SMOKE[name] and 0 < tally.refused < tally.inputs, "inputs must be refused, and not all of them"


class Broken:
    """A reader with a fault of every kind, chosen by the first byte."""

    name, seconds, megabytes = "broken", 3.0, 100

    def draw(self, random: Random) -> Case:
        return Case("x", {"x.bin": bytes([random.randrange(6)]) + b"input"})

    def run(self, case: Case, path: Path) -> None:
        fault = path.read_bytes()[0]
        if fault == 1:
            raise Damaged("the file is damaged")
        if fault == 2:
            raise KeyError("what nobody thought of")
        if fault == 3:
            self.loop()
        if fault == 4:
            # four times the limit: while this runs, the process may give back pages that it held before (files mapped, garbage)
            assert len(bytearray(b"x") * (400 << 20))
        if fault == 5:
            raise Damaged("")

    def loop(self) -> None:
        end = time.process_time() + 300
        while time.process_time() < end:
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001 - such a reader must not be able to swallow the limit
                continue

    def command(self, case: Case, path: Path, out: Path) -> None:
        return None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (2, "KeyError in test_fuzz.py"), pytest.param(3, "processor time", marks=pytest.mark.slow), (4, "MB, over 100"),
        (5, "no sentence"),
    ],
)  # fmt: skip
def test_what_must_not_happen_is_noticed(fault: int, words: str, tmp_path: Path) -> None:
    if fault == 4 and not harness._reset_peak():
        pytest.skip("this operating system does not forget the peak of memory")
    gc.collect()
    with pytest.raises(Failure, match=words):
        harness.try_case(Broken(), Case("x", {"x.bin": bytes([fault])}), tmp_path)


@pytest.mark.slow
def test_a_failure_is_kept_once_and_can_be_run_again(tmp_path: Path) -> None:
    tally = fuzz(Broken(), Random(1), tmp_path / "work", tmp_path / "failures", lambda done: done < 12)
    assert 3 <= len(tally.failures) <= 4 and tally.refused > 0
    kept = sorted((tmp_path / "failures").iterdir())
    assert len(kept) == len(tally.failures) and all(path.name.startswith("broken-x-") for path in kept)
    case = Case.load(kept[0])
    assert case.kind == "x" and case.first == "x.bin"
    with pytest.raises(Failure):
        harness.try_case(Broken(), case, tmp_path)


@pytest.mark.parametrize(
    ("code", "err", "words"),
    [
        (1, "semcast: sorry", "ended with 1"), (2, "semcast: no\nsemcast: no\n", "ended with 2"), (2, "", "ended with 2"),
        (0, "x.py:1: UserWarning: odd\n", "UserWarning"), (2, "Traceback\nsemcast: no\n", "Traceback"),
    ],
)  # fmt: skip
def test_what_the_command_line_must_not_do(
    code: int, err: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, case = TARGETS["sem"](tmp_path), Case("bytes", {"x.sem": b"no file"})
    assert harness.try_command(target, case, tmp_path, apart=False)
    monkeypatch.setattr(harness, "_here", lambda *_: (code, err))
    with pytest.raises(Failure, match=words):
        harness.try_command(target, case, tmp_path, apart=False)


def test_an_input_that_is_changed_or_a_file_that_is_left_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, case = TARGETS["sem"](tmp_path), Case("bytes", {"x.sem": b"no file"})

    def change(*_: object) -> tuple[int, str]:
        (tmp_path / "in" / "x.sem").write_bytes(b"other")
        return 0, ""

    def leave(*_: object) -> tuple[int, str]:
        (tmp_path / "out" / ".1.part").write_bytes(b"")
        return 2, "semcast: no\n"

    for does, words in ((change, "changed x.sem"), (leave, "left")):
        monkeypatch.setattr(harness, "_here", does)
        with pytest.raises(Failure, match=words):
            harness.try_command(target, case, tmp_path, apart=False)


def test_a_process_that_dies_leaves_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash in a library's own code is no exception that anybody catches."""
    current = tmp_path / "current.zip"
    Case("bytes", {"x.sem": b"the last"}).save(current)
    real = subprocess.Popen

    def dies(*_: object, **options: object) -> subprocess.Popen[bytes]:
        return real([sys.executable, "-c", "import os; os.abort()"], stderr=subprocess.DEVNULL)

    monkeypatch.setattr(harness.subprocess, "Popen", dies)
    assert harness.watch([], current, "sem", tmp_path / "failures", 60) == 1
    (kept,) = (tmp_path / "failures").iterdir()
    assert Case.load(kept).files == {"x.sem": b"the last"}


def test_runs_are_summed_up(tmp_path: Path) -> None:
    path, tally = tmp_path / "fuzzing.jsonl", Tally(Counter(bytes=30, head=12), refused=20, command_lines=1)
    add(path, "sem", 1, 61.0, tally)
    add(path, "sem", 2, 61.0, tally)
    add(path, "air", 1, 0.4, Tally(Counter(wav=5), failures={"wav: odd": path}))
    table = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "| sem | 84 | 40 | 2 | 0 | 122 | 0 |" in table and "| air | 5 | 0 | 0 | 0 | 0 | 1 |" in table
    assert "| all | 89 | 40 | 2 | 0 | 122 | 1 |" in table and len(path.read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    """It fuzzes, says how many inputs there were, and runs one of them again."""
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "tests.fuzz"]
    told = ["--target", "photos", "--seconds", "2", "--seed", "3", "--failures", str(tmp_path)]
    done = subprocess.run([*command, *told], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "0 kinds of failure" in done.stdout, done.stdout + done.stderr
    kept = tmp_path / "sem-bytes-1.zip"
    Case("bytes", {"x.sem": b"no file"}).save(kept)
    done = subprocess.run([*command, "--replay", str(kept)], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "refused in a sentence" in done.stdout, done.stdout + done.stderr
