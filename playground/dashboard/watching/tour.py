"""The tour: a minute on a flow of the project, in steps that wait until their key was really pressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from playground.dashboard.layout import INSPECT, TRACE
from playground.dashboard.text import one_line

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.protocol import FlowInfo


ASKED = 3
"""From this step on the run of the tour is there."""


class Mark(NamedTuple):
    """How things were when a step began."""

    trace_id: str | None
    breakpoints: int


class Step(NamedTuple):
    """What to press, why, and how it shows that it was done."""

    keys: str
    ask: str
    why: str
    done: Callable[[Tour, Mark], bool]
    fits: Callable[[Tour], bool] = lambda tour: True


class Tour:
    """Where somebody is in the tour."""

    def __init__(self, app: DashboardApp) -> None:
        self.app = app
        self.flow: FlowInfo | None = None
        """The flow that it is about."""
        self.number = -1
        """Which step; -1 while there is no tour."""
        self._mark = Mark(None, 0)
        self._astray = False
        """The cursor is on another flow than the one that is to run."""
        self._removed = False
        """There was a breakpoint already, and the key took it away."""

    @property
    def on(self) -> bool:
        """True while it goes on."""
        return 0 <= self.number < len(STEPS)

    @property
    def step(self) -> Step:
        """The step of the moment."""
        return STEPS[self.number]

    def start(self) -> bool:
        """Begin; False when there is no flow to show."""
        self.flow = _best(self.app)
        self.number = 0 if self.flow is not None else -1
        self._remember()
        return self.on

    def stop(self) -> None:
        """Leave it."""
        self.number = -1

    def frame(self) -> bool:
        """Once per frame: go on when the step was done; True when something changed."""
        if not self.on:
            return False
        if not self.step.done(self, self._mark):
            if (left := len(self.app.workspace.breakpoints.all)) < self._mark.breakpoints:
                self._mark = self._mark._replace(breakpoints=left)
                self._removed = self.step.keys == "b"
                return self._removed
            astray, self._astray = self._astray, self.step.keys == "r" and not self.picked
            return astray != self._astray
        self._astray = False
        self.number += 1
        while self.on and not self.step.fits(self):
            self.number += 1
        self._remember()
        return True

    def rows(self) -> tuple[str, str, str]:
        """Where in the tour, what to do, and what it is good for."""
        shown = [step for step in STEPS if step.fits(self) or step is self.step]
        name = one_line(self.flow.name) if self.flow is not None else ""
        step = STEPS[0] if self._astray else self.step
        if self._removed:
            return f"TOUR {shown.index(step) + 1}/{len(shown)}", *REMOVED
        return f"TOUR {shown.index(step) + 1}/{len(shown)}", step.ask.format(flow=name), step.why.format(flow=name)

    def _remember(self) -> None:
        app, trace = self.app, self.app.workspace.current
        self._removed = False
        trace_id = trace.trace_id if trace is not None else None
        self._mark = Mark(trace_id, len(app.workspace.breakpoints.all))

    # -- what steps look at ---------------------------------------------------------------------------------------

    @property
    def picked(self) -> bool:
        """The flow is under the cursor."""
        flow = self.app.flows.flow
        return flow is not None and self.flow is not None and flow.target == self.flow.target

    def ran(self, mark: Mark) -> bool:
        """Another run of the flow is shown than when the step began."""
        trace = self.app.workspace.current
        return (
            trace is not None
            and self.flow is not None
            and trace.trace_id != mark.trace_id
            and trace.target == self.flow.target
        )

    @property
    def moved(self) -> bool:
        """The cursor of the tree was moved: it does not follow the run any more."""
        return self.app.pane.id == TRACE and not self.app.spans.follow

    def broke(self, mark: Mark) -> bool:
        """There is a breakpoint more."""
        return len(self.app.workspace.breakpoints.all) > mark.breakpoints

    @property
    def asks_models(self) -> bool:
        """The run that is shown has called a model; before there is one, whether the flow is a planner."""
        trace = self.app.workspace.current
        if trace is None or self.number < ASKED:
            return self.flow is not None and (self.flow.kind == "planner" or bool(self.flow.tools))
        return bool(trace.traffic.calls)

    @property
    def stopped(self) -> bool:
        """The run that is shown has stopped."""
        trace = self.app.workspace.current
        return trace is not None and bool(self.app.workspace.stops.of(trace.trace_id))

    @property
    def decides(self) -> bool:
        """Runs can be stopped here."""
        source = self.app.control.source
        return source is not None and source.can_decide

    def front(self, pane: str, label: str) -> bool:
        """Whether a tab is in front, in the focused pane."""
        return self.app.pane.id == pane and self.app.panes[pane].view.label == label


def _best(app: DashboardApp) -> FlowInfo | None:
    """The flow that shows most: one that asks models, else one with samples, else any."""
    flows = [flow for _, flow in app.flows.rows if flow is not None]
    asking = (flow for flow in flows if (flow.kind == "planner" or flow.tools) and flow.samples)
    sampled = (flow for flow in flows if flow.samples)
    return next(asking, None) or next(sampled, None) or next(iter(flows), None)


def _at_call(tour: Tour) -> bool:
    """The cursor is where a run can be stopped again and again."""
    span = tour.app.spans.span
    return tour.app.pane.id == TRACE and span is not None and span.kind in {"tool", "node"}


REMOVED = (
    "Press b again: there was a breakpoint here, and b took it away.",
    "b on a row sets a breakpoint, b on the same row takes it away.",
)
STEPS: tuple[Step, ...] = (
    Step("1 j k", "Pick {flow} in FLOWS: press 1, then j or k (or the arrows).",
         "FLOWS has what can be run. ● is loaded; a file that you save is loaded again by itself.",
         lambda tour, mark: tour.picked),
    Step("r", "Press r: {flow} runs with its sample.",
         "Enter would open a form made from its input model. A sample or your last input fills it.",
         lambda tour, mark: tour.ran(mark)),
    Step("3", "Press 3: the TRACE pane. Then j: go down a row or two.",
         "Each row is a span: a node, a step of a planner, a call. INSPECT shows what went in and what came out.",
         lambda tour, mark: tour.moved),
    Step("]", "Press ]: the same spans as a waterfall.",
         "░ lay in a queue, ┄ waited, ━ worked, ✖ failed. i goes closer, U farther, = fills the axis with one span.",
         lambda tour, mark: tour.front(TRACE, "Waterfall")),
    Step("]", "Press ] again: the graph of the flow.",
         "While a run goes on it shows where the messages are, and which node works, waits, is stopped or failed.",
         lambda tour, mark: tour.front(TRACE, "Graph")),
    Step("L", "Press L: what the model was asked.",
         "The exact messages, the raw reply, the decision, tokens and cost. ( and ) walk the calls.",
         lambda tour, mark: tour.front(INSPECT, "LLM"), lambda tour: tour.asks_models),
    Step("3 [ [", "Press 3, then [ until Tree is in front; go to a tool or a node with j and k.",
         "Tabs of a pane are walked with [ and ], panes with tab or their number.",
         lambda tour, mark: tour.front(TRACE, "Tree") and _at_call(tour), lambda tour: tour.decides),
    Step("b", "Press b: a breakpoint where the cursor is.",
         "B asks for a condition, such as url contains a letter. OUTPUT has a tab with all breakpoints.",
         lambda tour, mark: tour.broke(mark), lambda tour: tour.decides),
    Step("r", "Press r: run it again; it stops there.",
         "⏸ marks it in RUNS and TRACE, and INSPECT shows what is about to happen and why.",
         lambda tour, mark: tour.ran(mark) and tour.stopped, lambda tour: tour.decides),
    Step("s c", "Press s to go one step, e to edit, or c: go on.",
         "o steps over a plan, O out of it, K skips with a result, A replaces a decision.",
         lambda tour, mark: not tour.stopped, lambda tour: tour.decides),
    Step("?", "Press ?: the keys of the pane that you are in.",
         ": has every command by name. b on the same row takes the breakpoint away. That was all of the tour.",
         lambda tour, mark: type(tour.app.screen).__name__ == "HelpScreen"),
)  # fmt: skip
"""In order. A step that does not fit is left out."""
