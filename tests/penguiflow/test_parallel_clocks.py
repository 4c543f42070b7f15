"""The times and the chance that parallel parts of a node get are theirs again when it is run again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create, map_concurrent
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import frontier
from penguiflow.recording.replay import replay

TRACE, FORK = "a-trace-of-parallel-parts", "another-trace-of-parts"
EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
RunVirtually = Callable[[Coroutine[Any, Any, None]], None]
Together = Callable[[list[Awaitable[Any]]], Awaitable[list[Any]]]
Part = tuple[float, float]
"""How long the call of a part takes, and how long it takes when it is run again."""


class Sink(list[EventRecord]):
    """Events in memory."""

    def write(self, record: EventRecord) -> None:
        self.append(record)

    @property
    def events(self) -> list[TraceEvent]:
        return [record.decode() for record in self]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No two times are the same."""
    seconds = itertools.count(1.0)
    monkeypatch.setattr("penguiflow.context.time", lambda: next(seconds))


async def by_gather(parts: list[Awaitable[Any]]) -> list[Any]:
    return list(await asyncio.gather(*parts))


async def by_map(parts: list[Awaitable[Any]]) -> list[Any]:
    async def one(part: Awaitable[Any]) -> Any:
        return await part

    return await map_concurrent(parts, one, max_concurrency=2)


def make_flow(delays: list[list[float]], together: Together, *, asks: bool) -> PenguiFlow:
    """Three messages at a time, each with parts that run at once; `asks`: each part makes a call first."""

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def split(message: Message, ctx: Context) -> None:
        for number in range(len(delays)):
            await ctx.emit(message.model_copy(update={"payload": number}))

    async def work(message: Message, ctx: Context) -> Message:
        async def part(number: int) -> tuple[float, float]:
            seconds = delays[message.payload][number]
            if asks:
                await ctx.record("ask", lambda _: wait(seconds), number)
            else:
                await ctx.record("ask", str, number)
            first = ctx.now()
            await ctx.record("again", lambda _: wait(seconds), number)
            return first, ctx.random().random()

        found = await together([part(number) for number in range(len(delays[message.payload]))])
        return message.model_copy(update={"payload": [message.payload, ctx.now(), *found]})

    worker = Node(work, name="work", policy=NodePolicy(max_concurrency=3))
    return create(Node(split, name="split").to(worker), worker.to())


async def run(flow: PenguiFlow, stream: Any) -> tuple[dict[int, Any], list[TraceEvent]]:
    sink = Sink()
    flow.run(recorder=Recorder(sink))
    async for _ in stream(flow):
        pass
    await flow.stop()
    results = {}
    for event in sink.events:
        if event.kind == "message.enqueued" and event.data["target"] == "Rookery":
            number, *seen = event.data["payload"]["value"]
            results[number] = seen
    return results, sink.events


delay = st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])
shapes = st.lists(st.lists(st.tuples(delay, delay), min_size=1, max_size=3), min_size=1, max_size=3)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("together", [by_gather, by_map])
@pytest.mark.parametrize("asks", [True, False])
@EXAMPLES
@given(shape=shapes, data=st.data())
def test_each_part_has_its_own(
    run_virtually: RunVirtually, shape: list[list[Part]], together: Together, asks: bool, data: st.DataObject
) -> None:
    first, second = ([[part[which] for part in parts] for parts in shape] for which in (0, 1))

    async def body() -> None:
        message = Message(payload="q", headers=Headers(tenant="t"), trace_id=TRACE)
        flow = make_flow(first, together, asks=asks)
        results, events = await run(flow, lambda flow: flow.stream(message))
        assert len(results) == len(shape)
        outcome = await replay(make_flow(second, together, asks=asks), Cassette.of(events))
        assert outcome.same
        for at in sorted({data.draw(st.integers(0, len(events) - 1)) for _ in range(3)}):
            known = {
                event.data["response"]["value"]
                for event in events[: at + 1]
                if event.kind == "record" and event.name == "ctx.now"
            }
            point = frontier(events, at)
            again, _ = await run(
                make_flow(second, together, asks=asks), lambda flow, point=point: flow.restore(point, trace_id=FORK)
            )
            for number, seen in results.items():
                # What was told before is told again, to whom it was told; the others ask anew.
                now = [seen[0], *(time for time, _ in seen[1:])]
                then = [again[number][0], *(time for time, _ in again[number][1:])]
                assert [time if time in known else None for time in now] == [
                    time if time in known else None for time in then
                ]

    run_virtually(body())


def make_race(delays: list[float], *, inside: bool) -> PenguiFlow:
    """Whoever answers first is asked again, and those that come of it ask the time."""

    async def ask(seconds: float, name: str) -> str:
        await asyncio.sleep(seconds)
        return name

    async def work(message: Message, ctx: Context) -> Message:
        async def part(number: int) -> str:
            return str(await ctx.record("ask", ask, delays[number], f"part {number}"))

        async def late() -> float:
            await asyncio.sleep(0)
            return ctx.random().random()

        order: list[Any] = []
        later: list[asyncio.Task[float]] = []
        for ended in asyncio.as_completed([part(number) for number in range(len(delays))]):
            order.append(await ended)
            if inside:
                later.append(asyncio.create_task(late()))
        await ctx.record("again", ask, 1.0, order)
        numbers = [await task for task in later]
        await ctx.record("at last", ask, 1.0, "")
        return message.model_copy(update={"payload": [order, numbers]})

    return create(Node(work, name="work").to())


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("again", [[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]])
def test_a_race_that_was_won_stays_won(run_virtually: RunVirtually, inside: bool, again: list[float]) -> None:
    async def outcome(flow: PenguiFlow, stream: Any) -> tuple[Any, list[TraceEvent]]:
        sink = Sink()
        flow.run(recorder=Recorder(sink))
        (found,) = [item.payload async for item in stream(flow)]
        await flow.stop()
        return found, sink.events

    async def body() -> None:
        message = Message(payload="q", headers=Headers(tenant="t"), trace_id=TRACE)
        delays = [0.3, 0.1, 0.2]
        found, events = await outcome(make_race(delays, inside=inside), lambda flow: flow.stream(message))
        assert found[0] == ["part 1", "part 2", "part 0"]
        answered = [event.seq for event in events if event.kind == "record" and event.name == "again"]
        for seq in range(answered[0], len(events) - 4):
            point = frontier(events, seq)
            flow = make_race(delays, inside=inside)
            assert (await outcome(flow, lambda flow, point=point: flow.restore(point, trace_id=FORK)))[0] == found
        for seq in (answered[0] - 1, answered[0]):
            # Nobody waits long for what is not asked again.
            point = frontier(events, seq)
            loop = asyncio.get_running_loop()
            begun = loop.time()
            changed, _ = await outcome(
                make_race(again, inside=inside), lambda flow, point=point: flow.restore(point, trace_id=FORK)
            )
            assert sorted(changed[0]) == sorted(found[0])
            assert loop.time() - begun < 5

    run_virtually(body())
