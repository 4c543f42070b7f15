"""A caller of a distributed flow: what it sends goes on edges, what comes back comes by an edge of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from penguiflow.bus.codec import Codec
from penguiflow.bus.errors import BusAway, BusClosed, BusError
from penguiflow.bus.protocol import BusMessage, Delivery, EdgeBus
from penguiflow.callers import NO_ENTRY
from penguiflow.distributed.header import End, Fault, Header, read_end
from penguiflow.distributed.names import (
    CALLER,
    COUNT,
    FAULT,
    HOLDS,
    IDS,
    LAST,
    answer_edge,
    bus_id,
    edges_of,
    number_of,
    run_id,
)
from penguiflow.distributed.share import Share, trace_cancelled
from penguiflow.distributed.writing import Writing
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.ids import new_id, send_id
from penguiflow.results import LastResult, ResultQueue
from penguiflow.roundtrips import with_trace
from penguiflow.state.shared import SharedChange, SharedMemory, SupportsSharedState
from penguiflow.traces import trace_id_of, trace_status

if TYPE_CHECKING:
    from penguiflow.channels import Floe
    from penguiflow.core import PenguiFlow
    from penguiflow.ports import Targets

__all__ = ["Client"]

logger = logging.getLogger("penguiflow.distributed")
POLL_S = 3.0
"""A caller that has heard nothing for so long looks whether its trace is over, in seconds; then less and less often."""
_LONGEST_POLL_S = 30.0
_AGAIN_S = 0.5
_LEAVE_S = 5.0
"""How long stopping waits until traces are cancelled that nobody waits for, in seconds."""
_BATCH = 100


class _Waiting:
    """Who waits for a trace."""

    def __init__(self, header: Header, sink: LastResult | ResultQueue) -> None:
        self.header = header
        self.sink = sink
        self.seen: set[str] = set()
        """Ids of results that came: what a worker did twice comes twice."""
        self.over = False
        self.fetched = asyncio.Event()
        """Set when its result was fetched, where it is one to be fetched."""

    async def put(self, message_id: str, result: Any) -> None:
        """Give a result, once there is room."""
        if message_id in self.seen or self.over:
            return
        while self.sink.full:
            await self.sink.wait_room()
        self.seen.add(message_id)
        self.sink.put(result)

    def finish(self, error: FlowError | None) -> None:
        """The trace is over."""
        self.over = True
        self.sink.finish(error)


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
        self._writing = Writing(store, flow.name, f"caller-{self._id}", recorder)
        self.share = Share(bus, store, codec, self._writing)
        self._waiting: dict[str, _Waiting] = {}
        """By run."""
        self._edges = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        """Cancellations of traces that nobody waits for any more."""
        self._shared_edge = answer_edge(self._id)
        self._fetch_edge = answer_edge(f"{self._id}.fetch")
        self._fetching = False
        self._asked: dict[str, _Waiting] = {}
        """Traces that were begun by `emit(trace_id=…)`, and whose result nobody has fetched, by their id."""
        self._opening: asyncio.Task[None] = asyncio.get_running_loop().create_task(
            self._open(), name="penguiflow:client"
        )

    async def _open(self) -> None:
        await self._bus.open(self._flow.name, edges_of(self._flow))
        await self._bus.listen(self._shared_edge)
        self._spawn(self._read(self._shared_edge))

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
        for waiting in list(self._waiting.values()):
            self._finish(waiting, trace_cancelled(waiting.header.trace_id, "the flow was stopped"))
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

    # In

    async def call(self, message: Any, timeout: float | None, trace_id: str | None, to: Targets) -> Any:
        """As `PenguiFlow.call`."""
        sink = LastResult()
        async with asyncio.timeout(timeout):
            await self._ready()
            waiting = await self._begin(message, trace_id, self._shared_edge, sink)
            try:
                await self._submit(message, waiting.header, to)
                looking = self._spawn(self._look_after(waiting))
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
        reading = self._spawn(self._read(edge))
        try:
            waiting = await self._begin(message, trace_id, edge, sink)
            looking = self._spawn(self._look_after(waiting))
            try:
                await self._submit(message, waiting.header, to)
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

    async def emit(self, message: Any, to: Targets, trace_id: str | None) -> None:
        """As `PenguiFlow.emit`."""
        await self._ready()
        if trace_id is not None:
            while (before := self._asked.get(trace_id)) is not None:
                await before.fetched.wait()
            message = with_trace(message, trace_id)
            first = Header(trace_id, trace_id, self._shared_edge, asked=False)
            header = await self._join(first, apart=True)
            waiting = _Waiting(header, ResultQueue(0))
            self._waiting[header.run] = self._asked[trace_id] = waiting
            await self._submit(message, header, to)
            return
        await self._listen_to_results()
        header = Header(*self._ids(message, None), self._fetch_edge, asked=False)
        # Something of its own: the same message may be sent in twice.
        await self._submit(message, await self._join(header), to, new_id())

    async def _listen_to_results(self) -> None:
        if not self._fetching:
            self._fetching = True
            await self._bus.listen(self._fetch_edge)

    async def fetch(self, trace_id: str | None) -> Any:
        """As `PenguiFlow.fetch`."""
        await self._ready()
        if trace_id is not None:
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
        await self._listen_to_results()
        while True:
            (delivery,) = await self._bus.get(self._fetch_edge)
            if read_end(delivery.body) is not None:
                await self._bus.ack(delivery)
                continue
            result = self._codec.decode(delivery.body, delivery.edge)
            await self._bus.ack(delivery)
            return result

    async def cancel(self, trace_id: str) -> bool:
        """As `PenguiFlow.cancel`."""
        await self._ready()
        runs = [each.header.run for each in self._waiting.values() if each.header.trace_id == trace_id]
        return await self.share.cancel(runs[-1] if runs else trace_id, trace_id, "cancelled by the caller")

    def _ids(self, message: Any, trace_id: str | None) -> tuple[str, str]:
        """The trace's id, and the name of its first run."""
        own_id = trace_id_of(message)
        if trace_id is not None and own_id is not None and own_id != trace_id:
            raise ValueError("trace_id differs from the message's own; give one of them")
        wanted = trace_id if trace_id is not None else own_id if own_id is not None else new_id()
        return wanted, wanted

    async def _begin(self, message: Any, trace_id: str | None, edge: str, sink: LastResult | ResultQueue) -> _Waiting:
        """Begin a trace that somebody waits for."""
        wanted, run = self._ids(message, trace_id)
        epoch = 0
        while True:
            header = Header(wanted, run, edge, asked=True, epoch=epoch)
            change = SharedChange(trace_id=run, expect={CALLER: 0}, put={CALLER: _caller(header)})
            waiting = self._waiting.setdefault(run, _Waiting(header, sink))
            if waiting.sink is not sink:
                raise RuntimeError(f"somebody waits for trace {wanted} already")
            try:
                outcome = await self.share.commit(change)
            except BaseException:
                del self._waiting[run]
                raise
            if outcome.done:
                waiting.header = await self._writing.begin(header)
                return waiting
            del self._waiting[run]
            if outcome.stale:
                raise RuntimeError(f"trace {wanted} is in flight already: fetch its results, or use another trace_id")
            epoch += 1
            run = run_id(wanted, epoch)

    async def _join(self, header: Header, *, apart: bool = False) -> Header:
        """Begin a trace that nobody waits for, or go on with it; with `apart` only where nodes wait for more of it."""
        while True:
            change = SharedChange(trace_id=header.run, expect={CALLER: 0}, put={CALLER: _caller(header)})
            outcome = await self.share.commit(change)
            if outcome.done:
                return await self._writing.begin(header)
            if outcome.stale:
                memory = await self.share.load(header.run, (CALLER,))
                known = memory.rows.get(CALLER)
                if known is not None and (not apart or memory.counters.get(HOLDS)):
                    return Header.of(known.value, "its caller")
            epoch = header.epoch + 1
            said = (header.trace_id, run_id(header.trace_id, epoch), header.answer, header.asked)
            header = Header(*said, epoch=epoch)

    async def _submit(self, message: Any, header: Header, to: Targets, origin: str = "") -> None:
        """Put a message on the edges from outside. `origin` makes its ids: empty for what is sent in once for a run."""
        floes: Sequence[Floe] = self._flow._open_sea.floes_to(to)
        if not floes:
            if self._flow.nodes:
                raise RuntimeError(NO_ENTRY)
            return
        body = self._codec.encode(message, "OpenSea", about=header.about())
        # As in one process: a replay of it there finds what was recorded.
        origin = origin or header.root or "0"
        ids = [send_id("OpenSea", origin, floe.name, ordinal) for ordinal, floe in enumerate(floes)]
        self._writing.sent(header, floes, ids, message)
        await self._writing.flush()
        add = {COUNT: len(ids), IDS: sum(map(number_of, ids))}
        outcome = await self.share.commit(SharedChange(trace_id=header.run, add=add))
        if not outcome.done:
            return  # it was cancelled before it began
        for floe, message_id in zip(floes, ids, strict=True):
            await self.share.post.put(floe.name, BusMessage(bus_id(header.run, message_id), body))

    # Out

    async def _read(self, edge: str) -> None:
        """Hand on what comes by an edge."""
        while True:
            try:
                got = await self._bus.get(edge, limit=_BATCH)
            except BusAway as error:
                logger.warning("bus_away", extra={"event": "bus_away", "edge": edge, "reason": str(error)})
                await asyncio.sleep(_AGAIN_S)
                continue
            except BusClosed:
                return
            for delivery in got:
                await self._take(delivery)
            with suppress(BusError):
                await self._bus.ack(*got)

    async def _take(self, delivery: Delivery) -> None:
        try:
            header = Header.of(delivery.body, delivery.edge)
            waiting = self._waiting.get(header.run)
            if waiting is None:
                return
            end = read_end(delivery.body)
            if end is None:
                await waiting.put(delivery.id, self._codec.decode(delivery.body, delivery.edge))
        except BusError as error:
            logger.warning("result_lost", extra={"event": "result_lost", "edge": delivery.edge, "reason": str(error)})
            return
        if end is not None:
            self._finish(waiting, self._error(end))

    def _error(self, end: End) -> FlowError | None:
        """What whoever waits for the trace gets."""
        # A deadline's answer, and errors that are delivered as results, are no exceptions.
        quiet = end.fault.stopped or (self._flow._emit_errors_to_rookery and end.status != "cancelled")
        return None if quiet else end.fault.error

    def _finish(self, waiting: _Waiting, error: FlowError | None) -> None:
        self._waiting.pop(waiting.header.run, None)
        waiting.finish(error)

    async def _look_after(self, waiting: _Waiting) -> None:
        """See whether the trace is over, in case the answer was lost on its way, or all that there was of it."""
        pause = POLL_S
        before: Mapping[str, int] | None = None
        while not waiting.over:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL_S)
            run = waiting.header.run
            memory = await self.share.load(run, (FAULT, LAST))
            if memory.ended is None:
                quiet = await self._nothing_waits()
                if quiet and before == memory.counters:
                    await self._end_quiet(waiting.header, memory)
                before = memory.counters if quiet else None
                continue
            # What is on its way has time to come.
            await asyncio.sleep(POLL_S)
            if run not in self._waiting:
                return
            row = memory.rows.get(LAST)
            if row is not None and isinstance(waiting.sink, LastResult):
                body = str(from_json(row.value)).encode()
                waiting.sink.put(self._codec.decode(body, "its last result"))
            fault = memory.rows.get(FAULT)
            end = End(memory.ended, Fault() if fault is None else Fault.load(fault.value))
            self._finish(waiting, self._error(end))

    async def _nothing_waits(self) -> bool:
        """Whether all edges of the flow are empty, those who work counted in."""
        with suppress(BusError):
            for edge in edges_of(self._flow):
                depth = await self._bus.depth(edge)
                if depth.waiting or depth.leased:
                    return False
            return True
        return False

    async def _end_quiet(self, header: Header, memory: SharedMemory) -> None:
        """A trace that is not over, and of which nothing is left: nobody else would end it.

        Messages were lost with a bus that came back without its data; or a node that was interrupted sent something
        else when it was done again than before, so that more was handled than was sent.
        """
        row = memory.rows.get(FAULT)
        fault = Fault() if row is None else Fault.load(row.value)
        left = memory.counters.get(COUNT, 0)
        if left > 0:
            said = f"{left} messages of it are on no edge any more: the bus has lost them"
            code = FlowErrorCode.NODE_EXCEPTION
            lost = FlowError(trace_id=header.trace_id, node_name=None, code=code, message=said)
            fault = fault.with_(lost, stopped=False)
        status = "ok" if fault.error is None else trace_status(fault.error)
        await self.share.end(header, status, fault)

    def _end(self, waiting: _Waiting) -> None:
        """Whoever waited does so no more; a trace that goes on is cancelled."""
        if waiting.over:
            return
        self._finish(waiting, None)
        header = waiting.header
        task = asyncio.get_running_loop().create_task(self._cancel_left(header), name="penguiflow:client")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _cancel_left(self, header: Header) -> None:
        try:
            await self.share.cancel(header.run, header.trace_id, "the caller stopped waiting")
        except BusError as error:
            logger.debug("a trace was not cancelled: %s", error)


async def _drop(results: AsyncGenerator[Any, None]) -> None:
    async with aclosing(results):
        with suppress(FlowError):  # nobody asks for it
            async for _ in results:
                pass


def _caller(header: Header) -> bytes:
    return to_json(header.about())
