"""Random loops: controllers with budgets, graphs with cycles, streams of one trace; none hangs, none goes too far."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow import WM, Context, FinalAnswer, FlowError, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.core import BUDGET_EXCEEDED_TEXT, TOKEN_BUDGET_EXCEEDED_TEXT

if TYPE_CHECKING:
    from tests.penguiflow.conftest import RunVirtually, Wait

pytestmark = pytest.mark.usefixtures("quiet")
EXAMPLES = settings(max_examples=120, deadline=None, derandomize=True, database=None)
HEADERS = Headers(tenant="acme")
TOKENS_A_ROUND = 10
CONCURRENCIES = [1, 2, 3]


@dataclass(frozen=True)
class Question:
    """One message for a controller."""

    rounds: int
    """After so many it has the answer."""
    budget_hops: int | None
    budget_tokens: int | None

    def expected(self) -> tuple[int, list[str]]:
        """How often the node is called, and what is delivered: each round of an unbounded loop, and the answer."""
        delivered: list[str] = []
        for hops in range(self.rounds):
            if self.budget_tokens is not None and TOKENS_A_ROUND * (hops + 1) >= self.budget_tokens:
                return hops + 1, [TOKEN_BUDGET_EXCEEDED_TEXT]
            if self.budget_hops is not None and hops + 1 >= self.budget_hops:
                return hops + 1, [BUDGET_EXCEEDED_TEXT]
            if self.budget_hops is None and self.budget_tokens is None:
                delivered.append(f"round {hops + 1}")
        return self.rounds + 1, [*delivered, "answer"]

    def message(self, number: int) -> Message:
        memory = WM(query=str(self.rounds), budget_hops=self.budget_hops, budget_tokens=self.budget_tokens)
        return Message(payload=memory, headers=HEADERS, trace_id=f"t{number}")


@dataclass
class Loops:
    """Questions to one controller, and when they are cancelled."""

    questions: list[Question]
    turns: int
    concurrency: int
    queue_maxsize: int
    cancels: dict[int, int]
    stop_after: int | None
    rounds: Counter[str] = field(default_factory=Counter)

    def flow(self) -> PenguiFlow:
        async def think(message: Message, ctx: Context) -> Message:
            self.rounds[message.trace_id] += 1
            memory: WM = message.payload
            for _ in range(self.turns):
                await asyncio.sleep(0)
            if memory.hops == int(memory.query):
                return message.model_copy(update={"payload": FinalAnswer(text="answer")})
            spent = memory.tokens_used + TOKENS_A_ROUND
            return message.model_copy(update={"payload": memory.model_copy(update={"tokens_used": spent})})

        policy = NodePolicy(validate="none", max_concurrency=self.concurrency)
        node = Node(think, allow_cycle=True, policy=policy)
        return create(node.to(node), queue_maxsize=self.queue_maxsize)


@st.composite
def loops(draw: st.DrawFn) -> Loops:
    question = st.builds(
        Question,
        rounds=st.integers(0, 6),
        budget_hops=st.none() | st.integers(1, 6),
        budget_tokens=st.none() | st.sampled_from([5, 10, 25, 45]),
    )
    questions = draw(st.lists(question, min_size=1, max_size=6))
    return Loops(
        questions,
        turns=draw(st.integers(0, 3)),
        concurrency=draw(st.sampled_from(CONCURRENCIES)),
        queue_maxsize=draw(st.sampled_from([1, 2, 64])),
        cancels=draw(st.dictionaries(st.integers(0, len(questions) - 1), st.integers(0, 30), max_size=3)),
        stop_after=draw(st.none() | st.integers(0, 30)),
    )


async def read(flow: PenguiFlow, message: Message) -> tuple[list[str], FlowError | None]:
    delivered: list[str] = []
    try:
        async for item in flow.stream(message):
            payload = item.payload
            delivered.append(payload.text if isinstance(payload, FinalAnswer) else f"round {payload.hops}")
    except FlowError as error:
        return delivered, error
    return delivered, None


async def run_loops(plan: Loops, some_time: Wait) -> None:
    flow = plan.flow()
    flow.run()
    readers = [asyncio.create_task(read(flow, question.message(at))) for at, question in enumerate(plan.questions)]
    cancelled: set[int] = set()

    async def cancel(number: int, when: int) -> None:
        await some_time(when)
        if flow.running and await flow.cancel(f"t{number}"):
            cancelled.add(number)

    cancelling = [asyncio.create_task(cancel(number, when)) for number, when in plan.cancels.items()]
    if plan.stop_after is not None:
        await some_time(plan.stop_after)
        await flow.stop()
    await asyncio.gather(*cancelling)
    answers = await asyncio.gather(*readers, return_exceptions=True)
    for number, (question, answer) in enumerate(zip(plan.questions, answers, strict=True)):
        calls, wanted = question.expected()
        did = plan.rounds[f"t{number}"]
        assert did <= calls
        if isinstance(answer, BaseException):
            assert plan.stop_after is not None
            assert "not running" in str(answer)
            continue
        delivered, error = answer
        assert delivered == wanted[: len(delivered)]
        if error is None:
            assert (did, delivered) == (calls, wanted)
        else:
            assert number in cancelled or plan.stop_after is not None
            assert error.code == "TRACE_CANCELLED"
    if plan.stop_after is None:
        await settled(flow)
        assert [floe.size for floe in flow._graph.floes if floe.size] == []
        await flow.stop()
    assert not flow._traces


async def settled(flow: PenguiFlow) -> None:
    for _ in range(1000):
        if not flow._traces:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"still in flight: {sorted(flow._traces)}")


@EXAMPLES
@given(plan=loops())
def test_no_loop_goes_beyond_its_budget(plan: Loops, run_virtually: RunVirtually, some_time: Wait) -> None:
    run_virtually(run_loops(plan, some_time))


@dataclass
class Cycles:
    """A graph with cycles, whose nodes send more than they get."""

    count: int
    edges: set[tuple[int, int]]
    copies: int
    depth: int
    concurrency: int
    queue_maxsize: int
    messages: int

    def successors(self, node: int) -> list[int]:
        return [target for source, target in sorted(self.edges) if source == node]

    def expected(self) -> Counter[int]:
        """How often each node is called for one message."""
        calls: Counter[int] = Counter()
        wave = Counter({self.count: 1})  # the entry
        for depth in range(self.depth + 1):
            calls += wave
            following: Counter[int] = Counter()
            for node, times in wave.items():
                for target in [0] if node == self.count else self.successors(node):
                    following[target] += times * (self.copies if depth < self.depth else 0)
            wave = following
        return calls


@st.composite
def cycles(draw: st.DrawFn) -> Cycles:
    count = draw(st.integers(1, 4))
    node = st.integers(0, count - 1)
    return Cycles(
        count,
        edges=draw(st.sets(st.tuples(node, node), min_size=1, max_size=6)),
        copies=draw(st.integers(1, 2)),
        depth=draw(st.integers(1, 4)),
        concurrency=draw(st.integers(1, 2)),
        queue_maxsize=draw(st.sampled_from([1, 2])),
        messages=draw(st.integers(1, 3)),
    )


async def run_cycles(plan: Cycles) -> None:
    calls: Counter[int] = Counter()

    def node(number: int) -> Node:
        async def spread(message: Message, ctx: Context) -> None:
            calls[number] += 1
            await asyncio.sleep(0)
            if message.payload:
                targets = [nodes[0]] if number == plan.count else [nodes[target] for target in plan.successors(number)]
                for _ in range(plan.copies if targets else 0):
                    await ctx.emit(message.model_copy(update={"payload": message.payload - 1}), to=targets)

        policy = NodePolicy(validate="none", max_concurrency=plan.concurrency)
        return Node(spread, name=f"n{number}", allow_cycle=True, policy=policy)

    nodes = [node(number) for number in range(plan.count + 1)]
    entry = nodes[-1]
    inner = [nodes[at].to(*(nodes[target] for target in plan.successors(at))) for at in range(plan.count)]
    flow = create(entry.to(nodes[0]), *inner, queue_maxsize=plan.queue_maxsize, allow_cycles=True)
    flow.run()
    messages = [Message(payload=plan.depth, headers=HEADERS) for _ in range(plan.messages)]
    assert await asyncio.gather(*(flow.call(message, to=entry) for message in messages)) == [None] * plan.messages
    assert calls == Counter({at: times * plan.messages for at, times in plan.expected().items()})
    assert not flow._traces
    await flow.stop()


@EXAMPLES
@given(plan=cycles())
def test_no_cycle_waits_for_itself(plan: Cycles, run_virtually: RunVirtually) -> None:
    run_virtually(run_cycles(plan))


@dataclass
class Lines:
    """Traces that send several messages each down one chain."""

    turns: list[list[int]]
    """For each node: turns that it takes, by the message's number."""
    concurrency: list[int]
    traces: int
    pieces: int
    queue_maxsize: int


