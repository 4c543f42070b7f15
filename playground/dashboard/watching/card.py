"""The card of the tour: three lines below the panes. Keys go to the panes as always."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from playground.dashboard.palette import Palette
from playground.dashboard.text import Row, cells, clip_row, row_cells, wrap

LEAVE = "ctrl+t ends the tour"
TEXT_ROWS = 4


class TourCard(Widget):
    """Says what to press, and why."""

    ALLOW_SELECT = False
    DEFAULT_CSS = f"TourCard {{ height: {TEXT_ROWS + 1}; }}"

    def __init__(self, palette: Callable[[], Palette], rows: Callable[[], tuple[str, str, str]]) -> None:
        super().__init__(id="tour")
        self._palette = palette
        self._text = rows

    def render_line(self, y: int) -> Strip:
        """An edge with the number of the step, then its text."""
        palette, width = self._palette(), self.size.width
        place, ask, why = self._text()
        if y == 0:
            fill = max(width - cells(place) - cells(LEAVE) - 8, 0)
            row: Row = [
                ("━━ ", "accent"),
                (place, "heading"),
                (" " + "━" * fill + " ", "accent"),
                (LEAVE, "dim"),
                (" ━━", "accent"),
            ]
        else:
            lines: list[Row] = [[(f" {text}", "strong")] for text in wrap(ask, width - 2)]
            lines += [[(f" {text}", "")] for text in wrap(why, width - 2)]
            row = lines[y - 1] if y <= len(lines) else []
        row = clip_row(row, width)
        row.append((" " * (width - row_cells(row)), ""))
        return Strip([Segment(text, palette.plain + palette.style(role)) for text, role in row if text], width)
