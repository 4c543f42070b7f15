"""What the list of traces says of one: its own input and output, and not those of flows within it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from penguiflow.recording import EventRecord
from penguiflow.state import SQLiteStateStore

TRACE = "0123456789abcdef"


def records() -> Callable[..., EventRecord]:
    """Makes events, one after the other."""
    count = iter(range(1000))

    def make(kind: str, span: str, parent: str | None, name: str = "flow", **data: Any) -> EventRecord:
        seq = next(count)
        return EventRecord(seq, 0, TRACE, span, parent, 100.0 + seq, seq, kind, name, to_json(data))

    return make


def payload(value: Any) -> dict[str, Any]:
    return {"payload": {"type": "builtins:str", "value": value}}


async def test_messages_of_a_playbook_are_neither_input_nor_output(tmp_path: Path) -> None:
    make = records()
    store = SQLiteStateStore(tmp_path / "state.db")
    for event in (
        make("trace.start", "0", None),
        make("message.enqueued", "0", None, "OpenSea->ask", **payload("question")),
        make("node.start", "1", "0", "ask"),
        make("message.enqueued", "1", "0", "ask->Rookery", **payload("answer")),
        make("playbook.start", "2", "1", "sub"),
        make("message.enqueued", "2", "1", "OpenSea->inner", **payload("inner question")),
        make("node.start", "3", "2", "inner"),
        make("message.enqueued", "3", "2", "inner->Rookery", **payload("inner answer")),
        make("trace.end", "0", None, status="error"),
    ):
        store.sink.write(event)
    await store.flush()
    trace = await store.get_trace(TRACE)
    await store.close()
    assert trace is not None
    assert (trace.input, trace.output) == ('"question"', '"answer"')


async def test_a_trace_that_goes_on_keeps_its_input(tmp_path: Path) -> None:
    make = records()
    begun = [
        make("trace.start", "0", None),
        make("message.enqueued", "0", None, "OpenSea->ask", **payload("question")),
        make("trace.end", "0", None, status="interrupted"),
    ]
    resumed = [
        make("trace.start", "4", None, resumed={"seq": 1, "shift_s": 1.0}),
        make("playbook.start", "5", "4", "sub"),
        make("message.enqueued", "5", "4", "OpenSea->inner", **payload("inner question")),
        make("message.enqueued", "6", "4", "ask->Rookery", **payload("answer")),
        make("trace.end", "4", None, status="ok"),
    ]
    for part in (begun, resumed):  # each by a process of its own
        store = SQLiteStateStore(tmp_path / "state.db")
        for event in part:
            store.sink.write(event)
        await store.flush()
        trace = await store.get_trace(TRACE)
        await store.close()
    assert trace is not None
    assert (trace.status, trace.input, trace.output) == ("ok", '"question"', '"answer"')


async def test_a_replay_can_be_told_from_a_fork(tmp_path: Path) -> None:
    make = records()
    store = SQLiteStateStore(tmp_path / "state.db")
    store.sink.write(make("trace.start", "0", None, origin={"trace_id": "feed"}, mode="replay"))
    store.sink.write(make("trace.end", "0", None, status="ok"))
    await store.flush()
    trace = await store.get_trace(TRACE)
    await store.close()
    assert trace is not None
    assert trace.origin == {"trace_id": "feed", "mode": "replay"}
