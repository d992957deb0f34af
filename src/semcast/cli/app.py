"""The command line: one short function a verb. Torch is imported by the verbs that compute, so that help is quick."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer
from rich.console import Console

from semcast.errors import SemcastError

if TYPE_CHECKING:
    from semcast.bench.engine import Measure
    from semcast.bench.sweep import Plan, Sweep
    from semcast.domains import Domain
    from semcast.link import Budget, Channel, Crossing, System
    from semcast.privacy.system import Private, Protection

app = typer.Typer(
    name="semcast",
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""
    Send a face as a few dozen to a few hundred radio symbols, and see who comes out.

    [bold]Conventions.[/bold] k [dim](--symbols)[/dim] counts complex symbols of data per photo,
    pilots come on top; a 256 x 256 photo is n = 196608 numbers, so k = 64
    is k / n = 1/3072. Mean symbol power is 1, SNR is Es/N0 in dB (the
    average one under fading). For one seed all systems meet the same noise.

    [bold]Try[/bold] [cyan]semcast demo[/cyan] and [cyan]semcast transmit me.jpg --symbols 64 --snr 0[/cyan]

    Bad input ends with one sentence and exit code 2; nothing that exists
    is overwritten without -f. Weights are looked for in $SEMCAST_WEIGHTS
    first, the files that metrics need in $SEMCAST_SHARED/weights.
    """,
)

_SENDING, _WRITING, _METRICS, _WORKERS, _PRIVATE = "Link", "Output", "Measuring", "Workers", "Privacy"
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what exists.", rich_help_panel=_WRITING)]
Seed = Annotated[int, typer.Option(help="The channel's randomness follows from it.", rich_help_panel=_SENDING)]
Aligned = Annotated[
    bool, typer.Option("--aligned", help="Square photos cropped like the training faces: skip the search.")
]
Refine = Annotated[
    int, typer.Option(min=0, metavar="N", help="[bold]generative[/bold]: N gradient steps on the photo's symbols.",
                      rich_help_panel=_SENDING)
]  # fmt: skip
Care = Annotated[
    str | None,
    typer.Option(metavar="plain|face|identity", show_default=False, rich_help_panel=_SENDING,
                 help="[bold]linear-gan[/bold]: what the symbols are spent on (both ends know it)."),
]  # fmt: skip
PhotoDomain = Annotated[
    str, typer.Option("--domain", metavar="face|street", rich_help_panel=_SENDING,
                      help="What the photos show. A street is squeezed to a square, no face is looked for.")
]  # fmt: skip
CategoryCare = Annotated[
    str | None,
    typer.Option("--care", metavar="NAME,NAME=N,...", show_default=False,
                 help="Categories that count N times (4 where nothing is said), person,car=2: first in the file, finer levels."),
]  # fmt: skip
Fading = Annotated[
    str, typer.Option(metavar="block|fast", rich_help_panel=_SENDING,
                      help="Rayleigh, Rician: one gain a burst, or another for each symbol.")
]  # fmt: skip
Pilots = Annotated[
    int, typer.Option(min=0, metavar="N", rich_help_panel=_SENDING,
                      help="Rayleigh, Rician: known symbols, on top of k, that estimate the gain; 0: it is known.")
]  # fmt: skip
Identity = Annotated[
    list[Path] | None,
    typer.Option(metavar="MODEL.onnx", show_default=False, rich_help_panel=_METRICS,
                 help="A face embedder: measures whether it is still the same person. Given twice: by a second one too."),
]  # fmt: skip

PrivateParts = Annotated[
    str | None,
    typer.Option("--private", metavar="PART,...", show_default=False, rich_help_panel=_PRIVATE,
                 help="Parts that become somebody else's: eyes,hair or all-but-eyes."),
]  # fmt: skip
Privacy = Annotated[
    str, typer.Option(metavar="blind|filter", rich_help_panel=_PRIVATE,
                      help="[bold]blind[/bold], the default because it is safe: private pixels are taken out before anything is "
                           "computed from the photo. [bold]filter[/bold], the paper's, generative alone: their codes are moved.")
]  # fmt: skip
Lambda1 = Annotated[
    float | None, typer.Option("--lambda1", metavar="X", show_default="1", rich_help_panel=_PRIVATE,
                               help="filter: how far the codes move, over their length (eq. 4).")
]  # fmt: skip
Lambda2 = Annotated[
    float | None, typer.Option("--lambda2", metavar="X", show_default="0.9", rich_help_panel=_PRIVATE,
                               help="filter: how far the knowledge base pulls them back (eq. 5), below 1.")
]  # fmt: skip
PrivateMask = Annotated[
    Path | None,
    typer.Option("--private-mask", metavar="MASK.png", show_default=False, rich_help_panel=_PRIVATE,
                 help="blind: white where pixels are private, black elsewhere, over an --aligned photo; the parser then "
                      "sees nothing. --private still says which parts are replaced there."),
]  # fmt: skip
CoarseMask = Annotated[
    bool, typer.Option("--coarse-mask", rich_help_panel=_PRIVATE,
                       help="blind: a fixed box for each part, so that not even its outline is given away.")
]  # fmt: skip


