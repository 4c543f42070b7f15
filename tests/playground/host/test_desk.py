"""Runs that ask, and clients that answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from playground.breakpoints import Breakpoint
from playground.host.control import Held
from playground.protocol import Accepted, Answer, Breakpoints, Error, Hello, Questions, Result, Run, Subscribe

FLOW = """
from penguiflow import ModelRegistry, Node, NodePolicy, create
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import ReactPlanner
from pydantic import BaseModel


class Amount(BaseModel):
    n: int


async def ask(message, ctx):
    return await ctx.ask("How many?", int)


async def count(args: Amount, ctx) -> Amount:
    return Amount(n=await ctx.ask("How many?", int))


flow = create(Node(ask, policy=NodePolicy(validate="none", max_concurrency=4)).to())
registry = ModelRegistry()
registry.register("count", Amount, Amount)
call = {"next_node": "count", "args": {"n": 0}}
model = ScriptedModel(
    rules=[("Count", call), ('"n":7', {"next_node": "final_response", "args": {"answer": "Seven."}})]
)
planner = ReactPlanner(model, nodes=[Node(count)], registry=registry)
"""
NODE, PLANNER = "app.py:flow", "app.py:planner"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(FLOW)
    return tmp_path


async def result(client: Any, trace_id: str) -> Result:
    while True:
        found: Result = await client.until(Result)
        if found.trace_id == trace_id:
            return found


async def asked(client: Any, *trace_ids: str) -> dict[str, Any]:
    """The open questions by trace, as soon as just these traces have one."""
    while True:
        frame = await client.until(Questions)
        found = {each.trace_id: each for each in frame.questions}
        if set(found) == set(trace_ids):
            return found


async def test_nodes_and_tools_wait_for_clients(project: Path, serving: Any) -> None:
    heard: list[Any] = []
    async with serving(project, hear_all=heard.append) as served, served.connect() as one, served.connect() as other:
        client, second = served.peer(one), served.peer(other)
        await client.until(Hello)
        await second.until(Hello)
        await client.send(Questions(id=1))
        assert (await client.until(Questions)).questions == []
        await client.send(Run(target=NODE, input=1, trace_id="a"))
        await client.send(Run(target=NODE, input=1, trace_id="b"))
        await client.send(Run(target=PLANNER, input={"query": "Count"}, trace_id="c"))
        open_ = await asked(client, "a", "b", "c")
        await asked(second, "a", "b", "c")
        assert {(each.prompt, str(each.value_schema)) for each in open_.values()} == {
            ("How many?", "{'type': 'integer'}")
        }

        await client.send(Answer(id=2, question=open_["a"].question, value="many"))
        refused = await client.until(Error, Accepted)
        assert (refused.code, refused.details[0]["path"]) == ("invalid_input", "/value")
        await second.send(Answer(id=3, question=open_["a"].question, value="5"))
        assert (await second.until(Error, Accepted)).type == "accepted"
        assert (await result(client, "a")).output == 5
        await client.send(Answer(id=4, question=open_["a"].question, value=6))
        assert (await client.until(Error, Accepted)).code == "not_found"

        await client.send(Answer(id=5, question=open_["c"].question, value=7))
        finish = await result(client, "c")
        assert (finish.status, finish.output["payload"]["raw_answer"]) == ("ok", "Seven.")
        await asked(second, "b")
    assert ["a", "b", "c"] in [message.traces for message in heard if isinstance(message, Held)]


async def test_with_nobody_a_node_fails_and_a_planner_pauses(project: Path, serving: Any) -> None:
    async with serving(project) as served, served.connect() as socket:
        client = served.peer(socket)
        await client.until(Hello)
        await client.send(Run(target=NODE, input=1, trace_id="a"))
        failed = await result(client, "a")
        assert failed.status == "error"
        assert failed.error is not None
        assert "nobody is there to answer" in str(failed.error)
        await client.send(Run(target=PLANNER, input={"query": "Count"}, trace_id="c"))
        assert (await result(client, "c")).status == "paused"


@pytest.mark.parametrize("hold_s", [0.0, 60.0])
async def test_who_answers_may_leave_and_come_back(project: Path, serving: Any, hold_s: float) -> None:
    async with serving(project, hold_s=hold_s) as served, served.connect() as looking:
        viewer = served.peer(looking)
        await viewer.until(Hello)
        async with served.connect() as socket:
            client = served.peer(socket)
            await client.until(Hello)
            await client.send(Questions(id=1))
            await client.until(Questions)
            await client.send(Breakpoints(id=2, put=[Breakpoint(id="1", on="node", name="none")], look=False))
            await client.until(Breakpoints)
            await client.send(Breakpoints(id=3, look=True))  # it does not decide any more, and answers still
            await client.until(Breakpoints)
            await client.send(Run(target=PLANNER, input={"query": "Count"}, trace_id="c"))
            await asked(client, "c")
        if hold_s:
            async with served.connect() as socket:
                client = served.peer(socket)
                await client.until(Hello)
                await client.send(Subscribe(traces=["c"]))
                await client.send(Questions(id=1))
                open_ = await asked(client, "c")
                await client.send(Answer(id=2, question=open_["c"].question, value=7))
                assert (await result(client, "c")).status == "ok"
        else:
            while (await viewer.until(Questions)).questions:
                pass
            await viewer.send(Run(target=NODE, input=1, trace_id="a"))
            assert (await result(viewer, "a")).status == "error"
