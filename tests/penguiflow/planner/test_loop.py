"""A planner calls tools until it can answer."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from penguiflow import ModelRegistry, Node, build_catalog
from penguiflow.catalog import NodeSpec, tool
from penguiflow.llm.errors import LLMAuthError, LLMInvalidRequestError
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import PlannerFinish, PlannerRequest, ReactPlanner, ToolPolicy, extend_tool_catalog
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay
from penguiflow.state.models import SteeringEventType
from penguiflow.state.sqlite import SQLiteStateStore
from penguiflow.steering import SteeringCancelled, SteeringEvent, SteeringInbox


class Number(BaseModel):
    n: int


class Wide(BaseModel):
    n: int
    label: str = ""


async def double(args: Number, ctx: Any) -> Number:
    return Number(n=2 * args.n)


async def show(args: Number, ctx: Any) -> Number:
    """Show a number."""
    return Number(n=args.n)


async def test_tools_are_called_until_there_is_an_answer(kit: Any) -> None:
    planner = kit.planner_of(double, script=[kit.call("double", n=4), kit.call("double", n=8), kit.answer("sixteen")])

    finish = await planner.run("twice twice four")

    assert (finish.reason, finish.payload["raw_answer"]) == ("answer_complete", "sixteen")
    assert [step["observation"] for step in finish.metadata["steps"]] == [{"n": 8}, {"n": 16}]
    assert finish.metadata["cost"]["main_llm_calls"] == 3
    assert finish.metadata["constraints"]["hops_used"] == 2
    assert (finish.metadata["step_count"], finish.metadata["answer_action_seq"]) == (2, 3)
    assert "trace_id" not in finish.metadata


async def test_a_planner_runs_again_and_keeps_nothing(kit: Any) -> None:
    seen: list[weakref.ref[Any]] = []

    async def look(args: Number, ctx: Any) -> Number:
        seen.append(weakref.ref(ctx._run))
        return args

    model = ScriptedModel(rules=[(lambda request: True, [kit.call("look", n=1), kit.answer("yes")])])
    planner = kit.planner_of(look, model=model)
    before = asyncio.all_tasks()
    for _ in range(3):
        assert (await planner.run("again")).payload["raw_answer"] == "yes"
    gc.collect()

    assert [ref() for ref in seen] == [None, None, None]
    assert asyncio.all_tasks() == before


async def test_a_tool_that_there_is_not_is_told_to_the_model(kit: Any) -> None:
    planner = kit.planner_of(double, script=[kit.call("treble", n=4), kit.answer("no")])

    finish = await planner.run("three times four")

    [step] = finish.metadata["steps"]
    assert step["error"] == "there is no tool 'treble'; there are double"


@pytest.mark.parametrize("name", ["parallel", "final_response", "plan", "task.tool"])
async def test_a_tool_may_be_named_like_an_opcode(kit: Any, name: str) -> None:
    registry = ModelRegistry()
    registry.register(name, Number, Number)
    model = ScriptedModel([kit.call(f"{name}__tool", n=4), kit.answer("eight")])
    planner = ReactPlanner(model, nodes=[Node(double, name=name)], registry=registry)

    finish = await planner.run("twice four")

    assert isinstance(finish, PlannerFinish)
    assert [step["observation"] for step in finish.metadata["steps"]] == [{"n": 8}]
    assert f"{name}__tool" in str(model.requests[0].messages)


async def test_tools_can_be_added_for_the_runs_that_follow(kit: Any) -> None:
    registry = ModelRegistry()
    registry.register("show", Number, Number)
    model = ScriptedModel(rules=[(lambda request: True, [kit.call("show", n=1), kit.answer("done")])])
    planner = kit.planner_of(double, model=model)
    before = await planner.run("show it", tool_context={"session_id": "s"})
    catalog = build_catalog([Node(show, name="show")], registry)

    assert extend_tool_catalog(planner, catalog) == 1
    assert extend_tool_catalog(planner, catalog) == 0
    after = await planner.run("show it", tool_context={"session_id": "s"})
    assert before.metadata["steps"][0]["error"].startswith("there is no tool 'show'")
    assert after.metadata["steps"][0]["observation"] == {"n": 1}


async def test_a_run_may_see_fewer_tools(kit: Any) -> None:
    class Some:
        def visible_tools(self, specs: Any, tool_context: Any) -> list[NodeSpec]:
            return [spec for spec in specs if spec.name in tool_context["tools"]]

    model = ScriptedModel(rules=[(lambda request: True, [kit.call("double", n=1), kit.answer("done")])])
    planner = kit.planner_of(double, show, model=model)

    one = await planner.run("x", tool_context={"tools": ["show"]}, tool_visibility=Some())
    other = await planner.run("x", tool_context={"tools": ["double"]}, tool_visibility=Some())
    assert one.metadata["steps"][0]["error"] == "there is no tool 'double'; there are show"
    assert other.metadata["steps"][0]["observation"] == {"n": 2}


def test_policies_and_forks_say_which_tools_there_are(kit: Any) -> None:
    heard: list[Any] = []
    planner = kit.planner_of(
        double, show, tool_policy=ToolPolicy(denied_tools={"nobody"}), event_callback=heard.append, name="first"
    )
    denied = planner.fork(tool_policy=ToolPolicy(denied_tools={"show"}))

    assert list(planner.specs) == ["double", "show"]
    assert list(denied.specs) == ["double"]
    assert denied.settings.tool_policy == ToolPolicy(denied_tools={"nobody", "show"})
    assert list(planner.fork(catalog_filter=lambda spec: spec.name == "show").specs) == ["show"]
    assert (denied.settings.event_callback, denied.settings.name) == (None, "first")


def test_a_planner_says_what_it_lacks(kit: Any) -> None:
    with pytest.raises(ValueError, match="needs a model"):
        ReactPlanner(catalog=[])
    with pytest.raises(ValueError, match="needs tools"):
        ReactPlanner(ScriptedModel(), nodes=[])
    with pytest.raises(ValueError, match="exclude each other"):
        ReactPlanner(catalog=[], llm_client=ScriptedModel(), llm_fallback=object())
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_steps'"):
        ReactPlanner(ScriptedModel(), catalog=[], max_steps=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="tool_call_mode"):
        ReactPlanner(ScriptedModel(), catalog=[], tool_call_mode="shouted")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_parallel"):
        kit.planner_of(double, planning_hints={"max_parallel": 0})


def test_a_tool_without_models_is_named(kit: Any) -> None:
    with pytest.raises(KeyError, match=r"Node 'double' not registered; .*registry\.register\('double'"):
        ReactPlanner(ScriptedModel(), nodes=[Node(double)], registry=ModelRegistry())
    with pytest.raises(TypeError, match=r"double is no node: make it one with Node\(double\)"):
        ReactPlanner(ScriptedModel(), nodes=[double], registry=ModelRegistry())  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "needs a `query`, or `resume`"),
        ({"tool_context": {}}, "needs a `query`, or `resume`"),
        ({"quer": "x"}, "Extra inputs are not permitted"),
        ({"resume": {"pause": "x", "anwser": True}}, "Extra inputs are not permitted"),
    ],
)
def test_a_request_that_asks_for_nothing(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        PlannerRequest.model_validate(given)


@pytest.mark.parametrize("given", [{"query": ""}, {"resume": {"pause": "x"}}])
def test_a_request_that_asks_for_something(given: dict[str, Any]) -> None:
    assert PlannerRequest.model_validate(given).model_dump(exclude_unset=True) == given


@pytest.mark.parametrize(
    "given",
    [
        {"query": ""},
        {"query": "x", "llm_context": {}, "memory_key": "a:b:c"},
        {"resume": {"pause": "x", "user_input": None, "answer": False}},
    ],
)
def test_a_request_is_written_without_what_says_nothing(given: dict[str, Any]) -> None:
    request = PlannerRequest.model_validate(given)

    assert request.model_dump(mode="json") == given
    assert PlannerRequest.model_validate_json(request.model_dump_json()) == request


async def test_contexts_are_checked(kit: Any) -> None:
    planner = kit.planner_of(double, script=[kit.answer("x")])

    with pytest.raises(TypeError, match="llm_context must be JSON"):
        await planner.run("x", llm_context={"at": object()})
    with pytest.raises(TypeError, match="llm_context must be a mapping"):
        await planner.run("x", llm_context=[1])
    with pytest.raises(TypeError, match="tool_context must be a mapping"):
        await planner.run("x", tool_context=[1])
    with pytest.warns(DeprecationWarning, match="llm_context"):
        finish = await planner.run("x", context_meta={"a": 1})
    assert finish.metadata["llm_context"] == {"a": 1}


async def test_what_a_tool_knows(kit: Any) -> None:
    told: dict[str, Any] = {}

    async def look(args: Number, ctx: Any) -> Number:
        told.update(ctx.tool_context, llm=dict(ctx.llm_context), meta=dict(ctx.meta))
        ctx.tool_context["mine"] = 1
        with pytest.raises(TypeError):
            ctx.llm_context["more"] = 1
        return args

    planner = kit.planner_of(look, script=[kit.call("look", n=1), kit.call("look", n=1), kit.answer("x")])
    link = object()
    finish = await planner.run("x", llm_context={"a": 1}, tool_context={"link": link, "user_id": "u"})

    assert told.pop("meta")["a"] == 1
    assert told == {
        "link": link,
        "user_id": "u",
        "_current_tool_name": "look",
        "_current_tool_call_id": "call_2_1",
        "llm": {"a": 1},
    }
    assert finish.metadata["tool_context"] == {"user_id": "u"}


async def test_a_run_ends_after_max_iters(kit: Any) -> None:
    planner = kit.planner_of(double, script=[kit.call("double", n=1)] * 5, max_iters=2)

    finish = await planner.run("on and on")

    assert (finish.reason, finish.payload, finish.metadata["error"]) == ("no_path", {"n": 2}, "iteration limit reached")


async def test_a_model_that_fails_is_raised(kit: Any) -> None:
    heard: list[Any] = []
    planner = kit.planner_of(double, script=[LLMAuthError("no key")], event_callback=heard.append)

    with pytest.raises(LLMAuthError, match="no key"):
        await planner.run("x")
    assert heard[-1].event_type == "error"


async def test_a_model_that_there_is_not_is_raised(kit: Any) -> None:
    missing = LLMInvalidRequestError("openai (gpt-9): no such model (HTTP 404)", status_code=404)
    planner = kit.planner_of(double, script=[missing])

    with pytest.raises(LLMInvalidRequestError, match="no such model"):
        await planner.run("x")


async def test_further_actions_of_a_reply_are_done_in_turn(kit: Any) -> None:
    double_then_show = '{"next_node": "double", "args": {"n": 2}}\n{"next_node": "show", "args": {"n": 5}}'
    heard: list[Any] = []
    model = ScriptedModel([double_then_show, kit.answer("x")])
    planner = kit.planner_of(double, show, model=model, multi_action_sequential=True, event_callback=heard.append)

    finish = await planner.run("x")

    assert [step["observation"] for step in finish.metadata["steps"]] == [{"n": 4}, {"n": 5}]
    assert [event.extra["count"] for event in heard if event.event_type == "multi_action_enqueued"] == [1]
    assert len(model.requests) == 2


async def test_the_one_tool_that_fits_is_called_without_a_model(kit: Any) -> None:
    @tool(side_effects="pure", extra={"auto_seq": True, "auto_seq_execute": True})
    async def treble(args: Number, ctx: Any) -> Wide:
        return Wide(n=3 * args.n, label="x")

    heard: list[Any] = []
    options = {"auto_seq_enabled": True, "auto_seq_execute": True, "event_callback": heard.append}
    planner = kit.planner_of(double, treble, script=[kit.call("double", n=2), kit.answer("x")], **options)

    finish = await planner.run("x")

    assert [step["observation"] for step in finish.metadata["steps"]] == [{"n": 4}, {"n": 12, "label": "x"}]
    assert "auto_seq_executed" in [event.event_type for event in heard]


def steering(kind: SteeringEventType, **payload: Any) -> SteeringEvent:
    return SteeringEvent(session_id="s", task_id="t", event_type=kind, payload=payload)


async def test_a_run_is_told_something_on_its_way(kit: Any) -> None:
    inbox = SteeringInbox()

    async def look(args: Number, ctx: Any) -> Number:
        await inbox.push(steering(SteeringEventType.REDIRECT, instruction="count backwards"))
        return args

    model = ScriptedModel([kit.call("look", n=1), kit.answer("x")])
    planner = kit.planner_of(look, model=model)
    finish = await planner.run("count", steering=inbox)

    assert "count backwards" in str(model.requests[1].messages[-1])
    assert finish.payload["raw_answer"] == "x"


async def test_an_answer_waits_for_what_comes_in_meanwhile(kit: Any) -> None:
    inbox = SteeringInbox()

    async def late(request: Any) -> dict[str, Any]:
        await inbox.push(steering(SteeringEventType.USER_MESSAGE, text="and in French"))
        return dict(kit.answer("hello"))

    model = ScriptedModel([late, kit.answer("salut")])
    finish = await kit.planner_of(double, model=model).run("greet", steering=inbox)

    assert finish.payload["raw_answer"] == "salut"
    assert finish.metadata["steps"][0]["observation"]["status"] == "deferred"
    assert "and in French" in str(model.requests[1].messages)


async def test_a_redirection_drops_what_was_still_to_be_done(kit: Any) -> None:
    inbox = SteeringInbox()

    async def look(args: Number, ctx: Any) -> Number:
        await inbox.push(steering(SteeringEventType.REDIRECT, instruction="stop counting"))
        return args

    both = '{"next_node": "look", "args": {"n": 2}}\n{"next_node": "show", "args": {"n": 5}}'
    planner = kit.planner_of(look, show, script=[both, kit.answer("x")], multi_action_sequential=True)
    finish = await planner.run("x", steering=inbox)

    assert [step["observation"] for step in finish.metadata["steps"]] == [{"n": 2}]


async def test_a_paused_run_waits_and_a_cancelled_one_ends(kit: Any) -> None:
    inbox = SteeringInbox()
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(args: Number, ctx: Any) -> Number:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return args

    planner = kit.planner_of(hang, script=[kit.call("hang", n=1), kit.answer("x")])
    await inbox.push(steering(SteeringEventType.PAUSE))
    running = asyncio.create_task(planner.run("x", steering=inbox))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not started.is_set()
    await inbox.push(steering(SteeringEventType.RESUME))
    async with asyncio.timeout(60):
        await started.wait()
        await inbox.push(steering(SteeringEventType.CANCEL, reason="enough"))
        with pytest.raises(SteeringCancelled, match="enough"):
            await running
    assert ended.is_set()


@pytest.mark.parametrize("at", ["tool", "model", "step"])
async def test_the_trace_of_a_cancelled_run_is_cancelled(kit: Any, at: str, caplog: pytest.LogCaptureFixture) -> None:
    inbox, live = SteeringInbox(), [True]

    async def cancel(where: str) -> None:
        if live and where == at:
            await inbox.push(steering(SteeringEventType.CANCEL, reason="enough"))
            if at != "step":
                await asyncio.Event().wait()

    async def work(args: Number, ctx: Any) -> Number:
        await cancel("tool")
        return args

    async def reply(request: Any) -> dict[str, Any]:
        await cancel("model")
        await cancel("step")
        return dict(kit.plan(*[kit.call("work", n=1)] * 2))

    def planner(**options: Any) -> ReactPlanner:
        made: ReactPlanner = kit.planner_of(work, model=ScriptedModel(rules=[(lambda _: True, reply)]), **options)
        return made

    log = kit.Log()
    async with asyncio.timeout(60):
        with pytest.raises(SteeringCancelled, match="enough"):
            await planner(recorder=log.recorder()).run("x", steering=inbox)
    ends = {event.kind: event.data["status"] for event in log.events if event.kind in ("trace.end", "planner.end")}
    assert ends == {"trace.end": "cancelled", "planner.end": "cancelled"}
    assert caplog.records == []

    live.clear()
    flow, registry = planner().as_flow()
    async with asyncio.timeout(60):
        (await replay(flow, Cassette.of(log.events), registry=registry)).check()


async def test_a_cancelled_run_does_not_wait_for_its_model(kit: Any) -> None:
    inbox = SteeringInbox()

    async def hang(request: Any) -> str:
        await inbox.push(steering(SteeringEventType.CANCEL, reason="enough"))
        await asyncio.Event().wait()
        return ""

    async with asyncio.timeout(60):
        with pytest.raises(SteeringCancelled, match="enough"):
            await kit.planner_of(double, script=[hang]).run("x", steering=inbox)


async def test_cancelling_a_run_cancels_its_tools(kit: Any) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(args: Number, ctx: Any) -> Number:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return args

    planner = kit.planner_of(hang, script=[kit.call("hang", n=1)])
    running = asyncio.create_task(planner.run("x"))
    async with asyncio.timeout(60):
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert ended.is_set()


async def test_one_decision_can_be_made_by_hand(kit: Any) -> None:
    from penguiflow.planner import Trajectory

    planner = kit.planner_of(double, script=[kit.call("double", n=3)])

    action = await planner.step(Trajectory(query="twice three"))

    assert (action.next_node, action.args) == ("double", {"n": 3})
    with pytest.raises(RuntimeError, match=r"ctx\.pause"):
        await planner.pause("await_input")


async def test_a_recorded_run_has_the_trace_and_the_session_that_it_is_given(kit: Any) -> None:
    log = kit.Log()
    planner = kit.planner_of(double, script=[kit.answer("x")] * 2, recorder=log.recorder())

    finish = await planner.run("x", tool_context={"trace_id": "mine", "session_id": "s"})
    other = await planner.run("x")

    assert finish.metadata["trace_id"] == "mine"
    starts = {event.trace_id: event.data.get("session") for event in log.events if event.kind == "trace.start"}
    assert starts == {"mine": "s", other.metadata["trace_id"]: None}


async def test_runs_of_one_trace_id_follow_each_other_in_the_store(kit: Any, tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    planner = kit.planner_of(double, script=[kit.answer("x")] * 2, state_store=store)

    for _ in range(2):
        finish = await planner.run("x", tool_context={"trace_id": "mine"})
        assert finish.metadata["trace_id"] == "mine"
    await store.flush()
    events = await store.load_events("mine")
    await store.close()

    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.epoch for event in events if event.kind == "planner.start"] == [0, 1]


async def test_a_planner_is_a_flow(kit: Any) -> None:
    planner = kit.planner_of(double, script=[kit.call("double", n=4), kit.answer("eight")], name="maths")
    flow, registry = planner.as_flow()
    flow.run(registry=registry)
    try:
        finish = await flow.call(PlannerRequest(query="x"), timeout=60)
    finally:
        await flow.stop()

    assert isinstance(finish, PlannerFinish)
    assert finish.payload["raw_answer"] == "eight"
    assert [str(node.name) for node in flow.nodes] == ["maths"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_iters": 0}, "max_iters must be 1 or more"),
        ({"hop_budget": -1}, "hop_budget must be 0 or more"),
        ({"deadline_s": float("nan")}, "deadline_s must be 0 or more"),
        ({"event_callback": 3}, "event_callback must be callable"),
    ],
)
def test_settings_that_make_no_sense(kit: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        kit.planner_of(double, script=[], **options)
