"""The spans of the tree on a time axis that can be zoomed: queued, waiting, working and failed told apart by shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from playground.dashboard.bars import Key
from playground.dashboard.text import NS, Row, cells, duration, pad
from playground.dashboard.trace import TraceModel, seconds
from playground.dashboard.views.base import View
from playground.dashboard.views.tree import TIME_CELLS, TreeView
from playground.dashboard.watching.axis import Window, draw, ruler
from playground.dashboard.watching.timing import FAILED, LIVE, QUEUED, RUNNING, WAITING, Piece, Queueing, pieces, totals

if TYPE_CHECKING:
    from penguiflow.recording.spans import Span

PAN = 4
"""A step sideways is this part of the window."""
LEGEND = "░ queued ┄ waiting ━ working ✖ failed"


class WaterfallView(View):
    """Rows, folds and cursor are those of the tree; only the way they are drawn is its own."""

    label = "Waterfall"
    short = "Wfall"
    empty = TreeView.empty
    head_rows = 1
    keys = (
        Key("i", "closer", "do('watching', 'zoom_time', 1)"),
        Key("U", "farther", "do('watching', 'zoom_time', -1)"),
        Key("=", "this span", "do('watching', 'zoom_span')"),
        Key("⏎", "inspect", "choose"),
    )
    help = (
        """The spans of the run on an axis of time; rows, folds and cursor are those of the tree.
