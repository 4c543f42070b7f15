"""A tool asks a human and goes on in place, whoever answers, whenever, in whichever process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from penguiflow import NodePolicy
from penguiflow.asking import MAX_ANSWERS
from penguiflow.callsite import CallSite
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.planner import PlannerFinish, PlannerPause
from penguiflow.planner.asking import Journal, ask_human, given_answer
from penguiflow.planner.requests import Resumption
from penguiflow.planner.signals import AskSignal
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import frontier
from penguiflow.recording.replay import replay
from penguiflow.state import InMemoryStateStore, SQLiteStateStore

OWNER = {"tenant_id": "t", "user_id": "u", "session_id": "s"}


class Order(BaseModel):
    item: str
    count: int


class Refused(Exception):
    """Of the test's own."""


@pytest.fixture(params=["none", "memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "none":
        yield None
        return
    made: Any = InMemoryStateStore() if request.param == "memory" else SQLiteStateStore(tmp_path / "state.db")
    yield made
    await made.close()


def observation(outcome: Any, step: int = 0) -> Any:
    assert isinstance(outcome, PlannerFinish)
    return outcome.metadata["steps"][step]["observation"]


def paused(outcome: Any) -> PlannerPause:
    assert isinstance(outcome, PlannerPause)
    return outcome


class World:
    def __init__(self, kit: Any) -> None:
        self.kit = kit
        self.did: list[str] = []

    def note(self, what: str) -> str:
        self.did.append(what)
        return what

    def tools(self) -> list[Any]:
        kit, world = self.kit, self

        async def order(args: Any, ctx: Any) -> Any:
            world.note("order")
            seen = await ctx.record("look", world.note, "look")
            when, draw = ctx.now(), ctx.random().random()
            sure = await ctx.ask(f"order {args.n}?", bool)
            with_care = await ctx.record("look", world.note, "look again")
            later = ctx.now()
            how = await ctx.ask("how many?", Order)
            world.note("ordered")
            told = [seen, with_care, when < later, draw == ctx_draw(ctx, draw), sure, how.item, how.count]
            return kit.Text(text=json.dumps(told))

        async def quick(args: Any, ctx: Any) -> Any:
            world.note(f"quick {args.n}")
            return kit.Text(text=str(args.n))

        async def one(args: Any, ctx: Any) -> Any:
            await ctx.record("one", world.note, f"one {args.n}")
            return kit.Text(text=await ctx.ask(f"what of {args.n}?"))

        for tool in (order, quick, one):
            tool.__annotations__ = {"args": kit.Number, "return": kit.Text}
        return [order, quick, one]

    def planner(self, *script: Any, **options: Any) -> Any:
        return self.kit.planner_of(*self.tools(), script=script, **options)


def ctx_draw(ctx: Any, draw: float) -> float:
    """The generator goes on; that it began alike is what its first number says."""
    assert ctx.random().random() != draw
    return draw


TOLD = json.dumps(["look", "look again", True, True, True, "tea", 2])


@pytest.mark.parametrize("fresh", [False, True])
async def test_two_questions_in_one_tool(kit: Any, store: Any, fresh: bool) -> None:
    if fresh and store is None:
        pytest.skip("without a store a paused run is only in its own planner")
    world = World(kit)
    planner = world.planner(kit.call("order", n=3), kit.answer("done"), state_store=store)
    first = paused(await planner.run("what", tool_context=OWNER))
    assert (first.reason, first.payload) == ("await_input", {"prompt": "order 3?", "schema": {"type": "boolean"}})
    if fresh:
        planner = world.planner(kit.answer("done"), state_store=store)
    second = paused(await planner.resume(first.resume_token, "yes"))
    assert second.payload["prompt"] == "how many?"
    assert second.payload["schema"]["required"] == ["item", "count"]
    if fresh:
        planner = world.planner(kit.answer("done"), state_store=store)
    outcome = await planner.resume(second.resume_token, answer={"item": "tea", "count": 2})

    assert observation(outcome)["text"] == TOLD
    assert world.did == ["order", "look", "order", "look again", "order", "ordered"]
    assert outcome.metadata["cost"]["main_llm_calls"] == 2


async def test_whoever_is_there_answers_at_once(kit: Any) -> None:
    asked: list[tuple[str, Any]] = []

    async def human(prompt: str, schema: Any) -> Any:
        asked.append((prompt, schema))
        return {"order 3?": "yes"}.get(prompt, {"item": "tea", "count": "2"})

    world = World(kit)
    planner = world.planner(kit.call("order", n=3), kit.answer("done"))
    outcome = await planner.run("what", on_ask=human)
    assert observation(outcome)["text"] == TOLD
    assert asked == [("order 3?", bool), ("how many?", Order)]
    assert world.did == ["order", "look", "look again", "ordered"]


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (str, "5", "5"),
        (int, "5", 5),
        (bool, "no", False),
        (date, "2026-01-02", date(2026, 1, 2)),
        (Order, '{"item": "tea", "count": 1}', Order(item="tea", count=1)),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, int] | None, "null", None),
    ],
)
async def test_what_was_typed_becomes_what_was_asked_for(kit: Any, schema: Any, text: str, value: Any) -> None:
    got: list[Any] = []

    async def ask(args: Any, ctx: Any) -> Any:
        got.append(await ctx.ask("what?", schema))
        await ctx.ask("and now?")
        return args

    ask.__annotations__ = {"args": kit.Number, "return": kit.Number}
    planner = kit.planner_of(ask, script=[kit.call("ask", n=1), kit.answer("done")])
    first = paused(await planner.run("what"))
    second = paused(await planner.resume(first.resume_token, text))
    await planner.resume(second.resume_token, "on")
    # As the answer, and as the journal has it.
    assert got == [value, value]


