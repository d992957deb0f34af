"""``evaluate`` and ``evaluate_codecs``: what a script calls, and what the verbs of the command line do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from semcast import api
from semcast.bench import cluster, codecs, engine
from semcast.bench.codecs import CodecRecord
from semcast.bench.inputs import found_notes, gather
from semcast.bench.records import Record
from semcast.bench.sweep import FACE, PHOTO, Plan, Sweep
from semcast.bench.table import Table
from semcast.channels import make_channel
from semcast.domains import domain_named
from semcast.errors import BadInput
from semcast.files import check_file, quote
from semcast.given import check_flag, check_kind, check_path, check_text, check_whole, number_of
from semcast.link import Channel, System
from semcast.metrics.report import Metrics
from semcast.source_coding import BitCodec

_MOST = 2**31 - 1
Track = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Opens a progress bar for so many records; what it gives is told how many more there are."""


def evaluate(
    systems: System | str | Iterable[System | str], photos: Any, *, channels: Channel | str | Iterable[Channel | str] = "awgn",
    snr_db: float | Iterable[float] = 10.0, symbols: int | Iterable[int] = 640, out: Path | str | None = None, draws: int = 1,
    seed: int = 0, design_snr_db: float | None = None, domain: str | None = None, aligned: bool = False,
    limit: int | None = None, metrics: Metrics | None = None, identity: Sequence[Path | str] = (), vgg: bool = False,
    workers: int | str = 1, force: bool = False, device: str | torch.device = "cpu", progress: Track | None = None,
) -> Table[Record]:  # fmt: skip
    """Send photos over channels with systems, and measure what arrives.

    Every combination is measured once; for one seed all systems meet the same noise. Where ``out`` exists it is gone on with:
    what it holds is not measured again, and results of other code or weights are refused.

    Args:
        systems: objects, or names of those that ship.
        photos: a folder, a tar shard, paths, or an iterable of arrays, tensors, PIL images or pictures.
        channels: objects or names.
        snr_db: Es/N0 of the channel in dB.
        symbols: k, complex symbols of data a photo.
        out: JSONL, a line a result, written as it is measured; None keeps nothing.
        draws: independent channels a point.
        seed: the channel's randomness follows from it.
        design_snr_db: what the transmitter expects, where the channel does something else.
        domain: ``face`` looks for a face and aligns it, ``street`` squeezes to a square, ``photo`` sends a photo as it is; by
            default ``face`` for paths and ``photo`` for pictures.
        aligned: the faces are cropped like those of training already.
        limit: the first photos alone.
        metrics: what is measured; None: all that this computer has the files for, with ``identity`` and ``vgg``.
        identity: ONNX face recognisers.
        vgg: LPIPS with VGG16 too, ten times as slow.
        workers: processes of this computer, or the address of a dask scheduler (one that only trusted computers reach).
        force: start ``out`` afresh.
        device: where systems that are named compute; objects stay where they are.
        progress: opens a progress bar.

    Raises:
        BadInput: an argument, or a system that sends more power than it promises.
        SemcastError: weights or a library are missing, or ``out`` holds something else.
    """
    _check_run(limit, workers, force, progress)
    links, embedders = _kinds("a system", systems, System), _measured_by(metrics, identity, vgg)
    over = [make_channel(each) if isinstance(each, str) else each for each in _kinds("a channel", channels, Channel)]
    sources = gather(photos, limit)
    frame = (FACE if _are_paths(photos) else PHOTO) if domain is None else check_text("a domain", domain)
    plan = Plan(_numbers(snr_db), tuple(_list(symbols)), draws, seed, aligned, frame, design_snr_db)
    target, again = _target(out), partial(build, plan, links, over, metrics, embedders, vgg, device)
    sweep = again()
    named = metrics is None and all(isinstance(each, str) for each in links)
    outcome = _measure(sweep, again if named else None, sources, target, force, workers, progress)
    notes = [*found_notes(sources), *sweep.metrics.notes]
    return Table(outcome.records, outcome.measured, sweep.skipped + outcome.refused, notes)


