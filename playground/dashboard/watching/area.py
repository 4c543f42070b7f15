"""The area that watches: its views, keys and commands."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from playground.dashboard.areas import Area, Command, key
from playground.dashboard.layout import FLOWS, INSPECT, TRACE
from playground.dashboard.views.base import View
from playground.dashboard.watching.graph import GraphView, idle_details
from playground.dashboard.watching.llm import ModelCallView
from playground.dashboard.watching.notices import Watcher
from playground.dashboard.watching.tour import Tour
from playground.dashboard.watching.waterfall import WaterfallView

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.trace import TraceModel
    from playground.dashboard.watching.jump import Target
    from playground.protocol import FlowInfo

ROOMY = 60
"""Columns that leave room for a notice beside what it is about."""
OFFER_S = 15.0


class WatchingArea(Area):
    """Waterfall, graph, model calls, statistics, queues, notices and the tour."""

    name = "watching"
    BINDINGS: ClassVar[list[Binding]] = [
        key("i", "watching", "zoom_time", "Closer in the waterfall", 1),
        key("U", "watching", "zoom_time", "Farther in the waterfall", -1),
        key("J", "watching", "raw_json", "Raw JSON, or as a tree"),
        key("Y", "watching", "copy_as", "Copy as JSON, Python or a command"),
        key("L", "watching", "go_call", "Go to the model's call"),
        key("left_parenthesis", "watching", "walk_calls", "The model's call before", -1),
        key("right_parenthesis", "watching", "walk_calls", "The model's call after", 1),
        key("ctrl+o", "watching", "jump", "Jump to a tab"),
        key("ctrl+t", "watching", "toggle_tour", "The tour"),
        key("percent_sign", "watching", "statistics", "Statistics of the flow"),
        key("Q", "watching", "queues", "Edges of a distributed flow"),
        key("equals_sign", "watching", "zoom_span", "The waterfall shows this span"),
    ]
    GENERAL: ClassVar[list[tuple[str, str]]] = [
        ("i  U  =", "waterfall: closer, farther, this span"),
        ("%", "statistics of the flow: percentiles, errors, tokens, cost"),
        ("Q", "queues of a distributed flow: edges, workers, dead letters"),
        ("ctrl+o", "a letter on every tab: press it to go there"),
        ("ctrl+t", "the tour of one minute, on and off"),
        ("J", "what the inspector shows as raw JSON, and back"),
        ("Y", "copy as JSON, as Python, as a pf command"),
        ("L  (  )", "the call of a model at the cursor, the one before, the one after"),
    ]

    def __init__(self, app: DashboardApp) -> None:
        super().__init__(app)
        self.waterfall = WaterfallView(app.spans)
        self.llm = ModelCallView()
        self._watcher = Watcher()
        self.tour = Tour(app)
        self.offer: str | None = None
        """`offer` to tell newcomers of the tour, `start` to begin it, once the flows are there."""
        self.graph = GraphView(self._flow_of, app.workspace.stops.of)

    def views(self) -> dict[str, list[View]]:
        """Tabs of the trace pane."""
        return {TRACE: [self.waterfall, self.graph], INSPECT: [self.llm]}

    def show(self, trace: TraceModel | None) -> None:
        """Another trace."""
        self.waterfall.show(trace)
        self.graph.show(trace)
        self.llm.show_trace(trace)

    def frame(self) -> None:
        """Only what is in sight is kept up to date."""
        if self.app.panes[TRACE].view is self.graph:
            self.graph.sync()
        if self.app.panes[INSPECT].view is self.llm:
            self.llm.sync()
        if self.offer is not None and self.app.workspace.listed and len(self.app.flows):
            self._begin_tour()
        if self.tour.frame():
            self._show_card()

    def clock(self) -> None:
        """Tell of runs that ended out of sight."""
        runs, current = self.app.workspace.runs, self.app.workspace.current
        in_sight = current.trace_id if current is not None else None
        for ended in self._watcher.look(runs.running(), runs.get, in_sight):
            self.app.say(ended.text, ended.severity)

    def inspect(self, view: View) -> bool:
        """A node or a tool of the graph: what it does now, what failed, or what it did last."""
        if view is self.app.spans or view is self.waterfall:
            self._follow_call()
            span, trace = self.app.spans.span, self.app.workspace.current
            if span is not None and trace is not None:
                # What was made raw stays so until the cursor goes elsewhere.
                return self.app.detail.subject == ("raw", trace.trace_id, span.span_id)
        if view is not self.graph:
            return False
        item, trace = self.graph.item, self.graph.trace
        if item is None or trace is None:
            return True
        planner = trace.traffic.planners.get(item.node)
        works = trace.traffic.nodes if item.kind == "node" else planner.tools if planner is not None else {}
        work = works.get(item.name)
        span = trace.spans.get(work.span_id or "") if work is not None else None
        if item.kind == "end":
            span = trace.root
        if span is not None:
            self.app.spans.pick(span.span_id)
            self.app.inspector.show_span(trace, span)
        else:
            self.app.inspector.show_document(("idle", item.name), partial(idle_details, item, self._flow_of(trace)))
        return True

    def _flow_of(self, trace: TraceModel) -> FlowInfo | None:
        """The flow that a trace is of, as it is loaded now."""
        flows = [flow for module in self.app.workspace.modules for flow in module.flows]
        exact = (flow for flow in flows if flow.target == trace.target)
        return next(exact, None) or next((flow for flow in flows if flow.name == trace.flow), None)

    # -- waterfall ------------------------------------------------------------------------------------------------

    def _front(self, view: View, pane: str) -> None:
        """Bring a view and its pane to the front."""
        self.app.panes[pane].show_view(view)
        self.app.action_focus_pane(pane)

    def zoom_time(self, direction: int) -> None:
        """Closer or farther; the first time it brings the waterfall to the front."""
        if self.app.panes[TRACE].view is not self.waterfall:
            self._front(self.waterfall, TRACE)
        self.waterfall.zoom(direction)
        self.app.panes[TRACE].redraw_if_changed()

    def zoom_span(self) -> None:
        """The span under the cursor fills the axis."""
        if self.app.panes[TRACE].view is not self.waterfall:
            self._front(self.waterfall, TRACE)
        self.waterfall.zoom_span()
        self.app.panes[TRACE].redraw_if_changed()

    def side(self, direction: int) -> None:
        """What the arrows do, for the footer."""
        self.app.pane.action_side(direction)

    # -- statistics -----------------------------------------------------------------------------------------------

    def statistics(self) -> None:
        """Numbers over the runs of the flow that is picked, or of the run that is shown."""
        from playground.dashboard.watching.statistics import StatisticsScreen

        app, trace = self.app, self.app.workspace.current
        flow = app.flows.flow
        named = flow.name if flow is not None and (app.pane.id == FLOWS or trace is None) else None
        app.push_screen(StatisticsScreen(named or (trace.flow if trace is not None else None)))

    def queues(self) -> None:
        """The edges of the distributed flow that is picked, or of another one."""
        from playground.dashboard.watching.queues import QueuesScreen

        app = self.app
        flows = [flow for module in app.workspace.modules for flow in module.flows if flow.bus is not None]
        if not flows:
            app.say("no flow here is distributed: create(message_bus=…) or --bus gives it a bus", "warning")
            return
        picked = app.flows.flow
        shown = app.workspace.current
        names = [each.target for each in (picked,) if each is not None] + ([shown.target] if shown is not None else [])
        targets = [flow.target for flow in flows]
        app.push_screen(QueuesScreen(targets, next((str(name) for name in names if name in targets), targets[0])))

    # -- calls of models ------------------------------------------------------------------------------------------

    def _follow_call(self) -> None:
        """The cursor of the tree came to a call while calls are in sight."""
        span = self.app.spans.span
        if span is not None and span.kind == "llm" and self.app.panes[INSPECT].view is self.llm:
            self.llm.pick(span)

    def go_call(self) -> None:
        """To the call of a model at the cursor, or the next one."""
        if not self.llm.pick(self.app.spans.span):
            self.app.say("no model was called in this run", "warning")
            return
        self._front(self.llm, INSPECT)
        self._tree_to_call()

    def walk_calls(self, direction: int) -> None:
        """The call after or before; the tree goes along."""
        if not self.llm.calls:
            self.app.say("no model was called in this run", "warning")
            return
        if self.app.panes[INSPECT].view is not self.llm:
            self.go_call()
        else:
            self.llm.walk(direction)
            self._tree_to_call()
        self.app.panes[INSPECT].redraw_if_changed()

    def _tree_to_call(self) -> None:
        if self.llm.span is not None:
            self.app.spans.pick(self.llm.span.span_id)

    # -- JSON and copies ------------------------------------------------------------------------------------------

    def raw_json(self) -> None:
        """The event or the span in the inspector as JSON text, or as a tree again."""
        from playground.dashboard.watching.copying import raw_json

        raw_json(self.app)

    def copy_as(self) -> None:
        """Ask in which form to copy what the cursor is on."""
        from playground.dashboard.watching.copying import copy_as

        copy_as(self.app, self.llm)

    # -- the tour -------------------------------------------------------------------------------------------------

    def _begin_tour(self) -> None:
        offer, self.offer = self.offer, None
        self.app.state.toured = True
        if offer == "start":
            self.toggle_tour()
        elif self.app.size.width >= ROOMY:
            self.app.say("new here? ctrl+t is a tour of one minute, ? tells of the keys", stays_s=OFFER_S)

    def toggle_tour(self) -> None:
        """Begin the tour, or leave it."""
        if self.tour.on:
            self.tour.stop()
        elif not self.tour.start():
            self.app.say("there is no flow to show: a file in flows/ will do", "warning")
        self._show_card()

    def _show_card(self) -> None:
        from playground.dashboard.watching.card import TourCard

        screen = self.app.screen_stack[0]
        cards = screen.query(TourCard)
        if not self.tour.on:
            if cards:
                cards.first().remove()
        elif cards:
            cards.first().refresh()
        else:
            screen.mount(TourCard(self.app.palette, self.tour.rows), before="#keys")

    def jump(self) -> None:
        """Put a letter on every tab, and go where the one that is pressed stands."""
        from playground.dashboard.watching.jump import JumpScreen, label

        app = self.app

        def go(target: Target | None) -> None:
            if target is not None and target.pane.id is not None:
                self._front(target.view, target.pane.id)
                app.inspect(target.pane)
                app.frames.refresh_bars()

        app.push_screen(JumpScreen(label(list(app.panes.values()))), go)

    # -- palette --------------------------------------------------------------------------------------------------

    def commands(self) -> Iterator[Command]:
        """What can be looked at now."""
        yield "go: jump", "a letter on every tab", self.jump
        yield f"tour: {'stop' if self.tour.on else 'start'}", "a minute on a flow of the project", self.toggle_tour
        yield "statistics", "percentiles, errors, tokens and cost over the runs of a flow", self.statistics
        if self.app.workspace.current is not None:
            yield "view: waterfall", "the run on an axis of time", partial(self._front, self.waterfall, TRACE)
            yield (
                "view: graph",
                "which node works, waits, is stopped or failed",
                partial(self._front, self.graph, TRACE),
            )
            yield "copy: as …", "JSON, Python, a pf command", self.copy_as
            yield "view: raw JSON", "of the event or span in the inspector, and back", self.raw_json
            if self.llm.calls:
                yield "view: LLM calls", "messages, reply and decision of each call", self.go_call
            yield "view: waterfall of this span", "it fills the axis; again: all", self.zoom_span
