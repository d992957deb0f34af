"""Workers that are killed, a scheduler that is lost and found, clocks that jump: nothing is lost, and the lines are the same."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.faults.commands import (  # noqa: E402
    LONG,
    MINE,
    SLOWNESS,
    environment,
    finish,
    leftovers,
    make_photos,
    read,
    run,
    said_once,
    start,
)

pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="no such signals here")]
SWEEP = ("--systems", "mine.py:Tiny", "--domain", "photo", "--symbols", "32,64", "--snr", "0,10")
PHOTOS = 60 if LONG else 24
MINUTES, EVERY_S = (5.0, max(20.0, 6 * SLOWNESS)) if LONG else (0.4 * SLOWNESS, 4.0 * SLOWNESS)  # a worker begins in a third


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    make_photos(tmp_path / "photos", PHOTOS)
    return tmp_path


@pytest.fixture
def alone(folder: Path) -> list[str]:
    """The lines of one process that nobody disturbed."""
    done = run(("evaluate", "photos", *SWEEP, "-o", "alone.jsonl"), folder)
    assert done.code == 0, done
    lines: list[str] = read(folder / "alone.jsonl")
    assert len(lines) == PHOTOS * 4
    return lines


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until a file has so many lines."""
    while lines_in(path) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[str]) -> list[Any]:
    """Its worker processes: what multiprocessing has started to run, but for its own tracker."""
    try:
        children = psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if any("spawn_main" in part for part in _command(child))]


def _command(process: Any) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_workers_are_killed_again_and_again(folder: Path, alone: list[str]) -> None:
    chance, out, killed = random.Random(0), folder / "r.jsonl", 0
    pause = MINUTES * 60 * 4 / (PHOTOS * 4 * 1.2)  # encode is called once a point and again where a worker died, by four workers
    began = time.monotonic()
    process = start(("evaluate", "photos", *SWEEP, "--workers", 4, "-o", out), folder, TINY_PAUSE=str(pause))
    wait_for(out, 1, process)
    while process.poll() is None:
        time.sleep(EVERY_S)
        if workers := workers_of(process):
            chance.choice(workers).kill()
            killed += 1
    done = finish(process)
    assert done.code == 0 and "skipped" not in done.err and "Traceback" not in done.err, done
    assert killed >= 2 and (not LONG or time.monotonic() - began >= 60 * MINUTES)
    assert read(out) == alone and leftovers(folder) == []


def test_all_workers_die_at_once(folder: Path, alone: list[str]) -> None:
    """What they were to measure with is lost with them, and had again: here it is an object, and no name."""
    out = folder / "r.jsonl"
    given = ("evaluate", "photos", *SWEEP, "--workers", 2, "--design-snr", 10, "-o", out)
    plain = ("evaluate", "photos", *SWEEP, "--design-snr", 10, "-o", "plain.jsonl")
    assert run(plain, folder).code == 0
    process = start(given, folder, TINY_PAUSE="0.05")
    wait_for(out, 3, process)
    for worker in workers_of(process):
        worker.kill()
    done = finish(process)
    assert done.code == 0 and "Traceback" not in done.err, done
    assert read(out) == read(folder / "plain.jsonl")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def cluster_at(port: int, folder: Path) -> list[subprocess.Popen[bytes]]:
    """A scheduler of its own, and a worker."""
    dask = [sys.executable, "-m", "dask"]
    there = [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = [*dask, "worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    nowhere = subprocess.DEVNULL
    quiet: dict[str, Any] = {"cwd": folder, "env": environment(TINY_PAUSE="0.05"), "stdout": nowhere, "stderr": nowhere}
    return [subprocess.Popen(command, **quiet) for command in (there, worker)]


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def test_a_scheduler_is_lost_and_found(folder: Path, alone: list[str]) -> None:
    out, port = folder / "r.jsonl", free_port()
    given = ("evaluate", "photos", *SWEEP, "--scheduler", f"tcp://127.0.0.1:{port}", "-o", out)
    for lines in (3, 30):
        there = cluster_at(port, folder)
        try:
            time.sleep(3 * SLOWNESS)
            process = start(given, folder)
            wait_for(out, lines, process)
            there[0].kill()
            said_once(finish(process), 2, "scheduler is gone", "run it again to go on")
        finally:
            end(there)
        assert leftovers(folder) == []
    said_once(run(given, folder), 2, "no dask scheduler answers")
    there = cluster_at(port, folder)
    try:
        time.sleep(3 * SLOWNESS)
        done = run(given, folder)
    finally:
        end(there)
    assert done.code == 0 and read(out) == alone, done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_with_workers(folder: Path, alone: list[str], number: signal.Signals) -> None:
    """Their processes end too."""
    out = folder / "r.jsonl"
    given = ("evaluate", "photos", *SWEEP, "--workers", 2, "-o", out)
    process = start(given, folder, TINY_PAUSE="0.05")
    wait_for(out, 5, process)
    workers = workers_of(process)
    assert workers
    process.send_signal(number)
    said_once(finish(process), 128 + number, "stopped")
    assert psutil.wait_procs(workers, timeout=30 * SLOWNESS)[1] == [] and leftovers(folder) == []
    assert run(given, folder).code == 0 and read(out) == alone


@pytest.mark.parametrize("workers", [1, 2])
def test_clocks_that_jump(folder: Path, alone: list[str], workers: int) -> None:
    """By up to a day, to and fro, in this process and in those of the workers, which wait by it: then it says so and goes on."""
    out, fault = folder / "r.jsonl", "clock:86400:0.01" if workers == 1 else "clock:86400:0.0005"
    for _ in range(20):
        done = run(("evaluate", "photos", *SWEEP, "--workers", workers, "-o", out), folder, fault)
        if done.code == 0:
            break
        assert workers > 1
        said_once(done, 2, "the clock of this computer was set back", "run it again to go on")
    assert done.code == 0 and "skipped" not in done.err, done
    assert read(out) == alone


def test_files_of_the_future_and_of_long_ago(folder: Path, alone: list[str]) -> None:
    """Neither results nor photos are believed to be new or old."""
    out = folder / "r.jsonl"
    out.write_bytes(b"".join((folder / "alone.jsonl").read_bytes().splitlines(keepends=True)[:40]))
    for i, path in enumerate([out, *sorted((folder / "photos").iterdir())]):
        os.utime(path, (0, 0) if i % 2 else (2**32, 2**32))
    done = run(("evaluate", "photos", *SWEEP, "-o", out), folder)
    assert done.code == 0 and f"{PHOTOS * 4 - 40} measured, 40 were there already" in done.err, done
    assert read(out) == alone
