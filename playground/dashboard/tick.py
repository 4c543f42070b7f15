"""A checkbox that says by its mark, not by a color, whether it is on."""

from __future__ import annotations

from textual.widgets import Checkbox


class Tick(Checkbox):
    """Marked when it is on, empty when it is off."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        """Draw a mark, or nothing."""
        self.BUTTON_INNER = "X" if self.value else " "
        super().watch_value()
