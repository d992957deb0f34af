"""The verbs about files that others need: models says what ships, fetch and data get what does not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from semcast.cli.console import say, show
from semcast.cli.options import WRITING, AsJson, among
from semcast.errors import BadInput


def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Its card.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """What ships: weights files, whether they are intact, and their cards.

    [cyan]semcast models[/cyan]
    [cyan]semcast models painter[/cyan]
    """
    from semcast.weights.catalogue import list_shipped, read_card

    if name:
        print(read_card(name))
        return
    found = list_shipped()
    if as_json:
        print(json.dumps([asdict(model) for model in found], indent=1))
        return
    from rich.table import Table

    table = Table("name", "kind", "MB", "fingerprint", "state")
    for model in found:
        table.add_row(model.name, model.kind, str(model.megabytes), model.fingerprint, model.state)
    show(table)


def fetch(
    what: Annotated[
        str, typer.Argument(metavar="metrics", help="What LPIPS needs, from those who publish it.", show_default=False,
                            autocompletion=among("metrics"))
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", show_default="semcast/weights in the cache folder", rich_help_panel=WRITING,
                     help="Where metrics will find it, or $SEMCAST_SHARED/weights."),
    ] = None,
) -> None:  # fmt: skip
    """Download what may be fetched and does not ship: the weights that LPIPS needs, checked against their checksums.

    [cyan]semcast fetch metrics[/cyan]
    """
    if what != "metrics":
        raise BadInput(f"there is nothing called {what!r} to fetch; metrics is what LPIPS needs")
    if out is not None and out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: name a folder")
    from semcast.metrics.fetch import fetch as download

    download(out, say=say)


def data(
    kind: Annotated[
        str, typer.Argument(metavar="faces|street", help="CelebAMask-HQ or Cityscapes.", show_default=False,
                            autocompletion=among("faces", "street"))
    ],
    source: Annotated[
        Path, typer.Option("--from", metavar="FOLDER", help="The data set as it is distributed, unpacked.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="FOLDER", show_default=False, rich_help_panel=WRITING,
                     help="Where the shards go, in faces256 or street256: what train takes as --data."),
    ],
) -> None:  # fmt: skip
    """Make the shards that the recipes train on from a public data set, with the photos and splits of the shipped weights.

    [cyan]semcast data faces --from CelebAMask-HQ -o data[/cyan]
    [cyan]semcast data street --from cityscapes -o data[/cyan]
    """
    if kind not in ("faces", "street"):
        raise BadInput(f"there is no data set {kind!r}; the known are faces, street")
    if not source.is_dir():
        raise BadInput(f"the folder {source} does not exist")
    from semcast.train.shards import pack

    for path in pack(kind, source, out):
        say(f"written: {path}")
