"""The verbs of files of meaning: encode, decode, inspect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from semcast.cli.console import say, show
from semcast.cli.inputs import Item, pair
from semcast.cli.options import ALLOCATIONS, WRITING, Aligned, AsJson, CategoryCare, CodecDevice, Force, TaskName, among
from semcast.errors import BadInput

SEM = (".sem",)
SemFiles = Annotated[
    list[Path],
    typer.Argument(metavar="X.sem|FOLDER|-", help="What encode wrote.", show_default=False),
]


CodedPhotos = Annotated[
    list[Path], typer.Argument(metavar="PHOTO|FOLDER|-", help="Streets, or any photos with a face.", show_default=False)
]
Domain = Annotated[
    str,
    typer.Option(metavar="street|face", help="What the photos show; it is never guessed.", show_default=False,
                 autocompletion=among("street", "face")),
]  # fmt: skip
MaxBytes = Annotated[int, typer.Option(metavar="N", help="Bytes of the file at most, everything counted.")]
Allocation = Annotated[
    str,
    typer.Option(metavar="NAME", autocompletion=among(*ALLOCATIONS),
                 help="Who spends the bytes: rl-asc (learned), uniform, area, random, or greedy (slow)."),
]  # fmt: skip
SemFile = Annotated[
    Path,
    typer.Option("-o", "--out", metavar="X.sem|FOLDER|-", show_default=False, rich_help_panel=WRITING,
                 help="The file; of several photos the folder of them; - for stdout."),
]  # fmt: skip


def encode(
    photos: CodedPhotos,
    domain: Domain,
    out: SemFile,
    max_bytes: MaxBytes = 500,
    care: CategoryCare = None,
    task: TaskName = None,
    allocation: Allocation = "rl-asc",
    aligned: Aligned = False,
    device: CodecDevice = "cpu",
    force: Force = False,
) -> None:
    """Write photos as a few hundred bytes of meaning: what is where, and each concept as well as its bytes allow.

    [cyan]semcast encode street.jpg --domain street --max-bytes 500 -o street.sem[/cyan]
    [cyan]semcast encode me.jpg --domain face --care "left eye,right eye" -o me.sem[/cyan]
    [cyan]semcast encode street.jpg --domain street --task pedestrians -o street.sem[/cyan]
    [cyan]semcast encode photos/ --domain street -o sems[/cyan]
    """
    from semcast.api import load_codec
    from semcast.domains import domain_named
    from semcast.files import check_file
    from semcast.networks.precision import choose_device, use_threads
    from semcast.photos import SUFFIXES

    kind, where = domain_named(domain), choose_device(device)
    care = kind.spell(kind.cares_for(task, care))
    batch = pair(photos, SUFFIXES, out, ".sem")
    batch.check(lambda path: check_file(path, force, ".sem"))
    if allocation not in ALLOCATIONS:
        raise BadInput(f"unknown allocation {allocation!r}; the known are {', '.join(ALLOCATIONS)}")
    use_threads()
    codecs: list[Any] = []  # loaded when the first photo is there: one that cannot be read is said at once

    def work(item: Item) -> None:
        picture, doubts = _frame(item, kind.name, aligned)
        if not codecs:
            codecs.append(load_codec(allocation, domain=kind.name, care=care, device=where))
        _write(item, codecs[0].compress(picture, max_bytes))
        for doubt in doubts:
            say(doubt)

    batch.work_through(work, ".sem")


def _frame(item: Item, domain: str, aligned: bool) -> tuple[Any, Sequence[str]]:
    """The face of a photo, or all of a street, uint8 ``[H, W, 3]``; and what is doubtful about it."""
    from semcast.api import photo

    given = photo(item.path)
    if domain == "face":
        face = given.face(aligned=aligned)
        return face.pixels, face.notes
    return given.whole().pixels, given.scene(domain).notes


def _write(item: Item, data: bytes) -> None:
    from semcast.codec.receipt import itemise, write_sem

    assert item.out is not None
    write_sem(item.out, data)
    made = itemise(data).stream
    sent = sum(concept.level > 0 for concept in made.concepts)
    side = len(made.layout)
    say(f"{item.out_name}: {len(data)} bytes, layout {side} x {side}, features of {sent} of {len(made.concepts)} concepts")


def decode(
    files: SemFiles,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="OUT.png|FOLDER|-", show_default=False, rich_help_panel=WRITING,
                     help="The picture; of several files the folder of them; - for stdout, as PNG."),
    ],
    force: Force = False,
    stretch: Annotated[
        bool, typer.Option("--stretch", help="At the size of the photo (at most 2048 pixels), not 256 x 256.")
    ] = False,
    device: CodecDevice = "cpu",
) -> None:  # fmt: skip
    """Paint what .sem files say; of a damaged one what arrived, and say what is missing.

    [cyan]semcast decode street.sem -o street.png --stretch[/cyan]
    [cyan]semcast decode sems -o pictures[/cyan]
    [cyan]semcast encode me.jpg --domain face -o - | semcast decode - -o me.png[/cyan]
    """
    from semcast.codec.codec import receive
    from semcast.codec.receipt import read_sem
    from semcast.mark import Mark
    from semcast.networks.precision import choose_device, use_threads
    from semcast.photos import check_output, write_image

    where = choose_device(device)
    batch = pair(files, SEM, out, ".png")
    batch.check(lambda path: check_output(path, force, marked=True))
    use_threads()

    def work(item: Item) -> None:
        assert item.out is not None
        received = receive(read_sem(item.path), device=where)
        for note in received.notes:
            say(f"{item.name}: {note}")
        shown = received.stretch() if stretch else received.pixels
        write_image(item.out, shown, Mark("rl-asc", fingerprint=received.fingerprint[:12]))

    batch.work_through(work, ".png")


def inspect(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="X.sem|X.png|FOLDER|-", show_default=False,
                       help="What encode wrote; or pictures, which may say that a network painted them."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OVERLAY.png|FOLDER", show_default=False, rich_help_panel=WRITING,
                     help="Of a .sem file the layout, and the bytes of each cell over it."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Where the bytes of .sem files went: sections, concepts, and what did not arrive; and the mark of painted pictures.

    Needs no network.

    [cyan]semcast inspect street.sem -o bytes.png[/cyan]
    [cyan]semcast inspect sems --json[/cyan]
    [cyan]semcast inspect me-received.png[/cyan]
    """
    from semcast.photos import SUFFIXES, check_output

    batch = pair(files, (*SEM, *SUFFIXES), out, ".png")
    batch.check(lambda path: check_output(path, force))

    def work(item: Item) -> None:
        named = {"file": item.name} if batch.several else {}
        if batch.several and not as_json:
            print(f"{item.name}:", end=" " if _is_picture(item.path) else "\n")
        (_inspect_picture if _is_picture(item.path) else _inspect_sem)(item, named, as_json)

    batch.work_through(work, ".png")


