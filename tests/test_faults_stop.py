"""SIGTERM and Ctrl-C at every moment: what is there is whole, nothing else is left, and the next run comes to the same."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.faults.commands import LONG, VERBS, Done, Verb, contents, finish, leftovers, run, said_once, start  # noqa: E402
from tests.faults.server import Server  # noqa: E402

if sys.platform == "win32":
    pytest.skip("no such signals here", allow_module_level=True)

MOMENTS = 12 if LONG else 4
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def marked() -> Iterator[Any]:
    for name, verb in VERBS.items():
        yield pytest.param(verb, id=name, marks=[pytest.mark.slow] if verb.slow else [])


def spread(total: int, most: int) -> list[int]:
    """So many of the numbers from 1 to ``total``, the first and the last among them."""
    return sorted({1 + round(i * (total - 1) / max(1, most - 1)) for i in range(most)})


@pytest.fixture
def made(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, dict[str, Any], int]:
    """What a verb reads, what an undisturbed run writes, and how many files it opens, puts in place or removes for that."""
    verb = request.getfixturevalue("verb")
    ready, undisturbed, count = tmp_path / "ready", tmp_path / "undisturbed", tmp_path / "count"
    (ready / "out").mkdir(parents=True)
    verb.ready(ready)
    shutil.copytree(ready, undisturbed)
    done = server.run(verb.arguments, undisturbed, f"count:{count}:{undisturbed / 'out'}")
    whole = contents(undisturbed / "out")
    assert done.code == 0 and whole, done
    return ready, whole, int(count.read_text())


def check_stopped(folder: Path, whole: dict[str, Any], verb: Verb) -> None:
    """What the folder holds is of the whole: every file, or every line of it, and nothing temporary."""
    assert leftovers(folder / "out") == []
    found = contents(folder / "out")
    if not verb.growing:
        assert found in ({}, whole)
    for name in found:
        if verb.growing and name.endswith(".jsonl") and not name.endswith("log.jsonl"):
            assert set(found[name]) <= set(whole[name]), name


def again(done: Done, folder: Path, whole: dict[str, Any]) -> None:
    """The next run came to the same as one that nobody stopped."""
    assert done.code == 0, done
    assert contents(folder / "out") == whole
    assert leftovers(folder / "out") == []


@pytest.mark.parametrize("verb", marked())
def test_stopped_when_a_file_is_touched(
    verb: Verb, made: tuple[Path, dict[str, Any], int], server: Server, tmp_path: Path
) -> None:
    ready, whole, events = made
    assert events > 0
    codes = set()
    for i, moment in enumerate(spread(events, MOMENTS)):
        number, folder = SIGNALS[i % 2], tmp_path / f"stopped-{moment}"
        shutil.copytree(ready, folder)
        done = server.run(verb.arguments, folder, f"signal:{int(number)}:{moment}:{folder / 'out'}")
        codes.add(done.code)
        if done.code:
            said_once(done, 128 + number, "stopped")
            check_stopped(folder, whole, verb)
        else:  # it was about to end
            assert contents(folder / "out") == whole
        again(server.run((*verb.arguments, *verb.again), folder), folder, whole)
    assert codes & {130, 143}


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_stopped_while_it_loads_and_computes(
    verb: Verb, made: tuple[Path, dict[str, Any], int], tmp_path: Path
) -> None:
    """By the clock, whatever it is at then; each run goes on with what the one before has left."""
    ready, whole, _ = made
    folder = tmp_path / "stopped"
    shutil.copytree(ready, folder)
    begun = time.monotonic()
    assert run(verb.arguments, tmp_path / "undisturbed", "").code in (0, 2)  # 2: it is there already
    took = time.monotonic() - begun
    for i in range(1, MOMENTS + 1):
        number = SIGNALS[i % 2]
        process = start((*verb.arguments, *verb.again), folder)
        time.sleep(took * i / (MOMENTS + 1))
        process.send_signal(number)
        done = finish(process)
        if done.code not in (0, -number):  # as the system ends what is no program of ours yet, or no more
            said_once(done, 128 + number, "stopped")
        check_stopped(folder, whole, verb)
    again(run((*verb.arguments, *verb.again), folder), folder, whole)
