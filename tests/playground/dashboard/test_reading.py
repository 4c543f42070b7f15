"""What is shown of a run while the store is slow, or cannot be read: every order of events, reading and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from penguiflow.state.errors import StoreError
from playground.dashboard import control, frames
from playground.dashboard.model import Workspace
from playground.dashboard.status import status_rows
from playground.dashboard.views.lists import FlowsView
from playground.sources import HostState, Inbox

OpenDesk = Callable[..., Any]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the store more often than people need."""
    monkeypatch.setattr(frames, "RUNS_EVERY_S", 0.02)


def shown(desk: Any, trace_id: str) -> bool:
    current = desk.app.workspace.current
    return current is not None and current.trace_id == trace_id and current.over and not current.loading


@pytest.mark.parametrize("before", [0, 1, 9])
async def test_a_run_is_shown_as_it_happens_while_the_store_does_not_answer(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any, before: int
) -> None:
    run = triage("7" * 32)
    source.answer = lambda request: run.events[:before]
    source.gate.clear()
    async with open_desk() as desk:
        if not before:
            desk.app.control.select(run.trace_id)
            await desk.until(lambda: run.trace_id in desk.app.workspace.loading, "the reading")
        else:
            await desk.press("j", "r")
        source.inbox.events.extend(run.events[before:])
        await desk.until(lambda: shown(desk, run.trace_id), "the run")
        assert "technical" in desk.text()
        assert len(desk.app.run_rows) == 1
        source.gate.set()
        await desk.until(lambda: run.trace_id not in desk.app.workspace.loading, "the end of the reading")
        assert shown(desk, run.trace_id)
        assert len(desk.app.workspace.current.events) == len(run.events)


async def test_events_that_arrive_while_reading_fails_are_kept(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = triage("7" * 32)
    read, failing, waiting = source.load_event_bytes, True, asyncio.Event()

    async def load(trace_id: str, **range: Any) -> list[bytes]:
        await waiting.wait()
        if failing:
            raise StoreError("the store has been locked for 10 s", path="state.db")
        found: list[bytes] = await read(trace_id, **range)
        return found

    monkeypatch.setattr(source, "load_event_bytes", load)
    async with open_desk() as desk:
        source.inbox.events.extend(run.events[5:9])
        await desk.frame()
        desk.app.control.select(run.trace_id)
        await desk.until(lambda: run.trace_id in desk.app.workspace.loading, "the reading")
        source.inbox.events.extend(run.events[9:15])
        await desk.frame()
        waiting.set()
        await desk.until(lambda: "locked" in desk.text(), "what is wrong")
        source.stored[run.trace_id] = run.events[:5]
        source.inbox.events.extend(run.events[15:])
        failing = False
        await desk.until(lambda: shown(desk, run.trace_id), "the run, read again by itself")
        assert len(desk.app.workspace.current.events) == len(run.events)


async def test_a_run_whose_host_dies_while_it_is_read_is_over(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any
) -> None:
    run = triage("7" * 32, until="retry")
    source.stored[run.trace_id] = run.events
    source.gate.clear()
    async with open_desk() as desk:
        desk.app.control.select(run.trace_id)
        await desk.until(lambda: run.trace_id in desk.app.workspace.loading, "the reading")
        source.result(run.trace_id, "interrupted")
        await desk.until(lambda: not source.inbox.results, "the result")
        source.gate.set()
        await desk.until(lambda: shown(desk, run.trace_id), "the run")
        assert desk.app.workspace.current.status == "interrupted"


async def test_of_two_runs_chosen_the_second_is_shown_though_the_first_is_read_later(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any
) -> None:
    first, second = triage("7" * 32), triage("8" * 32)
    source.stored = {first.trace_id: first.events[:4], second.trace_id: second.events}
    source.gate.clear()
    async with open_desk() as desk:
        desk.app.control.select(first.trace_id)
        await desk.until(lambda: first.trace_id in desk.app.workspace.loading, "the reading")
        desk.app.control.select(second.trace_id)
        await desk.until(lambda: second.trace_id in desk.app.workspace.loading, "the other reading")
        source.inbox.events.extend(first.events[4:])
        source.gate.set()
        await desk.until(lambda: shown(desk, second.trace_id), "the second run")
        desk.app.control.select(first.trace_id)
        await desk.until(lambda: shown(desk, first.trace_id), "the first run")
        assert len(desk.app.workspace.current.events) == len(first.events)


def test_a_host_that_starts_slowly_says_for_how_long() -> None:
    now = 100.0
    workspace, flows = Workspace(clock=lambda: now), FlowsView()

    def told() -> str:
        return "".join(text for text, _ in status_rows("demo", workspace, flows, 120)[1])

    assert told().endswith("starting ")
    now = 112.0
    assert told().endswith("starting for 12 s ")
    inbox = Inbox()
    inbox.host = HostState("starting")
    workspace.drain(inbox)
    assert told().endswith("starting for 12 s ")
    inbox.host = HostState("ready")
    workspace.drain(inbox)
    now = 130.0
    assert told().endswith("ready ")


async def test_pages_tell_how_much_of_the_run_is_read(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = triage("7" * 32)
    source.add_past(run, events=len(run.events))
    monkeypatch.setattr("playground.dashboard.control.PAGE", 9)
    read, more = source.load_event_bytes, asyncio.Event()

    async def load(trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        if after >= 0:
            await more.wait()
        found: list[bytes] = await read(trace_id, after=after, limit=limit)
        return found

    monkeypatch.setattr(source, "load_event_bytes", load)
    async with open_desk() as desk:
        await desk.until(lambda: len(desk.app.run_rows) == 1, "the run")
        await desk.press("2", "enter")
        await desk.until(lambda: f"loading… {100 * 9 // len(run.events)} %" in desk.text(), "how far it is")
        more.set()
        await desk.until(lambda: shown(desk, run.trace_id) and "loading" not in desk.text(), "the run")


async def test_what_was_left_out_while_a_run_went_on_is_read_when_it_is_over(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANEW_TRIES", 1_000_000)
    run = triage("7" * 32)
    chunks = [number for number, raw in enumerate(run.events) if b'"kind":"stream.chunk"' in raw]
    assert len(chunks) > 2
    left_out = chunks[:-1]
    source.answer = lambda request: [raw for number, raw in enumerate(run.events) if number not in left_out]
    source.inbox.dropped = len(left_out) + 1
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: shown(desk, run.trace_id), "the run")
        first = desk.app.workspace.current
        assert first.missed == len(left_out)
        # The store has it a moment later than the screen.
        source.stored[run.trace_id] = run.events
        await desk.until(lambda: not desk.app.workspace.current.missed, "what was left out")
        await desk.until(lambda: shown(desk, run.trace_id), "the end of the reading")
        assert list(desk.app.workspace.current.events) == run.events
        assert desk.app.workspace.dropped == 1
        assert desk.app.workspace.known(run.trace_id) is desk.app.workspace.current


async def test_a_run_that_is_not_recorded_stays_as_it_was_seen(
    open_desk: OpenDesk, triage: Callable[..., Any], source: Any
) -> None:
    run = triage("7" * 32)
    source.answer = lambda request: run.events[:10] + run.events[11:]
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.control.read_anew[run.trace_id] == control.ANEW_TRIES, "looks into the store")
        await desk.until(lambda: run.trace_id not in desk.app.workspace.loading, "its end")
        await desk.until(lambda: shown(desk, run.trace_id), "the run")
        assert len(desk.app.workspace.current.events) == len(run.events) - 1
        assert "technical" in desk.text()
