"""The verbs of files of meaning: encode, decode, inspect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from semcast.cli.console import say, show
from semcast.cli.inputs import Item, pair
from semcast.cli.options import ALLOCATIONS, WRITING, Aligned, AsJson, CategoryCare, Force, among
from semcast.errors import SemcastError

SEM = (".sem",)
SemFiles = Annotated[
    list[Path],
    typer.Argument(metavar="X.sem|FOLDER|-", help="What encode wrote.", show_default=False),
]


def encode(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO|FOLDER|-", help="Streets, or any photos with a face.", show_default=False),
    ],
    domain: Annotated[
        str,
        typer.Option(metavar="street|face", help="What the photos show; it is never guessed.", show_default=False,
                     autocompletion=among("street", "face")),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="X.sem|FOLDER|-", show_default=False, rich_help_panel=WRITING,
                     help="The file; of several photos the folder of them; - for stdout."),
    ],
    max_bytes: Annotated[int, typer.Option(metavar="N", help="Bytes of the file at most, everything counted.")] = 500,
    care: CategoryCare = None,
    allocation: Annotated[
        str,
        typer.Option(metavar="NAME", autocompletion=among(*ALLOCATIONS),
                     help="Who spends the bytes: rl-asc (learned), uniform, area, random, or greedy (slow)."),
    ] = "rl-asc",
    aligned: Aligned = False,
    force: Force = False,
) -> None:  # fmt: skip
    """Write photos as a few hundred bytes of meaning: what is where, and each concept as well as its bytes allow.

    [cyan]semcast encode street.jpg --domain street --max-bytes 500 -o street.sem[/cyan]
    [cyan]semcast encode me.jpg --domain face --care "left eye,right eye" -o me.sem[/cyan]
    [cyan]semcast encode photos/ --domain street -o sems[/cyan]
    """
    from semcast.domains import domain_named
    from semcast.files import check_file
    from semcast.networks.precision import use_threads
    from semcast.rivals.bit_codecs import ALLOCATIONS as KNOWN
    from semcast.rivals.bit_codecs import load_bit_codec
    from semcast.sources import SUFFIXES

    kind = domain_named(domain)
    cares = kind.cares(care)
    batch = pair(photos, SUFFIXES, out, ".sem")
    batch.check(lambda path: check_file(path, force, ".sem"))
    if allocation not in KNOWN:
        raise SemcastError(f"unknown allocation {allocation!r}; the known are {', '.join(KNOWN)}")
    use_threads()
    codecs: list[Any] = []  # loaded when the first photo is there: one that cannot be read is said at once

    def work(item: Item) -> None:
        picture = _frame(item, kind.name, aligned)
        if not codecs:
            codecs.append(load_bit_codec(allocation, kind.name, cares))
        _write(item, codecs[0].compress(picture, max_bytes))

    batch.work_through(work, ".sem")


def _frame(item: Item, domain: str, aligned: bool) -> Any:
    """A street as it is; of another photo its face."""
    from semcast.networks.segmenter import FaceParser
    from semcast.photos import read_photo
    from semcast.sources import Source

    if domain != "face":
        return read_photo(item.path)
    picture, found = Source(item.path.name, item.path).face(None if aligned else FaceParser.load())
    if found > 1:
        say(f"{found} faces found in {item.name}: the largest is coded")
    return picture


def _write(item: Item, data: bytes) -> None:
    from semcast.codec.receipt import bit_receipt, write_sem

    assert item.out is not None
    write_sem(item.out, data)
    made = bit_receipt(data)
    sent = sum(concept.level > 0 for concept in made.concepts)
    side = len(made.stream.layout)
    say(f"{item.out}: {len(data)} bytes, layout {side} x {side}, features of {sent} of {len(made.concepts)} concepts")


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
) -> None:  # fmt: skip
    """Paint what .sem files say; of a damaged one what arrived, and say what is missing.

    [cyan]semcast decode street.sem -o street.png --stretch[/cyan]
    [cyan]semcast decode sems -o pictures[/cyan]
    [cyan]semcast encode me.jpg --domain face -o - | semcast decode - -o me.png[/cyan]
    """
    from semcast.codec.codec import receive
    from semcast.codec.receipt import read_sem
    from semcast.networks.precision import use_threads
    from semcast.photos import check_output, write_image

    batch = pair(files, SEM, out, ".png")
    batch.check(lambda path: check_output(path, force))
    use_threads()

    def work(item: Item) -> None:
        assert item.out is not None
        received = receive(read_sem(item.path))
        for note in received.notes:
            say(f"{item.name}: {note}")
        write_image(item.out, received.stretched() if stretch else received.picture)

    batch.work_through(work, ".png")


def inspect(
    files: SemFiles,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OVERLAY.png|FOLDER", show_default=False, rich_help_panel=WRITING,
                     help="The layout, and the bytes of each cell over it."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Where the bytes of .sem files went: sections, concepts, and what did not arrive. Needs no network.

    [cyan]semcast inspect street.sem -o bytes.png[/cyan]
    [cyan]semcast inspect sems --json[/cyan]
    """
    from semcast.codec.receipt import as_json as values_of
    from semcast.codec.receipt import bit_receipt, overlay, read_sem, table
    from semcast.photos import check_output, write_image

    batch = pair(files, SEM, out, ".png")
    batch.check(lambda path: check_output(path, force))

    def work(item: Item) -> None:
        found = bit_receipt(read_sem(item.path))
        for note in found.stream.notes:
            say(f"{item.name}: {note}")
        if item.out:
            write_image(item.out, overlay(found))
        named = {"file": item.name} if batch.several else {}
        if as_json:
            print(json.dumps(named | values_of(found)))
        else:
            if batch.several:
                print(item.name)
            show(table(found))

    batch.work_through(work, ".png")
