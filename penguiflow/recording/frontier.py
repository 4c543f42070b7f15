"""Where a trace stands after any of its events: what its log says is still to be done.

Events go in one by one and what is over is forgotten, so that a trace may be longer than the memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Protocol

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.held import MAX_RECENT, Content, Held, Invocation, NodeState, Pending, Taken, emission_of
from penguiflow.recording.streams import give_back
from penguiflow.reruns import SentPart

__all__ = ["EXIT", "Frontier", "frontier", "read_frontier"]


class EventSource(Protocol):
    """The part of a trace store that a log is read from."""

    async def load_events(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[TraceEvent]:
        """Committed events with `seq > after`, in order."""
        ...


OUTSIDE = "OpenSea"
EXIT = "Rookery"
PAGE = 2000
CALLS = frozenset({"record", "llm", "tool", "remote"})
_PARTS = ("attempt", "playbook", "node", "planner", "step", "branch", "join")
_PLACES = frozenset(f"{part}.start" for part in _PARTS)
"""Spans that say where a call was made."""


class Frontier:
    """What is left to do of a trace after event `seq`."""

    def __init__(self, *, results: bool = True) -> None:
        """`results`: keep those that were delivered, for a fork."""
        self.delivered: list[Held] = []
        """Results that somebody has, in order."""
        self._keeps_results = results
        self.trace_id = ""
        self.seq = -1
        """The last event taken in."""
        self.ts = 0.0
        """Its wall clock."""
        self.about: dict[str, Any] = {}
        """The data of the last `trace.start`: `flow`, `target`, `version` …"""
        self.origin: tuple[str, int] | None = None
        """Trace and event that a fork began at."""
        self.origin_calls: list[TraceEvent] = []
        """What a cassette needs of the calls that invocations under way had made in the origin."""
        self.epoch = 0
        self.waiting: dict[str, Held] = {}
        """Messages on edges in the order in which they were sent; those for `Rookery` nobody has fetched."""
        self.invocations: dict[str, Invocation] = {}
        """Under way, by the id of their message, in the order in which they began."""
        self.states: dict[str, NodeState] = {}
        """By node."""
        self.streams: dict[tuple[str, str], int] = {}
        """Number of the next chunk, by node and stream."""
        self.pending: dict[tuple[str, str], Pending] = {}
        """What is held back of streams, by node and stream."""
        self.spread: dict[tuple[str, str], Pending] = {}
        """What the last chunk of a stream has of those before it, because a secret ends in it."""
        self.submissions = 0
        """Messages that came in from outside since the trace was begun or taken up again."""
        self.entry: list[Held] = []
        """The last emission from outside: the same message by one edge or several."""
        self.output: Held | None = None
        """The last result that is no chunk."""
        self.results = 0
        """How many results there were, chunks included."""
        self.hops: tuple[str, int] | None = None
        """Node and hops of the last working memory that was delivered."""
        self.error: dict[str, Any] | None = None
        """The first failure."""
        self.shift_s = 0.0
        """How long the trace was interrupted so far: what is added to deadlines."""
        self.cancelled = False
        self.status: str | None = None
        """How the trace ended, if it has."""
        self.subject: str | None = None
        """The message that the last event is about."""
        self._spans: dict[str, Invocation] = {}
        self._nested: set[str] = set()
        """Spans of playbooks and what is inside them: their messages are not the flow's."""
        self._outside = Invocation("", None)
        self._emission: str | None = None
        """What is coming in from outside, if the last event was a part of it."""
        self._shifts: dict[str, float] = {}
        self._to_come = 0
        """Events with which a fork begins that are not taken in yet."""
        self._taken = Taken()
        self._handlers = {
            "trace.start": self._trace_start,
            "trace.end": self._trace_end,
            "node.start": self._node_start,
            "node.end": self._node_end,
            "message.enqueued": self._enqueued,
            "message.dequeued": self._dequeued,
            "message.dropped": self._dropped,
            "stream.chunk": self._chunk,
            "context.changed": self._changed,
            "cancel.requested": self._cancel,
        }

    @property
    def entered(self) -> bool:
        """Whether anything has come in from outside, or from the origin of a fork."""
        return self._to_come == 0 and (bool(self.entry) or self.submissions > 0 or "forked" in self.about)

    @property
    def idle(self) -> bool:
        """Whether no node has anything left to do."""
        return not self.invocations and all(held.target == EXIT for held in self.waiting.values())

    def completes(self, event: TraceEvent) -> bool:
        """Whether this event, the next one, is part of what came in from outside with the last ones."""
        if not self.entered:
            return True
        if event.kind != "message.enqueued" or event.data.get("source") != OUTSIDE or self._emission is None:
            return False
        return self._emission == emission_of(event.data)

    @property
    def entering(self) -> bool:
        """Whether the log ends in the middle of what may have been coming in by several edges."""
        return self._emission is not None and bool(self.entry) and self._emission == self.entry[0].message_id

    def settle(self) -> None:
        """Nothing more belongs to what came in last."""
        self._emission = None

    def take(self, event: TraceEvent) -> None:
        """Take in the next event."""
        self.seq = event.seq
        self.ts = event.ts
        self._to_come = max(0, self._to_come - 1)
        kind = event.kind
        if self._nested and (event.span_id in self._nested or event.parent_id in self._nested):
            self._inside(event)
            return
        self.subject = None
        if kind not in ("host.died", "log", "message.enqueued") and event.data.get("status") != "interrupted":
            self._emission = None
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(event)
            return
        invocation = self._spans.get(event.span_id)
        if kind.endswith(".start"):
            invocation = self._spans.get(event.parent_id or "")
            if kind == "playbook.start":
                self._nested.add(event.span_id)
            if invocation is not None:
                self._spans[event.span_id] = invocation
        elif kind.endswith(".end"):
            self._spans.pop(event.span_id, None)
            self._nested.discard(event.span_id)
        if invocation is not None:
            self.subject = invocation.message_id
            self._keep_call(invocation, event)

    def deadline(self, content: Content, message_id: str) -> float | None:
        """The message's deadline, later by the time that the trace was interrupted since it was sent."""
        if content.deadline_s is None:
            return None
        return content.deadline_s + self.shift_s - self._shifts.get(message_id, 0.0)

    # -- what each kind of event means ---------------------------------------------------------------------------------

    def _trace_start(self, event: TraceEvent) -> None:
        taken_up = event.data.get("resumed")
        if self.trace_id and not isinstance(taken_up, dict):
            # Opened again for something new: what was left of it is gone.
            self._forget()
        if isinstance(taken_up, dict):
            self.shift_s += float(taken_up.get("shift_s") or 0.0)
        self.trace_id = event.trace_id
        self.epoch = event.epoch
        self.about = event.data
        self.status = None
        self.submissions = int((event.data.get("forked") or {}).get("submissions") or 0)
        forked = event.data.get("forked")
        if isinstance(forked, dict):
            origin = event.data.get("origin") or {}
            self.origin = str(origin.get("trace_id", "")), int(origin.get("seq") or 0)
            for node, stream, number in forked.get("streams") or ():
                self.streams[node, stream] = number
            for node, stream, name, parts in forked.get("held") or ():
                self.pending[node, stream] = Pending(name, parts, {})
            self.error = forked.get("error")
            self._to_come = int(forked.get("events") or 0)

    def _trace_end(self, event: TraceEvent) -> None:
        self.status = str(event.data.get("status", "ok"))
        if self.status != "interrupted":
            self._forget()
            self.error = event.data.get("error")

    def _forget(self) -> None:
        """Nothing is left to do; results that nobody has fetched stay."""
        self.waiting = {key: held for key, held in self.waiting.items() if held.target == EXIT}
        self.invocations.clear()
        self.states.clear()
        self.streams.clear()
        self.pending.clear()
        self.spread.clear()
        self._spans.clear()
        self._nested.clear()
        self._taken = Taken()
        self.error = None
        self.cancelled = False

    def _node_start(self, event: TraceEvent) -> None:
        message_id = str(event.data.get("message_id", ""))
        invocation = self.invocations.get(message_id)
        if invocation is None:
            invocation = self.invocations[message_id] = Invocation(message_id, None)
        invocation.changes.clear()
        invocation.calls.append(event)
        self._spans[event.span_id] = invocation
        self.subject = message_id

    def _node_end(self, event: TraceEvent) -> None:
        invocation = self._spans.pop(event.span_id, None)
        if invocation is None:
            return
        message_id = invocation.message_id
        if event.data.get("status") == "interrupted":
            invocation.changes.clear()
            self.subject = message_id
            if message_id in self._taken.done:
                self.invocations.pop(message_id, None)
            return
        if event.worker_id is not None:
            self._taken.done.add(message_id)
        for change in invocation.changes:
            self._apply(event.name, change)
        self.invocations.pop(message_id, None)
        self._shifts.pop(message_id, None)
        error = event.data.get("error")
        if self.error is None and isinstance(error, dict):
            self.error = error
        sent = [key for key in invocation.sent if key in self.waiting]
        self.subject = sent[0] if len(sent) == 1 else None

    def _enqueued(self, event: TraceEvent) -> None:
        data = event.data
        message_id = str(data.get("message_id", ""))
        sender = self._spans.get(event.span_id, self._outside)
        sender.sent.add(message_id)
        chunk: Mapping[str, Any] | None = None
        if "stream_id" in data:
            chunk, content = self._chunk_of(sender, data, event)
            sender.untold = None
        else:
            content = self._content_of(sender, message_id, data, event)
        held = Held(message_id, event.name, event.seq, content, chunk)
        if event.name.startswith(f"{OUTSIDE}->"):
            self._came_in(held, data)
        if held.target == EXIT:
            self.results += 1
            if chunk is None:
                self.output = held
                self._note_hops(event.name, content)
        self.waiting[message_id] = held
        if self.shift_s:
            self._shifts[message_id] = self.shift_s
        if event.worker_id is not None and message_id in self._taken.ids:
            self._catch_up(held)
        restored = data.get("restored")
        if isinstance(restored, dict):
            # The beginning of a fork: a node had begun to work on it.
            invocation = Invocation(message_id, held)
            invocation.sent.update(restored.get("sent") or ())
            invocation.chunks += [(str(stream), int(number)) for stream, number in restored.get("chunks") or ()]
            self.waiting.pop(message_id)
            self.invocations[message_id] = invocation
        self.subject = message_id

    def _catch_up(self, held: Held) -> None:
        """A message that was taken already was sent: another process told of it first, or it is sent once more."""
        self.waiting.pop(held.message_id)
        known = self._taken.early.pop(held.message_id, None)
        if known is None:
            self.results -= held.target == EXIT
            return
        if held.content is not None:
            known.become(held.content)
        invocation = self.invocations.get(held.message_id)
        if held.target != EXIT and invocation is not None:
            invocation.held = held
        elif held.target == EXIT and self._keeps_results:
            self.delivered.append(held)

    def _content_of(
        self, sender: Invocation, message_id: str, data: Mapping[str, Any], event: TraceEvent
    ) -> Content | None:
        same_as = data.get("same_as")
        if isinstance(same_as, str):
            return sender.contents.get(same_as)
        payload = data.get("payload")
        if not isinstance(payload, dict):
            return None
        content = sender.contents[message_id] = Content(payload, data, event.ts)
        if len(sender.contents) > MAX_RECENT:
            del sender.contents[next(iter(sender.contents))]
        return content

    def _chunk_of(
        self, sender: Invocation, data: Mapping[str, Any], event: TraceEvent
    ) -> tuple[Mapping[str, Any], Content | None]:
        """A piece of a stream, with the envelope that it travels in."""
        stream, number = data.get("stream_id"), data.get("chunk_seq")
        found = next((about for key, about in sender.recent if key == stream and about["chunk_seq"] == number), None)
        content = None if sender.held is None else sender.held.content
        if data.get("headers") is not None:
            content = Content({}, data, event.ts)
        return found or {"stream_id": stream, "chunk_seq": number}, content

    def _came_in(self, held: Held, data: Mapping[str, Any]) -> None:
        self.submissions += 1
        self._emission = emission_of(data)
        if "stream_id" in data:
            return
        if data.get("same_as") is None:
            self.entry = []
        self.entry.append(held)

    def _note_hops(self, edge: str, content: Content | None) -> None:
        value = None if content is None else content.payload.get("value")
        if not isinstance(value, dict) or "hops" not in value:
            return
        if value.get("budget_hops") is None and value.get("budget_tokens") is None:
            self.hops = (edge.split("->", 1)[0], int(value["hops"]))

    def _dequeued(self, event: TraceEvent) -> None:
        message_id = str(event.data.get("message_id", ""))
        held = self.waiting.pop(message_id, None)
        if held is not None and held.target == EXIT:
            if self._keeps_results:
                self.delivered.append(held)
        elif held is not None:
            fetcher = self._spans.get(str(event.data.get("by", "")))
            if fetcher is not None:
                fetcher.fetched.append(held)
            elif message_id not in self.invocations:
                self.invocations[message_id] = Invocation(message_id, held)
        if event.worker_id is not None:
            self._taken.add(message_id, early=held is None)
            if not event.name.endswith(f"->{EXIT}"):
                self.invocations.setdefault(message_id, Invocation(message_id, held))
        self.subject = message_id

    def _dropped(self, event: TraceEvent) -> None:
        self.waiting.pop(str(event.data.get("message_id", "")), None)

    def _chunk(self, event: TraceEvent) -> None:
        sender = self._spans.get(event.span_id, self._outside)
        if "of" in event.data:
            self._part(sender, event.data)
            return
        node = event.data.get("node") or (OUTSIDE if sender.held is None else sender.held.target)
        data = self._own(sender, node, event.data)
        if data is None:
            return
        if "node" in data:
            # The beginning of a fork, which tells the counters by itself.
            sender.recent.append((str(data.get("stream_id")), data))
            return
        stream, number = str(data.get("stream_id")), int(data.get("chunk_seq") or 0)
        if data.get("done"):
            self.streams.pop((node, stream), None)
        else:
            self.streams[node, stream] = number + 1
        sender.recent.append((stream, data))
        if sender is self._outside:
            self._emission = emission_of({"stream_id": stream, "chunk_seq": number})
        else:
            sender.chunks.append((stream, number))
            sender.untold = (stream, number)
            self.subject = sender.message_id

    def _part(self, sender: Invocation, data: Mapping[str, Any]) -> None:
        """A piece of a stream of something within the invocation: no message, and no state of the node's."""
        over, void = bool(data.get("done")), bool((data.get("meta") or {}).get("superseded"))
        sent = SentPart(int(data.get("chunk_seq") or 0) + 1, int(data.get("chars") or 0), over, void)
        sender.parts[str(data.get("stream_id"))] = sent

    def _own(self, sender: Invocation, node: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """A chunk's own data; those before it get what is theirs. None where there is nothing else in it."""
        stream = str(data.get("stream_id"))
        self.spread.pop((node, stream), None)
        if "carried" not in data and "held" not in data and "spread" not in data:
            return data
        known = {about["chunk_seq"]: about for key, about in (*self._outside.recent, *sender.recent) if key == stream}
        before = self.pending.pop((node, stream), None)
        if before is not None:
            known.update(before.chunks)
        own = give_back(data, known.get)
        if own is not None and "spread" in data:
            name = str(own["text"]).partition("⟧")[0].removeprefix("⟦$secret ")
            self.spread[node, stream] = Pending(name, data["spread"], {})
        held = data.get("held")
        if held is not None and own is not None:
            known[own["chunk_seq"]] = own
            chunks = {number: known[number] for number, _ in held["parts"] if number in known}
            self.pending[node, stream] = Pending(held["of"], held["parts"], chunks)
        return own

    def _changed(self, event: TraceEvent) -> None:
        invocation = self._spans.get(event.span_id)
        data = event.data
        if "of" in data:
            return  # something within the invocation, that keeps it itself
        own = None
        if invocation is not None:
            early = self._taken.early.get(invocation.message_id)
            own = early if invocation.held is None else invocation.held.content
        change = {**data, "own": own}
        if invocation is None:
            self._apply(event.name, change)
        else:
            invocation.changes.append(change)
            self.subject = invocation.message_id

    def _apply(self, node: str, change: Mapping[str, Any]) -> None:
        state = self.states.setdefault(node, NodeState())
        state.change(change)
        if not state.values and state.hold is None:
            del self.states[node]

    def _cancel(self, event: TraceEvent) -> None:
        self.cancelled = True

    def _inside(self, event: TraceEvent) -> None:
        """An event of a playbook: of no account, but for the calls that it made."""
        kind = event.kind
        invocation = self._spans.get(event.span_id) or self._spans.get(event.parent_id or "")
        if kind.endswith(".start"):
            self._nested.add(event.span_id)
            if invocation is not None:
                self._spans[event.span_id] = invocation
        elif kind.endswith(".end"):
            self._nested.discard(event.span_id)
            self._spans.pop(event.span_id, None)
        if invocation is not None:
            self._keep_call(invocation, event)

    def _keep_call(self, invocation: Invocation, event: TraceEvent) -> None:
        """Keep what was called, and the spans that say where."""
        family = event.kind.partition(".")[0]
        if family in CALLS or event.kind in _PLACES or event.kind == "checkpoint.resolved":
            invocation.calls.append(event)


def frontier(events: Iterable[TraceEvent], seq: int | None = None) -> Frontier:
    """Where a trace stands after event `seq` (None: after the last one). `events` begin with the trace's first.

    What came in from outside came in as a whole: a `seq` before it, or in the middle of it, means the end of it.
    """
    found = Frontier()
    for event in events:
        if seq is not None and event.seq > seq and not found.completes(event):
            found.settle()
            break
        found.take(event)
    return found


async def read_frontier(store: EventSource, trace_id: str, seq: int | None = None, *, results: bool = True) -> Frontier:
    """As `frontier`, of a stored trace, page by page; `results`: keep those that were delivered, for a fork."""
    found = Frontier(results=results)
    async for event in stored(store, trace_id):
        if seq is not None and event.seq > seq and not found.completes(event):
            found.settle()
            break
        found.take(event)
    if found.origin is not None and found.invocations:
        # A fork's log does not repeat the calls that were answered before it.
        before = await read_frontier(store, *found.origin, results=False)
        under_way = [each for key, each in before.invocations.items() if key in found.invocations]
        found.origin_calls = [*before.origin_calls, *(event for each in under_way for event in each.calls)]
    return found


async def stored(store: EventSource, trace_id: str) -> AsyncIterator[TraceEvent]:
    """The committed events of a trace; those of one page are in memory."""
    after = -1
    while page := await store.load_events(trace_id, after=after, limit=PAGE):
        for event in page:
            yield event
        after = page[-1].seq
