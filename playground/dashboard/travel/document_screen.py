"""A document over the screen: how a replay went, or what a command had to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from playground.dashboard.bars import Key, KeyBar
from playground.dashboard.closing import ClosesOnce
from playground.dashboard.palette import Palette
from playground.dashboard.pane import Pane
from playground.dashboard.text import Row
from playground.dashboard.views.detail import DetailView, Node

MOST_ROWS = 24


class DocumentScreen(ClosesOnce, ModalScreen[str | None]):
    """Shows a document; gives the name of the key that was pressed, or None."""

    DEFAULT_CSS = """
    DocumentScreen { align: center middle; background: $background 60%; }
    DocumentScreen > Vertical { width: 100; max-width: 98%; height: auto; max-height: 96%; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Leave", show=False),
        Binding("y", "copy", "Copy", show=False),
        Binding("ctrl+c", "app.quit", "Quit", show=False),
    ]

    def __init__(
        self,
        name: str,
        heading: Row,
        nodes: Sequence[Node],
        palette: Callable[[], Palette],
        choices: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`choices` are keys, with what they do; one that is pressed is what the screen gives."""
        super().__init__()
        self._heading = name
        self._palette = palette
        self._choices = choices
        self.view = DetailView()
        self.view.show(name, heading, list(nodes))

    def compose(self) -> ComposeResult:
        """The document and the keys."""
        with Vertical():
            yield Pane(self._heading, [self.view], self._palette, id="document")
            yield KeyBar(self._palette, id="document-keys")

    def on_mount(self) -> None:
        """Keys for what can be done."""
        pane = self.query_one(Pane)
        pane.styles.height = max(min(self.app.size.height - 4, MOST_ROWS), 4)
        self.set_focus(pane)
        own = [Key(key, does, f"screen.choose('{key}')") for key, does in self._choices]
        keys = [*own, Key("y", "copy", "screen.copy"), Key("esc", "leave", "screen.leave")]
        self.query_one(KeyBar).set_keys(keys)
        for key, does in self._choices:
            self._bindings.bind(key, f"choose('{key}')", does, show=False)

    def on_pane_moved(self, message: Pane.Moved) -> None:
        """Nobody else is concerned."""
        message.stop()
        self.query_one(Pane).redraw_if_changed()

    def on_pane_chosen(self, message: Pane.Chosen) -> None:
        """Nobody else is concerned."""
        message.stop()

    def action_choose(self, key: str) -> None:
        """One of the choices."""
        self.dismiss(key)

    def action_copy(self) -> None:
        """What the cursor is on."""
        text = self.view.copy_text()
        if text:
            self.app.copy_to_clipboard(text)
            self.app.notify(f"copied {len(text):,} characters", markup=False)

    def action_leave(self) -> None:
        """Back."""
        self.dismiss(None)