def evaluate_codecs(
    codecs_: BitCodec | str | Iterable[BitCodec | str], photos: Any, *, max_bytes: int | Iterable[int] = (300, 500, 1000),
    out: Path | str | None = None, domain: str = "street", care: str | None = None, limit: int | None = None,
    workers: int | str = 1, force: bool = False, device: str | torch.device = "cpu", strangers: bool = False,
    progress: Track | None = None,
) -> Table[CodecRecord]:  # fmt: skip
    """Code photos in so many bytes, without a channel, and measure what can still be seen and how it looks.

    Args:
        codecs_: objects, or names of :data:`~semcast.rivals.bit_codecs.BIT_CODECS`.
        photos: as :func:`evaluate` takes them; a tar shard brings its labels.
        max_bytes: budgets, everything counted.
        out: JSONL, a line a result; None keeps nothing.
        domain: ``street`` or ``face`` (cropped already), or ``photo`` for photos as they are, which nobody judges.
        care: categories that count more, ``person,car=2``, for the semantic codec.
        limit, workers, force, progress: as of :func:`evaluate`.
        device: where the networks of codecs, judge and metrics compute, as of :func:`~semcast.api.load_codec`; objects stay
            where they are.
        strangers: judge by networks that nothing here was made with as well
            (:class:`~semcast.bench.strangers.Strangers`).

    Raises:
        BadInput: an argument, or a codec that makes more bytes than it may.
        SemcastError: weights or a library are missing, or ``out`` holds something else.
    """
    _check_run(limit, workers, force, progress)
    chosen = _list(codecs_)
    for each in chosen:
        if not isinstance(each, str) and not (hasattr(each, "compress") and hasattr(each, "decompress")):
            raise BadInput(f"a codec is a name or a BitCodec, not {quote(each)}")
    check_text("a domain", domain)
    budgets = tuple(check_whole("a budget in bytes", each, -_MOST) for each in _list(max_bytes))  # of at least 1, it says itself
    check_flag("strangers", strangers)
    if care is not None:
        check_text("care", care)
    sources = gather(photos, limit)
    target = _target(out)
    build = partial(codecs.load, domain, chosen, budgets, care, device=device, strangers=strangers)
    (sweep, notes), again = build(), partial(build_codecs, build)
    named = all(isinstance(each, str) for each in chosen)
    outcome = _measure(sweep, again if named else None, sources, target, force, workers, progress)
    return Table(outcome.records, outcome.measured, outcome.refused, [*found_notes(sources), *notes])


def build(
    plan: Plan, systems: Sequence[System | str], channels: Sequence[Channel], metrics: Metrics | None, identity: Sequence[Path],
    vgg: bool, device: str | torch.device = "cpu",
) -> Sweep:  # fmt: skip
    """Make a sweep of objects and names; of names alone this is what every worker does too.

    Raises:
        SemcastError: a name is unknown, or weights or a library are missing.
    """
    domain = FACE if plan.domain == PHOTO else domain_named(plan.domain).name
    links = [api.load(each, device=device, domain=domain) if isinstance(each, str) else each.eval() for each in systems]
    return Sweep(plan, links, channels, metrics or Metrics.load(identity, vgg))


def build_codecs(build: Callable[[], tuple[codecs.CodecSweep, list[str]]]) -> codecs.CodecSweep:
    """Make a sweep of codecs by names alone: what every worker does."""
    return build()[0]


def _measure(
    sweep: Any, again: Callable[[], Any] | None, sources: Sequence[Any], out: Path | None, force: bool, workers: int | str,
    progress: Track | None,
) -> engine.Outcome[Any]:  # fmt: skip
    """Let whoever works measure a sweep; ``again`` makes it anew in a worker, None: it is sent there."""
    opened = progress(len(sources) * len(sweep.points)) if progress else nullcontext(None)
    if not hasattr(opened, "__enter__"):
        raise BadInput(f"progress opens a progress bar, a context manager, and gave {quote(opened)}")
    with cluster.measuring(workers, sweep, again) as measure, opened as step:
        return engine.run(sweep, sources, out, force=force, progress=step, measure=measure)


def _check_run(limit: Any, workers: Any, force: Any, progress: Any) -> None:
    """Look at what every evaluation is given."""
    if limit is not None:
        check_whole("limit", limit, 1, _MOST)
    if not isinstance(workers, str):
        check_whole("workers", workers, 1, _MOST)
    check_flag("force", force)
    if progress is not None and not callable(progress):
        raise BadInput(f"progress opens a progress bar, which {quote(progress)} does not")


def _kinds(what: str, given: Any, kind: type[Any]) -> list[Any]:
    """One or several, each a name or an object of that kind."""
    found = _list(given)
    for each in found:
        check_kind(what, each, (str, kind), f"a name or a {kind.__name__}")
    return found


def _measured_by(metrics: Any, identity: Any, vgg: Any) -> list[Path]:
    """Look at what measures; the paths of the recognisers."""
    check_flag("vgg", vgg)
    if metrics is not None:
        check_kind("metrics", metrics, Metrics, "what semcast.metrics.report.Metrics loads, or None")
    return [check_path("a face recogniser", path).absolute() for path in _list(identity, least=0)]


def _target(out: Path | str | None) -> Path | None:
    if out is None:
        return None
    path = check_path("a file of results", out)
    check_file(path, True, ".jsonl")
    return path


def _list(things: Any, least: int = 1) -> list[Any]:
    """One or several as a list; the second of two equal ones is dropped."""
    one = isinstance(things, (str, bytes, Path, System)) or not isinstance(things, Iterable) or getattr(things, "ndim", 1) == 0
    found = [things] if one else list(things)
    if len(found) < least:
        raise BadInput("an empty list: give at least one")
    return [each for i, each in enumerate(found) if not any(each is other or _equal(each, other) for other in found[:i])]


def _equal(one: Any, other: Any) -> bool:
    return isinstance(one, (str, int, float)) and isinstance(other, (str, int, float)) and one == other


def _numbers(values: Any) -> tuple[float, ...]:
    found = [number_of(value) for value in _list(values)]
    if None in found:
        raise BadInput(f"snr_db is a number or several, not {quote(values)}")
    return tuple(float(value) for value in found if value is not None)


def _are_paths(photos: Any) -> bool:
    if isinstance(photos, (str, Path)):
        return True
    return isinstance(photos, Sequence) and bool(photos) and isinstance(photos[0], (str, Path))
