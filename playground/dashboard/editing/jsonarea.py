"""The text that is edited: JSON in colors, with the indentation of the line above."""

from __future__ import annotations

from collections.abc import Callable

from rich.style import Style
from rich.text import Text
from textual import events
from textual.message import Message

from playground.dashboard.editing.jsontext import colors
from playground.dashboard.inorder import Sheet
from playground.dashboard.palette import Palette

COMPLETES = frozenset({"tab", "ctrl+@", "ctrl+at", "ctrl+space"})
"""Terminals have no sign of its own for ctrl+space: it is that of ctrl+@."""
MAX_COLORED = 2000
"""Characters of a line that are colored."""


class JsonArea(Sheet):
    """A text area for JSON. What completes it is asked for by a message."""

    class Complete(Message):
        """Tab, or ctrl+space; `forced` when nothing else was meant."""

        def __init__(self, *, forced: bool) -> None:
            super().__init__()
            self.forced = forced

    def __init__(
        self, text: str, palette: Callable[[], Palette], *, json: bool, first: Callable[[str], bool], id: str
    ) -> None:
        """`first` is asked about each key, and says whether it took it: in order, as bindings with priority are not."""
        super().__init__(
            text,
            id=id,
            soft_wrap=not json,
            tab_behavior="focus",
            show_line_numbers=json,
            max_checkpoints=500,
            highlight_cursor_line=False,
            compact=True,
        )
        self._palette_of = palette
        self._json = json
        self._first = first

    def get_line(self, line_index: int) -> Text:
        """One line, in colors."""
        text = super().get_line(line_index)
        if self._json:
            line, palette = self.document.get_line(line_index), self._palette_of()
            for start, end, role in colors(line[:MAX_COLORED]):
                style = palette.style(role)
                text.stylize(Style(color=style.color, bold=style.bold), start, end)
        return text

    async def _on_key(self, event: events.Key) -> None:
        """Tab completes, Enter keeps the indentation."""
        if self._first(event.key):
            event.stop()
            event.prevent_default()
            return
        if event.key in COMPLETES and self._json:
            event.stop()
            event.prevent_default()
            self.post_message(self.Complete(forced=event.key != "tab"))
            return
        if event.key == "enter" and self._json and not self.read_only:
            event.stop()
            event.prevent_default()
            self._new_line()
            return
        await super()._on_key(event)

    def _new_line(self) -> None:
        row, column = self.cursor_location
        line = self.document.get_line(row)
        indent = len(line) - len(line.lstrip())
        before, after = line[:column].rstrip(), line[column:].lstrip()
        opens = before.endswith(("{", "["))
        closes = opens and after.startswith(("}", "]"))
        space = " " * (min(indent, column) + 2 * opens)
        self.insert("\n" + space + ("\n" + " " * min(indent, column) if closes else ""))
        if closes:
            self.move_cursor((row + 1, len(space)))
