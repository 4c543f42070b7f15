"""Every message of a flow, mirrored to a message bus."""

from __future__ import annotations

import asyncio
from typing import Any

from penguiflow.broadcast import Broadcast
from penguiflow.bus import BusEnvelope, MessageBus
from penguiflow.channels import Floe
from penguiflow.traces import Trace

__all__ = ["Mirror"]


class Mirror:
    """Publishes what was put on an edge. A failure is logged; the message goes its way all the same.

    An envelope shows the message as it was when it was sent, and the bus is told in the order of sending.
    """

    def __init__(self, bus: MessageBus, broadcast: Broadcast) -> None:
        self._bus = bus
        self._broadcast = broadcast
        self._put_off = 0
        """How many envelopes wait for their task to begin."""

    async def publish(self, floe: Floe, msg: Any, trace: Trace | None) -> None:
        """Tell the bus, and wait for it."""
        envelope = _envelope(floe, msg, trace)
        if self._put_off:
            await self._put_it_off(envelope)  # behind those that were sent before
        else:
            await self._publish(envelope)

    def publish_later(self, floe: Floe, msg: Any, trace: Trace | None) -> None:
        """Tell the bus from where nothing can be awaited; `stop` waits for it."""
        self._put_it_off(_envelope(floe, msg, trace))

    def _put_it_off(self, envelope: BusEnvelope) -> asyncio.Task[None]:
        self._put_off += 1
        return self._broadcast.spawn(self._begin(envelope))

    async def _begin(self, envelope: BusEnvelope) -> None:
        self._put_off -= 1
        await self._publish(envelope)

    async def _publish(self, envelope: BusEnvelope) -> None:
        try:
            await self._bus.publish(envelope)
        except Exception as error:  # a failing bus must not stop the flow
            self._broadcast.failed("message_bus_publish_failed", envelope.trace_id, error, edge=envelope.edge)


def _envelope(floe: Floe, msg: Any, trace: Trace | None) -> BusEnvelope:
    source, target = (None if end is None else str(end.name) for end in (floe.source, floe.target))
    return BusEnvelope.of(source, target, msg, trace_id=None if trace is None else trace.id)