async def test_an_answer_that_does_not_fit_is_asked_for_again(kit: Any, store: Any) -> None:
    world = World(kit)
    planner = world.planner(kit.call("order", n=3), kit.answer("done"), state_store=store)
    first = paused(await planner.run("what"))
    again = paused(await planner.resume(first.resume_token, "perhaps"))
    assert again.payload["prompt"] == "order 3?"
    assert 'the answer "perhaps" does not fit: Input should be a valid boolean' in again.payload["problem"]
    second = paused(await planner.resume(again.resume_token, "no"))
    assert "problem" not in second.payload
    third = paused(await planner.resume(second.resume_token, answer={"item": "tea", "count": "many"}))
    assert "count: Input should be a valid integer" in third.payload["problem"]
    outcome = await planner.resume(third.resume_token, '{"item": "tea", "count": 2}')
    assert json.loads(observation(outcome)["text"])[4:] == [False, "tea", 2]
    assert world.did.count("look") == world.did.count("look again") == 1


async def test_nothing_is_an_answer_only_if_it_is_given(kit: Any) -> None:
    world = World(kit)
    planner = world.planner(kit.call("one", n=3), kit.answer("done"))
    first = paused(await planner.run("what"))
    again = paused(await planner.resume(first.resume_token))
    assert again.payload["prompt"] == "what of 3?"
    outcome = await planner.resume(again.resume_token, "")
    assert observation(outcome)["text"] == ""


async def test_whoever_answers_nonsense_is_not_asked_for_ever(kit: Any) -> None:
    asked: list[str] = []

    async def human(prompt: str, schema: Any) -> Any:
        asked.append(prompt)
        return "perhaps"

    world = World(kit)
    planner = world.planner(kit.call("order", n=3), kit.answer("done"))
    outcome = await planner.run("what", on_ask=human)
    assert len(asked) == MAX_ANSWERS
    assert "does not fit" in asked[1]
    assert "no answer to 'order 3?' that fits" in outcome.metadata["steps"][0]["error"]


async def test_where_nobody_may_answer_the_tool_fails(kit: Any) -> None:
    world = World(kit)
    planner = world.planner(kit.call("one", n=3), kit.answer("done"), pause_enabled=False)
    outcome = await planner.run("what")
    assert "nobody can answer 'what of 3?'" in outcome.metadata["steps"][0]["error"]


@pytest.mark.parametrize("live", [True, False])
async def test_a_tool_that_is_tried_again_does_not_ask_the_human_again(kit: Any, live: bool) -> None:
    did: list[str] = []

    async def human(prompt: str, schema: Any) -> str:
        did.append(prompt)
        return f"{prompt} yes"

    async def shaky(args: Any, ctx: Any) -> Any:
        first = await ctx.ask("first?")
        await ctx.record("try", did.append, "try")
        if did.count("try") == 1:
            raise ConnectionError("not now")
        return kit.Text(text=f"{first} {await ctx.ask('second?')}")

    shaky.__annotations__ = {"args": kit.Number, "return": kit.Text}
    policies = {"shaky": NodePolicy(max_retries=1, backoff_base=0.0)}
    planner = kit.planner_of(shaky, script=[kit.call("shaky", n=1), kit.answer("done")], policies=policies)
    outcome = await planner.run("what", on_ask=human if live else None)
    for prompt in () if live else ("first?", "second?"):
        assert paused(outcome).payload["prompt"] == prompt
        did.append(prompt)
        outcome = await planner.resume(outcome.resume_token, f"{prompt} yes")
    assert observation(outcome)["text"] == "first? yes second? yes"
    assert did == ["first?", "try", "try", "second?"]


