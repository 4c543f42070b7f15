"""Random graphs, policies, failures, cancels and stops: nothing lost, nothing doubled, everybody answered."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penguiflow import (
    Context,
    FlowError,
    FlowErrorCode,
    FlowEvent,
    Headers,
    Message,
    Node,
    NodePolicy,
    PenguiFlow,
    create,
)

if TYPE_CHECKING:
    from tests.conftest import MemoryRecorder

Path = tuple[int, ...]
"""What a message carries: its number, then the nodes it went through."""

EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
HANG_S = 120.0
MAX_TURNS = 5000


@dataclass(frozen=True)
class Behavior:
    """What one node does; failing and dropping go by the message's number."""

    turns: int
    concurrency: int
    flaky: bool
    fails_on: int | None
    drops_on: int | None

    def hit(self, number: int, remainder: int | None) -> bool:
        return remainder is not None and number % 4 == remainder


@dataclass
class Plan:
    """A graph and what is sent through it."""

    behaviors: list[Behavior]
    edges: set[tuple[int, int]]
    queue_maxsize: int
    messages: int
    streamed: bool
    listened_to: bool
    """Whether a middleware is told, one that awaits."""
    cancels: dict[int, int]
    """Message number: turns after which it is cancelled."""
    stop_after: int
    invocations: Counter[Path] = field(default_factory=Counter)

    def successors(self, node: int) -> list[int]:
        return [target for source, target in sorted(self.edges) if source == node]

    def entries(self) -> list[int]:
        targets = {target for _, target in self.edges}
        return [node for node in range(len(self.behaviors)) if node not in targets]

    def expected(self, number: int) -> tuple[list[Path], list[Path]]:
        """The results of a message, and all invocations it makes."""
        results: list[Path] = []
        visits: list[Path] = []
        waiting: list[tuple[Path, int]] = [((number,), node) for node in self.entries()]
        while waiting:
            path, node = waiting.pop()
            path = (*path, node)
            visits.append(path)
            behavior = self.behaviors[node]
            if behavior.hit(number, behavior.fails_on) or behavior.hit(number, behavior.drops_on):
                continue
            if not self.successors(node):
                results.append(path)
            waiting += [(path, target) for target in self.successors(node)]
        return results, visits

    def fails(self, number: int) -> bool:
        return any(
            self.behaviors[path[-1]].hit(number, self.behaviors[path[-1]].fails_on) for path in self.expected(number)[1]
        )

    def node(self, index: int) -> Node:
        behavior = self.behaviors[index]

        async def run(message: Message, ctx: Context) -> Message | None:
            path: Path = (*message.payload, index)
            self.invocations[path] += 1
            for _ in range(behavior.turns):
                await asyncio.sleep(0)
            if behavior.flaky and self.invocations[path] == 1:
                raise ConnectionError("at first")
            if behavior.hit(path[0], behavior.fails_on):
                raise ValueError("for good")
            if behavior.hit(path[0], behavior.drops_on):
                return None
            return message.model_copy(update={"payload": path})

        retries = 1 if behavior.flaky else 0
        policy = NodePolicy(
            validate="none", max_concurrency=behavior.concurrency, max_retries=retries, backoff_base=0.0
        )
        return Node(run, name=f"n{index}", policy=policy)

    def tries(self, path: Path) -> int:
        """How often an invocation is tried."""
        behavior = self.behaviors[path[-1]]
        return 2 if behavior.flaky else 1

    def flow(self) -> PenguiFlow:
        nodes = [self.node(index) for index in range(len(self.behaviors))]
        adjacencies = [node.to(*(nodes[t] for t in self.successors(index))) for index, node in enumerate(nodes)]
        return create(*adjacencies, queue_maxsize=self.queue_maxsize, middlewares=[listen] if self.listened_to else [])


