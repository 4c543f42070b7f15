"""Going on with a trace from where its log says it stands: resumed in the same trace, or forked into another one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from time import time
from typing import TYPE_CHECKING, Any

from penguiflow.channels import OPEN_SEA, UNCHANGED, payload_of
from penguiflow.deadlines import deadline_of
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.node_state import Logged, prime
from penguiflow.observer import Payload
from penguiflow.recording.frontier import Frontier
from penguiflow.recording.masking import frozen_part
from penguiflow.recording.plan import Edit, Plan, Restored, plan
from penguiflow.recording.pointers import NOTHING, find, parts_of
from penguiflow.results import ResultQueue
from penguiflow.validation import is_message

if TYPE_CHECKING:
    from penguiflow.channels import Floe
    from penguiflow.core import PenguiFlow
    from penguiflow.node import Node
    from penguiflow.observer import TraceLog
    from penguiflow.traces import Trace

__all__ = ["go_on", "prepare"]

_ORDERLY_ENDS = (
    FlowErrorCode.DEADLINE_EXCEEDED,
    FlowErrorCode.HOP_BUDGET_EXHAUSTED,
    FlowErrorCode.TOKEN_BUDGET_EXHAUSTED,
)
"""What ended the trace has been answered."""


def prepare(
    flow: PenguiFlow, frontier: Frontier, *, trace_id: str | None = None, edits: Mapping[str, Any] | None = None
) -> Plan:
    """Build all that is needed to go on, and change nothing. Raises `CannotRestore`."""
    names = [str(node.name) for node in flow.nodes]
    return plan(frontier, trace_id or frontier.trace_id, edits, now=time(), nodes=names)


async def go_on(flow: PenguiFlow, planned: Plan) -> AsyncGenerator[Any, None]:
    """Go on, and give each result as it comes, as `PenguiFlow.stream` does; those that nobody had fetched first.

    Results that had been delivered are not given again; a fork's log begins with them.
    """
    if flow._client is not None:
        raise RuntimeError("a flow that runs in workers cannot go on with a trace: use one process, run(alone=True)")
    recorder = flow._table.recorder
    if not flow.running or recorder is None:
        raise RuntimeError("only a flow that runs and is recorded can go on with a trace: run(recorder=…)")
    flow._refuse_if_draining()
    trace_id = planned.trace_id
    known = flow._table.traces.get(trace_id)
    if known is not None and known.pending:
        raise RuntimeError(f"trace {trace_id} is in flight already")
    if hasattr(recorder, "prepare"):
        await recorder.prepare(trace_id)
    sink = ResultQueue(flow._results_maxsize)
    trace = flow._table.open(trace_id, _beginning(planned))
    trace.sink = sink
    try:
        restorer = _Restorer(flow, planned, trace)
        trace.inflight += 1  # it must not end before everything is in its place
        try:
            restorer.restore_trace()
            # User code may end the process with its first statement: the beginning is to be known by then.
            await recorder.flush()
            restorer.put_messages()
        except BaseException:
            flow._cancel(trace, "it could not be taken up again")
            raise
        finally:
            flow._table.release(trace)
        while True:
            try:
                result = await sink.get(flow._egress.durable)
            except StopAsyncIteration:
                return
            yield result
    finally:
        flow._end(trace, sink)


def _beginning(planned: Plan) -> dict[str, Any]:
    """What stands in `trace.start`."""
    frontier = planned.frontier
    if not planned.is_fork:
        return {"resumed": {"seq": frontier.seq, "shift_s": planned.shift_s, "held": planned.held}}
    forked = {
        "submissions": frontier.submissions,
        "streams": [[node, stream, number] for (node, stream), number in planned.streams.items()],
        "held": planned.held,
        "error": frontier.error,
        "events": _events_of_beginning(planned),
    }
    return {"origin": {"trace_id": frontier.trace_id, "seq": frontier.seq}, "forked": forked}


def _events_of_beginning(planned: Plan) -> int:
    """How many events follow `trace.start` until all of the origin is in the log of the fork."""
    results = [*planned.delivered, *planned.results]
    chunks = {_piece_of(restored) for restored in [*results, *planned.messages] if restored.piece is not None}
    kept = len({*planned.states, *planned.holds}) + len(planned.edits)
    return kept + 2 * len(planned.delivered) + len(planned.results) + len(planned.messages) + len(chunks)


def _piece_of(restored: Restored) -> tuple[str, str, int]:
    """Who sent the piece of a stream that is on its way, the stream, and the piece's number."""
    assert restored.piece is not None
    return restored.edge.split("->", 1)[0], restored.piece["stream_id"], restored.piece["chunk_seq"]


