"""The flow: nodes and edges that run, and the two ends that programs talk to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pydantic import BaseModel

from penguiflow.channels import OPEN_SEA, ROOKERY, Endpoint, Floe, Item
from penguiflow.context import Context, Port
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.graph import CycleError, Graph
from penguiflow.ids import new_id
from penguiflow.metrics import FlowEvent, StoredEvent
from penguiflow.middlewares import Middleware
from penguiflow.node import Node
from penguiflow.observer import TraceRecorder
from penguiflow.results import LastResult, ResultQueue
from penguiflow.traces import Trace, TraceCancelled
from penguiflow.types import Message, StreamChunk
from penguiflow.worker import DEADLINE_EXCEEDED_TEXT, Engine, trace_status

if TYPE_CHECKING:
    from penguiflow.registry import ModelRegistry

    NodeTargets = Node | Sequence[Node] | None

__all__ = [
    "DEADLINE_EXCEEDED_TEXT",
    "DEFAULT_QUEUE_MAXSIZE",
    "OPEN_SEA",
    "ROOKERY",
    "Context",
    "CycleError",
    "Endpoint",
    "Floe",
    "PenguiFlow",
    "TraceCancelled",
    "create",
]

DEFAULT_QUEUE_MAXSIZE = 64
"""Messages that wait on one edge before its sender has to."""

logger = logging.getLogger("penguiflow.core")


class _Started:
    """What `run` returns, so that `await flow.run()` works too."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


