"""The stored form of events, and trees that are built from it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penguiflow.observer import Payload
from penguiflow.recording import EventRecord, Recorder, Span, build_spans
from penguiflow.recording.lines import event_line
from penguiflow.recording.payloads import encode_data
from penguiflow.state import InMemoryStateStore
from penguiflow.state.chunks import Chunk, columns, pack, unpack
from penguiflow.state.errors import StoreUnreadable
from penguiflow.state.overview import MAX_FAILED, MAX_GOOD, span_tree

text = st.text(max_size=20)
events = st.lists(
    st.builds(
        EventRecord,
        seq=st.just(0),
        epoch=st.integers(0, 3),
        trace_id=st.just("t"),
        span_id=st.text("0123456789abcdef", min_size=1, max_size=4),
        parent_id=st.none() | st.text("0123456789abcdef", min_size=1, max_size=4),
        ts=st.integers(0, 4_000_000_000_000_000).map(lambda micros: micros / 1e6),
        offset_ns=st.integers(0, 2**62),
        kind=st.sampled_from(["node.start", "node.end", "stall", "message.enqueued"]),
        name=text,
        data=st.dictionaries(text, st.none() | st.integers(-9, 9) | text).map(encode_data),
    ),
    min_size=1,
    max_size=20,
).map(lambda found: [record._replace(seq=seq) for seq, record in enumerate(found, start=7)])


def unpacked(chunk: Chunk) -> list[EventRecord]:
    return [chunk.record(index, 7, "t") for index in range(len(chunk.kinds))]


@given(events)
def test_what_is_packed_is_unpacked(records: list[EventRecord]) -> None:
    assert unpacked(unpack(pack(records))) == records
    assert unpacked(columns(records)) == records


@given(events)
def test_lines_of_version_1_are_read_too(records: list[EventRecord]) -> None:
    lines = b"\n".join(event_line(record) for record in records)
    assert [record.decode() for record in unpacked(unpack(lines))] == [record.decode() for record in records]


def test_text_that_is_no_unicode_is_spelled_out() -> None:
    record = EventRecord(7, 0, "t", "1\ud800", None, 1.0, 0, "stall", "n\udc80", b"{}")
    (found,) = unpacked(unpack(pack([record])))
    assert (found.span_id, found.name) == ("1\\ud800", "n\\udc80")


@pytest.mark.parametrize(
    ("field", "value"),
    [("ts", None), ("offset_ns", "1"), ("kind", None), ("name", 3), ("span_id", None), ("data", "{}"), ("epoch", None)],
)
def test_a_malformed_event_is_refused(field: str, value: Any) -> None:
    record = EventRecord(7, 0, "t", "1", None, 1.0, 0, "stall", "n", b"{}")
    with pytest.raises((TypeError, ValueError)):
        pack([record, record._replace(**{field: value})])


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"[1, 2]\n{}", b"{no json", b"{}", b'[0,["1"],[null],[1],[1],["a"],["b"]]\n{}\n{}', b"7"]
)
def test_damage_is_refused(data: bytes) -> None:
    with pytest.raises(sqlite3.DatabaseError, match="cannot be read"):
        unpack(data)


@pytest.mark.parametrize("data", [b"garbage", b'[0,["0"],[null],[1.0],[1],["trace.start"],["n"]]\n{garbage'])
async def test_damage_within_a_sound_file_is_reported(open_store: Any, data: bytes) -> None:
    store = open_store()
    Recorder(store=store).open("t")
    await store.flush()
    await store._execute("UPDATE event_chunks SET data = ?", (data,))
    with pytest.raises(StoreUnreadable, match="damaged"):
        await store.load_events("t")
    with pytest.raises(StoreUnreadable, match="damaged"):
        await store.load_history("t")
    assert await store.load_spans("u") == []
    # Lists and other traces are not affected.
    Recorder(store=store).open("u").close("ok")
    await store.flush()
    assert len(await store.load_events("u")) == 2
    assert len(await store.find_traces()) == 2


async def test_a_damaged_trace_does_not_stop_recovery_silently(open_store: Any) -> None:
    store = open_store()
    Recorder(store=store).open("t")
    await store.close()
    other = open_store()
    await other._execute("UPDATE event_chunks SET data = ?", (b"garbage",))
    with pytest.raises(StoreUnreadable, match="damaged"):
        await other.recover()


class Sink:
    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)


def shape(span: Span) -> tuple[Any, ...]:
    about = (span.kind, span.name, span.status, span.start_seq, span.end_seq, span.end_ns, span.attempt, span.error)
    return (*about, [shape(child) for child in span.children])


def tree(records: list[EventRecord], *, fold: bool, size: int = 7) -> list[Span]:
    """From chunks that end in the middle of spans."""
    pieces = [(first, unpack(pack(records[first : first + size]))) for first in range(0, len(records), size)]
    return span_tree(pieces, "t", fold=fold)


@given(st.lists(st.tuples(st.sampled_from("oec"), st.sampled_from("abc"), st.integers(0, 30)), max_size=60))
def test_the_tree_is_that_of_the_events(steps: list[tuple[str, str, int]]) -> None:
    sink = Sink()
    log: Any = Recorder(sink).open("t")
    opened: list[tuple[str, str, str]] = []
    for what, name, pick in steps:
        if what == "o":
            parent = opened[pick % len(opened)][0] if opened and pick % 3 else log.root
            opened.append((log.start("node", name, parent, {"attempt": pick}), name, parent))
        elif what == "e" and opened:
            span, name_of, parent = opened.pop(pick % len(opened))
            log.end("node", name_of, span, parent, "error" if pick % 4 == 0 else "ok", {"error": {"message": "m"}})
        else:
            log.event("stall", name, log.root)
    expected = [shape(root) for root in build_spans(record.decode() for record in sink.records)]
    assert [shape(root) for root in tree(sink.records, fold=False)] == expected


def crowd(good: int, bad: int) -> list[EventRecord]:
    sink = Sink()
    log = Recorder(sink).open("t")
    for number in range(good + bad):
        node = log.start("node", "work", log.root)
        attempt = log.start("attempt", "work", node, {"attempt": 0})
        log.end("attempt", "work", attempt, node, "ok")
        log.end("node", "work", node, log.root, "error" if number < bad else "ok", {"error": {"message": "m"}})
        other = log.start("node", "once", log.root) if number == good + bad - 1 else None
        if other is not None:
            log.end("node", "once", other, log.root, "ok")
    log.close("ok")
    return sink.records


def test_a_crowd_is_counted() -> None:
    (root,) = tree(crowd(100, 30), fold=True)
    (folded,) = root.crowds
    assert (folded.kind, folded.name) == ("node", "work")
    assert dict(folded.statuses) == {"ok": 100 - MAX_GOOD, "error": 30 - MAX_FAILED}
    assert len(folded.durations) == 130 - MAX_GOOD - MAX_FAILED
    kept = [child.name for child in root.children]
    assert kept.count("work") == MAX_GOOD + MAX_FAILED
    assert kept.count("once") == 1
    assert [child.start_seq for child in root.children] == sorted(child.start_seq for child in root.children)
    assert [len(child.children) for child in root.children if child.name == "work"] == [1] * (MAX_GOOD + MAX_FAILED)
    assert root.status == "ok"


def test_few_siblings_are_all_kept() -> None:
    (root,) = tree(crowd(MAX_GOOD, 0), fold=True)
    assert not root.crowds
    assert len(root.children) == MAX_GOOD + 1


def test_what_is_still_running_is_kept() -> None:
    sink = Sink()
    log = Recorder(sink).open("t")
    for _ in range(50):
        log.start("node", "work", log.root)
    (root,) = tree(sink.records, fold=True)
    assert root.status == "running"
    assert [child.status for child in root.children] == ["running"] * 50


async def test_memory_has_the_same_trees() -> None:
    store = InMemoryStateStore()
    for record in crowd(20, 0):
        store.sink.write(record)
    (whole,) = await store.load_spans("t")
    (folded,) = await store.load_spans("t", fold=True)
    assert len(whole.children) == 21
    assert len(folded.children) == MAX_GOOD + 1
    assert await store.load_spans("unknown") == []


def called(*, good: int, bad: int = 0, **more: Any) -> list[EventRecord]:
    """A node that makes calls, of which each took 2 ms."""
    sink = Sink()
    log = Recorder(sink).open("t")
    node = log.start("node", "work", log.root)
    attempt = log.start("attempt", "work", node, {"attempt": 0})
    for number in range(good + bad):
        answer: dict[str, Any] = {"response": Payload({"error": None, "is": '"error":'})}
        if number < bad:
            answer = {"cancelled": True} if number % 2 else {"error": {"type": "KeyError", "message": "m"}}
        log.event(
            "record", "model", attempt, {"ordinal": number, "request": [], **answer, **({"latency_ms": 2.0} | more)}
        )
        for own in ("ctx.now", "planner.limit"):
            log.event("record", own, attempt, {"ordinal": number, "request": [], "response": 1, "latency_ms": 0.1})
    log.end("attempt", "work", attempt, node, "ok")
    log.end("node", "work", node, log.root, "ok")
    log.close("ok")
    return [record._replace(offset_ns=0 if record.seq < 3 else 10_000_000 + record.seq) for record in sink.records]


def calls_of(records: list[EventRecord], *, fold: bool) -> Span:
    """The attempt that made them."""
    (root,) = tree(records, fold=fold)
    return root.children[0].children[0]


def test_recorded_calls_are_in_the_tree_and_the_clock_is_not() -> None:
    attempt = calls_of(called(good=1, bad=2, waited=False), fold=True)

    assert [(call.kind, call.name, call.status) for call in attempt.children] == [
        ("record", "model", "error"),
        ("record", "model", "cancelled"),
        ("record", "model", "ok"),
    ]
    assert [call.error and call.error["message"] for call in attempt.children] == ["m", None, None]
    assert [call.duration_ns for call in attempt.children] == [2_000_000] * 3
    assert {call.parent_id for call in attempt.children} == {attempt.span_id}
    assert len({call.span_id for call in attempt.children} | {attempt.span_id}) == 4


def test_of_many_recorded_calls_some_are_kept() -> None:
    records = called(good=100, bad=30)

    attempt = calls_of(records, fold=True)
    (folded,) = attempt.crowds
    assert (folded.kind, folded.name, dict(folded.statuses)) == (
        ("record", "model", {"ok": 100 - MAX_GOOD, "error": 5, "cancelled": 5})
    )
    assert set(folded.durations) == {2_000_000}
    assert len(attempt.children) == MAX_GOOD + MAX_FAILED
    assert len(calls_of(records, fold=False).children) == 130


@pytest.mark.parametrize("told", ["long ago", None, 1e300, 9e3])
def test_a_call_took_no_longer_than_what_it_ran_in(told: Any) -> None:
    """Answered from a recording, or by somebody who does not know, it may say anything."""
    (call,) = calls_of(called(good=1, latency_ms=told), fold=True).children
    assert call.start_ns == (0 if isinstance(told, float) else call.end_ns)


def test_calls_of_what_is_over_are_the_traces_own() -> None:
    sink = Sink()
    log = Recorder(sink).open("t")
    node = log.start("node", "work", log.root)
    log.end("node", "work", node, log.root, "ok")
    log.event("record", "late", node, {"ordinal": 0, "request": [], "response": 1, "latency_ms": 0.5})
    (root,) = tree(sink.records, fold=True)
    assert [child.name for child in root.children] == ["work", "late"]
