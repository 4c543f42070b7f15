"""Random pipelines of retries, timeouts, joins, playbooks, and streams: each does what its plan says.

Some are cut off at random. Time is virtual, and where everybody waits for ever the test fails at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penguiflow import (
    Context,
    FinalAnswer,
    FlowError,
    FlowErrorCode,
    Headers,
    Message,
    Node,
    NodePolicy,
    PenguiFlow,
    StreamChunk,
    create,
    join_k,
)
from penguiflow.core import DEADLINE_EXCEEDED_TEXT, TraceCancelled

if TYPE_CHECKING:
    from tests.conftest import MemoryRecorder
    from tests.penguiflow.conftest import RunVirtually, Wait

pytestmark = pytest.mark.usefixtures("quiet")
EXAMPLES = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MAX_TURNS = 3000
FAULTS: list[str] = ["", "flaky", "hangs once", "raises", "hangs", "stray cancel", "own timeout", "exits", "drops"]
PASSING: set[str] = {"", "flaky", "hangs once"}
variable: contextvars.ContextVar[int | None] = contextvars.ContextVar("variable", default=None)
Cut: TypeAlias = int
"""When something is cut off: the argument of `some_time`."""


@dataclass
class Watch:
    """What the nodes of a flow saw."""

    active: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    attempts: Counter[tuple[str, int]] = field(default_factory=Counter)
    came: dict[str, list[int]] = field(default_factory=dict)
    """Message numbers in the order of their first attempts, by node."""
    went: dict[str, list[int]] = field(default_factory=dict)
    """Message numbers in the order of their results, by node."""
    playbooks: list[PenguiFlow] = field(default_factory=list)


@dataclass(frozen=True)
class Work:
    """A node: what it does goes by the message's number."""

    name: str
    turns: int
    concurrency: int
    retries: int
    faults: tuple[str, ...]

    def fault(self, number: int) -> str:
        fault = self.faults[number % len(self.faults)]
        return "" if fault in ("flaky", "hangs once") and not self.retries else fault

    def tries(self, number: int) -> int:
        """How often a message is tried."""
        fault = self.fault(number)
        return {"": 1, "drops": 1, "flaky": 2, "hangs once": 2}.get(fault, self.retries + 1)

    def code(self, number: int) -> FlowErrorCode:
        return FlowErrorCode.NODE_TIMEOUT if self.fault(number) == "hangs" else FlowErrorCode.NODE_EXCEPTION

    def node(self, watch: Watch, then: Callable[[Message, Context], Awaitable[Any]] | None = None) -> Node:
        async def run(message: Message, ctx: Context) -> Any:
            number = message.meta["number"]
            key = (self.name, number)
            watch.attempts[key] += 1
            if watch.attempts[key] == 1:
                watch.came.setdefault(self.name, []).append(number)
            watch.active[self.name] += 1
            watch.most[self.name] = max(watch.most[self.name], watch.active[self.name])
            try:
                task = asyncio.current_task()
                assert task is not None
                assert not task.cancelling()
                assert variable.get() is None
                variable.set(number)
                for _ in range(self.turns):
                    await asyncio.sleep(0)
                    assert (variable.get(), asyncio.current_task()) == (number, task)
                await self.suffer(number, watch.attempts[key])
                if self.fault(number) == "drops":
                    return None
                result = message.model_copy(update={"payload": (*flat(message.payload), self.name)})
                if then is not None:
                    result = await then(result, ctx)
                watch.went.setdefault(self.name, []).append(number)
                return result
            finally:
                watch.active[self.name] -= 1

        policy = NodePolicy(
            validate="none",
            max_concurrency=self.concurrency,
            max_retries=self.retries,
            backoff_base=0.25,
            timeout_s=1.0,
        )
        return Node(run, name=self.name, policy=policy)

    async def suffer(self, number: int, attempt: int) -> None:
        match self.fault(number):
            case "flaky" if attempt == 1:
                raise ConnectionError("at first")
            case "raises":
                raise ValueError("for good")
            case "stray cancel":
                raise asyncio.CancelledError
            case "own timeout":
                raise TimeoutError("of somebody else")
            case "exits":
                raise GeneratorExit
            case "hangs once" if attempt == 1:
                await asyncio.Event().wait()
            case "hangs":
                await asyncio.Event().wait()


