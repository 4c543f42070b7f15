"""A line at the bottom that asks for one thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Label

from playground.dashboard.inorder import Line
from playground.dashboard.text import one_line

if TYPE_CHECKING:
    from playground.dashboard.app import DashboardApp

__all__ = ["AskLine", "ask_line"]


class AskLine(Horizontal):
    """Gives what was entered to whoever asked; escape takes it away."""

    DEFAULT_CSS = """
    AskLine { dock: bottom; height: 1; width: 100%; background: $surface; color: $foreground; }
    AskLine Label { width: auto; padding: 0 1; text-style: bold; }
    AskLine Input, AskLine Input:focus {
        height: 1; width: 1fr; border: none; padding: 0; background: $surface; color: $foreground;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", show=False)]

    def __init__(self, prompt: str, value: str, answer: Callable[[str], object], back: Widget) -> None:
        super().__init__()
        self._prompt = prompt
        self._value = value
        self._answer = answer
        self._back = back

    def compose(self) -> ComposeResult:
        """What is asked, and the place for the answer."""
        yield Label(Content(one_line(self._prompt)))
        yield Line(self._value, select_on_focus=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Nobody else follows what is typed here."""
        event.stop()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Done."""
        event.stop()
        self.action_leave()
        self._answer(event.value)

    def action_leave(self) -> None:
        """The focus goes back to where it was."""
        self.screen.set_focus(self._back)
        self.remove()


async def ask_line(
    app: DashboardApp, prompt: str, answer: Callable[[str], object], *, back: Widget, value: str = ""
) -> None:
    """Ask; `answer` gets what was entered, and nothing when it was given up."""
    line = AskLine(prompt, value, answer, back)
    await app.screen.mount(line)
    app.screen.set_focus(line.query_one(Input))
