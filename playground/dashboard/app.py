"""The dashboard's app: one screen, its panes, and what the keys do."""

from __future__ import annotations

import asyncio
import inspect
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from textual import events
from textual.app import App, ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import BindingType

from playground.dashboard import keys
from playground.dashboard.areas import Area
from playground.dashboard.bars import KeyBar, StatusBar
from playground.dashboard.bursts import Bursts, opened
from playground.dashboard.closing import nothing
from playground.dashboard.control import Control, Work
from playground.dashboard.desk import Desk
from playground.dashboard.finder import Finder
from playground.dashboard.frames import Frames
from playground.dashboard.gathered import AREAS
from playground.dashboard.inspector import Inspector
from playground.dashboard.launcher import Launcher
from playground.dashboard.layout import FLOWS, INSPECT, OUTPUT, PANES, RUNS, TRACE, Box, UiState, place
from playground.dashboard.model import Workspace
from playground.dashboard.palette import DIALOGS, Palette, css
from playground.dashboard.pane import Pane
from playground.dashboard.selection import Selection
from playground.dashboard.text import one_line
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.base import View
from playground.dashboard.views.detail import DetailView
from playground.dashboard.views.events import EventsView
from playground.dashboard.views.lists import FlowsView, RunsView
from playground.dashboard.views.output import LogsView, StreamView
from playground.dashboard.views.tree import TreeView

if TYPE_CHECKING:
    from textual.command import Provider
    from textual.widgets import Input
    from textual.worker import Worker

    from playground.sources import Source

EMPTY_ROWS = 6
TRACE_HEAD_CELLS = 40
Severity = Literal["information", "warning", "error"]


def _commands() -> type[Provider]:
    from playground.dashboard.commands import DashboardCommands

    return DashboardCommands


