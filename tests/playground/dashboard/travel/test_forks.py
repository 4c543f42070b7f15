"""Forking and resuming from the dashboard: what is asked of the host, and what becomes of a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.widgets import Input, TextArea

from playground.again import RestoreReport
from playground.dashboard.editing.editor import EditorScreen
from playground.dashboard.travel.ask_screen import AskScreen
from playground.protocol import Result, Run

OpenDesk = Callable[..., Any]


async def shown(desk: Any, source: Any, run: Any, status: str = "ok") -> None:
    """A stored run is on the screen, and the tree has the focus."""
    source.add_past(run, status)
    await desk.until(lambda: len(desk.app.run_rows) == 1, "the run")
    await desk.press("2", "enter")
    await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.events, "its events")
    await desk.until(lambda: not desk.app.workspace.current.loading, "all of it")


def said(desk: Any) -> list[str]:
    """What people were told."""
    return [notification.message for notification in desk.app._notifications]


def refuse(source: Any, **report: Any) -> Callable[[Run], list[bytes]]:
    """The host answers with a report, and nothing runs."""

    def answer(request: Run) -> list[bytes]:
        assert request.restore is not None
        assert request.trace_id is not None
        told = RestoreReport(origin=request.restore.trace_id, **report)
        source.inbox.results.append(Result(trace_id=request.trace_id, status="error", restore=told))
        return []

    return answer


async def test_a_decision_is_changed_and_its_fork_is_shown(
    open_desk: OpenDesk, source: Any, research: Callable[..., Any]
) -> None:
    first = research()
    async with open_desk() as desk:
        await shown(desk, source, first)
        source.answer = lambda request: (
            research(
                request.trace_id, tool="skim", ts=1_790_000_100.0, origin={"trace_id": first.trace_id, "seq": 15}
            ).events
        )
        desk.app.spans.pick(next(s.span_id for s in desk.app.spans.trace.spans.values() if s.name == "fetch"))
        await desk.press("f")
        await desk.until(lambda: isinstance(desk.app.screen, EditorScreen), "the editor")
        area = desk.app.screen.query_one(TextArea)
        area.text = area.text.replace('"fetch"', '"skin"')
        await desk.press("ctrl+s")
        # Its tools are known.
        assert "✖ line 2" in desk.text()
        area.text = area.text.replace('"skin"', '"skim"')
        await desk.press("ctrl+s")
        await desk.until(lambda: source.requests, "the request")
        request = source.requests[0]
        assert (request.target, request.restore.trace_id, request.restore.edits) == (
            "flows/research.py",
            first.trace_id,
            {"/next_node": "skim"},
        )
        await desk.until(lambda: desk.app.workspace.current.trace_id == request.trace_id, "the fork")
        # Of the run as a whole, wherever the cursor came to be when it began.
        await desk.press("3", "g")
        await desk.until(lambda: "a fork of 5ad5c87d" in desk.text().replace("\n", " "), "its origin")
        assert "↳5ad5" in desk.text()
        await desk.press("backspace")
        await desk.until(lambda: desk.app.workspace.current.trace_id == first.trace_id, "the origin")


async def test_what_cannot_be_an_edit_is_said_in_the_editor(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any]
) -> None:
    async with open_desk() as desk:
        await shown(desk, source, triage())
        await desk.press("f")
        await desk.until(lambda: isinstance(desk.app.screen, EditorScreen), "the editor")
        desk.app.screen.query_one(TextArea).text = "{}"
        await desk.press("ctrl+s")
        await desk.until(lambda: "its keys have to stay" in desk.text(), "why not")
        assert not source.requests


async def test_a_fork_after_the_end_is_asked_about(
    open_desk: OpenDesk, source: Any, triage: Callable[..., Any]
) -> None:
    run = triage()
    async with open_desk() as desk:
        await shown(desk, source, run)
        desk.app.panes["inspect"].show_view(desk.app.event_rows)
        desk.app.event_rows.pick(len(run.events) - 1)
        await desk.press("4", "f")
        await desk.until(lambda: isinstance(desk.app.screen, AskScreen), "the question")
        assert "Nothing was left to do" in desk.text()
        source.answer = refuse(source, refused=["over"])
        await desk.press("enter")
        await desk.until(lambda: source.requests, "the request")
        assert source.requests[0].restore.at == len(run.events) - 1


async def test_secrets_are_asked_for_by_name(open_desk: OpenDesk, source: Any, triage: Callable[..., Any]) -> None:
    async with open_desk() as desk:
        await shown(desk, source, triage())
        source.answer = refuse(source, missing=["/payload/password"])
        await desk.press("f")
        await desk.until(lambda: isinstance(desk.app.screen, EditorScreen), "the editor")
        await desk.press("ctrl+s")
        await desk.until(lambda: "secret /payload/password" in desk.text(), "the question")
        await desk.press("enter")
        assert "is missing" in desk.text()
        source.answer = refuse(source, refused=["the flow has no node 'route' any more", "and more"])
        desk.app.screen.query_one(Input).value = "hunter2"
        await desk.press("enter")
        await desk.until(lambda: any("any more; and more" in told for told in said(desk)), "the refusal")
        assert source.requests[1].restore.edits == {"/payload/password": "hunter2"}
        assert "hunter2" not in desk.text()
        # What was shown is still shown.
        assert desk.app.workspace.current.trace_id == triage().trace_id


async def test_an_interrupted_run_goes_on(open_desk: OpenDesk, source: Any, triage: Callable[..., Any]) -> None:
    run = triage(until="retry")
    async with open_desk() as desk:
        await shown(desk, source, run, "interrupted")
        await desk.press("C")
        assert "is not over" in desk.text()
        desk.app.workspace.current.interrupt()
        source.answer = refuse(source)
        await desk.press("3")
        await desk.until(lambda: "C go on" in desk.text(), "the key that goes on")
        await desk.press("2")
        await desk.until(lambda: "C go on" in desk.text(), "the key that goes on")
        await desk.press("C")
        await desk.until(lambda: source.requests, "the request")
        assert source.requests[0].trace_id == run.trace_id
        assert source.requests[0].restore.at is None


async def test_a_run_that_does_not_say_what_it_ran(open_desk: OpenDesk, source: Any, script: Any) -> None:
    run = script("ab" * 16, target="")
    run.finish()
    async with open_desk() as desk:
        await desk.press("f")
        assert "no run is shown" in desk.text()
        await shown(desk, source, run)
        await desk.press("f")
        assert "does not say what it ran" in desk.text()
        source.can_run = False
        await desk.press("f")
        assert "nothing can be run here" in desk.text()
