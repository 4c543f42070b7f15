"""The line that `/` opens, apart from the rest so that Textual's input is imported when it is needed."""

from __future__ import annotations

from playground.dashboard.inorder import Line


class SearchLine(Line):
    """An input of one line, over the keys at the bottom."""

    DEFAULT_CSS = """
    SearchLine, SearchLine:focus {
        dock: bottom; height: 1; border: none; padding: 0 1;
        background: $surface; color: $foreground;
    }
    """
