"""The verbs that measure many photos: evaluate, evaluate-codec."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semcast.cli.build import channel_of, check_domain, check_names, names_in, numbers_in, protection_of, systems_of
from semcast.cli.console import in_options, say, show, track
from semcast.cli.inputs import check_inputs
from semcast.cli.options import (
    ALLOCATIONS,
    CODED,
    METRICS,
    SENDING,
    SYSTEMS,
    Afresh,
    CategoryCare,
    CodecDevice,
    CodedDomain,
    Identity,
    Limit,
    Photos,
    Protecting,
    Results,
    Scheduler,
    Sending,
    TaskName,
    Workers,
    among,
    who_measures,
)

if TYPE_CHECKING:
    from semcast.bench.table import Table
    from semcast.link import System
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
Strangers = Annotated[
    bool, typer.Option("--strangers", help="Judge by networks that nothing here was made with as well: ESPNetv2 (streets), "
                                           "dlib's embedder (faces), EfficientNet. Their files are not in the package.")
]  # fmt: skip
Vgg = Annotated[bool, typer.Option("--vgg", help="LPIPS with VGG16 too (ten times as slow).", rich_help_panel=METRICS)]


def evaluate(
    photos: Photos,
    out: Results,
    force: Afresh = False,
    systems: SystemNames = "sketch,linear",
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

    [cyan]semcast evaluate faces256/test-000.tar --aligned --systems sketch,linear -o r.jsonl[/cyan]
    [cyan]semcast evaluate photos/ --snr 0,10 --workers 8 -o r.jsonl[/cyan]
    [cyan]semcast evaluate photos/ --systems linear,avif,avif:16qam-1/2 --symbols 8192 -o r.jsonl[/cyan]
    [cyan]semcast evaluate street256/test-000.tar --domain street --systems rl-asc,avif --symbols 1024 -o r.jsonl[/cyan]
    [cyan]semcast evaluate kodak/ --domain photo --systems mine.py:Repeat,avif --symbols 8192 -o r.jsonl[/cyan]
    """
    check_inputs(photos)
    from semcast import bench
    from semcast.bench.inputs import gather
    from semcast.bench.sweep import Plan
    from semcast.files import check_file
    from semcast.networks.precision import use_threads

    who = who_measures(workers, scheduler)
    use_threads()
    protection = protection_of(protecting, sending.aligned, None)
    check_domain(sending, protecting.private, identity)
    check_file(out, True, ".jsonl")
    names = names_in(channels)
    over = [channel_of(name, sending, names) for name in names]
    at = (numbers_in(snr, "--snr", float), numbers_in(symbols, "--symbols", int))
    plan = Plan(*at, draws, sending.seed, sending.aligned, sending.domain, sending.design_snr)
    sources = gather(photos, limit)  # so far nothing was loaded
    links = links_of(names_in(systems), sending, protection, remote=who != 1)
    table = bench.evaluate(
        links, sources, channels=over, snr_db=plan.snr_db, symbols=plan.symbols, draws=draws, seed=plan.seed,
        design_snr_db=plan.design_snr_db, domain=plan.domain, aligned=plan.aligned, out=out, identity=identity or (), vgg=vgg,
        workers=who, force=force, device=sending.device, progress=partial(track, "evaluating"),
    )  # fmt: skip
    tell(table, out)


def links_of(
    names: Sequence[str], sending: Sending, protection: Protection | None, remote: bool
) -> Sequence[System | str]:
    """The systems; by name alone where other processes load them and there is nothing more to be said of them."""
    from semcast.privacy.system import protect_all

    check_names(names, sending)
    plain = not (sending.care or sending.refine or protection) and sending.inversion == "newton"
    if remote:
        say("several workers, one thread each: encode_s and decode_s do not compare with those of one process")
        if plain:
            return names
    return protect_all(systems_of(names, sending), protection, sending.seed)


def tell(table: Table[Any], out: Path) -> None:
    """What an evaluation comes to: what was left out, the means, and how much is new."""
    for note in [*table.notes, *(f"skipped: {in_options(reason)}" for reason in table.skipped)]:
        say(note)
    show(table.summary())
    say(f"{table.measured} measured, {len(table) - table.measured} were there already: {out}")


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
    task: TaskName = None,
    limit: Limit = None,
    strangers: Strangers = False,
    device: CodecDevice = "cpu",
) -> None:  # fmt: skip
    """Photos through codecs at equal true bytes, no channel: what can still be seen, and how it looks.

    [cyan]semcast evaluate-codec street256/test-000.tar --codecs rl-asc,avif,hevc -o r.jsonl[/cyan]
    [cyan]semcast evaluate-codec me.png --domain face --max-bytes 500 -o r.jsonl[/cyan]
    """
    check_inputs(photos)
    from semcast import bench
    from semcast.domains import domain_named
    from semcast.networks.precision import use_threads

    if task is not None:
        kind = domain_named(domain)
        care = kind.spell(kind.cares_for(task, care))
    use_threads()
    tell(bench.evaluate_codecs(
        codecs_of(names_in(codecs), domain), photos, max_bytes=numbers_in(max_bytes, "--max-bytes", int), out=out, domain=domain,
        care=care, limit=limit, force=force, device=device, strangers=strangers, progress=partial(track, "evaluating"),
    ), out)  # fmt: skip


def codecs_of(names: Sequence[str], domain: str) -> Sequence[Any]:
    """Codecs by name; those of files that are named are loaded."""
    from semcast.api import load_codec

    return [load_codec(name, domain=domain).coder if ".py:" in name else name for name in names]
