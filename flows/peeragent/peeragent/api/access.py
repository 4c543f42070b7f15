"""Who may do how much: keys, and limits for each principal."""

from __future__ import annotations

import hmac
import ipaddress
import math
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, Request
from limits import RateLimitItem, parse
from starlette.requests import HTTPConnection

from peeragent.errors import Refused
from peeragent.orders import Policy, Principal
from peeragent.settings import Settings
from peeragent.store.base import TaskStore

BEARER = "bearer "
MAX_KEY = 200
POLICIES: tuple[Policy, ...] = ("enqueue", "reject", "interrupt")


class Access:
    """Keys and limits of the settings."""

    def __init__(self, settings: Settings, store: TaskStore) -> None:
        self._settings, self._store = settings, store
        self._keys = [
            *((key.get_secret_value().encode(), Principal(owner)) for owner, key in settings.api_keys.items()),
            *((key.get_secret_value().encode(), Principal(owner, True)) for owner, key in settings.admin_keys.items()),
        ]
        named = {
            name.removeprefix("rate_limit_"): getattr(settings, name)
            for name in type(settings).model_fields
            if name.startswith("rate_limit_")
        }
        self._limits: dict[str, RateLimitItem] = {name: parse(text) for name, text in named.items()}

    def principal(self, connection: HTTPConnection, key: str | None = None) -> Principal:
        """Whose key it is. Raises `Refused` 401 when a key is needed and none fits."""
        if not self._keys:
            return Principal()
        given = key or _key_in(connection)
        if given is not None:
            sent = given.encode()
            # All are compared, so that the time tells nothing.
            found = [who for known, who in self._keys if hmac.compare_digest(known, sent)]
            if found:
                return found[0]
        message = "a key is needed: `Authorization: Bearer KEY` or `X-API-Key: KEY`"
        raise Refused("UNAUTHORIZED", message, 401, {"WWW-Authenticate": "Bearer"})

    async def count(self, limit: str, who: Principal, connection: HTTPConnection) -> None:
        """Count a request. Raises `Refused` 429 with `Retry-After` when it is one too many."""
        if not self._settings.rate_limits:
            return
        item = self._limits[limit]
        whose = who.owner if self._keys else _address(connection)
        hits, left = await self._store.count(f"{limit}:{whose}", item.get_expiry())
        if hits > item.amount:
            message = f"Rate limit exceeded: {item}"
            raise Refused("RATE_LIMITED", message, 429, {"Retry-After": str(max(1, math.ceil(left)))})

    async def asked(self, limit: str, connection: HTTPConnection) -> Asked:
        """Who asks, counted, and what the headers say that `ASKED` describes. Raises `Refused`."""
        who = self.principal(connection)
        await self.count(limit, who, connection)
        key, policy = connection.headers.get("idempotency-key"), connection.headers.get("x-double-text")
        if key is not None and not 0 < len(key) <= MAX_KEY:
            raise Refused("BAD_HEADER", f"Idempotency-Key must have 1 to {MAX_KEY} characters", 400)
        if policy is not None and policy not in POLICIES:
            raise Refused("BAD_HEADER", f"X-Double-Text must be one of {', '.join(POLICIES)}", 400)
        return Asked(who, key, policy)


def _key_in(connection: HTTPConnection) -> str | None:
    given = connection.headers.get("authorization", "")
    if given.lower().startswith(BEARER):
        return given[len(BEARER) :].strip()
    return connection.headers.get("x-api-key")


def _address(connection: HTTPConnection) -> str:
    """Of the peer itself: what a header claims is anybody's word. Addresses of one IPv6 network count as one."""
    host = connection.client.host if connection.client else "?"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6 and not address.is_loopback:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, and how a repeated request, or one of a busy session, is to be taken."""

    who: Principal
    key: str | None
    policy: Policy | None


def limited(name: str) -> Any:
    """For a parameter of a route: the principal, after the request was counted under the limit `name`."""

    async def check(request: Request) -> Principal:
        access: Access = request.app.state.access
        who = access.principal(request)
        await access.count(name, who, request)
        return who

    return Depends(check)


def asked(name: str) -> Any:
    """For a parameter of a route: `Asked`, after the request was counted. `ASKED` describes the headers.

    They are read by hand: each parameter that FastAPI reads costs a tenth of the whole request.
    """

    async def check(request: Request) -> Asked:
        access: Access = request.app.state.access
        return await access.asked(name, request)

    return Depends(check)


def _header(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


ASKED: dict[str, Any] = {
    "parameters": [
        _header(
            "Idempotency-Key",
            {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
            "The same request with the same key is done once.",
        ),
        _header(
            "X-Double-Text",
            {"type": "string", "enum": [*POLICIES]},
            "What if the session is at work: wait, be refused (409), or end what it does.",
        ),
    ]
}
"""`openapi_extra` of routes with `asked`."""
