"""A view: lines that are made when they are looked at, and a cursor that walks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from playground.dashboard.bars import Key
from playground.dashboard.text import Row, one_line


class View:
    """Rows by index, a cursor, a scroll position. Subclasses make the rows; a pane draws them.

    `revision` changes whenever something visible did, so that a pane redraws only then.
    """

    label = ""
    """Name of its tab."""
    short = ""
    """The same where there is little room."""
    has_cursor = True
    """False where moving scrolls and no row is picked."""
    empty = ""
    """What to say when there are no rows."""
    keys: Sequence[Key] = ()
    """What the footer shows while this view is in front, in place of its pane's keys; at most four."""
    help: tuple[str, list[tuple[str, str]]] | None = None
    """What `?` says of this view, in place of its pane's text: what it shows, and its keys with what they do."""
    head_rows = 0
    """Rows above the others that do not scroll."""

    def __init__(self) -> None:
        self.revision = 0
        self.cursor = 0
        self.top = 0
        self.height = 1
        self.follow = False
        """Stay at the last row as rows arrive."""
        self.searching = ""
        """How far a search through the rows is, while one goes on."""

    def __len__(self) -> int:
        raise NotImplementedError

    def row(self, index: int, width: int) -> Row:
        """The row at `index`, at most `width` cells of it are drawn."""
        raise NotImplementedError

    def head(self, line: int, width: int) -> Row:
        """One of the rows that do not scroll."""
        return []

    def safe_row(self, index: int, width: int, *, head: bool = False) -> Row:
        """The row at `index` (of the head, when that is asked for), or one that says why there is none."""
        # Boundary: rows are made from whatever user code produced; one that cannot be made costs its own line only.
        try:
            return self.head(index, width) if head else self.row(index, width)
        except Exception as error:
            return [("⚠ cannot be shown: ", "error"), (one_line(f"{type(error).__name__}: {error}"), "dim")]

    def resize(self, width: int, height: int) -> None:
        """The pane's inside now has this size; rows that depend on the width are laid out again."""
        self.height = max(height, 1)
        self.settle()

    def title(self) -> Row:
        """What stands beside the pane's name."""
        return []

    def note(self) -> str:
        """What stands in the pane's lower edge."""
        return ""

    def copy_text(self) -> str:
        """What `y` copies: by default the cursor's row."""
        if not 0 <= self.cursor < len(self):
            return ""
        return "".join(text for text, _ in self.safe_row(self.cursor, 10_000)).strip()

    def activate(self) -> bool:
        """Enter on the cursor's row; True when the view itself handled it (folded something)."""
        return False

    def toggle(self) -> bool:
        """Space on the cursor's row; True when the view handled it."""
        return self.activate()

    def place(self) -> tuple[str, str | None, str | None] | None:
        """What the cursor is on, as a breakpoint's `on`, `name` and `kind`; None where no run can stop."""
        return None

    def point(self, index: int, column: int) -> bool:
        """A click on a cell of a row; True when the view has put its cursor there itself."""
        return False

    def side(self, direction: int) -> None:
        """Left (-1) or right (1) on the cursor's row: fold, unfold, or nothing."""

    @property
    def unfinished(self) -> str:
        """How far its rows are read, while there are more to come; empty when all are there."""
        return ""

    def finder(self, needle: str) -> Callable[[range], list[int]]:
        """What tells which of some rows contain `needle` (lower case)."""
        return lambda rows: [row for row in rows if row < len(self) and self.holds(row, needle)]

    def holds(self, index: int, needle: str) -> bool:
        """Whether the row at `index` contains `needle` (lower case)."""
        return needle in "".join(text for text, _ in self.safe_row(index, 10_000)).lower()

    @property
    def position(self) -> int:
        """The row from which a search goes on."""
        return self.cursor if self.has_cursor else self.top

    def touch(self) -> None:
        """Something visible changed."""
        self.revision += 1

    # -- moving ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Bring cursor and scroll position back into what exists."""
        count = len(self)
        if self.follow:
            self.cursor = max(count - 1, 0)
            self.top = max(count - self.height, 0)
            return
        self.cursor = min(max(self.cursor, 0), max(count - 1, 0))
        if self.has_cursor:
            self.top = min(max(self.top, self.cursor - self.height + 1), self.cursor)
        self.top = min(max(self.top, 0), max(count - self.height, 0))

    def move(self, delta: int) -> None:
        """Move the cursor (or scroll) by `delta` rows."""
        if self.has_cursor:
            self.go(self.cursor + delta)
        else:
            self.scroll(delta)

    def go(self, index: int) -> None:
        """Put the cursor at `index`, or the nearest row there is."""
        count = len(self)
        self.follow = False
        if not self.has_cursor:
            self.top = index
        self.cursor = min(max(index, 0), max(count - 1, 0))
        self.settle()
        self.touch()

    def go_last(self) -> None:
        """Put the cursor at the last row."""
        self.go(len(self) - 1)

    def scroll(self, delta: int) -> None:
        """Scroll by `delta` rows; the cursor stays within what is seen."""
        count = len(self)
        self.follow = False
        self.top = min(max(self.top + delta, 0), max(count - self.height, 0))
        self.cursor = min(max(self.cursor, self.top), max(min(self.top + self.height, count) - 1, 0))
        self.touch()

    @property
    def at_end(self) -> bool:
        """True when the last row is in sight."""
        return self.top + self.height >= len(self)
