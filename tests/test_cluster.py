"""Sweeps on many processes: the same records as from one, whoever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from semcast.bench import cluster
from semcast.bench.engine import Outcome, Refused, Task
from semcast.bench.records import Record
from semcast.bench.sweep import Plan, Sweep
from semcast.channels import make_channel
from semcast.cli import main
from semcast.errors import SemcastError
from semcast.linear.system import Linear
from semcast.link import Budget, Burst
from semcast.metrics.report import Metrics
from semcast.networks.segmenter import FaceParser
from semcast.sources import Source, find_photos
from semcast.weights import available

PHOTOS, SYMBOLS = 5, (4, 16)


class Slow(Linear):
    """Slow enough to be killed at work."""

    pause = 0.0

    def encode(self, image: torch.Tensor, budget: Budget) -> Burst:
        sleep(self.pause)
        return super().encode(image, budget)


def same_parser() -> FaceParser:
    """One that never learned anything, the same in every process."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FaceParser().eval()


def tiny_sweep(pause: float = 0.0, symbols: tuple[int, ...] = SYMBOLS) -> Sweep:
    """Runs in the workers too, which import this module."""
    system = Slow.load()
    system.pause = pause
    plan = Plan(snr_db=(0.0,), symbols=symbols, aligned=True)
    return Sweep(plan, [system], [make_channel("awgn")], Metrics({}, None, []), same_parser)


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    """A cluster that waits for ever ends as a failure."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(*_: object) -> None:
        pytest.fail("two minutes have passed")  # no Exception: nothing on the way takes it for its own

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    pytest.importorskip("distributed")
    if "sketch-plain" not in {path.stem for path in available()}:
        pytest.skip("no weights of linear")
    with cluster.local(2) as client:
        yield client


def make_photos(folder: Path) -> Path:
    folder.mkdir()
    for i in range(PHOTOS):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((256, 256)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


def on_cluster(client: Any, folder: Path, load: cluster.Load = tiny_sweep, **options: Any) -> Outcome:
    sweep = load()
    measure = cluster.measure_on(client, load, sweep)
    return sweep.run(find_photos([folder]), folder.parent / "r.jsonl", measure=measure, **options)


def lines(path: Path) -> list[dict[str, object]]:
    """Sorted, without the times."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted([{k: v for k, v in x.items() if k[-2:] != "_s"} for x in found], key=json.dumps)