async def test_in_a_branch_of_a_plan(kit: Any, store: Any) -> None:
    world = World(kit)
    steps = kit.plan(kit.call("quick", n=1), kit.call("one", n=2), kit.call("quick", n=3))
    planner = world.planner(steps, kit.answer("done"), state_store=store)
    first = paused(await planner.run("what"))
    assert first.payload["prompt"] == "what of 2?"
    outcome = await planner.resume(first.resume_token, "two")
    branches = observation(outcome)["branches"]
    assert [branch["observation"]["text"] for branch in branches] == ["1", "two", "3"]
    assert sorted(world.did) == ["one 2", "quick 1", "quick 3"]
    assert outcome.metadata["constraints"]["hops_used"] == 3


async def test_in_several_branches_and_the_join(kit: Any, store: Any) -> None:
    world = World(kit)
    join = {"node": "one", "args": {"n": 9}}
    steps = kit.plan(kit.call("one", n=1), kit.call("one", n=2), kit.call("one", n=3), join=join)
    planner = world.planner(steps, kit.answer("done"), state_store=store)
    pause = paused(await planner.run("what"))
    for number, answer in ((1, "a"), (2, "b"), (3, "c")):
        assert pause.payload["prompt"] == f"what of {number}?"
        pause = paused(await planner.resume(pause.resume_token, answer))
    assert pause.payload["prompt"] == "what of 9?"
    outcome = await planner.resume(pause.resume_token, "d")
    seen = observation(outcome)
    assert [branch["observation"]["text"] for branch in seen["branches"]] == ["a", "b", "c"]
    assert seen["join"]["observation"]["text"] == "d"
    assert sorted(world.did) == ["one 1", "one 2", "one 3", "one 9"]


@pytest.mark.parametrize("planned", [False, True])
async def test_what_was_decided_about_a_call_is_not_decided_again(kit: Any, store: Any, planned: bool) -> None:
    decided: list[Any] = []

    async def other(at: Checkpoint) -> Decision | None:
        if at.kind != "before_tool" or at.payload["tool"] != "quick":
            return None
        decided.append(at.payload["args"])
        return Decision.edit({"tool": "one", "args": {"n": at.payload["args"]["n"] + 1}})

    world = World(kit)
    step = kit.call("quick", n=1)
    script = [kit.plan(step, kit.call("quick", n=5)) if planned else step, kit.answer("done")]
    planner = world.planner(*script, state_store=store, interceptors=[other])
    first = paused(await planner.run("what"))
    assert first.payload["prompt"] == "what of 2?"
    # Nobody who would edit it is there any more.
    planner = planner.fork() if store is None else world.planner(kit.answer("done"), state_store=store)
    outcome = await planner.resume(first.resume_token, "two")
    if planned:
        assert paused(outcome).payload["prompt"] == "what of 6?"
        outcome = await planner.resume(outcome.resume_token, "six")
    assert '"two"' in json.dumps(observation(outcome))
    assert sorted(world.did) == (["one 2", "one 6"] if planned else ["one 2"])
    assert decided == ([{"n": 1}, {"n": 5}] if planned else [{"n": 1}])


async def test_what_a_call_raised_is_raised_again(kit: Any) -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise Refused("no", 3)

    async def careful(args: Any, ctx: Any) -> Any:
        try:
            await ctx.record("try", fail)
        except Refused as error:
            return kit.Text(text=f"{error.args} {await ctx.ask('and now?')}")
        raise AssertionError

    careful.__annotations__ = {"args": kit.Number, "return": kit.Text}
    planner = kit.planner_of(careful, script=[kit.call("careful", n=1), kit.answer("done")])
    pause = paused(await planner.run("what"))
    assert observation(await planner.resume(pause.resume_token, "go on"))["text"] == "('no', 3) go on"
    assert calls == [1]