def _is_picture(path: Path) -> bool:
    """By its name; of stdin, which has none, by its first bytes."""
    from semcast.codec.front import MAGIC
    from semcast.photos import SUFFIXES

    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    with path.open("rb") as file:
        return file.read(1) not in (b"", MAGIC[:1])


def _inspect_sem(item: Item, named: dict[str, str], as_json: bool) -> None:
    from semcast.codec.receipt import draw_overlay, itemise, read_sem, to_json, to_table
    from semcast.photos import write_image

    found = itemise(read_sem(item.path))
    for note in found.stream.notes:
        say(f"{item.name}: {note}")
    if item.out:
        write_image(item.out, draw_overlay(found))
    if as_json:
        print(json.dumps(named | to_json(found)))
    else:
        show(to_table(found))


def _inspect_picture(item: Item, named: dict[str, str], as_json: bool) -> None:
    from semcast.photos import read_mark

    if item.out:
        raise BadInput(f"-o draws where the bytes of .sem files went, {item.name} is none")
    mark = read_mark(item.path)
    if as_json:
        print(json.dumps(named | {"mark": asdict(mark) if mark else None}))
    else:
        weights = f", weights {mark.fingerprint}" if mark and mark.fingerprint else ""
        print(mark.sentence + weights if mark else "nothing in the file says that a network painted it")
