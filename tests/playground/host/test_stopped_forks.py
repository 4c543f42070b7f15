"""A fork over a real socket: it stops where it begins, and takes another decision of its planner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from playground.again import RestoreOrder
from playground.protocol import Accepted, Breakpoints, Decide, Error, Events, Hello, Result, Run, Stopped, Subscribe

if TYPE_CHECKING:
    from tests.playground.host.conftest import Peer

PROJECT = """
from pydantic import BaseModel
from penguiflow import ModelRegistry, Node, PenguiFlow, create
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import ReactPlanner


class Number(BaseModel):
    n: int


async def double(args: Number, ctx) -> Number:
    return Number(n=2 * args.n)


async def negate(args: Number, ctx) -> Number:
    return Number(n=-args.n)


SCRIPT = [{"next_node": "double", "args": {"n": 1}}, {"next_node": "final_response", "args": {"answer": "done"}}]


def make_planner() -> ReactPlanner:
    registry = ModelRegistry()
    for name in ("double", "negate"):
        registry.register(name, Number, Number)
    return ReactPlanner(
        ScriptedModel(rules=[(lambda _: True, SCRIPT)]), nodes=[Node(double), Node(negate)], registry=registry
    )


async def add(value: Number, ctx) -> Number:
    return Number(n=value.n + 1)


async def square(value: Number, ctx) -> Number:
    return Number(n=value.n * value.n)


def build_numbers() -> tuple[PenguiFlow, ModelRegistry]:
    registry = ModelRegistry()
    registry.register("add", Number, Number)
    registry.register("square", Number, Number)
    first, second = Node(add), Node(square)
    return create(first.to(second), second.to()), registry
"""
PLANNER, NUMBERS = "app.py:make_planner", "app.py:build_numbers"


async def recorded(client: Peer, target: str, given: Any, kind: str) -> tuple[str, int]:
    """Run it; the trace, and the first event of a kind."""
    await client.send(Subscribe())
    await client.send(Run(id=1, target=target, input=given))
    result = await client.until(Result, Error)
    assert isinstance(result, Result), result
    events = [event for frame in client.frames if isinstance(frame, Events) for event in frame.events]
    seqs = [event["seq"] for event in events if event["trace_id"] == result.trace_id and event["kind"] == kind]
    return result.trace_id, seqs[0]


async def go_on(client: Peer, stopped: Stopped, **fields: Any) -> None:
    await client.send(Decide.model_validate({"id": 9, "stop": stopped.stop, **fields}))
    answer = await client.until(Accepted, Error)
    assert isinstance(answer, Accepted), answer


async def test_a_fork_stops_first_and_takes_another_decision(tmp_path: Path, serving: Any) -> None:
    (tmp_path / "app.py").write_text(PROJECT)
    async with serving(tmp_path, hold_s=600.0) as served, served.connect() as socket:
        client = served.peer(socket)
        await client.until(Hello)
        await client.send(Breakpoints())

        trace, seq = await recorded(client, NUMBERS, {"n": 2}, "node.end")
        order = RestoreOrder(trace_id=trace, at=seq, edits={"/payload/n": 10})
        await client.send(Run(target=NUMBERS, restore=order, stop_first=True))
        stopped = await client.until(Stopped)
        assert (stopped.kind, stopped.name, stopped.payload) == ("before_node", "square", {"n": 10})
        await go_on(client, stopped, action="edit", edits={"/n": 5})
        assert (await client.until(Result)).output == {"n": 25}

        trace, seq = await recorded(client, PLANNER, {"query": "count"}, "planner.decision")
        order = RestoreOrder(trace_id=trace, at=seq, edits={"/next_node": "negate", "/args/n": 7})
        await client.send(Run(target=PLANNER, restore=order, stop_first=True))
        places = []
        while not isinstance(frame := await client.until(Stopped, Result), Result):
            places.append((frame.kind, frame.name, frame.payload.get("args")))
            await go_on(client, frame, then="into" if frame.kind != "after_tool" else "continue")
        assert ("before_tool", "negate", {"n": 7}) in places
        assert places[-1] == ("after_tool", "negate", {"n": 7})
        assert frame.restore is not None
        assert (frame.status, frame.restore.missed) == ("ok", [])