@st.composite
def lines(draw: st.DrawFn) -> Lines:
    length = draw(st.integers(1, 3))
    turns = st.lists(st.integers(0, 4), min_size=1, max_size=5)
    return Lines(
        turns=draw(st.lists(turns, min_size=length, max_size=length)),
        concurrency=draw(st.lists(st.sampled_from(CONCURRENCIES), min_size=length, max_size=length)),
        traces=draw(st.integers(1, 4)),
        pieces=draw(st.integers(1, 6)),
        queue_maxsize=draw(st.sampled_from([1, 2, 64])),
    )


async def run_lines(plan: Lines) -> None:
    async def split(message: Message, ctx: Context) -> None:
        for piece in range(plan.pieces):
            await ctx.emit(message.model_copy(update={"payload": piece}))

    def node(at: int) -> Node:
        async def work(message: Message, ctx: Context) -> Message:
            turns = plan.turns[at]
            for _ in range(turns[(message.payload + len(message.trace_id)) % len(turns)]):
                await asyncio.sleep(0)
            return message

        policy = NodePolicy(validate="none", max_concurrency=plan.concurrency[at])
        return Node(work, name=f"n{at}", policy=policy)

    nodes = [Node(split, policy=NodePolicy(max_concurrency=3)), *(node(at) for at in range(len(plan.turns)))]
    flow = create(*(first.to(second) for first, second in pairwise(nodes)), queue_maxsize=plan.queue_maxsize)
    flow.run()

    async def pieces_of(trace: int) -> list[Any]:
        message = Message(payload=None, headers=HEADERS, trace_id="t" * (trace + 1))
        return [item.payload async for item in flow.stream(message)]

    got = await asyncio.gather(*(pieces_of(trace) for trace in range(plan.traces)))
    assert got == [list(range(plan.pieces))] * plan.traces
    await flow.stop()


@EXAMPLES
@given(plan=lines())
def test_the_messages_of_a_trace_keep_their_order(plan: Lines, run_virtually: RunVirtually) -> None:
    run_virtually(run_lines(plan))
