"""What `?` shows: the focused pane, its keys, and the keys that work everywhere."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from playground.dashboard.closing import ClosesOnce
from playground.dashboard.gathered import AREAS
from playground.dashboard.keys import GENERAL, HELP_TEXTS
from playground.dashboard.views.base import View


class HelpScreen(ClosesOnce, ModalScreen[None]):
    """Help for one pane, or for the view in front of it."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; background: $background 60%; }
    HelpScreen > VerticalScroll {
        width: 84; max-width: 96%; height: auto; max-height: 94%;
        border: heavy $accent; padding: 0 2; background: $background;
    }
    HelpScreen Static { width: 1fr; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,enter", "dismiss", "Close", show=False),
        Binding("j", "scroll(1)", "Down", show=False),
        Binding("k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(self, pane: str, view: View | None = None) -> None:
        super().__init__()
        self._pane = pane
        self._view = view

    def compose(self) -> ComposeResult:
        """The text."""
        own = self._view.help if self._view is not None else None
        about, keys = own if own is not None else HELP_TEXTS[self._pane]
        name = self._view.label if own is not None and self._view is not None else self._pane
        with VerticalScroll() as box:
            box.border_title = f"{name.upper()} · keys"
            box.border_subtitle = "esc closes"
            yield Static(Text(about + "\n"))
            yield Static(_table(keys))
            yield Static(Text("\nEverywhere", style="bold"))
            yield Static(_table([*GENERAL, *(line for area in AREAS for line in area.GENERAL)]))

    def action_scroll(self, delta: int) -> None:
        """Scroll by a line."""
        self.query_one(VerticalScroll).scroll_relative(y=delta, animate=False)


def _table(keys: list[tuple[str, str]]) -> Text:
    text = Text()
    for number, (key, meaning) in enumerate(keys):
        text.append(("\n" if number else "") + f"{key:<15}", style="bold")
        text.append(meaning)
    return text
