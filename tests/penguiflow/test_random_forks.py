"""Random flows, forked or resumed after a random event: they end with the same results, whatever the timing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penguiflow import Context, FlowError, Headers, Message, Node, NodePolicy, PenguiFlow, create, join_k
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording.frontier import frontier

EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
TRACE = "a-trace-of-random-events"


class Sink(list[EventRecord]):
    """Events in memory."""

    def write(self, record: EventRecord) -> None:
        self.append(record)


@dataclass(frozen=True)
class Behavior:
    """What one node does with each message."""

    copies: int
    """Messages it sends before its result."""
    chunks: int
    asks: int
    draws: bool
    counts: bool
    """Whether it keeps a number for the trace."""
    concurrency: int
    flaky: bool
    """Whether its first attempts fail, after they have asked and sent."""
    fails_on: int | None
    joins: bool
    """Whether it is a join of all that comes."""


@dataclass(frozen=True)
class Plan:
    """A graph without cycles."""

    behaviors: list[Behavior]
    edges: set[tuple[int, int]]
    maxsize: int
    bare: bool

    def successors(self, index: int) -> list[int]:
        return [target for source, target in sorted(self.edges) if source == index]

    def arrivals(self, index: int) -> int:
        """How many messages reach a node."""
        sources = [source for source, target in self.edges if target == index]
        return sum(self.sent(source) for source in sources) if sources else 1

    def sent(self, index: int) -> int:
        """How many messages it sends by each of its edges, failures left out, chunks counted where they go inside."""
        behavior = self.behaviors[index]
        if behavior.joins:
            return 1
        return self.arrivals(index) * (1 + behavior.copies * (1 + behavior.flaky))

    def chunks_travel(self, index: int) -> bool:
        return bool(self.successors(index))

    def flow(self, asked: Counter[str], delays: random.Random) -> PenguiFlow:
        nodes = [self._node(index, asked, delays) for index in range(len(self.behaviors))]
        edges = [node.to(*(nodes[target] for target in self.successors(at))) for at, node in enumerate(nodes)]
        return create(*edges, queue_maxsize=self.maxsize)

    def _node(self, index: int, asked: Counter[str], delays: random.Random) -> Node:
        behavior = self.behaviors[index]
        if behavior.joins:
            return join_k(f"n{index}", self.arrivals(index))

        async def ask(question: str) -> str:
            asked[question] += 1
            await asyncio.sleep(delays.random())
            return question[::-1]

        async def run(message: Any, ctx: Context) -> Any:
            payload = message if self.bare else message.payload
            path = f"{text(payload)}.{index}"
            await asyncio.sleep(delays.random())
            for number in range(behavior.asks):
                path += await ctx.record("ask", ask, f"<{path}{number}>")
            if behavior.draws:
                path += f"{ctx.random().random():.4f}"
            if behavior.counts:
                ctx.trace_state["count"] = ctx.trace_state.get("count", 0) + 1
            for number in range(0 if self.chunks_travel(index) else behavior.chunks):
                await ctx.emit_chunk(
                    parent=message,
                    text=f"{number}",
                    stream_id=f"{path}@{ctx._attempt}",
                    done=number == behavior.chunks - 1,
                )
                await asyncio.sleep(delays.random())
            for number in range(behavior.copies):
                await ctx.emit(self._wrap(message, f"{path}~{number}"))
            if behavior.flaky and ctx._attempt == 0:
                raise ConnectionError(path)
            if behavior.fails_on is not None and len(path) % 3 == behavior.fails_on:
                raise ValueError(path)
            await asyncio.sleep(delays.random())
            return self._wrap(message, path)

        policy = NodePolicy(
            validate="none",
            max_concurrency=behavior.concurrency,
            max_retries=int(behavior.flaky),
            backoff_base=0.5,
        )
        return Node(run, name=f"n{index}", policy=policy)

    def _wrap(self, message: Any, payload: str) -> Any:
        return payload if self.bare else message.model_copy(update={"payload": payload})


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 5))
    possible = [(source, target) for source in range(count) for target in range(source + 1, count)]
    edges = draw(st.sets(st.sampled_from(possible), max_size=6)) if possible else set()
    behaviors = [
        Behavior(
            copies=draw(st.integers(0, 1)),
            chunks=draw(st.integers(0, 3)),
            asks=draw(st.integers(0, 2)),
            draws=draw(st.booleans()),
            counts=draw(st.booleans()),
            concurrency=draw(st.integers(1, 3)),
            flaky=draw(st.integers(0, 2)) == 0,
            fails_on=draw(st.sampled_from([None, None, None, 0])),
            joins=draw(st.integers(0, 3)) == 0 and any(target == index for _, target in edges),
        )
        for index in range(count)
    ]
    return Plan(behaviors, edges, draw(st.sampled_from([0, 1, 64])), draw(st.booleans()))


def text(payload: Any) -> str:
    """A payload; what was joined in order of its texts."""
    return payload if isinstance(payload, str) else f"[{'+'.join(sorted(map(text, payload)))}]"


def results(events: list[TraceEvent], trace_id: str) -> Counter[str]:
    """What left the flow."""
    texts: dict[tuple[str, int], str] = {}
    found: Counter[str] = Counter()
    for event in events:
        data = event.data
        if event.kind == "stream.chunk":
            assert (data["stream_id"], data["chunk_seq"]) not in texts, "a piece of a stream is in the log twice"
            texts[data["stream_id"], data["chunk_seq"]] = data["text"]
        elif event.kind == "message.enqueued" and data["target"] == "Rookery" and "stream_id" in data:
            key = (data["stream_id"], data["chunk_seq"])
            found[f"{key} {texts[key]}"] += 1
        elif event.kind == "message.enqueued" and data["target"] == "Rookery":
            value = data["payload"]["value"]
            found[text(value)] += 1
    return found


async def drain(stream: Any) -> str:
    """Hear it out; gives how it ended."""
    try:
        async for _ in stream:
            pass
    except FlowError as error:
        return error.code
    return "ok"


@pytest.mark.usefixtures("quiet")
@EXAMPLES
@given(plan=plans(), data=st.data())
def test_a_fork_after_a_random_event_ends_with_the_same_results(
    run_virtually: Callable[[Coroutine[Any, Any, None]], None], plan: Plan, data: st.DataObject
) -> None:
    async def body() -> None:
        sink, flow = Sink(), plan.flow(Counter(), random.Random(data.draw(st.integers(0, 99))))
        flow.run(recorder=Recorder(sink))
        given = "q" if plan.bare else Message(payload="q", headers=Headers(tenant="t"), trace_id=TRACE)
        ended = await drain(flow.stream(given, trace_id=TRACE))
        await flow.stop()
        events = [record.decode() for record in sink]
        expected = results(events, TRACE)
        for _ in range(2):
            seq = data.draw(st.integers(0, len(events) - 1))
            forked = Sink()
            flow = plan.flow(Counter(), random.Random(data.draw(st.integers(0, 99))))
            flow.run(recorder=Recorder(forked))
            how = await drain(flow.restore(frontier(events, seq), trace_id="the-fork-of-it-all"))
            await flow.stop()
            found = results([record.decode() for record in forked], TRACE)
            if any(behavior.draws for behavior in plan.behaviors):
                # What was not drawn before the fork is drawn anew.
                assert sum(found.values()) == sum(expected.values())
            else:
                assert found == expected
            assert how == ended

    run_virtually(body())
