"""Stopped runs under conditions that nobody wants: huge payloads, a locked store, other dashboards, no memory."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penguiflow.state.traces import TraceQuery
from playground.breakpoints import Breakpoint
from playground.protocol import ContextGet, Decide, Stopped

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, Live, OpenLive

FLOW = """
    import os
    from penguiflow import Node, create


    async def give(message, ctx):
        match message.payload:
            case "huge":
                payload = {"text": "x" * 50_000_000, "n": 1}
            case "wide":
                payload = {f"key {n}": n for n in range(10_000)}
            case "odd":
                payload = {"nul": "a\\0b", "escape": "\\x1b]0;title\\x07\\x1b[2J", "bell": "\\r\\b\\x9b31m"}
            case "fork":
                if not os.fork():
                    os.execvp("sleep", ["sleep", "600"])
                payload = "parent"
            case "memory":
                payload = bytearray(1 << 60)
            case other:
                payload = other
        return message.model_copy(update={"payload": payload})


    flow = create(Node(give).to())
"""
AFTER = Breakpoint(id="1", on="kind", kind="after_node")


async def stopped_at(live: Live, target: str, given: Any) -> tuple[str, Stopped]:
    trace_id = await live.start(target, given)
    return trace_id, await live.stop_of(trace_id)


async def test_payloads_that_are_huge_wide_or_odd(add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow("harsh", FLOW)
    live = await open_live()
    await live.source.set_breakpoints([AFTER], [])

    trace_id, stopped = await stopped_at(live, target, "huge")
    assert stopped.payload is None
    assert stopped.bytes is not None
    assert stopped.bytes > 50_000_000
    assert [part.name for part in (await live.source.context(ContextGet(stop=stopped.stop))).parts] == [
        "headers",
        "meta",
    ]
    await live.source.decide(Decide(stop=stopped.stop, action="edit", edits={"/payload/text": "short"}))
    assert (await live.end(trace_id)).output == {"text": "short", "n": 1}

    trace_id, stopped = await stopped_at(live, target, "wide")
    assert len(stopped.payload["payload"]) == 10_000
    await live.source.decide(Decide(stop=stopped.stop, action="edit", edits={"/payload/key 7": "seven"}))
    assert (await live.end(trace_id)).output["key 7"] == "seven"

    trace_id, stopped = await stopped_at(live, target, "odd")
    odd = stopped.payload["payload"]
    assert (odd["nul"], odd["escape"][0]) == ("a\0b", "\x1b")
    await live.source.decide(Decide(stop=stopped.stop, action="edit", value=stopped.payload))
    assert (await live.end(trace_id)).output == odd
    events = await live.source.load_events(trace_id)
    assert "title" in json.dumps([event.data for event in events])


async def test_a_store_that_is_locked_holds_no_stop_up(project: Path, add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow("harsh", FLOW)
    live = await open_live()
    await live.source.set_breakpoints([Breakpoint(id="1", on="kind", kind="before_node")], [])
    trace_id, stopped = await stopped_at(live, target, "locked")
    with closing(sqlite3.connect(project / ".penguiflow/state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await live.source.decide(Decide(stop=stopped.stop, then="into"))
        after = await live.stop_of(trace_id)
        assert after.kind == "after_node"
        await live.source.decide(Decide(stop=after.stop))
        other.execute("ROLLBACK")
    result = await live.end(trace_id)
    assert (result.status, result.output, result.not_recorded) == ("ok", "locked", None)
    seqs = [event.seq for event in await live.source.load_events(trace_id)]
    assert seqs == list(range(len(seqs)))


async def test_two_dashboards_share_breakpoints_and_end_nothing_of_each_other(
    add_flow: AddFlow, open_live: OpenLive
) -> None:
    target = add_flow("harsh", FLOW)
    one, two = await open_live(), await open_live()
    await one.source.set_breakpoints([AFTER], [])
    mine, stopped = await stopped_at(one, target, "one")
    theirs, other = await stopped_at(two, target, "two")
    await two.source.stop()  # its worker goes, with its run
    found = {trace.trace_id: trace.status for trace in await one.source.find_traces(TraceQuery())}
    assert found[mine] == "running"
    assert theirs in found
    assert other.breakpoint == stopped.breakpoint == "1"
    await one.source.decide(Decide(stop=stopped.stop))
    assert (await one.end(mine)).status == "ok"
    known = await one.source.set_breakpoints([], [])
    assert [each.hits for each in known.breakpoints] == [2]


async def test_a_child_of_user_code_and_no_memory(add_flow: AddFlow, open_live: OpenLive) -> None:
    target = add_flow("harsh", FLOW)
    live = await open_live()
    await live.source.set_breakpoints([AFTER], [])
    trace_id, stopped = await stopped_at(live, target, "fork")
    await live.source.decide(Decide(stop=stopped.stop))
    assert (await live.end(trace_id)).output == "parent"
    await live.source.set_breakpoints([], ["1"])
    failed = await live.run(target, "memory")
    assert failed.status == "error"
    assert "MemoryError" in json.dumps(failed.error)
    assert (await live.run(target, "well")).output == "well"