class PenguiFlow:
    """A graph of nodes. `run` it inside an event loop, `call` or `stream` it (or `emit` and `fetch`), `stop` it."""

    def __init__(
        self,
        *adjacencies: tuple[Node, Sequence[Node]],
        queue_maxsize: int = DEFAULT_QUEUE_MAXSIZE,
        allow_cycles: bool = False,
        middlewares: Sequence[Middleware] | None = None,
        emit_errors_to_rookery: bool = False,
        state_store: Any | None = None,
    ) -> None:
        self._graph = Graph(adjacencies, maxsize=queue_maxsize, allow_cycles=allow_cycles)
        self._queue_maxsize = queue_maxsize
        self._middlewares: list[Middleware] = list(middlewares or ())
        self._emit_errors_to_rookery = emit_errors_to_rookery
        self._state_store = state_store
        self._recorder: TraceRecorder | None = None
        self._registry: ModelRegistry | None = None
        self._engine: Engine | None = None
        self._traces: dict[str, Trace] = {}
        self._cancel_events: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._roundtrips: dict[str, ResultQueue] = {}
        self._roundtrip_ends: dict[str, asyncio.Event] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._ports: dict[Node | Endpoint, Port] = {owner: self._port(owner) for owner in self._graph.inboxes}
        self._rookery = self._ports[ROOKERY]

    def _port(self, owner: Node | Endpoint) -> Port:
        port = Port(owner, self, self._graph.inboxes[owner])
        port.incoming = self._graph.incoming[owner]
        port.outgoing = self._graph.outgoing[owner]
        return port

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def registry(self) -> ModelRegistry | None:
        """What `run` was given."""
        return self._registry

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._engine is not None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes in the order they were named."""
        return self._graph.nodes

    @property
    def ingress(self) -> tuple[Node, ...]:
        """The nodes that messages from outside reach."""
        return self._graph.ingress

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Source and target of every edge, by name; OpenSea and Rookery among them."""
        return tuple((str(f.source.name), str(f.target.name)) for f in self._graph.floes if f.source and f.target)

    def add_middleware(self, middleware: Middleware) -> None:
        """Tell one more listener of every event."""
        self._middlewares.append(middleware)

    @property
    def _listening(self) -> bool:
        return bool(self._middlewares) or (self._state_store is not None and self._recorder is None)

    # -- from start to stop -------------------------------------------------------------------------------------------

    def run(
        self,
        *,
        registry: ModelRegistry | None = None,
        state_store: Any | None = None,
        recorder: TraceRecorder | None = None,
    ) -> _Started:
        """Start the nodes; needs a running event loop.

        A `state_store` that offers a `recorder()` gets every event of every trace. Raises `RuntimeError` when the flow
        runs already or when the registry lacks a node that wants to be validated.
        """
        if self._engine is not None:
            raise RuntimeError("PenguiFlow already running")
        if registry is not None:
            missing = sorted(
                str(node.name)
                for node in self.nodes
                if node.policy.validate != "none" and not registry.has(str(node.name))
            )
            if missing:
                raise RuntimeError(
                    f"ModelRegistry is missing entries for nodes requiring validation: {', '.join(missing)}"
                )
        asyncio.get_running_loop()
        self._registry = registry
        if state_store is not None:
            self._state_store = state_store
        make_recorder = getattr(self._state_store, "recorder", None)
        if recorder is None and make_recorder is not None:
            recorder = make_recorder()
        self._recorder = recorder
        self._adopt_waiting()
        self._engine = Engine(self, [self._ports[node] for node in self.nodes], registry)
        self._engine.start()
        return _Started()

    async def stop(self) -> None:
        """Cancel what is under way, answer whoever waits, and return when nothing runs any more.

        Messages that wait on an edge stay there and are handled after a later `run`.
        """
        engine = self._engine
        if engine is None:
            return
        await engine.stop()
        self._engine = None
        for trace in list(self._traces.values()):
            if not trace.ended:
                trace.error = trace.error or self._cancelled_error(trace, "the flow was stopped")
                self._finish(trace, "cancelled")
        self._traces.clear()
        self._roundtrips.clear()
        for ended in self._roundtrip_ends.values():
            ended.set()
        self._roundtrip_ends.clear()
        while self._background:
            await asyncio.wait(self._background)

    def _adopt_waiting(self) -> None:
        """Give a trace to messages that were sent before `run`, or left behind by `stop`."""
        for port in self._ports.values():
            items = port.inbox.items
            for _ in range(len(items)):
                item = items.popleft()
                if item.trace is not None and item.trace.cancelled:
                    item.floe.release()
                    continue
                trace, message_id = item.trace, item.message_id
                if trace is None or trace.ended or self._traces.get(trace.id) is not trace:
                    trace = self._trace_of(item.message, None)
                    if trace is not None and port is self._rookery:
                        trace.parked += 1
                    elif trace is not None:
                        trace.queued += 1
                elif self._recorder is not None and trace.log is None:
                    trace.log = self._recorder.open(trace.id)
                if trace is not None and trace.log is not None:
                    source = self._ports[item.floe.source or OPEN_SEA]
                    sender = Context._of(source)
                    sender._ordinal = trace.submissions
                    trace.submissions += 1
                    message_id = sender._log_put(item.floe, item.message, trace, None)
                items.append(Item(item.floe, item.message, trace, message_id))

    # -- in and out ---------------------------------------------------------------------------------------------------

    async def emit(self, msg: Any, to: NodeTargets = None, *, trace_id: str | None = None) -> None:
        """Send a message in, to all entry nodes or to those named; waits for room.

        With `trace_id` the message joins that trace, and `fetch(trace_id=…)` gives its result: a second emit for
        the same trace waits until that was fetched.
        """
        if trace_id is not None:
            msg = await self._begin_roundtrip(msg, trace_id)
        if (context := self._outside(msg, to)) is not None:
            if self._recorder is not None and self._recorder.congested:
                await self._recorder.wait_ready()
            await context.emit(msg, to)

    def emit_nowait(self, msg: Any, to: NodeTargets = None, *, trace_id: str | None = None) -> None:
        """As `emit`, without waiting: raises `asyncio.QueueFull`."""
        if trace_id is not None:
            raise RuntimeError("emit_nowait(trace_id=...) is not supported; use await emit(..., trace_id=...)")
        if (context := self._outside(msg, to)) is not None:
            context.emit_nowait(msg, to)

    async def emit_chunk(
        self,
        *,
        parent: Message,
        text: str,
        stream_id: str | None = None,
        seq: int | None = None,
        done: bool = False,
        meta: dict[str, Any] | None = None,
        to: NodeTargets = None,
    ) -> StreamChunk:
        """Send one piece of a stream in from outside."""
        context = Context._of(self._ports[OPEN_SEA])
        return await context.emit_chunk(
            parent=parent, text=text, stream_id=stream_id, seq=seq, done=done, meta=meta, to=to
        )

    async def fetch(self, from_: NodeTargets = None, *, trace_id: str | None = None) -> Any:
        """The next result; with `trace_id` the next one of that trace.

        Raises the trace's `FlowError` when it failed or was cancelled (only with `trace_id`). A fetch that is
        cancelled loses nothing and can be repeated.
        """
        if trace_id is not None:
            if from_ is not None:
                raise RuntimeError("fetch(trace_id=...) does not support from_ filtering")
            return await self._fetch_trace(trace_id)
        while (item := self._rookery.take(from_)) is None:
            await self._rookery.wait_arrival()
        return self._taken(item)

    async def fetch_any(self, from_: NodeTargets = None, *, trace_id: str | None = None) -> Any:
        """The same as `fetch`."""
        return await self.fetch(from_, trace_id=trace_id)

    async def call(self, message: Any, *, timeout: float | None = None, trace_id: str | None = None) -> Any:
        """Send a message in and return the last result of its trace that is no stream chunk (None without one).

        Raises `FlowError` when the trace failed or was cancelled, `TimeoutError` after `timeout` seconds. A caller
        that gives up takes the trace with it.
        """
        sink = LastResult()
        trace = self._begin_call(message, trace_id, sink)
        try:
            async with asyncio.timeout(timeout):
                await self._submit(message, trace)
                await sink.done
        finally:
            self._end_call(trace, sink)
            if sink.done.done() and not sink.done.cancelled():
                sink.done.exception()
        return sink.result

    async def stream(self, message: Any, *, trace_id: str | None = None) -> AsyncIterator[Any]:
        """Send a message in and give each result of its trace as it comes, stream chunks included.

        Raises `FlowError` at the end when the trace failed or was cancelled. Leaving early cancels the trace.
        """
        sink = ResultQueue(self._queue_maxsize * max(1, len(self._graph.egress)))
        trace = self._begin_call(message, trace_id, sink)
        try:
            await self._submit(message, trace)
            while True:
                try:
                    result = await sink.get()
                except StopAsyncIteration:
                    return
                yield result
        finally:
            self._end_call(trace, sink)

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a trace: what waits is dropped, what runs is cancelled. False when there was nothing to cancel."""
        if self._engine is None:
            raise RuntimeError("PenguiFlow is not running")
        trace = self._traces.get(trace_id)
        if trace is None or trace.cancelled or not trace.pending:
            return False
        await self._tell(
            "trace_cancel_start",
            Context._of(self._ports[OPEN_SEA]),
            trace=trace,
            cancelled=True,
            extra={"pending": trace.pending},
        )
        self._cancel(trace, "cancelled by the caller")
        return True

    def ensure_trace_event(self, trace_id: str) -> asyncio.Event:
        """The event that is set when the trace is cancelled."""
        event = self._cancel_events.get(trace_id)
        if event is None:
            event = asyncio.Event()
            self._cancel_events[trace_id] = event
        trace = self._traces.get(trace_id)
        if trace is not None:
            trace.cancel_event = event
            if trace.cancelled:
                event.set()
        return event

    # -- traces -------------------------------------------------------------------------------------------------------

    def _trace_of(self, msg: Any, current: Trace | None) -> Trace | None:
        """The trace a message belongs to: its own, else that of the invocation that sends it."""
        trace_id = msg.trace_id if type(msg) is Message else _trace_id_of(msg)
        if trace_id is None:
            if current is not None or self._recorder is None:
                return current
            return self._trace(new_id())
        if current is not None and current.id == trace_id:
            return current
        return self._trace(trace_id)

    def _trace(self, trace_id: str) -> Trace:
        trace = self._traces.get(trace_id)
        if trace is None or trace.cancelled:
            trace = self._traces[trace_id] = Trace(trace_id)
            trace.sink = self._roundtrips.get(trace_id)
            trace.cancel_event = self._cancel_events.get(trace_id)
        elif not trace.ended:
            return trace
        trace.ended = False
        trace.error = None
        if self._recorder is not None:
            trace.log = self._recorder.open(trace_id)
        return trace

    def _release(self, trace: Trace) -> None:
        """One piece of work of the trace is done."""
        trace.inflight -= 1
        if not trace.inflight and not trace.queued and not trace.ended:
            if trace.cancelled:
                self._finish(trace, "cancelled")
            else:
                self._finish(trace, "ok" if trace.error is None else trace_status(trace.error))

    def _finish(self, trace: Trace, status: str) -> None:
        """Nothing of the trace is left to do."""
        trace.ended = True
        error = trace.error
        log, trace.log = trace.log, None
        if log is not None:
            if trace.cancelled:
                log.event("cancel.done", "", log.root)
            log.close(status, None if error is None else {"error": error.to_payload()})
        trace.state = trace.streams = trace.suspended = None
        if trace.sink is not None:
            silent = trace.stopped or (self._emit_errors_to_rookery and not trace.cancelled and status != "cancelled")
            trace.sink.finish(None if silent else error)
        if trace.cancelled:
            self._spawn(self._tell("trace_cancel_finish", Context._of(self._rookery), trace=trace, cancelled=False))
        if not trace.parked and self._traces.get(trace.id) is trace:
            del self._traces[trace.id]

    def _cancel(self, trace: Trace, reason: str) -> None:
        trace.cancelled = True
        trace.error = self._cancelled_error(trace, reason)
        if trace.cancel_event is not None:
            trace.cancel_event.set()
        if trace.log is not None:
            trace.log.event("cancel.requested", "", trace.log.root, {"reason": reason})
        # What waits for a node is passed over when its turn comes: cancelling costs the same whatever the backlog.
        trace.queued = 0
        if trace.parked:
            trace.parked = 0
            while self._drop_parked(trace):
                pass
        for context in list(trace.suspended or ()):
            context._cancel("cancel")
        if trace.idle and not trace.ended:
            self._finish(trace, "cancelled")

    def _drop_parked(self, trace: Trace) -> bool:
        items = self._rookery.inbox.items
        for position, item in enumerate(items):
            if item.trace is trace:
                del items[position]
                item.floe.release()
                return True
        return False

    def _cancelled_error(self, trace: Trace, reason: str) -> FlowError:
        return FlowError(
            trace_id=trace.id,
            node_name=None,
            code=FlowErrorCode.TRACE_CANCELLED,
            message=f"trace was cancelled: {reason}",
        )

    # -- callers ------------------------------------------------------------------------------------------------------

    def _outside(self, msg: Any, to: NodeTargets) -> Context | None:
        """A context that sends into the flow; None when the flow has no nodes."""
        port = self._ports[OPEN_SEA]
        if not port.outgoing:
            if not self.nodes:
                return None
            raise RuntimeError("the flow has no entry: every node is the successor of another one")
        floes = port.floes_to(to)
        context = Context._of(port)
        trace = self._trace_of(msg, None)
        if trace is not None:
            context._trace = trace
            context._ordinal = trace.submissions
            trace.submissions += len(floes)
        return context

    def _begin_call(self, message: Any, trace_id: str | None, sink: LastResult | ResultQueue) -> Trace:
        if self._engine is None:
            raise RuntimeError("PenguiFlow is not running")
        if isinstance(message, Message) and trace_id is not None and message.trace_id != trace_id:
            raise ValueError("trace_id differs from the message's own; give one of them")
        trace = self._trace(trace_id or _trace_id_of(message) or new_id())
        if trace.sink is not None:
            raise RuntimeError(f"somebody waits for trace {trace.id} already")
        trace.sink = sink
        return trace

    async def _submit(self, message: Any, trace: Trace) -> None:
        port = self._ports[OPEN_SEA]
        if not port.outgoing:
            self._finish(trace, "ok")
            if self.nodes:
                raise RuntimeError("the flow has no entry: every node is the successor of another one")
            return
        context = Context._of(port)
        context._trace = trace
        context._ordinal = trace.submissions
        trace.submissions += len(port.outgoing)
        if self._recorder is not None and self._recorder.congested:
            await self._recorder.wait_ready()
        await context.emit(message)

    def _end_call(self, trace: Trace, sink: LastResult | ResultQueue) -> None:
        if trace.sink is sink:
            trace.sink = None
        if not trace.ended and not trace.cancelled:
            self._cancel(trace, "the caller stopped waiting")

    async def _begin_roundtrip(self, msg: Any, trace_id: str) -> Any:
        if self._engine is None:
            raise RuntimeError("PenguiFlow is not running")
        if isinstance(msg, Message):
            msg = msg.model_copy(update={"trace_id": trace_id})
        else:
            try:
                msg.trace_id = trace_id
            except (AttributeError, TypeError, ValueError):
                raise TypeError("emit(trace_id=...) requires a Message (or object with writable .trace_id)") from None
        while trace_id in self._roundtrip_ends:
            await self._roundtrip_ends[trace_id].wait()
        self._roundtrip_ends[trace_id] = asyncio.Event()
        self._subscribe(trace_id)
        return msg

    def _subscribe(self, trace_id: str) -> ResultQueue:
        queue = self._roundtrips.get(trace_id)
        if queue is None:
            queue = ResultQueue(self._queue_maxsize * max(1, len(self._graph.egress)))
            self._roundtrips[trace_id] = queue
            trace = self._traces.get(trace_id)
            if trace is not None and trace.sink is None and not trace.ended:
                trace.sink = queue
        return queue

    def _unsubscribe(self, trace_id: str) -> None:
        """Results that nobody asked for go to the common queue."""
        queue = self._roundtrips.pop(trace_id, None)
        ended = self._roundtrip_ends.pop(trace_id, None)
        if ended is not None:
            ended.set()
        if queue is None:
            return
        trace = self._traces.get(trace_id)
        if trace is not None and trace.sink is queue:
            trace.sink = None
        if not self._rookery.incoming:
            return
        floe = self._rookery.incoming[0]
        for result in queue.results:
            if trace is not None:
                trace.parked += 1
            floe.put(Item(floe, result, trace, ""))
        queue.results.clear()

    async def _fetch_trace(self, trace_id: str) -> Any:
        for position, item in enumerate(self._rookery.inbox.items):
            if item.trace is not None and item.trace.id == trace_id:
                del self._rookery.inbox.items[position]
                item.floe.release()
                return self._taken(item)
        queue = self._subscribe(trace_id)
        try:
            result = await queue.get()
        except asyncio.CancelledError:
            # The result is kept for a fetch that is repeated; a new emit for the trace need not wait for this one.
            ended = self._roundtrip_ends.pop(trace_id, None)
            if ended is not None:
                ended.set()
            elif trace_id not in self._traces:
                self._roundtrips.pop(trace_id, None)
            raise
        except StopAsyncIteration:
            self._unsubscribe(trace_id)
            return None
        except FlowError:
            self._unsubscribe(trace_id)
            raise
        self._unsubscribe(trace_id)
        return result

    def _taken(self, item: Item) -> Any:
        trace = item.trace
        if trace is not None:
            trace.parked -= 1
            if trace.log is not None:
                trace.log.event("message.dequeued", item.floe.name, trace.log.root, {"message_id": item.message_id})
            if trace.ended and not trace.parked and self._traces.get(trace.id) is trace:
                del self._traces[trace.id]
        return item.message

    async def _to_rookery(self, context: Context, msg: Any) -> None:
        """Deliver past the node's successors."""
        port = context._port
        for floe in port.outgoing:
            if floe.target is ROOKERY:
                break
        else:
            floe = Floe(port.owner, ROOKERY, maxsize=self._queue_maxsize)
            floe.inbox = self._rookery.inbox
        await context._send(floe, msg, context._trace, None)

    # -- telling ------------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if not self._listening and not logger.isEnabledFor(logging.INFO):
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work, name="penguiflow:tell")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _tell(
        self,
        event_type: str,
        context: Context,
        *,
        trace: Trace | None = None,
        attempt: int = 0,
        latency_ms: float | None = None,
        level: int = logging.INFO,
        cancelled: bool | None = None,
        extra: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
    ) -> None:
        """Log an event and hand it to store and middlewares, outside the reach of the trace's cancellation."""
        listening = self._listening
        if not listening and not logger.isEnabledFor(level):
            return
        trace = trace or context._trace
        port = context._port
        event = FlowEvent(
            event_type=event_type,
            ts=time.time(),
            node_name=port.name,
            node_id=port.owner.node_id,
            trace_id=None if trace is None else trace.id,
            attempt=attempt,
            latency_ms=latency_ms,
            queue_depth_in=context.queue_depth_in(),
            queue_depth_out=context.queue_depth_out(),
            outgoing_edges=len(port.outgoing),
            queue_maxsize=self._queue_maxsize,
            trace_pending=None if trace is None else trace.pending,
            trace_inflight=0 if trace is None else trace.inflight,
            trace_cancelled=(trace is not None and trace.cancelled) if cancelled is None else cancelled,
            extra=extra or {},
        )
        if logger.isEnabledFor(level):
            logger.log(level, event_type, extra=event.to_payload(), exc_info=exc)
        if not listening:
            return
        shielded, context._shielded = context._shielded, True
        try:
            await self._hand_out(event)
        finally:
            context._shielded = shielded
        if context._cancel_reason is not None and not context._cancel_sent:
            context._cancel_sent = True
            raise asyncio.CancelledError

    async def _hand_out(self, event: FlowEvent) -> None:
        if self._state_store is not None and self._recorder is None:
            try:
                await self._state_store.save_event(StoredEvent.from_flow_event(event))
            except Exception as error:  # a failing store must not stop the flow
                about = {"trace_id": event.trace_id, "kind": event.event_type, "exception": repr(error)}
                logger.exception("state_store_save_failed", extra={"event": "state_store_save_failed", **about})
        for middleware in self._middlewares:
            try:
                await middleware(event)
            except Exception as error:  # a failing listener must not stop the flow
                about = {"node_name": event.node_name, "node_id": event.node_id, "exception": repr(error)}
                logger.exception("middleware_error", extra={"event": "middleware_error", **about})


def _trace_id_of(msg: Any) -> str | None:
    """The trace id that an object carries, if it carries one."""
    # A missing attribute of a pydantic model costs 1.5 microseconds: ask its class instead.
    if isinstance(msg, BaseModel) and "trace_id" not in type(msg).model_fields:
        return None
    trace_id = getattr(msg, "trace_id", None)
    return trace_id if isinstance(trace_id, str) else None


def create(*adjacencies: tuple[Node, Sequence[Node]], **kwargs: Any) -> PenguiFlow:
    """A flow from adjacencies, each a node and its successors: `create(a.to(b, c), b.to(d), c.to(d))`."""
    return PenguiFlow(*adjacencies, **kwargs)
