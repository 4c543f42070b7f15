"""What `/`, `n` and `N` do: lists filter as you type, trees and texts are searched."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import islice
from typing import TYPE_CHECKING

from playground.dashboard.layout import RUNS
from playground.dashboard.pane import Pane
from playground.dashboard.views.base import View
from playground.dashboard.views.events import EventsView
from playground.dashboard.views.lists import RunsView
from playground.dashboard.views.output import LogsView

if TYPE_CHECKING:
    from textual.widgets import Input

    from playground.dashboard.app import DashboardApp

MAX_MATCHES = 10_000


class Finder:
    """Owns the line at the bottom, and remembers what was searched last."""

    def __init__(self, app: DashboardApp) -> None:
        self._app = app
        self._line: Input | None = None
        self._pane: Pane | None = None
        self.needle = ""

    async def open(self, pane: Pane) -> None:
        """Ask for a filter or a text to find."""
        from playground.dashboard.searchline import SearchLine

        if self._line is not None:
            return
        filtered = filter_of(pane.view)
        self._pane = pane
        label = pane.view.label.lower()
        prompt = f"search {label}" if filtered is None else f"filter {label}"
        self._line = SearchLine(self.needle if filtered is None else filtered, placeholder=prompt)
        await self._app.screen.mount(self._line)
        self._line.focus()

    def changed(self, event: Input.Changed) -> None:
        """Lists follow each key."""
        if event.input is self._line and self._pane is not None:
            set_filter(self._pane.view, event.value)

    def submitted(self, event: Input.Submitted) -> None:
        """Enter keeps the filter, or goes to the first match."""
        pane = self._pane
        if event.input is not self._line or pane is None:
            return
        self.close()
        text = event.value.strip()
        if filter_of(pane.view) is None:
            self.needle = text
            self.walk(pane, 1, here=True)
        elif pane.id == RUNS and text:
            # The list holds the newest runs; the store may know older ones that match.
            self._app.control.refresh_runs(text.split()[0].rpartition(":")[2])

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

    def clear(self, pane: Pane) -> bool:
        """Drop a pane's filter; False when it has none."""
        if not filter_of(pane.view):
            return False
        set_filter(pane.view, "")
        return True

    def walk(self, pane: Pane, direction: int, *, here: bool = False) -> None:
        """Go to the next match of the last search and say which it is."""
        if not self.needle:
            return
        found = next_match(pane.view, self.needle, direction, here=here)
        if found is None:
            self._app.say(f"{self.needle} is not here", "warning")
        else:
            self._app.inspect(pane)
            self._app.say(f"match {found[0]:,} of {found[1]:,}")


def filter_of(view: View) -> str | None:
    """The filter of a view; None when it searches instead."""
    if isinstance(view, EventsView):
        return view.filter.text
    return view.filter if isinstance(view, RunsView | LogsView) else None


def set_filter(view: View, text: str) -> None:
    """Filter a view."""
    if isinstance(view, EventsView | RunsView | LogsView):
        view.set_filter(text)


def next_match(view: View, needle: str, direction: int, *, here: bool = False) -> tuple[int, int] | None:
    """Go to the next match, around the end; its number and how many there are. `here`: the cursor may stay."""
    matches = list(islice(view.find(needle.lower()), MAX_MATCHES))
    if not matches:
        return None
    position = view.cursor if view.has_cursor else view.top
    if direction > 0:
        index = (bisect_left if here else bisect_right)(matches, position) % len(matches)
    else:
        index = (bisect_left(matches, position) - 1) % len(matches)
    view.go(matches[index])
    return index + 1, len(matches)
