"""How things are called on a server, and in what we say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

__all__ = ["CLOSED", "NOT_OPEN", "shown", "token", "unknown_edge"]

NOT_OPEN = "the bus is not open: await bus.open(flow, edges) first"
CLOSED = "the bus was closed"
_LONGEST = 120
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def token(name: str) -> str:
    """A name that every server takes as one word, readable, and another one for every other name."""
    safe = _UNSAFE.sub(_escaped, name)
    if len(safe) <= _LONGEST:
        return safe
    return f"{safe[:_LONGEST]}={blake2b(name.encode(), digest_size=8).hexdigest()}"


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"={byte:02X}" for byte in found.group().encode("utf-8", "surrogatepass"))


def shown(url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    scheme, separator, rest = url.rpartition("://")
    login, _, place = rest.rpartition("@")
    if "?" in login:
        place = "…"  # where the password ends cannot be told
    return f"{scheme}{separator}{place.partition('?')[0]}"


def unknown_edge(name: str, known: Iterable[str]) -> str:
    """What is said of an edge that the bus was not opened with."""
    return f"the bus was not opened for edge {name}: it knows {', '.join(sorted(known)) or 'none'}"
