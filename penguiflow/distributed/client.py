"""A caller of a distributed flow: what it sends goes on edges, what comes back comes by an edge of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from penguiflow.bus.errors import BusError
from penguiflow.distributed.answers import Answers, Waiting
from penguiflow.distributed.entry import Entry, trace_of
from penguiflow.distributed.header import Header, read_end
from penguiflow.distributed.lookout import Lookout
from penguiflow.distributed.names import answer_edge, edges_of
from penguiflow.distributed.share import Share
from penguiflow.distributed.writing import Writing
from penguiflow.errors import FlowError
from penguiflow.ids import new_id
from penguiflow.results import LastResult, ResultQueue
from penguiflow.roundtrips import with_trace

if TYPE_CHECKING:
    from penguiflow.bus.codec import Codec
    from penguiflow.bus.protocol import EdgeBus
    from penguiflow.core import PenguiFlow
    from penguiflow.ports import Targets
    from penguiflow.state.shared import SupportsSharedState

__all__ = ["Client"]

logger = logging.getLogger("penguiflow.distributed")
_LEAVE_S = 5.0
"""How long stopping waits until traces are cancelled that nobody waits for, in seconds."""


class Client:
    """What `call`, `stream`, `emit`, `fetch` and `cancel` of a distributed flow do."""

    def __init__(
        self,
        flow: PenguiFlow,
        bus: EdgeBus,
        store: SupportsSharedState,
        codec: Codec,
        *,
        owns_bus: bool,
        recorder: object = None,
    ) -> None:
        self._flow = flow
        self._bus = bus
        self._owns_bus = owns_bus
        self._codec = codec
        self._id = new_id()[:16]
        writing = Writing(store, flow.name, f"caller-{self._id}", recorder)
        self.share = Share(bus, store, codec, writing)
        self._answers = Answers(flow, bus, codec)
        self._entry = Entry(flow, self.share, writing, codec, self._answers)
        self._lookout = Lookout(flow, self.share, self._answers)
        self._edges = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        """Cancellations of traces that nobody waits for any more."""
        self._shared_edge = answer_edge(self._id)
        self._fetch_edge = answer_edge(f"{self._id}.fetch")
        self._fetching = False
        self._asked: dict[str, Waiting] = {}
        """Traces that were begun by `emit(trace_id=…)`, and whose result nobody has fetched, by their id."""
        self._opening: asyncio.Task[None] = asyncio.get_running_loop().create_task(
            self._open(), name="penguiflow:client"
        )

    async def _open(self) -> None:
        await self._bus.open(self._flow.name, edges_of(self._flow))
        await self._bus.listen(self._shared_edge)
        self._spawn(self._answers.read(self._shared_edge))

    async def _ready(self) -> None:
        await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Answer who waits, and leave."""
        tasks = [self._opening, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_LEAVE_S)
        if self._opening.cancelled() or self._opening.exception() is not None:
            if self._owns_bus:
                await self._bus.close()
            return
        self._answers.stop()
        await self.share.close()
        with suppress(BusError, TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await self._bus.leave(self._shared_edge)
                if self._fetching:
                    await self._bus.leave(self._fetch_edge)
        if self._owns_bus:
            await self._bus.close()

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name="penguiflow:client")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Who waits for a trace

    async def call(self, message: Any, timeout: float | None, trace_id: str | None, to: Targets) -> Any:
        """As `PenguiFlow.call`."""
        sink = LastResult()
        async with asyncio.timeout(timeout):
            await self._ready()
            waiting = await self._entry.begin(trace_of(message, trace_id), self._shared_edge, sink)
            try:
                await self._entry.submit(message, waiting.header, to)
                looking = self._spawn(self._lookout.look_after(waiting))
                try:
                    await sink.done
                finally:
                    looking.cancel()
            finally:
                self._end(waiting)
                sink.close()
        return sink.result

    async def stream(self, message: Any, trace_id: str | None, to: Targets) -> AsyncGenerator[Any, None]:
        """As `PenguiFlow.stream`."""
        await self._ready()
        # An edge of its own: who reads slowly holds up what is sent to him, and nothing else.
        self._edges += 1
        edge = answer_edge(f"{self._id}.{self._edges}")
        sink = ResultQueue(self._flow._results_maxsize)
        await self._bus.listen(edge)
        reading = self._spawn(self._answers.read(edge))
        try:
            waiting = await self._entry.begin(trace_of(message, trace_id), edge, sink)
            looking = self._spawn(self._lookout.look_after(waiting))
            try:
                await self._entry.submit(message, waiting.header, to)
                while True:
                    try:
                        result = await sink.get()
                    except StopAsyncIteration:
                        return
                    yield result
            finally:
                looking.cancel()
                self._end(waiting)
        finally:
            reading.cancel()
            await self._bus.leave(edge)

    def leave_alone(self, results: AsyncGenerator[Any, None]) -> None:
        """Let a trace go on whose results nobody wants any more."""
        self._spawn(_drop(results))

    def _end(self, waiting: Waiting) -> None:
        """Whoever waited does so no more; a trace that goes on is cancelled."""
        if waiting.over:
            return
        self._answers.finish(waiting, None)
        header = waiting.header
        task = asyncio.get_running_loop().create_task(self._cancel_left(header), name="penguiflow:client")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _cancel_left(self, header: Header) -> None:
        try:
            await self.share.cancel(header.run, header.trace_id, "the caller stopped waiting")
        except BusError as error:
            logger.debug("a trace was not cancelled: %s", error)

    async def cancel(self, trace_id: str) -> bool:
        """As `PenguiFlow.cancel`."""
        await self._ready()
        runs = self._answers.runs_of(trace_id)
        return await self.share.cancel(runs[-1] if runs else trace_id, trace_id, "cancelled by the caller")

    # Who sends in, and fetches some day

    async def emit(self, message: Any, to: Targets, trace_id: str | None) -> None:
        """As `PenguiFlow.emit`."""
        await self._ready()
        if trace_id is not None:
            while (before := self._asked.get(trace_id)) is not None:
                await before.fetched.wait()
            message = with_trace(message, trace_id)
            header = await self._entry.join(trace_id, self._shared_edge, apart=True)
            self._asked[trace_id] = self._answers.redirect(header, ResultQueue(0))
            await self._entry.submit(message, header, to)
            return
        await self._listen_to_results()
        header = await self._entry.join(trace_of(message), self._fetch_edge)
        # Something of its own: the same message may be sent in twice.
        await self._entry.submit(message, header, to, new_id())

    async def _listen_to_results(self) -> None:
        if not self._fetching:
            self._fetching = True
            await self._bus.listen(self._fetch_edge)

    async def fetch(self, trace_id: str | None) -> Any:
        """As `PenguiFlow.fetch`."""
        await self._ready()
        if trace_id is not None:
            return await self._fetch_asked(trace_id)
        await self._listen_to_results()
        while True:
            (delivery,) = await self._bus.get(self._fetch_edge)
            if read_end(delivery.body) is not None:
                await self._bus.ack(delivery)
                continue
            result = self._codec.decode(delivery.body, delivery.edge)
            await self._bus.ack(delivery)
            return result

    async def _fetch_asked(self, trace_id: str) -> Any:
        """What comes of what was emitted for this trace; None where it ends without a result."""
        waiting = self._asked.get(trace_id)
        if waiting is None:
            raise RuntimeError(f"nothing was emitted for trace {trace_id}: nothing comes of it")
        assert isinstance(waiting.sink, ResultQueue)
        try:
            return await waiting.sink.get()
        except StopAsyncIteration:
            return None
        finally:
            if self._asked.get(trace_id) is waiting:
                del self._asked[trace_id]
            waiting.fetched.set()


async def _drop(results: AsyncGenerator[Any, None]) -> None:
    async with aclosing(results):
        with suppress(FlowError):  # nobody asks for it
            async for _ in results:
                pass
