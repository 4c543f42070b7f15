"""Every command, for the palette: what fits the moment, and every flow, run and node to go to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from playground.dashboard.areas import Command
from playground.dashboard.layout import FLOWS, INSPECT, PANES, TRACE
from playground.dashboard.text import duration, one_line, when
from playground.dashboard.trace import seconds

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp

MAX_RUNS = 200
MAX_NODES = 500
RUN_HELP = "with its last input, its sample, or its defaults"


class DashboardCommands(Provider):
    """Commands by name, made from the state of the moment."""

    @property
    def _dashboard(self) -> DashboardApp:
        return cast("DashboardApp", self.app)

    def _act(self, action: str) -> Callable[[], object]:
        return partial(self.app.run_action, action)

    def _commands(self) -> Iterator[Command]:
        app = self._dashboard
        for _, flow in app.flows.rows:
            if flow is not None:
                name = one_line(flow.name)
                yield (
                    f"run: {name}",
                    RUN_HELP,
                    partial(go_flow, app, flow.target, "run"),
                )
                yield f"form: {name}", "ask for its input", partial(go_flow, app, flow.target, "form")
                yield f"go: flow {name}", one_line(flow.title or flow.target), partial(go_flow, app, flow.target, "")
        trace = app.workspace.current
        if trace is not None and not trace.over:
            yield "run: cancel", f"cancel {trace.trace_id[:8]}", self._act("cancel_run")
        yield "code: reload", "load the project's code again", self._act("reload")
        yield "host: kill", "end a host that is silent, or blocked for 2 s, with its runs", self._act("kill_host")
        yield "view: zoom", "one pane, or all", self._act("zoom")
        raw = app.stream.raw
        yield f"view: stream as {'Markdown' if raw else 'raw text'}", "how the stream is shown", self._act("raw")
        following = app.run_rows.follow_newest
        yield f"view: {'stop following' if following else 'follow'} the newest run", "", self._act("follow")
        yield "view: copy", "what the cursor is on", self._act("copy")
        yield "view: events", "every event of the run", partial(go_events, app)
        for area in app.areas.values():
            yield from area.commands()
        for name in PANES:
            yield f"go: {name}", f"focus the pane {name}", self._act(f"focus_pane('{name}')")
        for theme in sorted(app.available_themes):
            if theme != app.theme:
                yield f"theme: {theme}", "colors", partial(set_theme, app, theme)
        yield "screenshot", "write an SVG of this screen", partial(write_screenshot, app)
        yield "help", "keys of the focused pane", self._act("help")
        yield "quit", "end the dashboard and its host", self._act("quit")
        for line in islice(app.run_rows.rows, MAX_RUNS):
            label = f"go: run {line.trace_id[:8]} {one_line(line.flow or '')} {line.status}"
            yield label, f"{when(line.started)} {duration(line.duration_s)}", partial(go_run, app, line.trace_id)
        if trace is not None:
            for span in islice(trace.spans.values(), MAX_NODES):
                if span.kind != "trace":
                    label = f"go: {span.kind} {one_line(span.name)} {span.status}"
                    yield label, f"{duration(seconds(span, trace.now_ns()))}", partial(go_span, app, span.span_id)

    async def discover(self) -> Hits:
        """Everything, before anything is typed."""
        for name, text, act in self._commands():
            yield DiscoveryHit(Content(one_line(name)), act, text=one_line(name), help=text)

    async def search(self, query: str) -> Hits:
        """What matches."""
        matcher = self.matcher(query)
        for told, text, act in self._commands():
            name = one_line(told)
            score = matcher.match(name)
            if score > 0:
                yield Hit(score, matcher.highlight(name), act, text=name, help=text)


def go_flow(app: DashboardApp, target: str, then: str) -> None:
    """Pick a flow, and run it or open its form."""
    if not app.flows.pick(target):
        return
    app.action_focus_pane(FLOWS)
    app.inspect(app.panes[FLOWS])
    if then == "run":
        app.action_run_now()
    elif then == "form" and app.flows.flow is not None:
        app.launcher.open_form(app.flows.flow)


def go_run(app: DashboardApp, trace_id: str) -> None:
    """Pick a run and show it."""
    app.run_rows.pick(trace_id)
    app.control.select(trace_id)
    app.action_focus_pane(TRACE)


def go_span(app: DashboardApp, span_id: str) -> None:
    """Pick a span of the trace."""
    app.spans.pick(span_id)
    app.action_focus_pane(TRACE)
    app.inspect(app.panes[TRACE])


def go_events(app: DashboardApp) -> None:
    """Every event of the run."""
    app.panes[INSPECT].show_view(app.event_rows)
    app.action_focus_pane(INSPECT)


def set_theme(app: DashboardApp, name: str) -> None:
    """Take a theme, and remember it."""
    app.theme = app.state.theme = name


def write_screenshot(app: DashboardApp) -> None:
    """Write an SVG of the screen where Textual keeps them."""
    app.say(f"written: {app.save_screenshot()}")
