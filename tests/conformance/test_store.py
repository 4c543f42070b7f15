"""What every store does, whatever is behind it: traces, and the contract's history."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import from_json

from penguiflow import Node, NodePolicy, create
from penguiflow.observer import Payload
from penguiflow.recording import Recorder, TraceEvent
from penguiflow.state import StateStore, StoredEvent
from penguiflow.state.errors import AmbiguousTrace, TraceNotFound
from penguiflow.state.retention import Retention
from penguiflow.state.traces import TraceQuery, TraceStatus, TraceStore


class Question(BaseModel):
    text: str


def test_it_is_a_store_of_both_kinds(store: Any) -> None:
    assert isinstance(store, TraceStore)
    assert isinstance(store, StateStore)


async def test_what_was_recorded_is_read_back(store: Any, record: Any) -> None:
    recorded = record(store, "t", events=1000)
    await store.flush()
    assert await store.load_events("t") == recorded
    assert [from_json(raw) for raw in await store.load_event_bytes("t")] == [event.to_dict() for event in recorded]
    summary = await store.get_trace("t")
    assert summary.events == 1002


@pytest.mark.parametrize("page", [1, 7, 255, 256, 257, 10_000])
async def test_pages_join_without_a_seam(store: Any, page: int, record: Any) -> None:
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


async def test_kinds_are_exact_or_begin(store: Any, record: Any) -> None:
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


async def test_nothing_is_found_where_nothing_is(store: Any, record: Any) -> None:
    assert await store.find_traces() == []
    assert await store.get_trace("t") is None
    assert await store.load_events("t") == []
    assert await store.load_event_bytes("t") == []
    assert await store.load_history("t") == []
    record(store, "t", events=3)
    await store.flush()
    assert await store.load_events("t", after=99) == []
    assert await store.load_events("t", limit=0) == []


async def test_a_summary_follows_the_trace(store: Any, record: Any) -> None:
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


async def test_a_summary_counts_calls_of_models_with_their_tokens_and_what_they_cost(store: Any, record: Any) -> None:
    log = Recorder(store=store, name="qa").open("t", {})
    for usage in ({"input_tokens": 10, "output_tokens": 5}, {"total_tokens": 7}, {}):
        call = log.start("llm", "m", log.root, {})
        log.end("llm", "m", call, log.root, "ok", {"usage": usage, "cost": 0.25 if usage else None})
        await store.flush()
    log.close("ok")
    record(store, "other")
    await store.flush()
    summary = await store.get_trace("t")
    assert (summary.llm_calls, summary.tokens, summary.cost) == (3, 22, 0.5)
    other = await store.get_trace("other")
    assert (other.llm_calls, other.tokens, other.cost) == (0, 0, None)


@pytest.mark.parametrize("status", ["ok", "error", "timeout", "cancelled", "interrupted"])
async def test_every_status_is_kept_and_found(store: Any, status: TraceStatus, record: Any) -> None:
    record(store, "t", status=status)
    record(store, "other", status="ok" if status != "ok" else "error")
    await store.flush()
    found = await store.find_traces(TraceQuery(status=status))
    assert [summary.trace_id for summary in found] == ["t"]


async def test_traces_are_found_newest_first(store: Any, record: Any) -> None:
    for name in ("a", "b", "c"):
        record(store, name)
    await store.flush()
    assert [summary.trace_id for summary in await store.find_traces()] == ["c", "b", "a"]
    assert [summary.trace_id for summary in await store.find_traces(TraceQuery(limit=1))] == ["c"]
    assert await store.find_traces(TraceQuery(limit=0)) == []
    middle = (await store.get_trace("b")).started
    assert [summary.trace_id for summary in await store.find_traces(TraceQuery(since=middle))] == ["c", "b"]
    assert [summary.trace_id for summary in await store.find_traces(TraceQuery(before=middle))] == ["a"]


async def test_traces_are_found_by_flow_session_and_text(store: Any, record: Any) -> None:
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


async def test_an_id_is_resolved_by_its_beginning(store: Any, record: Any) -> None:
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


async def test_strange_names_are_kept_apart(store: Any, record: Any) -> None:
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
    flow.run(recorder=Recorder(store=store))
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


async def test_a_trace_is_followed_to_its_end(store: Any, record: Any) -> None:
    log = Recorder(store=store).open("t")
    log.event("stall", "n", log.root, {"n": 0})
    await store.flush()
    seen: list[TraceEvent] = []
    found = asyncio.Event()

    async def watch() -> None:
        async for event in store.follow("t", after=0):
            seen.append(event)
            found.set()

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(60):
        await found.wait()
        assert [event.seq for event in seen] == [1]
        for number in range(300):
            log.event("stall", "n", log.root, {"n": number})
        log.close("ok")
        await watching
    assert [event.seq for event in seen] == list(range(1, 303))
    assert [event.seq async for event in store.follow("t", after=300)] == [301, 302]
    assert [event async for event in store.follow("unknown")] == []


async def test_a_follower_may_leave(store: Any) -> None:
    Recorder(store=store).open("t")
    await store.flush()
    following = store.follow("t")
    assert (await anext(following)).kind == "trace.start"
    await following.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(following)


async def test_old_traces_are_forgotten_and_running_ones_never(store: Any, record: Any) -> None:
    record(store, "running", events=5, status=None)
    for number in range(6):
        record(store, f"t{number}", events=10)
    await store.flush()
    sizes = (await store.prune(Retention(max_traces=0), dry_run=True)).bytes
    assert sizes > 0
    planned = await store.prune(Retention(max_traces=3), dry_run=True)
    assert len(await store.find_traces()) == 7
    removed = await store.prune(Retention(max_traces=3))
    assert planned == removed
    assert (removed.traces, removed.events) == (4, 48)
    # The running one is among the three that were to be kept, though it is the oldest.
    assert [trace.trace_id for trace in await store.find_traces()] == ["t5", "t4", "running"]
    assert await store.load_events("t0") == []
    assert len(await store.load_events("t5")) == 12
    assert (await store.prune(Retention(max_age_s=3600))).traces == 0
    assert (await store.prune(Retention(max_age_s=0))).traces == 2
    assert (await store.prune(Retention(max_bytes=0))).traces == 0
    assert [trace.trace_id for trace in await store.find_traces()] == ["running"]
    assert len(await store.load_events("running")) == 6


async def test_a_forgotten_trace_may_begin_again(store: Any, record: Any) -> None:
    record(store, "t", events=5)
    await store.flush()
    await store.prune(Retention(max_traces=0))
    assert await store.get_trace("t") is None
    recorded = record(store, "t", events=2)
    await store.flush()
    assert await store.load_events("t") == recorded


@pytest.mark.parametrize("limits", [{"max_age_s": -1}, {"max_traces": -1}, {"max_bytes": -1}])
def test_limits_are_not_negative(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        Retention(**limits)
