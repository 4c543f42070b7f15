"""Replays: what is asked of the host, and how they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playground.again import ReplayReport
from playground.dashboard.travel.document_screen import DocumentScreen
from playground.dashboard.travel.replays import told
from playground.protocol import Result, Run
from playground.sources import RunRefused

OpenDesk = Callable[..., Any]


async def shown(desk: Any, source: Any, run: Any) -> None:
    source.add_past(run)
    await desk.until(lambda: len(desk.app.run_rows) == 1, "the run")
    await desk.press("2", "enter")
    await desk.until(lambda: desk.app.workspace.current and not desk.app.workspace.current.loading, "its events")


def answers(source: Any, research: Callable[..., Any], **report: Any) -> Callable[[Run], list[bytes]]:
    def answer(request: Run) -> list[bytes]:
        assert request.replay is not None
        origin = {"trace_id": request.replay.trace_id}
        replayed = ReplayReport(origin=request.replay.trace_id, **report)
        result = Result(trace_id=str(request.trace_id), status="ok", output={"text": "by fetch"}, replay=replayed)
        source.inbox.results.append(result)
        if report.get("refused"):
            return []
        events: list[bytes] = research(request.trace_id, ts=1_790_000_100.0, origin=origin, mode="replay").events
        return events

    return answer


async def test_a_replay_says_that_it_came_out_the_same(
    open_desk: OpenDesk, source: Any, research: Callable[..., Any]
) -> None:
    async with open_desk() as desk:
        await shown(desk, source, research())
        source.answer = answers(source, research, answered=4)
        await desk.press("p")
        await desk.until(lambda: isinstance(desk.app.screen, DocumentScreen), "how it went")
        assert "came out as recorded" in desk.text()
        assert "4 answered from the recording, 0 made" in desk.text()
        request = source.requests[0]
        assert (request.target, request.replay.live_after) == ("flows/research.py", None)
        await desk.press("y", "escape")
        await desk.until(lambda: desk.app.workspace.current.trace_id == request.trace_id, "the replay")
        assert "⟲5ad5" in desk.text()


async def test_live_after_the_span_under_the_cursor(
    open_desk: OpenDesk, source: Any, research: Callable[..., Any]
) -> None:
    async with open_desk() as desk:
        await shown(desk, source, research())
        await desk.press("P")
        assert "put the cursor on the span" in desk.text()
        span = next(span for span in desk.app.spans.trace.spans.values() if span.kind == "tool")
        desk.app.spans.pick(span.span_id)
        source.answer = answers(
            source,
            research,
            answered=1,
            made=2,
            diverged={"path": "research[0]/fetch[0]", "seq": 9, "why": "another request", "diff": "- a\n+ b"},
        )
        await desk.press("P")
        await desk.until(lambda: isinstance(desk.app.screen, DocumentScreen), "how it went")
        assert source.requests[0].replay.live_after == span.span_id
        assert "diverged" in desk.text()
        await desk.press("o")
        await desk.until(lambda: desk.app.inspector.event_shown, "the event of the recording")
        assert "event 9" in desk.text()


async def test_a_refusal_leaves_everything_as_it_was(
    open_desk: OpenDesk, source: Any, research: Callable[..., Any]
) -> None:
    run = research()
    async with open_desk() as desk:
        await shown(desk, source, run)
        source.answer = answers(source, research, refused="a socket has no JSON form")
        await desk.press("p")
        await desk.until(lambda: any("no JSON form" in note.message for note in desk.app._notifications), "why")
        source.refusal = RunRefused("a replay and other runs cannot share a process; wait for their end")
        await desk.press("p")
        await desk.until(lambda: any("cannot share" in note.message for note in desk.app._notifications), "why")
        assert desk.app.control.wanted == run.trace_id


def test_all_that_a_report_says_is_told() -> None:
    report = ReplayReport(
        origin="ab" * 16,
        difference="- 1\n+ 2",
        blocked=[{"to": "1.2.3.4:80", "file": "a.py", "line": 3}],
        started=[{"command": "ls"}],
    )
    result = Result(trace_id="t", status="error", error={"code": "X", "message": "broke"}, replay=report)
    heading, nodes = told(result, report)
    assert "came out otherwise" in heading[1][0]
    values = [str(node.value) for node in nodes]
    assert "tried to connect to 1.2.3.4:80 at a.py:3" in values
    assert "ls: nobody watched it" in values
    assert "- 1\n+ 2" in values
    assert any("broke" in value for value in values)
