"""The area that watches: its views, keys and commands."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from playground.dashboard.areas import Area, Command, key
from playground.dashboard.layout import INSPECT, TRACE
from playground.dashboard.views.base import View
from playground.dashboard.watching.graph import GraphView, idle_details
from playground.dashboard.watching.llm import ModelCallView
from playground.dashboard.watching.waterfall import WaterfallView

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.trace import TraceModel
    from playground.protocol import FlowInfo


class WatchingArea(Area):
    """Waterfall, graph, model calls, statistics, notices and the tour."""

    name = "watching"
    BINDINGS: ClassVar[list[Binding]] = [
        key("i", "watching", "zoom_time", "Closer in the waterfall", 1),
        key("U", "watching", "zoom_time", "Farther in the waterfall", -1),
        key("L", "watching", "go_call", "Go to the model's call"),
        key("left_parenthesis", "watching", "walk_calls", "The model's call before", -1),
        key("right_parenthesis", "watching", "walk_calls", "The model's call after", 1),
        key("equals_sign", "watching", "zoom_span", "The waterfall shows this span"),
    ]
    GENERAL: ClassVar[list[tuple[str, str]]] = [
        ("i  U  =", "waterfall: closer, farther, this span"),
        ("L  (  )", "the call of a model at the cursor, the one before, the one after"),
    ]

    def __init__(self, app: DashboardApp) -> None:
        super().__init__(app)
        self.waterfall = WaterfallView(app.spans)
        self.llm = ModelCallView()
        self.graph = GraphView(self._flow_of, app.workspace.stops.of)

    def views(self) -> dict[str, list[View]]:
        """Tabs of the trace pane."""
        return {TRACE: [self.waterfall, self.graph], INSPECT: [self.llm]}

    def show(self, trace: TraceModel | None) -> None:
        """Another trace."""
        self.waterfall.show()
        self.graph.show(trace)
        self.llm.show_trace(trace)

    def frame(self) -> None:
        """Only what is in sight is kept up to date."""
        if self.app.panes[TRACE].view is self.graph:
            self.graph.sync()
        if self.app.panes[INSPECT].view is self.llm:
            self.llm.sync()

    def inspect(self, view: View) -> bool:
        """A node or a tool of the graph: what it does now, what failed, or what it did last."""
        if view is self.app.spans or view is self.waterfall:
            self._follow_call()
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

    # -- palette --------------------------------------------------------------------------------------------------

    def commands(self) -> Iterator[Command]:
        """What can be looked at now."""
        if self.app.workspace.current is not None:
            yield "view: waterfall", "the run on an axis of time", partial(self._front, self.waterfall, TRACE)
            yield (
                "view: graph",
                "which node works, waits, is stopped or failed",
                partial(self._front, self.graph, TRACE),
            )
            if self.llm.calls:
                yield "view: LLM calls", "messages, reply and decision of each call", self.go_call
            yield "view: waterfall of this span", "it fills the axis; again: all", self.zoom_span
