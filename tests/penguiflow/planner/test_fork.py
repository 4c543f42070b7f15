"""A recorded run goes on from one of its steps with something changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penguiflow import Context, Headers, Message, Node, NodePolicy, create
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.llm.types import LLMRequest
from penguiflow.planner import PlannerFinish, PlannerPause, ReactPlanner
from penguiflow.planner.forking import decision_places, fork_at, plan_edits
from penguiflow.recording import CannotRestore, Recorder, TraceEvent, read_frontier
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay
from penguiflow.state import InMemoryStateStore, SQLiteStateStore


class World:
    """A model and tools that note what they are asked; the model's decisions depend on what it has seen."""

    def __init__(self, kit: Any, store: Any, **options: Any) -> None:
        self.kit = kit
        self.asked: list[str] = []
        world = self

        async def double(args: kit.Number, ctx: Any) -> kit.Number:
            world.asked.append(f"double {args.n}")
            return kit.Number(n=args.n * 2)

        double.__annotations__ = {"args": kit.Number, "return": kit.Number}
        options.setdefault("short_term_memory", None)
        model = ScriptedModel([self.decide] * 50)
        self.planner: ReactPlanner = kit.planner_of(double, model=model, state_store=store, **options)

    def decide(self, request: LLMRequest) -> Any:
        seen = [message.text for message in request.messages if '"observation"' in message.text]
        self.asked.append(f"model {len(seen)}")
        numbers = [int("".join(each for each in text if each.isdigit())) for text in seen]
        if len(numbers) == 3:
            return self.kit.answer(f"saw {numbers}")
        if "please stop" in request.messages[0].text:
            return self.kit.answer(f"stopped after {numbers}")
        return self.kit.call("double", n=(numbers or [1])[-1] + 1)

    def take(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked


def text_of(outcome: Any) -> str:
    assert isinstance(outcome, PlannerFinish)
    return str(outcome.payload["raw_answer"])


def trace_of(outcome: Any) -> str:
    return str(outcome.metadata["trace_id"])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStateStore]:
    made = SQLiteStateStore(tmp_path / "state.db")
    yield made
    await made.close()


@pytest.fixture
def world(kit: Any, store: SQLiteStateStore) -> World:
    return World(kit, store)


ALL = ["model 0", "double 2", "model 1", "double 5", "model 2", "double 11", "model 3"]


async def events_of(store: SQLiteStateStore, trace_id: str) -> list[TraceEvent]:
    return await store.load_events(trace_id)


async def test_an_unchanged_fork_does_the_rest_again(world: World) -> None:
    outcome = await world.planner.run("what")
    assert text_of(outcome) == "saw [4, 10, 22]"
    assert world.take() == ALL
    for step in range(4):
        fork = await fork_at(world.planner, trace_of(outcome), step)
        assert text_of(fork) == text_of(outcome)
        assert world.take() == ALL[2 * step :]
        assert trace_of(fork) != trace_of(outcome)


async def test_a_decision_is_changed_and_its_tool_called_with_it(world: World, store: SQLiteStateStore) -> None:
    outcome = await world.planner.run("what")
    world.take()

    fork = await fork_at(world.planner, trace_of(outcome), 1, edits={"/args/n": 100})

    assert text_of(fork) == "saw [4, 200, 402]"
    assert world.take() == ["double 100", "model 2", "double 201", "model 3"]
    events = await events_of(store, trace_of(fork))
    start = events[0]
    assert start.data["origin"]["trace_id"] == trace_of(outcome)
    (edit,) = [event for event in events if event.kind == "edit"]
    assert edit.data["before"]["value"]["args"] == {"n": 5}
    assert edit.data["after"]["value"]["args"] == {"n": 100}
    assert (edit.data["by"], edit.data["checkpoint"]) == ("fork", "after_decision")
    # The recorded run is as it was.
    assert text_of(await fork_at(world.planner, trace_of(outcome), 3)) == "saw [4, 10, 22]"


async def test_a_prompt_is_changed(world: World) -> None:
    outcome = await world.planner.run("what")
    world.take()
    fork = await fork_at(world.planner, trace_of(outcome), 2, edits={"before_llm:/messages/0/content": "please stop"})
    assert text_of(fork) == "stopped after [4, 10]"
    assert world.take() == ["model 2"]


