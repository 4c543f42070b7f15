"""The answer to a body that says itself that it is too long. FastAPI bounds those that do not say."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from peeragent.api.errors import refuse


class DeclaredSize:
    """Answers 413, in the shape of all refusals, before a body is read."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"content-length" and value.isdigit() and int(value[:20]) > self._most:
                    told = f"a body has at most {self._most:,} bytes"
                    answer = refuse("BODY_TOO_LARGE", told, 413, {"Connection": "close"})
                    await answer(scope, receive, send)
                    return
        await self._app(scope, receive, send)
