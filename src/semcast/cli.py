"""The command line: one short function a verb. Torch is imported by the verbs that compute, so that help is quick."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from semcast.errors import SemcastError

if TYPE_CHECKING:
    from semcast.channels import Channel
    from semcast.evaluate.crossing import Crossing
    from semcast.link import Budget, System

app = typer.Typer(
    name="semcast",
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""
    Send a face as a few dozen to a few hundred radio symbols, and see who comes out.

    [bold]Conventions.[/bold] k [dim](--symbols)[/dim] counts complex channel uses per photo,
    pilots included; a 256 x 256 photo is n = 196608 numbers, so k = 64
    is k / n = 1/3072. Mean symbol power is 1, SNR is Es/N0 in dB (the
    average one under fading). For one seed all systems meet the same noise.

    [bold]Try[/bold] [cyan]semcast demo[/cyan] and [cyan]semcast transmit me.jpg --symbols 64 --snr 0[/cyan]

    Bad input ends with one sentence and exit code 2; nothing that exists
    is overwritten without -f. Weights are looked for in $SEMCAST_WEIGHTS
    first, the files that metrics need in $SEMCAST_SHARED/weights.
    """,
)

_SENDING, _WRITING, _METRICS = "Link", "Output", "Measuring"
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what exists.", rich_help_panel=_WRITING)]
Seed = Annotated[int, typer.Option(help="The channel's randomness follows from it.", rich_help_panel=_SENDING)]
Aligned = Annotated[
    bool, typer.Option("--aligned", help="Square photos cropped like the training faces: skip the search.")
]
Refine = Annotated[
    int, typer.Option(min=0, metavar="N", help="[bold]generative[/bold]: N gradient steps after the encoder's guess.",
                      rich_help_panel=_SENDING)
]  # fmt: skip
Care = Annotated[
    str | None,
    typer.Option(metavar="plain|face|identity", show_default=False, rich_help_panel=_SENDING,
                 help="[bold]linear-gan[/bold]: what the symbols are spent on (both ends know it)."),
]  # fmt: skip
Fading = Annotated[
    str, typer.Option(metavar="block|fast", rich_help_panel=_SENDING,
                      help="Rayleigh, Rician: one gain a burst, or another for each symbol.")
]  # fmt: skip
Pilots = Annotated[
    int, typer.Option(min=0, metavar="N", rich_help_panel=_SENDING,
                      help="Rayleigh, Rician: known symbols, counted in k, that estimate the gain; 0: it is known.")
]  # fmt: skip
Identity = Annotated[
    Path | None,
    typer.Option(metavar="MODEL.onnx", show_default=False, rich_help_panel=_METRICS,
                 help="A face embedder: measures whether it is still the same person."),
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
                     help="generative, linear-gan or linear; by default the best one for that many symbols."),
    ] = None,
    channel: Annotated[str, typer.Option(metavar="awgn|rayleigh|rician", rich_help_panel=_SENDING)] = "awgn",
    snr: Annotated[float, typer.Option(metavar="DB", help="Es/N0 in dB.", rich_help_panel=_SENDING)] = 5.0,
    symbols: Annotated[int, typer.Option(metavar="K", help="Complex channel uses.", rich_help_panel=_SENDING)] = 640,
    seed: Seed = 0,
    refine: Refine = 0,
    inversion: Annotated[
        str, typer.Option(metavar="encoder|paper", rich_help_panel=_SENDING,
                          help="[bold]generative[/bold]: the encoder's guess, or the paper's 400 steps from the mean code.")
    ] = "encoder",
    care: Care = None,
    fading: Fading = "block",
    pilots: Pilots = 0,
    aligned: Aligned = False,
    save_symbols: Annotated[
        Path | None,
        typer.Option(metavar="X.npy", show_default=False, rich_help_panel=_WRITING,
                     help="The complex symbols sent, complex64 of length k less the pilots."),
    ] = None,
    identity: Identity = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.", rich_help_panel=_WRITING)] = False,
) -> None:  # fmt: skip
    """Send one photo over a simulated channel and write the face that arrives.

    [cyan]semcast transmit me.jpg[/cyan]
    [cyan]semcast transmit me.jpg --symbols 64 --snr 0 --system linear-gan -o face.png[/cyan]
    [cyan]semcast transmit me.jpg --channel rayleigh --pilots 8 --json[/cyan]
    """
    from semcast.evaluate.photos import SIZE, Source
    from semcast.evaluate.picture import side_by_side
    from semcast.evaluate.records import check_file
    from semcast.images import check_output, to_tensor, to_uint8, write_image
    from semcast.link import Budget
    from semcast.metrics.report import Metrics
    from semcast.semantics.parser import FaceParser
    from semcast.systems import default_system

    _threads()
    budget = Budget(symbols, snr)
    target = out or Path(f"{photo.stem}-received.png")
    check_output(target, force)
    _check_not_input(target, [photo])
    if save_symbols:
        check_file(save_symbols, force, ".npy")
    over = _channel(channel, fading, pilots)
    name = system or default_system(symbols)
    link = _systems([name], care, refine, inversion)[0]
    metrics = Metrics.load(identity)
    face, found = Source(photo.name, photo).face(None if aligned else FaceParser.load())
    if found > 1:
        _say(f"{found} faces found in {photo}: the largest is sent")
    image = to_tensor(face)
    crossing = _cross(link, over, image, budget, seed, photo.name, warm=refine == 0 and inversion == "encoder")
    received = to_uint8(crossing.reception.image)
    if save_symbols:
        _save_symbols(save_symbols, crossing)
    caption = f"{link.name}, k = {symbols}, {snr:g} dB"
    write_image(target, received if out else side_by_side([face, received], [f"aligned, {SIZE} x {SIZE}", caption]))
    values = {
        "image": photo.name, "system": link.name, "default_system": system is None, "channel": over.name, "snr_db": snr,
        "symbols": symbols, "data_symbols": crossing.burst.symbols.shape[1],
        "bandwidth_ratio": symbols / image[0].numel(), "seed": seed,
        "aligned": aligned, "faces_found": found, **metrics.measure(image, crossing.reception.image),
        "side_bytes": crossing.burst.side_bytes, "encode_s": crossing.encode_s, "decode_s": crossing.decode_s,
        "ok": bool(crossing.reception.ok.all()), "output": str(target),
    }  # fmt: skip
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
        str, typer.Option(metavar="K,...", help="Complex channel uses.", rich_help_panel=_SENDING)
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
    aligned: Aligned = False,
    identity: Identity = None,
    vgg: Annotated[
        bool, typer.Option("--vgg", help="LPIPS with VGG16 too (ten times as slow).", rich_help_panel=_METRICS)
    ] = False,
) -> None:  # fmt: skip
    """Send many photos over many channels; one JSON line each, resumable, and a table of means.

    [cyan]semcast evaluate photos/ --snr 0,10 -o r.jsonl[/cyan]
    [cyan]semcast evaluate faces256/test-000.tar --aligned --systems linear-gan,linear -o r.jsonl[/cyan]
    """
    from semcast.evaluate.photos import find_photos
    from semcast.evaluate.records import check_file
    from semcast.evaluate.sweep import Plan, Sweep, summary
    from semcast.metrics.report import Metrics
    from semcast.semantics.parser import FaceParser

    _threads()
    plan = Plan(
        snr_db=_numbers(snr, "--snr", float), symbols=_numbers(symbols, "--symbols", int), draws=draws, seed=seed,
        aligned=aligned, care=care, refine=refine, fading=fading, pilots=pilots,
    )  # fmt: skip
    check_file(out, True, ".jsonl")
    over = [_channel(name, fading, pilots, mixed=True) for name in _names(channels)]
    links = _systems(_names(systems), care, refine)
    metrics = Metrics.load(identity, vgg)
    sweep = Sweep(plan, links, over, metrics, FaceParser.load)
    sources = find_photos(photos, limit)
    for note in metrics.notes:
        _say(note)
    with _progress() as progress:
        task = progress.add_task("evaluating", total=len(sources) * len(sweep.points))
        outcome = sweep.run(sources, out, force=force, progress=lambda count: progress.advance(task, count))
    for reason in outcome.refused:
        _say(f"skipped: {reason}")
    _stdout().print(summary(outcome.records))
    _say(f"{outcome.measured} measured, {len(outcome.records) - outcome.measured} were there already: {out}")


