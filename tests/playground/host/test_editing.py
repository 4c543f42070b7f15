"""What is around stopped runs is looked at and changed: contexts, envelopes, memories; and planners are steered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from penguiflow.steering import SteeringEventType
from playground.again import ReplayOrder
from playground.breakpoints import FILE_NAME, Breakpoint
from playground.protocol import (
    Accepted,
    Breakpoints,
    Context,
    ContextEdit,
    ContextGet,
    Decide,
    Error,
    Events,
    Hello,
    Memory,
    MemoryEdit,
    MemoryGet,
    Result,
    Run,
    Steer,
    Stopped,
)

if TYPE_CHECKING:
    from tests.playground.host.conftest import Peer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROJECT = """
from pydantic import BaseModel, Field
from penguiflow import Message, ModelRegistry, Node, PenguiFlow, create
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import ReactPlanner
from penguiflow.planner.memory import ShortTermMemoryConfig


class Text(BaseModel):
    text: str


async def shout(value: Text, ctx) -> Text:
    return Text(text=value.text.upper())


def build_texts() -> tuple[PenguiFlow, ModelRegistry]:
    registry = ModelRegistry()
    registry.register("shout", Text, Text)
    return create(Node(shout).to()), registry


async def echo(message: Message, ctx) -> Message:
    return message


messages = create(Node(echo).to())


def inner():
    registry = ModelRegistry()
    registry.register("loud", Text, Text)
    return create(Node(shout, name="loud").to()), registry


async def outer(message: Message, ctx) -> Message:
    result = await ctx.call_playbook(inner, message.model_copy(update={"payload": Text(text=message.payload)}))
    return message.model_copy(update={"payload": result.text + "!"})


nested = create(Node(outer).to())


class Number(BaseModel):
    n: int = Field(ge=0)


async def double(args: Number, ctx) -> Number:
    return Number(n=2 * args.n + ctx.tool_context.get("more", 0))


SCRIPT = [{"next_node": "double", "args": {"n": 1}}] * 2 + [{"next_node": "final_response", "args": {"answer": "4"}}]


def make_planner() -> ReactPlanner:
    registry = ModelRegistry()
    registry.register("double", Number, Number)
    return ReactPlanner(
        ScriptedModel(rules=[(lambda _: True, SCRIPT)]),
        name="counter",
        nodes=[Node(double)],
        registry=registry,
        short_term_memory=ShortTermMemoryConfig(strategy="truncation"),
    )