async def test_an_observation_is_changed(world: World) -> None:
    outcome = await world.planner.run("what")
    world.take()
    fork = await fork_at(world.planner, trace_of(outcome), 0, edits={"after_tool:/observation/n": 7})
    assert text_of(fork) == "saw [7, 16, 34]"
    assert world.take() == ["model 1", "double 8", "model 2", "double 17", "model 3"]


async def test_arguments_are_changed_before_the_call(world: World) -> None:
    outcome = await world.planner.run("what")
    world.take()
    fork = await fork_at(world.planner, trace_of(outcome), 2, edits={"before_tool:/args/n": 1})
    assert text_of(fork) == "saw [4, 10, 2]"
    assert world.take() == ["double 1", "model 3"]


async def test_an_answer_is_changed(world: World) -> None:
    outcome = await world.planner.run("what")
    world.take()
    fork = await fork_at(world.planner, trace_of(outcome), 3, edits={"before_finish:/raw_answer": "nothing"})
    assert text_of(fork) == "nothing"
    assert world.take() == []


async def test_several_edits_of_one_step(world: World) -> None:
    outcome = await world.planner.run("what")
    world.take()
    edits = {"/args/n": 50, "after_tool:/observation/n": 99}
    fork = await fork_at(world.planner, trace_of(outcome), 1, edits=edits)
    assert text_of(fork) == "saw [4, 99, 200]"
    assert world.take() == ["double 50", "model 2", "double 100", "model 3"]


async def test_a_fork_of_a_fork(world: World, store: SQLiteStateStore) -> None:
    outcome = await world.planner.run("what")
    first = await fork_at(world.planner, trace_of(outcome), 1, edits={"/args/n": 100})
    world.take()
    # Later than what was changed, at it, and before it.
    late = await fork_at(world.planner, trace_of(first), 2, edits={"/args/n": 1})
    assert text_of(late) == "saw [4, 200, 2]"
    assert world.take() == ["double 1", "model 3"]
    again = await fork_at(world.planner, trace_of(first), 1, edits={"/args/n": 10})
    assert text_of(again) == "saw [4, 20, 42]"
    world.take()
    early = await fork_at(world.planner, trace_of(first), 0, edits={"/args/n": 0})
    assert text_of(early) == "saw [0, 2, 6]"
    third = await fork_at(world.planner, trace_of(late), 2)
    assert text_of(third) == "saw [4, 200, 402]"


async def test_a_fork_is_replayed_as_it_was(world: World, store: SQLiteStateStore) -> None:
    outcome = await world.planner.run("what")
    fork = await fork_at(world.planner, trace_of(outcome), 1, edits={"/args/n": 100})
    world.take()
    events = await events_of(store, trace_of(fork))
    flow, registry = world.planner.as_flow()
    replayed = await replay(flow, Cassette.of(events), registry=registry)
    assert world.take() == []
    assert text_of(replayed.check().output) == "saw [4, 200, 402]"


async def test_what_an_interceptor_decided_before_stays_decided(kit: Any, store: SQLiteStateStore) -> None:
    async def doubt(at: Checkpoint) -> Decision | None:
        if at.kind == "after_decision" and at.payload["args"].get("n") == 2:
            return Decision.edit({**at.payload, "args": {"n": 20}})
        return None

    world = World(kit, store, interceptors=[doubt])
    outcome = await world.planner.run("what")
    assert text_of(outcome) == "saw [40, 82, 166]"
    plain = World(kit, store)
    fork = await fork_at(plain.planner, trace_of(outcome), 1, edits={"/args/n": 1})
    assert text_of(fork) == "saw [40, 2, 6]"
    # An edit of a decision that was edited is of what the model had decided.
    over = await fork_at(plain.planner, trace_of(outcome), 0, edits={"/args/n": 3})
    assert text_of(over) == "saw [6, 14, 30]"


