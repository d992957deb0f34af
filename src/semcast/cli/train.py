"""The verb that trains: train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcast.cli.options import among

RECIPES = (
    "parser", "linear", "linear-gan", "generator", "flow", "link", "knowledge", "deepjscc", "end-to-end",
    "scene-parser", "judge", "tables", "scene-codec", "features", "allocation",
)  # fmt: skip


def train(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", show_default=False, autocompletion=among(*RECIPES),
                       help=f"{', '.join(RECIPES[:-1])} or {RECIPES[-1]}."),
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
    from semcast.networks.precision import use_threads
    from semcast.train.recipes import run

    use_threads()
    run(recipe, data, out, resume=resume, overrides=override or [])
