"""Keys that come in one burst: what follows a key that opens a line belongs into that line."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from weakref import WeakKeyDictionary, ref

from textual import events
from textual.screen import Screen
from textual.widget import Widget

from playground.dashboard.pane import Pane

OPENS_S = 5.0
"""A screen that takes longer gets its keys as they come."""


async def opened(screen: Screen[Any]) -> None:
    """Wait until a screen that a key has opened can take the next one."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(OPENS_S):
            await screen._mounted_event.wait()


class Bursts:
    """Remembers for whom each key was meant when it came.

    A key goes to the widget that has the focus when it arrives, and comes back to the app when that widget has no use
    for it. Those of one burst (a paste, a slow line, a script) all arrive before the first of them has opened
    something: they come back for a widget that has the focus no more, and are handed on to the one that has it now.
    """

    def __init__(self) -> None:
        self._meant: WeakKeyDictionary[events.Key, ref[Widget]] = WeakKeyDictionary()

    def moved(self, event: events.Key, focused: Widget | None) -> bool:
        """Whether a key was handed on to the widget that has the focus now."""
        if not event.is_forwarded:
            if focused is not None:
                self._meant[event] = ref(focused)
            return False
        meant = self._meant.pop(event, None)
        # Panes take their keys by bindings, which are those of the moment anyway.
        if meant is None or focused is None or meant() is focused or isinstance(focused, Pane):
            return False
        self._meant[again := events.Key(event.key, event.character)] = ref(focused)
        focused._forward_event(again)
        return True