@app.command()
def transmit(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Any photo with a face in it.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT.png", show_default=False, rich_help_panel=_WRITING,
                     help="The received face alone; without it, a picture of both in PHOTO-received.png here."),
    ] = None,
    force: Force = False,
    system: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default=False, rich_help_panel=_SENDING,
                     help="generative, linear-gan, linear, or a codec over 5G LDPC and QAM: rl-asc, jpeg, jpeg2000, webp, avif, "
                          "hevc (avif:16qam-1/2 fixes modulation and code rate); by default the best one for that many symbols."),
    ] = None,
    channel: Annotated[str, typer.Option(metavar="awgn|rayleigh|rician", rich_help_panel=_SENDING)] = "awgn",
    snr: Annotated[float, typer.Option(metavar="DB", help="Es/N0 in dB.", rich_help_panel=_SENDING)] = 5.0,
    symbols: Annotated[int, typer.Option(metavar="K", help="k, complex symbols of data.", rich_help_panel=_SENDING)] = 640,
    seed: Seed = 0,
    refine: Refine = 0,
    inversion: Annotated[
        str, typer.Option(metavar="newton|encoder|paper", rich_help_panel=_SENDING,
                          help="[bold]generative[/bold]: the encoder's guess and two closed-form steps, the guess alone, or "
                               "the paper's 400 gradient steps from the mean code.")
    ] = "newton",
    care: Care = None,
    fading: Fading = "block",
    pilots: Pilots = 0,
    domain: PhotoDomain = "face",
    aligned: Aligned = False,
    private: PrivateParts = None,
    privacy: Privacy = "blind",
    lambda1: Lambda1 = None,
    lambda2: Lambda2 = None,
    private_mask: PrivateMask = None,
    coarse_mask: CoarseMask = False,
    save_symbols: Annotated[
        Path | None,
        typer.Option(metavar="X.npy", show_default=False, rich_help_panel=_WRITING,
                     help="The complex symbols sent, complex64 of length k."),
    ] = None,
    identity: Identity = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.", rich_help_panel=_WRITING)] = False,
) -> None:  # fmt: skip
    """Send one photo over a simulated channel and write the face that arrives.

    [cyan]semcast transmit me.jpg[/cyan]
    [cyan]semcast transmit me.jpg --symbols 64 --snr 0 --system linear-gan -o face.png[/cyan]
    [cyan]semcast transmit me.jpg --channel rayleigh --pilots 8 --json[/cyan]
    [cyan]semcast transmit me.jpg --private eyes,hair[/cyan]
    """
    from semcast.api import default_system
    from semcast.files import check_file
    from semcast.link import Budget
    from semcast.metrics.report import Metrics
    from semcast.networks.segmenter import FaceParser
    from semcast.photos import check_output, to_tensor, to_uint8, write_image
    from semcast.pictures import side_by_side
    from semcast.sources import SIZE, Source

    _threads()
    budget = Budget(symbols, snr)
    target = out or Path(f"{photo.stem}-received.png")
    check_output(target, force)
    _check_not_input(target, [photo])
    if save_symbols:
        check_file(save_symbols, force, ".npy")
    over = _channel(channel, fading, pilots)
    protection = _protection(private, privacy, lambda1, lambda2, private_mask, coarse_mask, aligned, photo)
    filtered = protection is not None and protection.mode == "filter"  # which is for generative alone
    scene = _scene(domain, private, identity)
    name = system or ("rl-asc" if scene else "generative" if filtered else default_system(symbols))
    link = _systems([name], care, refine, inversion, domain)[0]
    sender = _protected([link], protection)[0]
    metrics = Metrics.load(identity)
    source = Source(photo.name, photo)
    face, found = (source.scene(scene), 0) if scene else source.face(None if aligned else FaceParser.load())
    if found > 1:
        _say(f"{found} faces found in {photo}: the largest is sent")
    image = to_tensor(face)
    quick = refine == 0 and inversion != "paper"
    crossing = _cross(sender, over, image, budget, seed, photo.name, warm=quick)
    received = to_uint8(crossing.reception.image)
    if save_symbols:
        _save_symbols(save_symbols, crossing)
    shown = f"{'squeezed' if scene else 'aligned'}, {SIZE} x {SIZE}"
    caption = f"{link.name}, k = {symbols}, {snr:g} dB" + (f", private: {protection.choice.name}" if protection else "")
    write_image(target, received if out else side_by_side([face, received], [shown, caption]))
    values = {
        "image": photo.name, "system": link.name, "default_system": system is None and not filtered,
        "channel": over.name, "snr_db": snr,
        "symbols": symbols, "data_symbols": crossing.burst.symbols.shape[1], "uses": over.uses(symbols),
        "bandwidth_ratio": symbols / image[0].numel(), "seed": seed,
        "domain": domain, "aligned": aligned, "faces_found": found, **metrics.measure(image, crossing.reception.image),
        "side_bytes": crossing.burst.side_bytes, "encode_s": crossing.encode_s, "decode_s": crossing.decode_s,
        "ok": bool(crossing.reception.ok.all()), "output": str(target),
    }  # fmt: skip
    if crossing.reception.reason:
        values["reason"] = crossing.reception.reason
    if protection:
        from semcast.privacy.receipt import receipt

        plain = _cross(link, over, image, budget, seed, photo.name, warm=False)
        values["privacy"] = receipt(cast("Private", sender), image, crossing, plain, metrics, aligned=aligned)
    _report(values, metrics.notes, as_json)


