"""The timeline: moments, landmarks, speeds; and every pane in step with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from playground.dashboard import trace as trace_module
from playground.dashboard.trace import TraceModel
from playground.dashboard.travel.timeline import AS_RECORDED, SPEEDS, Timeline

OpenDesk = Callable[..., Any]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def timeline_of(events: list[bytes], clock: Clock) -> Timeline:
    trace = TraceModel("t")
    for raw in events:
        trace.add(raw)
    return Timeline(trace, clock=clock)


def test_jumps_go_to_what_is_worth_one(triage: Callable[..., Any], clock: Clock) -> None:
    events = triage().events
    timeline = timeline_of(events, clock)
    assert (timeline.position, timeline.moment.status) == (len(events), "ok")
    assert timeline.find("error", 1) is None
    found = timeline.find("error", -1)
    assert found is not None
    assert timeline.go(found)
    assert timeline.head is not None
    assert (timeline.head.kind, timeline.head.name) == ("attempt.end", "technical")
    timeline.go(0)
    assert cast("Any", timeline).head is None
    nodes = []
    while (found := timeline.find("node", 1)) is not None:
        assert not timeline.go(found)
        nodes.append(timeline.head.name)
    assert nodes == ["route", "technical", "reply"]
    timeline.go(timeline.find_seq(9))
    assert timeline.head.seq == 9
    assert timeline.find_seq(10_000) == len(events)


def test_it_plays_at_each_speed(triage: Callable[..., Any], clock: Clock) -> None:
    events = triage().events
    timeline = timeline_of(events, clock)

    def seconds() -> float:
        timeline.go(0)
        timeline.play(True)
        begun = clock.now
        while timeline.playing:
            clock.now += 0.01
            timeline.tick()
        assert timeline.position == len(events)
        return clock.now - begun

    normal = seconds()
    assert 27 * 0.05 <= normal <= 27 * 0.5
    timeline.faster(2)
    assert timeline.speed_text == "4x"
    assert seconds() == pytest.approx(normal / 4, abs=0.05)
    timeline.faster(100)
    assert SPEEDS[timeline.speed] == AS_RECORDED
    assert seconds() == pytest.approx(0.815, abs=0.05)
    timeline.faster(-100)
    assert timeline.speed_text == "0.25x"


def test_a_pause_costs_nothing(triage: Callable[..., Any], clock: Clock) -> None:
    timeline = timeline_of(triage().events, clock)
    timeline.go(0)
    timeline.play(True)
    clock.now += 0.11
    assert timeline.tick()
    position = timeline.position
    timeline.play(False)
    clock.now += 1000
    assert not timeline.tick()
    timeline.play(True)
    assert not timeline.tick()
    assert timeline.position == position


@pytest.mark.parametrize("every", [3, 10_000])
def test_the_axis_has_every_event(
    triage: Callable[..., Any], clock: Clock, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_module, "MARK_EVERY", every)
    events = triage().events
    timeline = timeline_of(events, clock)
    for cells in (1, 7, 200):
        counts = timeline.counts_at(cells)
        assert len(counts) == cells
        assert counts == sorted(counts)
        assert counts[-1] == len(events)
    assert timeline.marks_in(0, len(events)) == "✖"
    assert timeline.marks_in(0, 4) == "·"
    assert timeline.marks_in(0, 2) == " "


async def opened(desk: Any, source: Any, run: Any) -> Any:
    """The timeline of a stored run is on."""
    source.add_past(run)
    await desk.until(lambda: len(desk.app.run_rows) == len(source.summaries), "the runs")
    desk.app.run_rows.pick(run.trace_id)
    await desk.press("2", "enter")
    await desk.until(lambda: desk.app.workspace.current and not desk.app.workspace.current.loading, "its events")
    await desk.press("comma")
    await desk.until(lambda: desk.app.areas["travel"].walk.has_focus, "the timeline")
    return desk.app.areas["travel"].walk


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (40, 10)])
async def test_every_pane_shows_the_moment(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any], size: tuple[int, int]
) -> None:
    run = triage()
    async with open_desk(size=size) as desk:
        walk = await opened(desk, source, run)
        app = desk.app
        assert "TIMELINE" in desk.text()
        await desk.press("home")
        assert app.workspace.current.root is None
        await desk.press("n", "n")
        assert walk.timeline.head.name == "technical"
        assert app.workspace.current.status == "running"
        assert app.spans.span.name == "technical"
        assert len(app.event_rows) == walk.timeline.position
        assert app.stream.trace is app.workspace.current
        await desk.press("right", "right")
        assert [span.status for span, _ in app.spans.rows if span.name == "technical"][-1] == "error"
        await desk.press("left")
        assert [span.status for span, _ in app.spans.rows if span.name == "technical"][-1] == "running"
        await desk.press("end")
        assert app.workspace.current.status == "ok"
        assert app.stream.trace.streams["answer"].done
        await desk.press("e")
        assert walk.timeline.position == len(run.events)
        await desk.press("E", "pageup", "minus")
        assert walk.timeline.speed_text == "0.5x"
        await desk.press("question_mark")
        await desk.until(lambda: "TIMELINE · keys" in desk.text(), "the help")
        await desk.press("escape", "escape")
        assert walk.timeline is None
        assert app.workspace.current is app.workspace.traces[run.trace_id]
        assert app.pane.id == "trace"
        await desk.until(lambda: "TIMELINE" not in desk.text(), "the run as it is")


async def test_it_plays_to_the_end_and_anew(open_desk: OpenDesk, source: Any, triage: Callable[..., Any]) -> None:
    async with open_desk() as desk:
        walk = await opened(desk, source, triage())
        before = walk.timeline.moment
        await desk.press("plus", "plus", "plus", "plus", "plus", "plus", "space")
        await desk.until(lambda: walk.timeline.moment is not before and not walk.timeline.playing, "the end")
        assert walk.timeline.position == walk.timeline.total


async def test_a_number_goes_to_its_event(open_desk: OpenDesk, source: Any, triage: Callable[..., Any]) -> None:
    async with open_desk() as desk:
        walk = await opened(desk, source, triage())
        await desk.press("g", "1", "2", "enter")
        assert walk.timeline.head.seq == 12
        assert walk.has_focus
        await desk.press("g", "x", "enter")
        assert "is no number" in desk.text()
        await desk.press("g", "escape")
        assert walk.timeline.head.seq == 12
        await desk.press("space", "comma")
        assert walk.timeline is None


async def test_a_click_goes_to_its_moment(open_desk: OpenDesk, source: Any, triage: Callable[..., Any]) -> None:
    async with open_desk() as desk:
        walk = await opened(desk, source, triage())
        await desk.pilot.click(walk.pane, offset=(3, 1))
        await desk.until(lambda: walk.timeline.position < 5, "the beginning")


async def test_another_run_ends_the_timeline(open_desk: OpenDesk, source: Any, triage: Callable[..., Any]) -> None:
    source.add_past(triage("ab" * 16, ts=1_780_000_000.0))
    async with open_desk() as desk:
        walk = await opened(desk, source, triage())
        await desk.press("2")
        # The same run in the list is still the run at its moment.
        assert walk.timeline is not None
        await desk.press("comma", "home", "2", "j")
        await desk.until(lambda: walk.timeline is None, "the end of it")
        assert desk.app.workspace.moment is None


async def test_a_run_that_goes_on_makes_the_timeline_longer(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any]
) -> None:
    run = triage("9e9a20c1" * 4)
    source.answer = lambda request: run.events[:8]
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current is not None, "the run")
        await desk.press("comma")
        walk = desk.app.areas["travel"].walk
        await desk.until(lambda: walk.has_focus, "the timeline")
        await desk.press("left")
        source.inbox.events.extend(run.events[8:])
        await desk.until(lambda: walk.timeline.total == len(run.events), "the rest")
        assert walk.timeline.position == 7
        assert desk.app.workspace.current.last_seq == json.loads(run.events[6])["seq"]
        await desk.press("comma")
        await desk.until(lambda: desk.app.workspace.current.status == "ok", "the run as it is")


async def test_without_a_run_there_is_none(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.press("comma")
        assert "no run is shown" in desk.text()
        assert desk.app.areas["travel"].walk.timeline is None
