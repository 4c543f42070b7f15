"""Buses: what a message bus is told of a flow, and edges that reach beyond one process.

`MessageBus` is all that a flow needs to be mirrored. An `EdgeBus` carries edges between processes: `MemoryBus` in one
process, `NatsBus` (extra `nats`) and `RedisBus` (extra `redis`) beyond it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from penguiflow.bus.envelope import BusEnvelope, MessageBus

if TYPE_CHECKING:
    from penguiflow.bus.codec import Codec
    from penguiflow.bus.errors import (
        BusAway,
        BusClosed,
        BusError,
        BusForeign,
        BusRefused,
        BusTooOld,
        CannotRead,
        CannotSend,
        NewerVersion,
    )
    from penguiflow.bus.memory import MemoryBus
    from penguiflow.bus.nats import NatsBus
    from penguiflow.bus.opening import open_bus
    from penguiflow.bus.protocol import BusMessage, DeadLetter, Delivery, Depth, EdgeBus, Limits
    from penguiflow.bus.redis import RedisBus

# `import penguiflow` needs the two names of the contract alone; the others are imported when somebody asks for them.
_MODULES = {
    "codec": ("Codec",),
    "errors": (
        "BusAway",
        "BusClosed",
        "BusError",
        "BusForeign",
        "BusRefused",
        "BusTooOld",
        "CannotRead",
        "CannotSend",
        "NewerVersion",
    ),
    "memory": ("MemoryBus",),
    "nats": ("NatsBus",),
    "opening": ("open_bus",),
    "protocol": ("BusMessage", "DeadLetter", "Delivery", "Depth", "EdgeBus", "Limits"),
    "redis": ("RedisBus",),
}
_EXTRAS = ("nats", "redis")
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BusAway",
    "BusClosed",
    "BusEnvelope",
    "BusError",
    "BusForeign",
    "BusMessage",
    "BusRefused",
    "BusTooOld",
    "CannotRead",
    "CannotSend",
    "Codec",
    "DeadLetter",
    "Delivery",
    "Depth",
    "EdgeBus",
    "Limits",
    "MemoryBus",
    "MessageBus",
    "NatsBus",
    "NewerVersion",
    "RedisBus",
    "open_bus",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'penguiflow.bus' has no attribute {name!r}")
    try:
        module = import_module(f"penguiflow.bus.{home}")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in _EXTRAS:
            raise
        raise ImportError(f"{name} needs the extra '{home}': pip install 'penguiflow[{home}]'") from error
    value = getattr(module, name)
    globals()[name] = value
    return value
