"""Without keys only this machine is served: names that others own do not lead here."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from peeragent.api.errors import refuse

MOST_KNOWN = 100


class LocalNames:
    """Refuses requests whose `Host` is somebody's domain.

    A page of that domain could have its name lead to this machine, and then read what the service says: for the browser
    it would be the page's own.
    """

    def __init__(self, app: ASGIApp, origins: list[str]) -> None:
        """`origins`: whose hosts are fine, too."""
        self._app = app
        self._hosts = {urlsplit(origin).hostname for origin in origins}
        self._fine: set[bytes] = set()
        """Headers that were looked at before."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "lifespan":
            host = next((value for name, value in scope["headers"] if name == b"host"), b"")
            if host not in self._fine:
                if not self._is_fine(host.decode("latin-1")):
                    await self._refuse(scope, receive, send)
                    return
                if len(self._fine) < MOST_KNOWN:
                    self._fine.add(host)
        await self._app(scope, receive, send)

    def _is_fine(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        # A name without a dot is nobody's domain.
        return "." not in name or name.endswith(".localhost") or name in self._hosts or _is_address(name)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        told = "without keys the service answers to the names of this machine only: set API_KEYS, or CORS_ORIGINS"
        await refuse("FOREIGN_HOST", told, 403)(scope, receive, send)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
