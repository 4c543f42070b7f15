"""The bar of the timeline: how much happened when, where one stands, and the keys that move."""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType

from playground.dashboard.bars import Key
from playground.dashboard.palette import Palette
from playground.dashboard.pane import Pane
from playground.dashboard.text import NS, Row, duration, one_line
from playground.dashboard.views.base import View

if TYPE_CHECKING:
    from playground.dashboard.travel.timeline import Timeline

BLOCKS = "▁▂▃▄▅▆▇█"
HEIGHT = 4
HEAD = "┃"


class TimelineView(View):
    """Two rows over the trace's time: how dense its events are, and what is worth a jump."""

    label = "Timeline"
    has_cursor = False
    empty = "No timeline."
    keys = (
        Key("space", "play", "do('travel', 'play')"),
        Key("← →", "step", "do('travel', 'step', 1)"),
        Key("+ -", "speed", "do('travel', 'faster', 1)"),
        Key(",", "live", "do('travel', 'timeline')"),
    )
    help = (
        """The run as it stood after any of its events: every pane shows that moment.
The bar is the time that it plays: the higher, the more events.
✖ errors  ◆ decisions, stops and edits  · nodes that begin
At 1x events are at least 0.05 s and at most 1 s apart; `as recorded` keeps the times of the recording.""",
        [
            ("space", "play, pause"),
            ("← →  h l", "one event back, forward;  pgup pgdn a tenth"),
            ("+ -", "0.25x to 64x, as recorded"),
            ("home end  0 $", "the beginning, the end"),
            ("e E", "next and previous error"),
            ("c C", "next and previous decision, stop or edit"),
            ("n N", "next and previous node"),
            ("g", "go to an event by its number"),
            ("click", "go there"),
            (",  esc", "leave the timeline: the run as it is"),
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        self.timeline: Timeline | None = None
        self._seen: tuple[object, ...] = ()
        self._cells: tuple[tuple[int, int], list[int]] = ((0, 0), [])

    def show(self, timeline: Timeline | None) -> None:
        """Another timeline, or none."""
        self.timeline = timeline
        self._cells = ((0, 0), [])
        self.touch()

    def sync(self) -> None:
        """Once per frame."""
        timeline = self.timeline
        seen = () if timeline is None else (timeline.revision, timeline.total)
        if seen != self._seen:
            self._seen = seen
            self.touch()

    def __len__(self) -> int:
        return 2 if self.timeline is not None else 0

    def title(self) -> Row:
        """Playing or not, how fast, and the event that happened last."""
        timeline = self.timeline
        if timeline is None:
            return []
        head = timeline.head
        row: Row = [("▶" if timeline.playing else "‖", "ok" if timeline.playing else "warn")]
        row.append((f" {timeline.speed_text}", "accent"))
        if head is None:
            return [*row, ("  before the first event", "dim")]
        row += [(f"  event {head.seq} ", "strong"), (one_line(head.kind), "key"), (f" {one_line(head.name)}", "")]
        return row

    def note(self) -> str:
        """How far it is, in events and in time."""
        timeline = self.timeline
        if timeline is None:
            return ""
        now, whole = timeline.moment.now_ns() / NS, timeline.whole.now_ns() / NS
        return f"{timeline.position:,} of {timeline.total:,} · {duration(now)} of {duration(whole)}"

    def counts(self, width: int) -> list[int]:
        """How many events there were by the end of each cell."""
        timeline = self.timeline
        assert timeline is not None
        key = (timeline.total, width)
        if self._cells[0] != key:
            self._cells = key, timeline.counts_at(width)
        return self._cells[1]

    def position_at(self, cell: int, width: int) -> int:
        """The position that a cell stands for."""
        counts = self.counts(width)
        return counts[min(max(cell, 0), len(counts) - 1)]

    def row(self, index: int, width: int) -> Row:
        """The bars, with the place where it stands; below them what is worth a jump."""
        timeline = self.timeline
        assert timeline is not None
        counts = self.counts(width)
        here = next((cell for cell, count in enumerate(counts) if count >= timeline.position), width - 1)
        firsts = [0, *counts[:-1]]
        if index == 1:
            marks = [timeline.marks_in(first, last) for first, last in zip(firsts, counts, strict=True)]
            roles = {"✖": "error", "◆": "accent", "·": "dim"}
            return [(mark, roles.get(mark, "")) for mark in marks]
        most = max((last - first for first, last in zip(firsts, counts, strict=True)), default=1)
        row: Row = []
        for cell, (first, last) in enumerate(zip(firsts, counts, strict=True)):
            if cell == here:
                row.append((HEAD, "warn"))
                continue
            share = log2(1 + last - first) / log2(1 + max(most, 1))
            block = " " if last == first else BLOCKS[min(int(share * len(BLOCKS)), len(BLOCKS) - 1)]
            row.append((block if block != " " else ("━" if cell < here else "╌"), "bar" if cell < here else "frame"))
        return row


class TimelinePane(Pane):
    """The bar as a pane that has keys of its own; it is there only while the timeline is on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "app.do('travel', 'play')", "Play or pause", show=False),
        Binding("right,l", "app.do('travel', 'step', 1)", "Forward", show=False),
        Binding("left,h", "app.do('travel', 'step', -1)", "Back", show=False),
        Binding("pagedown", "app.do('travel', 'stride', 1)", "A tenth forward", show=False),
        Binding("pageup", "app.do('travel', 'stride', -1)", "A tenth back", show=False),
        Binding("home,0", "app.do('travel', 'go_moment', 0)", "Beginning", show=False),
        Binding("end,dollar_sign", "app.do('travel', 'go_moment', -1)", "End", show=False),
        Binding("plus", "app.do('travel', 'faster', 1)", "Faster", show=False),
        Binding("minus", "app.do('travel', 'faster', -1)", "Slower", show=False),
        Binding("e", "app.do('travel', 'next_landmark', 'error')", "Next error", show=False),
        Binding("E", "app.do('travel', 'last_landmark', 'error')", "Previous error", show=False),
        Binding("c", "app.do('travel', 'next_landmark', 'stop')", "Next stop", show=False),
        Binding("C", "app.do('travel', 'last_landmark', 'stop')", "Previous stop", show=False),
        Binding("n", "app.do('travel', 'next_landmark', 'node')", "Next node", show=False),
        Binding("N", "app.do('travel', 'last_landmark', 'node')", "Previous node", show=False),
        Binding("g", "app.do('travel', 'ask_seq')", "Go to an event", show=False),
        Binding("escape", "app.do('travel', 'leave')", "Leave", show=False),
        Binding("question_mark,f1", "app.do('travel', 'explain')", "Help", show=False),
    ]

    def __init__(self, view: TimelineView, palette: Callable[[], Palette], go: Callable[[int], None]) -> None:
        super().__init__("TIMELINE", [view], palette, id="timeline")
        self._bar = view
        self._go = go

    def on_click(self, event: events.Click) -> None:
        """Go to the moment that was clicked."""
        event.stop()
        width = self.size.width - 4
        if self._bar.timeline is not None and 0 < event.y < self.size.height - 1 and width > 0:
            self._go(self._bar.position_at(event.x - 2, width))
