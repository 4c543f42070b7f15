"""What `?` shows: the focused pane, its keys, and the keys that work everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from playground.dashboard.closing import ClosesOnce
from playground.dashboard.gathered import AREAS
from playground.dashboard.keys import GENERAL, HELP_TEXTS
from playground.dashboard.text import cells
from playground.dashboard.views.base import View

KEY_CELLS = 15
"""At least, so that all of the lists have their columns in line."""


class HelpScreen(ClosesOnce, ModalScreen[None]):
    """Help for one pane, or for the view in front of it."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; background: $background 60%; }
    HelpScreen > VerticalScroll {
        width: 92; max-width: 96%; height: auto; max-height: 94%; scrollbar-size-vertical: 1;
        border: heavy $frame; padding: 0 2; background: $background;
    }
    HelpScreen Static { width: 1fr; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,enter", "dismiss", "Close", show=False),
        Binding("j", "scroll(1)", "Down", show=False),
        Binding("k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(
        self, pane: str, view: View | None = None, moment: Sequence[tuple[str, list[tuple[str, str]]]] = ()
    ) -> None:
        """`moment` has headings and keys of what is going on."""
        super().__init__()
        self._moment = moment
        self._pane = pane
        self._view = view

    def compose(self) -> ComposeResult:
        """The text."""
        own = self._view.help if self._view is not None else None
        about, keys = own if own is not None else HELP_TEXTS[self._pane]
        name = self._view.label if own is not None and self._view is not None else self._pane
        with VerticalScroll() as box:
            box.border_title = f"{name.upper()} · keys"
            box.border_subtitle = "j k scroll · esc closes"
            yield Static(Text(about + "\n"))
            yield Keys(keys)
            for heading, more in self._moment:
                yield Static(Text(f"\n{heading}", style="bold"))
                yield Keys(more)
            yield Static(Text("\nEverywhere", style="bold"))
            yield Keys([*GENERAL, *(line for area in AREAS for line in area.GENERAL)])

    def action_scroll(self, delta: int) -> None:
        """Scroll by a line."""
        self.query_one(VerticalScroll).scroll_relative(y=delta, animate=False)


class Keys(Static):
    """Keys and what they do, one below the other; what is wrapped stays in its column."""

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._lines = keys

    def render(self) -> Table:
        """Two columns."""
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(style="bold", width=max(KEY_CELLS, *(cells(key) for key, _ in self._lines)))
        table.add_column(ratio=1)
        for key, meaning in self._lines:
            table.add_row(Text(key), Text(meaning))
        return table