def flat(payload: Any) -> tuple[Any, ...]:
    """What a join gathered becomes one element, whatever order it came in."""
    return (tuple(sorted(payload)),) if isinstance(payload, list) else payload


@dataclass
class Plan:
    """A pipeline and what is sent through it."""

    stages: list[Work | tuple[Work, ...] | list[Work]]
    """A node, branches that are joined, or the nodes of a playbook."""
    chunks: int
    """Pieces that the last node streams before its result."""
    queue_maxsize: int
    messages: int
    ways: list[str]
    late: bool
    """Whether every fifth message comes after its deadline."""
    cancels: Mapping[int, Cut]
    gives_up: Mapping[int, Cut]
    """Callers that stop waiting."""
    stop_after: Cut

    def flow(self, watch: Watch) -> PenguiFlow:
        nodes: list[Node] = [Work("first", 0, 1, 0, ("",)).node(watch)]
        edges: list[tuple[Node, tuple[Node, ...]]] = []
        for position, stage in enumerate(self.stages):
            if isinstance(stage, Work):
                node = stage.node(watch)
                edges.append(nodes[-1].to(node))
            elif isinstance(stage, tuple):
                node = join_k(f"join{position}", len(stage))
                branches = [work.node(watch) for work in stage]
                edges.append(nodes[-1].to(*branches))
                edges += [branch.to(node) for branch in branches]
            else:
                node = self.caller(f"caller{position}", stage, watch)
                edges.append(nodes[-1].to(node))
            nodes.append(node)
        last = Work("last", 0, 3, 0, ("",)).node(watch, self.finish)
        edges.append(nodes[-1].to(last))
        return create(*edges, queue_maxsize=self.queue_maxsize)

    async def finish(self, message: Message, ctx: Context) -> Message:
        for number in range(self.chunks):
            await ctx.emit_chunk(parent=message, text=str(number), done=number == self.chunks - 1)
        return message

    def caller(self, name: str, works: list[Work], watch: Watch) -> Node:
        def playbook() -> tuple[PenguiFlow, None]:
            nodes = [work.node(watch) for work in works]
            flow = create(*(node.to(after) for node, after in pairwise(nodes)), nodes[-1].to())
            watch.playbooks.append(flow)
            return flow, None

        async def ask(message: Message, ctx: Context) -> Message | None:
            payload = message.model_copy(update={"payload": flat(message.payload)})
            answer = await ctx.call_playbook(playbook, payload, timeout=60)
            return None if answer is None else message.model_copy(update={"payload": answer})

        return Node(ask, name=name, policy=NodePolicy(validate="none", max_concurrency=2))

    def way(self, number: int) -> str:
        """How a message is asked for: a fetch gets one result only, and does not see a join that never fills."""
        way = self.ways[number]
        joined = any(isinstance(stage, tuple) for stage in self.stages)
        return "stream" if way == "fetch" and (joined or self.chunks) else way

    def is_late(self, number: int) -> bool:
        return self.late and number % 5 == 4

    def expected(self, number: int) -> Expected:
        """What comes of a message that nobody cuts off."""
        expected = Expected()
        if self.is_late(number):
            expected.results.append(DEADLINE_EXCEEDED_TEXT)
            return expected
        path: tuple[Any, ...] = (number, "first")
        expected.attempts["first", number] = 1
        for stage in self.stages:
            works = [stage] if isinstance(stage, Work) else stage
            for work in works:
                expected.attempts[work.name, number] = work.tries(number)
                if work.fault(number) == "drops" and isinstance(stage, tuple):
                    if any(other.fault(number) in PASSING for other in works):
                        expected.codes.add(FlowErrorCode.NODE_EXCEPTION)  # the join never fills
                elif work.fault(number) not in PASSING and work.fault(number) != "drops":
                    inside = isinstance(stage, list)  # the caller of a playbook raises what that raised
                    expected.codes.add(FlowErrorCode.NODE_EXCEPTION if inside else work.code(number))
                if work.fault(number) not in PASSING and isinstance(stage, list):
                    return expected
            if any(work.fault(number) not in PASSING for work in works):
                return expected
            if isinstance(stage, tuple):
                path = flat([(*path, work.name) for work in works])
            else:
                path = (*path, *(work.name for work in works))
        expected.attempts["last", number] = 1
        expected.results += [f"chunk {piece}" for piece in range(self.chunks)]
        expected.results.append((*path, "last"))
        return expected