class DashboardApp(App[int]):
    """One screen: flows and runs on the left, the trace, and below it the inspector and the output."""

    TITLE = "penguiflow"
    NOTIFICATION_TIMEOUT = 4
    CSS = "Screen { layout: vertical; overflow: hidden; }" + DIALOGS
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_commands}
    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = keys.ALL_BINDINGS

    def __init__(
        self,
        source: Source | Callable[[], Source],
        *,
        project: str,
        root: str = "",
        state: UiState,
        save: Callable[[UiState], None] = lambda _: None,
        live: bool = False,
    ) -> None:
        super().__init__()
        self.state = state
        self.workspace = Workspace()
        self.project_name = project
        self.root = root
        """Of the project."""
        self.zoomed = False
        self.failure = ""
        """Why there is no source, if there is none."""
        self._given = source
        self._save = save
        self._live = live
        self._palettes: dict[str, Palette] = {}
        self._last_pane = FLOWS
        self.pressed_at = 0.0
        """When a key was pressed last (monotonic)."""
        self.bursts = Bursts()
        self.frames = Frames(self, collect=live)
        if state.theme is not None and state.theme in self.available_themes:
            self.theme = state.theme
        self.flows = FlowsView()
        self.run_rows = RunsView(self.workspace.runs)
        self.spans = TreeView()
        self.detail = DetailView()
        self.event_rows = EventsView()
        self.stream = StreamView()
        self.stream.raw = state.raw
        self.logs = LogsView()
        self.finder = Finder(self)
        self.inspector = Inspector(self.detail, root)
        self.selection = Selection(self)
        self.control = Control(self.workspace, spawn=self._spawn, notify=self.say, show=self.show_trace)
        self.launcher = Launcher(self)
        self.control.refused = self.launcher.refused
        self.areas: dict[str, Area] = {area.name: area(self) for area in AREAS}

    # -- what is on the screen ------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Two bars and the panes between them."""
        yield StatusBar(self.palette, id="status")
        views: dict[str, tuple[str, list[View]]] = {
            FLOWS: ("FLOWS", [self.flows]),
            RUNS: ("RUNS", [self.run_rows]),
            TRACE: ("TRACE", [self.spans]),
            INSPECT: ("INSPECT", [self.detail, self.event_rows]),
            OUTPUT: ("OUTPUT", [self.stream, self.logs]),
        }
        for area in self.areas.values():
            for name, more in area.views().items():
                views[name][1].extend(more)
        self.panes = {name: Pane(heading, shown, self.palette, id=name) for name, (heading, shown) in views.items()}
        # How the run went says more than the names of its tabs.
        self.panes[TRACE].short_head_cells = TRACE_HEAD_CELLS
        for pane in self.panes.values():
            pane.chosen = self.on_pane_chosen
        others = [widget for area in self.areas.values() for widget in area.widgets()]
        yield Desk([*self.panes.values(), *others], self._boxes)
        yield KeyBar(self.palette, id="keys")

    def palette(self) -> Palette:
        """Styles of the theme of the moment."""
        found = self._palettes.get(self.theme)
        if found is None:
            found = self._palettes[self.theme] = Palette(self.get_css_variables())
        return found

    def get_css_variables(self) -> dict[str, str]:
        """Those of the theme, and what of them has to be readable."""
        variables = super().get_css_variables()
        return variables | css(variables)

    def _boxes(self, width: int, height: int) -> dict[str, Box]:
        # Without flows there is a hint to read.
        rows = max(len(self.flows), 2) if len(self.flows) or not self.workspace.listed else EMPTY_ROWS
        boxes = place(width, height, flows=rows, state=self.state, focus=self.pane.id or FLOWS, zoomed=self.zoomed)
        for area in self.areas.values():
            area.place(boxes)
        return boxes

    @property
    def pane(self) -> Pane:
        """The pane that has, or had last, the focus."""
        focused = self.screen_stack[0].focused if self.screen_stack else None
        return focused if isinstance(focused, Pane) and focused.id in self.panes else self.panes[self._last_pane]

    def relayout(self) -> None:
        """Put the panes where they belong now."""
        # A child's request is what makes its container compute the boxes again.
        self.panes[FLOWS].refresh(layout=True)

    # -- life -----------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Paint first; everything else waits for that."""
        self.panes[FLOWS].focus()
        if self._live:
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit, None, 128 + number)
        self.frames.refresh_bars()
        self.call_after_refresh(self._after_paint)

    def _after_paint(self) -> None:
        self.frames.start()
        self._spawn(self._open_source, "source")

    async def _open_source(self) -> None:
        given = self._given
        # Boundary: a source that cannot be opened leaves a screen that says so.
        try:
            source = await asyncio.to_thread(given) if callable(given) else given
            self.control.source = source
            await source.start()
        except Exception as error:
            self.failure = f"cannot start: {error}"
            self.say(self.failure, "error")

    async def on_unmount(self) -> None:
        """End what the source began, and remember the layout."""
        self.state.raw = self.stream.raw
        self._save(self.state)
        source, self.control.source = self.control.source, None
        if source is not None:
            await source.stop()

    async def on_event(self, event: events.Event) -> None:
        """Note when somebody is at work here."""
        if isinstance(event, events.Key):
            self.pressed_at = time.monotonic()
            if event.is_forwarded:
                await opened(self.screen)
            if self.bursts.moved(event, self.focused):
                return
        await super().on_event(event)
        if isinstance(event, events.Resize) and self._resize_timer is not None:
            # Textual takes sizes up after 8 ms, by a timer that is lost where the machine is busy for longer, and no
            # other is started then: the screen stays as it was for good. Without it, the app does so when it is idle.
            self._resize_timer.stop()
            self._resize_timer = None

    def _spawn(self, work: Work, group: str) -> object:
        worker: Worker[None] = self.run_worker(work, group=group, exit_on_error=False)
        return worker

    def say(self, message: str, severity: str = "information", *, stays_s: float | None = None) -> None:
        """Tell people once; without markup, for the text may be anybody's."""
        told = one_line(message)[:400]
        # A key that is refused again does not cover the panes with what stands there already.
        if severity != "warning" or all(each.message != told for each in self._notifications):
            self.notify(told, severity=cast("Severity", severity), markup=False, timeout=stays_s)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: Severity = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """As Textual's, for a notice that ends whatever the wall clock does."""
        from textual.notifications import Notify

        from playground.dashboard.toasts import Toast

        lasts = self.NOTIFICATION_TIMEOUT if timeout is None else timeout
        self.post_message(Notify(Toast(message, title, severity, lasts, markup=markup)))

    def pop_screen(self) -> AwaitComplete:
        """As Textual's; a screen that is told twice to close, the palette too, does not take the app with it."""
        return super().pop_screen() if len(self.screen_stack) > 1 else nothing()

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """The screen as SVG; its spaces stay, in renderers too that drop those at the beginning of a text."""
        svg = super().export_screenshot(title=title, simplify=simplify)
        return svg.replace("<svg ", '<svg xml:space="preserve" ', 1)

    # -- what is shown --------------------------------------------------------------------------------------------

    def show_trace(self, trace: TraceModel | None, loading: bool) -> None:
        """Show a trace in the tree, the events and the stream."""
        self.workspace.current = trace
        self.spans.loading = loading
        if self.spans.trace is not trace:
            self.spans.show(trace)
            # One that is read from the store begins where it began, and its rows stay where they are.
            self.spans.follow = trace is not None and (trace.live or not (trace.over or trace.loading))
            self.event_rows.show(trace)
            self.stream.show(trace)
            for area in self.areas.values():
                area.show(trace)
        if trace is None:
            return
        if trace.root is not None and self.pane.id != FLOWS and trace.whole is None:
            self.inspector.show_span(trace, trace.root)
            self.selection.forget()
        line = self.run_rows.line
        if line is None or line.trace_id != trace.trace_id:
            following = self.run_rows.follow_newest
            self.run_rows.sync()
            self.run_rows.pick(trace.trace_id)
            self.run_rows.follow_newest = following and self.run_rows.cursor == 0

    def on_pane_moved(self, message: Pane.Moved) -> None:
        """The inspector shows what the cursor is on."""
        self.inspect(message.pane)
        self.frames.refresh_bars()

    def inspect(self, pane: Pane) -> None:
        trace = self.workspace.current
        if any(area.inspect(pane.view) for area in self.areas.values()):
            return
        if pane.id == FLOWS:
            self.inspector.show_flow(self.flows.module, self.flows.flow)
        elif pane.id == RUNS and self.run_rows.line is not None:
            self.control.select(self.run_rows.line.trace_id)
        elif pane.id == TRACE and trace is not None and self.spans.span is not None:
            self.inspector.show_span(trace, self.spans.span)

    def on_pane_chosen(self, message: Pane.Chosen) -> None:
        """Enter goes one step deeper."""
        pane = message.pane
        if pane.id == FLOWS:
            if self.flows.flow is not None:
                self.launcher.open_form(self.flows.flow)
            elif self.flows.module is not None:
                self.inspector.show_module(self.flows.module)
                self.action_focus_pane(INSPECT)
        elif pane.id == RUNS:
            # The list may have moved under the cursor since a run was shown.
            self.inspect(pane)
            if self.run_rows.line is not None:
                self.action_focus_pane(TRACE)
        elif pane.id == TRACE:
            self.inspect(pane)
            self.panes[INSPECT].show_view(self.detail)
            self.action_focus_pane(INSPECT)
        elif pane.id == INSPECT and pane.view is self.event_rows:
            self.open_event()

    def open_event(self, *, whole: bool = False) -> None:
        """Show the event under the cursor in full."""
        trace, index = self.workspace.current, self.event_rows.event_index
        if trace is not None and index is not None:
            self.inspector.show_event(trace, index, whole=whole)
            self.panes[INSPECT].show_view(self.detail)
            self.frames.refresh_bars()

    def on_descendant_focus(self) -> None:
        """Another pane: other keys, and in a small terminal another picture."""
        if isinstance(self.focused, Pane):
            self.finder.left()
        pane = self.pane
        if pane.id is not None and pane.id != self._last_pane:
            self._last_pane = pane.id
            self.selection.focused(pane.id)
            self.relayout()
            if pane.id in {FLOWS, TRACE}:
                self.inspect(pane)
        self.frames.refresh_bars()

    # -- actions --------------------------------------------------------------------------------------------------

    async def action_do(self, area: str, method: str, *args: object) -> None:
        """A key or a command of an area."""
        # Boundary: what a key does with anybody's data may go wrong; the screen stays, and says what did.
        try:
            done = getattr(self.areas[area], method)(*args)
            if inspect.isawaitable(done):
                await done
        except Exception as error:
            self.say(f"that did not work: {type(error).__name__}: {error}", "error")

    def action_focus_pane(self, name: str) -> None:
        """Give a pane the focus."""
        # At once: the next key may already wait, and is meant for this pane.
        self.screen_stack[0].set_focus(self.panes[name])
        self.relayout()

    def action_next_pane(self, delta: int) -> None:
        """Cycle through the panes."""
        index = PANES.index(self.pane.id or FLOWS)
        self.action_focus_pane(PANES[(index + delta) % len(PANES)])

    def action_focus_next(self) -> None:
        """Tab: the next pane, or the next field of a form."""
        if len(self.screen_stack) == 1:
            self.action_next_pane(1)
        else:
            self.screen.focus_next()

    def action_focus_previous(self) -> None:
        """Shift+tab."""
        if len(self.screen_stack) == 1:
            self.action_next_pane(-1)
        else:
            self.screen.focus_previous()

    def action_next_tab(self) -> None:
        """The next tab of the pane."""
        self.pane.action_tab(1)

    def action_choose(self) -> None:
        """Enter, from the footer."""
        self.pane.action_choose()

    def action_zoom(self) -> None:
        """One pane, or all."""
        self.zoomed = not self.zoomed
        self.relayout()
        self.frames.refresh_bars()

    async def action_back(self) -> None:
        """One step outward: the filter, the zoom, then towards the flows."""
        pane = self.pane
        if self.finder.close(clear=True) or self.finder.stop():
            pass
        elif self.zoomed:
            self.action_zoom()
        elif self.finder.clear(pane):
            pass
        elif pane.id == INSPECT and pane.view is self.detail and self.inspector.event_shown:
            self.inspector.event_shown = False
            pane.show_view(self.event_rows)
        else:
            self.action_focus_pane(
                {RUNS: FLOWS, TRACE: RUNS}.get(pane.id or FLOWS, FLOWS if pane.id == FLOWS else TRACE)
            )
        self.frames.refresh_bars()

    def action_copy(self) -> None:
        """Copy what the cursor is on."""
        text = self.pane.view.copy_text()
        if text:
            self.copy_to_clipboard(text.encode("utf-8", "replace").decode("utf-8"))
            self.say(f"copied {len(text):,} characters")

    def action_run_now(self) -> None:
        """Run the selected flow with what is at hand; ask when nothing is."""
        self.launcher.run_now(self.flows.module, self.flows.flow)

    def action_reload(self) -> None:
        """Load the project's code again."""
        self.control.reload()

    def action_kill_host(self) -> None:
        """End a host that is silent, or blocked for long."""
        self.control.kill_host()

    def action_cancel_run(self) -> None:
        """Cancel the run that is shown."""
        trace = self.workspace.current
        if any(area.cancel() for area in self.areas.values()):
            return
        if trace is None or trace.over:
            self.say("this run is over" if trace else "no run is shown", "warning")
        else:
            self.control.cancel(trace.trace_id)

    def action_follow(self) -> None:
        """Show the newest run as it starts, or stop doing so."""
        rows = self.run_rows
        rows.follow_newest = not rows.follow_newest
        if rows.follow_newest and rows.rows:
            rows.go(0)
            self.control.select(rows.rows[0].trace_id)
        rows.touch()

    def action_raw(self) -> None:
        """Markdown, or the text as it came."""
        self.stream.set_raw(not self.stream.raw)

    def action_fold(self) -> None:
        """Fold or unfold; a page down where nothing folds."""
        if not self.pane.view.toggle():
            self.pane.action_page(1.0)

    def action_expand(self) -> None:
        """Unfold everything under the cursor."""
        if self.pane.view is self.detail:
            self.detail.expand_all()

    def action_decode(self) -> None:
        """Decode a huge event that was left alone."""
        if self.inspector.event_shown:
            self.open_event(whole=True)

    def action_resize_left(self, delta: int) -> None:
        """Width of the lists."""
        self.state.left = min(max(self.state.left + delta, -20), 60)
        self.relayout()

    def action_resize_lower(self, delta: int) -> None:
        """Height of the lower panes."""
        self.state.lower = min(max(self.state.lower + delta, -40), 40)
        self.relayout()

    def action_help(self) -> None:
        """Explain the pane."""
        from playground.dashboard.help import HelpScreen

        moment = [found for area in self.areas.values() if (found := area.help()) is not None]
        self.push_screen(HelpScreen(self.pane.id or FLOWS, self.pane.view, moment))

    # -- searching ------------------------------------------------------------------------------------------------

    async def action_search(self) -> None:
        """Open the line that filters a list or searches a tree."""
        await self.finder.open(self.pane)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Lists follow each key."""
        self.finder.changed(event)

    def action_next_match(self, direction: int) -> None:
        """Walk the matches of the last search."""
        self.finder.walk(self.pane, direction)
