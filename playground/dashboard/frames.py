"""The dashboard's beat: once per frame, take what arrived and redraw what it changed."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Any, cast

from textual import events
from textual.geometry import Size

from playground.dashboard import keys
from playground.dashboard.bars import KeyBar, StatusBar
from playground.dashboard.collector import Collector
from playground.dashboard.layout import FLOWS, TRACE
from playground.dashboard.status import status_rows
from playground.dashboard.text import one_line
from playground.dashboard.views.tree import NO_FLOWS, NOTHING_OPEN, READING

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.views.base import View

FRAMES_PER_SECOND = 20
CLOCK_EVERY = 4
"""Frames between two redraws of what only time changes."""
SLICE_S = 0.008
"""What a search takes at a time, between frames."""
SIFTERS = 2
"""Threads that sift a long trace for a filter."""
RUNS_EVERY_S = 1.5
"""Seconds between two looks at the runs of other processes."""


class Frames:
    """Empties the source's inbox into the views, so that however much arrives, the screen is drawn at a steady rate."""

    def __init__(self, app: DashboardApp, *, collect: bool) -> None:
        """`collect`: look after the garbage of this process too."""
        self.count = 0
        self._app = app
        self._collector = Collector() if collect else None
        self._told: tuple[object, object] = (None, None)
        """The host and the modules that the bars show."""
        self._runs_due = 0.0
        self._filtering = False
        self._unfit: Size | None = None
        """The terminal's size, where the screen had another one when that was last looked at."""

    def start(self) -> None:
        """Begin."""
        self._app.set_interval(1 / FRAMES_PER_SECOND, self._step)

    def _step(self) -> None:
        app = self._app
        if not app.is_running:
            # It is being taken down.
            return
        source = app.control.source
        self.count += 1
        moved = False
        # Boundary: whatever a payload or a source does, one frame is lost at most.
        try:
            if source is not None:
                moved = app.workspace.drain(source.inbox)
            self._take_up()
            self._redraw()
        except Exception as error:
            app.say(f"one frame failed: {type(error).__name__}: {error}", "error")
        if self._collector is not None:
            self._collector.frame(moved)

    def _take_up(self) -> None:
        app, workspace = self._app, self._app.workspace
        while workspace.notices:
            notice = workspace.notices.popleft()
            app.say(notice.text, notice.severity)
        if workspace.not_recorded is not None:
            why, workspace.not_recorded = workspace.not_recorded, None
            app.control.not_recorded(why)
        if workspace.modules_changed:
            workspace.modules_changed = False
            before = len(app.flows)
            app.flows.recorded = workspace.host is not None and workspace.host.state in {"reading", "recorded"}
            app.flows.show(workspace.modules)
            app.spans.empty = NOTHING_OPEN if len(app.flows) or app.flows.recorded else NO_FLOWS
            app.spans.touch()
            if len(app.flows) != before or not before:
                app.relayout()
            if app.pane.id == FLOWS:
                app.inspector.show_flow(app.flows.module, app.flows.flow)
            app.selection.modules_changed()
        if workspace.broke:
            for module in workspace.broke:
                if module.error is not None:
                    where = f"{module.error.file or module.path}:{module.error.line or '?'}"
                    app.say(f"{where} {module.error.message}", "error")
            app.inspector.show_module(workspace.broke[-1])
            workspace.broke.clear()
        if workspace.newest is not None:
            newest, workspace.newest = workspace.newest, None
            if app.run_rows.follow_newest or app.control.wanted == newest:
                app.control.select(newest)
        if workspace.logs:
            lines = list(workspace.logs)
            workspace.logs.clear()
            app.logs.add(cast("Any", lines))
        now = time.monotonic()
        if app.control.source is not None and now >= self._runs_due:
            self._runs_due = now + RUNS_EVERY_S
            app.control.refresh_runs()
            app.control.read_again()
            app.control.read_left_out()

    def _redraw(self) -> None:
        app = self._app
        running: dict[str, int] = {}
        for line in app.workspace.runs.running():
            if line.target:
                running[line.target] = running.get(line.target, 0) + 1
        if running != app.flows.running:
            app.flows.running = running
            app.flows.touch()
        app.run_rows.sync()
        app.spans.set_away(app.workspace.runs.away_since is not None)
        following = app.spans.follow
        app.spans.sync()
        if following and not app.spans.follow:
            app.inspect(app.panes[TRACE])
        app.event_rows.sync()
        self.filter_on()
        app.stream.sync()
        for area in app.areas.values():
            area.frame()
        self._tell_host()
        if self.count % CLOCK_EVERY == 0:
            self._fit()
            for line in app.workspace.runs.running():
                known = app.workspace.traces.get(line.trace_id)
                line.waits_for = known.waiting_for() if known is not None else ""
            if running:
                app.run_rows.touch()
            trace = app.workspace.current
            if trace is not None and not trace.over:
                app.spans.touch()
            for area in app.areas.values():
                area.clock()
            self.refresh_bars()
        app.finder.step()
        app.selection.frame()
        app.inspector.sync()
        # Behind a form a few times a second will do: the keys belong to the form.
        if len(app.screen_stack) == 1 or self.count % CLOCK_EVERY == 0:
            for pane in app.panes.values():
                pane.redraw_if_changed()

    def _fit(self) -> None:
        """Take the terminal's size up again, where the screen has had another one for a while: see `on_event`."""
        app = self._app
        driver = app._driver
        if driver is None or app.is_headless or app.is_web:
            return
        try:
            terminal = Size(*os.get_terminal_size(sys.__stdin__.fileno() if sys.__stdin__ is not None else 0))
        except OSError:
            return
        wrong = app.screen.size != terminal and terminal.area > 0
        if wrong and self._unfit == terminal:
            app.post_message(events.Resize(terminal, terminal))
        self._unfit = terminal if wrong else None

    def _tell_host(self) -> None:
        """Say what changed about the host and its code."""
        app = self._app
        host, modules = app.workspace.host, app.workspace.modules
        if host is not self._told[0] or modules is not self._told[1]:
            self._told = host, modules
            self.refresh_bars()
            if host is not None and host.state in {"reading", "recorded"}:
                app.spans.empty = NOTHING_OPEN if host.state == "recorded" else READING.format(one_line(host.text))
                app.spans.touch()

    def filter_on(self) -> None:
        """Go on with the filter of the events, if there is anything to look at and it does not go on already."""
        if self._app.event_rows.busy and not self._filtering:
            self._filtering = True
            self._app._spawn(self._filter_all, "filter")

    async def _filter_all(self) -> None:
        """Look through a long trace between the frames, in slices that no key feels, and in threads beside them."""
        workspace, rows = self._app.workspace, self._app.event_rows
        workspace.searching = True
        try:
            while rows.busy:
                before = len(rows)
                if (sift := rows.sift) is not None:
                    await asyncio.gather(*(asyncio.to_thread(sift, SLICE_S) for _ in range(SIFTERS)))
                rows.search_on(SLICE_S, sift=False)
                if (not before and len(rows)) or not rows.busy:
                    # Somebody waits for it: not with the next frame, but now.
                    self._show(rows)
                await asyncio.sleep(0)
        finally:
            self._filtering = workspace.searching = False

    def _show(self, view: View) -> None:
        if len(self._app.screen_stack) == 1:
            for pane in self._app.panes.values():
                if pane.view is view:
                    pane.redraw_if_changed()

    def refresh_bars(self) -> None:
        """Say how everything is, and which keys do something here."""
        app = self._app
        status, footer = app.query_one("#status", StatusBar), app.query_one("#keys", KeyBar)
        source = app.control.source
        looks_on = source is not None and not source.can_run
        status.set_rows(*status_rows(app.project_name, app.workspace, app.flows, app.size.width, looks_on=looks_on))
        pane, trace = app.pane, app.workspace.current
        of_area = next((found for area in app.areas.values() if (found := area.footer()) is not None), None)
        footer.set_keys(
            keys.footer(
                pane.id or FLOWS,
                own=of_area if of_area is not None else pane.view.keys,
                running=trace is not None and not (trace.over or trace.loading),
                tab=pane.current,
                zoomed=app.zoomed,
                can_run=app.control.source is None or app.control.source.can_run,
                broken=app.flows.flow is None and app.flows.module is not None,
                recorded=app.flows.recorded,
            )
        )
