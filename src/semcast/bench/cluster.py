"""The same work on many processes: dask.distributed workers measure, this process alone writes.

A task is one photo, as bytes, and at most ``CHUNK`` of the points it lacks. A worker that dies takes nothing with it but
the task it was at, and the scheduler gives that to another one. Every record has its own seed, so who measures it, and
when, changes its times only. What is to be measured with reaches a worker once: as a function that loads it there, or, of
a caller's own objects, as their bytes.

Whoever reaches a dask scheduler can run code on its workers: the local one listens on 127.0.0.1 alone, and one of your own
must be reachable by trusted machines only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import platform
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from types import ModuleType
from typing import Any
from uuid import uuid4

import torch

from semcast.bench.engine import Measure, Refused, Task, Work
from semcast.errors import BadInput, Missing, SemcastError, Unfinished
from semcast.stopping import unbroken

CHUNK = 32
PATIENCE_S = 10.0
_QUIET = "ignore:resource_tracker:UserWarning"
"""For processes that are started: the one that clears up behind a program that was stopped would complain of what it clears."""
STALL_S = 30.0
"""So long nothing may come of the workers where the clock was set back."""
RETRIES = 2

Load = Callable[[], Work[Any]]
"""Builds the work from scratch; it travels to the workers: a function of a module, or a ``functools.partial`` of one."""


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share: each worker loads the work once, and it must be the one that was asked for."""

    id: str
    load: Load | None
    terms: dict[str, str]


# ---- here ------------------------------------------------------------------------------------------------------------


@contextmanager
def measuring(workers: int | str, work: Work[Any], load: Load | None = None) -> Iterator[Measure | None]:
    """Say who measures, for :func:`semcast.bench.engine.run`.

    Args:
        workers: 1 for this process (None is given), more for so many of this computer, or the address of a dask scheduler.
        work: what is measured.
        load: builds it again, in a worker; None: it is sent there as it is.

    Raises:
        SemcastError: dask.distributed is not installed, or the workers cannot be had.
    """
    if workers == 1:
        yield None
        return
    with remote(workers) if isinstance(workers, str) else local(workers) as client:
        yield measure_on(client, load, work)


@contextmanager
def local(workers: int) -> Iterator[Any]:
    """A dask client with that many processes of one thread each on this machine; a process that dies is replaced.

    Raises:
        SemcastError: dask.distributed is not installed, ``workers`` is below 1, or they do not start.
    """
    distributed = _distributed()
    if workers < 1:
        raise BadInput(f"there must be at least 1 worker, not {workers}")
    import dask

    # A worker has one task at a time, and as much memory as there is: a network's weights are no reason to be restarted. Nor is a
    # clock that jumped: how long nobody heard of a worker is reckoned by it, and a process that died is noticed without.
    options = {
        "distributed.scheduler.worker-saturation": 1.0, "distributed.worker.profile.enabled": False,
        "distributed.scheduler.worker-ttl": None,
    }  # fmt: skip
    if _QUIET not in sys.warnoptions:
        sys.warnoptions.append(_QUIET)
    with dask.config.set(options), ExitStack() as closing:
        with unbroken():  # a process that is started is half there until it is told what to do, and would complain of us
            try:
                cluster = closing.enter_context(distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0,
                    silence_logs=logging.CRITICAL,
                ))  # fmt: skip
            except Exception as error:
                raise Missing(f"the {workers} workers do not start ({_first_line(error)})") from None
        client = closing.enter_context(distributed.Client(cluster))
        client.register_plugin(_deaf_to_interrupts(distributed))
        yield client


