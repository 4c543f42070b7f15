"""A grid of terminal cells that lines and labels are drawn on."""

from __future__ import annotations

from playground.dashboard.text import cells

__all__ = ["DOWN", "LEFT", "RIGHT", "UP", "Canvas"]

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
_GLYPHS = {
    UP: "│",
    DOWN: "│",
    UP | DOWN: "│",
    LEFT: "─",
    RIGHT: "─",
    LEFT | RIGHT: "─",
    DOWN | RIGHT: "┌",
    DOWN | LEFT: "┐",
    UP | RIGHT: "└",
    UP | LEFT: "┘",
    UP | DOWN | RIGHT: "├",
    UP | DOWN | LEFT: "┤",
    DOWN | LEFT | RIGHT: "┬",
    UP | LEFT | RIGHT: "┴",
    UP | DOWN | LEFT | RIGHT: "┼",
}


class Canvas:
    """Rows and columns from 0, as many as are drawn on."""

    def __init__(self) -> None:
        self._lines: dict[tuple[int, int], int] = {}
        self._bridges: set[tuple[int, int]] = set()
        self._text: dict[tuple[int, int], str] = {}

    def join(self, row: int, column: int, directions: int) -> None:
        """Let a line leave a cell in these directions, besides those it already has."""
        self._lines[row, column] = self._lines.get((row, column), 0) | directions

    def vertical(self, column: int, top: int, bottom: int) -> None:
        """A line from the middle of row `top` to the middle of row `bottom`."""
        for row in range(top, bottom + 1):
            self.join(row, column, (UP if row > top else 0) | (DOWN if row < bottom else 0))

    def horizontal(self, row: int, left: int, right: int) -> None:
        """A line from the middle of column `left` to the middle of column `right`."""
        for column in range(left, right + 1):
            self.join(row, column, (LEFT if column > left else 0) | (RIGHT if column < right else 0))

    def bridge(self, row: int, column: int) -> None:
        """Two lines cross here and have nothing to do with each other: the vertical one is drawn over the other."""
        self._bridges.add((row, column))

    def write(self, row: int, column: int, text: str) -> None:
        """Text over whatever is there; wide characters take two cells."""
        for char in text:
            self._text[row, column] = char
            width = cells(char)
            for covered in range(1, width):
                self._text[row, column + covered] = ""
            column += max(width, 1)

    def box(self, row: int, column: int, *texts: str) -> None:
        """A box around some lines of text; its top left corner is given."""
        width = max(map(cells, texts)) + 4
        bottom = row + len(texts) + 1
        for edge in (row, bottom):
            self.horizontal(edge, column, column + width - 1)
        for side in (column, column + width - 1):
            self.vertical(side, row, bottom)
        for line, text in enumerate(texts, row + 1):
            self.write(line, column + 1, f" {text} ")

    def lines(self) -> list[str]:
        """The rows as text, without blanks at their ends."""
        used = [*self._lines, *self._text]
        height = max((row for row, _ in used), default=-1) + 1
        width = max((column for _, column in used), default=-1) + 1
        grid = [[" "] * width for _ in range(height)]
        for (row, column), directions in self._lines.items():
            grid[row][column] = _GLYPHS.get(directions, " ")
        for row, column in self._bridges:
            if row < height and column < width:
                grid[row][column] = "│"
        for (row, column), text in self._text.items():
            grid[row][column] = text
        return ["".join(cells_of_row).rstrip() for cells_of_row in grid]
