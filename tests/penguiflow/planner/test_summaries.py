"""Messages that are more than the token budget; hooks that add to the context."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow.llm.errors import LLMServerError
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner.events import PlannerEvent
from penguiflow.planner.hooks import LLMContextHookInput
from penguiflow.planner.summaries import tokens_of


class Text(BaseModel):
    text: str


async def read(args: Text, ctx: Any) -> Text:
    return Text(text=f"{args.text}: " + "penguin " * 500)


async def echo(args: Text, ctx: Any) -> Text:
    return args


def is_summary(text: str) -> bool:
    return text.startswith("Summary of the steps until now: ")


def summaries(model: ScriptedModel) -> list[dict[str, Any]]:
    told = [message.text for request in model.requests for message in request.messages if message.role == "system"]
    return [json.loads(text.split(": ", 1)[1]) for text in told if is_summary(text)]


async def test_nothing_is_left_out_within_the_budget(kit: Any) -> None:
    model = ScriptedModel([kit.call("echo", text="a"), kit.call("echo", text="b"), kit.answer("c")])
    await kit.planner_of(echo, model=model, token_budget=100_000).run("q")
    assert summaries(model) == []
    assert len(model.requests[-1].messages) == 6


async def test_all_steps_but_the_last_become_a_summary(kit: Any) -> None:
    script = [kit.call("echo", text=each) for each in "abcd"]
    for mode in ("prompted", "native"):
        model = ScriptedModel([*script, kit.answer("done")])
        base = ScriptedModel([kit.answer("done")])
        await kit.planner_of(echo, model=base, tool_call_mode=mode).run("q")
        budget = tokens_of(list(base.requests[0].messages)) + 40
        finish = await kit.planner_of(echo, model=model, token_budget=budget, tool_call_mode=mode).run("q")
        assert finish.payload["raw_answer"] == "done"
        last = model.requests[-1].messages
        assert [message.role for message in last] == ["system", "user", "system", "assistant"] + (
            ["tool"] if mode == "native" else ["user"]
        )
        assert is_summary(last[2].text)
        assert summaries(model)[-1]["goals"] == ["q"]
        assert summaries(model)[-1]["note"] == "rule_based"
        assert finish.metadata["step_count"] == 4


@pytest.mark.parametrize(("chars", "asked"), [(300, False), (4000, True)])
async def test_the_summarizer_is_asked_when_the_summary_is_more_tokens_than_the_budget(
    kit: Any, chars: int, asked: bool
) -> None:
    """The summary by rule has more characters than the budget has tokens either way."""

    async def long(args: Text, ctx: Any) -> Text:
        return Text(text="p" * chars)

    model = ScriptedModel([kit.call("long", text="a"), kit.call("echo", text="b"), kit.answer("done")])
    summarizer = ScriptedModel([{"goals": ["q"], "facts": {"long": "p"}}], model="summarizer")
    planner = kit.planner_of(long, echo, model=model, token_budget=200, summarizer_llm=summarizer)
    await planner.run("q")
    [summary] = summaries(model)
    assert len(summarizer.requests) == asked
    assert summary["note"] == ("llm" if asked else "rule_based")


@pytest.mark.parametrize("reply", [LLMServerError("no"), "no summary", "{}"])
async def test_facts_are_cut_where_nobody_makes_them_shorter(kit: Any, reply: Any) -> None:
    for options in ({"summarizer_llm": ScriptedModel([reply])}, {}):
        model = ScriptedModel([kit.call("read", text="a"), kit.call("echo", text="b"), kit.answer("done")])
        planner = kit.planner_of(read, echo, model=model, token_budget=100, llm_max_retries=0, **options)
        finish = await planner.run("q")
        assert finish.payload["raw_answer"] == "done"
        [summary] = summaries(model)
        assert len(summary["facts"]["read"]) < 400
        assert finish.metadata["steps"][0]["observation"]["text"].count("penguin") == 500


async def test_the_last_step_is_told_once(kit: Any) -> None:
    model = ScriptedModel([*(kit.call("echo", text=f"{each}-said") for each in "abc"), kit.answer("done")])
    await kit.planner_of(echo, model=model, token_budget=10).run("q")
    said = "".join(message.text for message in model.requests[-1].messages if message.role != "assistant")
    assert (said.count("c-said"), summaries(model)[-1]["facts"]) == (1, {"echo": {"text": "b-said"}})


async def test_a_summary_is_made_once_for_each_step(kit: Any) -> None:
    summarizer = ScriptedModel(rules=[(lambda _: True, {"goals": ["q"], "pending": ["more"]})])
    model = ScriptedModel(
        [*(kit.call("read", text=each) for each in "ab"), "Hm.", "Hm.", kit.call("read", text="c"), kit.answer("done")]
    )
    await kit.planner_of(read, model=model, token_budget=100, summarizer_llm=summarizer).run("q")
    assert len(summarizer.requests) == 2


# Hooks


class Adds:
    def __init__(self, patch: Any) -> None:
        self.patch = patch
        self.seen: list[LLMContextHookInput] = []

    async def before_run(self, inp: LLMContextHookInput) -> Mapping[str, Any] | None:
        self.seen.append(inp)
        if isinstance(self.patch, Exception):
            raise self.patch
        patch: Mapping[str, Any] | None = self.patch
        return patch


async def test_hooks_add_to_the_context_in_order(kit: Any) -> None:
    events: list[PlannerEvent] = []
    first, broken, nothing, last = Adds({"a": 1}), Adds(LookupError("no")), Adds(None), Adds({"b": 2, "a": 3})
    model = ScriptedModel([kit.answer("done")])
    planner = kit.planner_of(
        echo, model=model, llm_context_hooks=[first, broken, nothing, last], event_callback=events.append
    )
    finish = await planner.run("q", llm_context={"z": 0}, tool_context={"user": "u"})
    assert finish.metadata["llm_context"] == {"z": 0, "a": 3, "b": 2}
    assert json.loads(model.requests[0].messages[-1].text)["context"] == {"z": 0, "a": 3, "b": 2}
    assert dict(last.seen[0].llm_context) == {"z": 0, "a": 1}
    assert dict(last.seen[0].tool_context) == {"user": "u"}
    told = [event for event in events if event.event_type.startswith("llm_context_hook")]
    assert [event.event_type for event in told] == [
        "llm_context_hook_applied",
        "llm_context_hook_failed",
        "llm_context_hook_applied",
    ]
    assert told[0].extra["keys_added"] == ["a"]
    assert told[1].extra["error_type"] == "LookupError"


async def test_what_a_hook_added_is_in_the_record(kit: Any) -> None:
    log = kit.Log()
    planner = kit.planner_of(
        echo, script=[kit.answer("a")], llm_context_hooks=[Adds({"a": 1})], recorder=log.recorder()
    )
    await planner.run("q")
    [changed] = [event.data for event in log.events if event.kind == "context.changed"]
    assert (changed["of"], changed["by"]) == ("llm_context", "Adds")
