"""Edges: bounded counters that feed one inbox per node.

A node's messages wait in one deque, in the order they came, whatever edge they came by. An edge only knows how many of
them are its own, so that it can be full while another edge of the same node is not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from penguiflow.deadlines import pass_at
from penguiflow.validation import is_message, rewrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penguiflow.edge_queue import EdgeQueue
    from penguiflow.node import Node
    from penguiflow.ports import Port
    from penguiflow.traces import Trace
    from penguiflow.worker import Engine, Worker

__all__ = ["NOWHERE", "OPEN_SEA", "ROOKERY", "UNCHANGED", "Endpoint", "Floe", "Inbox", "Item", "payload_of", "whole"]


@dataclass(frozen=True)
class Endpoint:
    """Where messages come from (OpenSea) and where they go (Rookery)."""

    name: str

    @property
    def node_id(self) -> str:
        """Endpoints are told apart by name."""
        return self.name


OPEN_SEA = Endpoint("OpenSea")
ROOKERY = Endpoint("Rookery")


class Inbox:
    """The messages that wait for one node, and whoever waits for one inside `fetch`."""

    __slots__ = ("engine", "getters", "items", "port", "worker")

    items: deque[Item]

    def __init__(self) -> None:
        self.items = deque()
        self.getters: deque[Getter] = deque()
        self.worker: Worker | None = None
        self.engine: Engine | None = None
        """Who runs the node, while it runs."""
        self.port: Port | None = None
        """Whose it is."""

    def arrived(self, floe: Floe) -> None:
        """A message came by `floe`: wake the first getter who wants it, else tell whoever runs the node."""
        for getter in list(self.getters) if self.getters else ():
            future, sources = getter
            if future.done():
                self.getters.remove(getter)
            elif sources is None or floe.source in sources:
                self.getters.remove(getter)
                future.set_result(None)
                return
        worker = self.worker
        if worker is not None and not worker.listed and worker.running < worker.limit and self.engine is not None:
            self.engine.list_worker(worker)

    async def wait(self, sources: Sequence[Node | Endpoint | None] | None) -> None:
        """Return once something arrived (from `sources`). A caller that is cancelled passes its turn on."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        getter = (future, sources)
        self.getters.append(getter)
        try:
            await future
        except BaseException:
            if future.done() and not future.cancelled():
                for item in list(self.items):
                    if sources is None or item[0].source in sources:
                        self.arrived(item[0])
                        break
            elif getter in self.getters:
                self.getters.remove(getter)
            raise

    def take_over(self, floe: Floe) -> None:
        """From now on an edge ends here, with what waits on it and whoever waits for that."""
        before = floe.inbox
        if before is self:
            return
        floe.inbox = self
        moved = [item for item in before.items if item[0] is floe]
        if moved:
            kept = [item for item in before.items if item[0] is not floe]
            before.items.clear()
            before.items.extend(kept)
            self.items.extend(moved)
        if before.port is None:
            self.getters.extend(before.getters)
            before.getters.clear()
        for _ in moved:
            self.arrived(floe)


class Floe:
    """One edge: at most `maxsize` of its messages wait at a time (0 or less: any number)."""

    __slots__ = ("inbox", "is_exit", "maxsize", "name", "putters", "size", "source", "target")

    def __init__(self, source: Node | Endpoint | None, target: Node | Endpoint | None, *, maxsize: int) -> None:
        self.source = source
        self.target = target
        self.is_exit = target is ROOKERY
        """Whether it leads out of the flow."""
        self.maxsize = maxsize
        self.size = 0
        self.inbox = Inbox()
        self.putters: deque[asyncio.Future[None]] = deque()
        self.name = f"{_name(source)}->{_name(target)}"

    @property
    def queue(self) -> EdgeQueue:
        """The messages that wait on this edge, to be read and written by hand."""
        from penguiflow.edge_queue import EdgeQueue

        return EdgeQueue(self)

    def qsize(self) -> int:
        """How many messages wait on this edge."""
        return self.size

    def empty(self) -> bool:
        """Whether none waits."""
        return self.size == 0

    def full(self) -> bool:
        """Whether another one would have to wait for room."""
        return 0 < self.maxsize <= self.size

    def put(self, item: Item) -> None:
        """Add one message; the caller has made sure that there is room."""
        self.size += 1
        inbox = self.inbox
        inbox.items.append(item)
        worker = inbox.worker
        if inbox.getters or worker is None:
            inbox.arrived(self)
        elif not worker.listed and worker.running < worker.limit and inbox.engine is not None:
            inbox.engine.list_worker(worker)

    def release(self) -> None:
        """One message of this edge has left the inbox."""
        self.size -= 1
        if self.putters:
            self.wake_putter()

    async def wait_room(self, trace: Trace | None = None, until: float | None = None) -> None:
        """Return once a message fits. A caller that is cancelled passes its turn on.

        With a `trace`: raises `TraceCancelled` when that is cancelled meanwhile. With `until` (unix seconds): raises
        `DeadlinePassed` then.
        """
        if 0 < self.maxsize <= self.size:
            self.clear_stones()
        while 0 < self.maxsize <= self.size:
            putter = asyncio.get_running_loop().create_future()
            if trace is not None:
                trace.block(putter)
            self.putters.append(putter)
            timer = None if until is None else pass_at(putter, until)
            try:
                await putter
            except BaseException:
                if putter.done() and not putter.cancelled() and not self.full():
                    self.wake_putter()
                raise
            finally:
                if timer is not None:
                    timer.cancel()
                if trace is not None:
                    trace.unblock(putter)

    def clear_stones(self) -> None:
        """Give back the room that messages of cancelled traces take up."""
        items = self.inbox.items
        stones = [item for item in items if item[3] is not None and item[3].cancelled]
        if stones:
            kept = [item for item in items if item[3] is None or not item[3].cancelled]
            items.clear()
            items.extend(kept)
            for item in stones:
                if item[3] is not None:
                    item[3].passed_over(item)
                item[0].release()

    def wake_putter(self) -> None:
        """Let one sender go on, if there is room."""
        while self.putters and not 0 < self.maxsize <= self.size:
            putter = self.putters.popleft()
            if not putter.done():
                putter.set_result(None)
                return

    def __repr__(self) -> str:
        return f"Floe({self.name}, {self.size}/{self.maxsize})"


def _name(owner: Node | Endpoint | None) -> str:
    return "*" if owner is None else str(owner.name)


Getter = tuple["asyncio.Future[None]", "Sequence[Node | Endpoint | None] | None"]
"""Who waits for a message, and from which sources (None: from any)."""
Item = tuple[Floe, Any, Any, "Trace | None", str]
"""A message on its way: edge, message, the payload that has taken the place of the message's (else `UNCHANGED`), trace
and message id (empty unless it is recorded).

A node's result travels beside the envelope that its input came in. The two are made one when somebody wants a
`Message`: most nodes take the payload alone.
"""


class _Unchanged:
    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged()
NOWHERE: Final = Floe(None, None, maxsize=0)
"""The edge by which what comes from outside has come."""


def whole(message: Any, payload: Any) -> Any:
    """The message as its receiver should see it."""
    return message if payload is UNCHANGED else rewrap(message, payload)


def payload_of(message: Any, payload: Any) -> Any:
    """What the message carries, out of its envelope."""
    if payload is not UNCHANGED:
        return payload
    return message.payload if is_message(message) else message
