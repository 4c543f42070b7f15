"""Older runs are read from the store when the end of the list comes into sight."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from playground.dashboard.control import LISTED

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp

AHEAD = 20
"""Rows before the end at which more are asked for."""
EPSILON_S = 1e-6
"""Runs that began in the same moment as the oldest one are asked for once more."""


class Paging:
    """Remembers of each filter whether the store has more."""

    def __init__(self, app: DashboardApp) -> None:
        self._app = app
        self._asking = False
        self._whole: set[str] = set()
        """Filters of which all runs are here."""

    def frame(self) -> None:
        """Ask for more, if somebody looks at the end of a list that is as long as a page."""
        view = self._app.run_rows
        if self._asking or view.filter in self._whole or len(view) < LISTED:
            return
        if view.top + view.height < len(view) - AHEAD:
            return
        self._asking = True
        self._app.control.start(partial(self._more, view.filter), "older runs")

    async def _more(self, text: str) -> None:
        try:
            oldest = self._app.workspace.runs.oldest(text)
            known = len(self._app.workspace.runs)
            found = await self._app.control.find_runs(text, None if oldest is None else oldest + EPSILON_S)
            if found < LISTED or len(self._app.workspace.runs) == known:
                self._whole.add(text)
        finally:
            self._asking = False
