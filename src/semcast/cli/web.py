"""The verb of the page: web."""

from __future__ import annotations

from typing import Annotated

import typer

from semcast.cli.console import say
from semcast.cli.options import Device


def web(
    port: Annotated[int, typer.Option(metavar="N", help="On 127.0.0.1, which no other computer reaches.")] = 7860,
    share_nothing: Annotated[
        bool,
        typer.Option("--share-nothing", help="Only the address that is printed opens the page: other users of this computer "
                                             "do not see it."),
    ] = False,
    device: Device = "auto",
) -> None:  # fmt: skip
    """A page in the browser: a face through a channel, a photo in bytes, private parts, a radio. Nothing leaves this computer.

    [cyan]semcast web[/cyan]
    [cyan]semcast web --port 8000 --share-nothing[/cyan]
    """
    from semcast.web.server import serve

    serve(port, share_nothing=share_nothing, device=device, ready=lambda address: say(f"open {address} (Ctrl-C ends it)"))
