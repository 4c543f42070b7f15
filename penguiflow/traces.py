"""What the runtime remembers of a trace while it lives, and nothing after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pydantic import BaseModel

from penguiflow.deadlines import Deadlines, deadline_of
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.failures import cancelled_error, held_error
from penguiflow.ids import new_id
from penguiflow.lost_logs import close_log, write
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.calls import Tape
    from penguiflow.channels import Item
    from penguiflow.context import Context
    from penguiflow.joins import Join
    from penguiflow.node_state import Logged
    from penguiflow.observer import TraceLog, TraceRecorder
    from penguiflow.reruns import Again
    from penguiflow.results import ResultQueue, ResultSink
    from penguiflow.turns import Turn

__all__ = ["STUBBORN_GRACE_S", "Trace", "TraceCancelled", "TraceTable", "trace_status"]


STUBBORN_GRACE_S = 1.0
"""How long a node may take to end once it was told to, in seconds, before its callers are answered without it."""


class TraceCancelled(Exception):
    """The trace was cancelled."""

    def __init__(self, trace_id: str | None) -> None:
        self.headline = f"trace cancelled: {trace_id}"
        """What there is to say in one line."""
        super().__init__(self.headline)
        self.trace_id = trace_id


class Trace:
    """One trace in flight. Dropped by the flow when nothing of it is left."""

    __slots__ = (
        "aside",
        "asked",
        "backlog_logged",
        "blocked",
        "cancel_event",
        "cancelled",
        "children",
        "condemned",
        "ended",
        "error",
        "holds",
        "hops",
        "id",
        "inflight",
        "joins",
        "last_hops",
        "last_query",
        "log",
        "log_bytes",
        "logged",
        "parent",
        "parked",
        "paused",
        "plain",
        "queued",
        "reruns",
        "sink",
        "state",
        "stopped",
        "streams",
        "submissions",
        "suspended",
        "tape",
        "turns",
    )

    def __init__(self, trace_id: str) -> None:
        self.id = trace_id
        self.queued = 0
        """Messages that wait for a node."""
        self.inflight = 0
        """Invocations under way, and emits from outside that are not finished."""
        self.holds: dict[str, str | Callable[[], str]] | None = None
        """Why nodes wait for more messages, by node id."""
        self.joins: dict[str, Join] | None = None
        """Nodes that have begun to gather messages, by node id, where there is a log."""
        self.last_hops: int | None = None
        self.last_query: str | None = None
        """Hops of the last working memory that an unbounded controller delivered."""
        self.parked = 0
        """Results that wait to be fetched."""
        self.plain = True
        """Whether its messages are only to be handed on: no log, no deadline, no turns, no reruns, not cancelled."""
        self.hops = False
        """The same of one that has a log."""
        self.cancelled = False
        self.backlog_logged = False
        """Whether the log says already that all its waiting messages were dropped."""
        self.condemned = False
        """The flow is stopping: senders from outside are refused."""
        self.ended = False
        self.blocked: set[asyncio.Future[None]] | None = None
        """Senders from outside that wait for room."""
        self.cancel_event: asyncio.Event | None = None
        self.error: FlowError | None = None
        """The first failure."""
        self.paused: str | None = None
        """Why its result is a promise: it waits for somebody, and goes on in another trace."""
        self.log: TraceLog | None = None
        self.log_bytes = 0
        """How much of what its nodes logged is in the log."""
        self.logged: dict[str, Logged] | None = None
        """What the log has of `state`, by node id."""
        self.reruns: dict[str, Again] | None = None
        """What invocations had done that are run again, by message id."""
        self.sink: ResultSink | None = None
        self.parent: Trace | None = None
        """The trace in which it was made, if whoever waits for that one gets its results."""
        self.asked = False
        """Whether it was begun by an `emit(trace_id=…)`, whose answer somebody fetches."""
        self.aside = False
        """Whether its name stands for a later question now: it goes on by itself."""
        self.children: set[Trace] | None = None
        self.tape: Tape | None = None
        """Answers for calls that leave the process, from an earlier run."""
        self.suspended: set[Context] | None = None
        """Invocations that are waiting for something and can be cancelled."""
        self.stopped = False
        """A deadline or budget ended it, and the answer that says so was delivered: callers get that answer."""
        self.state: dict[str, dict[str, Any]] | None = None
        """What nodes keep for the trace, by node id."""
        self.streams: dict[tuple[str, str], int] | None = None
        """Next `seq` by node id and stream id."""
        self.turns: dict[str, Turn] | None = None
        """The last invocation under way of each node that handles several messages at a time, by node id."""
        self.submissions = 0
        """How many messages came in from outside."""

    def slow_down(self) -> None:
        """From here on each of its messages is looked at closely."""
        self.plain = self.hops = False

    def record(self, log: TraceLog) -> None:
        """From here on what happens to it is written."""
        self.log = log
        if self.plain:
            self.plain, self.hops = False, True

    @property
    def pending(self) -> int:
        """Messages that are not yet done."""
        return self.queued + self.inflight + self.parked

    @property
    def idle(self) -> bool:
        """Whether no node has anything left to do for it."""
        return not self.queued and not self.inflight

    def block(self, sender: asyncio.Future[None]) -> None:
        """A sender from outside begins to wait for room. Raises `TraceCancelled` when that is pointless."""
        if self.cancelled or self.condemned:
            raise TraceCancelled(self.id)
        if self.blocked is None:
            self.blocked = set()
        self.blocked.add(sender)

    def unblock(self, sender: asyncio.Future[None]) -> None:
        """It waits no longer."""
        if self.blocked is not None:
            self.blocked.discard(sender)

    def refuse_blocked(self) -> None:
        """Whoever waits for room on behalf of this trace gets `TraceCancelled`."""
        for sender in list(self.blocked or ()):
            if not sender.done():
                sender.set_exception(TraceCancelled(self.id))

    def hold(self, node_id: str, why: str | Callable[[], str] | None) -> None:
        """A node waits for more messages of this trace, or no longer does (None)."""
        if why is None:
            if self.holds is not None:
                self.holds.pop(node_id, None)
            return
        if self.holds is None:
            self.holds = {}
        self.holds[node_id] = why

    def passed_over(self, item: Item) -> None:
        """A message of this trace, which is cancelled, leaves its edge for nowhere."""
        if self.log is not None and not self.backlog_logged:
            write(self, "message.dropped", item[0].name, {"message_id": item[4], "reason": "cancelled"})

    def node_state(self, node_id: str) -> dict[str, Any]:
        """What the node keeps for this trace."""
        if self.state is None:
            self.state = {}
        state = self.state.get(node_id)
        if state is None:
            state = self.state[node_id] = {}
        return state

    def next_chunk(self, node_id: str, stream_id: str, seq: int | None, done: bool) -> int:
        """The `seq` of the next chunk of a stream; an explicit one resets the count, a last one ends it."""
        if self.streams is None:
            self.streams = {}
        key = (node_id, stream_id)
        if seq is None:
            seq = self.streams.get(key, 0)
        if done:
            self.streams.pop(key, None)
        else:
            self.streams[key] = seq + 1
        return seq


def trace_status(error: FlowError) -> str:
    """How a span or trace that failed with `error` ended."""
    if error.code == FlowErrorCode.TRACE_CANCELLED:
        return "cancelled"
    if error.code in (FlowErrorCode.HOP_BUDGET_EXHAUSTED, FlowErrorCode.TOKEN_BUDGET_EXHAUSTED):
        return "ok"  # an orderly end: the answer says that the budget is spent
    late = (FlowErrorCode.NODE_TIMEOUT, FlowErrorCode.DEADLINE_EXCEEDED)
    return "timeout" if error.code in late else "error"


_MAX_KNOWN_TYPES = 4096
_carries_trace: dict[type, bool] = {}


def trace_id_of(msg: Any) -> str | None:
    """The trace id that an object carries, if it carries one: a string, but programs also use numbers and UUIDs."""
    kind = type(msg)
    carries = _carries_trace.get(kind)
    if carries is None:
        # A missing attribute of a pydantic model costs 1.5 microseconds: its class is asked, once.
        carries = _may_carry(kind)
        if len(_carries_trace) >= _MAX_KNOWN_TYPES:
            _carries_trace.clear()
        _carries_trace[kind] = carries
    if not carries:
        return None
    trace_id: str | None = getattr(msg, "trace_id", None)
    return None if type(trace_id).__hash__ is None else trace_id


_BARE = frozenset({str, bytes, int, float, bool, dict, list, tuple, set, frozenset, type(None)})


def _may_carry(kind: type) -> bool:
    """Whether instances may have a `trace_id`."""
    if kind in _BARE:
        return False
    if not issubclass(kind, BaseModel) or "trace_id" in kind.model_fields or hasattr(kind, "trace_id"):
        return True
    return kind.model_config.get("extra") == "allow"


class TraceTable:
    """The traces that a flow has in flight."""

    def __init__(self) -> None:
        self.traces: dict[str, Trace] = {}
        self.aside: set[Trace] = set()
        """Those in flight whose name stands for another one now."""
        self.recorder: TraceRecorder | None = None
        self.tape_of: Callable[[str], Tape | None] | None = None
        """Gives the recording that answers a trace's calls, where there are traces that have one."""
        self.origin = ""
        """What the ids of messages from outside begin with, where that is not the root of their trace."""
        self.sinks: dict[str, ResultQueue] = {}
        """Who waits for traces that may not have begun."""
        self.deadlines = Deadlines()
        """Looks at messages that wait for a node when their time is over."""
        self.on_end: Callable[[Trace], None] = lambda trace: None
        """Called when a cancelled trace has come to rest."""
        self.errors_are_results = False
        self.ending = False
        """Whether all traces are being ended because the flow stops."""
        self._cancel_events: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def of(self, msg: Any, current: Trace | None) -> Trace | None:
        """The trace a message belongs to: its own, else that of the invocation that sends it."""
        if type(msg) is not Message:
            trace_id = trace_id_of(msg)
            if trace_id is not None:
                other = self._other(trace_id, current)
                if deadline_of(msg) is not None:
                    other.slow_down()
                return other
            if current is not None and current.ended and not current.cancelled:
                return self.open(current.id)
            return current if current is not None or self.recorder is None else self.open(new_id())
        trace_id = msg.trace_id
        trace = current
        if trace is None or trace.id != trace_id or trace.ended:
            trace = self._other(trace_id, current)
        if msg.deadline_s is not None:
            trace.slow_down()
        return trace

    def _other(self, trace_id: str, current: Trace | None) -> Trace:
        """The trace of a message that was made in another one, or after its own had ended."""
        if current is not None and current.id == trace_id and (current.cancelled or not current.ended):
            return current
        trace = self.open(trace_id)
        if current is None or current is trace or current.ended or current.sink is None:
            return trace
        if current.sink.takes_children and trace.sink is None and trace.parent is None and not trace.pending:
            # Whoever called waits for what its message leads to, under whatever name that goes on.
            trace.parent = current
            trace.sink = current.sink
            current.inflight += 1
            if current.children is None:
                current.children = set()
            current.children.add(trace)
            trace.slow_down()
        return trace

    def _part(self, trace: Trace) -> None:
        """A trace that was made in another one has ended: that one need not wait for it any longer."""
        parent = trace.parent
        if parent is None:
            return
        trace.parent = trace.sink = None
        if parent.children is not None:
            parent.children.discard(trace)
        parent.error = parent.error or trace.error
        parent.stopped = parent.stopped or trace.stopped
        self.release(parent)

    def open(self, trace_id: str, data: Mapping[str, Any] | None = None) -> Trace:
        """The trace of this id, begun (again) if nothing of it is in flight; `data` stands in its `trace.start`."""
        trace = self.traces.get(trace_id)
        if trace is None or trace.cancelled:
            trace = self.traces[trace_id] = Trace(trace_id)
            if self.sinks:
                trace.sink = self.sinks.get(trace_id)
            if self._cancel_events:
                trace.cancel_event = self._cancel_events.get(trace_id)
        elif not trace.ended:
            return trace
        trace.ended = trace.stopped = False
        trace.error = None
        if self.recorder is not None:
            trace.record(self.recorder.open(str(trace_id), data))
            if self.tape_of is not None:
                trace.tape = self.tape_of(trace_id)
        return trace

    def set_aside(self, trace: Trace) -> None:
        """Its name is to stand for another trace: what it has under way goes on apart from that."""
        trace.aside = True
        trace.slow_down()
        del self.traces[trace.id]
        # Whoever watches the old one is told of the old one.
        self._cancel_events.pop(trace.id, None)
        if not trace.ended:
            self.aside.add(trace)

    def release(self, trace: Trace) -> None:
        """One piece of work of the trace is done."""
        trace.inflight -= 1
        if not trace.inflight and not trace.queued and not trace.ended:
            self.finish(trace)

    def finish(self, trace: Trace, status: str | None = None) -> None:
        """Nothing of the trace is left to do: close its log, answer who waits, forget it."""
        starved = False
        if trace.holds and not trace.cancelled and trace.error is None and status is None:
            if trace.sink is self.sinks.get(trace.id):
                return  # more may come from outside, and nobody waits for the end
            trace.error = held_error(trace)
            starved = True
        trace.ended = True
        if trace.plain and trace.sink is None and status is None:
            # What most traces are: nobody has asked to be told.
            if trace.parked:
                trace.state = trace.logged = trace.streams = trace.suspended = trace.holds = None
            elif self.traces.get(trace.id) is trace:
                del self.traces[trace.id]
            return
        error = trace.error
        if status is None:
            status = "cancelled" if trace.cancelled else "ok" if error is None else trace_status(error)
        if trace.log is not None:
            close_log(trace, status, starved)
        if trace.parent is not None:
            self._part(trace)
        elif trace.sink is not None:
            trace.sink.finish(self._told(trace))
        if trace.cancelled and not self.ending:
            self.on_end(trace)
        self.aside.discard(trace)
        if trace.parked:
            trace.state = trace.logged = trace.streams = trace.suspended = trace.holds = None
        elif self.traces.get(trace.id) is trace:
            del self.traces[trace.id]

    def collected(self, trace: Trace) -> None:
        """One of its results was fetched."""
        trace.parked -= 1
        if trace.ended and not trace.parked and self.traces.get(trace.id) is trace:
            del self.traces[trace.id]

    def cancel(self, trace: Trace, reason: str, error: FlowError | None = None) -> None:
        """Stop what runs, pass over what waits; the same price whatever the backlog.

        Callers get `error` (else that it was cancelled) once nothing runs any more, or after `STUBBORN_GRACE_S`.
        """
        trace.cancelled = True
        trace.slow_down()
        trace.error = error or cancelled_error(trace, reason)
        if trace.cancel_event is not None:
            trace.cancel_event.set()
            # The next trace of this name is another one.
            self._cancel_events.pop(trace.id, None)
        write(trace, "cancel.requested", "", {"reason": reason})
        trace.queued = 0
        trace.parked = 0
        trace.refuse_blocked()
        for context in list(trace.suspended or ()):
            context._cancel("cancel")
        if not trace.ended and trace.idle:
            self.finish(trace)
        elif not trace.ended and trace.sink is not None:
            asyncio.get_running_loop().call_later(STUBBORN_GRACE_S, self.answer, trace)
        elif trace.ended:
            self.on_end(trace)
            if self.traces.get(trace.id) is trace:
                del self.traces[trace.id]

    def answer(self, trace: Trace) -> None:
        """Answer who waits for a trace whose nodes do not end."""
        if trace.sink is not None and trace.parent is None and not trace.ended:
            trace.sink.finish(self._told(trace))

    def _told(self, trace: Trace) -> FlowError | None:
        """The error that whoever waits for the trace is to get."""
        # A deadline's answer, and errors that are delivered as results, are no exceptions to whoever waits.
        failed = trace.error is None or trace_status(trace.error) != "cancelled"
        return None if trace.stopped or (self.errors_are_results and failed) else trace.error

    def cancel_event(self, trace_id: str) -> asyncio.Event:
        """The event that is set when the trace is cancelled."""
        event = self._cancel_events.get(trace_id)
        trace = self.traces.get(trace_id)
        if event is None:
            event = self._cancel_events[trace_id] = asyncio.Event()
        if trace is not None:
            trace.cancel_event = event
            if trace.cancelled:
                event.set()
                del self._cancel_events[trace_id]
        return event

    def condemn_all(self, reason: str) -> None:
        """From here on no trace can succeed any more."""
        self.ending = True
        for trace in (*self.traces.values(), *self.aside):
            if not trace.ended:
                trace.error = trace.error or cancelled_error(trace, reason)
                trace.condemned = True
                trace.refuse_blocked()

    def end_all(self, reason: str) -> None:
        """Answer everybody who still waits, and forget everything but answers that were not yet asked for."""
        for trace in (*self.traces.values(), *self.aside):
            if trace.ended:
                continue
            if trace.inflight:
                # A node that stops its own flow is still under way: its trace ends with it, whatever waits.
                trace.slow_down()
                trace.queued = 0
            else:
                trace.error = trace.error or cancelled_error(trace, reason)
                self.finish(trace, "cancelled")
        self.traces.clear()
        self.aside.clear()
        self.ending = False
        for trace_id, sink in list(self.sinks.items()):
            if sink.awaited or sink.cancelled:
                del self.sinks[trace_id]
            if not sink.finished:
                code = FlowErrorCode.TRACE_CANCELLED
                sink.finish(FlowError(trace_id=trace_id, node_name=None, code=code, message=reason))