class _Restorer:
    """Puts everything in its place."""

    def __init__(self, flow: PenguiFlow, planned: Plan, trace: Trace) -> None:
        assert trace.log is not None
        self.flow = flow
        self.plan = planned
        self.trace = trace
        self.log: TraceLog = trace.log
        self.nodes: dict[str, Node] = {str(node.name): node for node in flow.nodes}
        self.logged: set[tuple[str, str, int]] = set()
        """Pieces of streams that are in the fork's log."""
        self.floes: dict[str, Floe] = {floe.name: floe for port in flow._ports.values() for floe in port.outgoing}

    def restore_trace(self) -> None:
        """Bring back what the trace knows, and tell the log of it."""
        self._restore_trace()
        if not self.plan.is_fork:
            return
        for result in self.plan.delivered:
            self._log(result)
            self._taken(result)
        messages = {restored.message_id: restored.message for restored in (*self.plan.results, *self.plan.messages)}
        for edit in self.plan.edits:
            self._tell(edit, messages[edit.message_id])
        for restored in (*self.plan.results, *self.plan.messages):
            self._log(restored)

    def _tell(self, edit: Edit, message: Any) -> None:
        """Write what was changed as it is written in the message: a secret is one by where it stands."""
        stored = self.log.freeze(payload_of(message, UNCHANGED))
        document = {"payload": stored.get("value")}
        if is_message(message):
            around = {"headers": message.headers, "meta": message.meta, "deadline_s": message.deadline_s}
            document |= self.log.freeze(around)["value"]
        after = find(document, parts_of(edit.path))
        about = {
            "message_id": edit.message_id,
            "path": edit.path,
            "before": frozen_part(edit.before),
            "after": frozen_part(None if after is NOTHING else after),
            "by": "fork",
        }
        self.log.event("edit", "fork", self.log.root, about)

    def put_messages(self) -> None:
        """Put all messages on their edges: the trace goes on."""
        if self.trace.cancelled:
            return
        for result in self.plan.results:
            self._deliver(result)
        if self.plan.frontier.entering:
            self._complete_entry()
        for restored in self.plan.messages:
            self._put(restored)

    def _restore_trace(self) -> None:
        trace, planned, frontier = self.trace, self.plan, self.plan.frontier
        trace.submissions = frontier.submissions if planned.is_fork else 0
        trace.tape = planned.tape
        trace.reruns = {r.message_id: r.again for r in planned.messages if r.again is not None} or None
        if trace.reruns is not None:
            trace.slow_down()
        if frontier.error is not None:
            trace.error = _flow_error(frontier.error, trace.id)
            trace.stopped = trace.error.code in _ORDERLY_ENDS
        if frontier.hops is not None:
            node, hops = frontier.hops
            # Only a controller that feeds itself goes on by itself.
            if f"{node}->{node}" in self.floes:
                trace.last_hops = hops
        for (name, stream), number in planned.streams.items():
            node_id = self.nodes[name].node_id if name in self.nodes else OPEN_SEA.node_id
            if trace.streams is None:
                trace.streams = {}
            trace.streams[node_id, stream] = number
        trace.logged = {}
        for name in {*planned.states, *planned.holds}:
            node_id = self.nodes[name].node_id
            state = planned.states.get(name, {})
            trace.node_state(node_id).update(state)
            hold = planned.holds.get(name)
            if hold is not None:
                trace.hold(node_id, hold)
            logged = trace.logged[node_id] = Logged()
            change = prime(state, logged, self.log)
            logged.hold = hold
            if planned.is_fork:
                self.log.event("context.changed", name, self.log.root, {**change, "hold": hold})

    def _put(self, restored: Restored) -> None:
        """Put a message on its edge, as it was."""
        floe = self.floes.get(restored.edge)
        if floe is None:
            # The edge was drawn another way since: any one leads to the node's inbox.
            floe = self.flow._ports[self.nodes[restored.edge.split("->", 1)[1]]].incoming[0]
        self.trace.queued += 1
        floe.put((floe, restored.message, UNCHANGED, self.trace, restored.message_id))
        if (deadline_s := deadline_of(restored.message)) is not None:
            self.flow._table.deadlines.watch(deadline_s)

    def _deliver(self, result: Restored) -> None:
        """Give a result out that nobody has had."""
        assert self.trace.sink is not None
        self._taken(result)
        self.trace.sink.put(result.message)

    def _taken(self, result: Restored) -> None:
        self.log.event("message.dequeued", result.edge, self.log.root, {"message_id": result.message_id})

    def _complete_entry(self) -> None:
        """The log ends while something was coming in by several edges: let it come in by the others too."""
        frontier, came = self.plan.frontier, {held.edge for held in self.plan.frontier.entry}
        entries = self.flow._open_sea.outgoing
        missing = [floe for floe in entries if floe.name not in came]
        first = next((r for r in self.plan.messages if r.message_id == frontier.entry[0].message_id), None)
        # What was sent to some entries only was sent to others than the first ones, most likely.
        in_order = {floe.name for floe in entries[: len(came)]} == came
        if not missing or first is None or not in_order:
            return
        context = self.flow._sender_for(self.trace, len(missing))
        for floe in missing:
            context._put(floe, first.message, UNCHANGED, self.trace, None)

    def _log(self, restored: Restored) -> None:
        """Write a message of the origin into the log of the fork."""
        message = restored.message
        content = payload_of(message, UNCHANGED)
        source, target = restored.edge.split("->", 1)
        about: dict[str, Any] = {"message_id": restored.message_id, "source": source, "target": target}
        if is_message(message):
            about["headers"] = message.headers.model_dump()
            about["meta"] = message.meta
            about["deadline_s"] = message.deadline_s
        if restored.again is not None:
            about["restored"] = {"sent": sorted(restored.again.sent), "chunks": list(restored.again.chunks)}
        if restored.piece is not None:
            self._log_piece(restored, restored.piece)
            about["stream_id"], about["chunk_seq"] = restored.piece["stream_id"], restored.piece["chunk_seq"]
        else:
            about = {"payload": Payload(content), **about}
        self.log.event("message.enqueued", restored.edge, self.log.root, about)

    def _log_piece(self, restored: Restored, piece: Mapping[str, Any]) -> None:
        """Write a piece of a stream, once, although several edges may have it; its text is hidden already."""
        place = _piece_of(restored)
        if place in self.logged:
            return
        self.logged.add(place)
        node, stream, _ = place
        hidden = {name: frozen_part(piece[name]) for name in ("text", "meta", "lacks") if name in piece}
        self.log.event("stream.chunk", stream, self.log.root, {**piece, **hidden, "node": node})


def _flow_error(data: Mapping[str, Any], trace_id: str) -> FlowError:
    """The failure that the trace had had."""
    metadata = data.get("metadata")
    known = {
        **data,
        "trace_id": trace_id,
        "code": data.get("code") or FlowErrorCode.NODE_EXCEPTION,
        "message": str(data.get("message", "")),
        "metadata": metadata if isinstance(metadata, Mapping) else None,
    }
    return FlowError.from_payload(known)