@app.command()
def evaluate(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTOS|FOLDER|SHARD.tar", help="What to send.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="R.jsonl", show_default=False, rich_help_panel=_WRITING,
                     help="One JSON line a result; where it exists it is resumed."),
    ],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Start R.jsonl afresh.", rich_help_panel=_WRITING)
    ] = False,
    systems: Annotated[
        str, typer.Option(metavar="NAME,...", help="Systems by name.", rich_help_panel=_SENDING)
    ] = "linear-gan,linear",
    channels: Annotated[
        str, typer.Option(metavar="NAME,...", help="awgn, rayleigh, rician.", rich_help_panel=_SENDING)
    ] = "awgn",
    snr: Annotated[str, typer.Option(metavar="DB,...", help="Es/N0 in dB.", rich_help_panel=_SENDING)] = "0,5,10",
    symbols: Annotated[
        str, typer.Option(metavar="K,...", help="k, complex symbols of data.", rich_help_panel=_SENDING)
    ] = "64,640",
    draws: Annotated[int, typer.Option(metavar="N", help="Channels a point.", rich_help_panel=_SENDING)] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The first N photos.", show_default=False)
    ] = None,
    seed: Seed = 0,
    refine: Refine = 0,
    care: Care = None,
    fading: Fading = "block",
    pilots: Pilots = 0,
    domain: PhotoDomain = "face",
    aligned: Aligned = False,
    private: PrivateParts = None,
    privacy: Privacy = "blind",
    lambda1: Lambda1 = None,
    lambda2: Lambda2 = None,
    private_mask: PrivateMask = None,
    coarse_mask: CoarseMask = False,
    identity: Identity = None,
    vgg: Annotated[
        bool, typer.Option("--vgg", help="LPIPS with VGG16 too (ten times as slow).", rich_help_panel=_METRICS)
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes on this computer.", rich_help_panel=_WORKERS)
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://HOST:PORT", show_default=False, rich_help_panel=_WORKERS,
                     help="The workers of a dask.distributed cluster (one that only trusted computers can reach)."),
    ] = None,
) -> None:  # fmt: skip
    """Send many photos over many channels; one JSON line each, resumable, and a table of means.

    [cyan]semcast evaluate photos/ --snr 0,10 -o r.jsonl[/cyan]
    [cyan]semcast evaluate faces256/test-000.tar --aligned --systems linear-gan,linear -o r.jsonl[/cyan]
    [cyan]semcast evaluate photos/ --workers 8 -o r.jsonl[/cyan]
    [cyan]semcast evaluate photos/ --systems linear,avif,avif:16qam-1/2 --symbols 8192 -o r.jsonl[/cyan]
    [cyan]semcast evaluate street256/test-000.tar --domain street --systems rl-asc,avif --symbols 1024 -o r.jsonl[/cyan]
    """
    from semcast.bench.sweep import Plan, summary
    from semcast.files import check_file
    from semcast.sources import find_photos

    _threads()
    protection = _protection(private, privacy, lambda1, lambda2, private_mask, coarse_mask, aligned, None)
    _scene(domain, private, identity)
    plan = Plan(
        snr_db=_numbers(snr, "--snr", float), symbols=_numbers(symbols, "--symbols", int), draws=draws, seed=seed,
        aligned=aligned, domain=domain,
    )  # fmt: skip
    check_file(out, True, ".jsonl")
    embedders = [path.absolute() for path in identity or ()]
    links, over = (_names(systems), care, refine), (_names(channels), fading, pilots)
    load = partial(_sweep, plan, links, over, embedders, vgg, protection)
    sweep = load()
    sources = find_photos(photos, limit)
    for note in sweep.metrics.notes + [f"skipped: {points}" for points in sweep.skipped]:
        _say(note)
    with _measuring(workers, scheduler, load, sweep) as measure, _progress() as progress:
        task = progress.add_task("evaluating", total=len(sources) * len(sweep.points))
        step = partial(progress.advance, task)
        outcome = sweep.run(sources, out, force=force, progress=step, measure=measure)
    for reason in outcome.refused:
        _say(f"skipped: {reason}")
    _stdout().print(summary(outcome.records))
    _say(f"{outcome.measured} measured, {len(outcome.records) - outcome.measured} were there already: {out}")


