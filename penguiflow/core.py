"""The flow: nodes and edges that run, and the two ends that programs talk to."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from penguiflow.broadcast import Broadcast
from penguiflow.bus import MessageBus
from penguiflow.callers import FlowCalls
from penguiflow.channels import OPEN_SEA, ROOKERY, UNCHANGED, Endpoint, Floe, whole
from penguiflow.checkpoints import Interceptor
from penguiflow.context import Context, Port
from penguiflow.controller import BUDGET_EXCEEDED_TEXT, DEADLINE_EXCEEDED_TEXT, TOKEN_BUDGET_EXCEEDED_TEXT
from penguiflow.draining import Draining
from penguiflow.egress import Egress
from penguiflow.errors import FlowError
from penguiflow.graph import CycleError, Graph
from penguiflow.leftovers import adopt
from penguiflow.middlewares import Middleware
from penguiflow.mirror import Mirror
from penguiflow.node import Node
from penguiflow.observer import TraceRecorder
from penguiflow.playbooks import call_playbook
from penguiflow.roundtrips import Roundtrips, with_trace
from penguiflow.services import FlowServices
from penguiflow.traces import Trace, TraceCancelled, TraceTable
from penguiflow.types import Message, StreamChunk
from penguiflow.worker import Engine

if TYPE_CHECKING:
    from penguiflow.bus.protocol import EdgeBus
    from penguiflow.distributed.start import Distribution
    from penguiflow.registry import ModelRegistry

    NodeTargets = Node | Sequence[Node] | None

__all__ = [
    "BUDGET_EXCEEDED_TEXT",
    "DEADLINE_EXCEEDED_TEXT",
    "DEFAULT_QUEUE_MAXSIZE",
    "OPEN_SEA",
    "ROOKERY",
    "TOKEN_BUDGET_EXCEEDED_TEXT",
    "Context",
    "CycleError",
    "Endpoint",
    "Floe",
    "PenguiFlow",
    "TraceCancelled",
    "call_playbook",
    "create",
]

DEFAULT_QUEUE_MAXSIZE = 64
"""Messages that wait on one edge before its sender has to."""


class _Started:
    """What `run` returns, so that `await flow.run()` works too."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


