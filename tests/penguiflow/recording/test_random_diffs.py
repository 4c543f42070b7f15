"""Random traces: the same work in any order is equal, and one change is found where it was made."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penguiflow.observer import Payload
from penguiflow.recording import Recorder
from penguiflow.recording.diff import TraceDiff, diff_traces
from penguiflow.state import InMemoryStateStore

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
Step = tuple[str, str, Any]
steps: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["record", "send", "stream", "tool", "decide", "fail"]), st.sampled_from(["x", "y"]), values
)
works = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.lists(steps, max_size=5)), min_size=1, max_size=6)


def write(store: InMemoryStateStore, trace_id: str, work: list[tuple[str, list[Step]]], seed: int) -> None:
    """The work, each invocation in its own order, all of them mixed as the seed says."""
    chance = random.Random(seed)
    log = Recorder(store=store, name="f").open(trace_id)
    waiting = [(number, name, list(todo)) for number, (name, todo) in enumerate(work)]
    chance.shuffle(waiting)
    running: list[tuple[str, str, str, list[Step]]] = []
    while waiting or running:
        if waiting and (not running or chance.random() < 0.5):
            number, name, todo = waiting.pop()
            node = log.start("node", name, log.root, {"message_id": f"m{number}"})
            running.append((name, node, log.start("attempt", name, node, {"attempt": 0}), todo))
            continue
        place = chance.randrange(len(running))
        name, node, attempt, todo = running[place]
        if not todo:
            log.end("attempt", name, attempt, node, "ok", {"latency_ms": chance.random()})
            log.end("node", name, node, log.root, "ok")
            del running[place]
            continue
        kind, what, value = todo.pop(0)
        if kind == "record":
            log.event("record", what, attempt, {"ordinal": 0, "request": value, "response": 1, "latency_ms": 2.0})
        elif kind == "send":
            data = {"message_id": f"{chance.random()}", "payload": Payload(value), "meta": {}}
            log.event("message.enqueued", f"{name}->{what}", node, data)
        elif kind == "stream":
            for piece in str(value):
                log.event("stream.chunk", trace_id, node, {"stream_id": trace_id, "text": piece, "done": False})
        elif kind == "decide":
            log.event("planner.decision", what, attempt, {"choice": value})
        else:
            tool = log.start("tool", what, attempt, {"request": value})
            ending = {"error": {"type": "E", "message": str(value)}} if kind == "fail" else {"response": value}
            log.end("tool", what, tool, attempt, "error" if kind == "fail" else "ok", ending)
    log.close("ok")


async def compare(
    one: list[tuple[str, list[Step]]], other: list[tuple[str, list[Step]]], seeds: tuple[int, int]
) -> TraceDiff:
    store = InMemoryStateStore()
    write(store, "one", one, seeds[0])
    write(store, "other", other, seeds[1])
    return await diff_traces((store, "one"), (store, "other"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(works, st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_the_order_of_what_runs_beside_each_other_does_not_matter(
    work: list[tuple[str, list[Step]]], seeds: tuple[int, int]
) -> None:
    found = asyncio.run(compare(work, work, seeds))
    assert (found.equal, found.total, found.differences, found.counts) == (True, 0, [], [])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(works, st.tuples(st.integers(0, 99), st.integers(0, 99)), st.data())
def test_one_change_is_found_where_it_was_made(
    work: list[tuple[str, list[Step]]], seeds: tuple[int, int], data: st.DataObject
) -> None:
    places = [(number, step) for number, (_, todo) in enumerate(work) for step in range(len(todo))]
    if not places:
        return
    number, step = data.draw(st.sampled_from(places))
    name, todo = work[number]
    kind, what, value = todo[step]
    changed = list(work)
    changed[number] = (name, [*todo[:step], (kind, what, {"changed": value}), *todo[step + 1 :]])
    found = asyncio.run(compare(work, changed, seeds))
    assert found.total in (1, 2)  # a tool's request and its answer
    assert found.first is not None
    for difference in found.differences:
        assert difference.path.startswith(f"{name}[")
        assert difference.changes or difference.a is None or difference.b is None
        for side in (difference.a, difference.b):
            assert side is not None or kind == "stream"
