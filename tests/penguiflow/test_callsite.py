"""Parts of a node's work have spans and calls of their own, and a replay answers them."""

from __future__ import annotations

from collections import Counter

import pytest

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.callsite import CallSite
from penguiflow.recording import EventRecord, Recorder, TraceEvent
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import frontier
from penguiflow.recording.replay import Replay, replay


class World:
    """What is outside; it counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def model(self, prompt: str) -> dict[str, str]:
        self.asked.append(f"model {prompt}")
        return {"text": f"{prompt}!"}

    def disk(self) -> str:
        self.asked.append("disk")
        return "read"

    async def human(self) -> str:
        self.asked.append("human")
        return "go on"


class Keep:
    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def write(self, record: EventRecord) -> None:
        self.records.append(record)


def flow_of(world: World, *, asks: bool) -> PenguiFlow:
    async def work(message: Message, ctx: Context) -> str:
        query = message.payload
        site = CallSite.of(ctx).open("planner", "research")
        told = []
        for number in range(2):
            step = site.open("step", "step", {"step": number})
            answer = await step.call(
                "llm", "acme/small", {"prompt": query}, world.model, query, about=lambda got: {"model": got["text"]}
            )
            decided = await step.consult("after_decision", ["tool"], world.human if asks else None)
            told.append(f"{answer['text']} {decided}")
            sites: list[CallSite] = []

            async def tool(sites: list[CallSite] = sites) -> str:
                inner = sites[0] if sites else CallSite()
                read = await inner.call("record", "disk", [], world.disk)
                return f"{read} {inner.random().random()}"

            told.append(await step.call("tool", "fetch", {"n": number}, tool, inside=sites.append))
            step.close()
        site.close("ok", {"steps": 2})
        return " ".join(told)

    return create(Node(work, name="work", policy=NodePolicy(validate="none")).to())


async def run(world: World, *, asks: bool) -> tuple[str, list[TraceEvent]]:
    sink = Keep()
    flow = flow_of(world, asks=asks)
    flow.run(recorder=Recorder(sink))
    try:
        answer = await flow.call(Message(payload="what", headers=Headers(tenant="t")), timeout=60)
    finally:
        await flow.stop()
    return answer, [record.decode() for record in sink.records]


async def test_parts_are_spans_within_each_other() -> None:
    _, events = await run(World(), asks=True)

    names = {
        event.span_id: f"{event.kind.removesuffix('.start')} {event.name}"
        for event in events
        if event.kind.endswith(".start")
    }
    tree = [(names[e.span_id], names.get(e.parent_id or "")) for e in events if e.kind.endswith(".start")]
    assert tree[3:7] == [
        ("planner research", "attempt work"),
        ("step step", "planner research"),
        ("llm acme/small", "step step"),
        ("tool fetch", "step step"),
    ]
    assert [event.data["model"] for event in events if event.kind == "llm.end"] == ["what!", "what!"]
    assert [names[event.span_id] for event in events if event.kind == "record"] == ["tool fetch"] * 4
    opened = [event.span_id for event in events if event.kind.endswith(".start")]
    ended = [event.span_id for event in events if event.kind.endswith(".end")]
    assert sorted(opened) == sorted(ended)


async def test_paths_tell_models_and_tools_apart() -> None:
    _, events = await run(World(), asks=True)

    paths = [call.path for call in Cassette.of(events).calls]
    assert "work[0]/attempt[0]/research[0]/step[1]/llm.acme:small[0]" in paths
    assert "work[0]/attempt[0]/research[0]/step[1]/tool.fetch[0]/disk[0]" in paths


@pytest.mark.parametrize("asks", [True, False])
async def test_a_replay_asks_nobody(asks: bool) -> None:
    first = World()
    answer, events = await run(first, asks=asks)
    second = World()

    outcome: Replay = await replay(flow_of(second, asks=not asks), Cassette.of(events))

    assert outcome.check().output == answer
    assert ("human" in first.asked) is asks
    assert second.asked == []


async def test_a_run_goes_on_from_any_event_and_asks_nothing_twice() -> None:
    first = World()
    _, events = await run(first, asks=True)
    entered = next(event.seq for event in events if event.kind == "node.start")
    left = next(event.seq for event in events if event.data.get("target") == "Rookery")
    answered = {"llm.end": "model what", "checkpoint.resolved": "human"}
    for seq in range(entered, left):
        again = World()
        flow = flow_of(again, asks=True)
        flow.run(recorder=Recorder(Keep()))
        try:
            fork = flow.restore(frontier(events, seq), trace_id="0123456789abcdef-fork")
            results = [result async for result in fork]
        finally:
            await flow.stop()
        before = [event for event in events if event.seq <= seq]
        known = Counter(answered[event.kind] for event in before if event.kind in answered)
        open_tools = {event.span_id for event in before if event.kind == "tool.start"}
        open_tools -= {event.span_id for event in before if event.kind == "tool.end"}
        done = [event for event in before if event.kind == "tool.end"]
        under_way = [event for event in before if event.name == "disk" and event.span_id in open_tools]
        known["disk"] = len(done) + len(under_way)
        assert Counter(again.asked) == Counter(first.asked) - known
        assert len(results) == 1


async def test_nothing_is_needed_where_nothing_is_recorded() -> None:
    world, site = World(), CallSite()

    inner = site.open("planner", "research")
    assert inner is site
    assert await inner.call("llm", "m", {}, world.model, "x") == {"text": "x!"}
    assert await inner.consult("after_decision", [], None) is None
    assert await inner.consult("after_decision", [], world.human) == "go on"
    inner.event("planner.decision", "x")
    inner.close()
    assert (inner.recorded, inner.span, inner.trace_id) == (False, "", None)
    assert inner.now() > 0
    assert 0 <= inner.random().random() < 1
