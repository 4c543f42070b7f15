"""`J` and `Y`: what the cursor is on as JSON, and copied in whatever form somebody needs it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from playground.dashboard.layout import FLOWS, INSPECT, RUNS, TRACE
from playground.dashboard.views.detail import DetailView
from playground.dashboard.watching import copies
from playground.dashboard.watching.calls import raw_document
from playground.dashboard.watching.menu import CopyMenu

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.watching.llm import ModelCallView


def raw_json(app: DashboardApp) -> None:
    """The event or the span in the inspector as JSON text, or as a tree again."""
    trace = app.workspace.current
    pane = app.panes[INSPECT]
    if trace is None:
        app.say("no run is shown", "warning")
        return
    if pane.view is app.event_rows:
        app.open_event()
    elif app.pane.id == TRACE:
        app.inspect(app.pane)
    subject = app.detail.subject
    if not isinstance(subject, tuple) or len(subject) != 3 or subject[0] not in {"event", "span", "raw"}:
        app.say("move to a span or an event first", "warning")
        return
    kind, about = subject[0], subject[2]
    if kind == "raw":
        if isinstance(about, int):
            app.inspector.show_event(trace, about)
        elif about in trace.spans:
            app.inspector.show_span(trace, trace.spans[about])
    else:
        was_event = kind == "event"
        app.inspector.show_document(("raw", trace.trace_id, about), partial(raw_document, trace, about))
        app.inspector.event_shown = was_event
    pane.show_view(app.detail)
    app.frames.refresh_bars()


def copy_as(app: DashboardApp, llm: ModelCallView) -> None:
    """Ask in which form to copy what the cursor is on."""
    heading, choices = _choices(app, llm)
    if choices:
        app.push_screen(CopyMenu(heading, choices), partial(_copy, app))
    else:
        app.say("there is nothing to copy here", "warning")


def _choices(app: DashboardApp, llm: ModelCallView) -> tuple[str, list[copies.Choice]]:
    trace, pane = app.workspace.current, app.pane
    if pane.id == FLOWS:
        flow = app.flows.flow
        recent = app.state.inputs.get(flow.target, []) if flow is not None else []
        if flow is None:
            return "", []
        return flow.name, copies.of_flow(flow, next(iter([*recent, *flow.samples]), {}))
    if trace is None:
        return "", []
    choices: list[copies.Choice] = []
    if isinstance(pane.view, DetailView) and pane.view.node is not None:
        choices = copies.of_value(pane.view.node.json_value())
    subject = app.detail.subject
    if pane.view is app.event_rows and app.event_rows.event_index is not None:
        return "event", copies.of_event(trace, app.event_rows.event_index)
    if pane.view is app.detail and isinstance(subject, tuple) and isinstance(subject[-1], int):
        return "event", [*choices, *copies.of_event(trace, subject[-1])]
    span = llm.span if pane.view is llm else app.spans.span
    if span is None or pane.id == RUNS:
        span = trace.root
    return (span.name, [*choices, *copies.of_span(trace, span)]) if span is not None else ("", choices)


def _copy(app: DashboardApp, choice: copies.Choice | None) -> None:
    if choice is None:
        return
    # Boundary: what was recorded may be anything; what cannot be put into words is told.
    try:
        text = choice.make()
    except Exception as error:
        app.say(f"cannot be copied: {type(error).__name__}: {error}", "error")
        return
    app.copy_to_clipboard(text.encode("utf-8", "replace").decode("utf-8"))
    app.say(f"copied {len(text):,} characters: {text[:80]}")
