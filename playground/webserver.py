"""The dashboard in a browser: textual-serve behind a door.

A link with a code that is good once opens it; from then on a cookie does, which no other site can send. Each tab of the
browser is a dashboard in a process of its own, attached to one host. Requests that reach this server under another
name, or come from another site, are refused: a web page cannot talk to it, whatever its name resolves to.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
import secrets
import shlex
import socket
from collections.abc import Awaitable, Callable

import aiohttp_jinja2
from aiohttp import WSMsgType, web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

from playground.cli.addresses import is_loopback

TITLE = "penguiflow"
MAX_TABS = 16
CODE_BYTES = 24
END_S = 1.0
"""How long a dashboard may take to end when its tab is closed; then it is killed."""
DEFAULT_SIZE = (120, 40)
MAX_SIZE = (1000, 500)
HEADERS = {
    # The page's own scripts stand in it; nothing is loaded from elsewhere, not even a font.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self' {websockets}; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

ELSEWHERE = re.compile(r"<link\b[^>]*https://[^>]*>")
"""What the page would load from other machines: it works without, and this one may be offline."""
TAKES_KEYS = """<script>
new MutationObserver((_, watching) => {
    const keys = document.querySelector(".xterm-helper-textarea");
    if (keys) { watching.disconnect(); keys.focus(); }
}).observe(document.documentElement, { childList: true, subtree: true });
</script>"""
"""Gives the terminal the keys as soon as it is there: the page does so on a click only."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebDashboard(Server):
    """Serves one command to those who were let in."""

    def __init__(
        self, command: str, listening: socket.socket, host: str, *, on_used: Callable[[], None] = lambda: None
    ) -> None:
        """`host` is what `listening` was bound to. `on_used` is called when a link was used; `link` is another then."""
        port = listening.getsockname()[1]
        super().__init__(command, host=host, port=port, title=TITLE)
        self._listening = listening
        self._on_used = on_used
        self._code = secrets.token_urlsafe(CODE_BYTES)
        self._session = secrets.token_urlsafe(CODE_BYTES)
        self._cookie = f"penguiflow_{port}"  # cookies do not tell ports apart
        self._names = _names(host, port)
        self._tabs: set[AppService] = set()
        self._sockets: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None

    @property
    def link(self) -> str:
        """Opens the dashboard, once."""
        return f"http://{self._names[0]}/?code={self._code}"

    async def start(self) -> None:
        """Accept browsers from now on."""
        app = await self._make_app()
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=END_S)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listening).start()

    async def stop(self) -> None:
        """End every tab, with its process."""
        for tab in list(self._tabs):
            await _end(tab)
        for each in list(self._sockets):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(each.close(), END_S)
        if self._runner is not None:
            await self._runner.cleanup()
        self._listening.close()

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._admit)
        # The terminal is ours: no banner.
        app.on_startup.clear()
        return app

    # -- who may come in ----------------------------------------------------------------------------------------------

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            self._check_place(request)
            if request.path == "/" and "code" in request.query:
                response = self._let_in(request)
            else:
                self._check_cookie(request)
                response = await handler(request)
        except web.HTTPException as refusal:
            response = web.Response(status=refusal.status, text=refusal.text, headers=None)
        if not response.prepared:
            for name, value in HEADERS.items():
                response.headers[name] = value.format(websockets=" ".join(f"ws://{each}" for each in self._names))
        return response

    def _check_place(self, request: web.Request) -> None:
        if request.host.lower() not in self._names:
            raise web.HTTPMisdirectedRequest(text="this server has another name\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in {f"http://{name}" for name in self._names}:
            raise web.HTTPForbidden(text="foreign origin\n")
        if request.headers.get("Sec-Fetch-Site") == "cross-site" and "code" not in request.query:
            raise web.HTTPForbidden(text="foreign site\n")

    def _check_cookie(self, request: web.Request) -> None:
        shown = request.cookies.get(self._cookie, "")
        if not hmac.compare_digest(shown.encode(errors="replace"), self._session.encode()):
            raise web.HTTPUnauthorized(text="open the link that `pf web` has printed: it lets this browser in\n")

    def _let_in(self, request: web.Request) -> web.Response:
        if not hmac.compare_digest(request.query["code"].encode(errors="replace"), self._code.encode()):
            raise web.HTTPForbidden(text="this link was used, or is none: `pf web` has printed a new one\n")
        self._code = secrets.token_urlsafe(CODE_BYTES)
        self._on_used()
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="Strict", path="/")
        return response

    # -- what they get ------------------------------------------------------------------------------------------------

    async def handle_index(self, request: web.Request) -> web.StreamResponse:
        """The page, with addresses under the name that the browser knows."""
        context = {
            "font_size": to_int(request.query.get("fontsize", "16"), 16),
            "app_websocket_url": f"ws://{request.host}/ws",
            "config": {"static": {"url": f"http://{request.host}/static/"}},
            "application": {"name": self.title},
        }
        page = aiohttp_jinja2.render_string("app_index.html", request, context)
        page = ELSEWHERE.sub("", page).replace("</head>", f"{TAKES_KEYS}</head>", 1)
        return web.Response(text=page, content_type="text/html")

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One tab: a dashboard in a process of its own, which ends with it."""
        if len(self._tabs) >= MAX_TABS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_TABS} tabs are open\n")
        websocket = web.WebSocketResponse(heartbeat=15, max_msg_size=1024 * 1024)
        await websocket.prepare(request)
        width, height = (
            min(max(to_int(request.query.get(name, ""), size), 1), most)
            for name, size, most in zip(("width", "height"), DEFAULT_SIZE, MAX_SIZE, strict=True)
        )

        async def close() -> None:
            await websocket.close()

        tab = AppService(
            self.command,
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=close,
            download_manager=self.download_manager,
        )
        self._tabs.add(tab)
        self._sockets.add(websocket)
        try:
            await tab.start(width, height)
            await tab.set_terminal_size(width, height)
            async for message in websocket:
                if message.type == WSMsgType.TEXT:
                    await _pass_on(message.data, tab, websocket)
        except ConnectionError:  # either side has gone
            pass
        finally:
            await _end(tab)
            self._tabs.discard(tab)
            self._sockets.discard(websocket)
            with contextlib.suppress(ConnectionError):
                await websocket.close()
        return websocket


async def _pass_on(data: str, tab: AppService, websocket: web.WebSocketResponse) -> None:
    """What a browser says; anything else than that is left alone."""
    try:
        kind, value = (*json.loads(data), None, None)[:2]
        if kind == "stdin":
            await tab.send_bytes(str(value).encode("utf-8", "replace"))
        elif kind == "resize":
            sizes = (int(value["width"]), int(value["height"]))
            await tab.set_terminal_size(*(min(max(size, 1), most) for size, most in zip(sizes, MAX_SIZE, strict=True)))
        elif kind == "ping":
            await websocket.send_json(["pong", value])
        elif kind == "blur":
            await tab.blur()
        elif kind == "focus":
            await tab.focus()
    except (ValueError, TypeError, KeyError, RecursionError):
        return


async def _end(tab: AppService) -> None:
    """End a dashboard: in order if it lets us, by force if not."""
    process: asyncio.subprocess.Process | None = tab._process
    if process is None:
        return
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(END_S):
            await tab.send_meta({"type": "quit"})
            await process.wait()
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.kill()
    await process.wait()
    with contextlib.suppress(Exception):  # what it had left to say is of no use any more
        await tab.stop()


def _names(host: str, port: int) -> list[str]:
    """Under which names a browser may ask for it; the first one is that of the link."""
    shown = f"[{host}]" if ":" in host else host
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 (it is compared, not listened on)
    names = [] if everywhere else [shown]
    if everywhere or is_loopback(host):
        names += ["127.0.0.1", "localhost", "[::1]"]
    if everywhere:
        names.append(socket.gethostname().lower())
    unique = list(dict.fromkeys(names))
    return [f"{name}:{port}" for name in unique]


def command_line(parts: list[str]) -> str:
    """For a shell that is to become the program, not its parent: what is told to end is then the program itself."""
    return "exec " + shlex.join(parts)


__all__ = ["WebDashboard", "command_line"]
