"""What the comparison of two runs looks like: the list of differences, one of them side by side, and the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from playground.dashboard.text import Row, cells, clip, clip_start, count, duration, one_line, pad, row_cells
from playground.dashboard.travel.comparing import ASPECTS, Comparison, edit_of, summed_up, text_of
from playground.dashboard.travel.words import side_by_side, wrapped
from playground.dashboard.views.base import View

if TYPE_CHECKING:
    from penguiflow.recording.diff import Difference

KIND_CELLS = 9
SIGNS = {"both": "│", "left": "<", "right": ">", "differ": "≠"}
BAR_CELLS = 20
NOTHING = "∅"


class DifferencesView(View):
    """One row for each place where the runs differ; the first divergence first."""

    label = "Differences"

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self.comparison = comparison
        self.rows: list[Difference] = []
        self.aspect: str | None = None
        self._shown = -1.0
        self._first: Difference | None = None
        self._listed = 0
        """How many there are of all kinds; an edit and its checkpoint are one."""
        self._failed = False

    def sync(self) -> None:
        """Take up how far the comparison is."""
        if self.comparison.diff is None and not self._failed and self.comparison.share != self._shown:
            self._shown = self.comparison.share
            done = round(self._shown * BAR_CELLS)
            bar = "━" * done + "╌" * (BAR_CELLS - done)
            self.empty = f"comparing {bar} {self._shown:.0%} of {self.comparison.total:,} events\n\nesc leaves"
            self.touch()

    def fill(self) -> None:
        """The comparison is done, or another aspect is wanted."""
        self.rows = self.comparison.in_order(self.aspect)
        self._listed = len(self.rows) if self.aspect is None else self._listed
        self._first = self.comparison.first
        self.cursor = self.top = 0
        self.empty = "No differences." if self.aspect is None else f"No differences among {ASPECTS[self.aspect]}."
        if self.aspect is None:
            self.empty += "\n\nTimes, ids and the order of parallel work do not count."
        self.touch()

    def fail(self, why: str) -> None:
        """It could not be done."""
        self._failed = True
        self.empty = f"cannot compare: {why}\n\nesc leaves"
        self.touch()

    def next_aspect(self) -> None:
        """All, then each kind that there is."""
        there = {each.aspect for each in self.comparison.in_order()}
        kinds: list[str | None] = [None, *(aspect for aspect in ASPECTS if aspect in there)]
        self.aspect = kinds[(kinds.index(self.aspect) + 1) % len(kinds)] if self.aspect in kinds else None
        self.fill()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def difference(self) -> Difference | None:
        """The one under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def title(self) -> Row:
        """Which kind is shown."""
        diff = self.comparison.diff
        if diff is None:
            return []
        listed, cut = self._listed, diff.total > len(diff.differences)
        if self.aspect is None:
            count = listed + diff.total - len(diff.differences)
            row: Row = [(f"{count:,}", "strong"), (f" · the first {listed} are shown" if cut else "", "dim")]
        else:
            row = [(f"{len(self.rows):,}", "strong"), (f" {ASPECTS[self.aspect]}", "accent")]
            row.append((f" · of the first {listed}" if cut else "", "dim"))
        return row

    def note(self) -> str:
        """Where the cursor is."""
        return f"{self.cursor + 1} of {len(self.rows)}" if self.rows else ""

    def row(self, index: int, width: int) -> Row:
        """What it is about, where, and what both have."""
        difference = self.rows[index]
        first = difference is self._first
        left, right = summed_up(difference)
        edited = edit_of(difference) is not None
        only = "" if edited else "only A " if difference.b is None else "only B " if difference.a is None else ""
        row: Row = [
            ("◆ " if first else "  ", "accent"),
            (pad("edit" if edited else difference.aspect, KIND_CELLS + 1), "key"),
        ]
        room = width - row_cells(row) - cells(only)
        path = clip_start(one_line(difference.path), room // 2 if room > 40 else room)
        row += [(path, "strong" if first else ""), ("  ", "")]
        room -= cells(path) + 2
        if only:
            return [*row, (only, "warn"), (clip(left or right, max(room, 0)), "dim")]
        if room > 12:
            half = (room - 3) // 2
            row += [(clip(left or NOTHING, half), "dim"), (" → ", "accent"), (clip(right or NOTHING, half), "")]
        return row


class SidesView(View):
    """One difference: what both have, beside each other."""

    label = "Side by side"
    has_cursor = False
    empty = "Nothing is picked."

    def __init__(self) -> None:
        super().__init__()
        self._difference: Difference | None = None
        self._rows: list[Row] = []
        self._width = 0

    def show(self, difference: Difference | None) -> None:
        """Show another difference."""
        if difference is self._difference:
            return
        self._difference = difference
        self.top = self.cursor = 0
        self._width = 0
        self.touch()

    def resize(self, width: int, height: int) -> None:
        """Rows are laid out for the width."""
        if width != self._width:
            self._width = width
            self._rows = list(self._lay_out(width)) if self._difference is not None else []
        super().resize(width, height)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int, width: int) -> Row:
        """A row that was laid out."""
        return self._rows[index]

    def title(self) -> Row:
        """Where it is."""
        return [(one_line(self._difference.path), "accent")] if self._difference is not None else []

    def copy_text(self) -> str:
        """All that is shown."""
        return "\n".join("".join(text for text, _ in row).rstrip() for row in self._rows)

    def _lay_out(self, width: int) -> Iterator[Row]:
        difference = self._difference
        assert difference is not None
        column = max((width - 3) // 2, 8)
        yield _columns(_head("A", difference.a), "both", _head("B", difference.b), column)
        edit = edit_of(difference)
        if edit is not None:
            yield _columns([("before", "key")], "both", [("after", "key")], column)
            yield from _pairs(text_of(edit[0]), text_of(edit[1]), column)
        elif difference.a is not None and difference.b is not None:
            for change in difference.changes:
                if change.pointer:
                    yield [(clip(one_line(change.pointer), width), "key")]
                ours = None if change.only == "b" else text_of(change.a)
                theirs = None if change.only == "a" else text_of(change.b)
                yield from _pairs(ours, theirs, column)
        else:
            ours = None if difference.a is None else text_of(difference.a.value)
            theirs = None if difference.b is None else text_of(difference.b.value)
            yield from _pairs(ours, theirs, column)


def _head(name: str, side: object) -> Row:
    seq, kind = getattr(side, "seq", None), getattr(side, "kind", "")
    if seq is None:
        return [(f"{name} ", "strong"), ("has nothing here", "dim")]
    return [(f"{name} ", "strong"), (f"event {seq} {one_line(str(kind))}", "dim")]


def _pairs(left: str | None, right: str | None, column: int) -> Iterator[Row]:
    for pair in side_by_side(left, right):
        ours, theirs = wrapped(pair.left, column), wrapped(pair.right, column)
        for index in range(max(len(ours), len(theirs))):
            sign = "both" if pair.same else "right" if not ours else "left" if not theirs else "differ"
            yield _columns(
                ours[index] if index < len(ours) else [], sign, theirs[index] if index < len(theirs) else [], column
            )


def _columns(left: Row, sign: str, right: Row, column: int) -> Row:
    gap = " " * max(column - row_cells(left), 0)
    return [*left, (gap, ""), (f" {SIGNS[sign]} ", "dim" if sign == "both" else "accent"), *right]


class NumbersView(View):
    """Counts, totals and times of both runs."""

    label = "Numbers"
    empty = "Nothing is compared yet."

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self._comparison = comparison
        self._lines: list[tuple[str, str, str, bool]] = []

    def fill(self) -> None:
        """The comparison is done."""
        diff = self._comparison.diff
        if diff is None:
            return
        self._lines = [
            *((total.name, f"{total.a:,.6g}", f"{total.b:,.6g}", total.a != total.b) for total in diff.totals),
            *((f"time {time.name}", duration(time.a), duration(time.b), False) for time in diff.times),
            *((f"{each.kind} {each.name}".strip(), f"{each.a:,}", f"{each.b:,}", True) for each in diff.counts),
        ]
        self.touch()

    def __len__(self) -> int:
        return len(self._lines)

    def row(self, index: int, width: int) -> Row:
        """A name and its numbers."""
        name, a, b, differs = self._lines[index]
        role = "strong" if differs else ""
        room = max(width - 30, 8)
        return [(pad(one_line(name), room), "key" if differs else "dim"), (f"{a:>13} ", role), (f"{b:>13}", role)]


def told_in_short(comparison: Comparison) -> Row:
    """Tokens, cost and time of both, for the head of the screen."""
    diff = comparison.diff
    if diff is None:
        return []
    row: Row = []
    totals = {total.name: total for total in diff.totals}
    for name in ("tokens", "cost"):
        if name in totals:
            total = totals[name]
            sign, show = ("$", lambda n: f"{n:.4f}") if name == "cost" else ("", count)
            unit = " tok" if name == "tokens" else ""
            row += [(f"  {sign}{show(total.a)} → {sign}{show(total.b)}{unit}", "warn" if total.a != total.b else "dim")]
    if diff.times:
        row.append((f"  {duration(diff.times[0].a)} → {duration(diff.times[0].b)}", "dim"))
    return row
