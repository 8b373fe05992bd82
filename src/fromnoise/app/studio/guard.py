"""Access control: who may send requests, and what the answers allow a browser to do."""

import secrets
from urllib.parse import SplitResult, parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "fromnoise-studio"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""The page loads nothing from other servers and cannot be embedded in a frame."""
_ASK = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>fromnoise studio</title><link rel="stylesheet" href="/page/style.css">
<main class="login"><h1>fromnoise studio</h1><form method="get" action="/">
<label>Token<input name="token" type="password" autofocus autocomplete="current-password"></label>
<button>Open</button></form><p>Enter the token that the studio was started with.</p></main>"""


class Guard:
    """Accepts requests from the studio's own pages, and with a token only from those who know it.

    Requests with a foreign host name are refused, so that no other web page can reach the loopback address through a
    name of its own (DNS rebinding). Requests that change something are refused if they come from another origin.

    Args:
        app: the application to guard.
        host: the address that the server listens on; if it is a wildcard, any host name is accepted, since a token is
            required.
        token: the token that a browser has to present; None requires none.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None):
        self.app, self.token = app, token
        self.names = None if host in ("0.0.0.0", "::") else _LOOPBACK | {host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        await (self.app if refusal is None else refusal)(scope, receive, safely)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.names is not None and _split(f"//{host}").hostname not in self.names:
            return JSONResponse({"error": "this is not the studio's host name: open it as localhost"}, 421)
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin is not None and _split(origin).netloc != host:
            return JSONResponse({"error": "requests from other pages are refused"}, 403)
        if self.token is None or scope["path"] == "/page/style.css":
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if asked and self._knows(asked):
            answer = RedirectResponse("/" + scope["path"].lstrip("/"), 303)  # two slashes would lead to another server
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict", max_age=30 * 86400)
            return answer
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self._knows(cookie_parser(headers.get("cookie", "")).get(COOKIE, "")) or self._knows(bearer):
            return None
        if scope["path"].startswith("/api/"):
            return JSONResponse({"error": "the studio requires a token: open its page and enter it"}, 401)
        return HTMLResponse(_ASK, 401)

    def _knows(self, given: str) -> bool:
        """Compare tokens in constant time."""
        return self.token is not None and secrets.compare_digest(given.encode(), self.token.encode())


def _split(address: str) -> SplitResult:
    """Split a URL; an invalid one has empty parts."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
