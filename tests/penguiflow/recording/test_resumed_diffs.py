"""A trace that was interrupted and resumed compares with one that was not: what was begun twice counts once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic_core import to_json

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create, join_k
from penguiflow.recording import EventRecord, Recorder, TraceEvent, read_frontier
from penguiflow.recording.diff import diff_traces
from penguiflow.recording.frontier import frontier
from penguiflow.state.sqlite import SQLiteStateStore

TRACE = "0123456789abcdef"


class Sink(list[EventRecord]):
    def write(self, record: EventRecord) -> None:
        self.append(record)


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


async def test_a_trace_that_was_resumed_in_the_middle_is_equal(tmp_path: Path) -> None:
    sink = Sink()
    first = flow()
    first.run(recorder=Recorder(sink))
    await first.call(Message(payload="q", headers=Headers(tenant="acme"), trace_id=TRACE))
    await first.stop()
    whole = SQLiteStateStore(tmp_path / "whole.db")
    for record in sink:
        whole.sink.write(record)
    await whole.flush()
    events: list[TraceEvent] = [record.decode() for record in sink]
    for seq in range(frontier(events, 0).seq, len(sink) - 1, 3):
        store = SQLiteStateStore(tmp_path / f"{seq}.db")
        for record in interrupted(sink[: seq + 1]):
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
