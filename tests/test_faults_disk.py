"""A disk that fills: one sentence, exit code 2, no half file, and the next run comes to the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.faults.commands import LONG, VERBS, Verb, contents, leftovers, run, said_once  # noqa: E402
from tests.faults.server import Server  # noqa: E402

if sys.platform == "win32":
    pytest.skip("no such limits here", allow_module_level=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def marked() -> Iterator[Any]:
    for name, verb in VERBS.items():
        if name != "evaluate-workers":  # the limit is not theirs
            yield pytest.param(verb, id=name, marks=[pytest.mark.slow] if verb.slow else [])


@pytest.mark.parametrize("verb", marked())
def test_no_room_for_all_of_it(verb: Verb, server: Server, tmp_path: Path) -> None:
    """No file may grow over a limit, from nothing to most of the largest one that is written."""
    ready = tmp_path / "ready"
    (ready / "out").mkdir(parents=True)
    verb.ready(ready)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(ready, undisturbed)
    assert server.run(verb.arguments, undisturbed).code == 0
    whole = contents(undisturbed / "out")
    before = contents(ready / "out")
    new = [name for name in whole if before.get(name) != whole[name]]
    largest = max((undisturbed / "out" / name).stat().st_size for name in new)
    for i, share in enumerate((0.0, 0.1, 0.3, 0.5, 0.7, 0.9) if LONG else (0.0, 0.6)):
        folder = tmp_path / f"full-{i}"
        shutil.copytree(ready, folder)
        done = server.run(verb.arguments, folder, disk=max(16, int(share * largest)))  # temporary files hold a word
        assert done.code == 2 and "cannot be written" in done.err and "Traceback" not in done.err, done
        if "could not be done" not in done.err:  # of several files each is said
            said_once(done, 2)
        check_whole(folder / "out", whole, before)
        done = server.run((*verb.arguments, *verb.again), folder)
        assert done.code == 0 and contents(folder / "out") == whole, done


def check_whole(out: Path, whole: dict[str, Any], before: dict[str, Any]) -> None:
    """Every file is as it was, or as it will be; of lines there are fewer, none of them cut."""
    assert leftovers(out) == []
    for name, found in contents(out).items():
        if name.endswith("log.jsonl"):
            continue  # read as lines: that is all that is asked of it
        assert found in (before.get(name), whole[name]) or (name.endswith(".jsonl") and set(found) <= set(whole[name])), name


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount") is not None
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full(disk: Path, tmp_path: Path) -> None:
    """A real one: the first lines still fit, then none; room is made, and the run goes on."""
    verb = VERBS["evaluate"]
    verb.ready(tmp_path)
    full = disk / "ballast"
    given = (*verb.arguments[:-1], "disk/r.jsonl")
    full.write_bytes(bytes(52 << 10))
    done = run(given, tmp_path)
    said_once(done, 2, "disk/r.jsonl cannot be written (No space left on device)")
    first = (disk / "r.jsonl").read_bytes()
    assert 0 < first.count(b"\n") < 16 and first.endswith(b"\n")
    said_once(run(given, tmp_path), 2, "No space left on device")
    assert (disk / "r.jsonl").read_bytes() == first
    full.unlink()
    done = run(given, tmp_path)
    there = first.count(b"\n")
    assert done.code == 0 and f"{16 - there} measured, {there} were there already" in done.err, done
    assert (disk / "r.jsonl").read_bytes().startswith(first)
    assert sorted(path.name for path in disk.iterdir()) == ["r.jsonl"]
