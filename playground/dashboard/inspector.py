"""Fills the inspector with what is selected, and keeps it fresh while that goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from playground.dashboard.details import error_card, event_details, field, flow_details, span_details
from playground.dashboard.text import Row, one_line
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.detail import DetailView, Node

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span
    from playground.protocol import FlowInfo, ModuleInfo

REFRESH_S = 0.25
AGE_S = 0.75
Document = tuple[Row, list[Node]]


class Inspector:
    """Chooses the document of the detail view."""

    def __init__(self, view: DetailView, root: str = "") -> None:
        self._view = view
        self._root = f"{root}/" if root else ""
        """Paths below it are shown relative to it."""
        self._live: tuple[TraceModel, Span] | None = None
        self._seen = -1
        self.due = 0.0
        """When a document may be made anew by itself (monotonic)."""
        self.event_shown = False
        """True while the document is about one event."""

    def _show(self, subject: object, make: Callable[[], Document]) -> None:
        # Boundary: documents are made from whatever was recorded; one that cannot be made says so in its place.
        try:
            heading, nodes = make()
            for node in nodes:
                if self._root and node.role and isinstance(node.value, str):
                    node.value = node.value.replace(self._root, "")
            self._view.show(subject, heading, nodes)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            self._view.show(subject, [("cannot be shown", "error")], [field("error", message, "error")])

    def show_span(self, trace: TraceModel, span: Span) -> None:
        """A span; refreshed until it is over."""
        self.event_shown = False
        self._live = (trace, span)
        self._seen = trace.revision
        started = time.monotonic()
        self._show(("span", trace.trace_id, span.span_id), lambda: span_details(trace, span))
        # A document that is expensive to make is made again accordingly less often.
        self.due = started + max(REFRESH_S, 10 * (time.monotonic() - started))
        # A run that was interrupted may be taken up again.
        if span.end_ns is not None and span.kind != "trace":
            self._live = None

    def show_event(self, trace: TraceModel, index: int, *, whole: bool = False) -> None:
        """One event."""
        self._live = None
        self.event_shown = True
        self._show(("event", trace.trace_id, index), lambda: event_details(trace, index, whole=whole))

    def show_document(self, subject: object, make: Callable[[], Document]) -> None:
        """Any other document."""
        self._live, self.event_shown = None, False
        self._show(subject, make)

    def show_flow(self, module: ModuleInfo | None, flow: FlowInfo | None) -> None:
        """A flow, or why its module is broken."""
        if module is None:
            return
        if module.error is not None or flow is None:
            self.show_module(module)
            return
        self._live, self.event_shown = None, False
        self._show(("flow", flow.target), lambda: flow_details(module, flow))

    def show_module(self, module: ModuleInfo) -> None:
        """The card of a broken module."""
        self._live, self.event_shown = None, False
        error = module.error
        if error is None:
            self._show(
                ("module", module.path), lambda: ([(one_line(module.path), "accent")], [field("state", module.state)])
            )
        else:
            self._show(("module", module.path), lambda: error_card(module, error))

    def sync(self) -> None:
        """Once per frame: make the document again when its span went on."""
        if self._live is None:
            return
        trace, span = self._live
        now = time.monotonic()
        # A span that goes on grows older also while nothing happens in it.
        older = span.end_ns is None and now >= self.due + AGE_S
        if older or (trace.revision != self._seen and now >= self.due):
            self.show_span(trace, trace.spans.get(span.span_id, span))
