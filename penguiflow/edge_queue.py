"""An edge as a queue, for programs that look into it or feed it by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from penguiflow.channels import UNCHANGED, Floe, Item, whole
from penguiflow.deadlines import deadline_of
from penguiflow.leftovers import adopted, rests

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.traces import Trace

__all__ = ["EdgeQueue"]


class EdgeQueue:
    """Reads and writes the messages of one edge, as an `asyncio.Queue` does.

    In a running flow a message that is put here counts for its trace, and one that is taken is done with.
    """

    def __init__(self, floe: Floe) -> None:
        self._floe = floe

    @property
    def maxsize(self) -> int:
        """How many messages may wait; 0 or less: any number."""
        return self._floe.maxsize

    def qsize(self) -> int:
        """How many messages wait."""
        return self._floe.size

    def empty(self) -> bool:
        """Whether none waits."""
        return self._floe.empty()

    def full(self) -> bool:
        """Whether another one would have to wait for room."""
        return self._floe.full()

    async def put(self, message: Any) -> None:
        """Add a message; waits for room."""
        await self._floe.wait_room()
        self._add(message)

    def put_nowait(self, message: Any) -> None:
        """Add a message. Raises `asyncio.QueueFull`."""
        if self._floe.full():
            self._floe.clear_stones()
            if self._floe.full():
                raise asyncio.QueueFull
        self._add(message)

    async def get(self) -> Any:
        """The oldest message; waits for one. A caller that is cancelled has taken nothing."""
        while (item := self._take()) is None:
            await self._floe.inbox.wait([self._floe.source])
        return whole(item[1], item[2])

    def get_nowait(self) -> Any:
        """The oldest message. Raises `asyncio.QueueEmpty`."""
        item = self._take()
        if item is None:
            raise asyncio.QueueEmpty
        return whole(item[1], item[2])

    def _add(self, message: Any) -> None:
        item: Item = (self._floe, message, UNCHANGED, None, "")
        port = self._floe.inbox.port
        if port is not None and port.runtime is not None and port.runtime.running:
            item = adopted(item, port, port.runtime)  # without a flow that runs: `run` will do it
            if item[3] is not None:
                rests(item[3], port.runtime)
            if (deadline_s := deadline_of(message)) is not None:
                port.runtime._table.deadlines.watch(deadline_s)
        self._floe.put(item)

    def _take(self) -> Item | None:
        floe = self._floe
        items = floe.inbox.items
        for position, item in enumerate(items):
            trace = item[3]
            if item[0] is not floe or (trace is not None and trace.cancelled):
                continue
            del items[position]
            floe.release()
            if trace is not None and self._flow is not None:
                self._done(trace, item[4], self._flow)
            return item
        return None

    def _done(self, trace: Trace, message_id: str, flow: PenguiFlow) -> None:
        """The message has left the flow."""
        if trace.log is not None:
            trace.log.event("message.dequeued", self._floe.name, trace.log.root, {"message_id": message_id})
        if self._floe.is_exit:
            flow._table.collected(trace)
        else:
            trace.queued -= 1
            trace.inflight += 1
            flow._table.release(trace)

    @property
    def _flow(self) -> PenguiFlow | None:
        port = self._floe.inbox.port
        return None if port is None else port.runtime