async def listen(event: FlowEvent) -> None:
    await asyncio.sleep(0)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 6))
    possible = [(source, target) for source in range(count) for target in range(source + 1, count)]
    behavior = st.builds(
        Behavior,
        turns=st.integers(0, 3),
        concurrency=st.integers(1, 3),
        flaky=st.booleans(),
        fails_on=st.none() | st.integers(0, 3),
        drops_on=st.none() | st.integers(0, 3),
    )
    messages = draw(st.integers(1, 8))
    return Plan(
        behaviors=draw(st.lists(behavior, min_size=count, max_size=count)),
        edges=draw(st.sets(st.sampled_from(possible))) if possible else set(),
        queue_maxsize=draw(st.sampled_from([1, 2, 64])),
        messages=messages,
        streamed=draw(st.booleans()),
        listened_to=draw(st.booleans()),
        cancels=draw(st.dictionaries(st.integers(0, messages - 1), st.integers(0, 25), max_size=messages)),
        stop_after=draw(st.integers(0, 40)),
    )


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of tracebacks of wanted failures help nobody."""
    logger = logging.getLogger("penguiflow.core")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def ask(flow: PenguiFlow, plan: Plan, number: int) -> Coroutine[Any, Any, tuple[list[Path], FlowError | None]]:
    """Send one message and collect what comes of it."""

    async def collect() -> tuple[list[Path], FlowError | None]:
        message = Message(payload=(number,), headers=Headers(tenant="acme"), trace_id=f"t{number}")
        items: list[Path] = []
        try:
            if plan.streamed:
                async for item in flow.stream(message):
                    items.append(item.payload)
            elif (item := await flow.call(message)) is not None:
                items.append(item.payload)
        except FlowError as error:
            return items, error
        return items, None

    return collect()


def check_outcome(
    plan: Plan, number: int, items: list[Path], error: FlowError | None, *, cut_short: bool = False
) -> None:
    """What came of one message is what its graph gives, or the beginning of it where it was cut short."""
    results, _ = plan.expected(number)
    assert not Counter(items) - Counter(results)
    if error is not None and cut_short:
        assert error.code == FlowErrorCode.TRACE_CANCELLED or plan.fails(number)
        return
    assert (error is not None) == plan.fails(number)
    if plan.streamed:
        assert Counter(items) == Counter(results)
    elif error is None:
        assert len(items) == min(1, len(results))


def check_order(recorder: MemoryRecorder) -> None:
    """Messages leave each edge in the order they came."""
    for log in recorder.logs:
        came: dict[str, list[str]] = {}
        left: dict[str, list[str]] = {}
        for event in log.of_kind("message.enqueued"):
            came.setdefault(event.name, []).append(event.data["message_id"])
        for event in log.of_kind("message.dequeued"):
            left.setdefault(event.name, []).append(event.data["message_id"])
        for edge, ids in left.items():
            assert ids == came[edge][: len(ids)]


def check_at_rest(flow: PenguiFlow) -> None:
    """Nothing of any trace is left anywhere."""
    assert not flow._traces
    assert not flow._table.sinks
    assert [(floe.name, floe.size) for floe in flow._graph.floes if floe.size or floe.inbox.items] == []
    assert flow._engine is not None
    assert not flow._engine.suspended
    assert all(worker.running == 0 for worker in flow._engine.workers)


async def settle(flow: PenguiFlow) -> None:
    for _ in range(MAX_TURNS):
        if not flow._traces and flow._engine is not None and not flow._engine.suspended and not flow._engine.ready:
            return
        await asyncio.sleep(0)


def flow_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("penguiflow")]


async def run_and_cancel(plan: Plan, recorder: MemoryRecorder | None) -> None:
    flow = plan.flow()
    flow.run(recorder=recorder)
    callers = [asyncio.create_task(ask(flow, plan, number)) for number in range(plan.messages)]

    async def cancel(number: int, turns: int) -> bool:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await flow.cancel(f"t{number}")

    done = await asyncio.gather(*(cancel(number, turns) for number, turns in plan.cancels.items()))
    cancelled = {number for number, did in zip(plan.cancels, done, strict=True) if did}
    for number, (items, error) in enumerate(await asyncio.gather(*callers)):
        check_outcome(plan, number, items, error, cut_short=number in cancelled)
        if number in cancelled:
            assert error is not None
        else:
            assert error is None or error.code != FlowErrorCode.TRACE_CANCELLED
            assert all(plan.invocations[path] == plan.tries(path) for path in plan.expected(number)[1])
    await settle(flow)
    check_at_rest(flow)
    wanted = {path for number in range(plan.messages) for path in plan.expected(number)[1]}
    assert plan.invocations.keys() <= wanted
    assert all(times <= plan.tries(path) for path, times in plan.invocations.items())
    # The flow is as good as new.
    await ask(flow, plan, plan.messages)
    await flow.stop()
    assert flow_tasks() == []
    if recorder is not None:
        recorder.check()
        check_order(recorder)


async def run_and_stop(plan: Plan, recorder: MemoryRecorder) -> None:
    flow = plan.flow()
    flow.run(recorder=recorder)
    callers = [asyncio.create_task(ask(flow, plan, number)) for number in range(plan.messages)]
    for _ in range(plan.stop_after):
        await asyncio.sleep(0)
    await flow.stop()
    assert flow_tasks() == []
    answered: dict[int, FlowError | None] = {}
    for number, outcome in enumerate(await asyncio.gather(*callers, return_exceptions=True)):
        if isinstance(outcome, BaseException):
            # A caller that came after the stop.
            assert isinstance(outcome, RuntimeError)
            assert "not running" in str(outcome)
            continue
        check_outcome(plan, number, *outcome, cut_short=True)
        answered[number] = outcome[1]
    assert not flow._traces
    assert all(log.status is not None and not log.problems for log in recorder.logs)

    # What waited on an edge goes on where it was, and is not done twice.
    flow.run(recorder=recorder)
    drain = asyncio.create_task(drain_results(flow))
    await settle_parked(flow)
    drain.cancel()
    await asyncio.gather(drain, return_exceptions=True)
    wanted = {path for number in answered for path in plan.expected(number)[1]}
    assert plan.invocations.keys() <= wanted
    await ask(flow, plan, plan.messages)
    await settle(flow)
    check_at_rest(flow)
    await flow.stop()
    assert flow_tasks() == []
    assert all(log.status is not None and not log.problems for log in recorder.logs)


async def drain_results(flow: PenguiFlow) -> None:
    while True:
        await flow.fetch()


async def settle_parked(flow: PenguiFlow) -> None:
    for _ in range(MAX_TURNS):
        if not flow._traces and not any(floe.size for floe in flow._graph.floes):
            return
        await asyncio.sleep(0)
    raise AssertionError(f"still there: {flow._graph.floes}")


def bounded(body: Coroutine[Any, Any, None]) -> None:
    async def run() -> None:
        async with asyncio.timeout(HANG_S):
            await body

    asyncio.run(run())


@EXAMPLES
@given(plan=plans())
def test_any_flow_delivers_what_its_graph_says(plan: Plan, recorder: MemoryRecorder) -> None:
    recorder.logs.clear()
    bounded(run_and_cancel(plan, recorder))


@EXAMPLES
@given(plan=plans())
def test_any_flow_does_so_unrecorded(plan: Plan) -> None:
    bounded(run_and_cancel(plan, None))


@EXAMPLES
@given(plan=plans())
def test_any_flow_can_be_stopped_and_run_again(plan: Plan, recorder: MemoryRecorder) -> None:
    recorder.logs.clear()
    bounded(run_and_stop(plan, recorder))
