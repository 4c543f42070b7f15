"""A bound for bodies, also of those that do not say how long they are."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peeragent.api.errors import refuse

PATIENCE = 16
"""How many times the allowed length is read before the connection is cut."""


class BodyLimit:
    """Answers 413 to a body of more than `max_bytes`, before it was read."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared) > self._max:
            await self._refuse(scope, receive, send)
            return
        if scope["method"] in {"GET", "HEAD", "OPTIONS"} or declared != b"0":
            await self._app(scope, receive, send)
            return
        seen = await self._read(receive)
        if seen is None:
            await self._refuse(scope, receive, send)
            return
        await self._app(scope, again(seen, receive), send)

    async def _read(self, receive: Receive) -> list[Message] | None:
        """A body of unknown length: no more of it is kept than is allowed.

        What is too long is read on for a while: a client that still writes would not see the answer.
        """
        seen: list[Message] = []
        size = 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if size <= self._max:
                seen.append(message)
            ended = message["type"] != "http.request" or not message.get("more_body")
            if ended or size > PATIENCE * self._max:
                return seen if size <= self._max else None

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = f"a body has at most {self._max:,} bytes"
        await refuse("BODY_TOO_LARGE", told, 413, {"Connection": "close"})(scope, receive, send)


def again(seen: list[Message], receive: Receive) -> Receive:
    """Gives what was received already, then what comes."""
    left = iter(seen)

    async def give() -> Message:
        message = next(left, None)
        return message if message is not None else await receive()

    return give
