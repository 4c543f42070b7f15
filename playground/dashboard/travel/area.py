"""The area of time travel: its keys, its commands, and what is done when a fork or a replay is over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from playground.dashboard.areas import Area, Command, key
from playground.dashboard.bars import Key
from playground.dashboard.layout import RUNS, TRACE
from playground.dashboard.travel.forks import Forks
from playground.dashboard.travel.going import Going
from playground.dashboard.travel.paging import Paging
from playground.dashboard.travel.replays import Replays
from playground.dashboard.travel.sharing import Sharing
from playground.dashboard.travel.walking import Walk

if TYPE_CHECKING:
    from textual.widget import Widget

    from playground.dashboard.app import DashboardApp
    from playground.dashboard.layout import Box
    from playground.dashboard.runs import RunLine
    from playground.dashboard.trace import TraceModel
    from playground.dashboard.travel.timeline import Landmark


TICK_S = 0.05


class TravelArea(Area):
    """Fork, resume, compare, replay, share."""

    name = "travel"
    BINDINGS: ClassVar[list[Binding]] = [
        key("f", "travel", "fork", "Fork here"),
        key("d", "travel", "diff", "Compare two runs"),
        key("p", "travel", "replay", "Replay"),
        key("P", "travel", "replay_live", "Replay, live after this span"),
        key("E", "travel", "export", "Write the run to a file"),
        key("I", "travel", "take_in", "Take in the run of a file"),
        key("T", "travel", "make_test", "Save the run as a test"),
        key("comma", "travel", "timeline", "Timeline"),
        key("C", "travel", "resume", "Go on with an interrupted run"),
        key("backspace", "travel", "go_origin", "The run that this one was forked from"),
    ]
    GENERAL: ClassVar[list[tuple[str, str]]] = [
        ("f", "fork the run at the span or event under the cursor, with something changed"),
        ("d", "mark a run, and compare it with the next one; twice on a fork: with where it came from"),
        ("p  P", "replay the run offline;  or live after the span under the cursor"),
        ("T", "save the run as a regression test"),
        ("E  I", "export the run to a file, import one"),
        (",", "the timeline: the run as it stood after any of its events; played, or step by step"),
        ("C", "go on with an interrupted run"),
        ("backspace", "the run that this one came from"),
    ]

    def __init__(self, app: DashboardApp) -> None:
        super().__init__(app)
        self.forks = Forks(app)
        self.going = Going(app)
        self.paging = Paging(app)
        self.walk = Walk(app)
        self.replays = Replays(app, self.going, self.compare)
        self.sharing = Sharing(app)

    def widgets(self) -> list[Widget]:
        """The bar of the timeline."""
        return self.walk.widgets()

    def place(self, boxes: dict[str, Box]) -> None:
        """The bar stands over the trace."""
        self.walk.place(boxes)

    def show(self, trace: TraceModel | None) -> None:
        """Another trace."""
        self.walk.shown(trace)

    def frame(self) -> None:
        """Hear of what is over."""
        self.going.frame()
        self.paging.frame()
        self.walk.frame()
        reports = self.app.workspace.reports
        while reports:
            result = reports.popleft()
            self.forks.ended(result)
            self.replays.ended(result)

    def footer(self) -> list[Key] | None:
        """The timeline's own; and an interrupted run can go on."""
        if self.walk.has_focus:
            return list(self.walk.view.keys)
        trace = self.app.workspace.current
        if self.app.pane.id in {RUNS, TRACE} and trace is not None and trace.status == "interrupted":
            first = [Key("⏎", "inspect", "choose")] if self.app.pane.id == TRACE else []
            resume = Key("C", "go on", "do('travel', 'resume')")
            return [*first, resume, Key("f", "run again", "do('travel', 'fork')")]
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
        picked = self.picked()
        origin = None if picked is None else picked.origin
        if origin is None:
            self.app.say("no run is shown" if picked is None else "this run came from no other one", "warning")
            return
        self.app.run_rows.pick(origin.trace_id)
        self.app.control.select(origin.trace_id)

    def group_runs(self) -> None:
        """Runs by session, or all by time."""
        rows = self.app.run_rows
        rows.by_session = not rows.by_session
        rows.set_filter(rows.filter)

    # -- comparing ------------------------------------------------------------------------------------------------

    def diff(self) -> None:
        """Mark the run that is shown, or compare it with the marked one."""
        app, picked, marked = self.app, self.picked(), self.app.run_rows.marked
        if picked is None:
            app.say("no run is shown", "warning")
        elif marked is None:
            self._mark(picked.trace_id)
            origin = " · d again: with its origin" if picked.origin is not None else ""
            app.say(f"{picked.trace_id[:8]} is marked · d on another run compares them{origin}")
        elif marked != picked.trace_id:
            self.compare(marked, picked.trace_id)
        elif picked.origin is not None:
            self.compare(picked.origin.trace_id, marked)
        else:
            self._mark(None)
            app.say("the mark is gone")

    def picked(self) -> TraceModel | RunLine | None:
        """The run under the cursor of RUNS, or the one that is shown."""
        line = self.app.run_rows.line
        return line if self.app.pane.id == RUNS and line is not None else self.app.workspace.current

    def _mark(self, trace_id: str | None) -> None:
        self.app.run_rows.marked = trace_id
        self.app.run_rows.touch()

    def diff_with_origin(self) -> None:
        """Compare the run that is shown with the one that it came from."""
        picked = self.picked()
        if picked is not None and picked.origin is not None:
            self.compare(picked.origin.trace_id, picked.trace_id)

    def compare(self, a: str, b: str) -> None:
        """Open the screen that compares two runs."""
        from playground.dashboard.travel.diff_screen import DiffScreen

        source = self.app.control.source
        if source is None:
            return
        self._mark(None)
        self.app.clear_notifications()
        screen = DiffScreen(a, b, source, self.app.palette, tick_s=TICK_S)
        self.app.push_screen(screen, lambda place: None if place is None else self.going.to(*place))

    # -- replaying and sharing ------------------------------------------------------------------------------------

    def replay(self) -> None:
        """Run it again, answered from its recording."""
        picked = self._finished()
        if picked is not None:
            self.replays.begin(picked.trace_id, picked.target)

    def replay_live(self) -> None:
        """As that, up to the end of the span under the cursor; what is called after it is called in earnest."""
        picked, span = self._finished(), self.app.spans.span
        if picked is None:
            return
        if span is None or span.kind == "trace":
            self.app.say("put the cursor on the span after which calls are made", "warning")
            return
        self.replays.begin(picked.trace_id, picked.target, span.span_id)

    async def export(self) -> None:
        """Write the run to a file."""
        picked = self._finished()
        if picked is not None:
            await self.sharing.ask_export(picked.trace_id, picked.flow)

    async def take_in(self) -> None:
        """Take in the run of a file."""
        await self.sharing.ask_import()

    async def make_test(self) -> None:
        """Write a test that replays the run."""
        picked = self._finished()
        if picked is not None:
            await self.sharing.ask_test(picked.trace_id, picked.flow)

    def _finished(self) -> TraceModel | RunLine | None:
        """The run that is meant, if it is over; else that is told."""
        picked = self.picked()
        if picked is None:
            self.app.say("no run is shown", "warning")
        elif picked.status == "running":
            self.app.say(f"{picked.trace_id[:8]} goes on: wait for its end", "warning")
        else:
            return picked
        return None

    # -- timeline -------------------------------------------------------------------------------------------------

    def timeline(self) -> None:
        """On, to the bar, off."""
        self.walk.toggle()

    def leave(self) -> None:
        """Off."""
        self.walk.leave()

    def play(self) -> None:
        """Play or pause."""
        self.walk.play()

    def step(self, delta: int) -> None:
        """One event."""
        self.walk.step(delta)

    def stride(self, direction: int) -> None:
        """A tenth."""
        self.walk.stride(direction)

    def go_moment(self, position: int) -> None:
        """The beginning, or the end."""
        self.walk.go(position)

    def next_landmark(self, kind: Landmark) -> None:
        """The next error, stop or node."""
        self.walk.go_landmark(kind, 1)

    def last_landmark(self, kind: Landmark) -> None:
        """The one before."""
        self.walk.go_landmark(kind, -1)

    def faster(self, direction: int) -> None:
        """Another speed."""
        self.walk.faster(direction)

    async def ask_seq(self) -> None:
        """Ask for the number of an event."""
        from playground.dashboard.travel.asking import ask_line

        await ask_line(self.app, "go to event", self.walk.go_seq, back=self.walk.pane)

    def explain(self) -> None:
        """What the bar shows."""
        from playground.dashboard.help import HelpScreen

        self.app.push_screen(HelpScreen("timeline", self.walk.view))

    # -- palette --------------------------------------------------------------------------------------------------

    def commands(self) -> Iterator[Command]:
        """What fits the run that is shown."""
        trace = self.app.workspace.current
        by_session = self.app.run_rows.by_session
        yield f"view: runs by {'time' if by_session else 'session'}", "how the list is ordered", self.group_runs
        yield "run: import", "take in the run of a file", self.take_in
        if trace is None:
            return
        yield "fork: here", "go on from the cursor as a new run, with something changed", self.fork
        if trace.status == "interrupted":
            yield "run: resume", f"go on with {trace.trace_id[:8]}", self.resume
        yield "view: timeline", "play the run, or go through it event by event", self.timeline
        yield "replay: offline", "run it again, answered from its recording", self.replay
        yield "replay: live after this span", "calls that come after it are made", self.replay_live
        yield "run: export", "write it to a file, secrets masked", self.export
        yield "run: save as test", "a test that replays it", self.make_test
        yield "diff: mark, or compare with the marked run", "where two runs differ", self.diff
        if trace.origin is not None:
            yield (
                "diff: with its origin",
                f"what became other than in {trace.origin.trace_id[:8]}",
                self.diff_with_origin,
            )
            yield "go: origin", f"the run {trace.origin.trace_id[:8]} that this one came from", self.go_origin
