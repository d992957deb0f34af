"""The options, each declared once: groups that several verbs share, and names for the single ones.

A group is a frozen dataclass. A verb takes it as one argument, and :func:`group_options` shows its fields as options::

    def transmit(photo: ..., sending: Sending, protecting: Protecting) -> None: ...
    app.command()(group_options(transmit))

So the values arrive together, and what is built of them (:mod:`semcast.cli.build`) is written once as well.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from semcast.errors import BadInput

SENDING, WRITING, METRICS, WORKERS, PRIVACY = "Link", "Output", "Measuring", "Workers", "Privacy"
SYSTEMS = ("sketch", "generative", "linear-gan", "linear", "deepjscc", "deepjscc-perceptual")
CODED = ("rl-asc", "jpeg", "jpeg2000", "webp", "avif", "hevc")
ALLOCATIONS = ("rl-asc", "uniform", "area", "random", "greedy")
"""Repeated here so that help and completion need not import what computes; a test compares them."""


def among(*values: str) -> Callable[[str], list[str]]:
    """What a shell completes the value of an option with; after a comma, the next one of a list."""

    def complete(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        return [before + comma + value for value in values if value.startswith(begun)]

    return complete


# ---- single options --------------------------------------------------------------------------------------------------

Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what exists.", rich_help_panel=WRITING)]
Afresh = Annotated[
    bool, typer.Option("--force", "-f", help="Start the file afresh; otherwise it is gone on with.", rich_help_panel=WRITING)
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.", rich_help_panel=WRITING)]
Results = Annotated[
    Path,
    typer.Option("-o", "--out", metavar="R.jsonl", show_default=False, rich_help_panel=WRITING,
                 help="One JSON line a result; where it exists it is resumed."),
]  # fmt: skip
Photos = Annotated[
    list[Path], typer.Argument(metavar="PHOTOS|FOLDER|SHARD.tar", help="What to measure on.", show_default=False)
]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="The first N photos.", show_default=False)]
Seed = Annotated[int, typer.Option(help="The channel's randomness follows from it.", rich_help_panel=SENDING)]
Device = Annotated[
    str,
    typer.Option(metavar="auto|cpu|cuda|...", help="Where to compute; auto: on a GPU where there is one.",
                 autocompletion=among("auto", "cpu", "cuda", "mps")),
]  # fmt: skip
CodecDevice = Annotated[
    str,
    typer.Option("--device", metavar="cpu|auto|cuda|...", autocompletion=among("cpu", "auto", "cuda", "mps"),
                 help="Where to compute; auto: on a GPU where there is one. Files and pictures made on a processor are the same "
                      "on every computer like it; those of a GPU are read as well."),
]  # fmt: skip
Aligned = Annotated[
    bool, typer.Option("--aligned", help="Square photos cropped like the training faces: skip the search.")
]
CodedDomain = Annotated[
    str,
    typer.Option("--domain", metavar="street|face", autocompletion=among("street", "face"),
                 help="What the photos show: a street, squeezed to a square; or a face. It is never guessed: "
                      "evaluate-codec and reproduce have streets as their default, the others faces."),
]  # fmt: skip
CategoryCare = Annotated[
    str | None,
    typer.Option("--care", metavar="NAME,NAME=N,...", show_default=False,
                 help="rl-asc: categories that count N times (4 where nothing is said), person,car=2: first in the file, finer "
                      "levels. (transmit and evaluate have another --care: the preset of linear-gan.)"),
]  # fmt: skip
TaskName = Annotated[
    str | None,
    typer.Option("--task", metavar="NAME", show_default=False,
                 autocompletion=among("pedestrians", "traffic", "vehicles", "identity", "expression"),
                 help="rl-asc: what the picture is for: pedestrians, traffic or vehicles of streets, identity or expression of "
                      "faces. It is a --care by name; what is said with --care counts besides, or instead.")
]  # fmt: skip
Identity = Annotated[
    list[Path] | None,
    typer.Option(metavar="MODEL.onnx", show_default=False, rich_help_panel=METRICS,
                 help="A face embedder: measures whether it is still the same person. May be given three times: by others too."),
]  # fmt: skip
Workers = Annotated[int, typer.Option(min=1, metavar="N", help="Processes on this computer.", rich_help_panel=WORKERS)]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="tcp://HOST:PORT", show_default=False, rich_help_panel=WORKERS,
                 help="The workers of a dask.distributed cluster (one that only trusted computers can reach)."),
]  # fmt: skip


def who_measures(workers: int, scheduler: str | None) -> int | str:
    """What :mod:`semcast.bench` calls ``workers``: so many processes here, or the address of a scheduler."""
    if workers > 1 and scheduler:
        raise BadInput("--workers are processes of this computer, --scheduler has its own: give one of them")
    return scheduler or workers


# ---- groups ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sending:
    """How photos are sent, but for which system, which channel, which SNR and which k."""

    seed: Seed = 0
    refine: Annotated[
        int,
        typer.Option(min=0, metavar="N", rich_help_panel=SENDING,
                     help="[bold]generative[/bold]: N gradient steps on the photo's symbols, under a second each."),
    ] = 0  # fmt: skip
    inversion: Annotated[
        str,
        typer.Option(metavar="newton|encoder|paper", rich_help_panel=SENDING, autocompletion=among("newton", "encoder", "paper"),
                     help="[bold]generative[/bold]: the encoder's guess and two closed-form steps, the guess alone, or the "
                          "paper's 400 gradient steps from the mean code."),
    ] = "newton"  # fmt: skip
    care: Annotated[
        str | None,
        typer.Option(metavar="plain|face|identity", show_default=False, rich_help_panel=SENDING,
                     autocompletion=among("plain", "face", "identity"),
                     help="[bold]linear-gan[/bold]: what the symbols are spent on (both ends know it). (encode and "
                          "evaluate-codec have another --care: the categories of rl-asc.)"),
    ] = None  # fmt: skip
    fading: Annotated[
        str,
        typer.Option(metavar="block|fast", rich_help_panel=SENDING, autocompletion=among("block", "fast"),
                     help="Rayleigh, Rician: one gain a burst, or another for each symbol."),
    ] = "block"  # fmt: skip
    pilots: Annotated[
        int,
        typer.Option(min=0, metavar="N", rich_help_panel=SENDING,
                     help="Rayleigh, Rician: known symbols, on top of k, that estimate the gain; 0: it is known."),
    ] = 0  # fmt: skip
    k_factor: Annotated[
        float | None,
        typer.Option(metavar="DB", show_default="6", rich_help_panel=SENDING,
                     help="Rician: K in dB, how much stronger the line of sight is than the scatter."),
    ] = None  # fmt: skip
    design_snr: Annotated[
        float | None,
        typer.Option(metavar="DB", show_default="that of --snr", rich_help_panel=SENDING,
                     help="Es/N0 that transmitter and receiver expect, where the channel does something else."),
    ] = None  # fmt: skip
    domain: Annotated[
        str,
        typer.Option(metavar="face|street|photo", rich_help_panel=SENDING, autocompletion=among("face", "street", "photo"),
                     help="What the photos show. A street is squeezed to a square, no face is looked for; photo: any, sent as it "
                          "is, by systems that take any size. It is never guessed."),
    ] = "face"  # fmt: skip
    aligned: Aligned = False
    device: Device = "auto"


@dataclass(frozen=True)
class Protecting:
    """What of a face stays at home."""

    private: Annotated[
        str | None,
        typer.Option(metavar="PART,...", show_default=False, rich_help_panel=PRIVACY,
                     help="Parts that become somebody else's: eyes,hair or all-but-eyes."),
    ] = None  # fmt: skip
    privacy: Annotated[
        str,
        typer.Option(metavar="blind|filter", rich_help_panel=PRIVACY, autocompletion=among("blind", "filter"),
                     help="[bold]blind[/bold], the default because it is safe: private pixels are taken out before anything is "
                          "computed from the photo. [bold]filter[/bold], the paper's, generative alone: their codes are moved."),
    ] = "blind"  # fmt: skip
    lambda1: Annotated[
        float | None,
        typer.Option("--lambda1", metavar="X", show_default="1", rich_help_panel=PRIVACY,
                     help="filter: how far the codes move, over their length (eq. 4)."),
    ] = None  # fmt: skip
    lambda2: Annotated[
        float | None,
        typer.Option("--lambda2", metavar="X", show_default="0.9", rich_help_panel=PRIVACY,
                     help="filter: how far the knowledge base pulls them back (eq. 5), below 1."),
    ] = None  # fmt: skip
    private_mask: Annotated[
        Path | None,
        typer.Option(metavar="MASK.png", show_default=False, rich_help_panel=PRIVACY,
                     help="blind: white where pixels are private, black elsewhere, over an --aligned photo; the parser then "
                          "sees nothing. --private still says which parts are replaced there."),
    ] = None  # fmt: skip
    coarse_mask: Annotated[
        bool,
        typer.Option("--coarse-mask", rich_help_panel=PRIVACY,
                     help="blind: a fixed box for each part, so that not even its outline is given away."),
    ] = False  # fmt: skip


# ---- groups as options -----------------------------------------------------------------------------------------------


def group_options(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose groups are shown as the options that they hold; it gets them as groups again.

    >>> @dataclass(frozen=True)
    ... class Group:
    ...     times: int = 2
    >>> def say(word: str, group: Group) -> None: print(word * group.times)
    >>> list(inspect.signature(group_options(say)).parameters)
    ['word', 'times']
    >>> group_options(say)(word="ha", times=3)
    hahaha
    """
    hints = get_type_hints(verb, include_extras=True)
    shown: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(verb).parameters.items():
        if is_dataclass(hints[name]):
            groups[name] = hints[name]
            own = get_type_hints(hints[name], include_extras=True)
            shown += [_keyword(field.name, own[field.name], field.default) for field in fields(hints[name])]
        else:
            shown.append(_keyword(name, hints[name], parameter.default))

    outputs = {parameter.name for parameter in shown if _is_written(parameter.annotation)}

    @functools.wraps(verb)
    def run(**given: Any) -> None:
        check_apart(*([path for name, value in given.items() if (name in outputs) is written for path in _paths_in(value)]
                      for written in (True, False)))  # fmt: skip
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in groups.items()
        }
        verb(**given, **made)

    del run.__wrapped__  # whoever asks for the signature must not find the verb's own
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run


def check_apart(written: Sequence[Path], read: Sequence[Path]) -> None:
    """Raise BadInput where a verb would write over what it reads, whatever may be overwritten, or twice to one file."""
    inputs, outputs = {_whole_path(path) for path in read}, set[Path]()
    for path in written:
        place = _whole_path(path)
        if place in inputs:
            raise BadInput(f"{path} is the input itself: name another output")
        if place in outputs:
            raise BadInput(f"{path} is to be two outputs: name another")
        outputs.add(place)


def _whole_path(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name that no system takes: said where it is opened
        return path


def _paths_in(value: object) -> list[Path]:
    """The files among what an option was given; folders and streams hold many things."""
    given = value if isinstance(value, list) else [value]
    return [path for path in given if isinstance(path, Path) and path != Path("-") and not _is_folder(path)]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_written(annotation: Any) -> bool:
    """Whether an option names an output: it stands in that panel of the help."""
    return any(getattr(info, "rich_help_panel", None) == WRITING for info in getattr(annotation, "__metadata__", ()))


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
