"""The short way to `POST …/execute`, by which most requests come.

What a framework does for any route in general takes longer than what this one needs. A request that is plainly well
formed is answered here, with the same checks and the same answers; all others are left to the route, which also stands
in the description.
"""

from __future__ import annotations

import contextlib

from pydantic import ValidationError
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from peeragent.api.access import Access
from peeragent.api.agent_routes import ended, order_of
from peeragent.api.bodies import TaskExecuteRequest
from peeragent.api.errors import refused, store_away
from peeragent.api.size import again
from peeragent.errors import Refused
from peeragent.service import Service
from peeragent.store.base import StoreUnavailable

_JSON = b"application/json"
_read = TaskExecuteRequest.__pydantic_validator__.validate_json


class Door:
    """Stands before the routes."""

    def __init__(self, app: ASGIApp, route: BaseRoute, path: str, access: Access, service: Service) -> None:
        """`path` is the one of `route`, whose requests it answers where it can."""
        self._app, self._route, self._path = app, route, path
        self._access, self._service = access, service
        self._debug = service.settings.debug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST" or not _is_json(scope):
            await self._app(scope, receive, send)
            return
        seen = [await receive()]
        while seen[-1]["type"] == "http.request" and seen[-1].get("more_body"):
            seen.append(await receive())
        body = None
        # What is wrong with a request, the route finds, too, and says so.
        if seen[-1]["type"] == "http.request":
            with contextlib.suppress(ValidationError):
                body = _read(b"".join([message.get("body", b"") for message in seen]))
        if body is None:
            await self._app(scope, again(seen, receive), send)
            return
        scope["route"] = self._route
        response = await self._answer(HTTPConnection(scope), body)
        await response(scope, receive, send)

    async def _answer(self, connection: HTTPConnection, body: TaskExecuteRequest) -> Response:
        try:
            by = await self._access.asked("execute", connection)
            order = order_of(body, idempotency_key=by.key, policy=by.policy)
            return ended(await self._service.execute(by.who, order))
        except Refused as error:
            return refused(error)
        except StoreUnavailable as error:
            return store_away(error, debug=self._debug)


def _is_json(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bool(value == _JSON or value.partition(b";")[0].strip().lower() == _JSON)
    return False