async def test_within_a_flow(kit: Any, store: SQLiteStateStore) -> None:
    world = World(kit, store)

    async def before(message: Message, ctx: Context) -> Message:
        world.asked.append("before")
        return message

    async def research(message: Message, ctx: Context) -> str:
        outcome = await world.planner.run(message.payload, ctx=ctx)
        return f"{message.payload}: {text_of(outcome)}"

    def flow() -> Any:
        policy = NodePolicy(validate="none")
        last = Node(research, name="research", policy=policy)
        return create(Node(before, name="before", policy=policy).to(last), last.to())

    first = flow()
    first.run(recorder=store.recorder(name="flow"))
    try:
        message = Message(payload="what", headers=Headers(tenant="t"))
        told = await first.call(message, timeout=60)
    finally:
        await first.stop()
    assert told == "what: saw [4, 10, 22]"
    assert world.take() == ["before", *ALL]

    fork: Any = await fork_at(world.planner, message.trace_id, 1, edits={"/args/n": 100}, flow=flow())

    assert fork == "what: saw [4, 200, 402]"
    assert world.take() == ["double 100", "model 2", "double 201", "model 3"]


async def test_a_step_that_is_not_there(world: World) -> None:
    outcome = await world.planner.run("what")
    with pytest.raises(LookupError, match="4 steps, 0 to 3; there is no step 4"):
        await fork_at(world.planner, trace_of(outcome), 4)
    with pytest.raises(LookupError, match="no step -1"):
        await fork_at(world.planner, trace_of(outcome), -1)
    with pytest.raises(LookupError, match="no run of a planner"):
        await fork_at(world.planner, "nothing", 0)


async def test_the_run_of_another_planner(kit: Any, world: World, store: SQLiteStateStore) -> None:
    outcome = await world.planner.run("what")
    other = World(kit, store, name="other")
    with pytest.raises(LookupError, match="there are runs of 'planner'"):
        await fork_at(other.planner, trace_of(outcome), 0)


@pytest.mark.parametrize(
    ("step", "path", "says"),
    [
        (0, "args/n", "no place to edit"),
        (0, "before_node:/args", "no place to edit"),
        (0, "after_tool:/args/n", "/observation"),
        (0, "after_decision:args", "no JSON Pointer"),
        (0, "/args/m/deep", "no /args/m/deep"),
        (0, "/answer", "no /answer, but /next_node, /args/n, /thought"),
        (3, "after_tool:/observation/n", "has no tool.start"),
        (0, "before_join:/args", "has no join.start"),
        (1, "before_llm:/messages/0/nowhere/text", "nothing at"),
        (1, "after_tool:/observation/n/m", "neither an object nor a list"),
        (0, "before_finish:/raw_answer", "did not reach before_finish"),
    ],
)
async def test_edits_that_do_not_fit(world: World, step: int, path: str, says: str) -> None:
    outcome = await world.planner.run("what")
    with pytest.raises(CannotRestore, match=says):
        await fork_at(world.planner, trace_of(outcome), step, edits={path: 1})


async def test_a_store_in_memory(kit: Any) -> None:
    store = InMemoryStateStore()
    world = World(kit, store, recorder=Recorder(store=store))
    outcome = await world.planner.run("what")
    world.take()
    fork = await world.planner.fork_at(trace_of(outcome), 2, edits={"/args/n": 1})
    assert text_of(fork) == "saw [4, 10, 2]"
    assert world.take() == ["double 1", "model 3"]


async def test_two_forks_at_once(world: World) -> None:
    outcome = await world.planner.run("what")
    forks = await asyncio.gather(
        *(fork_at(world.planner, trace_of(outcome), 2, edits={"/args/n": number}) for number in range(5))
    )
    assert [text_of(fork) for fork in forks] == [f"saw [4, 10, {2 * number}]" for number in range(5)]


async def test_without_a_store(kit: Any) -> None:
    world = World(kit, None)
    with pytest.raises(CannotRestore, match="no store"):
        await fork_at(world.planner, "t", 0)


