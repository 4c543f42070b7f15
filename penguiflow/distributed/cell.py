"""A worker's nodes, each by itself: what one of them sends leaves the process, wherever its successor runs.

It is a flow whose edges end outside: the engine that runs nodes in one process runs them here, with their policies,
budgets, deadlines and interceptors. Each delivery has a `Trace` of its own, which ends with the invocation and with
all that it sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from penguiflow.channels import ROOKERY, UNCHANGED, Endpoint, Floe, Item, whole
from penguiflow.core import PenguiFlow
from penguiflow.ports import Port
from penguiflow.traces import Trace, TraceTable

if TYPE_CHECKING:
    from penguiflow.checkpoints import Interceptor
    from penguiflow.errors import FlowError
    from penguiflow.node import Node
    from penguiflow.observer import TraceLog
    from penguiflow.ports import Targets
    from penguiflow.registry import ModelRegistry

__all__ = ["Cell", "DeliveredTrace", "Outlet", "Outputs"]

AT_ONCE = 64
"""Messages by one edge that may be on their way to the bus before their sender waits."""


class Outputs(Protocol):
    """What a delivery makes of what its node does."""

    def send(self, outlet: Outlet, message: Any, message_id: str) -> None:
        """A message leaves the node. Raises `CannotSend`."""
        ...

    def touched(self, node: str) -> dict[str, Any]:
        """What the node keeps for the trace: from now on its outputs depend on that."""
        ...

    def next_chunk(self, stream_id: str, seq: int | None, done: bool) -> int:
        """The `seq` of the next chunk of a stream."""
        ...

    def finish(self) -> None:
        """The invocation is over, and all that it sent is on its edges."""
        ...


class Outlet(Floe):
    """An edge out of the process."""

    __slots__ = ()

    def __init__(self, source: Node, target: Node | Endpoint) -> None:
        super().__init__(source, target, maxsize=AT_ONCE)
        # To the engine it is an edge like any other: results, too, are known by their ids.
        self.is_exit = False

    def put(self, item: Item) -> None:
        """Hand a message over; there is room again when `left` is called."""
        _, message, payload, trace, message_id = item
        assert isinstance(trace, DeliveredTrace)
        self.size += 1
        try:
            trace.outputs.send(self, whole(message, payload), message_id)
        except BaseException:
            self.left(trace)
            raise

    def left(self, trace: Trace) -> None:
        """One message is where it was to go."""
        self.release()
        if not trace.cancelled:
            trace.queued -= 1


class DeliveredTrace(Trace):
    """The trace as far as one delivery goes."""

    __slots__ = ("held", "outputs")

    def __init__(self, trace_id: str, outputs: Outputs, log: TraceLog) -> None:
        super().__init__(trace_id)
        self.outputs = outputs
        self.held: Mapping[str, str | Callable[[], str]] = {}
        """Why the node waits for more messages, by node id, when the delivery is over."""
        self.log = log
        self.sink = _Finish(outputs)
        self.slow_down()

    def node_state(self, node_id: str) -> dict[str, Any]:
        """What the node keeps for the trace, wherever it was kept."""
        known = None if self.state is None else self.state.get(node_id)
        if known is None:
            known = self.outputs.touched(node_id)
            self.state = {node_id: known}
        return known

    def hold(self, node_id: str, why: str | Callable[[], str] | None) -> None:
        """The node waits for more messages, or no longer does."""
        self.node_state(node_id)
        super().hold(node_id, why)

    def next_chunk(self, node_id: str, stream_id: str, seq: int | None, done: bool) -> int:
        """The `seq` of the next chunk, counted over all workers."""
        return self.outputs.next_chunk(stream_id, seq, done)


class _Finish:
    """Is told that a delivery is over; its results go by outlets."""

    full = False
    takes_children = True

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    async def wait_room(self) -> None:
        """There is always room."""

    def put(self, result: Any) -> None:
        """Results go by outlets."""

    def finish(self, error: FlowError | None) -> None:
        """It is over; the trace knows the error."""
        self._outputs.finish()


class _Table(TraceTable):
    """Knows no traces: each delivery has its own."""

    def of(self, msg: Any, current: Trace | None) -> Trace | None:
        """What a delivery sends belongs to its trace, under whatever name it goes on."""
        return current if current is not None else super().of(msg, current)

    def finish(self, trace: Trace, status: str | None = None) -> None:
        """The delivery is over: its trace may go on elsewhere, so nothing of it is closed."""
        if isinstance(trace, DeliveredTrace):
            trace.held, trace.holds, trace.log, trace.joins = trace.holds or {}, None, None, None
        super().finish(trace, status)

    def told_cancelled(self, trace_id: str) -> None:
        """Set the event of whoever watches the trace."""
        event = self._cancel_events.pop(trace_id, None)
        if event is not None:
            event.set()


class _Port(Port):
    """A node's edges, of which it cannot take messages by itself: others may have them."""

    def take(self, from_: Targets = None) -> Item | None:
        """Raises `RuntimeError`."""
        raise RuntimeError(f"node '{self.name}' fetches by itself, which a node of a distributed flow cannot do")


