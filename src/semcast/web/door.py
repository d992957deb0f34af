"""The door of the server: only this computer's browser comes in, nothing too large, and nothing is loaded from elsewhere."""

from __future__ import annotations

import secrets
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse

from semcast.web.limits import MOST_BYTES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
COOKIE = "semcast"
HEADERS = {
    # Scripts are inline and Vue compiles templates; what matters is that no address but our own is ever asked.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Door:
    """An application behind it.

    A page of another site that knows the port can neither read nor write here: its requests bear its own name (DNS rebinding
    included) and are refused.

    Args:
        app: what is behind the door.
        secret: where one is given, only a browser that came by the address with it enters.
    """

    def __init__(self, app: ASGIApp, secret: str = "") -> None:
        self.app, self.secret = app, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it with a sentence."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refuse(scope, headers)
        if refusal is not None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await refusal(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        await self.app(scope, receive, sealed)

    def _refuse(self, scope: Scope, headers: dict[str, str]) -> Any:
        """Why a request does not come in, as a response; None where it does."""
        if urlsplit(f"//{headers.get('host', '')}").hostname not in HOSTS:
            return PlainTextResponse("this page is for the computer that it runs on", 403)
        origin = headers.get("origin")
        if origin and origin != "null" and urlsplit(origin).netloc != headers.get("host"):
            return PlainTextResponse("another site asked for this", 403)
        if scope.get("method") == "POST":
            length = headers.get("content-length", "")
            if not length.isdigit():
                return PlainTextResponse("an upload says how large it is", 411)
            if int(length) > MOST_BYTES + 10_000:
                return PlainTextResponse(f"an upload has at most {MOST_BYTES // 10**6} MB", 413)
        return self._ask_secret(scope, headers) if self.secret else None

    def _ask_secret(self, scope: Scope, headers: dict[str, str]) -> Any:
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("key", [""])[0]
        if scope["type"] == "http" and given and secrets.compare_digest(given.encode(), self.secret.encode()):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, self.secret, httponly=True, samesite="strict")
            return answer
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        if cookie is not None and secrets.compare_digest(cookie.value.encode(), self.secret.encode()):
            return None
        return PlainTextResponse("open the address that semcast web printed: it holds the key of this page", 403)