async def test_a_plan_is_changed_by_its_decision(kit: Any, store: SQLiteStateStore) -> None:
    world = World(kit, store)
    steps = [kit.plan(kit.call("double", n=1), kit.call("double", n=2)), kit.answer("done")]
    world.planner.models.main._script = None  # type: ignore[attr-defined]

    async def double(args: Any, ctx: Any) -> Any:
        world.asked.append(f"double {args.n}")
        return args

    double.__annotations__ = {"args": kit.Number, "return": kit.Number}
    planner = kit.planner_of(double, script=[*steps, kit.answer("done again")], state_store=store)
    outcome = await planner.run("what")
    assert world.take() == ["double 1", "double 2"]
    with pytest.raises(CannotRestore, match="calls several tools"):
        await fork_at(planner, trace_of(outcome), 0, edits={"after_tool:/observation/n": 1})

    fork = await fork_at(planner, trace_of(outcome), 0, edits={"/args/steps/1/args/n": 7})

    assert world.take() == ["double 1", "double 7"]
    assert isinstance(fork, PlannerFinish)
    (step,) = fork.metadata["steps"]
    assert [branch["observation"] for branch in step["observation"]["branches"]] == [{"n": 1}, {"n": 7}]


async def test_a_resumed_run(kit: Any, store: SQLiteStateStore) -> None:
    asked: list[str] = []

    async def confirm(args: Any, ctx: Any) -> Any:
        asked.append("confirm")
        sure = await ctx.ask("sure?", bool)
        return kit.Text(text=f"{args.n} {sure}")

    confirm.__annotations__ = {"args": kit.Number, "return": kit.Text}
    script = [kit.call("confirm", n=1), kit.answer("one"), kit.answer("two")]
    planner = kit.planner_of(confirm, script=script, state_store=store)
    paused = await planner.run("what")
    assert isinstance(paused, PlannerPause)
    outcome = await planner.resume(paused.resume_token, "yes")
    assert text_of(outcome) == "one"
    assert asked == ["confirm", "confirm"]

    fork = await fork_at(planner, trace_of(outcome), 1)

    assert isinstance(fork, PlannerFinish)
    assert text_of(fork) == "two"
    assert asked == ["confirm", "confirm"]
    assert fork.metadata["steps"][0]["observation"] == {"text": "1 True"}
    # The token is used: but the fork has the paused run from the log.
    again = await fork_at(planner, trace_of(outcome), 0, edits={"after_tool:/observation/text": "no"})
    assert isinstance(again, PlannerFinish)
    assert again.metadata["steps"][0]["observation"] == {"text": "no"}


async def test_a_fork_that_was_interrupted_can_be_resumed(world: World, store: SQLiteStateStore) -> None:
    outcome = await world.planner.run("what")
    fork = await fork_at(world.planner, trace_of(outcome), 1, edits={"/args/n": 100})
    events = await events_of(store, trace_of(fork))
    resolved = next(event.seq for event in events if event.kind == "checkpoint.resolved")
    world.take()
    flow, registry = world.planner.as_flow()
    flow.run(registry=registry, recorder=store.recorder(name="planner"))
    try:
        frontier = await read_frontier(store, trace_of(fork), resolved)
        results = [result async for result in flow.restore(frontier, trace_id="again")]
    finally:
        await flow.stop()
    assert text_of(results[0]) == "saw [4, 200, 402]"
    assert world.take() == ["double 100", "model 2", "double 201", "model 3"]


async def test_edits_at_an_event_are_those_of_the_step_that_it_is_in(world: World, store: SQLiteStateStore) -> None:
    outcome = await world.planner.run("what")
    events = await events_of(store, trace_of(outcome))
    decision = [event for event in events if event.kind == "planner.decision"][1]
    tool = next(event for event in events if event.kind == "tool.start" and event.seq > decision.seq)

    for seq in (decision.seq, tool.seq, tool.seq + 1):
        planned = await plan_edits(store, trace_of(outcome), seq, {"/args/n": 100, "/payload/x": 1})
        assert planned.seq == decision.seq
        assert planned.edits is not None
        assert planned.edits.missed == ["after_decision"]
        assert planned.rest == {"/payload/x": 1}
        assert await decision_places(store, trace_of(outcome), seq) == ["/next_node", "/args/n", "/thought"]
    assert await decision_places(store, trace_of(outcome), 2) == []
    untouched = await plan_edits(store, trace_of(outcome), 3, {"/payload/x": 1})
    assert untouched == (3, None, {"/payload/x": 1})
    with pytest.raises(CannotRestore, match="event 2 is in no step of a planner"):
        await plan_edits(store, trace_of(outcome), 2, {"/args/n": 100})
