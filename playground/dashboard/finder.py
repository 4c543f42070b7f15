"""What `/`, `n` and `N` do: lists filter as you type, trees and texts are searched."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from playground.dashboard.layout import RUNS
from playground.dashboard.pane import Pane
from playground.dashboard.search import Search
from playground.dashboard.views.base import View
from playground.dashboard.views.events import EventsView
from playground.dashboard.views.lists import RunsView
from playground.dashboard.views.output import LogsView

if TYPE_CHECKING:
    from textual.widgets import Input

    from playground.dashboard.app import DashboardApp


class Finder:
    """Owns the line at the bottom, and remembers what was searched last."""

    def __init__(self, app: DashboardApp) -> None:
        self._app = app
        self._line: Input | None = None
        self._pane: Pane | None = None
        self.needle = ""
        self.search: Search | None = None
        """The one that is under way."""
        self._searched: Pane | None = None
        self._direction = 1
        self._busy = False

    async def open(self, pane: Pane) -> None:
        """Ask for a filter or a text to find."""
        from playground.dashboard.searchline import SearchLine

        if self._line is not None:
            return
        filtered = filter_of(pane.view)
        self._pane = pane
        label = pane.view.label.lower()
        prompt = f"search {label}" if filtered is None else f"filter {label}"
        self._line = SearchLine(self.needle if filtered is None else filtered, prompt, self.entered)
        await self._app.screen.mount(self._line)
        self._app.screen.set_focus(self._line)
        if isinstance(pane.view, EventsView):
            self._app._spawn(_get_ready, "filter")

    def changed(self, event: Input.Changed) -> None:
        """Lists follow each key."""
        if event.input is self._line and self._pane is not None:
            set_filter(self._pane.view, event.value)
            self._app.frames.filter_on()

    def entered(self, text: str) -> None:
        """Enter keeps the filter, or goes to the first match."""
        pane, text = self._pane, text.strip()
        if pane is None:
            return
        if filter_of(pane.view) is not None:
            # What was typed last may not have been told yet.
            set_filter(pane.view, text)
        self.close()
        if filter_of(pane.view) is None:
            self.needle = text
            self.walk(pane, 1, here=True)
        elif pane.id == RUNS and text:
            # The list holds the newest runs; the store may know older ones that match.
            self._app.control.refresh_runs(text)

    def close(self, *, clear: bool = False) -> bool:
        """Take the line away, if it is there; `clear` drops the filter too."""
        line, pane = self._line, self._pane
        self._line = self._pane = None
        if line is None or pane is None:
            return False
        if clear:
            set_filter(pane.view, "")
        line.remove()
        pane.focus()
        return True

    def left(self) -> None:
        """Somebody went elsewhere: the line goes, and what it filters stays."""
        line, self._line, self._pane = self._line, None, None
        if line is not None:
            line.remove()

    def clear(self, pane: Pane) -> bool:
        """Drop a pane's filter; False when it has none."""
        if not filter_of(pane.view):
            return False
        set_filter(pane.view, "")
        return True

    def walk(self, pane: Pane, direction: int, *, here: bool = False) -> None:
        """Go to the next match of the last search and say which it is; what takes longer goes on with each frame."""
        if not self.needle:
            return
        self.search = Search(pane.view, self.needle.lower(), direction, here=here)
        self._direction = direction
        self._searched = pane
        self.step()

    def step(self) -> None:
        """Go on with the search, if there is one: now, and between the frames. Called once per frame."""
        self._go_on()
        if self.search is not None and not self.search.over and not self._busy:
            self._busy = True
            self._app._spawn(self._search_on, "search")

    async def _search_on(self) -> None:
        try:
            while self.search is not None and not self.search.over:
                self._go_on()
                await asyncio.sleep(0)
        finally:
            self._busy = False

    def _go_on(self) -> None:
        search, pane = self.search, self._searched
        if search is None or pane is None:
            return
        view = search.view
        if pane.view is not view:
            self._end()
            return
        if search.over and search.partial and not view.unfinished:
            # It was not in what was there; now all is.
            search = self.search = Search(view, search.needle, self._direction, here=True)
        found = search.go_on()
        if found:
            self._app.inspect(pane)
        if search.over and (search.found is not None or not search.partial):
            self._end()
            self._app.say(search.told(), "information" if search.found is not None else "warning")
            found = True
        elif search.over:
            view.searching = f"not in what is read, {view.unfinished or '100 %'} · esc stops"
            view.touch()
        else:
            view.searching = f"searching {search.percent} % · esc stops"
            view.touch()
        if found:
            # Somebody waits for it: not with the next frame, but now.
            pane.redraw_if_changed()

    def stop(self) -> bool:
        """Give the search up; False when there is none."""
        search = self.search
        if search is None:
            return False
        self._end()
        self._app.say(f"given up after {search.looked:,} rows")
        return True

    def _end(self) -> None:
        if self.search is not None:
            self.search.view.searching = ""
            self.search.view.touch()
        self.search = None


async def _get_ready() -> None:
    """Import what filters need while the first key is typed."""
    await asyncio.to_thread(import_module, "regex")


def filter_of(view: View) -> str | None:
    """The filter of a view; None when it searches instead."""
    if isinstance(view, EventsView):
        return view.filter.text
    return view.filter if isinstance(view, RunsView | LogsView) else None


def set_filter(view: View, text: str) -> None:
    """Filter a view."""
    if isinstance(view, EventsView | RunsView | LogsView):
        view.set_filter(text)
