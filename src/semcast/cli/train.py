"""The verb that trains: train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcast.cli.options import Device, among
from semcast.errors import BadInput
from semcast.train import RECIPES


def train(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", show_default=False, autocompletion=among(*RECIPES),
                       help=f"{', '.join(RECIPES[:-1])} or {RECIPES[-1]}; or your own, mine.py:Class, which runs that file."),
    ],
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", show_default=False,
                     help="Holds faces256, street256 (semcast data makes them) and faces160-unlabelled, or is any folder of "
                          "photos."),
    ],
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="The run's folder: log, checkpoint, weights.", show_default=False)
    ],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another value for one of the recipe's settings."),
    ] = None,
    device: Device = "auto",
    minutes: Annotated[
        float | None, typer.Option(metavar="M", show_default=False, help="Stop then, if its steps are not done before.")
    ] = None,
) -> None:  # fmt: skip
    """Train one of the models that ship, or a recipe of your own; Ctrl-C saves, --resume goes on.

    [cyan]semcast train sketch --data data --out runs/sketch --minutes 120[/cyan]
    [cyan]semcast train mine.py:Recipe --data photos/ --out runs/mine --minutes 30[/cyan]
    [cyan]torchrun --nproc-per-node 2 -m semcast train linear-gan --data data --out runs/two[/cyan]
    """
    if ".py:" not in recipe and recipe not in RECIPES:
        raise BadInput(f"unknown recipe {recipe!r}; the known are {', '.join(RECIPES)}")
    if not data.is_dir():
        raise BadInput(f"the folder {data} does not exist")
    from semcast.networks.precision import use_threads
    from semcast.train.recipes import run

    use_threads()
    run(recipe, data, out, resume=resume, overrides=override or [], device=device, minutes=minutes)