@dataclass
class Expected:
    results: list[Any] = field(default_factory=list)
    attempts: Counter[tuple[str, int]] = field(default_factory=Counter)
    codes: set[FlowErrorCode] = field(default_factory=set)
    """Of the error that a caller gets; empty for none."""


def told(result: Any) -> Any:
    """A result in the terms of a plan."""
    payload = result.payload
    if isinstance(payload, StreamChunk):
        return f"chunk {payload.seq}"
    return payload.text if isinstance(payload, FinalAnswer) else payload


@st.composite
def works(draw: st.DrawFn, name: str, *, tries: int = 2) -> Work:
    faults = draw(st.tuples(*[st.sampled_from(["", "", "", *FAULTS])] * 4))
    return Work(name, draw(st.integers(0, 3)), draw(st.integers(1, 3)), draw(st.integers(0, tries)), faults)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    stages: list[Any] = []
    for position in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["work", "work", "join", "playbook"]))
        if kind == "work":
            stages.append(draw(works(f"work{position}")))
        elif kind == "join":
            stages.append(tuple(draw(works(f"branch{position}.{at}")) for at in range(draw(st.integers(1, 3)))))
        else:
            stages.append([draw(works(f"inner{position}.{at}")) for at in range(draw(st.integers(1, 2)))])
    messages = draw(st.integers(1, 7))
    numbers = st.integers(0, messages - 1)
    cuts = st.integers(0, 45)
    return Plan(
        stages=stages,
        chunks=draw(st.integers(0, 4)),
        queue_maxsize=draw(st.sampled_from([1, 2, 64])),
        messages=messages,
        ways=draw(st.lists(st.sampled_from(["call", "stream", "fetch"]), min_size=messages, max_size=messages)),
        late=draw(st.booleans()),
        cancels=draw(st.dictionaries(numbers, cuts, max_size=messages)),
        gives_up=draw(st.dictionaries(numbers, cuts, max_size=2)),
        stop_after=draw(cuts),
    )


@dataclass
class Outcome:
    """What one caller got."""

    results: list[Any] = field(default_factory=list)
    error: BaseException | None = None


async def ask(flow: PenguiFlow, plan: Plan, number: int) -> Outcome:
    deadline_s = time.time() - 1 if plan.is_late(number) else None
    message = Message(
        payload=(number,),
        headers=Headers(tenant="acme"),
        trace_id=f"t{number}",
        meta={"number": number},
        deadline_s=deadline_s,
    )
    outcome = Outcome()
    way = plan.way(number)
    try:
        if way == "stream":
            async for result in flow.stream(message):
                outcome.results.append(told(result))
        elif way == "call":
            if (result := await flow.call(message)) is not None:
                outcome.results.append(told(result))
        else:
            await flow.emit(message, trace_id=message.trace_id)
            if (result := await flow.fetch(trace_id=message.trace_id)) is not None:
                outcome.results.append(told(result))
    except (FlowError, RuntimeError, TraceCancelled) as error:
        outcome.error = error
    return outcome


def check_outcome(plan: Plan, number: int, outcome: Outcome, *, cut: bool) -> None:
    expected = plan.expected(number)
    wanted = expected.results
    way = plan.way(number)
    if way == "call":
        assert outcome.results in ([], [result for result in wanted if not str(result).startswith("chunk")][-1:])
    elif way == "fetch":
        assert outcome.results in ([], wanted[:1])
    else:
        assert outcome.results == wanted[: len(outcome.results)]
    if outcome.error is None:
        assert not expected.codes
        complete = len(wanted) if way == "stream" else min(1, len(wanted))
        assert len(outcome.results) == complete
        return
    if isinstance(outcome.error, TraceCancelled):
        assert cut  # a sender that had not got in
        return
    assert isinstance(outcome.error, FlowError)
    allowed = expected.codes | {FlowErrorCode.TRACE_CANCELLED} if cut else expected.codes
    assert outcome.error.code in allowed


def check_attempts(plan: Plan, watch: Watch, whole: set[int]) -> None:
    """Everything was tried as often as it should be; what was cut off, no more often."""
    for number in range(plan.messages):
        expected = plan.expected(number).attempts
        did = Counter({key: times for key, times in watch.attempts.items() if key[1] == number})
        if number in whole:
            assert did == expected
        else:
            assert did <= expected


