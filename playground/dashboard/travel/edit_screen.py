"""A screen on which a JSON value is changed before something is done with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, TextArea

from playground.dashboard.text import one_line

INDENT = 2


class Edited(NamedTuple):
    """What was entered."""

    value: Any
    secrets: dict[str, str]
    """By the names that were asked for."""


class EditScreen(ModalScreen[Edited | None]):
    """Says what it is about, asks for secrets by name, and checks the JSON as it is typed."""

    DEFAULT_CSS = """
    EditScreen { align: center middle; background: $background 60%; }
    EditScreen > #edit {
        width: 100; max-width: 98%; height: auto; max-height: 96%;
        border: heavy $accent; background: $background; padding: 0 1;
    }
    EditScreen Label { height: auto; width: 1fr; }
    EditScreen .about { color: $text-muted; }
    EditScreen .name { margin-top: 1; }
    EditScreen #message { color: $text-error; height: auto; }
    EditScreen TextArea, EditScreen TextArea:focus {
        height: auto; min-height: 3; max-height: 28; border: none; padding: 0 1 !important; background: $surface;
        margin-top: 1;
    }
    EditScreen Input, EditScreen Input:focus { height: 1; border: none; padding: 0 1 !important; background: $surface; }
    EditScreen Input:focus, EditScreen TextArea:focus { background: $primary 20%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", show=False, priority=True),
        Binding("ctrl+s,ctrl+r,f5", "apply", "Apply", show=False, priority=True),
    ]

    def __init__(
        self, title: str, about: Sequence[str], value: Any, *, does: str, secrets: Sequence[str] = (), text: str = ""
    ) -> None:
        """`value` None: there is nothing to change. `text` is what was typed before; `does` says what ctrl+s does."""
        super().__init__()
        self._title = title
        self._about = about
        self._value = value
        self._text = text or json.dumps(value, indent=INDENT, ensure_ascii=False)
        self._does = does
        self._secrets = list(secrets)
        self._asked_to_leave = False

    @property
    def typed(self) -> str:
        """The text as it stands."""
        return "" if self._value is None else self.query_one(TextArea).text

    def compose(self) -> ComposeResult:
        """What it is about, secrets, the value."""
        with Vertical(id="edit") as box:
            box.border_title = Content(one_line(self._title)).markup
            box.border_subtitle = f"ctrl+s {self._does} · esc closes"
            for line in self._about:
                yield Label(Content(one_line(line)), classes="about")
            for number, name in enumerate(self._secrets):
                yield Label(Content(f"secret {one_line(name)}"), classes="name")
                yield Input(password=True, id=f"secret-{number}", compact=True)
            if self._value is not None:
                area = TextArea(self._text, compact=True, show_line_numbers=False, tab_behavior="focus")
                area.cursor_blink = False
                yield area
            yield Label("", id="message")

    def on_mount(self) -> None:
        """Begin where something is missing."""
        # Their height is a part of the screen's.
        self.query(TextArea).set(disabled=False)
        self.set_focus(self.query("Input, TextArea").first() if self._secrets or self._value is not None else None)

    def on_text_area_changed(self) -> None:
        """Say at once what is wrong."""
        self._asked_to_leave = False
        self._read()

    def _read(self) -> tuple[bool, Any]:
        message = self.query_one("#message", Label)
        if self._value is None:
            return True, None
        try:
            value = json.loads(self.typed)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", None)
            where = (
                f"line {line}, column {error.colno}: {error.msg}"
                if isinstance(error, json.JSONDecodeError)
                else str(error)
            )
            message.update(Content(f"✖ {one_line(where)}"))
            return False, None
        message.update("")
        return True, value

    def say(self, text: str) -> None:
        """Tell what does not fit."""
        self.query_one("#message", Label).update(Content(f"✖ {one_line(text)}"))

    def action_apply(self) -> None:
        """Give the value to whoever asked, if it can be read."""
        fits, value = self._read()
        if not fits:
            return
        secrets = {name: self.query_one(f"#secret-{n}", Input).value for n, name in enumerate(self._secrets)}
        empty = next((name for name, text in secrets.items() if not text), None)
        if empty is not None:
            self.say(f"{empty} is missing")
            return
        self.dismiss(Edited(value, secrets))

    def on_input_submitted(self) -> None:
        """Enter in a secret is as good."""
        self.action_apply()

    def action_close(self) -> None:
        """Leave; what was changed is asked about once."""
        fits, value = self._read()
        if self._value is not None and (not fits or value != self._value) and not self._asked_to_leave:
            self._asked_to_leave = True
            self.query_one("#message", Label).update(Content("esc once more throws away what was changed"))
            return
        self.dismiss(None)
