"""Runs of a real worker stop where a client over a real socket wants it, and do what it decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from playground.breakpoints import FILE_NAME, Breakpoint, BreakpointStore
from playground.protocol import (
    Accepted,
    Breakpoints,
    Cancel,
    Decide,
    Error,
    Events,
    Halt,
    Hello,
    Result,
    Resumed,
    Run,
    Stopped,
    Subscribe,
)

if TYPE_CHECKING:
    from tests.playground.host.conftest import Peer, Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROJECT = """
from pydantic import BaseModel
from penguiflow import ModelRegistry, Node, PenguiFlow, create
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import ReactPlanner


class Text(BaseModel):
    text: str
    api_key: str = ""


class Number(BaseModel):
    n: int


class Numbers(BaseModel):
    all: list[Number]


async def shout(value: Text, ctx) -> Text:
    if value.text == "fail":
        raise ValueError("too quiet")
    return value.model_copy(update={"text": value.text.upper()})


async def mark(value: Text, ctx) -> Text:
    return Text(text=value.text + "!", api_key=str(len(value.api_key)))


async def bare(message, ctx):
    if message.payload == "odd":
        return message.model_copy(update={"payload": "\\udcff"})
    return message


def build_texts() -> tuple[PenguiFlow, ModelRegistry]:
    registry = ModelRegistry()
    registry.register("shout", Text, Text)
    registry.register("mark", Text, Text)
    first, second = Node(shout), Node(mark)
    return create(first.to(second), second.to()), registry


messages = create(Node(bare).to())


async def double(args: Number, ctx) -> Number:
    return Number(n=2 * args.n)


async def total(args: Numbers, ctx) -> Number:
    return Number(n=sum(each.n for each in args.all))


SCRIPT = [
    {"next_node": "double", "args": {"n": 1}},
    {"next_node": "parallel", "args": {
        "steps": [{"node": "double", "args": {"n": 1}}, {"node": "double", "args": {"n": 2}}],
        "join": {"node": "total", "inject": {"all": "$results"}},
    }},
    {"next_node": "final_response", "args": {"answer": "six"}},
]


def make_planner() -> ReactPlanner:
    registry = ModelRegistry()
    registry.register("double", Number, Number)
    registry.register("total", Numbers, Number)
    return ReactPlanner(
        ScriptedModel(rules=[(lambda _: True, SCRIPT)]), nodes=[Node(double), Node(total)], registry=registry
    )
