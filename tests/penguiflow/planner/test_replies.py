"""Replies as models give them: each becomes what it means, or is asked for again, and no run fails for one.

`replies/*.json`: `reply` is the text, or a list of `[text, times]`; `text` and `calls` are a native reply. `becomes`
is an action, an answer, the error of a step, `repaired` (it is asked for again) or `asked_for_answer`. `always` tells
how a run ends whose model says nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.types import ToolCallPart
from penguiflow.planner import PlannerFinish, ReactPlanner
from penguiflow.planner.events import PlannerEvent
from penguiflow.planner.finishing import NO_ANSWER
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay

CORPUS = {
    path.stem: json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "replies").glob("*.json"))
}
GOOD = '{"next_node": "search", "args": {"query": "penguins"}}'
FALLBACK = {"next_node": "final_response", "args": {"answer": "asked again"}}


class Query(BaseModel):
    query: str


class Url(BaseModel):
    url: str


class Found(BaseModel):
    hits: list[str]


async def search(args: Query, ctx: Any) -> Found:
    """Search."""
    return Found(hits=[args.query])


async def fetch(args: Url, ctx: Any) -> Found:
    """Fetch."""
    return Found(hits=[args.url])


def whole(text: Any) -> str:
    """A text that may stand as `[text, times]`."""
    return text if isinstance(text, str) else "".join(part * times for part, times in text)


def said(case: dict[str, Any]) -> ScriptedReply:
    calls = [ToolCallPart(name, args, f"c{place}") for place, (name, args) in enumerate(case.get("calls", ()))]
    return ScriptedReply(text=whole(case.get("reply", case.get("text", ""))), tool_calls=calls)


def planner(kit: Any, model: ScriptedModel, name: str, **options: Any) -> ReactPlanner:
    mode = "native" if name.startswith("native_") else "prompted"
    made: ReactPlanner = kit.planner_of(search, fetch, model=model, tool_call_mode=mode, **options)
    return made


def test_the_corpus_is_not_small() -> None:
    assert len(CORPUS) >= 60


@pytest.mark.parametrize("name", CORPUS)
async def test_a_reply_becomes_what_it_means(name: str, kit: Any) -> None:
    case = CORPUS[name]
    becomes = case["becomes"]
    model = ScriptedModel([said(case), *[FALLBACK] * 4])
    finish = await planner(kit, model, name).run("How many?")
    assert isinstance(finish, PlannerFinish)
    assert finish.reason == "answer_complete"
    answer, steps = finish.payload["raw_answer"], finish.metadata["steps"]
    repairs = finish.metadata["repair_attempts"]
    if "answer" in becomes:
        assert answer == whole(becomes["answer"])
        assert (len(model.requests), steps) == (1, [])
        return
    assert answer == "asked again"
    if "repaired" in becomes or "asked_for_answer" in becomes:
        assert steps == []
        assert len(model.requests) == 2
        assert repairs == finish.metadata["validation_failures_count"] == ("repaired" in becomes)
        assert finish.metadata["finish_repair_success_count"] == ("asked_for_answer" in becomes)
        return
    assert repairs == 0
    [step] = steps
    if "error" in becomes:
        assert becomes["error"] in step["error"]
        return
    action = step["action"]
    plan = becomes["action"]["next_node"] == "parallel"
    assert step["error"] is None
    if plan:
        assert action["plan"] == becomes["action"]["args"]["steps"]
    else:
        assert (action["next_node"], action["args"]) == (becomes["action"]["next_node"], becomes["action"]["args"])


@pytest.mark.parametrize("name", CORPUS)
async def test_a_model_that_says_nothing_else_comes_to_an_end(name: str, kit: Any) -> None:
    case = CORPUS[name]
    reply = said(case)
    model = ScriptedModel(rules=[(lambda _: True, lambda _: reply)])
    finish = await planner(kit, model, name, max_iters=3).run("How many?")
    assert isinstance(finish, PlannerFinish)
    always = case.get("always", {})
    assert finish.reason == always.get("reason", finish.reason)
    if finish.reason == "answer_complete":
        assert finish.payload["raw_answer"]
        if not reply.text.strip():
            assert finish.payload["raw_answer"] == NO_ANSWER
        assert len(finish.payload["raw_answer"]) <= 1000 or "answer" in case["becomes"]
    else:
        assert finish.metadata["error"]
    if "answer" in always:
        assert finish.payload["raw_answer"] == always["answer"]
    if "warned" in always:
        assert any(always["warned"] in each for each in finish.payload["warnings"])


@pytest.mark.parametrize("name", [name for name in CORPUS if "megabyte" not in name and "surrogate" not in name])
async def test_a_recorded_run_with_such_a_reply_is_replayed(name: str, kit: Any) -> None:
    log, events = kit.Log(), list[PlannerEvent]()
    model = ScriptedModel([said(CORPUS[name]), *[FALLBACK] * 4])
    options: dict[str, Any] = {"stream_final_response": True, "event_callback": events.append}
    await planner(kit, model, name, recorder=log.recorder(), **options).run("How many?")
    flow, registry = planner(kit, ScriptedModel(), name).as_flow()
    (await replay(flow, Cassette.of(log.events), registry=registry)).check()
    for event in events:
        json.dumps(event.to_payload(), ensure_ascii=False).encode()


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_text_comes_to_an_end(kit: Any, text: str) -> None:
    model = ScriptedModel(rules=[(lambda _: True, lambda _: ScriptedReply(text=text))])
    finish = await planner(kit, model, "any", max_iters=2).run("How many?")
    assert isinstance(finish, PlannerFinish)
    json.dumps(finish.payload, ensure_ascii=False).encode()


@given(
    st.sampled_from([whole(case["reply"]) for case in CORPUS.values() if isinstance(case.get("reply"), str)]),
    st.integers(0, 400),
    st.integers(0, 20),
    st.text(alphabet="{}[]\"\\:,' `\n\ud83da1", max_size=5),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_change_of_a_reply_comes_to_an_end(kit: Any, text: str, place: int, gone: int, new: str) -> None:
    changed = text[:place] + new + text[place + gone :]
    model = ScriptedModel([changed, *[FALLBACK] * 4])
    finish = await planner(kit, model, "any").run("How many?")
    assert isinstance(finish, PlannerFinish)
    assert finish.reason == "answer_complete"
    json.dumps(finish.payload, ensure_ascii=False).encode()


ACTION = '{"next_node":"search","args":{"query":"x"}}'
HOSTILE = [
    *(f"{ACTION}{tail}" for tail in ("}", "}}}}", ACTION, "\x00", "\ud83d", " // why", "</tool>")),
    *(
        f"{head}{ACTION}"
        for head in ("{", "[", "{{", "\x00", "\u202e", "data: ", "<think>{</think>", "final_response: ")
    ),
    *(ACTION[:end] for end in range(1, len(ACTION), 3)),
    *(ACTION.replace('"x"', value) for value in ("[1,2", '"a"b"', "undefined", "NaN", "-", '"\\u12"', '{"a":' * 60)),
    *(
        f'{{"next_node":{node},"args":{{}}}}'
        for node in ("true", "1e999", "{}", "[[]]", '"\\u0000"', '{"name":"search"}')
    ),
    *(f'{{"next_node":"search","args":{args}}}' for args in ('"query=x"', "[[]]", "0", '{"query":{"a":1}}', '{"":""}')),
    *(f'{{"next_node":"parallel","args":{args}}}' for args in ("null", "[]", '"x"', '{"steps":5}', '{"steps":[[]]}')),
    *(
        f'{{"next_node":"parallel","args":{{"steps":[{step}]}}}}'
        for step in ("5", '{"node":5}', '{"node":"parallel","args":{"steps":[]}}', '{"node":"final_response"}', "{}")
    ),
    *(
        f'{{"next_node":"parallel","args":{{"steps":[{{"node":"search","args":{{}}}}],"join":{join}}}}}'
        for join in ("5", "[]", '"x"', '{"node":5}', '{"node":"search","args":[1]}', '{"node":"search","inject":[1]}')
    ),
    *(f'{{"plan":{plan}}}' for plan in ("[]", "5", "[[1]]", '{"a":1}')),
    *(f'{{"tool_calls":{calls}}}' for calls in ("[{}]", "[null]", "5", '[{"function":null}]')),
    *(f'{{"next_node":"final_response","args":{args}}}' for args in ('{"answer":[[]]}', '{"answer":{}}', "[{}]", "5")),
    *(part * 50_000 for part in ("{", "[", '"', "\\", "a{", "'", "/*", "{'a':", '{"a":[', "\ud83d", "```\n", "{//\n")),
]


@pytest.mark.parametrize("mode", ["prompted", "native"])
@pytest.mark.parametrize("always", [False, True])
async def test_no_reply_comes_out_of_a_run(kit: Any, mode: str, always: bool) -> None:
    """Each of them ends in an answer or with a reason, however often the model says it; and can be written down."""
    assert len(HOSTILE) > 60
    for reply in HOSTILE:
        model = ScriptedModel([] if always else [reply, FALLBACK], rules=[(lambda _: True, [reply])])
        options = {"multi_action_sequential": True, "stream_final_response": True}
        finish = await kit.planner_of(search, fetch, model=model, tool_call_mode=mode, max_iters=3, **options).run("q")
        assert isinstance(finish, PlannerFinish)
        assert finish.reason != "answer_complete" or finish.payload["raw_answer"], reply[:80]
        json.dumps(finish.model_dump(mode="json")).encode()


PLAN = {
    "steps": [{"node": "search", "args": {"query": "a"}}, {"node": "fetch", "args": {"url": "b"}}],
    "join": {"node": "search", "args": {"query": "c"}, "inject": {"query": "$results"}},
}
ODD: list[Any] = [
    None,
    5,
    True,
    "",
    "x",
    [],
    [1],
    ["x"],
    [[]],
    [{}],
    {},
    {"a": 1},
    {"node": "search"},
    '{"query": "x"}',
]


def places(data: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in data."""
    yield place
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places(value, (*place, key))


def changed(data: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The data with another value in one place."""
    if not place:
        return value
    copied = dict(data) if isinstance(data, dict) else list(data)
    copied[place[0]] = changed(data[place[0]], place[1:], value)
    return copied


@pytest.mark.parametrize("mode", ["prompted", "native"])
async def test_a_plan_of_any_form_comes_to_an_end(kit: Any, mode: str) -> None:
    for place in places(PLAN):
        for value in ODD:
            args = changed(PLAN, place, value)
            reply = ScriptedReply(text=json.dumps({"next_node": "parallel", "args": args}))
            if mode == "native":
                reply = ScriptedReply(tool_calls=[ToolCallPart("parallel", json.dumps(args), "c")])
            model = ScriptedModel([reply, FALLBACK])
            finish = await kit.planner_of(search, fetch, model=model, tool_call_mode=mode, max_iters=3).run("q")
            assert finish.payload["raw_answer"] == "asked again", args
