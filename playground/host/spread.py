"""Runs of distributed flows: this process calls, workers write what happens into the store, from where it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from pydantic_core import from_json

from penguiflow.state.errors import StoreError
from playground.host.clients import Hub
from playground.host.outlet import Outlet
from playground.host.tail import Sent
from playground.protocol import BaseFrame, LogLine, Queues
from playground.supervisor.batches import is_chunk, read_head

__all__ = ["Mute", "SpreadRun"]

POLL_S = 0.05
"""How often the store is looked at."""
END_S = 5.0
"""How long the end of a trace is waited for when its result is there."""
PAGE = 512
HEAD_BYTES = 600
"""Within which an event says its kind."""
_END = b'"kind":"trace.end"'
ADVISE_S = 2.0
"""After how long a run that goes on is told of edges that nobody consumes; then again and again."""


class Log(Protocol):
    """The part of a store that is read."""

    async def load_event_bytes(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        """Committed events of a trace, as JSON."""
        ...


class Mute:
    """A message bus that tells nobody anything: with it, a flow that has a bus runs in this process."""

    async def publish(self, envelope: Any) -> None:
        """Nothing."""


class SpreadRun:
    """Tells clients what workers write of one trace."""

    def __init__(
        self, trace_id: str, store: Log, wire: Outlet, target: str, ask: Callable[[], Awaitable[BaseFrame]]
    ) -> None:
        """`ask` gives how the flow's edges are."""
        self.status: str | None = None
        """How the trace has ended, by its log."""
        self._trace_id = trace_id
        self._store = store
        self._wire = wire
        self._target = target
        self._ask = ask
        self._over = asyncio.Event()
        """Set when the end of the trace was told."""
        self._after = -1
        self._told: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Tell what comes from now on: not what an earlier run wrote under this id."""
        with suppress(StoreError):
            while page := await self._store.load_event_bytes(self._trace_id, after=self._after, limit=PAGE):
                self._after = _seq(page[-1])
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow()), loop.create_task(self._advise())]

    async def finish(self, *, gone: bool) -> None:
        """Return when all of it was told. What is `gone` may have no end that could be waited for."""
        if not gone:
            with suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await self._over.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(StoreError):  # what others wrote at the same time
            await self._look()

    async def _follow(self) -> None:
        while not self._over.is_set():
            with suppress(StoreError):  # it comes back, or what is lost is said by who writes
                await self._look()
            await asyncio.sleep(POLL_S)

    async def _look(self) -> None:
        while page := await self._store.load_event_bytes(self._trace_id, after=self._after, limit=PAGE):
            for data in page:
                seq = self._after = _seq(data)
                self._wire.post(partial(Hub.add_sent, event=Sent(self._trace_id, seq, data, is_chunk(data))))
                if _END in data[:HEAD_BYTES]:
                    self.status = str(from_json(data)["data"].get("status", "ok"))
                    self._over.set()
            await self._wire.wait_ready()

    async def _advise(self) -> None:
        """Say which edges nobody consumes, once each: whoever waits is to know what for."""
        while True:
            await asyncio.sleep(ADVISE_S)
            queues = await self._ask()
            if not isinstance(queues, Queues) or queues.problem is not None:
                continue
            alone = [edge.edge for edge in queues.edges if edge.unattended and edge.edge not in self._told]
            if alone:
                self._told.update(alone)
                text = f"messages wait on {', '.join(alone)}, and no worker consumes them: `pf worker {self._target}`"
                line = LogLine(ts=time.time(), source="log", text=text, level="WARNING", trace_id=self._trace_id)
                self._wire.post(partial(Hub.add_line, line=line))


def _seq(data: bytes) -> int:
    head = read_head(data)
    return int(from_json(data)["seq"]) if head is None else head[1]
