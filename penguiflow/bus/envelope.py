"""What a message bus sees of a flow: an envelope for every message that is put on an edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from penguiflow.types import Message

__all__ = ["BusEnvelope", "MessageBus"]

_UNKNOWN = "*"


@dataclass(slots=True)
class BusEnvelope:
    """One message on its way over one edge."""

    edge: str
    """`source->target` by name; `*` stands for an end that is not known."""
    source: str | None
    target: str | None
    trace_id: str | None
    payload: Any
    """The message itself, as it is: a bus that leaves the process has to serialize it."""
    headers: Mapping[str, Any] | None
    """The headers as plain data; None for a bare payload."""
    meta: Mapping[str, Any] | None
    """A copy of the message's meta; None for a bare payload."""

    @classmethod
    def of(cls, source: str | None, target: str | None, message: Any, *, trace_id: str | None = None) -> BusEnvelope:
        """The envelope of a message between two nodes, named; `trace_id` for what does not carry one itself."""
        enveloped = isinstance(message, Message)
        return cls(
            edge=f"{source or _UNKNOWN}->{target or _UNKNOWN}",
            source=source,
            target=target,
            trace_id=message.trace_id if enveloped else getattr(message, "trace_id", None) or trace_id,
            payload=message,
            headers=message.headers.model_dump() if enveloped else None,
            meta=dict(message.meta) if enveloped else None,
        )


@runtime_checkable
class MessageBus(Protocol):
    """Is told of every message; what it does with them is its own matter. A failure is logged, the flow goes on."""

    async def publish(self, envelope: BusEnvelope) -> None:
        """Take one envelope."""
        ...