@app.command()
def encode(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A street, or any photo with a face.", show_default=False)],
    domain: Annotated[str, typer.Option(metavar="street|face", help="What the photo shows.", show_default=False)],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="X.sem", help="The file.", show_default=False, rich_help_panel=_WRITING)
    ],
    max_bytes: Annotated[int, typer.Option(metavar="N", help="Bytes of the file at most, everything counted.")] = 500,
    care: CategoryCare = None,
    allocation: Annotated[
        str, typer.Option(metavar="NAME", help="Who spends the bytes: rl-asc (learned), uniform, area, random, or greedy (slow).")
    ] = "rl-asc",
    aligned: Aligned = False,
    force: Force = False,
) -> None:  # fmt: skip
    """Write a photo as a few hundred bytes of meaning: what is where, and each concept as well as its bytes allow.

    [cyan]semcast encode street.jpg --domain street --max-bytes 500 -o street.sem[/cyan]
    [cyan]semcast encode me.jpg --domain face --care "left eye,right eye" -o me.sem[/cyan]
    """
    from semcast.codec.receipt import itemise, write_sem
    from semcast.domains import domain_named
    from semcast.files import check_file
    from semcast.networks.segmenter import FaceParser
    from semcast.photos import read_photo
    from semcast.rivals.bit_codecs import ALLOCATIONS, load_bit_codec
    from semcast.sources import Source

    _threads()
    kind = domain_named(domain)
    cares = kind.cares(care)
    check_file(out, force, ".sem")
    _check_not_input(out, [photo])
    if allocation not in ALLOCATIONS:
        raise SemcastError(f"unknown allocation {allocation!r}; the known are {', '.join(ALLOCATIONS)}")
    if kind.name == "face":
        picture, found = Source(photo.name, photo).face(None if aligned else FaceParser.load())
        if found > 1:
            _say(f"{found} faces found in {photo}: the largest is coded")
    else:
        picture = read_photo(photo)
    data = load_bit_codec(allocation, kind.name, cares).compress(picture, max_bytes)
    write_sem(out, data)
    made = itemise(data).stream
    sent = sum(concept.level > 0 for concept in made.concepts)
    side = len(made.layout)
    _say(f"{out}: {len(data)} bytes, layout {side} x {side}, features of {sent} of {len(made.concepts)} concepts")


@app.command()
def decode(
    file: Annotated[Path, typer.Argument(metavar="X.sem", help="What encode wrote.", show_default=False)],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT.png", help="The picture.", show_default=False, rich_help_panel=_WRITING)
    ],
    force: Force = False,
    stretch: Annotated[
        bool, typer.Option("--stretch", help="At the size of the photo (at most 2048 pixels), not 256 x 256.")
    ] = False,
) -> None:
    """Paint what a .sem file says; of a damaged one what arrived, and say what is missing.

    [cyan]semcast decode street.sem -o street.png --stretch[/cyan]
    """
    from semcast.codec.codec import receive
    from semcast.codec.receipt import read_sem
    from semcast.photos import check_output, write_image

    _threads()
    check_output(out, force)
    _check_not_input(out, [file])
    received = receive(read_sem(file))
    for note in received.notes:
        _say(f"{file}: {note}")
    write_image(out, received.stretch() if stretch else received.pixels)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="X.sem", help="What encode wrote.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OVERLAY.png", show_default=False, rich_help_panel=_WRITING,
                     help="The layout, and the bytes of each cell over it."),
    ] = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.", rich_help_panel=_WRITING)] = False,
) -> None:  # fmt: skip
    """Where the bytes of a .sem file went: sections, concepts, and what did not arrive. Needs no network.

    [cyan]semcast inspect street.sem -o bytes.png[/cyan]
    """
    from semcast.codec.receipt import draw_overlay, itemise, read_sem, to_json, to_table
    from semcast.photos import check_output, write_image

    if out:
        check_output(out, force)
        _check_not_input(out, [file])
    found = itemise(read_sem(file))
    for note in found.stream.notes:
        _say(f"{file}: {note}")
    if out:
        write_image(out, draw_overlay(found))
    if as_json:
        print(json.dumps(to_json(found)))
    else:
        _stdout().print(to_table(found))