"""

TEXTS, MESSAGES, NESTED, PLANNER = "app.py:build_texts", "app.py:messages", "app.py:nested", "app.py:make_planner"
WHO = {"tenant_id": "t", "user_id": "u", "session_id": "s"}
KEY = "t:u:s"
ASKED = {"query": "count", "tool_context": {**WHO, "token": "sk-very-secret"}, "llm_context": {"tone": "dry"}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("edited")
    (path / "app.py").write_text(PROJECT)
    return path


@pytest_asyncio.fixture(loop_scope="module")
async def client(root: Path, serving: Any) -> AsyncIterator[Peer]:
    (root / "state" / FILE_NAME).unlink(missing_ok=True)
    async with serving(root, hold_s=600.0) as served, served.connect() as socket:
        peer = served.peer(socket)
        await peer.send(Hello(client="tester"))
        yield peer


async def stop_at(client: Peer, target: str, given: Any, **fields: Any) -> Any:
    await client.send(Breakpoints(put=[Breakpoint.model_validate({"id": "1", **fields})]))
    await client.send(Run(id=2, target=target, input=given))
    found = await client.until(Stopped, Error)
    assert isinstance(found, Stopped), found
    return found


async def ask(client: Peer, request: Any) -> Any:
    """The answer to a request."""
    request.id = 77
    await client.send(request)
    while (frame := await client.until(Accepted, Error, Context, Memory)).reply_to != 77:
        pass
    return frame


async def go_on(client: Peer, stopped: Stopped, **fields: Any) -> None:
    answer = await ask(client, Decide.model_validate({"stop": stopped.stop, **fields}))
    assert isinstance(answer, Accepted), answer


def events(client: Peer, kind: str) -> list[dict[str, Any]]:
    found = [event for frame in client.frames if isinstance(frame, Events) for event in frame.events]
    return [event for event in found if event["kind"] == kind]


async def part(client: Peer, stopped: Stopped, name: str) -> Any:
    context = await ask(client, ContextGet(stop=stopped.stop))
    return next(each for each in context.parts if each.name == name)


async def replayed(client: Peer, target: str, trace_id: str) -> None:
    """The run is the same again, and nobody is asked."""
    stops = len([frame for frame in client.frames if isinstance(frame, Stopped)])
    await client.send(Run(id=3, target=target, replay=ReplayOrder(trace_id=trace_id)))
    result = await client.until(Result, Error)
    assert isinstance(result, Result), result
    report = result.replay
    assert report is not None
    assert (report.refused, report.diverged, report.difference, report.made) == (None, None, "", 0)
    assert len([frame for frame in client.frames if isinstance(frame, Stopped)]) == stops


async def test_a_stop_tells_what_can_be_decided(client: Peer) -> None:
    stopped = await stop_at(client, TEXTS, {"text": "a"}, on="node", name="shout")
    assert "edit" in stopped.actions
    assert stopped.value_schema["properties"]["text"]["type"] == "string"
    assert stopped.result_schema["properties"]["text"]["type"] == "string"
    assert (stopped.target, stopped.context, stopped.why) == (TEXTS, ["headers", "meta"], None)
    assert "retry" not in stopped.actions
    answer = await ask(client, Decide(stop=stopped.stop, action="retry"))
    assert (answer.code, answer.details[0]["path"]) == ("invalid_input", "/action")
    assert "retry is not possible before node" in answer.message
    await go_on(client, stopped, action="abort")
    await client.until(Result)

    stopped = await stop_at(client, MESSAGES, {"a": 1}, on="node", name="echo")
    assert set(stopped.value_schema["properties"]) == {"payload", "headers", "meta", "deadline_s"}
    await go_on(client, stopped, action="abort")
    await client.until(Result)

    stopped = await stop_at(client, PLANNER, ASKED, on="tool", name="double")
    (choice,) = stopped.value_schema["anyOf"]
    assert choice["properties"]["args"]["properties"]["n"]["minimum"] == 0
    assert (stopped.memory, stopped.context) == (KEY, ["headers", "meta", "llm_context", "tool_context"])
    await go_on(client, stopped, action="abort")
    await client.until(Result)


async def test_why_is_prompt_reply_and_decision(client: Peer) -> None:
    stopped = await stop_at(client, PLANNER, ASKED, on="tool", name="double")
    why = stopped.why
    assert why.decision["next_node"] == "double"
    assert any(message["role"] == "user" and "count" in message["content"] for message in why.messages)
    assert '"next_node"' in json.dumps(why.reply).replace("\\", "")
    assert why.seqs["llm.start"] < why.seqs["llm.end"] < why.seqs["planner.decision"]
    await go_on(client, stopped, then="out")
    await client.until(Stopped, Result)
    await go_on(client, client.frames[-1], action="abort")
    await client.until(Result)


async def test_arguments_are_checked_before_the_run_goes_on(client: Peer) -> None:
    stopped = await stop_at(client, PLANNER, ASKED, on="tool", name="double", once=True)
    for wrong, path in (
        ({"edits": {"/args/n": -1}}, "/args/n"),
        ({"value": {"tool": "nothing", "args": {"n": 1}}}, "/tool"),
        ({"value": 7}, ""),
    ):
        answer = await ask(client, Decide.model_validate({"stop": stopped.stop, "action": "edit", **wrong}))
        assert (answer.code, answer.details[0]["path"]) == ("invalid_input", path)
    await go_on(client, stopped, action="edit", edits={"/args/n": 5}, then="into")
    after = await client.until(Stopped)
    assert (after.kind, after.value_at, after.payload["observation"]["n"]) == ("after_tool", "/observation", 10)
    wrong_result = Decide(stop=after.stop, action="edit", edits={"/observation/n": "x"})
    assert (await ask(client, wrong_result)).details[0]["path"] == "/observation/n"
    await go_on(client, after, then="over")
    await client.until(Stopped)  # before the model is asked
    await go_on(client, client.frames[-1], then="over")
    decision = await client.until(Stopped)
    assert decision.kind == "after_decision"
    for edits, path in (({"/next_node": "nothing"}, "/next_node"), ({"/args/n": -1}, "/args/n")):
        answer = await ask(client, Decide(stop=decision.stop, action="edit", edits=edits))
        assert (answer.code, answer.details[0]["path"]) == ("invalid_input", path)
    await go_on(client, decision)
    assert (await client.until(Result)).status == "ok"
    assert {event["data"]["by"] for event in events(client, "edit")} == {"tester"}
    await replayed(client, PLANNER, stopped.trace_id)


async def test_some_stops_of_many_alike_are_replayed_where_they_were(client: Peer) -> None:
    """The second prompt of a step is edited, and not its first: a recording tells them apart."""
    stopped = await stop_at(client, PLANNER, ASKED, on="kind", kind="after_decision", once=True)
    await go_on(client, stopped, action="retry", then="into")
    prompt = await client.until(Stopped)
    assert prompt.kind == "before_llm"
    edits = {"/messages/0/content": "Count on."}
    await go_on(client, prompt, action="edit", edits=edits)
    assert (await client.until(Result)).status == "ok"
    await replayed(client, PLANNER, stopped.trace_id)


async def test_headers_and_meta_of_an_unwrapped_message_are_edited(client: Peer) -> None:
    stopped = await stop_at(client, TEXTS, {"text": "a"}, on="kind", kind="before_node", once=True)
    headers = await part(client, stopped, "headers")
    edit = ContextEdit(stop=stopped.stop, part="headers", version=headers.version, edits={"/tenant": "other"})
    assert isinstance(await ask(client, edit), Context)
    assert (await ask(client, edit)).code == "conflict"
    meta = await part(client, stopped, "meta")
    more = ContextEdit(stop=stopped.stop, part="meta", version=meta.version, value={"a": 1})
    assert isinstance(await ask(client, more), Context)
    headers = await part(client, stopped, "headers")
    wrong = ContextEdit(stop=stopped.stop, part="headers", version=headers.version, edits={"/priority": "x"})
    assert (await ask(client, wrong)).details[0]["path"] == "/priority"
    await go_on(client, stopped, then="over")
    after = await client.until(Stopped)
    assert (await part(client, after, "headers")).value["tenant"] == "other"
    assert (await part(client, after, "meta")).value == {"a": 1}
    await go_on(client, after)
    assert (await client.until(Result)).output == {"text": "A"}
    told = {event["data"]["of"]: event["data"] for event in events(client, "edit")}
    assert told["headers"]["before"]["value"]["tenant"] != told["headers"]["after"]["value"]["tenant"] == "other"
    assert told["meta"]["by"] == "tester"


async def test_headers_of_a_message_that_a_node_takes_are_edited(client: Peer) -> None:
    stopped = await stop_at(client, MESSAGES, {"a": 1}, on="kind", kind="before_node", once=True)
    headers = await part(client, stopped, "headers")
    edit = ContextEdit(stop=stopped.stop, part="headers", version=headers.version, edits={"/tenant": "other"})
    await ask(client, edit)
    again = next(each for each in reversed(client.frames) if isinstance(each, Stopped))
    assert (again.stop, again.payload["headers"]["tenant"]) == (stopped.stop, "other")
    await go_on(client, stopped, then="over")
    after = await client.until(Stopped)
    assert after.payload["headers"]["tenant"] == "other"
    await go_on(client, after)
    await client.until(Result)


async def test_the_contexts_of_a_planner_are_edited(client: Peer) -> None:
    stopped = await stop_at(client, PLANNER, ASKED, on="tool", name="double", once=True)
    tools, shown = await part(client, stopped, "tool_context"), await part(client, stopped, "llm_context")
    assert shown.value == {"tone": "dry"}
    assert "sk-very-secret" not in json.dumps(tools.value)
    tool_edit = ContextEdit(
        stop=stopped.stop, part="tool_context", version=tools.version, value={**tools.value, "more": 30}
    )
    assert isinstance(await ask(client, tool_edit), Context)
    shown_edit = ContextEdit(
        stop=stopped.stop, part="llm_context", version=shown.version, value={"mood": "bright as the sun"}
    )
    assert isinstance(await ask(client, shown_edit), Context)
    await go_on(client, stopped, then="into")
    after = await client.until(Stopped)
    assert after.payload["observation"]["n"] == 32
    await go_on(client, after, then="into")
    prompt = await client.until(Stopped)
    assert prompt.kind == "before_llm"
    assert "bright as the sun" in json.dumps(prompt.payload)
    assert "dry" not in json.dumps(prompt.payload["messages"])
    await go_on(client, prompt)
    assert (await client.until(Result)).status == "ok"
    told = {event["data"].get("of"): event["data"]["by"] for event in events(client, "edit")}
    await replayed(client, PLANNER, stopped.trace_id)
    assert told == {"tool_context": "tester", "llm_context": "tester"}


async def test_memory_is_edited_while_stopped_and_between_runs(client: Peer) -> None:
    await client.send(Run(target=PLANNER, input=ASKED))
    await client.until(Result)
    known = await ask(client, MemoryGet(key=KEY))
    assert KEY in known.keys
    memory = known.memory
    assert (memory.planner, memory.turns[-1]["assistant_response"]) == ("counter", "4")
    turn = {**memory.turns[-1], "assistant_response": "it was five"}
    edit = MemoryEdit(key=KEY, version=memory.version, change="turn", turn_id=turn["turn_id"], value=turn)
    changed = (await ask(client, edit)).memory
    assert changed.turns[-1]["assistant_response"] == "it was five"
    assert (await ask(client, edit)).code == "conflict"
    wrong = edit.model_copy(update={"version": changed.version, "value": {"user_message": 1}})
    assert (await ask(client, wrong)).code == "invalid_input"
    unknown = edit.model_copy(update={"version": changed.version, "turn_id": "none"})
    assert (await ask(client, unknown)).code == "not_found"
    (host_event,) = events(client, "memory.changed")[-1:]
    assert (host_event["data"]["by"], host_event["data"]["of"]) == ("tester", KEY)

    stopped = await stop_at(client, PLANNER, ASKED, on="tool", name="double", once=True)
    edit = MemoryEdit(key=KEY, version=changed.version, change="summary", value="they like whole numbers")
    changed = (await ask(client, edit)).memory
    assert changed.summary == "they like whole numbers"
    await go_on(client, stopped, to=Breakpoint(id="x", on="kind", kind="before_llm").model_dump())
    prompt = await client.until(Stopped)
    assert "they like whole numbers" in json.dumps(prompt.payload)
    await go_on(client, prompt)
    assert (await client.until(Result)).status == "ok"
    assert [event["data"]["of"] for event in events(client, "edit")] == ["memory"]
    await replayed(client, PLANNER, stopped.trace_id)
    cleared = await ask(client, MemoryGet(key=KEY))
    gone = MemoryEdit(key=KEY, version=cleared.memory.version, change="clear")
    assert (await ask(client, gone)).memory.turns == []


async def test_a_playbook_asks_the_interceptors_of_its_caller(client: Peer) -> None:
    stopped = await stop_at(client, NESTED, "hi", on="node", name="loud", once=True)
    assert [each.split(":")[0] for each in stopped.path] == ["node", "playbook", "node"]
    assert stopped.path[1] == "playbook:inner[0]"
    await go_on(client, stopped, action="edit", edits={"/text": "ho"}, then="out")
    after = await client.until(Stopped)
    assert (after.kind, after.name) == ("after_node", "outer")
    await go_on(client, after)
    assert (await client.until(Result)).output == "HO!"


async def test_a_run_is_steered(client: Peer) -> None:
    stopped = await stop_at(client, PLANNER, ASKED, on="tool", name="double", once=True)
    said = Steer(trace_id=stopped.trace_id, event=SteeringEventType.USER_MESSAGE, payload={"text": "in French, please"})
    assert isinstance(await ask(client, said), Accepted)
    empty = Steer(trace_id=stopped.trace_id, event=SteeringEventType.USER_MESSAGE, payload={})
    assert (await ask(client, empty)).code == "invalid_input"
    assert isinstance(await ask(client, said), Accepted)
    assert (await ask(client, said)).code == "busy"
    assert (await ask(client, said.model_copy(update={"trace_id": "none"}))).code == "not_found"
    await go_on(client, stopped, to=Breakpoint(id="x", on="kind", kind="before_llm").model_dump())
    prompt = await client.until(Stopped)
    assert "in French, please" in json.dumps(prompt.payload)
    assert isinstance(await ask(client, Steer(trace_id=stopped.trace_id, event=SteeringEventType.CANCEL)), Accepted)
    await go_on(client, prompt)
    assert (await client.until(Result)).status == "cancelled"
