"""The verbs that measure many photos: evaluate, evaluate-codec."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcast.cli.build import channel_of, names_in, numbers_in, protection_of, scene_of, systems_of
from semcast.cli.console import say, show, track
from semcast.cli.inputs import check_inputs
from semcast.cli.options import (
    ALLOCATIONS,
    CODED,
    METRICS,
    SENDING,
    SYSTEMS,
    Afresh,
    CategoryCare,
    CodedDomain,
    Identity,
    Limit,
    Photos,
    Protecting,
    Results,
    Scheduler,
    Sending,
    Workers,
    among,
)
from semcast.errors import SemcastError

if TYPE_CHECKING:
    from semcast.bench.sweep import Measure, Plan, Sweep
    from semcast.privacy.system import Protection

SystemNames = Annotated[
    str,
    typer.Option(metavar="NAME,...", rich_help_panel=SENDING, autocompletion=among(*SYSTEMS, *CODED),
                 help=f"{', '.join((*SYSTEMS, *CODED))} (avif:16qam-1/2 fixes modulation and code rate), or your own: "
                      "mine.py:Class, which runs that file."),
]  # fmt: skip
ChannelNames = Annotated[
    str,
    typer.Option(metavar="NAME,...", help="awgn, rayleigh, rician.", rich_help_panel=SENDING,
                 autocompletion=among("awgn", "rayleigh", "rician")),
]  # fmt: skip
SnrList = Annotated[str, typer.Option(metavar="DB,...", help="Es/N0 of the channel in dB.", rich_help_panel=SENDING)]
SymbolList = Annotated[
    str, typer.Option(metavar="K,...", help="k, complex symbols of data; pilots come on top.", rich_help_panel=SENDING)
]
Draws = Annotated[int, typer.Option(metavar="N", help="Channels a point.", rich_help_panel=SENDING)]
Vgg = Annotated[bool, typer.Option("--vgg", help="LPIPS with VGG16 too (ten times as slow).", rich_help_panel=METRICS)]


def evaluate(
    photos: Photos,
    out: Results,
    force: Afresh = False,
    systems: SystemNames = "linear-gan,linear",
    channels: ChannelNames = "awgn",
    snr: SnrList = "0,5,10",
    symbols: SymbolList = "64,640",
    draws: Draws = 1,
    limit: Limit = None,
    identity: Identity = None,
    vgg: Vgg = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    *,
    sending: Sending,
    protecting: Protecting,
) -> None:
    """Send many photos over many channels; one JSON line each, resumable, and a table of means.

    [cyan]semcast evaluate photos/ --snr 0,10 -o r.jsonl[/cyan]
    [cyan]semcast evaluate faces256/test-000.tar --aligned --systems linear-gan,linear -o r.jsonl[/cyan]
    [cyan]semcast evaluate photos/ --workers 8 -o r.jsonl[/cyan]
    [cyan]semcast evaluate photos/ --systems linear,avif,avif:16qam-1/2 --symbols 8192 -o r.jsonl[/cyan]
    [cyan]semcast evaluate street256/test-000.tar --domain street --systems rl-asc,avif --symbols 1024 -o r.jsonl[/cyan]
    """
    check_inputs(photos)
    from semcast.bench.sweep import Plan, summary
    from semcast.files import check_file
    from semcast.networks.precision import use_threads
    from semcast.sources import find_photos

    check_file(out, True, ".jsonl")
    use_threads()
    protection = protection_of(protecting, sending.aligned, None)
    scene = scene_of(sending, protecting.private, identity)
    plan = Plan(
        snr_db=numbers_in(snr, "--snr", float), symbols=numbers_in(symbols, "--symbols", int), draws=draws, seed=sending.seed,
        aligned=sending.aligned, care=sending.care, refine=sending.refine, fading=sending.fading, pilots=sending.pilots,
        private=protection.name if protection else None, domain=scene.name if scene else None,
    )  # fmt: skip
    embedders = [path.absolute() for path in identity or ()]
    load = partial(build_sweep, plan, names_in(systems), names_in(channels), embedders, vgg, sending, protection)
    sweep = load()
    sources = find_photos(photos, limit)
    for note in sweep.metrics.notes + [f"skipped: {points}" for points in sweep.skipped]:
        say(note)
    with measuring(workers, scheduler, load, sweep) as measure, track("evaluating", len(sources) * len(sweep.points)) as step:
        outcome = sweep.run(sources, out, force=force, progress=step, measure=measure)
    for reason in outcome.refused:
        say(f"skipped: {reason}")
    show(summary(outcome.records))
    say(f"{outcome.measured} measured, {len(outcome.records) - outcome.measured} were there already: {out}")


def build_sweep(
    plan: Plan, systems: Sequence[str], channels: Sequence[str], identity: Sequence[Path], vgg: bool, sending: Sending,
    protection: Protection | None,
) -> Sweep:  # fmt: skip
    """Make a sweep from names alone: what every worker of an evaluation does too."""
    from semcast.bench.sweep import Sweep
    from semcast.metrics.report import Metrics
    from semcast.networks.segmenter import FaceParser
    from semcast.privacy.system import protect_all

    over = [channel_of(name, sending, channels) for name in channels]
    links = protect_all(systems_of(systems, sending), protection, plan.seed)
    return Sweep(plan, links, over, Metrics.load(identity, vgg), FaceParser.load)


@contextmanager
def measuring(workers: int, scheduler: str | None, load: Callable[[], Sweep], sweep: Sweep) -> Iterator[Measure]:
    """Say who measures: this process, processes of this computer, or a cluster."""
    if workers > 1 and scheduler:
        raise SemcastError("--workers are processes of this computer, --scheduler has its own: give one of them")
    if workers == 1 and not scheduler:
        yield sweep.measure
        return
    from semcast.bench import cluster

    with cluster.remote(scheduler) if scheduler else cluster.local(workers) as client:
        say("several workers, one thread each: encode_s and decode_s do not compare with those of one process")
        yield cluster.measured_on(client, load, sweep)


def evaluate_codec(
    photos: Photos,
    out: Results,
    force: Afresh = False,
    domain: CodedDomain = "street",
    codecs: Annotated[
        str, typer.Option(metavar="NAME,...", autocompletion=among(*ALLOCATIONS, *CODED[1:]),
                          help="rl-asc, the same codec with other allocations (uniform, greedy, random, area), or avif, hevc, "
                               "webp, jpeg2000, jpeg.")
    ] = "rl-asc,uniform,avif",
    max_bytes: Annotated[str, typer.Option(metavar="N,...", help="Budgets, everything counted.")] = "300,500,1000",
    care: CategoryCare = None,
    limit: Limit = None,
) -> None:  # fmt: skip
    """Photos through codecs at equal true bytes, no channel: what can still be seen, and how it looks.

    [cyan]semcast evaluate-codec street256/test-000.tar --codecs rl-asc,avif,hevc -o r.jsonl[/cyan]
    [cyan]semcast evaluate-codec me.png --domain face --max-bytes 500 -o r.jsonl[/cyan]
    """
    check_inputs(photos)
    from semcast.bench import codecs as bench
    from semcast.files import check_file
    from semcast.networks.precision import use_threads
    from semcast.sources import find_photos

    check_file(out, True, ".jsonl")
    use_threads()
    tested, note = bench.load(domain, names_in(codecs), numbers_in(max_bytes, "--max-bytes", int), care)
    sources = find_photos(photos, limit)
    if note:
        say(note)
    with track("evaluating", len(sources) * len(tested.points)) as step:
        outcome = bench.run(tested, sources, out, force=force, progress=step)
    for reason in outcome.refused:
        say(f"skipped: {reason}")
    show(bench.summary(outcome.records))
    say(f"{outcome.measured} measured, {len(outcome.records) - outcome.measured} were there already: {out}")
