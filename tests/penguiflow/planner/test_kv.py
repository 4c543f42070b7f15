"""`ctx.kv` in tools: what goes on after a pause, a crash or in a fork reads the same, and changes nothing twice."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penguiflow.planner import PlannerEvent, PlannerFinish, PlannerPause
from penguiflow.recording import Recorder, TraceEvent
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import frontier
from penguiflow.recording.replay import replay
from penguiflow.state import InMemoryStateStore, SQLiteStateStore

OWNER = {"tenant_id": "t", "user_id": "u", "session_id": "s", "task_id": "job"}
SECRET = "s3cr3t-value-of-a-session"


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    made: Any = InMemoryStateStore() if request.param == "memory" else SQLiteStateStore(tmp_path / "state.db")
    yield made
    await made.close()


class Shop:
    """A tool that counts how often it was asked, in the session."""

    def __init__(self, kit: Any, *, asks: bool = False) -> None:
        self.kit = kit
        self.asks = asks
        self.seen: list[Any] = []
        self.entered = 0

    def planner(self, *script: Any, **options: Any) -> Any:
        kit, shop = self.kit, self

        async def visit(args: Any, ctx: Any) -> Any:
            shop.entered += 1
            before = await ctx.kv.get("visits")
            count = (before or {}).get("count", 0) + args.n
            shop.seen.append(before)
            await ctx.kv.patch("visits", {"count": count})
            await ctx.kv.get_or_init("since", "spring", namespace="shop")
            if shop.asks:
                await ctx.ask("sure?", bool)
            token = await ctx.kv.get("token")
            shop.seen.append(token)
            return kit.Text(text=json.dumps([count, len(token or "")]))

        async def enter(args: Any, ctx: Any) -> Any:
            await ctx.kv.set("token", SECRET)
            await ctx.kv.set("seat", args.n, scope="task")
            await ctx.kv.delete("seat", scope="task")
            return kit.Text(text="in")

        for tool in (visit, enter):
            tool.__annotations__ = {"args": kit.Number, "return": kit.Text}
        return kit.planner_of(visit, enter, script=script, **options)


async def kept(store: Any) -> dict[str, Any]:
    found = {key: await store.load_memory_state(key) for key in await store.list_memory_states("kv:")}
    return {key: json.loads(each["json"]) for key, each in found.items()}


def observations(finish: Any) -> list[Any]:
    assert isinstance(finish, PlannerFinish)
    return [json.loads(step["observation"]["text"]) for step in finish.metadata["steps"][1:]]


async def test_runs_of_a_session_share_what_tools_keep(kit: Any, store: Any) -> None:
    shop, script = Shop(kit), (kit.call("enter", n=1), kit.call("visit", n=2), kit.answer("done"))
    events: list[PlannerEvent] = []
    first = await shop.planner(*script, state_store=store, event_callback=events.append).run("x", tool_context=OWNER)
    second = await shop.planner(*script, state_store=store).run("x", tool_context=OWNER)
    third = await shop.planner(*script, state_store=store).run("x", tool_context={**OWNER, "session_id": "other"})

    assert [observations(each)[0][0] for each in (first, second, third)] == [2, 4, 2]
    values = await kept(store)
    assert values["kv:session:t:u:s::visits"] == {"count": 4}
    assert values["kv:session:t:u:s:shop:since"] == "spring"
    assert values["kv:session:t:u:s::token"] == SECRET
    assert not any(key.startswith("kv:task:") for key in values)
    told = [
        (event.event_type, event.node_name, event.extra["composite_key"])
        for event in events
        if "kv" in event.event_type
    ]
    assert told == [
        ("kv_set", "enter", "kv:session:t:u:s::token"),
        ("kv_set", "enter", "kv:task:t:u:s:job::seat"),
        ("kv_delete", "enter", "kv:task:t:u:s:job::seat"),
        ("kv_patch", "visit", "kv:session:t:u:s::visits"),
        ("kv_init", "visit", "kv:session:t:u:s:shop:since"),
    ]
    actor = events[-1].extra.get("actor") or next(e for e in events if e.event_type == "kv_patch").extra["actor"]
    assert actor["name"] == "visit"
    assert SECRET not in repr([event for event in events if "kv" in event.event_type])


async def test_without_an_owner_the_tool_fails_and_says_why(kit: Any) -> None:
    shop = Shop(kit)
    finish = await shop.planner(kit.call("visit", n=2), kit.answer("done"), state_store=InMemoryStateStore()).run(
        "x", tool_context={"session_id": "s"}
    )
    assert "tool_context has no tenant_id and no user_id" in finish.metadata["steps"][0]["error"]


async def test_without_a_store_the_tool_fails_and_says_why(kit: Any) -> None:
    finish = await Shop(kit).planner(kit.call("visit", n=2), kit.answer("done")).run("x", tool_context=OWNER)
    assert "ctx.kv needs a state store that keeps memories: there is none" in finish.metadata["steps"][0]["error"]


async def test_a_run_that_is_recorded_keeps_values_where_it_is_recorded(kit: Any, store: Any) -> None:
    planner = Shop(kit).planner(kit.call("visit", n=2), kit.answer("done"), recorder=Recorder(store=store))
    await planner.run("x", tool_context=OWNER)
    assert (await kept(store))["kv:session:t:u:s::visits"] == {"count": 2}


async def recorded(kit: Any, store: Any, shop: Shop) -> tuple[Any, list[TraceEvent]]:
    log = kit.Log()
    script = (kit.call("enter", n=1), kit.call("visit", n=2), kit.call("visit", n=3), kit.answer("done"))
    finish = await shop.planner(*script, state_store=store, recorder=log.recorder()).run("x", tool_context=OWNER)
    return finish, log.events


async def test_the_log_tells_of_each_change_and_of_no_secret(kit: Any) -> None:
    store, shop = InMemoryStateStore(), Shop(kit)
    _, events = await recorded(kit, store, shop)

    changes = [event for event in events if event.kind == "memory.changed"]
    assert [(event.data["change"], event.name) for event in changes][:4] == [
        ("kv.set", "kv:session:t:u:s::token"),
        ("kv.set", "kv:task:t:u:s:job::seat"),
        ("kv.delete", "kv:task:t:u:s:job::seat"),
        ("kv.patch", "kv:session:t:u:s::visits"),
    ]
    last = changes[-1].data
    assert (last["before"]["value"], last["after"]["value"]) == ({"visits": {"count": 2}}, {"visits": {"count": 5}})
    assert (last["by"], last["scope"]) == ("tool:visit", "session")
    assert last["of"] == "kv:session:t:u:s::visits"
    # Each is inside the call that made it.
    tools = {event.span_id for event in events if event.kind == "tool.start"}
    assert {event.span_id for event in changes} <= tools
    written = json.dumps([event.data for event in events])
    assert SECRET not in written
    assert "hmac:" in written


async def test_a_replay_writes_nothing_and_reads_nothing(kit: Any) -> None:
    store, shop = InMemoryStateStore(), Shop(kit)
    finish, events = await recorded(kit, store, shop)
    values = await kept(store)
    empty = InMemoryStateStore()

    for other in (store, empty, None):
        again = Shop(kit)
        flow, registry = again.planner(state_store=other).as_flow()
        outcome = await replay(flow, Cassette.of(events), registry=registry)
        assert outcome.check().output.payload == finish.payload
        assert again.entered == 0

    assert await kept(store) == values
    assert await empty.list_memory_states() == []


async def test_a_run_that_goes_on_from_any_event_counts_each_visit_once(kit: Any) -> None:
    """As after a crash: what was done is not done again, and what was read is read as it was."""
    store, shop = InMemoryStateStore(), Shop(kit)
    finish, events = await recorded(kit, store, shop)
    entered = next(event.seq for event in events if event.kind == "node.start")
    left = next(event.seq for event in events if event.data.get("target") == "Rookery")
    for seq in range(entered, left):
        again, copy = Shop(kit), InMemoryStateStore()
        for key, value in _until(events, seq).items():
            await copy.save_memory_state(key, {"revision": 1, "json": json.dumps(value)})
        script = (kit.call("enter", n=1), kit.call("visit", n=2), kit.call("visit", n=3), kit.answer("done"))
        answered = sum(event.kind == "llm.end" and event.seq <= seq for event in events)
        flow, registry = again.planner(*script[answered:], state_store=copy).as_flow()
        flow.run(registry=registry, recorder=kit.Log().recorder())
        try:
            [result] = [r async for r in flow.restore(frontier(events, seq), trace_id="0123456789abcdef-fork")]
        finally:
            await flow.stop()
        assert result.payload == finish.payload, seq
        assert observations(result) == observations(finish), seq
        assert (await kept(copy))["kv:session:t:u:s::visits"] == {"count": 5}, seq
        # A secret that the log does not have is read again, whole.
        assert all(each == SECRET for each in again.seen if isinstance(each, str)), seq


def _until(events: list[TraceEvent], seq: int) -> dict[str, Any]:
    """What the store had at an event."""
    found: dict[str, Any] = {}
    for event in events[: seq + 1]:
        if event.kind == "memory.changed" and event.data["after"]["value"] is None:
            found.pop(event.name, None)
        elif event.kind == "memory.changed":
            value = event.data["after"]["value"]
            while isinstance(value, dict) and set(value) & {"visits", "since", "shop", "token", "seat"}:
                value = next(iter(value.values()))
            found[event.name] = SECRET if event.name.endswith("token") else value
    return found


async def test_a_tool_that_waits_for_somebody_does_not_do_it_twice(kit: Any, store: Any) -> None:
    shop = Shop(kit, asks=True)
    planner = shop.planner(kit.call("enter", n=1), kit.call("visit", n=2), kit.answer("done"), state_store=store)
    pause = await planner.run("x", tool_context=OWNER)
    assert isinstance(pause, PlannerPause)
    # Somebody else changes it meanwhile: this call has read what it has read.
    await Shop(kit).planner(kit.call("visit", n=5), kit.answer("done"), state_store=store).run("x", tool_context=OWNER)

    finish = await planner.resume(pause.resume_token, "yes", tool_context=OWNER)

    assert observations(finish) == [[2, len(SECRET)]]
    assert shop.entered == 2
    assert (await kept(store))["kv:session:t:u:s::visits"] == {"count": 7}


async def test_tools_at_once_lose_nothing(kit: Any, store: Any) -> None:
    async def note(args: Any, ctx: Any) -> Any:
        await ctx.kv.patch("notes", {str(args.n): True})
        return args

    note.__annotations__ = {"args": kit.Number, "return": kit.Number}
    script = (kit.plan(*(kit.call("note", n=n) for n in range(12))), kit.answer("done"))
    planner = kit.planner_of(note, script=script, state_store=store, recorder=Recorder(store=store))
    await planner.run("x", tool_context=OWNER)
    assert (await kept(store))["kv:session:t:u:s::notes"] == {str(n): True for n in range(12)}


PROGRAM = """
import asyncio, json, os, signal, sys
from pathlib import Path
from typing import Any
from pydantic import BaseModel
from penguiflow import ModelRegistry, Node
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import PlannerRequest, ReactPlanner
from penguiflow.recording.frontier import read_frontier
from penguiflow.state.sqlite import SQLiteStateStore

