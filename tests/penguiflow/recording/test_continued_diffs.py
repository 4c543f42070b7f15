"""A fork compares with its origin by what came after it began, the edit first; a resumed trace counts once what was
begun twice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic_core import to_json

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create, join_k
from penguiflow.recording import EventRecord, Recorder, TraceEvent, read_frontier
from penguiflow.recording.diff import TraceDiff, diff_traces
from penguiflow.recording.frontier import frontier
from penguiflow.recording.masking import Masker
from penguiflow.state.sqlite import SQLiteStateStore

if TYPE_CHECKING:
    from tests.penguiflow.recording.conftest import ListSink

TRACE = "0123456789abcdef"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStateStore]:
    opened = SQLiteStateStore(tmp_path / "state.db")
    yield opened
    await opened.close()


def flow() -> PenguiFlow:
    """Sends several, asks for each, joins, and streams."""

    async def answer(text: str) -> str:
        return text.upper()

    async def split(message: Message, ctx: Context) -> None:
        for part in "ab":
            await ctx.emit(message.model_copy(update={"payload": part}))

    async def ask(message: Message, ctx: Context) -> Message:
        texts = [await ctx.record("model", answer, f"{message.payload}{number}") for number in range(2)]
        return message.model_copy(update={"payload": " ".join(texts)})

    async def tell(message: Message, ctx: Context) -> Message:
        for text in sorted(message.payload):
            await ctx.emit_chunk(parent=message, text=text)
        return message.model_copy(update={"payload": "told"})

    plain = NodePolicy(validate="none")
    one, two, three = Node(split, name="split", policy=plain), Node(ask, name="ask", policy=plain), join_k("join", 2)
    four = Node(tell, name="tell", policy=plain)
    return create(one.to(two), two.to(three), three.to(four), four.to())


async def record(store: SQLiteStateStore) -> list[TraceEvent]:
    running = flow()
    running.run(recorder=store.recorder())
    await running.call(Message(payload="q", headers=Headers(tenant="acme"), trace_id=TRACE))
    await running.stop()
    await store.flush()
    return await store.load_events(TRACE)


async def fork(store: SQLiteStateStore, seq: int, edits: Mapping[str, Any] | None = None) -> str:
    running = flow()
    running.run(recorder=store.recorder())
    name = f"fork-{seq}"
    async for _ in running.restore(await read_frontier(store, TRACE, seq), trace_id=name, edits=edits):
        pass
    await running.stop()
    await store.flush()
    return name


def told(diff: TraceDiff) -> str:
    return json.dumps(diff.model_dump(mode="json"), indent=1)


async def test_a_fork_without_an_edit_is_equal_wherever_it_began(store: SQLiteStateStore) -> None:
    events = await record(store)
    for seq in range(1, len(events), 3):
        name = await fork(store, seq)
        origin = (await store.load_events(name, limit=1))[0].data["origin"]
        for one, other, side in ((TRACE, name, "b"), (name, TRACE, "a")):
            diff = await diff_traces((store, one), (store, other))
            assert diff.equal, f"after event {seq}: {told(diff)}"
            assert diff.forked is not None
            assert (diff.forked.fork, diff.forked.seq) == (side, origin["seq"])
            # Nodes work on one message at a time: none takes longer than all that is compared.
            (whole, *nodes) = [(each.a, each.b) for each in diff.times]
            for node in nodes:
                assert max(node[0] - whole[0], node[1] - whole[1]) < 1e-6
            assert not diff.counts, f"after event {seq}: {told(diff)}"


async def test_the_edit_comes_first_and_then_what_follows_from_it(store: SQLiteStateStore) -> None:
    events = await record(store)
    # The first of two messages is on its way to the node that asks, and becomes another one.
    sent = [event.seq for event in events if event.kind == "message.enqueued" and event.name == "split->ask"]
    frontier = await read_frontier(store, TRACE, sent[0])
    assert [held.edge for held in frontier.waiting.values()] == ["split->ask"]
    name = await fork(store, sent[0], {"/payload": "z"})

    diff = await diff_traces((store, TRACE), (store, name))

    assert diff.first is not None
    assert (diff.first.aspect, diff.first.path, diff.first.a) == ("decision", "edit", None)
    assert diff.first.b is not None
    assert (diff.first.b.value["before"], diff.first.b.value["after"]) == ("a", "z")
    assert [each for each in diff.differences if each.aspect in ("input", "invocation")] == []
    assert {each.path.split("[")[0] for each in diff.differences} == {"edit", "ask", "join", "tell"}
    reverse = await diff_traces((store, name), (store, TRACE))
    assert reverse.first is not None
    assert (reverse.first.path, reverse.first.b) == ("edit", None)
    assert reverse.total == diff.total


async def test_a_replay_is_no_fork(store: SQLiteStateStore) -> None:
    await record(store)
    again = flow()
    recorder = store.recorder()
    again.run(recorder=recorder)
    recorder.annotate("again", {"origin": {"trace_id": TRACE, "seq": 9}, "mode": "replay"})
    await again.call(Message(payload="q", headers=Headers(tenant="acme"), trace_id="again"))
    await again.stop()
    await store.flush()

    diff = await diff_traces((store, TRACE), (store, "again"))

    assert (diff.forked, diff.equal) == (None, True)


def stream(store: SQLiteStateStore, trace_id: str, texts: list[list[str]], secret: str) -> None:
    """Each list is what one invocation of a node sends by the same stream, which nobody ends."""
    recorder = Recorder(store.sink, name="f", masker=Masker(environment={"MY_TOKEN": secret}))
    log = recorder.open(trace_id)
    number = 0
    for index, pieces in enumerate(texts):
        node = log.start("node", "writer", log.root, {"message_id": f"m{index}"})
        for text in pieces:
            data = {"stream_id": "s", "chunk_seq": number, "text": text, "done": False, "meta": {}}
            log.event("stream.chunk", "s", node, data)
            number += 1
        log.end("node", "writer", node, log.root, "ok")
    log.close("ok")


@pytest.mark.parametrize("other", [["a ke", "y"], ["a k", "e", "y"], ["a key"]])
async def test_what_was_held_back_belongs_to_who_sent_it(store: SQLiteStateStore, other: list[str]) -> None:
    """The end of a stream may be the beginning of a secret in the one trace, and nothing of note in the other."""
    stream(store, "a", [["a ", "key"], ["ke", "y?"]], secret="keystone-1")
    stream(store, "b", [other, ["key", "?"]], secret="another-secret")
    await store.flush()
    events = await store.load_events("a", kinds=["stream.chunk"])
    assert any("carried" in event.data for event in events)

    diff = await diff_traces((store, "a"), (store, "b"))

    assert diff.equal, told(diff)


async def test_the_rest_of_a_stream_is_no_stream_of_the_trace(store: SQLiteStateStore) -> None:
    stream(store, "a", [["a ", "key"]], secret="keystone-1")
    stream(store, "b", [["a ", "keys"]], secret="keystone-1")
    stream(store, "c", [["a ", "lot"]], secret="keystone-1")
    await store.flush()
    assert [event.data.get("rest") for event in await store.load_events("a", kinds=["stream.chunk"])][-1] is True

    for trace, text in (("b", "a keys"), ("c", "a lot")):
        diff = await diff_traces((store, "a"), (store, trace))
        (difference,) = diff.differences
        assert difference.path == "writer[0]/s"
        assert difference.a is not None
        assert difference.b is not None
        assert (difference.a.value, difference.b.value) == ("a key", text)
        assert not [total for total in diff.totals if total.name == "chunks" and total.a != total.b]


def interrupted(events: Sequence[EventRecord]) -> list[EventRecord]:
    """A log whose process died after these events, as it is closed."""
    left: dict[str, EventRecord] = {}
    for event in events:
        if event.kind.endswith(".start"):
            left[event.span_id] = event
        elif event.kind.endswith(".end"):
            left.pop(event.span_id, None)
    closed = list(events)
    for start in reversed(left.values()):
        kind = start.kind.replace(".start", ".end")
        closed.append(start._replace(seq=len(closed), kind=kind, data=to_json({"status": "interrupted"})))
    return closed


async def test_a_trace_that_was_resumed_in_the_middle_is_equal(tmp_path: Path, sink: ListSink) -> None:
    first = flow()
    first.run(recorder=Recorder(sink))
    await first.call(Message(payload="q", headers=Headers(tenant="acme"), trace_id=TRACE))
    await first.stop()
    whole = SQLiteStateStore(tmp_path / "whole.db")
    for record in sink.records:
        whole.sink.write(record)
    await whole.flush()
    events: list[TraceEvent] = sink.events()
    for seq in range(frontier(events, 0).seq, len(sink.records) - 1, 3):
        store = SQLiteStateStore(tmp_path / f"{seq}.db")
        for record in interrupted(sink.records[: seq + 1]):
            store.sink.write(record)
        await store.flush()
        again = flow()
        again.run(recorder=store.recorder())
        async for _ in again.restore(await read_frontier(store, TRACE)):
            pass
        await again.stop()
        await store.flush()
        diff = await diff_traces((whole, TRACE), (store, TRACE))
        await store.close()
        assert diff.equal, f"after event {seq}: {json.dumps(diff.model_dump(mode='json')['differences'], indent=1)}"
    await whole.close()
