"""A screen that says what is about to be done, and asks for secrets by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label

from playground.dashboard.closing import ClosesOnce
from playground.dashboard.inorder import Line
from playground.dashboard.text import one_line


class AskScreen(ClosesOnce, ModalScreen[dict[str, str] | None]):
    """Gives the secrets by name (none, where none was asked for), or None when it was left."""

    DEFAULT_CSS = """
    AskScreen { align: center middle; background: $background 60%; }
    AskScreen > #ask {
        width: 90; max-width: 98%; height: auto; max-height: 96%;
        border: heavy $frame; background: $background; padding: 0 1;
    }
    AskScreen Label { height: auto; width: 1fr; }
    AskScreen .about { color: $note; }
    AskScreen .name { margin-top: 1; }
    AskScreen #message { color: $text-error; }
    AskScreen Input, AskScreen Input:focus { height: 1; border: none; padding: 0 1 !important; background: $surface; }
    AskScreen Input:focus { background: $primary 25%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False, priority=True),
        Binding("ctrl+s,f5", "apply", "Go on", show=False, priority=True),
        Binding("enter", "apply", "Go on", show=False),
    ]

    def __init__(self, title: str, about: Sequence[str], *, does: str, secrets: Sequence[str] = ()) -> None:
        """`does` says what ctrl+s does."""
        super().__init__()
        self._title = title
        self._about = about
        self._does = does
        self._secrets = list(secrets)

    def compose(self) -> ComposeResult:
        """What it is about, and a line for each secret."""
        with VerticalScroll(id="ask") as box:
            box.can_focus = False
            box.border_title = Content(one_line(self._title)).markup
            box.border_subtitle = f"⏎ or ctrl+s {self._does} · esc leaves"
            for line in self._about:
                yield Label(Content(one_line(line)), classes="about")
            for number, name in enumerate(self._secrets):
                yield Label(Content(f"secret {one_line(name)}"), classes="name")
                yield Line(password=True, id=f"secret-{number}", compact=True)
            yield Label("", id="message")

    def on_input_submitted(self) -> None:
        """Enter in a secret."""
        self.action_apply()

    def action_apply(self) -> None:
        """Give the secrets, if all are there."""
        secrets = {name: self.query_one(f"#secret-{n}", Input).value for n, name in enumerate(self._secrets)}
        empty = next((name for name, text in secrets.items() if not text), None)
        if empty is not None:
            self.query_one("#message", Label).update(Content(f"✖ {one_line(empty)} is missing"))
            self.query_one(f"#secret-{self._secrets.index(empty)}").focus()
            return
        self.dismiss(secrets)

    def action_leave(self) -> None:
        """Nothing is done."""
        self.dismiss(None)
