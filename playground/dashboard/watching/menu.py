"""A small menu of ways to copy: one key for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from playground.dashboard.closing import ClosesOnce
from playground.dashboard.text import one_line
from playground.dashboard.watching.copies import Choice


class CopyMenu(ClosesOnce, ModalScreen[Choice | None]):
    """Returns what was chosen; None when it was left."""

    DEFAULT_CSS = """
    CopyMenu { align: center middle; background: $background 60%; }
    CopyMenu > Vertical {
        width: 60; max-width: 96%; height: auto; max-height: 90%;
        border: heavy $frame; padding: 0 1; background: $background;
    }
    CopyMenu OptionList, CopyMenu OptionList:focus {
        height: auto; max-height: 100%; border: none; background: $background; padding: 0;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,Y", "dismiss(None)", "Close", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("up", "move(-1)", "Up", show=False),
    ]

    def __init__(self, heading: str, choices: Sequence[Choice]) -> None:
        super().__init__()
        self._heading = heading
        self._choices = choices

    def compose(self) -> ComposeResult:
        """One line for each form."""
        with Vertical() as box:
            box.border_title = f"COPY {one_line(self._heading)}"
            box.border_subtitle = "esc closes"
            yield OptionList(*(Option(self._line(choice)) for choice in self._choices))

    @staticmethod
    def _line(choice: Choice) -> Text:
        return Text.assemble((f"{choice.key}  ", "bold"), choice.label)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter, or a click."""
        self.dismiss(self._choices[event.option_index])

    def on_key(self, event: events.Key) -> None:
        """A letter chooses at once."""
        for choice in self._choices:
            if event.character == choice.key:
                event.stop()
                self.dismiss(choice)
                return

    def action_move(self, delta: int) -> None:
        """Move the cursor."""
        options = self.query_one(OptionList)
        if delta > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()
