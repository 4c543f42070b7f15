"""The area that debugs: stops and shows runs, and takes what becomes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding

from playground.dashboard.areas import Area, Command, key
from playground.dashboard.bars import Key
from playground.dashboard.debugging.documents import stop_document
from playground.dashboard.debugging.model import place_of, where
from playground.dashboard.debugging.places import Places
from playground.dashboard.debugging.steps import Steps
from playground.dashboard.debugging.surroundings import Surroundings
from playground.dashboard.debugging.told import ToldStops
from playground.dashboard.debugging.views import GENERAL, STEP_KEYS, BreakpointsView, StoppedView
from playground.dashboard.layout import FLOWS, INSPECT, OUTPUT, TRACE
from playground.dashboard.text import one_line

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.trace import TraceModel
    from playground.dashboard.views.base import View
    from playground.protocol import Stopped

IDLE_S = 2.0
"""Who has pressed no key for so long is taken to a run that stops."""
LINGER_S = 0.5
"""How long the tab keeps what it showed when its run goes on: the next stop of a step comes soon."""


class DebuggingArea(Area):
    """Stopped runs, breakpoints, step keys and the editor."""

    name = "debugging"
    BINDINGS: ClassVar[list[Binding]] = [
        key("b", "debugging", "break_here", "Breakpoint here"),
        key("B", "debugging", "break_if", "Breakpoint with a condition"),
        key("c", "debugging", "step", "Continue", "continue"),
        key("s", "debugging", "step", "Step into", "into"),
        key("o", "debugging", "step", "Step over", "over"),
        key("O", "debugging", "step", "Step out", "out"),
        key("t", "debugging", "run_to", "Run to here"),
        key("e", "debugging", "edit", "Edit"),
        key("A", "debugging", "replace", "Replace the decision"),
        key("K", "debugging", "skip", "Skip with a result"),
        key("M", "debugging", "inject", "One message more"),
        key("u", "debugging", "retry", "Try again"),
        key("H", "debugging", "halt", "Stop this run"),
        key("S", "debugging", "run_stopped", "Run, stop at first"),
        key("full_stop", "debugging", "next_stop", "Next stopped run"),
        key("a", "debugging", "once", "Once or always"),
        key("delete", "debugging", "remove", "Remove the breakpoint"),
    ]
    GENERAL: ClassVar[list[tuple[str, str]]] = GENERAL

    def __init__(self, app: DashboardApp) -> None:
        super().__init__(app)
        self.stops = app.workspace.stops
        self.points = app.workspace.breakpoints
        self.stopped = StoppedView()
        self.breakpoints = BreakpointsView(self.points)
        self.steps = Steps(app, self)
        self.places = Places(app, self)
        self.surroundings = Surroundings(app, self)
        self._told = ToldStops(app, self.stops)
        self.selected: str | None = None
        """The stop that is looked at."""
        self._shown: tuple[object, ...] = ()
        self._marked: tuple[object, ...] = ()
        self._places: dict[str, str] = {}
        """Where runs have stopped, as their list says it."""
        self._problem: str | None = None
        self._unfit: dict[str, str] = {}
        """Conditions that did not fit, as far as they were told."""
        """What was told of the file of breakpoints."""
        self._gone_at = 0.0
        self._to_pick: str | None = None
        """A span that the cursor of the tree has to go to once it is there."""
        self._followed = False
        """Whether the end of the tree was followed before its cursor went to a stop; the newest run, for the list."""
        self._followed_runs = False

    def views(self) -> dict[str, list[View]]:
        """A tab beside the details, one beside the logs."""
        return {INSPECT: [self.stopped], OUTPUT: [self.breakpoints, self.surroundings.view]}

    @property
    def stop(self) -> Stopped | None:
        """The stop that is looked at, while it waits."""
        return self.stops.get(self.selected)

    # -- keeping up -----------------------------------------------------------------------------------------------

    def show(self, trace: TraceModel | None) -> None:
        """Another trace: its first stop is looked at."""
        stop = self.stop
        if trace is not None and (stop is None or stop.trace_id != trace.trace_id):
            found = self.stops.of(trace.trace_id)
            self.selected = found[0].stop if found else None
        elif trace is None:
            self.selected = None
        pane = self.app.panes[INSPECT]
        if self.stop is not None:
            self._look_at_span(self.stop)
            pane.show_view(self.stopped)
        elif pane.view is self.stopped:
            pane.show_view(self.app.detail)

    def frame(self) -> None:
        """Show what stopped, and that it went on."""
        for stop in self.stops.arrived():
            self._arrived(stop)
        self._told.frame(self.selected)
        self._mark()
        self._draw()
        self._pick()
        self.breakpoints.sync()
        self.surroundings.frame()
        if self.points.problem != self._problem:
            self._problem = self.points.problem
            if self._problem is not None:
                self.app.say(self._problem, "error")
        self._tell_unfit()
        wanted, self.breakpoints.wants = self.breakpoints.wants, None
        if wanted is not None:
            self.places.toggle(wanted)

    def _tell_unfit(self) -> None:
        """Somebody waits for a stop that does not come: say why, once."""
        unfit = self.points.unfit
        if unfit == self._unfit:
            return
        for name, why in unfit.items():
            found = self.points.get(name)
            # One that is not for one place alone comes to payloads that it is not meant for.
            if found is not None and found.name is not None and name not in self._unfit:
                told = f"did not stop at {place_of(found).text()}: {found.condition} does not fit, {why}"
                self.app.say(told, "warning")
        self._unfit = dict(unfit)

    def clock(self) -> None:
        """A run that went on is no longer shown as stopped."""
        if self._gone_at and time.monotonic() - self._gone_at > LINGER_S:
            self._gone_at = 0.0
            trace = self.app.workspace.current
            left = self.stops.of(trace.trace_id) if trace is not None else []
            if left:
                self.look_at(left[0], focus=False)
            else:
                self.stopped.show(None, [], [])
                self._leave()

    def _leave(self) -> None:
        """Nothing here waits any more: the tab gives way to what is selected."""
        pane = self.app.panes[INSPECT]
        if pane.view is self.stopped and self.app.pane is not pane:
            pane.show_view(self.app.detail)
            self.app.inspect(self.app.pane)
        if self._followed:
            self.app.spans.follow, self._followed = True, False
        if self._followed_runs:
            self.app.run_rows.follow_newest, self._followed_runs = True, False

    def _arrived(self, stop: Stopped) -> None:
        """Show it if that is what the user waits for, or is busy with nothing; else say so."""
        app = self.app
        current = app.workspace.current
        here = app.control.wanted == stop.trace_id or (current is not None and current.trace_id == stop.trace_id)
        awaited = self.steps.awaits(stop) or (here and self.stop is None)
        busy = len(app.screen_stack) > 1 or time.monotonic() - app.pressed_at < IDLE_S
        if awaited or (not busy and self.stop is None):
            self.look_at(stop, focus=False)
        else:
            self._told.add(stop)

    def look_at(self, stop: Stopped, *, focus: bool = True) -> None:
        """Show a stop: its run, its place in the tree, its tab."""
        app = self.app
        self.selected, self._gone_at = stop.stop, 0.0
        current = app.workspace.current
        if current is None or current.trace_id != stop.trace_id:
            app.control.select(stop.trace_id)
        self._look_at_span(stop)
        if len(app.screen_stack) == 1:
            app.panes[INSPECT].show_view(self.stopped)
            if focus or app.pane.id == FLOWS:
                app.action_focus_pane(TRACE)
        self._draw()

    def _look_at_span(self, stop: Stopped) -> None:
        # A run that starts meanwhile is not to take the stop away from under somebody's hands.
        self._followed_runs = self._followed_runs or self.app.run_rows.follow_newest
        self.app.run_rows.follow_newest = False
        self._to_pick = stop.span_id
        self._followed = self._followed or self.app.spans.follow

    def _pick(self) -> None:
        """Put the tree's cursor on the span, once its event is here."""
        stop, trace = self.stop, self.app.workspace.current
        if self._to_pick is None or trace is None:
            return
        if stop is None or stop.trace_id != trace.trace_id:
            return
        span = self.app.spans.visible(self._to_pick)
        if span is not None:
            self._to_pick = None
            self.app.spans.pick(span.span_id)

    def _mark(self) -> None:
        """⏸ in the list of runs and in the tree."""
        app, trace = self.app, self.app.workspace.current
        seen = (self.stops.revision, None if trace is None else trace.trace_id, len(app.run_rows.runs))
        if seen != self._marked:
            self._marked = seen
            places = self.stops.places()
            for trace_id in {*self._places, *places}:
                if (line := app.workspace.runs.get(trace_id)) is not None:
                    line.stopped = places.get(trace_id, "")
            self._places = places
            app.run_rows.touch()
            mine = [] if trace is None else self.stops.of(trace.trace_id)
            app.spans.stopped = {stop.span_id: where(stop) for stop in mine}
            app.spans.touch()
            app.frames.refresh_bars()

    def _draw(self) -> None:
        """The tab of the stop that is looked at."""
        stop = self.stop
        if stop is None:
            if self.selected is not None:
                self.selected, self._shown, self._gone_at = None, (), time.monotonic()
            elif not self._gone_at and self.stopped.nodes:
                self.stopped.show(None, [], [])
            return
        edits = self.steps.draft(stop)
        seen = (self.selected, self.stops.revision, self.points.revision, edits)
        if seen == self._shown:
            return
        self._shown = seen
        mine = self.stops.of(stop.trace_id)
        number = next((index for index, each in enumerate(mine, 1) if each.stop == stop.stop), 1)
        source = self.app.control.source
        decides = source is None or source.can_decide
        # Boundary: a payload may be anything that JSON can say.
        try:
            found = self.points.get(stop.breakpoint)
            heading, nodes = stop_document(stop, found, number=number, count=len(mine), edits=edits, decides=decides)
        except Exception as error:
            self.app.say(f"the stopped run cannot be shown: {type(error).__name__}: {error}", "error")
            return
        self.stopped.show(stop.stop, heading, nodes)

    # -- keys -----------------------------------------------------------------------------------------------------

    @property
    def _in_list(self) -> bool:
        """Whether the breakpoints are what the keys are for."""
        return self.app.pane.view is self.breakpoints

    @property
    def _in_context(self) -> bool:
        return self.app.pane.view is self.surroundings.view

    def next_stop(self) -> None:
        """Go to the next run that has stopped."""
        stop = self.stops.after(self.selected)
        if stop is None:
            self.app.say("no run has stopped", "information")
        else:
            self.look_at(stop)
            if len(self.stops) == 1:
                self.app.say("this is the only run that has stopped")

    def break_here(self) -> None:
        """Set or remove a breakpoint where the cursor is."""
        self.places.toggle_here()

    def break_if(self) -> None:
        """Ask for place and condition."""
        self.places.ask(self.breakpoints.breakpoint if self._in_list else None)

    def once(self) -> None:
        """Stop once, or always."""
        if self._in_list and self.breakpoints.breakpoint is not None:
            self.places.change(self.breakpoints.breakpoint, once=not self.breakpoints.breakpoint.once)

    def remove(self) -> None:
        """Take a breakpoint away."""
        if self._in_list and self.breakpoints.breakpoint is not None:
            self.places.remove(self.breakpoints.breakpoint)
        elif self._in_context and not self.surroundings.forget():
            self.app.say("put the cursor on a turn or a value: del forgets it", "warning")

    def step(self, then: str) -> None:
        """Let the stopped run go on: `continue`, `into`, `over`, `out`."""
        self.steps.go_on(then)

    def run_to(self) -> None:
        """Let it go on until it comes to what the cursor is on."""
        place = self.places.here()
        if place is None:
            self.app.say("put the cursor on a node, a tool or a step: t runs until it comes there", "warning")
        else:
            self.steps.run_to(place)

    def edit(self) -> None:
        """Edit what is shown: a breakpoint, or the payload of a stopped run."""
        if self._in_list:
            if self.breakpoints.breakpoint is not None:
                self.places.ask(self.breakpoints.breakpoint)
        elif self._in_context:
            self.surroundings.edit()
        else:
            self.steps.edit()

    def replace(self) -> None:
        """Replace the decision."""
        self.steps.replace()

    def skip(self) -> None:
        """Give a result in place of the call."""
        self.steps.skip()

    def inject(self) -> None:
        """One message more, beside what comes."""
        self.steps.inject()

    def retry(self) -> None:
        """Call it again."""
        self.steps.simple("retry")

    def cancel(self) -> bool:
        """`x` aborts a run that has stopped."""
        if self.stop is None:
            return False
        self.steps.simple("abort")
        return True

    def halt(self) -> None:
        """Stop the run that is shown at its next checkpoint."""
        self.steps.halt()

    def run_stopped(self) -> None:
        """Run the selected flow, and stop at its first checkpoint."""
        self.app.launcher.run_now(self.app.flows.module, self.app.flows.flow, stop_first=True)

    def footer(self) -> list[Key] | None:
        """The steps, while a run that is shown has stopped."""
        stop = self.stop
        if stop is None or self._in_list or self._in_context or self.app.pane.id == FLOWS:
            return None
        source = self.app.control.source
        if source is not None and not source.can_decide:
            return None
        change = ("e", "edit", "edit")
        if "edit" not in stop.actions:
            change = ("u", "retry", "retry") if "retry" in stop.actions else ("x", "abort", "abort")
        first = [
            Key("c", "continue", "do('debugging', 'step', 'continue')"),
            Key("s", "into", "do('debugging', 'step', 'into')"),
            Key("o", "over", "do('debugging', 'step', 'over')"),
        ]
        last = Key("x", "abort", "cancel_run") if change[2] == "abort" else None
        return [*first, last or Key(change[0], change[1], f"do('debugging', '{change[2]}')")]

    def help(self) -> tuple[str, list[tuple[str, str]]] | None:
        """The steps, while a run that is shown has stopped."""
        source = self.app.control.source
        if self.stop is None or self.app.pane.view is self.stopped or (source is not None and not source.can_decide):
            return None
        return "This run has stopped", STEP_KEYS

    # -- palette --------------------------------------------------------------------------------------------------

    def commands(self) -> Iterator[Command]:
        """What can be done now."""
        app, stop = self.app, self.stop
        yield "debug: breakpoints", "where runs stop", partial(self._front, self.breakpoints, OUTPUT)
        yield "debug: context and memory", "what is around a run", partial(self._front, self.surroundings.view, OUTPUT)
        yield "debug: new breakpoint", "choose where, and a condition", partial(self.places.ask, None)
        if app.flows.flow is not None:
            name = one_line(app.flows.flow.name)
            yield f"debug: run {name}, stop at first", "at its first checkpoint", self.run_stopped
        if app.workspace.current is not None and not app.workspace.current.over:
            yield "debug: stop this run", "at its next checkpoint", self.halt
        if len(self.stops):
            yield "debug: next stopped run", f"{len(self.stops)} wait", self.next_stop
        if stop is not None:
            yield "debug: show the stop", one_line(where(stop)), partial(self._front, self.stopped, INSPECT)
            actions: list[tuple[str, str, Any]] = [
                ("continue", "let it go on", partial(self.step, "continue")),
                ("step into", "whatever comes next", partial(self.step, "into")),
                ("step over", "what it stands before", partial(self.step, "over")),
                ("step out", "of what is around it", partial(self.step, "out")),
                ("run to here", "what the cursor of the trace is on", self.run_to),
                ("abort", "end the run", self.cancel),
            ]
            more = {"edit": self.edit, "skip": self.skip, "inject": self.inject, "retry": self.retry}
            actions += [(name, "", act) for name, act in more.items() if name in stop.actions]
            for name, about, act in actions:
                yield f"debug: {name}", about, act

    def _front(self, view: View, pane: str) -> None:
        """Bring a view and its pane to the front."""
        self.app.panes[pane].show_view(view)
        self.app.action_focus_pane(pane)