def check_order(plan: Plan, watch: Watch) -> None:
    """What a node that handles one message at a time sent on arrives in that order."""
    single: list[Work] = [Work("first", 0, 1, 0, ("",))]
    for stage in plan.stages:
        if isinstance(stage, Work) and single and single[-1].concurrency == 1:
            sent = iter(watch.went.get(single[-1].name, []))
            assert all(number in sent for number in watch.came.get(stage.name, []))
        single = [stage] if isinstance(stage, Work) else []


def check_at_rest(plan: Plan, flow: PenguiFlow, watch: Watch) -> None:
    assert not +watch.active
    for stage in plan.stages:
        for work in [stage] if isinstance(stage, Work) else stage:
            if not isinstance(stage, list):  # each call of a playbook has nodes of its own
                assert watch.most[work.name] <= work.concurrency
    assert not flow._traces
    assert not flow._table.sinks
    assert [(floe.name, floe.size) for floe in flow._graph.floes if floe.size or floe.inbox.items] == []
    assert not any(inner.running or inner._traces for inner in watch.playbooks)


async def settle(flow: PenguiFlow) -> None:
    """Wait until the flow has nothing to do; results that nobody wants are taken out."""

    async def take() -> None:
        while True:
            await flow.fetch()

    taking = asyncio.create_task(take())
    for _ in range(MAX_TURNS):
        if not flow._traces:
            break
        await asyncio.sleep(0)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)


async def run_and_cut(plan: Plan, some_time: Wait, recorder: MemoryRecorder | None) -> None:
    watch = Watch()
    flow = plan.flow(watch)
    flow.run(recorder=recorder)
    callers = [asyncio.create_task(ask(flow, plan, number)) for number in range(plan.messages)]

    async def cancel(number: int, cut: Cut) -> None:
        await some_time(cut)
        if await flow.cancel(f"t{number}"):
            cancelled.add(number)

    async def give_up(number: int, cut: Cut) -> None:
        await some_time(cut)
        if callers[number].cancel():
            gone.add(number)

    cancelled: set[int] = set()
    gone: set[int] = set()
    await asyncio.gather(
        *(cancel(number, cut) for number, cut in plan.cancels.items()),
        *(give_up(number, cut) for number, cut in plan.gives_up.items()),
    )
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, asyncio.CancelledError):
            assert number in gone
            continue
        assert isinstance(outcome, Outcome), outcome
        check_outcome(plan, number, outcome, cut=number in cancelled)
    # Who gave up a fetch may still come back; the trace goes on for it.
    for number in gone:
        if plan.way(number) == "fetch":
            await flow.cancel(f"t{number}")
            flow._roundtrips.abandon(f"t{number}")
    await settle(flow)
    check_at_rest(plan, flow, watch)
    check_attempts(plan, watch, set(range(plan.messages)) - cancelled - gone)
    check_order(plan, watch)
    await flow.stop()


async def run_and_stop(plan: Plan, some_time: Wait) -> None:
    watch = Watch()
    flow = plan.flow(watch)
    flow.run()
    callers = [asyncio.create_task(ask(flow, plan, number)) for number in range(plan.messages)]
    await some_time(plan.stop_after)
    await flow.stop()
    assert not +watch.active
    assert not flow._traces
    for number, outcome in enumerate(await asyncio.gather(*callers)):
        if isinstance(outcome.error, RuntimeError) and not isinstance(outcome.error, FlowError):
            assert "not running" in str(outcome.error)  # it came after the stop
        else:
            check_outcome(plan, number, outcome, cut=True)
    check_attempts(plan, watch, set())
    check_order(plan, watch)
    assert not any(inner.running or inner._traces for inner in watch.playbooks)


@EXAMPLES
@given(plan=plans())
def test_any_pipeline_does_what_its_plan_says(plan: Plan, run_virtually: RunVirtually, some_time: Wait) -> None:
    run_virtually(run_and_cut(plan, some_time, None))


@EXAMPLES
@given(plan=plans())
def test_any_pipeline_is_recorded_as_it_was(
    plan: Plan, run_virtually: RunVirtually, some_time: Wait, recorder: MemoryRecorder
) -> None:
    recorder.logs.clear()
    run_virtually(run_and_cut(plan, some_time, recorder))
    recorder.check()


@EXAMPLES
@given(plan=plans())
def test_any_pipeline_can_be_stopped_at_any_moment(plan: Plan, run_virtually: RunVirtually, some_time: Wait) -> None:
    run_virtually(run_and_stop(plan, some_time))