async def test_what_is_recorded_comes_back_as_it_was(kit: Any) -> None:
    got: list[Any] = []

    async def careful(args: Any, ctx: Any) -> Any:
        got.append(await ctx.record("order", lambda: [Order(item="tea", count=1), {date(2026, 1, 1)}]))
        await ctx.ask("and now?")
        return args

    careful.__annotations__ = {"args": kit.Number, "return": kit.Number}
    planner = kit.planner_of(careful, script=[kit.call("careful", n=1), kit.answer("done")])
    pause = paused(await planner.run("what"))
    await planner.resume(pause.resume_token, "go on")
    assert got == [[Order(item="tea", count=1), {date(2026, 1, 1)}]] * 2


async def test_what_cannot_be_written_down_keeps_it_from_waiting(kit: Any) -> None:
    async def careless(args: Any, ctx: Any) -> Any:
        await ctx.record("socket", object)
        await ctx.ask("and now?")
        return args

    careless.__annotations__ = {"args": kit.Number, "return": kit.Number}
    planner = kit.planner_of(careless, script=[kit.call("careless", n=1), kit.answer("done")])
    outcome = await planner.run("what")
    assert "what ctx.record('socket') gave cannot be written down" in outcome.metadata["steps"][0]["error"]


async def test_an_answer_is_not_given_to_another_question(kit: Any) -> None:
    questions = iter(["delete a?", "delete b?"])

    async def fickle(args: Any, ctx: Any) -> Any:
        first = await ctx.ask(next(questions), bool)
        return kit.Text(text=f"{first} {await ctx.ask('sure?', bool)}")

    fickle.__annotations__ = {"args": kit.Number, "return": kit.Text}
    planner = kit.planner_of(fickle, script=[kit.call("fickle", n=1), kit.answer("done")])
    first = paused(await planner.run("what"))
    outcome = await planner.resume(first.resume_token, "yes")
    assert isinstance(outcome, PlannerFinish)
    assert "asked 'delete a?' before it was paused, and asks 'delete b?' now" in outcome.metadata["steps"][0]["error"]


async def test_a_journal_is_plain_data() -> None:
    site, journal = CallSite(), Journal()
    assert await journal.record(site, "a", lambda: 1) == 1
    assert await journal.record(site, "a", lambda: 2) == 2
    now, draw = journal.now(site), journal.random(site).random()
    data = json.loads(json.dumps(journal.data()))
    again = Journal(data)
    assert await again.record(site, "a", lambda: 3) == 1
    assert await again.record(site, "b", lambda: 4) == 4
    assert await again.record(site, "a", lambda: 5) == 2
    assert await again.record(site, "a", lambda: 6) == 6
    assert (again.now(site), again.random(site).random()) == (now, draw)
    assert again.now(site) >= now
    assert Journal(again.data()).data() == Journal().data()


async def test_one_that_was_under_way_is_made_again() -> None:
    site, journal, started = CallSite(), Journal(), asyncio.Event()

    async def never() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(journal.record(site, "slow", never))
    await started.wait()
    data = journal.data()
    task.cancel()
    await asyncio.wait([task])
    assert await Journal(data).record(site, "slow", lambda: "now") == "now"


async def test_recorded_runs_that_ask_are_replayed_and_go_on_from_anywhere(kit: Any) -> None:
    log, world = kit.Log(), World(kit)

    async def human(prompt: str, schema: Any) -> Any:
        world.note(prompt)
        return True if schema is bool else {"item": "tea", "count": 2}

    script = [kit.call("order", n=3), kit.answer("done")]
    planner = world.planner(*script, recorder=log.recorder())
    outcome = await planner.run("what", on_ask=human)
    assert observation(outcome)["text"] == TOLD
    did = list(world.did)
    flow, registry = planner.as_flow()
    replayed = await replay(flow, Cassette.of(log.events), registry=registry)
    assert observation(replayed.check().output)["text"] == TOLD
    assert world.did == did


