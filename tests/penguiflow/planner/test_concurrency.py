"""One planner, two hundred runs at once: nothing of one is seen in another, and nothing is left of any."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import weakref
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import InMemoryArtifactStore
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.types import Cost, LLMRequest, Usage
from penguiflow.planner.memory import MemoryBudget, ShortTermMemoryConfig

RUNS = 200


class Number(BaseModel):
    n: int


def asked_by(request: LLMRequest) -> int:
    """Who asks: the query names it."""
    return int(next(m.text for m in request.messages if m.role == "user" and "run-" in m.text).split("run-")[1][:4])


def reply(request: LLMRequest) -> ScriptedReply:
    number = asked_by(request)
    done = sum(message.role == "assistant" for message in request.messages)
    said: dict[str, Any] = {"next_node": "final_response", "args": {"answer": f"answer-{number:04}"}}
    if done == 0:
        said = {"next_node": "note", "args": {"n": number}}
    elif done == 1:
        steps = [{"node": "note", "args": {"n": number}}] * 2
        said = {"next_node": "parallel", "args": {"steps": steps}}
    return ScriptedReply(
        text=json.dumps(said), usage=Usage(number, 1, number + 1), cost=Cost(0.0, number / 1000, number / 1000)
    )


@pytest.mark.parametrize("recorded", [False, True])
async def test_runs_at_once_do_not_meet(kit: Any, recorded: bool) -> None:
    gate = asyncio.Barrier(RUNS)
    heard: dict[int, list[Any]] = {}
    contexts: dict[str, set[int]] = {}
    runs: weakref.WeakSet[Any] = weakref.WeakSet()

    async def note(args: Number, ctx: Any) -> Number:
        runs.add(ctx._run)
        if ctx.tool_context["_current_tool_call_id"] == "call_1_0":
            await gate.wait()  # all of them are under way
        contexts.setdefault(ctx.tool_context["session_id"], set()).add(args.n)
        await ctx.artifacts.upload(f"of {args.n}")
        await ctx.emit_chunk("notes", 0, f"note-{args.n}")
        assert {ref.scope.session_id for ref in await ctx.artifacts.list()} == {f"s{args.n}"}
        return args

    def listen(event: Any) -> None:
        if event.event_type == "stream_chunk":
            heard.setdefault(int(event.extra["text"].split("-")[1]), []).append(event)

    log = kit.Log()
    options: dict[str, Any] = {"recorder": log.recorder()} if recorded else {"recorder": None}
    planner = kit.planner_of(
        note,
        model=ScriptedModel(rules=[(lambda _: True, reply)]),
        artifact_store=InMemoryArtifactStore(),
        short_term_memory=ShortTermMemoryConfig(strategy="truncation", budget=MemoryBudget(full_zone_turns=5)),
        event_callback=listen,
        **options,
    )
    before = asyncio.all_tasks()

    async def one(number: int) -> Any:
        about = {"session_id": f"s{number}", "tenant_id": "t", "user_id": f"u{number}"}
        return await planner.run(f"run-{number:04}", tool_context=about, llm_context={"mine": number})

    async with asyncio.timeout(300):
        finishes = await asyncio.gather(*(one(number) for number in range(1, RUNS + 1)))

    for number, finish in enumerate(finishes, 1):
        assert finish.payload["raw_answer"] == f"answer-{number:04}"
        assert finish.metadata["llm_context"] == {"mine": number}
        assert finish.metadata["cost"]["total_cost_usd"] == round(3 * number / 1000, 4)
        assert finish.metadata["cost"]["input_tokens"] == 3 * number
        assert len(heard[number]) == 3
        others = json.dumps(finish.metadata["steps"]).count('"n":')
        assert json.dumps(finish.metadata["steps"]).count(f'"n": {number}}}') == others
    assert contexts == {f"s{number}": {number} for number in range(1, RUNS + 1)}
    assert asyncio.all_tasks() == before
    del finishes, finish
    gc.collect()
    assert list(runs) == []


async def test_conversations_are_remembered_apart(kit: Any) -> None:
    def echo(request: LLMRequest) -> dict[str, Any]:
        told = " ".join(message.text for message in request.messages if message.role == "system")
        seen = sorted(set(re.findall(r"secret-\d+", told)))
        return dict(kit.answer(" ".join(seen) or "nothing"))

    planner = kit.planner_of(
        model=ScriptedModel(rules=[(lambda _: True, echo)]),
        short_term_memory=ShortTermMemoryConfig(strategy="truncation"),
    )

    async def ask(number: int, text: str) -> str:
        about = {"session_id": f"s{number}", "tenant_id": "t", "user_id": f"u{number}"}
        finish = await planner.run(text, tool_context=about)
        return str(finish.payload["raw_answer"])

    await asyncio.gather(*(ask(number, f"secret-{number:03} is mine") for number in range(50)))
    answers = await asyncio.gather(*(ask(number, "what do you know") for number in range(50)))

    assert answers == [f"secret-{number:03}" for number in range(50)]
