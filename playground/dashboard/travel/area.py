"""The area of time travel: its keys, its commands, and what is done when a fork or a replay is over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from playground.dashboard.areas import Area, Command, key
from playground.dashboard.bars import Key
from playground.dashboard.layout import RUNS
from playground.dashboard.travel.forks import Forks

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp


class TravelArea(Area):
    """Fork, resume, compare, replay, share."""

    name = "travel"
    BINDINGS: ClassVar[list[Binding]] = [
        key("f", "travel", "fork", "Fork here"),
        key("C", "travel", "resume", "Go on with an interrupted run"),
        key("backspace", "travel", "go_origin", "The run that this one was forked from"),
    ]
    GENERAL: ClassVar[list[tuple[str, str]]] = [
        ("f", "fork the run at the span or event under the cursor, with something changed"),
        ("C", "go on with an interrupted run"),
        ("backspace", "the run that this one came from"),
    ]

    def __init__(self, app: DashboardApp) -> None:
        super().__init__(app)
        self.forks = Forks(app)

    def frame(self) -> None:
        """Hear of what is over."""
        reports = self.app.workspace.reports
        while reports:
            self.forks.ended(reports.popleft())

    def footer(self) -> list[Key] | None:
        """An interrupted run can go on."""
        trace = self.app.workspace.current
        if self.app.pane.id == RUNS and trace is not None and trace.status == "interrupted":
            return [Key("C", "go on", "do('travel', 'resume')"), Key("f", "run again", "do('travel', 'fork')")]
        return None

    # -- keys -----------------------------------------------------------------------------------------------------

    def fork(self) -> None:
        """Fork at the cursor."""
        self.forks.ask()

    def resume(self) -> None:
        """Go on with the run that is shown."""
        self.forks.resume()

    def go_origin(self) -> None:
        """Show the run that this one was forked from, or replays."""
        trace = self.app.workspace.current
        origin = None if trace is None else trace.origin
        if trace is None or origin is None:
            self.app.say("this run came from no other one" if trace else "no run is shown", "warning")
            return
        self.app.run_rows.pick(origin.trace_id)
        self.app.control.select(origin.trace_id)

    # -- palette --------------------------------------------------------------------------------------------------

    def commands(self) -> Iterator[Command]:
        """What fits the run that is shown."""
        trace = self.app.workspace.current
        if trace is None:
            return
        yield "fork: here", "go on from the cursor as a new run, with something changed", self.fork
        if trace.status == "interrupted":
            yield "run: resume", f"go on with {trace.trace_id[:8]}", self.resume
        if trace.origin is not None:
            yield "go: origin", f"the run {trace.origin.trace_id[:8]} that this one came from", self.go_origin