@contextmanager
def remote(address: str) -> Iterator[Any]:
    """A dask client of the scheduler at ``tcp://host:port`` (or ``tls://``), which has at least one worker.

    Raises:
        SemcastError: dask.distributed is not installed, nothing answers there in time, or in another version, or no
            worker is there.
    """
    distributed = _distributed()
    if not address.startswith(("tcp://", "tls://")):
        raise BadInput(f"a scheduler's address is tcp://host:port, not {address!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dask warns of other versions: _same_versions says it once
        try:
            asyncio.run(_greet(distributed, address))
            client = distributed.Client(address, timeout=PATIENCE_S)
        except Exception as error:  # whatever listens there, it is not a scheduler of ours
            raise Missing(f"no dask scheduler answers at {address} ({_first_line(error)})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except TimeoutError:
            raise Missing(f"the scheduler at {address} has no worker: start one (dask worker {address})") from None
        _same_versions(client)
        yield client


def measure_on(client: Any, load: Load | None, work: Work[Any]) -> Measure:
    """Let the workers of a dask client measure.

    Args:
        client: from :func:`local` or :func:`remote`.
        load: builds ``work`` again, in a worker; None: it is pickled and sent to each of them once.
        work: what ``load`` builds, here.

    Raises:
        BadInput: ``work`` cannot be pickled.
        SemcastError: (while it measures) a worker computes with other versions, weights or metrics, or the scheduler is gone.
    """
    job = Job(uuid4().hex, load, terms(work))
    sent = None if load else _send(client, _pickle(work))

    def measure(tasks: Iterable[Task]) -> Iterator[Any]:
        distributed = _distributed()
        try:
            yield from hand_out(tasks)
        except (distributed.client.CancelledError, distributed.comm.CommClosedError):  # at whatever it was asked
            raise Unfinished("the scheduler is gone; what was measured is in the file: run it again to go on") from None

    def hand_out(tasks: Iterable[Task]) -> Iterator[Any]:
        running, clock = dict[Any, Task](), Clock()
        for task in chain.from_iterable(map(_chunks, tasks)):
            try:
                carried = replace(task, source=task.source.carry())
            except SemcastError as error:
                yield Refused(task, str(error))
                continue
            running[_submit(client, job, carried, sent)] = task
            while len(running) >= _room(client):  # not all at once: thousands of photos would lie in the scheduler
                yield from _finished(running, clock)
        while running:
            yield from _finished(running, clock)

    return measure


def terms(work: Work[Any]) -> dict[str, str]:
    """Name what must be the same on two computers for their records to belong in one file."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "semcast": _version("semcast"),
        "torch": torch.__version__.partition("+")[0],
        "numpy": _version("numpy"),
    } | work.terms()


def _pickle(work: Work[Any]) -> bytes:
    import cloudpickle  # distributed brings it; it takes classes of a script or a notebook too

    try:
        data: bytes = cloudpickle.dumps(work)
    except Exception as error:  # noqa: BLE001 - anything may refuse to be pickled
        raise BadInput(f"this cannot be sent to workers ({_first_line(error)}): name systems instead of passing them") from None
    return data


def _chunks(task: Task) -> Iterator[Task]:
    for i in range(0, len(task.points), CHUNK):
        yield replace(task, points=task.points[i : i + CHUNK])


def _submit(client: Any, job: Job, task: Task, sent: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")  # a photo of many megabytes is one
        return client.submit(_measure, job, task, sent, pure=False, retries=RETRIES)


def _send(client: Any, data: bytes) -> Any:
    """Bytes that every worker can have. They are a task: where all workers that had them died, the scheduler has them still."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        return client.submit(_same, data, pure=False, retries=RETRIES)


def _room(client: Any) -> int:
    threads: dict[str, int] = client.nthreads()
    return max(1, 2 * sum(threads.values()))


class Clock:
    """Whether the computer's clock was set back while we worked: dask waits by it, and then for as long as it was set back."""

    def __init__(self) -> None:
        self.ahead = self._read()

    def was_set_back(self) -> bool:
        """Tell so, of by more than two seconds; a computer that slept finds its clock ahead."""
        now = self._read()
        self.ahead = max(self.ahead, now)
        return now < self.ahead - 2

    @staticmethod
    def _read() -> float:
        return time.time() - time.monotonic()


def _finished(running: dict[Any, Task], clock: Clock) -> Iterator[Any]:
    """Waits for a task to end; the results of all that have ended, which are running no more."""
    distributed, set_back = _distributed(), False
    while True:
        set_back |= clock.was_set_back()
        try:
            done = distributed.wait(list(running), timeout=STALL_S, return_when="FIRST_COMPLETED").done
            break
        except TimeoutError:
            if set_back or clock.was_set_back():
                raise Unfinished("the clock of this computer was set back, and the workers wait for it to catch up; what was "
                                 "measured is in the file: run it again to go on") from None  # fmt: skip
    for future in done:
        yield from _results(future, running.pop(future))


def _results(future: Any, task: Task) -> list[Any]:
    distributed = _distributed()
    try:
        results: list[Any] = future.result()
        return results
    except distributed.scheduler.KilledWorker as error:
        return [Refused(task, f"{task.source.name}: {error.allowed_failures + 1} workers died while they measured it")]
    except ImportError as error:
        raise Missing(f"a worker lacks what this computer has ({_first_line(error)})") from None


async def _greet(distributed: ModuleType, address: str) -> None:
    """Connect once: a client by itself waits for ever for the greeting of something that listens and says nothing."""
    options = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(PATIENCE_S):
        comm = await distributed.core.connect(address, timeout=PATIENCE_S, **options)
        await comm.close()


def _same_versions(client: Any) -> None:
    """Dask's own messages change with its version: mixed ones fail later, and not in one sentence."""
    found = client.get_versions()
    here = found["client"]["packages"]
    for place in (found["scheduler"], *found["workers"].values()):
        for name in ("dask", "distributed"):
            if place["packages"][name] != here[name]:
                raise BadInput(f"the cluster has {name} {place['packages'][name]}, this computer {here[name]}")


def _distributed() -> ModuleType:
    try:
        import distributed
    except ImportError:
        raise Missing("workers and schedulers need dask.distributed: pip install 'semcast[cluster]'") from None
    for name in ("distributed", "distributed.client"):  # what matters reaches the user as a SemcastError
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed


def _deaf_to_interrupts(distributed: ModuleType) -> Any:
    """Ctrl-C reaches every process of a terminal: the workers leave it to this one, which closes them in order."""

    class Deaf(distributed.WorkerPlugin):  # type: ignore[name-defined,misc]
        name = "semcast-deaf"

        def setup(self, worker: Any) -> None:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    return Deaf()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its sources
        return "uninstalled"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


# ---- in a worker -----------------------------------------------------------------------------------------------------

_LOCK = threading.Lock()
_LOADED: dict[str, Work[Any]] = {}  # by job, the latest only


def _measure(job: Job, task: Task, sent: bytes | None = None) -> list[Any]:
    return list(_loaded(job, sent).measure([task]))


def _same(data: bytes) -> bytes:
    return data


def _loaded(job: Job, sent: bytes | None) -> Work[Any]:
    with _LOCK:
        if job.id not in _LOADED:
            torch.set_num_threads(1)  # as many tasks at once as the worker has threads
            work = job.load() if job.load else pickle.loads(sent or b"")  # what this run's own process sent
            _agree(job.terms, terms(work))
            _LOADED.clear()
            _LOADED[job.id] = work
        return _LOADED[job.id]


def _agree(asked: dict[str, str], found: dict[str, str]) -> None:
    for name, value in asked.items():
        if found.get(name) != value:
            where = f"the worker on {platform.node()} (process {os.getpid()})"
            raise BadInput(f"{where} has other {name} than this computer: {found.get(name)}, not {value}")
