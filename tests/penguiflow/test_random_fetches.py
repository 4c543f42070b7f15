"""Random senders, readers and cancels that know nothing of each other: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.core import TraceCancelled

if TYPE_CHECKING:
    from tests.penguiflow.conftest import RunVirtually, Wait

pytestmark = pytest.mark.usefixtures("quiet")
EXAMPLES = settings(max_examples=120, deadline=None, derandomize=True, database=None)
HEADERS = Headers(tenant="acme")


@dataclass
class Plan:
    """Senders with a few messages each, readers that give up now and then, and traces that are cancelled."""

    exits: int
    turns: list[int]
    """Of each of the nodes that the results come from."""
    concurrency: int
    queue_maxsize: int
    senders: list[list[tuple[int, str]]]
    """For each sender its messages: trace, and how it is sent."""
    patience: list[int]
    """For each reader, when it gives a fetch up and begins another one."""
    picky: bool
    """Whether each reader wants the results of one exit only."""
    cancels: dict[int, int]
    joins: bool
    """Whether the exits take a second message along where one waits, of whatever trace; then nothing is cancelled."""
    sent: Counter[tuple[int, int]] = field(default_factory=Counter)
    got: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    cancelled: set[int] = field(default_factory=set)

    def flow(self) -> PenguiFlow:
        async def spread(message: Message, ctx: Context) -> Message:
            return message

        def leave(at: int) -> Node:
            async def work(message: Message, ctx: Context) -> None:
                taken = [message]
                for _ in range(self.turns[at]):
                    await asyncio.sleep(0)
                if self.joins:
                    with contextlib.suppress(asyncio.QueueEmpty):
                        taken.append(ctx.fetch_nowait())
                for each in taken:
                    await ctx.emit(each.model_copy(update={"payload": (*each.payload, at)}))

            policy = NodePolicy(validate="none", max_concurrency=self.concurrency)
            return Node(work, name=f"exit{at}", policy=policy)

        first = Node(spread, name="first", policy=NodePolicy(validate="none", max_concurrency=self.concurrency))
        self.leaves = [leave(at) for at in range(self.exits)]
        return create(first.to(*self.leaves), queue_maxsize=self.queue_maxsize)

    async def send(self, flow: PenguiFlow, number: int) -> None:
        for at, (trace, how) in enumerate(self.senders[number]):
            ident = number * 100 + at
            message = Message(payload=(trace, ident), headers=HEADERS, trace_id=f"t{trace}")
            try:
                if how == "nowait":
                    flow.emit_nowait(message)
                else:
                    await flow.emit(message)
            except asyncio.QueueFull:
                await asyncio.sleep(0)
                continue
            except TraceCancelled:
                assert trace in self.cancelled
                continue
            self.sent[trace, ident] += 1

    async def read(self, flow: PenguiFlow, number: int, some_time: Wait) -> None:
        wanted: Any = self.leaves[number % self.exits] if self.picky else None

        async def fetch() -> None:
            self.got[(await flow.fetch(from_=wanted)).payload] += 1

        while True:
            fetching = asyncio.create_task(fetch())
            giving_up = asyncio.create_task(some_time(self.patience[number]))
            try:
                await asyncio.wait({fetching, giving_up}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                giving_up.cancel()
                fetching.cancel()

    async def cancel(self, flow: PenguiFlow, trace: int, some_time: Wait) -> None:
        await some_time(self.cancels[trace])
        self.cancelled.add(trace)
        await flow.cancel(f"t{trace}")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    exits = draw(st.integers(1, 3))
    joins = draw(st.booleans())
    cancels = st.dictionaries(st.integers(0, 3), st.integers(0, 30), max_size=0 if joins else 2)
    message = st.tuples(st.integers(0, 3), st.sampled_from(["emit", "emit", "nowait"]))
    return Plan(
        exits=exits,
        turns=draw(st.lists(st.integers(0, 3), min_size=exits, max_size=exits)),
        concurrency=draw(st.integers(1, 3)),
        queue_maxsize=draw(st.sampled_from([1, 2, 64])),
        senders=draw(st.lists(st.lists(message, max_size=6), min_size=1, max_size=4)),
        patience=draw(st.lists(st.integers(1, 12), min_size=exits, max_size=exits + 1)),
        picky=draw(st.booleans()),
        cancels=draw(cancels),
        joins=joins,
    )


async def run(plan: Plan, some_time: Wait) -> None:
    flow = plan.flow()
    flow.run()
    readers = [asyncio.create_task(plan.read(flow, number, some_time)) for number in range(len(plan.patience))]
    cancels = [asyncio.create_task(plan.cancel(flow, trace, some_time)) for trace in plan.cancels]
    await asyncio.gather(*(plan.send(flow, number) for number in range(len(plan.senders))))
    await asyncio.gather(*cancels)
    for _ in range(3000):
        if not flow._traces:
            break
        await asyncio.sleep(0)
    assert not flow._traces
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    wanted = Counter({(*ident, at): times for ident, times in plan.sent.items() for at in range(plan.exits)})
    assert plan.got <= wanted
    assert {each: times for each, times in plan.got.items() if each[0] not in plan.cancelled} == {
        each: times for each, times in wanted.items() if each[0] not in plan.cancelled
    }
    assert [(floe.name, floe.size) for floe in flow._graph.floes if floe.size or floe.inbox.items] == []
    assert not any(floe.inbox.getters for floe in flow._graph.floes)
    await flow.stop()


@EXAMPLES
@given(plan=plans())
def test_readers_that_give_up_lose_and_double_nothing(plan: Plan, run_virtually: RunVirtually, some_time: Wait) -> None:
    run_virtually(run(plan, some_time))