async def test_a_resumed_run_is_replayed_and_goes_on_from_anywhere(kit: Any, tmp_path: Path) -> None:
    store, world = SQLiteStateStore(tmp_path / "state.db"), World(kit)
    planner = world.planner(kit.call("one", n=3), kit.answer("done"), state_store=store)
    pause = paused(await planner.run("what", tool_context={"trace_id": "first"}))
    await planner.resume(pause.resume_token, "three", tool_context={"trace_id": "second"})
    await store.flush()
    did, outputs = list(world.did), {}
    for trace_id in ("first", "second"):
        events = await store.load_events(trace_id)
        flow, registry = world.planner(state_store=store).as_flow()
        # Secrets are compared under the same key: a token is one.
        again = await replay(flow, Cassette.of(events), registry=registry, recorder=store.recorder())
        outputs[trace_id] = again.check().output
    assert paused(outputs["first"]).payload["prompt"] == "what of 3?"
    assert observation(outputs["second"])["text"] == "three"
    (start,) = [event for event in events if event.kind == "planner.start"]
    assert start.data["resumed"] == "first"
    # It goes on from any of its events, although its token is used.
    took = next(event.seq for event in events if event.kind == "record" and event.name == "planner.take")
    left = next(event.seq for event in events if event.data.get("target") == "Rookery")
    for seq in range(took, left):
        flow, registry = world.planner(kit.answer("done")).as_flow()
        flow.run(registry=registry, recorder=kit.Log().recorder())
        try:
            results = [each async for each in flow.restore(frontier(events, seq), trace_id="fork")]
        finally:
            await flow.stop()
        assert observation(results[0])["text"] == "three"
    assert world.did == did
    await store.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["record a", "record b", "now", "random", "ask"]), max_size=10))
def test_however_often_it_pauses_a_tool_comes_to_the_same(program: list[str]) -> None:
    did: list[str] = []

    def note(what: str) -> int:
        did.append(what)
        return len(did)

    async def tool(run: Any, journal: Journal) -> list[Any]:
        site, told = CallSite(), []
        for what in program:
            if what == "now":
                told.append(journal.now(site))
            elif what == "random":
                told.append(journal.random(site).random())
            elif what == "ask":
                told.append(await ask_human(run, site, journal, "and now?", int))
            else:
                told.append(await journal.record(site, what, note, what))
        return told

    async def go_on() -> list[Any]:
        run: Any = SimpleNamespace(on_ask=None, pauses=object)
        data: dict[str, Any] | None = None
        for number in range(program.count("ask") + 1):
            try:
                return await tool(run, Journal(data))
            except AskSignal as signal:
                kept = json.loads(json.dumps(signal.journal))
                data = given_answer(kept, Resumption(pause="", answer=number))
        raise AssertionError

    told = asyncio.run(go_on())

    assert did == [what for what in program if what.startswith("record")]
    by_kind = {kind: [told[place] for place, what in enumerate(program) if what == kind] for kind in set(program)}
    assert by_kind.get("ask", []) == list(range(program.count("ask")))
    assert by_kind.get("now", []) == sorted(by_kind.get("now", []))
    assert len(set(by_kind.get("random", []))) == program.count("random")
    records = [told[place] for place, what in enumerate(program) if what.startswith("record")]
    assert records == list(range(1, len(records) + 1))


PROGRAM = """
    import asyncio, sys
    from pydantic import BaseModel
    from penguiflow import ModelRegistry, Node
    from penguiflow.llm.scripted import ScriptedModel
    from penguiflow.planner import PlannerPause, ReactPlanner
    from penguiflow.state import SQLiteStateStore

    class Number(BaseModel):
        n: int

    async def order(args: Number, ctx) -> Number:
        seen = await ctx.record("look", lambda: print("looked") or 40)
        more = await ctx.ask("how many more?", int)
        again = await ctx.ask("and then?", int)
        return Number(n=seen + more + again)

    async def main(path, token=None, text=None):
        registry = ModelRegistry()
        registry.register("order", Number, Number)
        store = SQLiteStateStore(path)
        script = [{"next_node": "order", "args": {"n": 1}}] * (token is None)
        script.append({"next_node": "final_response", "args": {"answer": "done"}})
        nodes = [Node(order, name="order")]
        planner = ReactPlanner(ScriptedModel(script), nodes=nodes, registry=registry, state_store=store)
        outcome = await (planner.run("what") if token is None else planner.resume(token, text))
        if isinstance(outcome, PlannerPause):
            print("pause", outcome.resume_token, flush=True)
        else:
            print("finish", outcome.metadata["steps"][0]["observation"]["n"], flush=True)
        await store.close()

    asyncio.run(main(*sys.argv[1:]))
"""


def test_each_answer_comes_to_another_process(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("from __future__ import annotations\n" + dedent(PROGRAM))

    def run(*args: str) -> list[str]:
        made = subprocess.run(
            [sys.executable, program, str(tmp_path / "state.db"), *args], capture_output=True, text=True, timeout=120
        )
        assert made.returncode == 0, made.stderr
        return made.stdout.split()

    looked, pause, first = run()
    assert (looked, pause) == ("looked", "pause")
    pause, second = run(first, "1")
    assert (pause, second != first) == ("pause", True)
    assert run(second, "1") == ["finish", "42"]
