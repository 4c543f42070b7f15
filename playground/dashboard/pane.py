"""The one widget behind every pane: a frame with tabs, and the visible rows of a view.

It draws with Textual's line API: only rows that are in sight are made, whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from playground.dashboard.palette import CURSOR as CURSOR_ROW
from playground.dashboard.palette import CURSOR_FOCUS, PLAIN, Palette
from playground.dashboard.text import Row, cells, clip, clip_row, one_line, row_cells, wrap
from playground.dashboard.views.base import View

LIGHT = "╭─╮│╰─╯"
HEAVY = "┏━┓┃┗━┛"
THUMB = {"│": "▐", "┃": "█"}
WHEEL_ROWS = 3
CURSOR = "▎"
HEAD_CELLS, SHORT_HEAD_CELLS = 30, 14
"""Of heading and title that whole and short names of the tabs leave in sight; where there is less, they give way."""


class Pane(Widget, can_focus=True):
    """A framed pane that shows one of several views. Light lines frame it, heavy ones while it has the focus."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup,ctrl+b", "page(-1.0)", "Page up", show=False),
        Binding("pagedown,ctrl+f", "page(1.0)", "Page down", show=False),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False),
        Binding("home,g", "first", "First", show=False),
        Binding("end,G", "last", "Last", show=False),
        Binding("enter", "choose", "Open", show=False),
        Binding("left,h", "side(-1)", "Fold", show=False),
        Binding("right,l", "side(1)", "Unfold", show=False),
        Binding("left_square_bracket", "tab(-1)", "Previous tab", show=False),
        Binding("right_square_bracket", "tab(1)", "Next tab", show=False),
    ]

    class Moved(Message):
        """The user moved the cursor, or brought another view to the front."""

        def __init__(self, pane: Pane) -> None:
            super().__init__()
            self.pane = pane

        def can_replace(self, message: Message) -> bool:
            """Only where the cursor came to rest matters."""
            return isinstance(message, Pane.Moved) and message.pane is self.pane

    class Chosen(Message):
        """Enter, or a double click, which the view did not handle itself."""

        def __init__(self, pane: Pane) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, heading: str, views: Sequence[View], palette: Callable[[], Palette], *, id: str) -> None:
        super().__init__(id=id)
        self.heading = heading
        self.views = list(views)
        self.current = 0
        self._palette = palette
        self._drawn: tuple[object, ...] = ()
        self.head_cells, self.short_head_cells = HEAD_CELLS, SHORT_HEAD_CELLS
        self.letters = ""
        """A letter for each view, while there is one to be pressed."""
        self.chosen: Callable[[Pane.Chosen], object] = self.post_message
        """Gets Enter; one that does at once what is asked leaves no room for keys that follow."""
        self._tab_cells: list[tuple[int, int]] = []

    @property
    def view(self) -> View:
        """The view in front."""
        return self.views[self.current]

    def show_view(self, view: View) -> None:
        """Bring `view` to the front."""
        self.current = self.views.index(view)
        self.fit()

    def fit(self) -> None:
        """Lay the view out for the size of the moment."""
        width, height = self.size
        if width and height:
            self._resize_view()
        self.refresh()

    def _resize_view(self) -> None:
        width, height = self.size
        self.view.resize(max(width - 4, 1), max(height - 2 - self.view.head_rows, 1))

    def redraw_if_changed(self) -> None:
        """Called once per frame: draw again only when the view says that something changed."""
        if not self.display or self.size.width == 0:
            return
        if self._state() != self._drawn:
            self._resize_view()
            self._drawn = self._state()
            self.refresh()

    def _state(self) -> tuple[object, ...]:
        view = self.view
        return (self.current, view.revision, view.cursor, view.top, len(view))

    # -- drawing --------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """One line of the pane: an edge, or a row between two edges."""
        width, height = self.size
        lines = HEAVY if self.has_focus else LIGHT
        if width < 4 or height < 2:
            return Strip.blank(width, self._palette().plain)
        if y == 0:
            return self._top_edge(width, lines)
        if y == height - 1:
            return self._bottom_edge(width, lines)
        return self._inside(y - 1, width, height - 2, lines)

    def _segments(self, row: Row, base: Style, ground: str = PLAIN) -> list[Segment]:
        palette = self._palette()
        # Views make their texts safe already; nothing passes here that could reach the terminal as a command.
        return [Segment(one_line(text), base + palette.style(role, ground)) for text, role in row if text]

    def _inside(self, line: int, width: int, height: int, lines: str) -> Strip:
        palette, view = self._palette(), self.view
        inner = width - 4
        index = view.top + line - view.head_rows
        picked = view.has_cursor and line >= view.head_rows and index == view.cursor and index < len(view)
        base, ground = palette.plain, PLAIN
        if picked:
            ground = CURSOR_FOCUS if self.has_focus else CURSOR_ROW
            base += palette.cursor_focus if self.has_focus else palette.cursor
        row = self._row(index, inner, line)
        row = clip_row(row, inner)
        padding = inner - row_cells(row)
        mark = CURSOR if picked else " "
        row = [(mark, "accent"), *row, (" " * padding, ""), (" ", "")]
        edge = palette.plain + palette.style("frame-focus" if self.has_focus else "frame")
        right = THUMB[lines[3]] if self._on_thumb(line, height) else lines[3]
        return Strip([Segment(lines[3], edge), *self._segments(row, base, ground), Segment(right, edge)], width)

    def _row(self, index: int, width: int, line: int) -> Row:
        view = self.view
        if line < view.head_rows:
            return view.safe_row(line, width, head=True) if len(view) else []
        if index < len(view):
            return view.safe_row(index, width)
        if not len(view) and view.empty:
            texts = [piece for text in view.empty.split("\n") for piece in wrap(text, width)]
            line -= view.head_rows
            return [(texts[line], "dim")] if line < len(texts) else []
        return []

    def _on_thumb(self, line: int, height: int) -> bool:
        count = len(self.view)
        if count <= height:
            return False
        size = max(height * height // count, 1)
        start = round(self.view.top * (height - size) / max(count - height, 1))
        return start <= line < start + size

    def _top_edge(self, width: int, lines: str) -> Strip:
        palette = self._palette()
        edge = palette.plain + palette.style("frame-focus" if self.has_focus else "frame")
        head: Row = [(self.heading, "heading" if self.has_focus else "strong")]
        if self.letters and len(self.views) == 1:
            head.insert(0, (f" {self.letters} ", "tab"))
        if extra := self._title():
            head += [(" ", ""), *extra]
        tabs = self._fitting_tabs(width - 6, row_cells(head))
        taken = row_cells(tabs) + (2 if tabs else 0)
        room = width - 6 - taken
        if room < len(self.heading):
            tabs, taken, room = [], 0, width - 6
        head = clip_row(head, max(room, 0))
        fill = width - 5 - row_cells(head) - taken
        segments = [Segment(lines[0] + lines[1] + " ", edge), *self._segments(head, palette.plain)]
        segments.append(Segment(" " + lines[1] * max(fill, 0), edge))
        self._tab_cells = []
        if tabs:
            start = width - 1 - taken
            for text, _ in tabs:
                self._tab_cells.append((start, start + cells(text)))
                start += cells(text)
            segments += [*self._segments(tabs, palette.plain), Segment(" " + lines[1], edge)]
        segments.append(Segment(lines[2], edge))
        return Strip(segments).adjust_cell_length(width, edge)

    def _fitting_tabs(self, room: int, head: int) -> Row:
        """The names of the tabs as long as they may be: whole, short, or their first letters."""
        tabs = self._tabs([f" {view.label} " for view in self.views])
        if row_cells(tabs) + 2 + min(head, self.head_cells) <= room:
            return tabs
        tabs = self._tabs([f"{view.short or view.label} " for view in self.views])
        if row_cells(tabs) + 2 + min(head, self.short_head_cells) <= room:
            return tabs
        return self._tabs([f"{view.label[:1]} " for view in self.views])

    def _tabs(self, names: Sequence[str]) -> Row:
        """The names of the views, the one in front whole and in brackets."""
        tabs: Row = []
        tight = not names[0].startswith(" ")
        for number, (view, name) in enumerate(zip(self.views, names, strict=True) if len(names) > 1 else ()):
            front = f"[{view.label}]" + (" " if tight else "")
            if number < len(self.letters):
                tabs.append((f" {self.letters[number]} ", "tab"))
                # The letters are what is looked for: there has to be room for all of them.
                front = f"[{name.strip()}]" if tight else front
            tabs.append((front, "strong") if number == self.current else (name, "dim"))
        return tabs

    def _title(self) -> Row:
        # A title may quote user data too.
        try:
            return self.view.title()
        except Exception as error:
            return [(one_line(f"⚠ {type(error).__name__}"), "error")]

    def _bottom_edge(self, width: int, lines: str) -> Strip:
        palette = self._palette()
        edge = palette.plain + palette.style("frame-focus" if self.has_focus else "frame")
        note = clip(self.view.searching or self.view.note(), width - 6)
        if not note:
            return Strip([Segment(lines[4] + lines[5] * (width - 2) + lines[6], edge)], width)
        fill = lines[5] * (width - 5 - cells(note))
        segments = [Segment(lines[4] + fill + " ", edge), *self._segments([(note, "dim")], palette.plain)]
        segments.append(Segment(" " + lines[5] + lines[6], edge))
        return Strip(segments).adjust_cell_length(width, edge)

    # -- keys and mouse -------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        """Lay the view out for the new size."""
        self.fit()

    def on_focus(self) -> None:
        """Draw the heavy frame."""
        self.refresh()

    def on_blur(self) -> None:
        """Draw the light frame."""
        self.refresh()

    def _moved(self) -> None:
        self.redraw_if_changed()
        self.post_message(self.Moved(self))

    def action_move(self, delta: int) -> None:
        """Move the cursor."""
        self.view.move(delta)
        self._moved()

    def action_page(self, pages: float) -> None:
        """Move by pages."""
        rows = int(pages * max(self.view.height - 1, 1)) or (1 if pages > 0 else -1)
        self.view.move(rows)
        self._moved()

    def action_first(self) -> None:
        """Go to the first row."""
        self.view.go(0)
        self._moved()

    def action_last(self) -> None:
        """Go to the last row and stay there while rows arrive, where that makes sense."""
        self.view.go_last()
        self._moved()

    def action_choose(self) -> None:
        """Open what the cursor is on."""
        if self.view.activate():
            self._moved()
        else:
            self.chosen(self.Chosen(self))

    def action_side(self, direction: int) -> None:
        """Fold or unfold, or whatever left and right mean here."""
        self.view.side(direction)
        self._moved()

    def action_tab(self, delta: int) -> None:
        """Bring the next view to the front."""
        if len(self.views) > 1:
            self.current = (self.current + delta) % len(self.views)
            self.fit()
            self._moved()

    def on_click(self, event: events.Click) -> None:
        """Pick a tab or a row; a click on the picked row folds it, a double click opens it."""
        event.stop()
        x, y = event.x, event.y
        if y == 0:
            for number, (start, end) in enumerate(self._tab_cells):
                if start <= x < end:
                    self.current = number
                    self.fit()
                    self._moved()
            return
        index = self.view.top + y - 1 - self.view.head_rows
        if not (self.view.head_rows < y < self.size.height - 1 and index < len(self.view)):
            return
        if x == self.size.width - 1:
            return
        if self.view.point(index, x - 2):
            self._moved()
            if event.chain == 2:
                self.action_choose()
            return
        again = self.view.has_cursor and index == self.view.cursor
        self.view.go(index)
        if event.chain == 2:
            self.action_choose()
        elif again:
            self.view.activate()
        self._moved()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll; the cursor stays in sight."""
        event.stop()
        self.view.scroll(WHEEL_ROWS)
        self.redraw_if_changed()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll; the cursor stays in sight."""
        event.stop()
        self.view.scroll(-WHEEL_ROWS)
        self.redraw_if_changed()
