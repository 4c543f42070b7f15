"""Runs of other processes: what their events say of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playground.dashboard.elsewhere import stopped_at

OpenDesk = Callable[..., Any]
TRACE = "9e9a20c1" * 4


def stopping(script: Any) -> Any:
    """A run with a node that has stopped."""
    run = script(TRACE)
    message = run.send(run.root, "OpenSea", "route", {"id": 1})
    run.span = run.node("route", message)
    run.event("checkpoint.hit", "route", run.span, run.root, {"checkpoint": "before_node"})
    return run


def test_where_a_run_stands_is_read_from_its_last_events(script: Any) -> None:
    run = stopping(script)
    assert stopped_at(run.events) == "before node route"
    assert stopped_at([b"{", *run.events[-1:]]) == "before node route"
    run.event("checkpoint.resolved", "route", run.span, run.root, {"checkpoint": "before_node", "decision": "proceed"})
    assert stopped_at(run.events) == ""
    run.event("checkpoint.hit", "reply", "b", run.root, {"checkpoint": "before_tool"})
    run.event("checkpoint.hit", "route", run.span, run.root, {"checkpoint": "on_error"})
    assert stopped_at(run.events) == "at the error of route"
    run.event("checkpoint.resolved", "route", run.span, run.root, {"checkpoint": "on_error", "decision": "abort"})
    assert stopped_at(run.events) == "before tool reply"
    assert stopped_at(run.finish("cancelled")) == ""


async def test_a_run_that_somebody_else_has_stopped_is_listed_as_such(
    open_desk: OpenDesk, source: Any, script: Any
) -> None:
    run = stopping(script)
    source.add_past(run, "running", events=len(run.events))
    async with open_desk(size=(200, 40)) as desk:

        def row() -> str:
            return next((line for line in desk.text().splitlines() if "9e9a20" in line), "")

        await desk.until(lambda: "⏸ 9e9a20 elsewhere" in row(), "where it has stopped")
        assert "stopped" in desk.app.run_rows.rows[0].words()
        run.event("checkpoint.resolved", "route", run.span, run.root, {"checkpoint": "before_node"})
        source.summaries[0] = source.summaries[0].model_copy(update={"events": len(run.events)})
        await desk.until(lambda: "⏸" not in row() and "elsewhere" in row(), "that it goes on")
