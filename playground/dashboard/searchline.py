"""The line that `/` opens, apart from the rest so that Textual's input is imported when it is needed."""

from __future__ import annotations

from collections.abc import Callable

from textual import events

from playground.dashboard.inorder import Line


class SearchLine(Line):
    """An input of one line, over the keys at the bottom."""

    DEFAULT_CSS = """
    SearchLine, SearchLine:focus {
        dock: bottom; height: 1; border: none; padding: 0 1;
        background: $surface; color: $foreground;
    }
    """

    def __init__(self, text: str, placeholder: str, entered: Callable[[str], None]) -> None:
        """`entered` is called with the text at Enter, and takes the line away."""
        super().__init__(text, placeholder=placeholder)
        self._entered = entered
        self._over = False

    async def action_submit(self) -> None:
        """At once: keys that came with Enter are meant for what it leads to."""
        if not self._over:
            self._over = True
            self._entered(self.value)

    async def _on_key(self, event: events.Key) -> None:
        """What came after Enter, and before the line was gone, goes on to whoever has the focus now."""
        if not self._over:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()
        self.app.post_message(events.Key(event.key, event.character))
