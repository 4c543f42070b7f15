"""Every decision of a run can be stopped, changed, left out, done again."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.failures import InterceptorFailed
from penguiflow.llm.errors import LLMAuthError
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import PlannerFinish, PlannerRequest, RunAborted, UsageLimits
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay

KINDS = ("before_llm", "after_decision", "before_tool", "after_tool", "before_join", "before_finish", "on_error")


class Number(BaseModel):
    n: int


class Numbers(BaseModel):
    all: list[Number]


class Bench:
    """A run that comes by every checkpoint: a tool that fails, a plan with a join, an answer."""

    def __init__(self, kit: Any, interceptor: Any) -> None:
        self.log = kit.Log()
        self.called: list[str] = []
        bench = self

        async def double(args: Number, ctx: Any) -> Number:
            bench.called.append(f"double {args.n}")
            return Number(n=2 * args.n)

        async def broken(args: Number, ctx: Any) -> Number:
            bench.called.append(f"broken {args.n}")
            if args.n == 1:
                raise ValueError("one is too small")
            return args

        async def total(args: Numbers, ctx: Any) -> Number:
            bench.called.append("total")
            return Number(n=sum(each.n for each in args.all))

        join = {"node": "total", "inject": {"all": "$results"}}
        script = [
            kit.call("broken", n=1),
            kit.plan(kit.call("double", n=1), kit.call("double", n=2), join=join),
            kit.answer("six"),
        ]
        self.model = ScriptedModel(rules=[(lambda _: True, script)])
        interceptors = [] if interceptor is None else [interceptor]
        self.planner = kit.planner_of(
            double, broken, total, model=self.model, recorder=self.log.recorder(), interceptors=interceptors
        )

    async def run(self) -> PlannerFinish:
        finish = await self.planner.run("count")
        assert isinstance(finish, PlannerFinish)
        return finish

    def events(self, kind: str) -> list[Any]:
        return [event for event in self.log.events if event.kind == kind]


class Once:
    """Decides at the first checkpoint of a kind, and notes all."""

    def __init__(self, kind: str, decision: Decision | Callable[[Any], Decision], name: str | None = None) -> None:
        self.kind = kind
        self.decision = decision
        self.name = name
        self.seen: list[Checkpoint] = []

    async def __call__(self, checkpoint: Checkpoint) -> Decision | None:
        first = checkpoint.kind == self.kind and not any(each.kind == self.kind for each in self.seen)
        self.seen.append(checkpoint)
        if not first:
            return None
        return self.decision if isinstance(self.decision, Decision) else self.decision(checkpoint.payload)


async def test_a_run_comes_by_all_of_them(kit: Any) -> None:
    look = Once("none", Decision.proceed)
    await Bench(kit, look).run()

    kinds = [checkpoint.kind for checkpoint in look.seen]
    assert set(kinds) == set(KINDS)
    assert kinds[:4] == ["before_llm", "after_decision", "before_tool", "on_error"]
    decided = look.seen[1]
    assert (decided.name, decided.payload["args"]) == ("broken", {"n": 1})
    assert decided.trace_id is not None
    assert json.loads(json.dumps([each.payload for each in look.seen]))


async def test_they_tell_what_they_are_in(kit: Any) -> None:
    look = Once("none", Decision.proceed)
    await Bench(kit, look).run()

    (node,) = {checkpoint.path[0] for checkpoint in look.seen}
    assert node.startswith("node:")
    inside = [(each.kind, *(part.partition(":")[0] for part in each.path[1:])) for each in look.seen]
    assert inside[:4] == [
        ("before_llm", "planner", "step"),
        ("after_decision", "planner", "step"),
        ("before_tool", "planner", "step"),
        ("on_error", "planner", "step"),
    ]
    joined = next(each for each in look.seen if each.kind == "before_join")
    assert joined.path[2:] == ("step:step[1]", "join:join.total[0]")
    branches = {each.path[3] for each in look.seen if len(each.path) > 3 and each.kind == "before_tool"}
    assert branches == {"branch:double[0]", "branch:double[1]"}


def edited_request(payload: Any) -> Decision:
    payload["messages"][-1]["content"] += " (edited)"
    return Decision.edit(payload)


async def check_edit(kind: str, bench: Bench, finish: PlannerFinish) -> None:
    steps = finish.metadata["steps"]
    if kind == "before_llm":
        assert "(edited)" in bench.model.requests[0].messages[-1].text
    elif kind in ("after_decision", "before_tool", "on_error"):
        assert bench.called[0 if kind != "on_error" else 1] == "double 7" if kind != "on_error" else "broken 2"
    elif kind == "after_tool":
        assert steps[1]["observation"]["branches"][0]["observation"] == {"n": 50}
        assert steps[1]["observation"]["join"]["observation"] == {"n": 54}
    elif kind == "before_join":
        assert steps[1]["observation"]["join"]["observation"] == {"n": 100}
    else:
        assert finish.payload["raw_answer"] == "seven"


EDITS: dict[str, Any] = {
    "before_llm": edited_request,
    "after_decision": Decision.edit({"next_node": "double", "args": {"n": 7}}),
    "before_tool": Decision.edit({"tool": "double", "args": {"n": 7}}),
    "after_tool": Decision.edit({"n": 50}),
    "before_join": Decision.edit({"all": [{"n": 100}]}),
    "before_finish": Decision.edit({"raw_answer": "seven"}),
    "on_error": Decision.edit({"n": 2}),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_edit(kit: Any, kind: str) -> None:
    bench = Bench(kit, Once(kind, EDITS[kind]))

    finish = await bench.run()

    await check_edit(kind, bench, finish)
    told = finish.metadata["steps"][0]
    if kind in ("before_tool", "on_error"):
        # The model is told of the call that was made.
        made = ("double", {"n": 7}) if kind == "before_tool" else ("broken", {"n": 2})
        assert (told["action"]["next_node"], told["action"]["args"]) == made
    [edit] = bench.events("edit")
    assert edit.data["checkpoint"] == kind
    assert edit.data["before"] != edit.data["after"]


SKIPS: dict[str, Any] = {
    "before_llm": '{"next_node": "final_response", "args": {"answer": "skipped"}}',
    "after_decision": {"skipped": 1},
    "before_tool": {"skipped": 1},
    "after_tool": {"n": 1},
    "before_join": {"skipped": 1},
    "before_finish": "skipped",
    "on_error": {"skipped": 1},
}


@pytest.mark.parametrize("kind", KINDS)
async def test_skip(kit: Any, kind: str) -> None:
    bench = Bench(kit, Once(kind, Decision.skip(SKIPS[kind])))

    finish = await bench.run()

    steps = finish.metadata["steps"]
    if kind in ("before_llm", "before_finish"):
        assert finish.payload["raw_answer"] == "skipped"
    elif kind in ("after_decision", "before_tool", "on_error"):
        assert steps[0]["observation"] == {"skipped": 1}
        assert bench.called[0] == ("broken 1" if kind == "on_error" else "double 1")
    elif kind == "before_join":
        assert steps[1]["observation"]["join"]["observation"] == {"skipped": 1}
        assert "total" not in bench.called
    else:
        assert steps[1]["observation"]["branches"][0]["observation"] == {"n": 1}


@pytest.mark.parametrize("kind", KINDS)
async def test_retry(kit: Any, kind: str) -> None:
    plain = Bench(kit, None)
    await plain.run()
    bench = Bench(kit, Once(kind, Decision.retry))

    finish = await bench.run()

    assert finish.payload["raw_answer"] == "six"
    more = {"after_decision": (1, 0), "after_tool": (0, 1), "before_finish": (1, 0), "on_error": (0, 1)}
    asked, called = more.get(kind, (0, 0))
    assert len(bench.model.requests) == len(plain.model.requests) + asked
    assert len(bench.called) == len(plain.called) + called


@pytest.mark.parametrize("recorded", [False, True])
async def test_calls_that_are_made_again_are_counted(kit: Any, recorded: bool) -> None:
    called: list[int] = []

    async def work(args: Number, ctx: Any) -> Number:
        called.append(args.n)
        return args

    async def again(checkpoint: Checkpoint) -> Decision:
        return Decision.retry if checkpoint.kind == "after_tool" else Decision.proceed

    options: dict[str, Any] = {"recorder": kit.Log().recorder()} if recorded else {}
    limits = UsageLimits(tool_calls=4)
    script = [kit.call("work", n=1), kit.answer("x")]
    finish = await kit.planner_of(work, script=script, interceptors=[again], usage_limits=limits, **options).run("x")

    assert (called, finish.metadata["steps"][0]["observation"]) == ([1] * 4, {"n": 1})


async def test_branches_are_told_as_they_were_called(kit: Any) -> None:
    async def work(args: Number, ctx: Any) -> Number:
        return args

    async def edit(checkpoint: Checkpoint) -> Decision:
        if checkpoint.kind == "before_tool" and checkpoint.payload["args"] == {"n": 2}:
            return Decision.edit({"n": 20})
        return Decision.proceed

    script = [kit.plan(kit.call("work", n=1), kit.call("work", n=2)), kit.answer("x")]
    finish = await kit.planner_of(work, script=script, interceptors=[edit]).run("x")

    branches = finish.metadata["steps"][0]["observation"]["branches"]
    assert [branch["args"] for branch in branches] == [{"n": 1}, {"n": 20}]
    assert [branch["observation"] for branch in branches] == [{"n": 1}, {"n": 20}]


@pytest.mark.parametrize("kind", KINDS)
async def test_inject(kit: Any, kind: str) -> None:
    bench = Bench(kit, Once(kind, Decision.inject("mind the gap")))

    finish = await bench.run()

    assert finish.payload["raw_answer"] == "six"
    told = [index for index, request in enumerate(bench.model.requests) if "mind the gap" in str(request.messages)]
    # What is said before the first request is in it or in the second one; after the last there is none.
    assert bool(told) == (kind != "before_finish")


@pytest.mark.parametrize("kind", KINDS)
async def test_abort(kit: Any, kind: str) -> None:
    bench = Bench(kit, Once(kind, Decision.abort("not today")))

    with pytest.raises(RunAborted, match=f"aborted at {kind}: not today"):
        await bench.run()

    [end] = bench.events("trace.end")
    assert end.data["status"] == "cancelled"
    opened = [event.span_id for event in bench.log.events if event.kind.endswith(".start")]
    ended = [event.span_id for event in bench.log.events if event.kind.endswith(".end")]
    assert sorted(opened) == sorted(ended)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", ["edit", "skip", "retry", "inject"])
async def test_a_replay_decides_as_it_was_decided(kit: Any, kind: str, action: str) -> None:
    decision = {
        "edit": EDITS[kind],
        "skip": Decision.skip(SKIPS[kind]),
        "retry": Decision.retry,
        "inject": Decision.inject("mind the gap"),
    }[action]
    bench = Bench(kit, Once(kind, decision))
    finish = await bench.run()
    again = Bench(kit, None)
    flow, registry = again.planner.as_flow()

    outcome = await replay(flow, Cassette.of(bench.log.events), registry=registry)

    assert outcome.check().output.payload == finish.payload
    assert (again.called, list(again.model.requests)) == ([], [])


async def test_a_decision_is_the_same_without_a_recorder(kit: Any) -> None:
    bench = Bench(kit, Once("before_tool", EDITS["before_tool"]))
    bench.planner.settings.__dict__["recorder"] = None

    finish = await bench.run()

    assert bench.called[0] == "double 7"
    assert finish.payload["raw_answer"] == "six"
    assert bench.log.records == []


async def test_a_model_that_fails_can_be_answered_for(kit: Any) -> None:
    instead = Decision.skip('{"next_node": "final_response", "args": {"answer": "hi"}}')
    model = ScriptedModel([LLMAuthError("no key")])
    finish = await kit.planner_of(model=model, interceptors=[Once("on_error", instead)]).run("x")
    assert finish.payload["raw_answer"] == "hi"
    assert len(model.requests) == 1
    model = ScriptedModel([LLMAuthError("no key"), kit.answer("at last")])
    finish = await kit.planner_of(model=model, interceptors=[Once("on_error", Decision.retry)]).run("x")
    assert finish.payload["raw_answer"] == "at last"


async def test_an_interceptor_that_fails_ends_the_run(kit: Any) -> None:
    async def fails(checkpoint: Checkpoint) -> Decision:
        raise ZeroDivisionError("oops")

    with pytest.raises(InterceptorFailed, match="failed at before_llm: ZeroDivisionError: oops"):
        await Bench(kit, fails).run()
    for kind, value in (
        ("before_llm", {"model": "m"}),
        ("after_decision", {"args": {}}),
        ("before_tool", {"n": "many"}),
        ("before_tool", {"tool": "nobody", "args": {}}),
        ("before_finish", {"confidence": 7}),
    ):
        with pytest.raises(InterceptorFailed, match=kind):
            await Bench(kit, Once(kind, Decision.edit(value))).run()


PROGRAM = """
import asyncio, json, os, signal, sys
from pathlib import Path
from typing import Any
from pydantic import BaseModel
from penguiflow import ModelRegistry, Node
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import PlannerRequest, ReactPlanner
from penguiflow.recording.frontier import read_frontier
from penguiflow.state.sqlite import SQLiteStateStore

