"""Fields that take keys in the order in which they were typed, and pass nothing of their text on to the terminal.

A field of Textual's takes letters at once, and what moves or deletes only after everything that waits: of `⌫2` in one
burst (a paste, a slow line, a script) the `2` would come first, and be deleted. And it draws its text as it is, with
whatever a sample or an earlier run has put there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.widgets import Input, TextArea

from playground.dashboard.text import signs

__all__ = ["Line", "Sheet", "moves_of"]


def moves_of(bindings: Iterable[object]) -> dict[str, str]:
    """What the keys of a field do, by key."""
    found: dict[str, str] = {}
    for each in bindings:
        if isinstance(each, Binding):
            found.update(dict.fromkeys((key.strip() for key in each.key.split(",")), each.action))
    return found


_OF_LINES = moves_of(Input.BINDINGS)
EDGES: list[BindingType] = [
    Binding("ctrl+home", "edge(0)", "To the beginning", show=False),
    Binding("ctrl+end", "edge(1)", "To the end", show=False),
]
_OF_SHEETS = moves_of([*TextArea.BINDINGS, *EDGES])


class Line(Input):
    """A field of one line."""

    @property
    def _value(self) -> Text:
        """What is drawn: without what the terminal would obey."""
        shown = "•" * len(self.value) if self.password else signs(self.value).replace("\t", " ")
        return Text(shown, no_wrap=True, overflow="ignore", end="")

    async def _on_key(self, event: events.Key) -> None:
        """Moves, deletions and Enter, when their turn comes."""
        action = _OF_LINES.get(event.key)
        if action is None:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()
        await self.run_action(action)


class Sheet(TextArea):
    """A field of several lines."""

    BINDINGS: ClassVar[list[BindingType]] = EDGES

    def get_line(self, line_index: int) -> Text:
        """One line as it is drawn: without what the terminal would obey."""
        return Text(signs(self.document.get_line(line_index)), end="", no_wrap=True)

    def action_edge(self, which: int) -> None:
        """Go to the beginning (0) or the end (1) of all of it."""
        self.move_cursor(self.document.end if which else self.document.start)

    async def _on_key(self, event: events.Key) -> None:
        """Moves and deletions, when their turn comes."""
        action = _OF_SHEETS.get(event.key)
        if action is None:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()
        await self.run_action(action)
