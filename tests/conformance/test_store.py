"""What every store of traces does, whatever is behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import from_json

from penguiflow import Node, NodePolicy, create
from penguiflow.observer import Payload
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.state import RemoteBinding, StateStore, StoredEvent
from penguiflow.state.errors import AmbiguousTrace, StoreError, TraceNotFound
from penguiflow.state.traces import TraceQuery, TraceStatus, TraceStore

Open = Callable[[], Any]


class Question(BaseModel):
    text: str


class Sink:
    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)


def record(store: Any, trace_id: str, *, events: int = 0, status: str | None = "ok", **data: Any) -> list[TraceEvent]:
    """Record a trace of `events` events between its start and its end; returns what was recorded."""
    sink = Sink()
    log = Recorder(sink, store=store, name=data.get("flow", "flow"), data=data).open(trace_id)
    for number in range(events):
        log.event("node.retry" if number % 2 else "stall", "n", log.root, {"n": number, "text": "ü\n\0"})
    if status is not None:
        log.close(status)
    return [each.decode() for each in sink.records]


def test_it_is_a_store_of_both_kinds(store: Any) -> None:
    assert isinstance(store, TraceStore)
    assert isinstance(store, StateStore)


async def test_what_was_recorded_is_read_back(store: Any) -> None:
    recorded = record(store, "t", events=1000)
    await store.flush()
    assert await store.load_events("t") == recorded
    assert [from_json(raw) for raw in await store.load_event_bytes("t")] == [event.to_dict() for event in recorded]
    summary = await store.get_trace("t")
    assert summary.events == 1002


@pytest.mark.parametrize("page", [1, 7, 255, 256, 257, 10_000])
async def test_pages_join_without_a_seam(store: Any, page: int) -> None:
    recorded = record(store, "t", events=600)
    await store.flush()
    found: list[TraceEvent] = []
    raw: list[bytes] = []
    limit = 40 if page == 1 else 10_000
    while len(found) < limit:
        after = found[-1].seq if found else -1
        events = await store.load_events("t", after=after, limit=page)
        raw += await store.load_event_bytes("t", after=after, limit=page)
        if not events:
            break
        assert len(events) <= page
        found += events
    assert found == recorded[:limit]
    assert [from_json(line)["seq"] for line in raw] == [event.seq for event in found]


async def test_kinds_are_exact_or_begin(store: Any) -> None:
    recorded = record(store, "t", events=30)
    await store.flush()

    async def seqs(*kinds: str, **page: int) -> list[int]:
        return [event.seq for event in await store.load_events("t", kinds=kinds, **page)]

    assert await seqs("stall") == [event.seq for event in recorded if event.kind == "stall"]
    assert await seqs("trace.*") == [0, 31]
    assert await seqs("trace.end", "node.*", after=28, limit=2) == [30, 31]
    assert await seqs("*") == list(range(32))
    assert await seqs() == []
    assert await seqs("stal") == []


async def test_nothing_is_found_where_nothing_is(store: Any) -> None:
    assert await store.find_traces() == []
    assert await store.get_trace("t") is None
    assert await store.load_events("t") == []
    assert await store.load_event_bytes("t") == []
    assert await store.load_history("t") == []
    record(store, "t", events=3)
    await store.flush()
    assert await store.load_events("t", after=99) == []
    assert await store.load_events("t", limit=0) == []


async def test_a_summary_follows_the_trace(store: Any) -> None:
    recorder = Recorder(store=store, name="qa", data={"target": "flows/qa.py", "version": "v1"})
    log = recorder.open("t", {"session": "s", "origin": {"trace_id": "o", "seq": 4}})
    log.event("message.enqueued", "OpenSea->a", log.root, {"message_id": "1", "payload": Payload(Question(text="why"))})
    await store.flush()
    summary = await store.get_trace("t")
    assert (summary.flow, summary.target, summary.version, summary.session) == ("qa", "flows/qa.py", "v1", "s")
    assert (summary.status, summary.events, summary.ended, summary.duration_s) == ("running", 2, None, None)
    assert summary.origin == {"trace_id": "o", "seq": 4}
    assert summary.input == '{"text":"why"}'
    assert summary.output is None
    log.event("message.enqueued", "OpenSea->a", log.root, {"message_id": "2", "payload": Payload("second")})
    log.event("message.enqueued", "a->Rookery", log.root, {"message_id": "3", "payload": Payload("first answer")})
    log.event("message.enqueued", "a->b", log.root, {"message_id": "4", "payload": Payload({"answer": "x" * 1000})})
    log.event("message.enqueued", "a->Rookery", log.root, {"message_id": "5", "same_as": "4"})
    log.event("message.enqueued", "a->Rookery", log.root, {"message_id": "6", "stream_id": "s", "chunk_seq": 0})
    error = {"code": "NODE_EXCEPTION", "exception_type": "ValueError", "message": "no\nmore"}
    log.close("error", {"error": error, "version": "v2"})
    await store.flush()
    summary = await store.get_trace("t")
    assert summary.status == "error"
    assert summary.error == "ValueError: no"
    assert summary.version == "v2"
    assert summary.input == '{"text":"why"}'
    assert summary.output.startswith('{"answer":"xxx')
    assert len(summary.output) < 300
    assert summary.ended is not None
    assert 0 <= summary.duration_s < 60
    assert summary.started <= summary.ended


@pytest.mark.parametrize("status", ["ok", "error", "timeout", "cancelled", "interrupted"])
async def test_every_status_is_kept_and_found(store: Any, status: TraceStatus) -> None:
    record(store, "t", status=status)
    record(store, "other", status="ok" if status != "ok" else "error")
    await store.flush()
    found = await store.find_traces(TraceQuery(status=status))
    assert [summary.trace_id for summary in found] == ["t"]


async def test_traces_are_found_newest_first(store: Any) -> None:
    for name in ("a", "b", "c"):
        record(store, name)
    await store.flush()
    assert [summary.trace_id for summary in await store.find_traces()] == ["c", "b", "a"]
    assert [summary.trace_id for summary in await store.find_traces(TraceQuery(limit=1))] == ["c"]
    assert await store.find_traces(TraceQuery(limit=0)) == []
    middle = (await store.get_trace("b")).started
    assert [summary.trace_id for summary in await store.find_traces(TraceQuery(since=middle))] == ["c", "b"]
    assert [summary.trace_id for summary in await store.find_traces(TraceQuery(before=middle))] == ["a"]


async def test_traces_are_found_by_flow_session_and_text(store: Any) -> None:
    record(store, "one", flow="Grüße", session="s1")
    record(store, "two", flow="percent 100%_", session="s2")
    log = Recorder(store=store).open("three")
    log.event("message.enqueued", "OpenSea->a", log.root, {"payload": Payload("find ÜBER me")})
    log.close("error", {"error": {"code": "X", "message": "it broke"}})
    await store.flush()

    async def ids(**query: Any) -> list[str]:
        return [summary.trace_id for summary in await store.find_traces(TraceQuery(**query))]

    assert await ids(flow="Grüße") == ["one"]
    assert await ids(session="s2") == ["two"]
    assert await ids(text="GRÜSSE") == ["one"]
    assert await ids(text="0%_") == ["two"]
    assert await ids(text="über") == ["three"]
    assert await ids(text="BROKE") == ["three"]
    assert await ids(text="Two") == ["two"]
    assert await ids(text="x", flow="Grüße") == []
    assert await ids(text="_") == ["two"]


async def test_an_id_is_resolved_by_its_beginning(store: Any) -> None:
    with pytest.raises(TraceNotFound):
        await store.resolve_trace("last")
    for name in ("abc1", "abc2", "b%", "abc10"):
        record(store, name)
    await store.flush()
    assert await store.resolve_trace("abc2") == "abc2"
    assert await store.resolve_trace("abc1") == "abc1"
    assert await store.resolve_trace("abc10") == "abc10"
    assert await store.resolve_trace("b") == "b%"
    assert await store.resolve_trace("last") == "abc10"
    with pytest.raises(AmbiguousTrace, match="abc1") as ambiguous:
        await store.resolve_trace("ab")
    assert ambiguous.value.candidates == ("abc1", "abc10", "abc2")
    for unknown in ("abd", "", "%", "ABC", "\ud800"):
        with pytest.raises(TraceNotFound):
            await store.resolve_trace(unknown)


async def test_a_trace_opened_again_goes_on(store: Any) -> None:
    recorder = Recorder(store=store)
    recorder.open("t").close("error", {"error": {"code": "X", "message": "first"}})
    log = recorder.open("t")
    await store.flush()
    summary = await store.get_trace("t")
    assert (summary.status, summary.ended, summary.error, summary.epoch) == ("running", None, None, 1)
    log.close("ok")
    await store.flush()
    assert [event.epoch for event in await store.load_events("t")] == [0, 0, 1, 1]
    assert (await store.get_trace("t")).status == "ok"


@pytest.mark.parametrize("prepared", [False, True])
async def test_a_trace_of_an_earlier_process_goes_on(open_store: Open, prepared: bool) -> None:
    first = open_store()
    record(first, "t", events=3)
    await first.close()
    second = open_store()
    for _ in range(2):
        sink = Sink()
        # A recorder that never saw the trace, as in a new process.
        recorder = Recorder(sink, store=second)
        if prepared:
            await recorder.prepare("t")
        log = recorder.open("t")
        node = log.start("node", "a", log.root)
        log.end("node", "a", node, log.root, "ok")
        log.close("ok")
        await second.flush()
        if prepared:
            seen = [each.decode() for each in sink.records]
            assert seen == await second.load_events("t", after=seen[0].seq - 1)
    events = await second.load_events("t")
    assert [event.seq for event in events] == list(range(5 + 4 + 4))
    assert [event.epoch for event in events] == [0] * 5 + [1] * 4 + [2] * 4
    starts = [event.span_id for event in events if event.kind.endswith(".start")]
    assert len(set(starts)) == len(starts)
    ends = [event.span_id for event in events if event.kind.endswith(".end")]
    assert sorted(starts) == sorted(ends)
    offsets = [event.offset_ns for event in events]
    assert offsets == sorted(offsets)
    summary = await second.get_trace("t")
    assert (summary.epoch, summary.events, summary.status) == (2, 13, "ok")


async def test_two_stores_that_write_one_trace_keep_it_gapless(open_store: Open) -> None:
    first, second = open_store(), open_store()
    one, two = Recorder(store=first).open("t"), Recorder(store=second).open("t")
    for number in range(6):
        for log, store in ((one, first), (two, second)):
            log.event("stall", "n", log.root, {"n": number})
            await store.flush()
    one.close("ok")
    await first.flush()
    two.close("ok")
    await second.flush()
    events = await first.load_events("t")
    assert [event.seq for event in events] == list(range(16))
    for prefix in ("", "1."):
        numbers = [event.data["n"] for event in events if event.kind == "stall" and event.span_id == f"{prefix}0"]
        assert numbers == list(range(6))


async def test_everyone_sees_what_is_committed(open_store: Open) -> None:
    writer, reader = open_store(), open_store()
    record(writer, "t")
    await writer.flush()
    assert await reader.resolve_trace("last") == "t"
    record(reader, "u")
    await reader.flush()
    assert [summary.trace_id for summary in await writer.find_traces()] == ["u", "t"]


async def test_a_living_writers_traces_are_left_alone(open_store: Open) -> None:
    store, other = open_store(), open_store()
    record(store, "t", status=None)
    await store.flush()
    assert await other.recover() == []
    assert (await other.get_trace("t")).status == "running"


async def test_a_writer_that_is_gone_leaves_interrupted_traces(open_store: Open) -> None:
    store = open_store()
    log = Recorder(store=store).open("t")
    node = log.start("node", "a", log.root)
    log.start("attempt", "a", node, {"attempt": 0})
    record(store, "done")
    await store.close()
    other = open_store()
    assert (await other.get_trace("t")).status == "interrupted"
    assert [each.trace_id for each in await other.find_traces(TraceQuery(status="interrupted"))] == ["t"]
    assert await other.find_traces(TraceQuery(status="running")) == []
    assert await other.recover() == ["t"]
    assert await other.recover() == []
    events = await other.load_events("t")
    assert [event.seq for event in events] == list(range(7))
    assert [(event.kind, event.span_id) for event in events[3:]] == [
        ("host.died", "0"),
        ("attempt.end", "2"),
        ("node.end", "1"),
        ("trace.end", "0"),
    ]
    assert {event.data["status"] for event in events[4:]} == {"interrupted"}
    assert [event.parent_id for event in events[4:]] == ["1", "0", None]
    summary = await other.get_trace("t")
    assert (summary.status, summary.events) == ("interrupted", 7)
    assert summary.ended is not None


async def test_an_interrupted_trace_can_be_taken_up_again(open_store: Open) -> None:
    store = open_store()
    record(store, "t", status=None)
    await store.close()
    other = open_store()
    await other.recover()
    record(other, "t")
    await other.flush()
    assert [(event.kind, event.epoch) for event in await other.load_events("t")] == [
        ("trace.start", 0), ("host.died", 0), ("trace.end", 0), ("trace.start", 1), ("trace.end", 1),
    ]  # fmt: skip
    assert (await other.get_trace("t")).status == "ok"


async def test_closing_commits_and_ends(store: Any, open_store: Open) -> None:
    recorded = record(store, "t", events=300)
    await store.close()
    await store.close()
    with pytest.raises(StoreError):
        await store.flush()
    with pytest.raises(StoreError):
        await store.find_traces()
    record(store, "late")
    other = open_store()
    assert await other.load_events("t") == recorded
    assert await other.get_trace("late") is None


async def test_strange_names_are_kept_apart(store: Any) -> None:
    names = ["a b", "\0", "'; DROP TABLE traces; --", "é", "x\ud800", '"', "a\nb"]
    for name in names:
        record(store, name, events=1)
    await store.flush()
    for name in names:
        assert len(await store.load_events(name)) == 3
        assert [from_json(line)["seq"] for line in await store.load_event_bytes(name)] == [0, 1, 2]
        assert (await store.get_trace(name)).events == 3


async def test_saving_an_event_twice_keeps_it_once(store: Any) -> None:
    late = StoredEvent("t", 20.0, "node_success", "a", "id", {"event": "node_success", "ms": 1.5})
    early = StoredEvent("t", 10.0, "custom", None, None, {"any": [1, {"deep": None}]})
    nowhere = StoredEvent(None, 5.0, "node_cancelled", "a", "id", {})
    for event in (late, early, late, nowhere, StoredEvent("t", 20.0, "node_success", "a", "id", {"ms": 2})):
        await store.save_event(event)
    history = await store.load_history("t")
    assert history[:2] == [early, late]
    assert [event.ts for event in history] == [10.0, 20.0, 20.0]
    assert [event.kind for event in await store.load_history("__global__")] == ["node_cancelled"]


async def test_many_savers_at_once(store: Any) -> None:
    events = [StoredEvent("t", float(number), "k", None, None, {"n": number}) for number in range(200)]
    await asyncio.gather(*(store.save_event(event) for event in reversed(events)))
    assert await store.load_history("t") == events


async def test_recorded_events_are_history_too(store: Any) -> None:
    async def shout(text: str, ctx: Any) -> str:
        return text.upper()

    flow = create(Node(shout, name="shout", policy=NodePolicy(validate="none")).to())
    flow.run(state_store=store)
    assert await flow.call("hi", trace_id="t") == "HI"
    await flow.stop()
    await store.flush()
    history = await store.load_history("t")
    kinds = [event.kind for event in history]
    assert [kind for kind in kinds if kind.startswith("node_")] == ["node_start", "node_success"]
    (success,) = [event for event in history if event.kind == "node_success"]
    assert success.node_name == "shout"
    assert success.node_id == flow.nodes[0].node_id
    assert success.payload["latency_ms"] >= 0
    assert [event.ts for event in history] == sorted(event.ts for event in history)
    summary = await store.get_trace("t")
    assert (summary.status, summary.input, summary.output) == ("ok", '"hi"', '"HI"')


async def test_a_binding_is_kept(store: Any) -> None:
    binding = RemoteBinding("t", None, "task", "http://127.0.0.1", metadata={"a": [1]})
    await store.save_remote_binding(binding)
    binding.is_terminal = True
    await store.save_remote_binding(binding)
