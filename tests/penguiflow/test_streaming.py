"""Chunks for people: server-sent events, WebSocket frames, and iterators over one trace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penguiflow import (
    Context,
    FlowError,
    Message,
    StreamChunk,
    chunk_to_ws_json,
    create,
    emit_stream_events,
    format_sse_event,
    stream_flow,
)

if TYPE_CHECKING:
    from tests.conftest import MakeMessage, MakeNode, Start, Until


class Received(NamedTuple):
    """One event as an `EventSource` dispatches it."""

    name: str
    data: str
    last_id: str


def receive(stream: str) -> list[Received]:
    """What a client makes of a stream: the algorithm of the HTML standard, section 9.2.6."""
    events: list[Received] = []
    name, data, last_id = "", "", ""
    for line in stream.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        if not line:
            if data:
                events.append(Received(name or "message", data.removesuffix("\n"), last_id))
            name, data = "", ""
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data += value + "\n"
        elif field == "id":
            last_id = value
    assert not data
    return events


def chunk(text: str = "hi", **fields: Any) -> StreamChunk:
    return StreamChunk(**{"stream_id": "s", "seq": 3, "text": text, **fields})


def test_a_chunk_is_an_event() -> None:
    assert format_sse_event(chunk()) == "event: chunk\nid: 3\ndata: hi\n\n"
    assert format_sse_event(chunk(done=True)).startswith("event: done\n")
    assert receive(format_sse_event(chunk(), event_name="token", retry_ms=1500)) == [Received("token", "hi", "3")]
    assert "\nretry: 1500\n\n" in format_sse_event(chunk(), retry_ms=1500)


def test_text_cannot_end_its_event_or_begin_another() -> None:
    text = "a\n\nevent: evil\ndata: b"
    assert receive(format_sse_event(chunk(text))) == [Received("chunk", text, "3")]


@given(st.text(alphabet=st.one_of(st.sampled_from("\n\r: ae\u2028\x85"), st.characters(exclude_categories=["Cs"]))))
def test_any_text_arrives_as_it_was_but_for_its_line_ends(text: str) -> None:
    (event,) = receive(format_sse_event(chunk(text)))
    assert event.data == text.replace("\r\n", "\n").replace("\r", "\n")


def test_meta_is_not_mixed_into_the_text() -> None:
    meta = {"tokens": 3, "note": "a\n\nb"}
    described, event = receive(format_sse_event(chunk("hi", meta=meta, done=True)))
    assert event == Received("done", "hi", "3")
    # Without an id of its own: a client that reconnects between the two must not miss the text.
    assert (described.name, json.loads(described.data), described.last_id) == ("meta", meta, "")


def test_what_json_cannot_say_is_said_as_well_as_it_can() -> None:
    meta = {"when": datetime(2026, 1, 1, tzinfo=UTC), "cost": float("inf"), "set": {1}, "what": object, "é": "日本"}
    for written in (receive(format_sse_event(chunk(meta=meta)))[0].data, chunk_to_ws_json(chunk(meta=meta))):
        value = json.loads(written, parse_constant=lambda constant: pytest.fail(constant))
        value = value.get("meta", value)
        assert (value["when"], value["cost"], value["set"], value["é"]) == ("2026-01-01T00:00:00Z", None, [1], "日本")


def test_what_would_break_the_framing_is_refused() -> None:
    with pytest.raises(ValueError, match="event_name must be one line"):
        format_sse_event(chunk(), event_name="a\ndata: b")
    with pytest.raises(ValueError, match="retry_ms"):
        format_sse_event(chunk(), retry_ms=-1)


def test_a_websocket_frame_is_one_object() -> None:
    frame = json.loads(chunk_to_ws_json(chunk("a\nb", meta={"k": 1}), extra={"user": "u", "seq": "mine"}))
    assert frame == {"stream_id": "s", "seq": "mine", "text": "a\nb", "done": False, "meta": {"k": 1}, "user": "u"}


async def talk(message: Message, ctx: Context) -> Message:
    """Three chunks and a result, a turn of the loop between them."""
    for number in range(3):
        await ctx.emit_chunk(parent=message, text=f"{message.payload}{number}", done=number == 2)
        await asyncio.sleep(0)
    return message.model_copy(update={"payload": f"{message.payload}!"})


async def texts(results: AsyncIterator[Any]) -> list[str]:
    return [result.text if isinstance(result, StreamChunk) else result async for result in results]


async def test_concurrent_streams_do_not_get_each_others_chunks(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node(talk, max_concurrency=8).to()))
    got = await asyncio.gather(*(texts(stream_flow(flow, make_message(name), include_final=True)) for name in "ABCDEF"))
    assert got == [[f"{name}0", f"{name}1", f"{name}2", f"{name}!"] for name in "ABCDEF"]
    assert not flow._rookery.inbox.items


async def test_a_stream_ends_with_its_last_chunk_and_leaves_the_result_to_fetch(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    flow = start(create(make_node(talk).to(), queue_maxsize=1))
    for name in "AB":
        assert await texts(stream_flow(flow, make_message(name))) == [f"{name}0", f"{name}1", f"{name}2"]
        assert (await flow.fetch()).payload == f"{name}!"
    assert not flow._traces


async def test_what_was_delivered_before_the_end_was_read_is_left_to_fetch(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    async def hurry(message: Message, ctx: Context) -> Message:
        await ctx.emit_chunk(parent=message, text="only", done=True)
        return message

    flow = start(create(make_node(hurry).to()))
    results = stream_flow(flow, make_message("go", trace_id="t"), timeout=60)
    first = await anext(results)
    assert first.text == "only"
    assert [result async for result in results] == []
    assert (await flow.fetch(trace_id="t")).payload == "go"


async def test_a_result_that_is_no_chunk_ends_the_stream(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def answer(message: Message, ctx: Context) -> Message:
        await ctx.emit_chunk(parent=message, text="thinking")
        await ctx.emit(message)
        return message.model_copy(update={"payload": "later"})

    flow = start(create(make_node(answer).to()))
    assert await texts(stream_flow(flow, make_message("answer"))) == ["thinking", "answer"]
    assert (await flow.fetch()).payload == "later"


async def test_a_stream_that_never_says_done_ends_with_its_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def mumble(message: Message, ctx: Context) -> None:
        await ctx.emit_chunk(parent=message, text="well")

    flow = start(create(make_node(mumble).to()))
    assert await texts(stream_flow(flow, make_message(1), include_final=True)) == ["well"]


async def test_a_failure_reaches_the_reader_after_the_chunks(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    async def breaks(message: Message, ctx: Context) -> None:
        await ctx.emit_chunk(parent=message, text="so far")
        raise ValueError("so good")

    flow = start(create(make_node(breaks).to()))
    seen: list[str] = []

    async def read() -> None:
        async for piece in stream_flow(flow, make_message(1)):
            seen.append(piece.text)

    with pytest.raises(FlowError, match="so good"):
        await read()
    assert seen == ["so far"]


@pytest.mark.usefixtures("virtual_time")
async def test_leaving_early_and_waiting_too_long_cancel_the_trace(
    start: Start, make_node: MakeNode, make_message: MakeMessage, until: Until
) -> None:
    cancelled: list[Any] = []

    async def stuck(message: Message, ctx: Context) -> None:
        await ctx.emit_chunk(parent=message, text="one")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(message.payload)
            raise

    flow = start(create(make_node(stuck).to()))
    results = stream_flow(flow, make_message("left"))
    assert (await anext(results)).text == "one"
    await results.aclose()  # type: ignore[attr-defined] # what `async with aclosing(...)` would call
    await until(lambda: cancelled == ["left"])
    with pytest.raises(TimeoutError):
        await texts(stream_flow(flow, make_message("late"), timeout=0.02))
    await until(lambda: cancelled == ["left", "late"])
    assert not flow._traces


async def test_a_stream_can_begin_at_one_of_the_entries(
    start: Start, make_node: MakeNode, make_message: MakeMessage
) -> None:
    left, right = make_node(talk, "left"), make_node(talk, "right")
    flow = start(create(left.to(), right.to()))
    assert await texts(stream_flow(flow, make_message("R"), to=right, include_final=True)) == ["R0", "R1", "R2", "R!"]
    with pytest.raises(KeyError, match="Unknown target"):
        await texts(stream_flow(flow, make_message("R"), to=make_node(talk, "elsewhere")))
    assert not flow._traces


async def test_an_object_that_looks_like_a_flow_will_do(make_message: MakeMessage) -> None:
    class Fake:
        """Emit and fetch, and nothing else."""

        def __init__(self) -> None:
            self.sent: list[Any] = []
            self.queue: asyncio.Queue[Any] = asyncio.Queue()

        async def emit(self, msg: Any, to: Any = None) -> None:
            self.sent.append((msg, to))

        async def fetch(self) -> Any:
            return await self.queue.get()

    fake = Fake()
    message = make_message("go")
    for item in (message.model_copy(update={"payload": chunk("a")}), chunk("b", done=True), "final", "unread"):
        fake.queue.put_nowait(item)
    assert await texts(stream_flow(fake, message, include_final=True)) == ["a", "b", "final"]
    assert fake.sent == [(message, None)]
    fake.queue.get_nowait()
    with pytest.raises(TimeoutError):
        await texts(stream_flow(fake, message, timeout=0.01))


class Emitter:
    """Takes chunks as a context does, by keyword only."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    async def emit_chunk(self, **call: Any) -> None:
        self.calls.append(call)


