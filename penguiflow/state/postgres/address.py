"""The address of a PostgreSQL server: what is connected to, and what may be shown of it."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from penguiflow.state.errors import StoreError

__all__ = ["Address", "is_address", "parse_address"]

SCHEMA = "penguiflow"
"""Where the tables are, when the address names no other schema."""
_SCHEMES = ("postgresql://", "postgres://")
_SECRET = frozenset({"password", "sslpassword", "passfile"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}\Z")


class Address(NamedTuple):
    """A database, and the schema in it. `str` shows no password."""

    dsn: str
    """For the driver, password included."""
    schema: str
    place: str
    """To be shown."""
    hosts: tuple[str, ...]
    """Names of the server."""

    def __repr__(self) -> str:
        return f"Address({self.place!r})"

    def __str__(self) -> str:
        return self.place


def is_address(text: str) -> bool:
    """Whether a text is the address of a PostgreSQL server, and no path."""
    return text.startswith(_SCHEMES)


def parse_address(url: str) -> Address:
    """Take `postgresql://user:password@host:port/database?schema=name` apart.

    What the driver knows (`host=/folder/of/socket`, `sslmode=require` …) may follow the `?`, too. Raises `StoreError`,
    which does not repeat what it was given.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at here, where a wrong one can be told of
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _unclear() from None
    if not is_address(url) or parts.fragment:
        raise _unclear()
    schema = dict(options).get("schema", SCHEMA)
    if not _NAME.match(schema):
        raise StoreError(f"{schema!r} cannot be the name of a schema: letters, digits and `_` can be, 40 at most")
    given = [(name, value) for name, value in options if name != "schema"]
    shown = [(name, value) for name, value in options if name not in _SECRET]
    user, at, host = parts.netloc.rpartition("@")
    visible = f"{user.partition(':')[0]}{at}{host}"
    hosts = [each.rpartition(":")[0] or each for each in host.split(",")]
    hosts += [each for name, value in options if name == "host" for each in value.split(",")]
    return Address(
        _joined(f"{parts.scheme}://{parts.netloc}{parts.path}", given),
        schema,
        _joined(f"{parts.scheme}://{visible}{parts.path}", shown),
        tuple(hosts),
    )


def _joined(place: str, options: list[tuple[str, str]]) -> str:
    return f"{place}?{urlencode(options, safe='/', quote_via=quote)}" if options else place


def _unclear() -> StoreError:
    return StoreError(
        "the address of the store cannot be read: it looks like postgresql://user:password@host:5432/database, where "
        "signs such as @ : / # ? within a name or password are written as %40 %3A %2F %23 %3F"
    )