@app.command("evaluate-codec")
def evaluate_codec(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTOS|FOLDER|SHARD.tar", help="What to code.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="R.jsonl", show_default=False, rich_help_panel=_WRITING,
                     help="One JSON line a result; where it exists it is resumed."),
    ],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Start R.jsonl afresh.", rich_help_panel=_WRITING)
    ] = False,
    domain: Annotated[str, typer.Option(metavar="street|face", help="What the photos show.")] = "street",
    codecs: Annotated[
        str, typer.Option(metavar="NAME,...",
                          help="rl-asc, the same codec with other allocations (uniform, greedy, random, area), or avif, hevc, "
                               "webp, jpeg2000, jpeg.")
    ] = "rl-asc,uniform,avif",
    max_bytes: Annotated[str, typer.Option(metavar="N,...", help="Budgets, everything counted.")] = "300,500,1000",
    care: CategoryCare = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The first N photos.", show_default=False)
    ] = None,
) -> None:  # fmt: skip
    """Photos through codecs at equal true bytes, no channel: what can still be seen, and how it looks.

    [cyan]semcast evaluate-codec street256/test-000.tar --codecs rl-asc,avif,hevc -o r.jsonl[/cyan]
    [cyan]semcast evaluate-codec me.png --domain face --max-bytes 500 -o r.jsonl[/cyan]
    """
    from semcast.bench import codecs as bench
    from semcast.files import check_file
    from semcast.sources import find_photos

    _threads()
    check_file(out, True, ".jsonl")
    tested, note = bench.load(domain, _names(codecs), _numbers(max_bytes, "--max-bytes", int), care)
    sources = find_photos(photos, limit)
    if note:
        _say(note)
    with _track("evaluating", len(sources) * len(tested.points)) as step:
        outcome = tested.run(sources, out, force=force, progress=step)
    for reason in outcome.refused:
        _say(f"skipped: {reason}")
    _stdout().print(bench.summary(outcome.records))
    _say(f"{outcome.measured} measured, {len(outcome.records) - outcome.measured} were there already: {out}")


@app.command()
def reproduce(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", show_default=False,
                            help="fig3, fig4, fig5, fading, mismatch, rivals, ablations, all, link, privacy or rl-asc.")
    ],
    photos: Annotated[
        Path,
        typer.Argument(metavar="FOLDER|SHARD.tar", help="Aligned faces; for link and rl-asc with masks.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", rich_help_panel=_WRITING,
                     help="The folder, where what was measured is gone on with."),
    ] = Path("results"),
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Measure everything afresh.", rich_help_panel=_WRITING)
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Few photos and few points: minutes, wide intervals.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="The first N photos (100; 6 with --quick).", show_default=False)
    ] = None,
    domain: Annotated[str, typer.Option(metavar="street|face", help="[bold]rl-asc[/bold]: what the photos show.")] = "street",
    identity: Identity = None,
) -> None:  # fmt: skip
    """Measure again what the documents show: the paper's figures, fading, the rivals; privacy; the codec; or the link.

    [cyan]semcast reproduce all faces256/test-000.tar --quick -o quick[/cyan]
    [cyan]semcast reproduce fig3 faces256/test-000.tar --limit 100 -o results[/cyan]
    [cyan]semcast reproduce link faces256/test-000.tar --limit 100 -o link[/cyan]
    [cyan]semcast reproduce rl-asc street256/test-000.tar --domain street -o results/rl-asc[/cyan]
    [cyan]semcast reproduce privacy faces256/test-000.tar --identity mobileface_v2.onnx -o privacy[/cyan]
    """
    from semcast.studies.study import choose
    from semcast.studies.study import reproduce as measure

    choose(study)
    report = out if study == "link" and out.suffix == ".json" else None  # its one file, as it was asked for before
    if report:
        from semcast.files import check_file

        check_file(report, force, ".json")
    _threads()
    options = ["--domain", domain] * (study == "rl-asc") + ["--quick"] * quick + (["--limit", str(limit)] if limit else [])
    embedders = [identity] if isinstance(identity, Path) else identity or []
    named = [part for embedder in embedders for part in ("--identity", embedder.name)]
    command = " ".join(["semcast reproduce", study, photos.name, *options, *named, "-o", out.name])
    written = measure(study, photos, report.parent if report else out, quick=quick, limit=limit, force=force, domain=domain,
                      identity=embedders, say=_say, track=_track, command=command)  # fmt: skip
    if report:
        written = [path.replace(report) if path.name == "link-report.json" else path for path in written]
    for path in written:
        _say(f"written: {path}")


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", show_default=False,
                       help="parser, linear, linear-gan, generator, flow, link, knowledge, deepjscc, end-to-end, scene-parser, "
                            "judge, tables, scene-codec, features or allocation."),
    ],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Holds faces256, faces160-unlabelled and street256.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="The run's folder: log, checkpoint, weights.", show_default=False)
    ],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another value for one of the recipe's settings."),
    ] = None,
) -> None:  # fmt: skip
    """Train one of the models that ship; Ctrl-C saves, --resume goes on.

    [cyan]semcast train linear-gan --data data --out runs/linear-gan --set steps=2000[/cyan]
    """
    from semcast.train.recipes import run

    _threads()
    run(recipe, data, out, resume=resume, overrides=override or [])