"""

TEXTS, MESSAGES, PLANNER = "app.py:build_texts", "app.py:messages", "app.py:make_planner"


def put(number: str, **fields: Any) -> Breakpoints:
    return Breakpoints(id=1, put=[Breakpoint.model_validate({"id": number, **fields})])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("debugged")
    (path / "app.py").write_text(PROJECT)
    return path


@pytest_asyncio.fixture(loop_scope="module")
async def debugged(root: Path, serving: Any) -> AsyncIterator[Served]:
    (root / "state" / FILE_NAME).unlink(missing_ok=True)
    async with serving(root, hold_s=600.0) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module")
async def client(debugged: Served) -> AsyncIterator[Peer]:
    async with debugged.connect() as socket:
        peer = debugged.peer(socket)
        await peer.send(Hello(client="tester"))
        yield peer


async def decide(peer: Peer, stopped: Stopped, action: str = "proceed", **more: Any) -> Any:
    await peer.send(Decide.model_validate({"id": 9, "stop": stopped.stop, "action": action, **more}))
    return await peer.until(Accepted, Error)


async def test_a_run_stops_is_edited_and_goes_on(client: Peer, debugged: Served, root: Path) -> None:
    await client.send(put("1", on="node", name="mark"))
    assert [each.id for each in (await client.until(Breakpoints)).breakpoints] == ["1"]
    async with debugged.connect() as socket:
        viewer = debugged.peer(socket)
        await viewer.until(Hello)
        await client.send(Run(id=2, target=TEXTS, input={"text": "hi"}))
        stopped = await client.until(Stopped)
        assert (await viewer.until(Stopped)).stop == stopped.stop
        assert (stopped.kind, stopped.name, stopped.breakpoint) == ("before_node", "mark", "1")
        assert stopped.payload["text"] == "HI"
        assert stopped.path[0].startswith("node:mark[")

        refused = await decide(client, stopped, "edit", value={"text": 7})
        assert (refused.code, refused.details[0]["path"]) == ("invalid_input", "/text")
        assert (await decide(client, stopped, "edit", edits={"/no/where": 7})).code == "invalid_input"
        assert isinstance(await decide(client, stopped, "edit", edits={"/text": "ho"}), Accepted)
        resumed = await viewer.until(Resumed)
        assert (resumed.stop, resumed.action, resumed.by) == (stopped.stop, "edit", "tester")
    result = await client.until(Result)
    assert (result.status, result.output["text"]) == ("ok", "ho!")
    assert (await decide(client, stopped)).code == "not_found"
    (kept,) = BreakpointStore(root / "state").load()
    assert kept.hits == 1


async def test_a_result_is_given_a_run_aborted_and_an_error_mended(client: Peer) -> None:
    await client.send(put("1", on="kind", kind="before_node", name="shout"))
    await client.send(Run(id=2, target=TEXTS, input={"text": "hi"}))
    await decide(client, await client.until(Stopped), "skip", value={"text": "given"})
    assert (await client.until(Result)).output["text"] == "given!"

    await client.send(Run(id=2, target=TEXTS, input={"text": "hi"}))
    await decide(client, await client.until(Stopped), "abort", value="enough")
    result = await client.until(Result)
    assert result.status == "cancelled"
    assert "enough" in json.dumps(result.error)

    await client.send(put("1", on="error"))
    await client.send(Run(id=2, target=TEXTS, input={"text": "fail"}))
    stopped = await client.until(Stopped)
    error = stopped.payload["error"]
    assert (error["type"], error["message"]) == ("ValueError", "too quiet")
    assert Path(error["file"]).name == "app.py"
    assert f"line {error['line']}, in" in error["traceback"]
    assert (stopped.payload["input"]["text"], stopped.value_at) == ("fail", "/input")
    assert (await decide(client, stopped, "edit", value={"text": 7})).details[0]["path"] == "/input/text"
    assert (await decide(client, stopped, "edit", edits={"/error/message": "x"})).code == "invalid_input"
    await decide(client, stopped, "edit", edits={"/input/text": "again"})
    assert (await client.until(Result)).output["text"] == "AGAIN!"


async def test_an_error_on_the_way_to_a_place_stops_nothing(client: Peer) -> None:
    await client.send(Run(id=2, target=TEXTS, input={"text": "fail"}, stop_first=True))
    there = Breakpoint(id="here", on="node", name="mark")
    await decide(client, await client.until(Stopped), to=there.model_dump())
    ended = await client.until(Stopped, Result)
    assert isinstance(ended, Result)
    assert ended.status == "error"


async def test_a_retry_goes_on_without_another_step(client: Peer) -> None:
    await client.send(Run(id=2, target=TEXTS, input={"text": "fail"}, stop_first=True))
    stopped = await client.until(Stopped)
    await decide(client, stopped, then="into")
    stopped = await client.until(Stopped)
    assert (stopped.kind, stopped.name) == ("on_error", "shout")
    await decide(client, stopped, "retry")
    ended = await client.until(Stopped, Result)
    assert isinstance(ended, Result)
    assert ended.status == "error"


async def test_a_message_is_edited_with_its_headers(client: Peer) -> None:
    await client.send(put("1", on="node", name="bare"))
    await client.send(Run(id=2, target=MESSAGES, input={"a": 1}))
    stopped = await client.until(Stopped)
    edits = {"/payload/a": 2, "/headers/tenant": "other", "/trace_id": "elsewhere"}
    await decide(client, stopped, "edit", edits=edits, then="over")
    after = await client.until(Stopped)
    assert (after.kind, after.payload["payload"], after.payload["headers"]["tenant"]) == (
        "after_node",
        {"a": 2},
        "other",
    )
    await decide(client, after)
    assert (await client.until(Result)).output == {"a": 2}


async def test_what_is_no_text_and_what_is_too_large(client: Peer) -> None:
    await client.send(put("1", on="kind", kind="after_node"))
    await client.send(Run(id=2, target=MESSAGES, input="odd"))
    stopped = await client.until(Stopped)
    assert stopped.payload["payload"] == "\\udcff"
    await decide(client, stopped)
    await client.until(Result)
    await client.send(Run(id=2, target=MESSAGES, input="x" * 5_000_000))
    stopped = await client.until(Stopped)
    assert stopped.payload is None
    assert stopped.bytes > 5_000_000
    await decide(client, stopped, "edit", edits={"/payload": "short"})
    assert (await client.until(Result)).output == "short"


async def test_conditions_narrow_and_tell_what_does_not_fit(client: Peer) -> None:
    await client.send(put("1", on="kind", kind="before_node", condition='text == "B" and api_key'))
    await client.send(put("2", on="node", name="mark", condition="url == 1"))
    await client.send(Run(id=2, target=TEXTS, input={"text": "a"}))
    await client.until(Result)
    assert not [frame for frame in client.frames if isinstance(frame, Stopped)]
    unfit = [frame.unfit for frame in client.frames if isinstance(frame, Breakpoints) and frame.unfit]
    assert unfit[-1] == {"2": "the payload has no 'url'"}
    await client.send(put("3", on="tool"))
    while len((told := await client.until(Breakpoints)).breakpoints) < 3:
        pass
    assert told.unfit == unfit[-1]
    other = 'text == "nothing"'
    await client.send(put("2", on="node", name="mark", condition=other))
    while all(each.condition != other for each in told.breakpoints):
        told = await client.until(Breakpoints)
    assert told.unfit == {}
    await client.send(Run(id=2, target=TEXTS, input={"text": "b", "api_key": "k"}))
    stopped = await client.until(Stopped)
    assert (stopped.name, stopped.breakpoint) == ("mark", "1")
    await decide(client, stopped)
    await client.until(Result)


async def test_what_is_secret_is_hidden_and_survives_an_edit(client: Peer) -> None:
    await client.send(put("1", on="node", name="mark"))
    await client.send(Run(id=2, target=TEXTS, input={"text": "a", "api_key": "sk-very-secret"}))
    stopped = await client.until(Stopped)
    assert "sk-very-secret" not in json.dumps(stopped.payload)
    await decide(client, stopped, "edit", value={**stopped.payload, "text": "b"})
    result = await client.until(Result)
    assert result.output["text"] == "b!"


async def test_once_stops_once_and_several_runs_stop_at_once(client: Peer, root: Path) -> None:
    await client.send(put("1", on="node", name="mark", once=True))
    await client.send(put("2", on="node", name="shout"))
    await client.send(Run(target=TEXTS, input={"text": "a"}, trace_id="trace-a"))
    await decide(client, await client.until(Stopped))
    first = await client.until(Stopped)
    await client.send(Run(target=TEXTS, input={"text": "b"}, trace_id="trace-b"))
    second = await client.until(Stopped)
    stopped = [(each.trace_id, each.name, each.breakpoint) for each in (first, second)]
    assert stopped == [("trace-a", "mark", "1"), ("trace-b", "shout", "2")]
    await decide(client, first)
    assert (await client.until(Result)).trace_id == "trace-a"
    await decide(client, second)
    assert (await client.until(Result)).trace_id == "trace-b"
    kept = {each.id: (each.hits, each.enabled) for each in BreakpointStore(root / "state").load()}
    assert kept == {"1": (1, False), "2": (2, True)}


async def test_a_stopped_run_is_cancelled(client: Peer) -> None:
    await client.send(put("1", on="node", name="mark"))
    await client.send(Run(target=TEXTS, input={"text": "a"}, trace_id="gone"))
    stopped = await client.until(Stopped)
    await client.send(Cancel(trace_id="gone"))
    resumed = await client.until(Resumed)
    assert (resumed.stop, resumed.action, resumed.by) == (stopped.stop, "gone", None)
    assert (await client.until(Result)).status == "cancelled"
    assert (await decide(client, stopped)).code == "not_found"


async def answer(peer: Peer, number: int) -> Any:
    """The frame that answers a request."""
    while (frame := await peer.until(Breakpoints)).reply_to != number:
        pass
    return frame


async def walk(client: Peer, *steps: str) -> list[tuple[str, str]]:
    """Run the planner from its first checkpoint, one step after the other; where each ends."""
    await client.send(Breakpoints(id=1))
    await client.until(Breakpoints)
    await client.send(Run(target=PLANNER, input={"query": "count"}, stop_first=True))
    places = []
    for step in (*steps, "continue"):
        stopped = await client.until(Stopped)
        places.append((stopped.kind, stopped.name))
        await decide(client, stopped, then=step)
    assert (await client.until(Result)).status == "ok"
    return places


async def test_steps_go_into_over_and_out(client: Peer) -> None:
    into = await walk(client, *["into"] * 4)
    assert [kind for kind, _ in into] == ["before_node", "before_llm", "after_decision", "before_tool", "after_tool"]
    assert [kind for kind, _ in await walk(client, "over")] == ["before_node", "after_node"]
    over = await walk(client, "into", *["over"] * 6)
    assert [kind for kind, _ in over[1:]] == [
        "before_llm", "after_decision", "before_tool", "after_tool", "before_llm", "after_decision", "before_join",
    ]  # fmt: skip
    assert [kind for kind, _ in await walk(client, "into", "out")][-1] == "after_node"


async def test_run_to_here_and_a_tool_with_other_arguments(client: Peer) -> None:
    await client.send(put("1", on="tool", name="double", condition="args.n == 2"))
    await client.send(Run(target=PLANNER, input={"query": "count"}))
    stopped = await client.until(Stopped)
    assert stopped.payload["args"] == {"n": 2}
    there = Breakpoint(id="here", on="kind", kind="before_join")
    await decide(client, stopped, "edit", edits={"/args/n": 20}, to=there.model_dump())
    joined = await client.until(Stopped)
    assert (joined.kind, joined.breakpoint) == ("before_join", None)
    assert sorted(each["n"] for each in joined.payload["args"]["all"]) == [2, 40]
    await decide(client, joined)
    assert (await client.until(Result)).status == "ok"


async def test_who_comes_back_finds_what_has_stopped(client: Peer, debugged: Served) -> None:
    async with debugged.connect() as socket:
        first = debugged.peer(socket)
        await first.send(put("1", on="node", name="mark"))
        await first.send(Run(target=TEXTS, input={"text": "a"}, trace_id="kept"))
        stopped = await first.until(Stopped)
    await client.until(Stopped)
    await client.send(Subscribe(traces=["kept"]))
    await client.send(Breakpoints(id=7))
    assert (await answer(client, 7)).breakpoints[0].hits == 1
    assert await client.until(Stopped) == stopped
    await decide(client, stopped)
    assert (await client.until(Result)).trace_id == "kept"


async def test_runs_go_on_when_nobody_comes_back(root: Path, serving: Any) -> None:
    (root / "state" / FILE_NAME).unlink(missing_ok=True)
    async with serving(root, hold_s=0.0) as served, served.connect() as socket:
        viewer = served.peer(socket)
        BreakpointStore(root / "state").change([Breakpoint(id="1", on="node", name="mark")])
        await viewer.send(Run(id=1, target=TEXTS, input={"text": "first"}))  # a breakpoint, but nobody who decides
        await viewer.until(Result)
        async with served.connect() as other:
            client = served.peer(other)
            await client.send(put("1", on="node", name="mark"))
            await answer(client, 1)
            await viewer.send(Run(id=2, target=TEXTS, input={"text": "a"}))
            stopped = await viewer.until(Stopped)
        resumed = await viewer.until(Resumed)
        assert (resumed.stop, resumed.action, resumed.by) == (stopped.stop, "proceed", None)
        assert (await viewer.until(Result)).output["text"] == "A!"
        await viewer.send(Run(id=3, target=TEXTS, input={"text": "b"}))
        assert (await viewer.until(Result, Stopped)).type == "result"


async def test_a_running_trace_is_halted(client: Peer) -> None:
    await client.send(Halt(id=1, trace_id="none"))
    assert (await client.until(Error)).code == "not_found"
    await client.send(put("1", on="node", name="shout"))
    await client.send(Run(target=TEXTS, input={"text": "a"}, trace_id="halted"))
    stopped = await client.until(Stopped)
    await client.send(Halt(id=2, trace_id="halted"))
    await client.until(Accepted)
    await client.send(Breakpoints(id=3, remove=["1"]))
    await answer(client, 3)
    await decide(client, stopped)
    stopped = await client.until(Stopped)
    assert (stopped.kind, stopped.name, stopped.breakpoint) == ("after_node", "shout", None)
    await decide(client, stopped)
    assert (await client.until(Result)).status == "ok"


async def test_the_log_has_real_stops_alone(client: Peer) -> None:
    def hits() -> list[tuple[str, str]]:
        events = [event for frame in client.frames if isinstance(frame, Events) for event in frame.events]
        found = [event for event in events if event["kind"] == "checkpoint.hit"]
        return [(event["name"], event["data"]["checkpoint"]) for event in found]

    await client.send(put("1", on="node", name="nowhere"))
    for target, given in ((PLANNER, {"query": "count"}), (TEXTS, {"text": "a"})):
        await client.send(Run(target=target, input=given))
        assert (await client.until(Result)).status == "ok"
    assert hits() == []
    await client.send(put("1", on="tool", name="double", condition="args.n == 2"))
    await client.send(put("2", on="kind", kind="after_node", name="mark"))
    for target, given in ((PLANNER, {"query": "count"}), (TEXTS, {"text": "a"})):
        await client.send(Run(target=target, input=given))
        await decide(client, await client.until(Stopped))
        assert (await client.until(Result)).status == "ok"
    assert hits() == [("double", "before_tool"), ("mark", "after_node")]


async def test_an_unreadable_file_is_told(client: Peer, root: Path) -> None:
    (root / "state" / FILE_NAME).write_text("{")
    await client.send(Breakpoints(id=1))
    told = await client.until(Breakpoints)
    assert told.breakpoints == []
    assert FILE_NAME in told.problem


async def test_the_host_ends_with_a_stopped_run(root: Path, serving: Any) -> None:
    async with serving(root) as served, served.connect() as socket:
        client = served.peer(socket)
        await client.send(put("1", on="node", name="mark"))
        await client.send(Run(target=TEXTS, input={"text": "a"}))
        await client.until(Stopped)
    async with asyncio.timeout(60):
        await served.worker.ended.wait()
