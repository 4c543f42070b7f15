"""Every message of a flow, mirrored to a message bus."""

from __future__ import annotations

from typing import Any

from penguiflow.broadcast import Broadcast
from penguiflow.bus import BusEnvelope, MessageBus
from penguiflow.channels import Floe
from penguiflow.traces import Trace

__all__ = ["Mirror"]


class Mirror:
    """Publishes what was put on an edge. A failure is logged; the message goes its way all the same."""

    def __init__(self, bus: MessageBus, broadcast: Broadcast) -> None:
        self._bus = bus
        self._broadcast = broadcast

    async def publish(self, floe: Floe, msg: Any, trace: Trace | None) -> None:
        """Tell the bus, and wait for it."""
        source, target = (None if end is None else str(end.name) for end in (floe.source, floe.target))
        envelope = BusEnvelope.of(source, target, msg, trace_id=None if trace is None else trace.id)
        try:
            await self._bus.publish(envelope)
        except Exception as error:  # a failing bus must not stop the flow
            self._broadcast.failed("message_bus_publish_failed", envelope.trace_id, error, edge=envelope.edge)

    def publish_later(self, floe: Floe, msg: Any, trace: Trace | None) -> None:
        """Tell the bus from where nothing can be awaited; `stop` waits for it."""
        self._broadcast.spawn(self.publish(floe, msg, trace))
