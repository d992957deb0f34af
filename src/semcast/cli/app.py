"""The command line: the verbs, and how whatever goes wrong ends. Verbs that compute import torch, so help is quick."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from semcast.cli.air import simulate
from semcast.cli.console import complain, ready_streams
from semcast.cli.measure import evaluate, evaluate_codec
from semcast.cli.models import data, fetch, models
from semcast.cli.options import group_options
from semcast.cli.radio import receive, send
from semcast.cli.sem import decode, encode, inspect
from semcast.cli.send import demo, sample, transmit
from semcast.cli.study import report, reproduce
from semcast.cli.train import train
from semcast.cli.web import web
from semcast.errors import BadInput, SemcastError, Unfinished
from semcast.files import reason_of
from semcast.stopping import Stop

app = typer.Typer(
    name="semcast",
    rich_markup_mode="rich",
    no_args_is_help=True,
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

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""What a disk may say at any place, that of temporary files too."""
VERBS: dict[str, tuple[Callable[..., None], ...]] = {
    "Send": (demo, transmit, sample),
    "On the air": (send, receive, simulate),
    "Files of meaning": (encode, decode, inspect),
    "Look": (web,),
    "Measure": (evaluate, evaluate_codec, reproduce, report),
    "Models and data": (models, fetch, data, train),
}
"""The verbs by the panel of the help that shows them; each is called what its function is."""

for _panel, _verbs in VERBS.items():
    for _verb in _verbs:
        app.command(_verb.__name__.replace("_", "-"), rich_help_panel=_panel)(group_options(_verb))


def _show_version(asked: bool) -> None:
    if asked:
        import semcast

        print(f"semcast {semcast.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """What comes before the verb."""


def run(arguments: Sequence[str], stop: Stop) -> int:
    """Run a verb and say how it ended; the exit code."""
    ready_streams()
    try:
        check_words(arguments)
        code = app(arguments or ["--help"], prog_name="semcast", standalone_mode=False)
    except BaseException as error:
        if stop.number is not None:  # whatever it looked like to the code that it met: an import that failed, say
            return _stopped(stop, error)
        return _failed(error, stop)
    if code == 130:  # what typer makes of Ctrl-C
        return _stopped(stop)
    return code if isinstance(code, int) else 0


def check_words(arguments: Sequence[str]) -> None:
    """Raise BadInput where one of them is empty: no verb takes that, and as a path it would be the folder one is in."""
    for i, word in enumerate(arguments):
        if word in ("", "''") or (word.startswith("--") and word.endswith("=") and word.count("=") == 1):
            where = f"after {arguments[i - 1]} " if i and not word else ""
            raise BadInput(f"an argument {where}is empty: was a variable of the shell set?")


def _stopped(stop: Stop, error: BaseException | None = None) -> int:
    """Say that it was stopped, and what there is to go on with where the verb says so."""
    complain(error if isinstance(error, Unfinished) else "stopped")
    return stop.code


def _failed(error: BaseException, stop: Stop) -> int:
    """Say what went wrong: exit 2 for the user's mistake, 1 for ours."""
    if isinstance(error, SemcastError):
        complain(error)
        return 2
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":  # what older typers make of Ctrl-C
        return _stopped(stop)
    if isinstance(error, BrokenPipeError):  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        complain(f"it cannot go on ({reason_of(error)})")
        return 2
    if not isinstance(error, Exception):
        raise error
    if hasattr(error, "format_message"):  # how typer reports a wrong command line, whichever click it carries
        where = getattr(getattr(error, "ctx", None), "command_path", "semcast")
        complain(f"{error.format_message().rstrip('.')} (see {where} --help)")
        return 2
    if os.environ.get("SEMCAST_DEBUG") == "1":
        raise error
    complain(f"sorry, this should not happen: {type(error).__name__}: {error} (SEMCAST_DEBUG=1 shows where)")
    return 1