@app.command()
def sample(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="SHEET.png", rich_help_panel=_WRITING)] = Path("sheet.png"),
    force: Force = False,
    count: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Faces.")] = 16,
    seed: Annotated[int, typer.Option(help="Other faces for another seed.")] = 0,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=1.5, metavar="T", help="Spread of N: 1 is the prior; less is more usual faces.")
    ] = 0.8,
) -> None:
    """Faces of nobody: a contact sheet drawn from the generative model's flow.

    [cyan]semcast sample -o sheet.png --count 16[/cyan]
    """
    import torch

    from semcast.api import load_system
    from semcast.photos import check_output, to_uint8, write_image
    from semcast.pictures import grid

    _threads()
    check_output(out, force)
    system: Any = load_system("generative")
    faces = [to_uint8(face) for face in system.sample(count, torch.Generator().manual_seed(seed), temperature)]
    across = min(count, max(1, round(count**0.5)))
    write_image(out, grid([faces[i : i + across] for i in range(0, count, across)]))
    _say(f"{count} faces: {out}")


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Its card.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """What ships: weights files, whether they are intact, and their cards.

    [cyan]semcast models[/cyan]
    [cyan]semcast models painter[/cyan]
    """
    from semcast.weights import available, find

    if name:
        card = find(name).with_suffix(".md")
        if not card.is_file():
            raise SemcastError(f"there is no card of {name}")
        print(card.read_text(encoding="utf-8"))
        return
    found = [_model(path) for path in available()]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    from rich.table import Table

    table = Table("name", "kind", "MB", "fingerprint", "state")
    for model in found:
        table.add_row(*(str(model[key]) for key in ("name", "kind", "megabytes", "fingerprint", "state")))
    _stdout().print(table)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DEMO.png", rich_help_panel=_WRITING)] = Path("demo.png"),
    force: Force = False,
    seed: Seed = 0,
    identity: Identity = None,
    codec: Annotated[
        bool, typer.Option("--codec", help="The face as files of 300 to 1,000 bytes instead, by the semantic codec and others.")
    ] = False,
) -> None:
    """An astronaut's portrait at 640 and at 64 symbols, 10, 5 and 0 dB, through every system: a picture and a table.

    [cyan]semcast demo -o demo.png[/cyan]
    [cyan]semcast demo --codec -o codec.png[/cyan]
    """
    from time import perf_counter

    from semcast.photos import check_output, write_image

    begun = perf_counter()
    check_output(out, force)
    _threads()
    from semcast.metrics.report import Metrics
    from semcast.studies.demo import run_codec_demo, run_demo

    metrics = Metrics.load(identity, vgg=False)
    shown = run_codec_demo(metrics) if codec else run_demo(metrics, seed)
    write_image(out, shown.picture)
    for note in shown.notes:
        _say(note)
    _stdout().print(shown.table)
    _say(f"{out} written in {perf_counter() - begun:.1f} s")


# ---- what the verbs share --------------------------------------------------------------------------------------------


