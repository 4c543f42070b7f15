"""Stopped runs of a real project, through the source that the dashboard has."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from playground.breakpoints import Breakpoint
from playground.protocol import ContextEdit, ContextGet, Decide, MemoryGet, Run, Stopped
from playground.sources import RunRefused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import AddFlow, Live, OpenLive

POINT = Breakpoint(id="1", on="node", name="greet")


def stopped(live: Live) -> list[Stopped]:
    """The stops that were told, and nothing said that they are gone."""
    waiting: dict[str, Stopped] = {}
    for frame in live.inbox.stops:
        if isinstance(frame, Stopped):
            waiting[frame.stop] = frame
        else:
            waiting.pop(frame.stop, None)
    return list(waiting.values())


async def stop(live: Live, target: str, name: str) -> tuple[str, Stopped]:
    """A run that has stopped."""
    trace_id = await live.start(target, {"name": name})
    await live.until(lambda: any(each.trace_id == trace_id for each in stopped(live)))
    return trace_id, next(each for each in stopped(live) if each.trace_id == trace_id)


async def test_stops_of_two_generations_are_told_apart(open_live: OpenLive, add_flow: AddFlow, project: Path) -> None:
    target = add_flow("hello")
    live = await open_live(target)
    first = await live.state(target, "loaded")
    await live.source.set_breakpoints([POINT], [])
    old, at_old = await stop(live, target, "old")

    path = project / target
    path.write_text(path.read_text().replace("hello {", "good day {"))
    await live.state(target, "loaded", not_version=first.flows[0].version)
    new, at_new = await stop(live, target, "new")
    assert at_old.stop.partition(":")[0] != at_new.stop.partition(":")[0]
    assert [each.stop for each in stopped(live)] == [at_old.stop, at_new.stop]

    await live.source.decide(Decide(stop=at_new.stop))
    result = await live.end(new)
    assert result.output == {"text": "good day new"}
    assert [each.stop for each in stopped(live)] == [at_old.stop]
    edits: dict[str, Any] = {"/name": "edited"}
    await live.source.decide(Decide(stop=at_old.stop, action="edit", edits=edits))
    result = await live.end(old)
    assert result.output == {"text": "hello edited"}
    assert stopped(live) == []


async def test_breakpoints_hold_for_each_worker_that_comes(
    open_live: OpenLive, add_flow: AddFlow, project: Path
) -> None:
    target = add_flow("hello")
    live = await open_live(target)
    first = await live.state(target, "loaded")
    answer = await live.source.set_breakpoints([POINT], [])
    assert [each.id for each in answer.breakpoints] == ["1"]
    path = project / target
    path.write_text(path.read_text() + "\n# another version\n")
    await live.state(target, "loaded", not_version=first.flows[0].version)
    trace_id, found = await stop(live, target, "again")
    assert found.breakpoint == "1"
    await live.source.set_breakpoints([], ["1"])
    await live.source.decide(Decide(stop=found.stop))
    await live.end(trace_id)
    result = await live.run(target, {"name": "free"})
    assert result.status == "ok"
    assert stopped(live) == []


async def test_a_worker_that_dies_takes_its_stops_along(open_live: OpenLive, add_flow: AddFlow) -> None:
    target = add_flow("hello")
    live = await open_live(target)
    await live.state(target, "loaded")
    await live.source.set_breakpoints([POINT], [])
    trace_id, found = await stop(live, target, "doomed")
    spare = live.source.spare_pid
    for pid in live.source.worker_pids:
        if pid != spare:
            os.kill(pid, signal.SIGKILL)
    result = await live.end(trace_id)
    assert result.status == "interrupted"
    assert stopped(live) == []
    with pytest.raises(RunRefused, match="gone"):
        await live.source.decide(Decide(stop=found.stop))


async def test_what_cannot_be_done_is_refused_and_the_run_waits(open_live: OpenLive, add_flow: AddFlow) -> None:
    target = add_flow("hello")
    live = await open_live(target)
    await live.state(target, "loaded")
    trace_id = await live.source.run(Run(target=target, input={"name": "Ada"}, stop_first=True))
    await live.until(lambda: stopped(live))
    (found,) = stopped(live)
    with pytest.raises(RunRefused) as refused:
        await live.source.decide(Decide(stop=found.stop, action="edit", value={"name": 3}))
    assert refused.value.code == "invalid_input"
    assert [detail["path"] for detail in refused.value.details] == ["/name"]
    with pytest.raises(RunRefused) as refused:
        await live.source.decide(Decide(stop=f"{found.stop}0"))
    assert refused.value.code == "not_found"
    with pytest.raises(RunRefused, match="is no stopped run"):
        await live.source.decide(Decide(stop="stop-1"))
    assert await live.source.halt("nobody") is False
    assert [each.stop for each in stopped(live)] == [found.stop]

    context = await live.source.context(ContextGet(stop=found.stop))
    assert context.stop == found.stop
    part = next(each for each in context.parts if each.name == "meta")
    edit = ContextEdit(stop=found.stop, part="meta", version=part.version, edits={"/seen": True})
    changed = await live.source.context(edit)
    assert next(each for each in changed.parts if each.name == "meta").value == {"seen": True}
    with pytest.raises(RunRefused) as refused:
        await live.source.context(edit)
    assert refused.value.code == "conflict"
    with pytest.raises(RunRefused, match="no planner that remembers"):
        await live.source.memory(MemoryGet(), stop=found.stop)
    await live.source.decide(Decide(stop=found.stop))
    assert (await live.end(trace_id)).status == "ok"
