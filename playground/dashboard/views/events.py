"""Every event of the trace, filtered by kind, name or text."""

from __future__ import annotations

from collections.abc import Callable

from playground.dashboard.event_filter import EventFilter
from playground.dashboard.event_search import EventSearch
from playground.dashboard.heads import BadEvent, read_data, read_head
from playground.dashboard.text import NS, Row, clip, one_line, pad
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.base import View

FRAME_S = 0.005
"""What a filter takes of a frame, and of each key that changes it; the rest it does between them."""
SUMMARY_BYTES = 4000
"""An event whose data is longer is summed up by its size."""


class EventsView(View):
    """One row for each event, made when it is seen."""

    label = "Events"
    short = "Evt"
    help = (
        """Every event of the run, as it was recorded: number, seconds since its beginning, kind, name, what it says.
A filter takes words that must all be there, !word, kind:node.retry, node:name, and /regular expressions/.""",
        [
            ("⏎", "open the event;  esc back to the list"),
            ("/", "filter;  esc takes it away"),
            ("J", "open it as raw JSON"),
            ("y  Y", "copy the event;  copy as JSON, as Python, as a pf command"),
            ("f", "fork the run there"),
            ("G", "stay at the end"),
        ],
    )
    empty = "No events."

    def __init__(self) -> None:
        super().__init__()
        self.trace: TraceModel | None = None
        self.filter = EventFilter("")
        self._search: EventSearch | None = None
        self._seen = -1

    def show(self, trace: TraceModel | None) -> None:
        """Show another trace's events; the filter stays."""
        self.trace = trace
        self.cursor = self.top = 0
        self._restart()

    def set_filter(self, text: str) -> None:
        """Filter by `text`; an empty one shows all."""
        self.filter = EventFilter(text)
        self.cursor = self.top = 0
        self._restart()

    def _restart(self) -> None:
        self._search = EventSearch(self.trace.events, self.filter) if self.trace is not None and self.filter else None
        self._seen = -1
        self.touch()
        self.sync()

    def __len__(self) -> int:
        if self.trace is None:
            return 0
        return len(self.trace.events) if self._search is None else len(self._search.found)

    def sync(self) -> None:
        """Take up new events; a filter looks at some of them per call."""
        trace = self.trace
        if trace is None:
            return
        if self._search is not None and self._search.events is not trace.events:
            # The trace was taken up again, and has other events now.
            self._restart()
            return
        if self._search is not None and self._search.go_on(FRAME_S, sift=False):
            self.touch()
        if trace.revision != self._seen:
            self._seen = trace.revision
            self.touch()

    @property
    def busy(self) -> bool:
        """True while the filter has events to look at."""
        return self._search is not None and self._search.busy

    @property
    def sift(self) -> Callable[[float], None] | None:
        """What threads may do for the filter, for so many seconds, before it looks at more events."""
        return self._search.sift if self._search is not None and self._search.sifting else None

    def search_on(self, budget_s: float, *, sift: bool = True) -> None:
        """Let the filter look at more events; not `sift`: as far as threads have come."""
        if self._search is not None and self._search.go_on(budget_s, sift=sift):
            self.touch()

    def index(self, row: int) -> int:
        """Index of the event in the trace that a row shows."""
        return row if self._search is None else self._search.found[row]

    @property
    def event_index(self) -> int | None:
        """Index of the event under the cursor."""
        return self.index(self.cursor) if 0 <= self.cursor < len(self) else None

    def pick(self, index: int) -> None:
        """Put the cursor on an event, or on the first one after it that passes the filter."""
        if self._search is not None:
            index = self._search.row_of(index)
        self.go(index)

    def title(self) -> Row:
        """The filter."""
        if self.filter.problem:
            return [(one_line(self.filter.problem), "error")]
        return [(f"/{one_line(self.filter.text)}", "accent")] if self.filter else []

    def note(self) -> str:
        """Where the cursor is."""
        if self.trace is None or not self.trace.events:
            return ""
        total = len(self.trace.events)
        if self._search is not None:
            looked = f" · looked at {100 * self._search.scanned // total} %" if self._search.busy else ""
            return f"{len(self._search.found):,} of {total:,}{looked}"
        return f"{self.cursor + 1:,} of {total:,}"

    def holds(self, index: int, needle: str) -> bool:
        """Whether an event contains `needle`."""
        return (
            self.trace is not None and needle.encode("utf-8", "replace") in self.trace.events[self.index(index)].lower()
        )

    def copy_text(self) -> str:
        """The event as JSON."""
        index = self.event_index
        return "" if index is None or self.trace is None else self.trace.events[index].decode("utf-8", "replace")

    def row(self, index: int, width: int) -> Row:
        """Number, time, kind, name, and the beginning of its data."""
        assert self.trace is not None
        raw = self.trace.events[self.index(index)]
        try:
            head = read_head(raw)
        except BadEvent as error:
            return [("⚠ ", "error"), (one_line(str(error)), "dim")]
        kind = clip(head.kind, 18)
        role = _kind_role(head.kind, raw)
        row: Row = [
            (f"{head.seq:>5} ", "dim"),
            (f"{head.offset_ns / NS:8.3f} ", "dim") if width >= 50 else ("", ""),
            (pad(kind, 17) + " ", role),
            (one_line(head.name), ""),
        ]
        if width >= 60:
            row += [("  ", ""), (_summary(raw), "dim")]
        return row


def _kind_role(kind: str, raw: bytes) -> str:
    if kind.endswith(".end") and b'"status":"ok"' not in raw[-400:] and b'"status":"ok"' not in raw[:600]:
        return "error"
    if kind in {"node.retry", "message.dropped", "stall", "deadline.exceeded", "budget.exhausted"}:
        return "warn"
    return {"message": "", "stream": "string"}.get(kind.partition(".")[0], "key")


def _summary(raw: bytes) -> str:
    if len(raw) > SUMMARY_BYTES:
        return f"{len(raw):,} bytes"
    try:
        data = read_data(raw)
    except BadEvent:
        return ""
    for key in ("text", "payload", "status", "same_as", "attempt", "reason"):
        if key in data:
            value = data[key]
            if key == "payload" and isinstance(value, dict):
                value = value.get("value")
            if key == "status" and isinstance(data.get("error"), dict):
                return clip(one_line(f"{value} {data['error'].get('message', '')}"), 120)
            return clip(one_line(f"{value}" if key != "attempt" else f"attempt {value}"), 120)
    return ""
