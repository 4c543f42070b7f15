"""Streams of which the log holds something back are forked and resumed with the texts that they had."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penguiflow import Context, Headers, Message, Node, PenguiFlow, StreamChunk, create
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording.frontier import frontier
from penguiflow.recording.streams import chunk_texts
from penguiflow.recording.unmasking import unmask

TRACE, FORK = "a-trace-that-holds-back", "another-one-of-them"
SECRETS = {"HELD_API_KEY": "sk-sk-secret-1", "HELD_TOKEN": "abcabcabd"}
FIRST, SECOND = SECRETS.values()
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
RunVirtually = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


class Sink(list[EventRecord]):
    """Events in memory."""

    def write(self, record: EventRecord) -> None:
        self.append(record)

    @property
    def events(self) -> list[TraceEvent]:
        return [record.decode() for record in self]


def make_flow(pieces: list[str], *, read: bool) -> PenguiFlow:
    """One that streams the pieces, to whoever waits or to a node that turns each of them round."""

    async def write(message: Message, ctx: Context) -> Any:
        for number, text in enumerate(pieces):
            await ctx.emit_chunk(parent=message, text=text, done=number == len(pieces) - 1)
        return None if read else message

    async def turn(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": message.payload.text[::-1]})

    writer, reader = Node(write, name="write"), Node(turn, name="turn")
    return create(writer.to(reader), reader.to()) if read else create(writer.to())


@st.composite
def pieces(draw: st.DrawFn) -> list[str]:
    parts = st.sampled_from([FIRST, SECOND, "s", "sk-", "sk-sk-secret-", "abc", " x "])
    whole = draw(st.lists(parts, max_size=4).map("".join))
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[start:end] for start, end in pairwise([0, *cuts, len(whole)])]


async def run(flow: PenguiFlow, stream: Any, sink: Sink) -> list[Any]:
    """What is delivered."""
    found = [item.payload async for item in stream(flow)]
    await flow.stop()
    for record in sink:
        for secret in SECRETS.values():
            assert secret.encode() not in record.data
            # Nor its end, where its beginning is elsewhere.
            assert secret[3:].encode() not in record.data, record
    return found


async def recorded(texts: list[str], *, read: bool) -> tuple[list[Any], list[TraceEvent]]:
    flow, sink = make_flow(texts, read=read), Sink()
    flow.run(recorder=Recorder(sink))
    message = Message(payload="q", headers=Headers(tenant="t"), trace_id=TRACE)
    return await run(flow, lambda flow: flow.stream(message), sink), sink.events


async def gone_on(
    texts: list[str], events: list[TraceEvent], seq: int, trace_id: str | None, *, read: bool
) -> tuple[list[Any], list[TraceEvent]]:
    flow, sink = make_flow(texts, read=read), Sink()
    flow.run(recorder=Recorder(sink))
    point = frontier(events, seq)
    return await run(flow, lambda flow: flow.restore(point, trace_id=trace_id), sink), sink.events


def logged(events: list[TraceEvent]) -> str:
    """The stream's text as the log has it in the end."""
    return "".join(text for _, text in sorted((place[2], text) for place, text in chunk_texts(events).items()))


def texts_of(items: list[Any]) -> list[tuple[int, str]]:
    return [(item.seq, item.text) for item in items if isinstance(item, StreamChunk)]


def turned(events: list[TraceEvent]) -> Counter[str]:
    kind = "message.enqueued"
    sent = [e.data["payload"]["value"] for e in events if e.kind == kind and e.data["source"] == "turn"]
    return Counter(unmask(value)[0] for value in sent)


@pytest.mark.usefixtures("quiet")
@EXAMPLES
@given(texts=pieces(), data=st.data())
def test_a_fork_at_any_event_reads_the_same(run_virtually: RunVirtually, texts: list[str], data: Any) -> None:
    async def body() -> None:
        _, events = await recorded(texts, read=True)
        seq = data.draw(st.integers(0, len(events) - 1))
        _, forked = await gone_on(texts, events, seq, FORK, read=True)
        assert turned(forked) == turned(events) == Counter(text[::-1] for text in texts)
        # And a fork of the fork.
        seq = data.draw(st.integers(0, len(forked) - 1))
        _, again = await gone_on(texts, forked, seq, TRACE, read=True)
        assert turned(again) == turned(events)

    run_virtually(body())


@pytest.mark.usefixtures("quiet")
@EXAMPLES
@given(texts=pieces(), data=st.data())
def test_a_trace_that_was_killed_at_any_event_reads_the_same(
    run_virtually: RunVirtually, texts: list[str], data: Any
) -> None:
    async def body() -> None:
        _, events = await recorded(texts, read=True)
        killed = events[: data.draw(st.integers(2, len(events) - 1))]
        _, resumed = await gone_on(texts, killed, killed[-1].seq, None, read=True)
        assert turned(killed) + turned(resumed) == turned(events)

    run_virtually(body())