class PenguiFlow(FlowCalls, FlowServices):
    """A graph of nodes. `run` it inside an event loop, `call` or `stream` it (or `emit` and `fetch`), `stop` it."""

    def __init__(
        self,
        *adjacencies: tuple[Node, Sequence[Node]],
        queue_maxsize: int = DEFAULT_QUEUE_MAXSIZE,
        allow_cycles: bool = False,
        middlewares: Sequence[Middleware] | None = None,
        emit_errors_to_rookery: bool = False,
        state_store: Any | None = None,
        message_bus: MessageBus | None = None,
        interceptors: Sequence[Interceptor] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(Broadcast(middlewares or (), queue_maxsize), self._new_table(), state_store)
        self._graph = Graph(adjacencies, maxsize=queue_maxsize, allow_cycles=allow_cycles)
        self._queue_maxsize = queue_maxsize
        self._name = name
        self._emit_errors_to_rookery = emit_errors_to_rookery
        self._message_bus = message_bus
        self._mirror: Mirror | None = None
        self._interceptors: list[Interceptor] = list(interceptors or ())
        self._own_interceptors = len(self._interceptors)
        """How many of them are not of one run alone."""
        self._called_from: tuple[str, ...] = ()
        """For a playbook: the path of the checkpoints around it, itself included."""
        self._playbooks: set[PenguiFlow] = set()
        """Playbooks that its nodes have called, while they run: they ask its interceptors too."""
        self._registry: ModelRegistry | None = None
        self._engine: Engine | None = None
        self._table.errors_are_results = emit_errors_to_rookery
        self._table.on_end = self._cancel_finished
        self._ports: dict[Node | Endpoint, Port] = {owner: self._port(owner) for owner in self._graph.inboxes}
        self._open_sea = self._ports[OPEN_SEA]
        self._rookery = self._ports[ROOKERY]
        self._distribution: Distribution | None = None
        self._results_maxsize = queue_maxsize * max(1, len(self._graph.egress))
        self._egress = Egress(self._rookery)
        self._roundtrips = Roundtrips(self._table, self._egress, self._results_maxsize)
        self._draining = Draining(self)

    def _new_table(self) -> TraceTable:
        return TraceTable()

    def _port(self, owner: Node | Endpoint) -> Port:
        port = Port(owner, self, self._graph.inboxes[owner])
        port.incoming = self._graph.incoming[owner]
        port.outgoing = self._graph.outgoing[owner]
        return port

    # What it is

    @property
    def name(self) -> str:
        """How it is called on a bus: as `create` was told, else by its entries."""
        return self._name or "+".join(str(node.name) for node in self.ingress) or "flow"

    @property
    def registry(self) -> ModelRegistry | None:
        """What `run` was given."""
        return self._registry

    @property
    def recorder(self) -> TraceRecorder | None:
        """Who opens the logs of its traces; another one gets those that begin from now on, until the next `run`."""
        return self._table.recorder

    @recorder.setter
    def recorder(self, recorder: TraceRecorder | None) -> None:
        self._table.recorder = recorder
        self._egress.durable = None if recorder is None else recorder.durable
        self._egress.hold = getattr(recorder, "hold", None)

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

    @property
    def _traces(self) -> dict[str, Trace]:
        return self._table.traces

    def add_middleware(self, middleware: Middleware) -> None:
        """Tell one more listener of every event."""
        self._broadcast.middlewares.append(middleware)

    def intercept(self, interceptor: Interceptor) -> None:
        """Ask one more interceptor at the checkpoints to come, until `release` or the next `run`."""
        self._interceptors.append(interceptor)
        self._notice_interceptors()
        for playbook in self._playbooks:
            playbook.intercept(interceptor)

    def release(self, interceptor: Interceptor) -> None:
        """Do not ask an interceptor any more that `intercept` was given. It may still be waited for."""
        own = self._own_interceptors
        self._interceptors[own:] = [each for each in self._interceptors[own:] if each is not interceptor]
        self._notice_interceptors()
        for playbook in self._playbooks:
            playbook.release(interceptor)

    def _notice_interceptors(self) -> None:
        if self._engine is not None:
            self._engine.invoker.refresh()

    # From start to stop

    def run(
        self,
        *,
        registry: ModelRegistry | None = None,
        message_bus: MessageBus | None = None,
        state_store: Any | None = None,
        recorder: TraceRecorder | None = None,
        interceptors: Sequence[Interceptor] | None = None,
        alone: bool = False,
    ) -> _Started:
        """Start the nodes; needs a running event loop.

        A `state_store` that offers a `recorder()` gets every event of every trace, another one gets the flow events.
        `interceptors` join those given to `create`: see `penguiflow.checkpoints`. With a bus that carries edges the
        nodes run in workers (`penguiflow.distributed`); `alone` runs them here all the same, and tells no bus.
        Raises `RuntimeError` when the flow runs already or when the registry lacks a node that wants to be validated.
        """
        if self._engine is not None:
            raise RuntimeError("PenguiFlow already running")
        asyncio.get_running_loop()
        if registry is not None:
            names = [str(node.name) for node in self.nodes if node.policy.validate != "none"]
            missing = sorted(name for name in names if not registry.has(name))
            if missing:
                wanted = ", ".join(missing)
                raise RuntimeError(f"ModelRegistry is missing entries for nodes requiring validation: {wanted}")
        self._registry = registry
        self._interceptors[self._own_interceptors :] = interceptors or ()
        self._active_store = self._state_store if state_store is None else state_store
        bus = None if alone else self._message_bus if message_bus is None else message_bus
        edge_bus = _carries_edges(bus)
        self._mirror = None if bus is None or edge_bus is not None else Mirror(bus, self._broadcast)
        self._broadcast.use_store(None)
        if edge_bus is not None:
            self._distribute(edge_bus, recorder)
            return _Started()
        if recorder is None and self._active_store is not None:
            if hasattr(self._active_store, "recorder"):
                recorder = self._active_store.recorder()
            else:
                self._broadcast.use_store(self._active_store)
        # A store may want results held back until the events behind them are committed.
        self.recorder = recorder
        adopt(self)
        self._engine = Engine(self, [self._ports[node] for node in self.nodes], registry)
        self._engine.start()
        return _Started()

    def _distribute(self, bus: EdgeBus, recorder: TraceRecorder | None) -> None:
        """Be a caller of nodes that run in workers."""
        from penguiflow.distributed.start import Distribution

        distribution = Distribution(self, bus, self._active_store, recorder)
        self._engine = Engine(self, [], self._registry)
        self._distribution, self._client = distribution, distribution.client

    async def stop(self, *, drain: bool = False, timeout: float | None = None) -> None:
        """Cancel what is under way, answer whoever waits, and return when nothing runs any more.

        Messages that wait on an edge stay there and are handled after a later `run`. With `drain` the flow first takes
        no more messages from outside (`RuntimeError`) and finishes those that it has, with all that its nodes send
        meanwhile, for at most `timeout` seconds. Results have to be fetched where there is no room for them.
        """
        engine = self._engine
        if engine is None:
            return
        if drain:
            await self._draining.drain(engine, timeout)
        if self._distribution is not None:
            distribution, self._distribution, self._client = self._distribution, None, None
            await distribution.close()
        self._table.condemn_all("the flow was stopped")
        for task in list(self._external):
            task.cancel()
        await engine.stop()
        if self._external:
            await asyncio.wait(self._external)
        if self._engine is not engine:
            return
        self._engine = None
        self._table.end_all("the flow was stopped")
        self._roundtrips.clear()
        self._draining.over()
        await self._broadcast.settle()

    # In and out

    async def emit(self, msg: Any, to: NodeTargets = None, *, trace_id: str | None = None) -> None:
        """Send a message in, to all entry nodes or to those named; waits for room.

        With `trace_id` the message joins that trace, and `fetch(trace_id=…)` gives its result: a second emit for
        the same trace waits until that was fetched.
        """
        if self._draining.asked:
            self._draining.refuse()
        if self._client is not None:
            await self._client.emit(msg, to, trace_id)
            return
        if trace_id is None and self._table.recorder is None and self._mirror is None and self._admit(msg, to):
            return
        if self._is_echo(msg):
            if trace_id is not None:
                self._roundtrips.rejoin(trace_id)
            return
        if trace_id is not None:
            if self._engine is None:
                raise RuntimeError("PenguiFlow is not running")
            msg = with_trace(msg, trace_id)
            await self._roundtrips.begin(trace_id)
        try:
            await self._recorder_ready()
            context = self._sender(msg, to)
            if context is not None:
                if trace_id is not None and context._trace is not None:
                    context._trace.asked = True
                await context.emit(msg, to)
        except BaseException:
            if trace_id is not None:
                self._roundtrips.abandon(trace_id)
            raise

    def emit_nowait(self, msg: Any, to: NodeTargets = None, *, trace_id: str | None = None) -> None:
        """As `emit`, without waiting: raises `asyncio.QueueFull`."""
        if trace_id is not None:
            raise RuntimeError("emit_nowait(trace_id=...) is not supported; use await emit(..., trace_id=...)")
        self._refuse_if_draining()
        self._refuse_if_distributed("emit_nowait", "await emit(...)")
        if self._is_echo(msg):
            return
        for floe in self._open_sea.floes_to(to):
            if floe.full():
                floe.clear_stones()
                if floe.full():
                    raise asyncio.QueueFull
        context = self._sender(msg, to)
        if context is not None:
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
        self._refuse_if_draining()
        self._refuse_if_distributed("emit_chunk", "send the pieces with emit(...)")
        context = self._sender(parent, to) or Context._of(self._open_sea)
        return await context.emit_chunk(
            parent=parent, text=text, stream_id=stream_id, seq=seq, done=done, meta=meta, to=to
        )

    async def fetch(self, from_: NodeTargets = None, *, trace_id: str | None = None) -> Any:
        """The next result; with `trace_id` the next one of that trace.

        Raises the trace's `FlowError` when it failed or was cancelled (only with `trace_id`). A fetch that is
        cancelled loses nothing and can be repeated.
        """
        if self._client is not None:
            if from_ is not None:
                raise RuntimeError("fetch(from_=...) is not supported by a distributed flow: results come by one edge")
            return await self._client.fetch(trace_id)
        if trace_id is not None:
            if from_ is not None:
                raise RuntimeError("fetch(trace_id=...) does not support from_ filtering")
            return await self._roundtrips.fetch(trace_id)
        if from_ is not None and self._roundtrips.enabled:
            raise RuntimeError("fetch(from_=...) is not supported once trace-scoped fetching is enabled")
        item = self._rookery.take(from_) if self._egress.durable is None else None
        if item is None:
            item = await self._egress.take(from_)
        floe, message, payload, trace, message_id = item
        if trace is not None:
            if trace.log is not None and message_id:
                trace.log.event("message.dequeued", floe.name, trace.log.root, {"message_id": message_id})
            self._table.collected(trace)
        return whole(message, payload)

    async def fetch_any(self, from_: NodeTargets = None, *, trace_id: str | None = None) -> Any:
        """The same as `fetch`."""
        return await self.fetch(from_, trace_id=trace_id)

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a trace: what waits is dropped, what runs is cancelled. False when there was nothing to cancel."""
        if self._engine is None:
            raise RuntimeError("PenguiFlow is not running")
        if self._client is not None:
            return await self._client.cancel(trace_id)
        named = (self._table.traces.get(trace_id), *(each for each in self._table.aside if each.id == trace_id))
        wanted = [each for each in named if each is not None and not each.cancelled and (each.pending or each.holds)]
        if not wanted:
            return self._roundtrips.drop(trace_id)
        for trace in wanted:
            await self._cancel_told(trace)
        return True

    async def _cancel_told(self, trace: Trace) -> None:
        """Cancel a trace after it was told that it will be."""
        pending = trace.pending
        event = self._broadcast.event(
            "trace_cancel_start", Context._of(self._open_sea), trace, cancelled=True, extra={"pending": pending}
        )
        # From here on nothing new starts; the trace is held so that its end is told after its cancellation.
        trace.cancelled = True
        trace.slow_down()
        held = not trace.ended
        trace.inflight += held
        try:
            await self._broadcast.publish(event)
        finally:
            self._cancel(trace, "cancelled by the caller")
            if held:
                self._table.release(trace)

    def ensure_trace_event(self, trace_id: str) -> asyncio.Event:
        """The event that is set when the trace is cancelled."""
        return self._table.cancel_event(trace_id)

    # Between the parts

    def _refuse_if_draining(self) -> None:
        self._draining.refuse()

    def _refuse_if_distributed(self, what: str, instead: str) -> None:
        if self._client is not None:
            raise RuntimeError(f"{what} cannot work where the bus has to be waited for: {instead}")

    async def _recorder_ready(self) -> None:
        recorder = self._table.recorder
        if recorder is not None and recorder.congested:
            await recorder.wait_ready()

    def _cancel(self, trace: Trace, reason: str, error: FlowError | None = None) -> None:
        if trace.log is not None:
            for port in self._ports.values():
                for item in port.inbox.items:
                    if item[3] is trace:
                        trace.passed_over(item)
            trace.backlog_logged = True
        if trace.parked:
            self._egress.forget()
            items = self._rookery.inbox.items
            kept = [item for item in items if item[3] is not trace]
            for item in items:
                if item[3] is trace:
                    item[0].release()
            items.clear()
            items.extend(kept)
        children = list(trace.children or ())
        waited = trace.queued
        self._table.cancel(trace, reason, error)
        if not trace.aside:
            self._roundtrips.cancelled(trace.id)
        if waited:
            for port in self._ports.values():
                for floe in port.incoming:
                    if floe.putters:
                        floe.clear_stones()
        for child in children:
            self._cancel(child, reason)

    def _cancel_finished(self, trace: Trace) -> None:
        context = Context._of(self._rookery)
        self._broadcast.publish_later(self._broadcast.event("trace_cancel_finish", context, trace, cancelled=False))

    async def _to_rookery(self, context: Context, msg: Any) -> None:
        """Deliver past the node's successors."""
        port = context._port
        floe = next((floe for floe in port.outgoing if floe.target is ROOKERY), port.side_exit)
        if floe is None:
            floe = port.side_exit = Floe(port.owner, ROOKERY, maxsize=self._queue_maxsize)
            floe.inbox = self._rookery.inbox
        await context._send(floe, msg, UNCHANGED, context._trace, None)


def _carries_edges(bus: MessageBus | None) -> EdgeBus | None:
    """The bus, if it does more than listen."""
    from penguiflow.bus.protocol import EdgeBus

    return bus if isinstance(bus, EdgeBus) else None


def create(*adjacencies: tuple[Node, Sequence[Node]], **kwargs: Any) -> PenguiFlow:
    """A flow from adjacencies, each a node and its successors: `create(a.to(b, c), b.to(d), c.to(d))`."""
    return PenguiFlow(*adjacencies, **kwargs)