def _threads() -> None:
    """Torch's threads: the processors this process may use, at most 8 (one face fills no more), unless the user chose."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(min(8, usable))


def _channel(name: str, fading: str, pilots: int, *, mixed: bool = False) -> Channel:
    """A channel with its options; ``mixed``: AWGN stands beside fading channels and ignores what is meant for them."""
    from semcast.channels import make_channel

    if fading not in ("block", "fast"):
        raise SemcastError(f"--fading is block or fast, not {fading!r}")
    options = ({"block": 1} if fading == "fast" else {}) | ({"pilots": pilots} if pilots else {})
    if options and name == "awgn":
        if not mixed:
            raise SemcastError("the awgn channel does not fade: --fading and --pilots are for rayleigh and rician")
        options = {}
    return make_channel(name, **options)


def _scene(domain: str, private: str | None, identity: Sequence[Path] | None) -> Domain | None:
    """The domain of photos that are no faces; None for faces."""
    from semcast.domains import domain_named

    kind = domain_named(domain)
    if kind.name == "face":
        return None
    if private or identity:
        raise SemcastError(f"--private and --identity are about faces: leave them out of --domain {domain}")
    return kind


def _systems(
    names: Sequence[str], care: str | None, refine: int, inversion: str = "newton", domain: str = "face"
) -> list[System]:
    """Systems by name, each with the options that are its own."""
    from semcast.api import SYSTEMS, load_system

    for name in names:
        if name.partition(":")[0] not in SYSTEMS:
            raise SemcastError(f"unknown system {name!r}; the known are {', '.join(SYSTEMS)}")
    if care and "linear-gan" not in names:
        raise SemcastError(f"--care is for linear-gan, not for {', '.join(names)}")
    if refine and "generative" not in names:
        raise SemcastError(f"--refine is for generative, not for {', '.join(names)}")
    if inversion != "newton" and "generative" not in names:
        raise SemcastError(f"--inversion is for generative, not for {', '.join(names)}")
    own: dict[str, dict[str, Any]] = {
        "linear-gan": {"care": care},
        "generative": {"refine": refine, "inversion": inversion},
    }
    return [load_system(name, domain=domain, **own.get(name, {})).eval() for name in names]


def _sweep(
    plan: Plan, systems: tuple[Sequence[str], str | None, int], channels: tuple[Sequence[str], str, int],
    identity: Sequence[Path], vgg: bool, protection: Protection | None = None,
) -> Sweep:  # fmt: skip
    """A sweep from names alone: what every worker of an evaluation does too."""
    from semcast.bench.sweep import Sweep
    from semcast.metrics.report import Metrics
    from semcast.networks.segmenter import FaceParser

    names, fading, pilots = channels
    over = [_channel(name, fading, pilots, mixed=True) for name in names]
    links = _protected(_systems(*systems, domain=plan.domain), protection, repeatable=plan.seed)
    return Sweep(plan, links, over, Metrics.load(identity, vgg), FaceParser.load)


def _protection(
    private: str | None, privacy: str, lambda1: float | None, lambda2: float | None, mask: Path | None, coarse: bool,
    aligned: bool, photo: Path | None,
) -> Protection | None:  # fmt: skip
    """What ``--private`` and its companions ask for; the mask must be of the size of ``photo``, or of an aligned face."""
    if private is None:
        if privacy != "blind" or lambda1 is not None or lambda2 is not None or mask or coarse:
            raise SemcastError("--privacy, --lambda1, --lambda2, --private-mask and --coarse-mask need --private PART,...")
        return None
    from semcast.photos import read_mask, size_of
    from semcast.privacy.blind import Blind
    from semcast.privacy.filter import Filter
    from semcast.sources import SIZE

    if privacy not in (Blind.mode, Filter.mode):
        raise SemcastError(f"--privacy is {Blind.mode} or {Filter.mode}, not {privacy!r}")
    strength = {name: value for name, value in (("lambda1", lambda1), ("lambda2", lambda2)) if value is not None}
    if privacy == Filter.mode:
        if mask or coarse:
            raise SemcastError("--private-mask and --coarse-mask are for --privacy blind: filter works on codes, not on pixels")
        return Filter(private, **strength)
    if strength:
        raise SemcastError("--lambda1 and --lambda2 are for --privacy filter")
    given = None
    if mask:
        if not aligned:
            raise SemcastError("--private-mask is for --aligned photos: looking for the face would see what the mask hides")
        given = read_mask(mask)
        size = size_of(photo) if photo else (SIZE, SIZE)
        if (given.shape[1], given.shape[0]) != size:
            what = f"the photo {size[0]} x {size[1]}" if photo else f"an aligned face {SIZE} x {SIZE}"
            raise SemcastError(f"{mask} is {given.shape[1]} x {given.shape[0]} pixels, {what}: they must be the same")
    return Blind(private, given, coarse)


def _protected(systems: Sequence[System], protection: Protection | None, repeatable: int | None = None) -> list[System]:
    """The systems, each behind a transmitter that protects; they share what paints."""
    if protection is None:
        return list(systems)
    from semcast.generative.system import Generative
    from semcast.privacy.system import Private

    link = next((system for system in systems if isinstance(system, Generative)), None)
    if link is None and protection.mode == "blind":
        link = Generative.load()
    return [Private.around(system, protection, repeatable, link) for system in systems]


@contextmanager
def _measuring(workers: int, scheduler: str | None, load: Callable[[], Sweep], sweep: Sweep) -> Iterator[Measure]:
    """Who measures: this process, processes of this computer, or a cluster."""
    if workers > 1 and scheduler:
        raise SemcastError("--workers are processes of this computer, --scheduler has its own: give one of them")
    if workers == 1 and not scheduler:
        yield sweep.measure
        return
    from semcast.bench import cluster

    with cluster.remote(scheduler) if scheduler else cluster.local(workers) as client:
        _say("several workers, one thread each: encode_s and decode_s do not compare with those of one process")
        yield cluster.measured_on(client, load, sweep)


def _cross(
    system: System, channel: Channel, image: Any, budget: Budget, seed: int, name: str, *, warm: bool
) -> Crossing:
    from semcast.link import cross, generator_for

    if warm:  # the first call allocates and tunes: not what a burst takes
        cross(system, channel, image, budget, generator_for(seed, name))
    return cross(system, channel, image, budget, generator_for(seed, name))


def _check_not_input(target: Path, inputs: Sequence[Path]) -> None:
    if any(target.resolve() == path.resolve() for path in inputs):
        raise SemcastError(f"{target} is the photo itself: name another output")


def _save_symbols(path: Path, crossing: Crossing) -> None:
    import numpy as np

    from semcast.files import whole

    with whole(path) as file:
        np.save(file, crossing.burst.symbols[0].cpu().numpy().astype(np.complex64))


_FORMS = {
    "psnr_db": "{:.2f} dB", "ms_ssim": "{:.4f}", "lpips_squeeze": "{:.4f}", "lpips_vgg": "{:.4f}", "identity": "{:.3f}",
    "identity_2": "{:.3f}",
}  # fmt: skip


def _report(values: dict[str, Any], notes: Sequence[str], as_json: bool) -> None:
    """The result of ``transmit``: JSON alone on stdout, or a table for reading."""
    for note in notes:
        _say(note)
    if not values["ok"]:
        _say("the receiver does not trust what it received" + (f": {values['reason']}" if "reason" in values else ""))
    if as_json:
        from semcast.bench.records import finite

        print(json.dumps(finite(values), allow_nan=False))
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    why = " (the best one for that many symbols)" if values["default_system"] else ""
    table.add_row("system", values["system"] + why)
    table.add_row("channel", f"{values['channel']}, {values['snr_db']:g} dB")
    table.add_row("symbols", f"{values['symbols']} (k / n = 1/{1 / values['bandwidth_ratio']:.0f}), "
                             f"{values['side_bytes']} side bytes")  # fmt: skip
    for name, form in _FORMS.items():
        if name in values:
            table.add_row(name.removesuffix("_db").replace("_", "-"), form.format(values[name]))
    table.add_row("encode, decode", f"{1000 * values['encode_s']:.1f} ms, {1000 * values['decode_s']:.1f} ms")
    table.add_row("written", values["output"])
    _stdout().print(table)
    if "privacy" in values:
        from semcast.privacy import receipt

        _stdout().print(receipt.table(values["privacy"]))


def _model(path: Path) -> dict[str, Any]:
    """A weights file: what it says it is, and whether that is true."""
    from safetensors import SafetensorError, safe_open

    from semcast.weights import load

    model = {"name": path.stem, "kind": "?", "megabytes": round(path.stat().st_size / 1e6, 1), "fingerprint": "",
             "state": "ok", "path": str(path)}  # fmt: skip
    try:
        with safe_open(path, framework="np") as file:
            model["kind"] = (file.metadata() or {}).get("kind", "?")
        model["fingerprint"] = load(str(path), kind=str(model["kind"])).fingerprint[:12]
    except (SemcastError, SafetensorError, OSError) as error:
        model["state"] = str(error).removeprefix(f"{path} ")
    return model


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise SemcastError("an empty list: name at least one, with commas between")
    return names


def _numbers(text: str, option: str, kind: type) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in _names(text))
    except ValueError:
        raise SemcastError(f"{option} takes numbers with commas between, not {text!r}") from None


def _progress() -> Any:
    """A bar on stderr where somebody watches, nothing in a log."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def _track(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """One bar for a task of that many steps, gone when it is done."""
    with _progress() as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def _stdout() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _fail(message: str, code: int) -> NoReturn:
    _say("semcast: " + " ".join(message.split()))
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; whatever goes wrong ends in one sentence: exit 2 for the user's mistake, 1 for ours."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given or ["--help"], prog_name="semcast", standalone_mode=False)
    except SemcastError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except Exception as error:  # noqa: BLE001 - the last resort
        if type(error).__name__ == "Abort":  # what older typers make of Ctrl-C
            _fail("stopped", 130)
        if hasattr(error, "format_message"):  # how typer reports a wrong command line, whichever click it carries
            where = getattr(getattr(error, "ctx", None), "command_path", "semcast")
            _fail(f"{error.format_message().rstrip('.')} (see {where} --help)", 2)
        if os.environ.get("SEMCAST_DEBUG") == "1":
            raise
        _fail(f"sorry, this should not happen: {type(error).__name__}: {error} (SEMCAST_DEBUG=1 shows where)", 1)
    if code == 130:
        _fail("stopped", 130)
    sys.exit(code if isinstance(code, int) else 0)