@pytest.fixture(scope="module")
def alone(client: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """The same sweep in this process, with as many threads as a worker has."""
    folder = make_photos(tmp_path_factory.mktemp("alone") / "photos")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tiny_sweep().run(find_photos([folder]), folder.parent / "alone.jsonl")
    torch.set_num_threads(threads)
    return lines(folder.parent / "alone.jsonl")


@pytest.mark.slow
def test_same_records_as_alone_and_resumed(client: Any, folder: Path, alone: list[dict[str, object]]) -> None:
    out = folder.parent / "r.jsonl"
    assert on_cluster(client, folder).measured == PHOTOS * len(SYMBOLS)
    assert lines(out) == alone
    whole = out.read_text().splitlines(keepends=True)
    out.write_text("".join(whole[1:8]) + whole[8][:50])
    assert on_cluster(client, folder).measured == PHOTOS * len(SYMBOLS) - 7
    assert lines(out) == alone
    assert on_cluster(client, folder).measured == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
@pytest.mark.slow
def test_a_killed_worker_loses_nothing(client: Any, folder: Path, alone: list[dict[str, object]]) -> None:
    killed: list[int] = []

    def kill_one_at_work(count: int) -> None:
        busy = [address for address, keys in client.processing().items() if keys]
        if count and busy and not killed:
            killed.extend(client.run(os.getpid, workers=busy[:1]).values())
            os.kill(killed[0], signal.SIGKILL)

    outcome = on_cluster(client, folder, partial(tiny_sweep, pause=0.3), progress=kill_one_at_work)
    assert killed and killed[0] not in client.run(os.getpid).values()
    assert outcome.measured == PHOTOS * len(SYMBOLS) and not outcome.refused
    assert lines(folder.parent / "r.jsonl") == alone


@pytest.mark.slow
def test_interrupted(client: Any, folder: Path, alone: list[dict[str, object]]) -> None:
    """What is there stays, what was under way is called off, and the next run does the rest."""

    def interrupt(count: int) -> None:
        if count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        on_cluster(client, folder, progress=interrupt)
    assert len((folder.parent / "r.jsonl").read_text().splitlines()) == 1
    assert on_cluster(client, folder).measured == PHOTOS * len(SYMBOLS) - 1
    assert lines(folder.parent / "r.jsonl") == alone


def test_unusable_photos_and_other_terms(client: Any, folder: Path) -> None:
    (folder / "1.png").write_bytes(b"")
    sources = find_photos([folder])
    (folder / "2.png").unlink()
    sweep = tiny_sweep()
    outcome = sweep.run(sources, folder.parent / "r.jsonl", measure=cluster.measure_on(client, tiny_sweep, sweep))
    assert outcome.measured == (PHOTOS - 2) * len(SYMBOLS)
    first, second = sorted(outcome.refused)
    assert first == f"{folder / '1.png'} is empty" and second.startswith(f"{folder / '2.png'} cannot be read")
    other = tiny_sweep(symbols=(4,))
    with pytest.raises(SemcastError, match="has other points than this computer"):
        other.run(sources, folder.parent / "s.jsonl", measure=cluster.measure_on(client, tiny_sweep, other))


class Failed:
    """A task's future after what cannot be staged quickly."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def result(self) -> list[Record]:
        raise self.error


def test_what_a_task_can_end_with() -> None:
    distributed = pytest.importorskip("distributed")
    task = Task(Source("0.png", Path("0.png")), (0,))
    [left_out] = cluster._results(Failed(distributed.scheduler.KilledWorker("key", None, 3)), task)
    assert isinstance(left_out, Refused) and left_out.reason == "0.png: 4 workers died while they measured it"
    with pytest.raises(SemcastError, match="a worker lacks what this computer has .No module named 'semcast'"):
        cluster._results(Failed(ModuleNotFoundError("No module named 'semcast'")), task)
    with pytest.raises(ZeroDivisionError):
        cluster._results(Failed(ZeroDivisionError()), task)


@pytest.mark.parametrize("at", ["submit", "nthreads"])
@pytest.mark.parametrize("error", ["CancelledError", "CommClosedError"])
def test_a_scheduler_may_be_gone_at_any_moment(at: str, error: str, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    lost = {"CancelledError": distributed.client.CancelledError, "CommClosedError": distributed.comm.CommClosedError}[error]
    (tmp_path / "0.png").write_bytes(b"")

    class Lost:
        def __getattr__(self, name: str) -> Any:
            def ask(*_: Any, **__: Any) -> Any:
                if name == at:
                    raise lost("closed")

            return ask

    measure = cluster.measure_on(Lost(), lambda: None, SimpleNamespace(terms=dict))  # type: ignore[arg-type, return-value]
    with pytest.raises(SemcastError, match="scheduler is gone.*run it again"):
        list(measure([Task(Source("0.png", tmp_path / "0.png"), (0,))]))


def test_only_this_computer_reaches_it(client: Any) -> None:
    psutil = pytest.importorskip("psutil")
    me = psutil.Process()
    connections = [c for p in (me, *me.children(recursive=True)) for c in p.net_connections("inet") if c.status == "LISTEN"]
    assert connections and {c.laddr.ip for c in connections} <= {"127.0.0.1", "::1"}
    assert set(client.run(signal.getsignal, signal.SIGINT).values()) == {signal.SIG_IGN}


def test_as_a_remote_scheduler(client: Any, folder: Path, alone: list[dict[str, object]]) -> None:
    with cluster.remote(client.scheduler.address) as other:
        assert on_cluster(other, folder).measured == PHOTOS * len(SYMBOLS)
    assert lines(folder.parent / "r.jsonl") == alone


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert exit_.value.code == 2 and out == "" and "Traceback" not in err, err
    return err.splitlines()[-1]


def test_bad_options(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "PATIENCE_S", 0.5)
    given = ("evaluate", folder, "--aligned", "--systems", "linear", "--symbols", 4, "-o", folder / "r.jsonl")
    assert "--workers" in refused(capsys, *given, "--workers", 0)
    assert "give one of them" in refused(capsys, *given, "--workers", 2, "--scheduler", "tcp://127.0.0.1:1")
    assert "tcp://host:port" in refused(capsys, *given, "--scheduler", "localhost:8786")
    assert "no dask scheduler answers at tcp://127.0.0.1:1 " in refused(capsys, *given, "--scheduler", "tcp://127.0.0.1:1")
    with socket.create_server(("127.0.0.1", 0)) as server:  # something else listens there
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert f"no dask scheduler answers at {address}" in refused(capsys, *given, "--scheduler", address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "semcast[cluster]" in refused(capsys, *given, "--workers", 2)
    assert not (folder / "r.jsonl").exists()
    with pytest.raises(SemcastError, match="semcast"), cluster.local(2):
        pass


def test_no_worker_and_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "PATIENCE_S", 1.0)
    with distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as empty:
        with pytest.raises(SemcastError, match="has no worker"), cluster.remote(empty.scheduler_address):
            pass
        monkeypatch.setattr("distributed.client.Client.wait_for_workers", lambda *_, **__: None)
        monkeypatch.setattr("distributed.client.Client.get_versions", lambda *_: VERSIONS)
        said = "the cluster has dask 2020.1, this computer 2026.1"
        with pytest.raises(SemcastError, match=said), cluster.remote(empty.scheduler_address):
            pass
    with pytest.raises(SemcastError, match="at least 1 worker"), cluster.local(0):
        pass


VERSIONS = {
    "client": {"packages": {"dask": "2026.1", "distributed": "2026.1"}},
    "scheduler": {"packages": {"dask": "2026.1", "distributed": "2026.1"}},
    "workers": {"tcp://a": {"packages": {"dask": "2020.1", "distributed": "2026.1"}}},
}


def test_a_clock_that_is_set_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is set forward is that of a computer which slept."""
    true, offset = time.time, [0.0]
    monkeypatch.setattr(cluster.time, "time", lambda: true() + offset[0])
    clock = cluster.Clock()
    assert not clock.was_set_back()
    offset[0] = 3600
    assert not clock.was_set_back()
    offset[0] = 3500
    assert clock.was_set_back()
