"""The server of the page: on 127.0.0.1 alone, everything served by itself."""

from __future__ import annotations

import logging
import secrets
import socket
import warnings
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from semcast.errors import BadInput, Missing
from semcast.web.door import Door
from semcast.web.limits import MOST_BYTES
from semcast.web.shelf import Shelf
from semcast.web.visitor import Guests
from semcast.web.work import Queue

HOST = "127.0.0.1"
STATIC = Path(__file__).parent / "static"
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b5394"/>'
    '<g fill="#fff"><circle cx="9" cy="9" r="3"/><circle cx="23" cy="9" r="3"/><circle cx="9" cy="23" r="3"/>'
    '<circle cx="23" cy="23" r="3"/></g></svg>'
)
WAIT_S = 60.0
"""For a browser that has loaded the page to open its socket."""
AWAY_S = 20.0
"""How long a tab may be away before it is forgotten: a browser that stalls, or a computer under load, keeps its photo."""


def check(port: int) -> None:
    """Whether a page can be served there.

    Raises:
        Missing: the library of the page is not installed.
        BadInput: the port is no port, or taken.
    """
    if find_spec("nicegui") is None:
        raise Missing("the page needs nicegui: pip install 'semcast[web]'")
    if not 1 <= port <= 65535:
        raise BadInput(f"a port is a number from 1 to 65535, not {port}")
    with closing(socket.socket()) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise BadInput(f"port {port} cannot be used ({error.strerror}): name another one with --port") from None


def build(shelf: Shelf, queue: Queue, guests: Guests, secret: str = "") -> Door:
    """The application: one page, whose visitors share networks and queue and nothing else."""
    from fastapi import FastAPI
    from nicegui import Client, app, ui
    from starlette.formparsers import MultiPartParser

    from semcast.web.pages.desk import Desk
    from semcast.web.pages.page import Page, refuse

    MultiPartParser.spool_max_size = MOST_BYTES + 10_000  # uploads stay in memory and touch no disk
    app.add_static_files("/semcast", str(STATIC))
    ui.add_head_html(
        '<link rel="stylesheet" href="/semcast/page.css"><script src="/semcast/page.js"></script>', shared=True
    )

    @ui.page("/", title="semcast", dark=None)
    async def index(client: Client) -> None:
        from semcast.web.visitor import Visitor

        desk = Desk(shelf, queue, Visitor(client.id))
        page = Page(desk)
        try:
            await client.connected(timeout=WAIT_S)
        except TimeoutError:
            return
        if client.is_deleted:  # it never came, and nobody would give its place back
            return
        try:
            desk.visitor = guests.welcome(client.id)
        except BadInput as error:
            client.content.clear()
            with client.content:
                refuse(str(error))
            return

        def leave() -> None:
            desk.leave()
            guests.leave(client.id)

        client.on_disconnect(lambda: guests.step_out(client.id))
        client.on_connect(lambda: guests.come_back(client.id))
        client.on_delete(leave)
        desk.start(page.take_portrait)

    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    ui.run_with(
        server, title="semcast", dark=None, favicon=ICON, language="en-US", reconnect_timeout=AWAY_S, message_history_length=30,
        tailwind=False, show_welcome_message=False, gzip_middleware_factory=None,
    )  # fmt: skip
    return Door(server, secret)


def serve(port: int, *, share_nothing: bool = False, device: str = "auto", ready: Callable[[str], None] = print) -> None:
    """Serve the page until somebody stops it.

    Args:
        port: on 127.0.0.1.
        share_nothing: only the address that ``ready`` is told opens it: other users of the computer do not see it.
        device: where networks compute.
        ready: is told the address before the first visitor can come.

    Raises:
        SemcastError: as :func:`check`.
    """
    check(port)
    import uvicorn

    secret = secrets.token_urlsafe(18) if share_nothing else ""
    shelf, queue = Shelf(device), Queue()
    queue.begin(shelf.warm)
    application = build(shelf, queue, Guests(), secret)
    logging.getLogger("semcast.web").addHandler(logging.StreamHandler())
    warnings.filterwarnings("ignore", "`torch.distributed.reduce_op`", FutureWarning)  # nicegui looks at all objects
    ready(f"http://{HOST}:{port}/" + (f"?key={secret}" if secret else ""))
    uvicorn.run(application, host=HOST, port=port, log_level="warning", timeout_graceful_shutdown=2)
    queue.close()