@app.command()
def reproduce(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="link.", show_default=False)],
    photos: Annotated[Path, typer.Argument(metavar="SHARD.tar", help="Photos with part masks.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="REPORT.json", show_default=False, rich_help_panel=_WRITING, help="The report."),
    ],
    force: Force = False,
    limit: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="The first N photos.", show_default=False)
    ] = None,
    identity: Identity = None,
) -> None:
    """Measure again what the documents say: reference lines, masks, part swaps, speed.

    [cyan]semcast reproduce link faces256/test-000.tar --limit 100 -o link.json[/cyan]
    """
    from semcast.evaluate.qualities import load_study, study_link
    from semcast.evaluate.records import check_file
    from semcast.metrics.report import Metrics
    from semcast.semantics.parser import FaceParser

    if study != "link":
        raise SemcastError(f"unknown study {study!r}; known: link")
    check_file(out, force, ".json")
    _threads()
    systems = _systems(["generative", "linear-gan", "linear"], None, 0)
    metrics = Metrics.load(identity, vgg=False)
    for note in metrics.notes:
        _say(note)
    report = study_link(load_study(photos, tuple(systems), FaceParser.load(), metrics, limit), _say)
    temporary = out.with_suffix(".part")
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    temporary.replace(out)
    _stdout().print_json(json.dumps(report))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="parser, linear, linear-gan, generator, flow or link.",
                                          show_default=False)],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Holds faces256 and faces160-unlabelled.", show_default=False)
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
) -> None:
    """Faces of nobody: a contact sheet drawn from the generative model's flow.

    [cyan]semcast sample -o sheet.png --count 16[/cyan]
    """
    import torch

    from semcast.evaluate.picture import grid
    from semcast.images import check_output, to_uint8, write_image
    from semcast.systems import load_system

    _threads()
    check_output(out, force)
    system: Any = load_system("generative")
    faces = [to_uint8(face) for face in system.sample(count, torch.Generator().manual_seed(seed))]
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
) -> None:
    """An astronaut's portrait at 640 and at 64 symbols, 10, 5 and 0 dB, through every system: a picture and a table.

    [cyan]semcast demo -o demo.png[/cyan]
    """
    from time import perf_counter

    from semcast.images import check_output, write_image

    begun = perf_counter()
    check_output(out, force)
    _threads()
    from semcast.evaluate.demo import run_demo
    from semcast.metrics.report import Metrics

    shown = run_demo(Metrics.load(identity, vgg=False), seed)
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