class Number(BaseModel):
    n: int

folder, mode = Path(sys.argv[1]), sys.argv[2]

async def visit(args: Number, ctx: Any) -> Number:
    before = await ctx.kv.get_or_init("visits", 0)
    token = await ctx.kv.get("token")
    await ctx.kv.set("visits", before + args.n)
    await ctx.kv.set("token", "whole-s3cr3t")
    if mode == "kill":
        await store.recorder().flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return Number(n=before)

script = [{"next_node": "visit", "args": {"n": 3}}, {"next_node": "final_response", "args": {"answer": "done"}}]
registry = ModelRegistry()
registry.register("visit", Number, Number)
store = SQLiteStateStore(folder / "store.db")
planner = ReactPlanner(
    ScriptedModel(rules=[(lambda _: True, script)]), nodes=[Node(visit, name="visit")], registry=registry,
)

async def main() -> None:
    flow, models = planner.as_flow()
    flow.run(registry=models, recorder=store.recorder())
    if mode == "kill":
        context = {"tenant_id": "t", "user_id": "u", "session_id": "s"}
        await flow.call(PlannerRequest(query="x", tool_context=context), trace_id="run")
    else:
        [finish] = [result async for result in flow.restore(await read_frontier(store, "run"))]
        kept = await store.load_memory_state("kv:session:t:u:s::visits")
        print(json.dumps([finish.metadata["steps"][0]["observation"], kept["json"]]))
    await flow.stop()
    await store.close()

asyncio.run(main())
"""


async def test_after_a_kill_a_change_is_not_made_twice(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    async def run(mode: str) -> tuple[int | None, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(program), str(tmp_path), mode, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(120):
            out, _ = await process.communicate()
        return process.returncode, out

    assert (await run("kill"))[0] == -signal.SIGKILL
    code, out = await run("resume")

    assert code == 0
    assert json.loads(out) == [{"n": 0}, "3"]
