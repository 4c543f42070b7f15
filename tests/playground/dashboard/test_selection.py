"""INSPECT shows what is selected, whoever moved the cursor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playground.protocol import ModuleInfo
from playground.sources import HostState

OpenDesk = Callable[..., Any]
TRACE = "ab" * 16


def selected(desk: Any) -> object:
    """What INSPECT would show of the tree's cursor."""
    return ("span", desk.app.workspace.current.trace_id, desk.app.spans.span.span_id)


async def test_what_a_run_leads_the_cursor_to_is_inspected(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any]
) -> None:
    whole = triage(TRACE)
    source.answer = lambda run: whole.events[:9]
    async with open_desk() as desk:
        await desk.press("j", "3", "r")
        await desk.until(lambda: desk.app.spans.cursor > 0, "a run that is followed")
        await desk.until(lambda: desk.app.detail.subject == selected(desk), "what the cursor is on")
        source.inbox.events.extend(whole.events[9:])
        await desk.until(lambda: desk.app.workspace.current.over, "the end of the run")
        await desk.until(lambda: desk.app.detail.subject == selected(desk), "its last row")
        assert desk.app.spans.span.name == "reply"


async def test_a_run_that_is_chosen_again_does_not_hide_what_the_cursor_is_on(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any]
) -> None:
    source.answer = lambda run: triage(TRACE).events[:9]
    async with open_desk() as desk:
        await desk.press("j", "3", "r")
        await desk.until(lambda: desk.app.spans.cursor > 0, "a run that is followed")
        await desk.until(lambda: desk.app.detail.subject == selected(desk), "what the cursor is on")
        # As when the host says, later than its events come, that it took the run.
        desk.app.control.select(TRACE)
        await desk.until(lambda: desk.app.detail.subject == selected(desk), "what the cursor is on still")


async def test_who_reads_a_detail_is_left_alone(open_desk: OpenDesk, source: Any, triage: Callable[..., Any]) -> None:
    whole = triage(TRACE)
    source.answer = lambda run: whole.events[:9]
    async with open_desk() as desk:
        await desk.press("j", "3", "r")
        await desk.until(lambda: desk.app.spans.cursor > 0, "a run that is followed")
        await desk.press("enter")
        read = desk.app.detail.subject
        source.inbox.events.extend(whole.events[9:])
        await desk.until(lambda: desk.app.workspace.current.over, "the end of the run")
        await desk.until(lambda: time.monotonic() > desk.app.inspector.due, "the next time it could change")
        assert desk.app.detail.subject == read
        await desk.press("3")
        await desk.until(lambda: desk.app.detail.subject == selected(desk), "what the cursor is on")


async def test_the_newest_run_is_inspected_when_it_is_followed_again(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any]
) -> None:
    async with open_desk() as desk:
        await desk.press("j", "r")
        await desk.until(lambda: len(desk.app.run_rows) == 1, "the first run")
        await desk.press("r")
        await desk.until(lambda: len(desk.app.run_rows) == 2, "the second run")
        await desk.press("2", "G", "3", "G")
        await desk.until(lambda: desk.app.detail.subject == selected(desk), "the older run")
        older = desk.app.workspace.current
        await desk.press("F")
        await desk.until(lambda: desk.app.workspace.current is not older, "the newest run")
        await desk.until(lambda: desk.app.detail.subject == selected(desk), "what the cursor is on")


async def test_an_error_that_is_repaired_is_not_shown_any_longer(open_desk: OpenDesk, source: Any) -> None:
    async with open_desk() as desk:
        await desk.press("j", "3", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        hello, triage, broken = source.modules
        worse = triage.model_copy(update={"state": "stale", "error": broken.error})
        source.inbox.modules = [hello, worse, broken]
        await desk.until(lambda: desk.app.detail.subject == ("module", "flows/triage.py"), "the error")
        source.inbox.modules = [hello, triage, broken]
        await desk.until(lambda: desk.app.detail.subject == selected(desk), "what the cursor is on")
        mended = ModuleInfo(path="flows/broken.py", state="loaded")
        source.inbox.modules = [hello, triage, mended]
        await desk.until(lambda: desk.app.workspace.modules[-1].state == "loaded", "the other one")
        assert desk.app.detail.subject == selected(desk)


async def test_where_no_code_is_no_form_is_offered_and_the_run_comes_first(open_desk: OpenDesk, source: Any) -> None:
    source.modules, source.can_run = [], False
    async with open_desk() as desk:
        assert desk.app.pane.id == "flows"
        source.inbox.host, source.inbox.modules = HostState("recorded"), []
        await desk.until(lambda: desk.app.pane.id == "trace", "the run's pane")
        await desk.press("1")
        foot = desk.text().splitlines()[-1]
        assert "⏎ form" not in foot
        assert "2 runs" in foot
        # Who is at work already is not led away.
        source.inbox.modules = []
        await desk.frame()
        assert desk.app.pane.id == "flows"
