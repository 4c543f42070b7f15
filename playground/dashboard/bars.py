"""The two lines around the panes: the state of things above, the keys of the moment below."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from playground.dashboard.palette import BAR, Palette
from playground.dashboard.text import Row, cells, clip_row, row_cells


class Key(NamedTuple):
    """A key in the footer: how it is written, what it does, the action behind it."""

    key: str
    label: str
    action: str


class StatusBar(Widget):
    """One line: left what is shown, right how it goes; the left gives way."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "StatusBar { height: 1; }"

    def __init__(self, palette: Callable[[], Palette], *, id: str) -> None:
        super().__init__(id=id)
        self._palette = palette
        self._left: Row = []
        self._right: Row = []

    def set_rows(self, left: Row, right: Row) -> None:
        """Show these, if they are new."""
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The one line there is."""
        palette = self._palette()
        base = palette.plain + palette.bar
        width = self.size.width
        right = clip_row(self._right, width)
        left = clip_row(self._left, max(width - row_cells(right) - 1, 0))
        gap = max(width - row_cells(left) - row_cells(right), 0)
        row = [*left, (" " * gap, ""), *right]
        return Strip([Segment(text, base + palette.style(role, BAR)) for text, role in row if text], width)


class KeyBar(Widget):
    """Keys that fit the moment; a click presses them."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "KeyBar { height: 1; }"

    def __init__(self, palette: Callable[[], Palette], *, id: str) -> None:
        super().__init__(id=id)
        self._palette = palette
        self._keys: list[Key] = []
        self._places: list[tuple[int, int, str]] = []

    def set_keys(self, keys: list[Key]) -> None:
        """Show these, if they are new."""
        if keys != self._keys:
            self._keys = keys
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """As many keys as fit; palette and help, the last two, always do."""
        palette = self._palette()
        base = palette.plain + palette.bar
        width = self.size.width
        keys = list(self._keys)
        while len(keys) > 2 and sum(cells(key.key) + cells(key.label) + 4 for key in keys) > width:
            del keys[-3]
        self._places = []
        row: Row = []
        used = 0
        for key in keys:
            piece: Row = [(f" {key.key} ", "accent"), (f"{key.label} ", "")]
            self._places.append((used, used + row_cells(piece), key.action))
            row += [*piece, (" ", "")]
            used += row_cells(piece) + 1
        row = clip_row(row, width)
        row.append((" " * (width - row_cells(row)), ""))
        return Strip([Segment(text, base + palette.style(role, BAR)) for text, role in row if text], width)

    async def on_click(self, event: events.Click) -> None:
        """Do what the key would do."""
        for start, end, action in self._places:
            if start <= event.x < end:
                await self.app.run_action(action)
                return
