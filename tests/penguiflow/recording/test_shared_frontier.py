"""Where a trace stands that several processes write: what one tells of may come before what it follows from."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penguiflow.observer import Payload
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording.frontier import Frontier, frontier


class Sink:
    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)


class Worker:
    """Tells of deliveries; what it told is kept apart."""

    def __init__(self, name: str) -> None:
        self.sink = Sink()
        self.log = Recorder(self.sink).join("t", worker=name)

    def send(self, edge: str, span: str, message_id: str, value: Any) -> None:
        source, target = edge.split("->")
        data = {"payload": Payload(value), "message_id": message_id, "source": source, "target": target}
        self.log.event("message.enqueued", edge, span, data)

    def take(self, edge: str, message_id: str) -> str:
        self.log.event("message.dequeued", edge, self.log.root, {"message_id": message_id})
        return self.log.start("node", edge.split("->")[1], self.log.root, {"message_id": message_id, "node_id": "i"})

    def end(self, node: str, span: str, status: str = "ok") -> None:
        self.log.end("node", node, span, self.log.root, status)


def told(*, repeats: bool) -> tuple[list[TraceEvent], list[list[TraceEvent]]]:
    """The beginning of a trace, and what each of three workers tells of it.

    `a` sends two messages, each of which `b` adds to what it keeps; the second time it sends a result.
    """
    begun = Sink()
    recorder = Recorder(begun)
    log = recorder.begin_shared("t", worker="caller")
    data = {"payload": Payload("in"), "message_id": "m0", "source": "OpenSea", "target": "a"}
    log.event("message.enqueued", "OpenSea->a", log.root, data)
    first, second, third = Worker("w1"), Worker("w2"), Worker("w3")
    span = first.take("OpenSea->a", "m0")
    for number in (1, 2):
        first.send("a->b", span, f"m{number}", number)
    first.end("a", span)
    if repeats:
        # Somebody else had done the same before, and died.
        span = second.take("OpenSea->a", "m0")
        second.send("a->b", span, "m1", 1)
        second.end("a", span, "interrupted")
    span = second.take("a->b", "m1")
    second.log.event("context.changed", "b", span, {"set": {"seen": {"$list": [{"$payload": "m1"}]}}, "hold": None})
    second.end("b", span)
    span = third.take("a->b", "m2")
    third.log.event("context.changed", "b", span, {"set": {"last": {"$payload": "m2"}}, "hold": "one more"})
    third.send("b->Rookery", span, "m3", "out")
    third.log.event("message.dequeued", "b->Rookery", third.log.root, {"message_id": "m3"})
    third.end("b", span)
    return decoded(begun), [decoded(each.sink) for each in (first, second, third)]


def decoded(sink: Sink) -> list[TraceEvent]:
    return [record.decode() for record in sink.records]


def merged(begun: list[TraceEvent], parts: list[list[TraceEvent]], order: Iterable[int]) -> Iterator[TraceEvent]:
    """In some order, in which each worker's events keep theirs."""
    left = [list(part) for part in parts]
    events = list(begun)
    for choice in itertools.chain(order, itertools.cycle(range(len(left)))):
        if not any(left):
            break
        if left[choice]:
            events.append(left[choice].pop(0))
    for seq, event in enumerate(events):
        yield event._replace(seq=seq)


def shown(found: Frontier) -> dict[str, Any]:
    state = found.states["b"].values
    return {
        "waiting": list(found.waiting),
        "invocations": list(found.invocations),
        "idle": found.idle,
        "results": found.results,
        "output": found.output and found.output.message_id,
        "delivered": [held.message_id for held in found.delivered],
        "seen": [item["$payload"].payload["value"] for item in state["seen"]["$list"]],
        "last": state["last"]["$payload"].payload["value"],
    }


EXPECTED = {
    "waiting": [],
    "invocations": [],
    "idle": True,
    "results": 1,
    "output": "m3",
    "delivered": ["m3"],
    "seen": [1],
    "last": 2,
}


@given(st.lists(st.integers(0, 2), max_size=40), st.booleans())
def test_any_order_of_the_workers_comes_to_the_same(order: list[int], repeats: bool) -> None:
    begun, parts = told(repeats=repeats)

    assert shown(frontier(merged(begun, parts, order))) == EXPECTED


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(0, 24))
def test_what_is_under_way_is_found_at_any_event(order: list[int], seq: int) -> None:
    begun, parts = told(repeats=False)
    events = list(merged(begun, parts, order))
    found = frontier(events, seq)
    upto = [event for event in events if event.seq <= max(seq, 1)]
    started = {event.span_id: event.data["message_id"] for event in upto if event.kind == "node.start"}
    for event in upto:
        if event.kind == "node.end":
            del started[event.span_id]
    sent = {event.data["message_id"] for event in upto if event.kind == "message.enqueued"}
    taken = {event.data["message_id"] for event in upto if event.kind == "message.dequeued"}

    assert {each for each, work in found.invocations.items() if work.calls} == set(started.values())
    assert set(found.waiting) == sent - taken
