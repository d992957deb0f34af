"""The verb about what ships: models."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from semcast.cli.console import show
from semcast.cli.options import AsJson


def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Its card.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """What ships: weights files, whether they are intact, and their cards.

    [cyan]semcast models[/cyan]
    [cyan]semcast models painter[/cyan]
    """
    from semcast.weights.catalogue import read_card, shipped

    if name:
        print(read_card(name))
        return
    found = shipped()
    if as_json:
        print(json.dumps([asdict(model) for model in found], indent=1))
        return
    from rich.table import Table

    table = Table("name", "kind", "MB", "fingerprint", "state")
    for model in found:
        table.add_row(model.name, model.kind, str(model.megabytes), model.fingerprint, model.state)
    show(table)