@pytest.mark.usefixtures("quiet")
@EXAMPLES
@given(texts=pieces(), data=st.data())
@example(texts=["the key is sk-", "sk-secret-1", "."], data=None)
def test_what_a_fork_has_in_its_log_is_the_same_text(run_virtually: RunVirtually, texts: list[str], data: Any) -> None:
    async def body() -> None:
        delivered, events = await recorded(texts, read=False)
        assert [text for _, text in texts_of(delivered)] == texts
        seqs = range(len(events)) if data is None else [data.draw(st.integers(0, len(events) - 1))]
        for seq in seqs:
            news, forked = await gone_on(texts, events, seq, FORK, read=False)
            assert logged(forked) == logged(events)
            # What is delivered anew is exact.
            assert set(texts_of(news)) <= set(enumerate(texts))
            second = data.draw(st.integers(0, len(forked) - 1)) if data is not None else len(forked) // 2
            _, again = await gone_on(texts, forked, second, TRACE, read=False)
            assert logged(again) == logged(events)

    run_virtually(body())


async def test_what_waits_for_whoever_comes_is_whole() -> None:
    """A process that ends before anybody had the piece, and another that goes on."""
    texts = ["a s", "k-", "x"]
    _, events = await recorded(texts, read=True)
    held = [event.seq for event in events if "held" in event.data]
    assert len(held) == 2
    taken = next(event.seq for event in events if event.kind == "message.dequeued" and event.name == "write->turn")
    assert held[-1] < taken
    killed = [event for event in events if event.seq <= taken]
    _, resumed = await gone_on(texts, killed, killed[-1].seq, None, read=True)
    assert turned(resumed) == Counter(text[::-1] for text in texts)


async def test_without_the_secret_a_text_lacks_what_may_be_it(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a s", "x"]
    _, events = await recorded(texts, read=True)
    held = next(event for event in events if "held" in event.data)
    assert held.data["held"] == {"of": "env:HELD_API_KEY", "parts": [[0, 1]]}
    monkeypatch.delenv("HELD_API_KEY")
    assert "HELD_API_KEY" not in os.environ
    killed = [event for event in events if event.seq <= held.seq + 1]
    _, resumed = await gone_on(texts, killed, killed[-1].seq, None, read=True)
    assert turned(resumed) == Counter([" a", "x"])


async def test_a_piece_that_goes_two_ways_is_in_the_log_of_a_fork_once() -> None:
    async def write(message: Message, ctx: Context) -> None:
        await ctx.emit_chunk(parent=message, text="a s", done=False)

    async def turn(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": message.payload.text[::-1]})

    def make() -> PenguiFlow:
        writer, *readers = Node(write, name="write"), Node(turn, name="turn"), Node(turn, name="turn2")
        return create(writer.to(*readers), *(reader.to() for reader in readers))

    flow, sink = make(), Sink()
    flow.run(recorder=Recorder(sink))
    message = Message(payload="q", headers=Headers(tenant="t"), trace_id=TRACE)
    found = await run(flow, lambda flow: flow.stream(message), sink)
    events = sink.events
    last = max(event.seq for event in events if event.data.get("source") == "write")
    flow, forked = make(), Sink()
    flow.run(recorder=Recorder(forked))
    assert await run(flow, lambda flow: flow.restore(frontier(events, last), trace_id=FORK), forked) == found
    assert [event.kind for event in forked.events].count("stream.chunk") == 2  # and the rest, at its end
    beginning = forked.events[0].data["forked"]["events"]
    assert frontier(forked.events, 1).seq == beginning
    flow, again = make(), Sink()
    flow.run(recorder=Recorder(again))
    point = frontier(forked.events, beginning)
    assert await run(flow, lambda flow: flow.restore(point, trace_id=TRACE), again) == found


def test_pieces_that_go_by_turns_keep_their_numbers_in_a_fork_of_a_fork(run_virtually: RunVirtually) -> None:
    async def write(message: Message, ctx: Context) -> None:
        for number in range(6):
            await ctx.emit_chunk(parent=message, text=f"{number}s", to=readers[number % 2])
            await ctx.record("wait", asyncio.sleep, 0.1)

    async def read(message: Message, ctx: Context) -> Message:
        await asyncio.sleep(0.15 if message.payload.seq % 2 else 0.5)
        return message.model_copy(update={"payload": f"{message.payload.seq}: {message.payload.text}"})

    readers: list[Node] = []

    def make() -> PenguiFlow:
        readers[:] = [Node(read, name="even"), Node(read, name="odd")]
        return create(Node(write, name="write").to(*readers), *(reader.to() for reader in readers))

    def results(events: list[TraceEvent]) -> Counter[str]:
        kind = "message.enqueued"
        return Counter(e.data["payload"]["value"] for e in events if e.kind == kind and e.data["target"] == "Rookery")

    expected = Counter(f"{number}: {number}s" for number in range(6))

    async def fork(events: list[TraceEvent], seq: int, trace_id: str) -> list[TraceEvent]:
        flow, sink = make(), Sink()
        flow.run(recorder=Recorder(sink))
        await run(flow, lambda flow: flow.restore(frontier(events, seq), trace_id=trace_id), sink)
        assert results(sink.events) == expected
        return sink.events

    async def body() -> None:
        flow, sink = make(), Sink()
        flow.run(recorder=Recorder(sink))
        message = Message(payload="q", headers=Headers(tenant="t"), trace_id=TRACE)
        await run(flow, lambda flow: flow.stream(message), sink)
        events = sink.events
        assert results(events) == expected
        for seq in range(len(events)):
            forked = await fork(events, seq, FORK)
            await fork(forked, forked[0].data["forked"]["events"], TRACE)

    run_virtually(body())