class Number(BaseModel):
    n: int

folder, mode = Path(sys.argv[1]), sys.argv[2]

async def fetch(args: Number, ctx: Any) -> Number:
    with (folder / "called").open("a") as file:
        file.write(f"{args.n}\\n")
    if mode == "kill":
        await store.recorder().flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return Number(n=args.n + 1)

async def decide(checkpoint: Checkpoint) -> Decision | None:
    if checkpoint.kind == "after_decision" and checkpoint.name == "fetch":
        assert mode == "kill", "what was decided is not asked again"
        return Decision.edit({"next_node": "fetch", "args": {"n": 41}})
    return None

script = [{"next_node": "fetch", "args": {"n": 1}}, {"next_node": "final_response", "args": {"answer": "done"}}]
registry = ModelRegistry()
registry.register("fetch", Number, Number)
store = SQLiteStateStore(folder / "store.db")
planner = ReactPlanner(
    ScriptedModel(rules=[(lambda _: True, script)]),
    nodes=[Node(fetch, name="fetch")], registry=registry, interceptors=[decide],
)

async def main() -> None:
    flow, models = planner.as_flow()
    recorder = store.recorder()
    flow.run(registry=models, recorder=recorder)
    if mode == "kill":
        await flow.call(PlannerRequest(query="x"), trace_id="run")
    else:
        frontier = await read_frontier(store, "run")
        [finish] = [result async for result in flow.restore(frontier)]
        print(json.dumps(finish.metadata["steps"][0]))
    await flow.stop()

asyncio.run(main())
"""


async def test_what_was_decided_holds_after_the_process_was_killed(tmp_path: Path) -> None:
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
    step = json.loads(out)
    assert (step["action"]["args"], step["observation"]) == ({"n": 41}, {"n": 42})
    # It was under way when the process was killed, and had given nothing.
    assert (tmp_path / "called").read_text().split() == ["41", "41"]


async def test_the_flows_interceptors_are_asked_too(kit: Any) -> None:
    look = Once("before_tool", EDITS["before_tool"])
    bench = Bench(kit, None)
    flow, registry = bench.planner.as_flow()
    flow.run(registry=registry, interceptors=[look])
    try:
        finish = await flow.call(PlannerRequest(query="count"), timeout=60)
    finally:
        await flow.stop()

    kinds = [checkpoint.kind for checkpoint in look.seen]
    assert (kinds[0], kinds[-1]) == ("before_node", "after_node")
    assert set(KINDS) - {"on_error"} <= set(kinds)
    assert bench.called[0] == "double 7"
    assert finish.payload["raw_answer"] == "six"