class Cell(PenguiFlow):
    """Runs the nodes of one worker. `run` it, `begin` deliveries, `stop` it."""

    def __init__(
        self,
        flow: PenguiFlow,
        nodes: Sequence[Node],
        *,
        slots: Mapping[str, int],
        interceptors: Sequence[Interceptor],
        cancel: Callable[[str], Any],
    ) -> None:
        super().__init__(
            *[(node, ()) for node in nodes],
            middlewares=flow._broadcast.middlewares,
            emit_errors_to_rookery=flow._emit_errors_to_rookery,
            interceptors=(*flow._interceptors, *interceptors),
        )
        self._watching = None if interceptors else flow._interceptors
        """Those of the flow, which may come and go where it is called in this process, too."""
        self._slots = slots
        self._cancel_everywhere = cancel
        self._answerer = flow._answerer
        self._ways_in: dict[tuple[str, str], Floe] = {}
        """By the names of the node and of the edge."""
        for node in self.nodes:
            self._lay(self._ports[node], flow)

    def _new_table(self) -> TraceTable:
        return _Table()

    def _port(self, owner: Node | Endpoint) -> Port:
        if isinstance(owner, Endpoint):
            return super()._port(owner)
        return _Port(owner, self, self._graph.inboxes[owner])

    def _lay(self, port: Port, flow: PenguiFlow) -> None:
        """Give a node the edges that it has in the whole flow."""
        node: Any = port.owner
        for known in flow._graph.incoming[node]:
            floe = Floe(known.source, node, maxsize=0)
            floe.inbox = port.inbox
            port.incoming.append(floe)
            self._ways_in[str(node.name), floe.name] = floe
        port.outgoing.extend(Outlet(node, floe.target) for floe in flow._graph.outgoing[node] if floe.target)
        port.side_exit = Outlet(node, ROOKERY)

    def start(self, registry: ModelRegistry | None, store: Any) -> None:
        """Run the nodes, each as often at once as it has slots."""
        self.run(registry=registry, alone=True)
        self._active_store = store
        assert self._engine is not None
        if self._watching is not None:
            self._interceptors = self._engine.invoker.interceptors = self._watching
        for worker in self._engine.workers:
            worker.limit = self._slots[worker.port.name]

    def begin(self, node: str, edge: str, trace: DeliveredTrace, message: Any, message_id: str) -> None:
        """Have a node handle a message; the trace's `outputs` are told of what comes of it."""
        floe = self._ways_in[node, edge]
        trace.queued += 1
        floe.put((floe, message, UNCHANGED, trace, message_id))

    def settle(self, trace: DeliveredTrace) -> None:
        """A message of a delivery has left: it may be over now."""
        if trace.idle and not trace.ended:
            self._table.finish(trace)

    def abort(self, trace: DeliveredTrace, reason: str) -> None:
        """Cancel a delivery that is under way."""
        if not trace.ended and not trace.cancelled:
            self._cancel(trace, reason)

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a trace, on all workers."""
        told: bool = await self._cancel_everywhere(trace_id)
        return told

    def told_cancelled(self, trace_id: str) -> None:
        """Set the event of whoever in this process watches the trace."""
        table: Any = self._table
        table.told_cancelled(trace_id)

    async def over(self) -> None:
        """Stop, within a bounded time."""
        await self.stop()
        await asyncio.sleep(0)