async def pieces(*values: Any) -> AsyncIterator[Any]:
    for value in values:
        yield value


async def test_events_of_a_source_become_chunks(make_message: MakeMessage) -> None:
    ctx, parent = Emitter(), make_message(1)
    await emit_stream_events(pieces("a", 2), ctx, parent, final_meta={"total": 2})
    assert ctx.calls == [
        {"parent": parent, "text": "a", "done": False, "meta": {}, "to": None},
        {"parent": parent, "text": "2", "done": False, "meta": {}, "to": None},
        {"parent": parent, "text": "", "done": True, "meta": {"total": 2}, "to": None},
    ]


async def test_an_adapter_says_what_a_chunk_is(make_message: MakeMessage, make_node: MakeNode) -> None:
    ctx, target = Emitter(), make_node(name="target")
    source = pieces({"t": "a"}, {"t": "b", "end": True})
    await emit_stream_events(
        source, ctx, make_message(1), adapter=lambda event: (event["t"], "end" in event, event), to=target
    )
    assert [(call["text"], call["done"], call["meta"]) for call in ctx.calls] == [
        ("a", False, {"t": "a"}),
        ("b", True, {"t": "b", "end": True}),
    ]
    assert {call["to"] for call in ctx.calls} == {target}


async def test_a_source_is_closed_when_its_reader_fails(make_message: MakeMessage) -> None:
    closed: list[bool] = []

    async def source() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    def adapter(event: Any) -> tuple[str, bool, dict[str, Any]]:
        raise ValueError(f"cannot read {event}")

    ctx = Emitter()
    with pytest.raises(ValueError, match="cannot read a"):
        await emit_stream_events(source(), ctx, make_message(1), adapter=adapter)
    assert (closed, ctx.calls) == ([True], [])


async def test_a_source_streams_through_a_flow(start: Start, make_node: MakeNode, make_message: MakeMessage) -> None:
    async def relay(message: Message, ctx: Context) -> None:
        await emit_stream_events(pieces(*message.payload), ctx, message, final_meta={"n": len(message.payload)})

    flow = start(create(make_node(relay).to()))
    got = [piece async for piece in stream_flow(flow, make_message("abc"))]
    assert [(piece.seq, piece.text, piece.done) for piece in got] == [
        (0, "a", False),
        (1, "b", False),
        (2, "c", False),
        (3, "", True),
    ]
    assert got[-1].meta == {"n": 3}
