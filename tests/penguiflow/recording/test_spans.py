"""The tree of a trace."""

from __future__ import annotations

import pytest

from penguiflow.observer import Payload
from penguiflow.recording import EventRecord, Recorder, SpanTree, TraceEvent, build_spans, find_message


class Sink:
    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)


@pytest.fixture
def events() -> list[TraceEvent]:
    """A node that fails once, then sends one payload to two places and a chunk; a second node still at work."""
    sink = Sink()
    log = Recorder(sink, name="flow").open("t")
    log.event("message.enqueued", "OpenSea->a", log.root, {"payload": Payload("in"), "message_id": "m0"})
    node = log.start("node", "a", log.root, {"message_id": "m0"})
    attempt = log.start("attempt", "a", node, {"attempt": 0})
    log.end("attempt", "a", attempt, node, "error", {"error": {"type": "ValueError", "message": "no"}})
    log.event("node.retry", "a", node, {"attempt": 1})
    attempt = log.start("attempt", "a", node, {"attempt": 1})
    log.end("attempt", "a", attempt, node, "ok")
    log.event("message.enqueued", "a->b", node, {"payload": Payload("out"), "message_id": "m1"})
    log.event("message.enqueued", "a->c", node, {"message_id": "m2", "same_as": "m1"})
    log.event("message.enqueued", "a->c", node, {"message_id": "m3", "stream_id": "s", "chunk_seq": 0})
    log.end("node", "a", node, log.root, "ok")
    log.start("node", "b", log.root, {"message_id": "m1"})
    return [record.decode() for record in sink.records]


def test_the_tree_has_times_attempts_and_messages(events: list[TraceEvent]) -> None:
    (root,) = build_spans(events)
    assert (root.kind, root.name, root.status, root.parent_id, root.duration_ns) == (
        "trace",
        "flow",
        "running",
        None,
        None,
    )
    first, second = root.children
    assert (first.kind, first.name, first.status, first.input_id, first.output_ids) == (
        "node",
        "a",
        "ok",
        "m0",
        ["m1", "m2"],
    )
    assert (second.name, second.status, second.end_seq) == ("b", "running", None)
    assert [(child.attempt, child.status) for child in first.children] == [(0, "error"), (1, "ok")]
    assert first.children[0].error == {"type": "ValueError", "message": "no"}
    assert (first.start_seq, first.end_seq) == (2, 11)
    assert first.duration_ns is not None
    assert first.end_ns is not None
    assert first.duration_ns == first.end_ns - first.start_ns >= 0
    assert root.output_ids == ["m0"]


def test_events_one_by_one_give_the_same_tree(events: list[TraceEvent]) -> None:
    tree = SpanTree()
    changed = [tree.add(event) for event in events]
    assert [span.name for span in changed if span is not None][:2] == ["flow", "flow"]
    assert list(tree.spans) == ["0", "2", "3", "6", "c"]
    assert [root.span_id for root in tree.roots] == ["0"]


def test_a_trace_taken_up_again_has_two_roots_and_orphans_are_shown() -> None:
    def start(seq: int, span: str, parent: str | None) -> TraceEvent:
        return TraceEvent(
            seq, 0, "t", span, parent, 1.0, seq, "trace.start" if parent is None else "node.start", "n", {}
        )

    tree = SpanTree()
    for event in (start(0, "0", None), start(1, "1", None), start(2, "2", "missing")):
        tree.add(event)
    assert [root.span_id for root in tree.roots] == ["0", "1", "2"]
    ending = TraceEvent(3, 0, "t", "unknown", None, 1.0, 3, "node.end", "n", {"status": "ok"})
    assert tree.add(ending) is None


def test_a_message_is_found_by_its_id_and_by_way_of_another(events: list[TraceEvent]) -> None:
    for message_id in ("m1", "m2"):
        found = find_message(events, message_id)
        assert found is not None
        assert found.data["payload"]["value"] == "out"
    assert find_message(events, "m9") is None


def test_messages_that_point_at_each_other_are_not_found() -> None:
    ring = [
        TraceEvent(n, 0, "t", "0", None, 1.0, 0, "message.enqueued", "a->b", {"message_id": a, "same_as": b})
        for n, (a, b) in enumerate([("x", "y"), ("y", "x"), ("z", "gone")])
    ]
    assert find_message(ring, "x") is None
    assert find_message(ring, "z") is None