░ queued: the message lies before the node   ┄ waiting: for the next attempt, or for what a join lacks
━ working   ✖ where an attempt failed   ▶ still at it   ◂ ▸ out of sight on that side
The lower edge adds up the span under the cursor.""",
        [
            ("i  U", "closer, farther, around the span under the cursor"),
            ("=", "this span fills the axis; again: all of the run"),
            ("← →  h l", "earlier, later, while zoomed; otherwise fold and unfold"),
            ("space", "fold, unfold"),
            ("⏎", "inspect the span"),
            ("/  n  N", "search, next, previous"),
        ],
    )

    def __init__(self, tree: TreeView) -> None:
        self.tree = tree
        self.window = Window()
        self._queueing = Queueing()
        self._own = 0
        self._trace_id: str | None = None
        super().__init__()

    # What the tree has, this view has: moving in one is moving in the other.

    @property
    def revision(self) -> int:
        """Changes with the tree's, and with the window."""
        return self.tree.revision + self._own

    @revision.setter
    def revision(self, value: int) -> None:
        self._own = value - self.tree.revision

    @property
    def cursor(self) -> int:
        """The tree's cursor."""
        return self.tree.cursor

    @cursor.setter
    def cursor(self, value: int) -> None:
        self.tree.cursor = value

    @property
    def follow(self) -> bool:
        """Whether the tree follows its end."""
        return self.tree.follow

    @follow.setter
    def follow(self, value: bool) -> None:
        self.tree.follow = value

    def __len__(self) -> int:
        return len(self.tree)

    @property
    def trace(self) -> TraceModel | None:
        """The tree's trace."""
        return self.tree.trace

    def show(self, trace: TraceModel | None) -> None:
        """Another trace: all of its time. The same one at another moment stays as it is zoomed."""
        trace_id = trace.trace_id if trace is not None else None
        if trace_id != self._trace_id:
            self._trace_id, self.window = trace_id, Window()
        self.touch()

    def title(self) -> Row:
        """As the tree's, with the window when it is not everything."""
        row = self.tree.title()
        if self.window.zoomed and row:
            row.append(
                (f" {duration(self.window.start_ns / NS) or '0'}+{duration(self.window.width_ns / NS)}", "accent")
            )
        return row

    def note(self) -> str:
        """What the span under the cursor did with its time."""
        span, trace = self.tree.span, self.trace
        if span is None or trace is None:
            return ""
        sums = totals(self._pieces(trace, span))
        said = [
            f"{word} {duration(sums[state] / NS)}"
            for state, word in (
                (QUEUED, "queued"),
                (WAITING, "waited"),
                (FAILED, "failed"),
                (RUNNING, "worked"),
                (LIVE, "working"),
            )
            if sums.get(state)
        ]
        return " · ".join(said) or self.tree.note()

    def toggle(self) -> bool:
        """Space folds, as in the tree."""
        return self.tree.toggle()

    def copy_text(self) -> str:
        """The span's row as in the tree."""
        return self.tree.copy_text()

    @property
    def unfinished(self) -> str:
        """As of the tree."""
        return self.tree.unfinished

    def finder(self, needle: str) -> Callable[[range], list[int]]:
        """As in the tree."""
        return self.tree.finder(needle)

    def holds(self, index: int, needle: str) -> bool:
        """As in the tree."""
        return self.tree.holds(index, needle)

    def go_last(self) -> None:
        """As in the tree."""
        self.tree.go_last()
        self.settle()

    def zoom(self, direction: int) -> None:
        """Closer (1) or farther (-1), around the span under the cursor."""
        span, trace = self.tree.span, self.trace
        if span is None or trace is None:
            return
        self._fit(trace)
        now = trace.now_ns()
        end = now if span.end_ns is None else span.end_ns
        middle = (max(span.start_ns, self.window.start_ns) + min(end, self.window.end_ns)) // 2
        self.window.zoom(middle, closer=direction > 0, total_ns=now)
        self.touch()

    def zoom_span(self) -> None:
        """The span under the cursor fills the axis, or everything does when it did."""
        span, trace = self.tree.span, self.trace
        if span is None or trace is None:
            return
        found = self._pieces(trace, span)
        before = (self.window.start_ns, self.window.end_ns, self.window.zoomed)
        self.window.show(found[0].start_ns, found[-1].end_ns)
        if before == (self.window.start_ns, self.window.end_ns, True) or span.kind == "trace":
            self.window.all()
        self.touch()

    def side(self, direction: int) -> None:
        """Earlier or later while zoomed; otherwise folds."""
        if not self.window.zoomed:
            self.tree.side(direction)
            return
        total = self.trace.now_ns() if self.trace is not None else 0
        wanted = self.window.start_ns + direction * self.window.width_ns // PAN
        self.window.pan_to(min(wanted, max(total - self.window.width_ns, 0)))
        self.follow = False
        self.touch()

    def go(self, index: int) -> None:
        """The window goes to where the cursor's span is."""
        super().go(index)
        span = self.tree.span
        if span is None or self.trace is None or not self.window.zoomed:
            return
        end = self.trace.now_ns() if span.end_ns is None else span.end_ns
        if end < self.window.start_ns or span.start_ns > self.window.end_ns:
            self.window.pan_to(span.start_ns - self.window.width_ns // 10)

    def _fit(self, trace: TraceModel) -> None:
        self.window.fit(trace.now_ns(), follow=self.follow and not trace.over)

    # -- rows -----------------------------------------------------------------------------------------------------

    def _columns(self, width: int) -> tuple[int, int]:
        """Cells of the label and of the axis."""
        label = max(min(width * 3 // 8, 48), min(24, width // 2))
        return label, max(width - label - TIME_CELLS - 2, 4)

    def head(self, line: int, width: int) -> Row:
        """What the shapes mean, and the times of the ticks."""
        label, axis = self._columns(width)
        if self.trace is not None:
            self._fit(self.trace)
        room = label + TIME_CELLS + 1
        legend = LEGEND if cells(LEGEND) <= room else "░ queued ┄ wait" if room > 16 else ""
        return [(pad(legend, room), "dim"), (" ", ""), *ruler(self.window, axis)]

    def _pieces(self, trace: TraceModel, span: Span) -> list[Piece]:
        return pieces(trace, span, self._queueing.since(trace, span))

    def row(self, index: int, width: int) -> Row:
        """Label and time as in the tree, then the axis."""
        trace = self.trace
        assert trace is not None
        span, depth = self.tree.rows[index]
        label, axis = self._columns(width)
        self._fit(trace)
        unknown = trace.loading and span.end_ns is None
        text = "" if unknown else duration(seconds(span, trace.now_ns()))
        return [
            *self.tree.label_row(span, depth, label),
            (" " + " " * (TIME_CELLS - cells(text)) + text + " ", "dim" if span.end_ns is not None else "busy"),
            *draw(self._pieces(trace, span), self.window, axis),
        ]
