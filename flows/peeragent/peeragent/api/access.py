"""Who may do how much: keys, and limits for each principal."""

from __future__ import annotations

import hmac
import ipaddress
import math
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from limits import RateLimitItem, parse
from starlette.requests import HTTPConnection

from peeragent.errors import Refused
from peeragent.service import Principal
from peeragent.settings import Settings
from peeragent.store.base import TaskStore

BEARER = "bearer "


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


def limited(name: str) -> Any:
    """For a parameter of a route: the principal, after the request was counted under the limit `name`."""

    async def check(request: Request, x_api_key: Annotated[str | None, Header()] = None) -> Principal:
        access: Access = request.app.state.access
        who = access.principal(request, x_api_key)
        await access.count(name, who, request)
        return who

    return Depends(check)
