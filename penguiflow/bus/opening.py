"""A bus from its address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from penguiflow.bus.errors import BusError
from penguiflow.bus.naming import shown

if TYPE_CHECKING:
    from penguiflow.bus.protocol import EdgeBus, Limits

__all__ = ["EXAMPLES", "address_of", "another_bus", "open_bus"]

EXAMPLES = "redis://host:6379/0, rediss://…, unix:///path, valkey://…, nats://host:4222, tls://… or memory:"
_BUSES = {
    **dict.fromkeys(("redis", "rediss", "unix", "valkey", "valkeys"), "RedisBus"),
    **dict.fromkeys(("nats", "tls"), "NatsBus"),
    "memory": "MemoryBus",
}
_SPELLED = {"valkey": "redis", "valkeys": "rediss"}
"""Schemes that the client calls something else."""


def open_bus(url: str, limits: Limits | None = None) -> EdgeBus:
    """The bus at an address; `await bus.open(flow, edges)` connects it.

    Raises `BusError` for an address of another kind, and where the engine's extra is not installed. What may be secret
    in the address is in neither text.
    """
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError:
        scheme = ""
    if scheme not in _BUSES:
        raise BusError(f"'{shown(url)}' is no address of a bus: {EXAMPLES}")
    import penguiflow.bus as buses

    try:
        kind = getattr(buses, _BUSES[scheme])
    except ImportError as error:
        raise BusError(f"the bus at {shown(url)} cannot be opened: {error}") from error
    if scheme == "memory":
        bus: EdgeBus = kind(limits)
        return bus
    spelled = _SPELLED.get(scheme)
    made: EdgeBus = kind(url if spelled is None else f"{spelled}{url[len(scheme) :]}", limits=limits)
    return made


def another_bus(bus: EdgeBus, limits: Limits | None = None) -> EdgeBus | None:
    """A bus at the same place with a connection of its own, to be opened; None where only the bus itself gets there."""
    again: Any = getattr(bus, "another", None)
    made: EdgeBus | None = None if again is None else again(limits)
    return made


def address_of(bus: EdgeBus) -> str:
    """Where a bus is, for people: without what may be secret in it."""
    found = getattr(bus, "address", None)
    return str(found) if found else f"a {type(bus).__name__} of this process"