def _systems(names: Sequence[str], care: str | None, refine: int, inversion: str = "encoder") -> list[System]:
    """Systems by name, each with the options that are its own."""
    from semcast.systems import SYSTEMS, load_system

    for name in names:
        if name not in SYSTEMS:
            raise SemcastError(f"unknown system {name!r}; the known are {', '.join(SYSTEMS)}")
    if care and "linear-gan" not in names:
        raise SemcastError(f"--care is for linear-gan, not for {', '.join(names)}")
    if refine and "generative" not in names:
        raise SemcastError(f"--refine is for generative, not for {', '.join(names)}")
    if inversion != "encoder" and "generative" not in names:
        raise SemcastError(f"--inversion is for generative, not for {', '.join(names)}")
    own: dict[str, dict[str, Any]] = {
        "linear-gan": {"care": care},
        "generative": {"refine": refine, "inversion": inversion},
    }
    return [load_system(name, **own.get(name, {})).eval() for name in names]


def _cross(
    system: System, channel: Channel, image: Any, budget: Budget, seed: int, name: str, *, warm: bool
) -> Crossing:
    from semcast.evaluate.crossing import cross, generator_for

    if warm:  # the first call allocates and tunes: not what a burst takes
        cross(system, channel, image, budget, generator_for(seed, name))
    return cross(system, channel, image, budget, generator_for(seed, name))


def _check_not_input(target: Path, inputs: Sequence[Path]) -> None:
    if any(target.resolve() == path.resolve() for path in inputs):
        raise SemcastError(f"{target} is the photo itself: name another output")


def _save_symbols(path: Path, crossing: Crossing) -> None:
    import numpy as np

    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.save(file, crossing.burst.symbols[0].cpu().numpy().astype(np.complex64))
        temporary.replace(path)
    except OSError as error:
        raise SemcastError(f"{path} cannot be written ({error.strerror})") from None
    finally:
        temporary.unlink(missing_ok=True)


_FORMS = {
    "psnr_db": "{:.2f} dB", "ms_ssim": "{:.4f}", "lpips_squeeze": "{:.4f}", "lpips_vgg": "{:.4f}", "identity": "{:.3f}"
}  # fmt: skip


def _report(values: dict[str, Any], notes: Sequence[str], as_json: bool) -> None:
    """The result of ``transmit``: JSON alone on stdout, or a table for reading."""
    for note in notes:
        _say(note)
    if not values["ok"]:
        _say("the receiver does not trust what it received")
    if as_json:
        from semcast.evaluate.records import finite

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
