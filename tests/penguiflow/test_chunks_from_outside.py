"""Pieces of a stream that come in from outside are told apart, and their traces forked, resumed and replayed."""

from __future__ import annotations

from collections import Counter
from typing import Any

from penguiflow import Context, Message, Node, PenguiFlow, StreamChunk, create
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import frontier
from penguiflow.recording.masking import Masker
from penguiflow.recording.replay import replay

TRACE, FORK = "a-trace-with-pieces", "another-trace-of-pieces"


class Sink(list[EventRecord]):
    """Events in memory."""

    def write(self, record: EventRecord) -> None:
        self.append(record)

    @property
    def events(self) -> list[TraceEvent]:
        return [record.decode() for record in self]


def make_flow() -> PenguiFlow:
    async def shout(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": f"{message.payload.text.upper()}{message.meta['n']}"})

    async def whisper(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": f"{message.payload.text.lower()}{message.meta['n']}"})

    return create(Node(shout, name="shout").to(), Node(whisper, name="whisper").to())


async def send_pieces(flow: PenguiFlow, make_message: Any, texts: list[str]) -> None:
    for number, text in enumerate(texts):
        parent = make_message("q", trace_id=TRACE, meta={"n": number})
        await flow.emit_chunk(parent=parent, text=text, done=number == len(texts) - 1)


async def recorded(start: Any, make_message: Any) -> list[TraceEvent]:
    sink, flow = Sink(), make_flow()
    start(flow, recorder=Recorder(sink))
    await send_pieces(flow, make_message, ["One", "Two", "Three"])
    for _ in range(6):
        await flow.fetch()
    return sink.events


def results(events: list[TraceEvent]) -> Counter[str]:
    kind = "message.enqueued"
    return Counter(e.data["payload"]["value"] for e in events if e.kind == kind and e.data["target"] == "Rookery")


def sent_in(events: list[TraceEvent]) -> list[tuple[str, str]]:
    kind = "message.enqueued"
    return [(e.name, e.data["message_id"]) for e in events if e.kind == kind and e.data["source"] == "OpenSea"]


async def test_each_has_an_id_of_its_own(start: Any, make_message: Any) -> None:
    ids = sent_in(await recorded(start, make_message))
    assert len(set(ids)) == 6
    # The same sends have the same ids.
    assert sent_in(await recorded(start, make_message)) == ids


async def test_messages_and_pieces_are_counted_together(start: Any, make_message: Any) -> None:
    async def take(message: Message, ctx: Context) -> None:
        """Nothing comes of it."""

    sink, flow = Sink(), create(Node(take, name="take").to())
    start(flow, recorder=Recorder(sink))
    message = make_message("q", trace_id=TRACE)
    await flow.emit(message)
    await flow.emit_chunk(parent=message, text="a")
    await flow.emit(message)
    await flow.emit_chunk(parent=message, text="b", stream_id="other")
    assert len(set(sent_in(sink.events))) == 4


async def test_a_fork_at_any_event_has_the_same_results(start: Any, make_message: Any) -> None:
    events = await recorded(start, make_message)
    last = max(event.seq for event in events if event.data.get("source") == "OpenSea")
    for seq in range(last, len(events)):
        forked = Sink()
        flow = start(make_flow(), recorder=Recorder(forked))
        async for _ in flow.restore(frontier(events, seq), trace_id=FORK):
            pass
        assert results(forked.events) == results(events), f"forked at {seq}"


async def test_a_fork_between_two_pieces_goes_on_with_those_before(start: Any, make_message: Any) -> None:
    events = await recorded(start, make_message)
    second = [event.seq for event in events if event.kind == "stream.chunk"][1]
    for seq, expected in ((second - 1, {"ONE0", "one0"}), (second, {"ONE0", "one0", "TWO1", "two1"})):
        forked = Sink()
        flow = start(make_flow(), recorder=Recorder(forked))
        async for _ in flow.restore(frontier(events, seq), trace_id=FORK):
            pass
        assert set(results(forked.events)) == expected


async def test_an_interrupted_trace_is_resumed(start: Any, make_message: Any) -> None:
    events = await recorded(start, make_message)
    last = max(event.seq for event in events if event.data.get("source") == "OpenSea")
    for seq in range(last, len(events) - 1):
        before = events[: seq + 1]
        resumed = Sink()
        flow = start(make_flow(), recorder=Recorder(resumed))
        async for _ in flow.restore(frontier(before)):
            pass
        assert results(before) + results(resumed.events) == results(events), f"killed after {seq}"


async def test_a_replay_sends_the_same_pieces_in(start: Any, make_message: Any) -> None:
    events = await recorded(start, make_message)
    cassette = Cassette.of(events)
    assert [(each.payload["value"]["text"], each.targets) for each in cassette.inputs] == [
        (text, ["shout", "whisper"]) for text in ("One", "Two", "Three")
    ]
    replayed = Sink()
    outcome = await replay(make_flow(), cassette, recorder=Recorder(replayed), trace_id=FORK)
    assert outcome.same
    assert len(outcome.outputs) == 6
    assert sent_in(replayed.events) == sent_in(events)
    found = [event for event in replayed.events if event.kind == "stream.chunk"]
    assert [(event.name, event.data["text"]) for event in found] == [(FORK, text) for text in ("One", "Two", "Three")]


async def test_a_replay_knows_a_text_that_was_held_back(start: Any, make_message: Any) -> None:
    masker = Masker(environment={"MY_TOKEN": "three-secrets"})
    sink, flow = Sink(), make_flow()
    start(flow, recorder=Recorder(sink, masker=masker))
    texts = ["thr", "ee", "-", "fold"]
    await send_pieces(flow, make_message, texts)
    for _ in range(8):
        await flow.fetch()
    cassette = Cassette.of(sink.events)
    assert [each.payload["value"]["text"] for each in cassette.inputs] == texts
    assert (await replay(make_flow(), cassette)).same


async def test_a_bare_payload_of_a_stream_goes_in_again(start: Any) -> None:
    async def read(piece: StreamChunk, ctx: Context) -> str:
        return piece.text[::-1]

    def bare() -> PenguiFlow:
        return create(Node(read, name="read").to())

    sink, flow = Sink(), bare()
    start(flow, recorder=Recorder(sink))
    assert await flow.call(StreamChunk(stream_id="s", seq=4, text="abc", done=True)) == "cba"
    outcome = await replay(bare(), Cassette.of(sink.events))
    assert outcome.same
    assert outcome.output == "cba"


async def test_a_piece_in_the_envelope_of_another_message_keeps_it(start: Any, make_message: Any) -> None:
    async def write(message: Message, ctx: Context) -> None:
        parent = message.model_copy(update={"meta": {"about": "it"}})
        await ctx.emit_chunk(parent=parent, text="a", done=True)

    async def read(message: Message, ctx: Context) -> Message:
        return message.model_copy(update={"payload": f"{message.payload.text} {message.meta}"})

    def flow() -> PenguiFlow:
        reader = Node(read, name="read")
        return create(Node(write, name="write").to(reader), reader.to())

    sink = Sink()
    result = await start(flow(), recorder=Recorder(sink)).call(make_message("q", trace_id=TRACE))
    sent = next(event for event in sink.events if event.data.get("target") == "read")
    forked = start(flow(), recorder=Recorder(Sink()))
    again = [item async for item in forked.restore(frontier(sink.events, sent.seq), trace_id=FORK)]
    assert [item.payload for item in again] == [result.payload] == ["a {'about': 'it'}"]
