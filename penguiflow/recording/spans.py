"""The tree of a trace, built from its events one by one."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from penguiflow.recording.events import TraceEvent

__all__ = ["Crowd", "Span", "SpanTree", "build_spans", "find_message"]


class Crowd:
    """Siblings of one kind and name of which only this is known."""

    __slots__ = ("durations", "kind", "last_seq", "name", "statuses")

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        self.durations = array("q")
        """Nanoseconds."""
        self.statuses: Counter[str] = Counter()
        self.last_seq = 0
        """Where the last of them started."""

    def add(self, start_seq: int, duration_ns: int, status: str) -> None:
        """Count one more."""
        self.durations.append(max(0, duration_ns))
        self.statuses[status] += 1
        self.last_seq = max(self.last_seq, start_seq)

    def merge(self, other: Crowd) -> None:
        """Count others in."""
        self.durations.extend(other.durations)
        self.statuses.update(other.statuses)
        self.last_seq = max(self.last_seq, other.last_seq)


class Span:
    """Something that began and, unless it still runs, ended: the trace, a node's work on a message, an attempt."""

    __slots__ = (
        "attempt", "children", "crowds", "delivery", "end_ns", "end_seq", "epoch", "error", "input_id", "kind", "name",
        "output_ids", "parent_id", "queue_wait_s", "span_id", "start_ns", "start_seq", "started", "status", "step",
        "worker_id",
    )  # fmt: skip

    def __init__(self, event: TraceEvent) -> None:
        data = event.data
        attempt, message_id, step = data.get("attempt"), data.get("message_id"), data.get("step")
        self.span_id = event.span_id
        self.parent_id = event.parent_id
        self.kind = event.kind.removesuffix(".start")
        self.name = event.name
        self.status = "running"
        """`running` until it ends, then ok, error, timeout, cancelled or interrupted."""
        self.epoch = event.epoch
        self.started = event.ts
        """Unix seconds."""
        self.start_ns = event.offset_ns
        """Nanoseconds since the trace began."""
        self.end_ns: int | None = None
        self.start_seq = event.seq
        self.end_seq: int | None = None
        self.attempt: int | None = attempt if isinstance(attempt, int) else None
        """From 0, for attempts."""
        self.step = step if self.kind == "step" and isinstance(step, int) else None
        """From 0, for steps of a planner."""
        self.error: dict[str, Any] | None = None
        """What its end says of the failure."""
        self.input_id: str | None = message_id if isinstance(message_id, str) else None
        """Message id of what it works on."""
        self.worker_id = event.worker_id
        """Which of several writers of the trace began it; None where there is one."""
        delivery, waited = data.get("delivery"), data.get("queue_wait_s")
        self.delivery: int | None = delivery if isinstance(delivery, int) else None
        """For a worker's work on a message: the how many-th delivery of that it was, from 1."""
        self.queue_wait_s: float | None = waited if isinstance(waited, int | float) else None
        """How long the message had been on its edge."""
        # Most spans have none of these: hundreds of thousands of empty lists would be as large as the spans.
        self.output_ids: Sequence[str] = ()
        """Message ids of what it sent, chunks of streams left out."""
        self.children: Sequence[Span] = ()
        """In order of their start; `adopt` adds one."""
        self.crowds: Sequence[Crowd] = ()
        """Children that were counted and not kept."""

    @property
    def duration_ns(self) -> int | None:
        """None while it is running."""
        return None if self.end_ns is None else max(0, self.end_ns - self.start_ns)

    def adopt(self, child: Span) -> None:
        """Add a child."""
        if isinstance(self.children, list):
            self.children.append(child)
        else:
            self.children = [child]

    def sent(self, message_id: str) -> None:
        """Add a message that it sent."""
        if isinstance(self.output_ids, list):
            self.output_ids.append(message_id)
        else:
            self.output_ids = [message_id]

    def finish(self, event: TraceEvent) -> None:
        """Take in its end."""
        self.status = str(event.data.get("status", "ok"))
        if event.data.get("paused") is not None and self.status in ("ok", "interrupted"):
            self.status = "paused"  # it waits for somebody
        self.end_ns = event.offset_ns
        self.end_seq = event.seq
        error = event.data.get("error")
        if error is not None:
            self.error = error if isinstance(error, dict) else {"message": str(error)}


class SpanTree:
    """Spans of one trace; events go in in order, each at a constant price."""

    def __init__(self) -> None:
        self.roots: list[Span] = []
        """The trace's own span; one more for each time it was taken up again, and for spans whose parent is unknown."""
        self.spans: dict[str, Span] = {}
        """By id, in order of their start."""

    def add(self, event: TraceEvent) -> Span | None:
        """Take one event; returns the span that it began, ended or gave an output, if it did."""
        kind = event.kind
        if kind.endswith(".start"):
            return self.begin(Span(event))
        span = self.touched(event.span_id, event.seq)
        if span is None:
            return None
        if kind == span.kind + ".end":
            if span.end_seq is not None and span.parent_id is not None:
                return None  # a worker that lost its lease ends what another has ended in its place
            span.finish(event)
            return span
        if kind == "message.enqueued":
            message_id = event.data.get("message_id")
            if isinstance(message_id, str) and "stream_id" not in event.data:
                span.sent(message_id)
                return span
        return None

    def begin(self, span: Span) -> Span:
        """Put a span that began in its place."""
        parent = None if span.parent_id is None else self.spans.get(span.parent_id)
        if parent is None:
            self.roots.append(span)
        else:
            parent.adopt(span)
        self.spans[span.span_id] = span
        return span

    def touched(self, span_id: str, seq: int) -> Span | None:
        """The span that the event `seq`, which is not its start, is about."""
        return self.spans.get(span_id)


def build_spans(events: Iterable[TraceEvent]) -> list[Span]:
    """The roots of a trace's tree: one, and one more for each time the trace was taken up again."""
    tree = SpanTree()
    for event in events:
        tree.add(event)
    return tree.roots


def find_message(events: Iterable[TraceEvent], message_id: str) -> TraceEvent | None:
    """The event that carries the payload of a message, by way of `same_as`; None when there is none.

    An id that was used again (the trace was taken up again) means its last use.
    """
    sent = {
        event.data["message_id"]: event
        for event in events
        if event.kind == "message.enqueued" and isinstance(event.data.get("message_id"), str)
    }
    seen: set[str] = set()
    event = sent.get(message_id)
    while event is not None:
        same_as = event.data.get("same_as")
        if not isinstance(same_as, str):
            return event
        if same_as in seen:
            return None
        seen.add(same_as)
        event = sent.get(same_as)
    return None
