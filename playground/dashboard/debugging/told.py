"""Notices of runs that stop out of sight: said once, and taken back when there is nothing left to go to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from playground.dashboard.debugging.model import where

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp
    from playground.dashboard.debugging.model import Stops
    from playground.protocol import Stopped


class ToldStops:
    """Says of each stop, once, that somebody could go there."""

    def __init__(self, app: DashboardApp, stops: Stops) -> None:
        self._app = app
        self._stops = stops
        self._new: list[str] = []
        """Stops that are to be told."""
        self._said: dict[str, tuple[str, float]] = {}
        """What was said of stops, and when."""

    def add(self, stop: Stopped) -> None:
        """It stopped where nobody looks."""
        self._new.append(stop.stop)

    def frame(self, looked_at: str | None) -> None:
        """Say what is new, and take back what went on or is looked at by now."""
        # A run that was begun here is shown once its host says that it took it: it may have stopped before that.
        if not self._app.control.asking:
            new, self._new = self._new, []
            for name in new:
                stop = self._stops.get(name)
                if stop is not None and name != looked_at:
                    self._said[name] = self._text(stop), time.monotonic()
                    self._app.say(self._said[name][0], "warning")
        for name, (text, at) in list(self._said.items()):
            gone = name == looked_at or self._stops.get(name) is None
            # A notice is on its way to the screen for a moment.
            if time.monotonic() - at > self._app.NOTIFICATION_TIMEOUT or (gone and self._unsaid(text)):
                del self._said[name]

    def _text(self, stop: Stopped) -> str:
        current = self._app.workspace.current
        if current is not None and current.trace_id == stop.trace_id:
            return f"⏸ another branch of it stopped {where(stop)} · . goes there"
        return f"⏸ {stop.trace_id[:8]} stopped {where(stop)} · press . to go there"

    def _unsaid(self, text: str) -> bool:
        found = [each for each in self._app._notifications if each.message == text]
        for each in found:
            self._app._unnotify(each)
        return bool(found)
