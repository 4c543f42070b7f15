"""A trace as it stood after any of its events.

While a trace is taken in, a mark of all that is small is made every few thousand events. The trace at a moment is made
from the mark before it and the events since: spans that were over by then are those of the whole trace, only those
that were open are copied. So a jump costs the same wherever it goes, and no event is kept twice.
"""

from __future__ import annotations

import copy
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, MutableMapping, ValuesView
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple, cast, overload

from penguiflow.recording.spans import Span, SpanTree
from playground.dashboard.event_log import EventLog, Heads
from playground.dashboard.intake import part_of, take
from playground.dashboard.streams import StreamText
from playground.dashboard.trace import TraceModel
from playground.dashboard.traffic import Planner, Traffic, Work

__all__ = ["Mark", "Moment", "mark_of"]

_STATE = (
    *("last_seq", "epoch", "status", "error", "retries", "bad", "_nodes_open", "_last_offset"),
    *("llm_calls", "tokens", "cost"),
)
"""Of a trace: what is copied as it is."""
_ABOUT = ("flow", "target", "version", "session", "origin", "started")
_start_of = attrgetter("start_seq")


class Mark(NamedTuple):
    """All that is needed, beside the spans and events of the whole trace, to have it as it stood."""

    events: int
    """So far."""
    offset_ns: int
    spans: int
    """Spans that had begun."""
    open: tuple[str, ...]
    """Of those, by id, the ones that had not ended."""
    state: tuple[Any, ...]
    queued: dict[str, int]
    streams: dict[str, tuple[dict[str, Any], int, str]]
    """What is known of each, how many lines it had had, and the last one."""
    traffic: Traffic
    calls: int

    @property
    def weight(self) -> int:
        """About how many objects it holds."""
        traffic = self.traffic
        return len(self.open) + len(self.streams) + len(traffic.edges) + len(traffic.nodes) + len(self.queued)


def mark_of(trace: TraceModel) -> Mark:
    """The trace as it stands now."""
    streams: dict[str, tuple[dict[str, Any], int, str]] = {}
    for name, stream in trace.streams.items():
        known = {key: value for key, value in vars(stream).items() if key != "lines"}
        streams[name] = known, stream.trimmed + len(stream.lines), stream.lines[-1]
    return Mark(
        events=trace.taken,
        offset_ns=trace._last_offset,
        spans=len(trace.spans),
        open=tuple(trace.open_spans),
        state=tuple(getattr(trace, name) for name in _STATE),
        queued=dict(trace._queued),
        streams=streams,
        traffic=_copied(trace.traffic),
        calls=len(trace.traffic.calls),
    )


def _copied(traffic: Traffic) -> Traffic:
    new = copy.copy(traffic)
    new.edges = {name: copy.copy(edge) for name, edge in traffic.edges.items()}
    new.nodes = {name: _work(work) for name, work in traffic.nodes.items()}
    new.planners = {name: _planner(planner) for name, planner in traffic.planners.items()}
    new.calls = []
    return new


def _planner(planner: Planner) -> Planner:
    new = copy.copy(planner)
    new.tools = {name: _work(work) for name, work in planner.tools.items()}
    new.models = _work(planner.models)
    return new


def _work(work: Work) -> Work:
    new = copy.copy(work)
    new.open = dict(work.open)
    return new


class EventPrefix(EventLog):
    """The first events of a log. Appending the next one of them takes it in; nothing is copied."""

    def __init__(self, log: EventLog, count: int) -> None:
        self._log = log
        self._count = count
        self.bytes = log.bytes
        self.stored = log.stored

    def __len__(self) -> int:
        return self._count

    def append(self, raw: bytes) -> None:
        """The next event, which the log has already."""
        self._count += 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            first, last, step = index.indices(self._count)
            if step == 1:
                return self._log[first:last]
            return [self._log[each] for each in range(first, last, step)]
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(index)
        return self._log[place]

    def __iter__(self) -> Iterator[bytes]:
        return islice(iter(self._log), self._count)

    def stretches(self, first: int, last: int, *, backwards: bool = False) -> Iterator[tuple[int, int, int]]:
        """As those of the log."""
        return self._log.stretches(first, min(last, self._count), backwards=backwards)

    def first(self, number: int) -> int:
        """As that of the log."""
        return self._log.first(number)

    @property
    def kept(self) -> int:
        """As those of the log, what came after the moment among them."""
        return self._log.kept

    def heads(self, number: int) -> Heads | None:
        """As that of the log."""
        return self._log.heads(number)

    def told(self, numbers: range, look: Callable[[int, bytes], bool]) -> list[bool]:
        """As those of the log."""
        return self._log.told(numbers, look)

    def head_lines(self, number: int) -> list[bytes]:
        """As that of the log."""
        return self._log.head_lines(number)

    def piece(self, number: int) -> bytes | None:
        """As that of the log."""
        return self._log.piece(number)

    def text(self, number: int) -> bytes:
        """As the log; what came after the moment may be among it."""
        return self._log.text(number)

    def holding(self, needle: bytes, first: int, last: int, *, backwards: bool = False) -> Iterator[tuple[int, bytes]]:
        """As the log."""
        return self._log.holding(needle, first, min(last, self._count), backwards=backwards)


class _Spans(ValuesView[Span]):
    """Spans in order of their start, from either end."""

    def __init__(self, spans: SpanPrefix) -> None:
        super().__init__(spans)
        self._spans = spans

    def __reversed__(self) -> Iterator[Span]:
        return (self._spans[span_id] for span_id in reversed(self._spans))


class SpanPrefix(MutableMapping[str, Span]):
    """The first spans of a trace by id, some of them replaced, and new ones after them; nothing is copied."""

    def __init__(self, whole: dict[str, Span], count: int, seq: int) -> None:
        self._whole = whole
        self._count = count
        self._seq = seq
        """Of the last event before which these spans had begun."""
        self._replaced: dict[str, Span] = {}
        self._new: dict[str, Span] = {}

    def _shared(self, span_id: object) -> Span | None:
        span = self._whole.get(span_id) if isinstance(span_id, str) else None
        return span if span is not None and span.start_seq <= self._seq else None

    def __getitem__(self, span_id: str) -> Span:
        found = self._replaced.get(span_id) or self._new.get(span_id) or self._shared(span_id)
        if found is None:
            raise KeyError(span_id)
        return found

    def __setitem__(self, span_id: str, span: Span) -> None:
        (self._new if self._shared(span_id) is None else self._replaced)[span_id] = span

    def __delitem__(self, span_id: str) -> None:
        raise TypeError("spans stay")

    def __len__(self) -> int:
        return self._count + len(self._new)

    def __iter__(self) -> Iterator[str]:
        yield from islice(self._whole, self._count)
        yield from self._new

    def __reversed__(self) -> Iterator[str]:
        yield from reversed(self._new)
        yield from islice(reversed(self._whole), len(self._whole) - self._count, None)

    def values(self) -> _Spans:
        """All of them, in order."""
        return _Spans(self)


class _MomentTree(SpanTree):
    """Spans that were over by then are shared with the whole trace; what may still change is copied first."""

    def __init__(self, whole: TraceModel, mark: Mark) -> None:
        super().__init__()
        self._seq = mark.state[0]
        self.owned: set[str] = set()
        # It answers as a dict does; to copy hundreds of thousands of spans would be felt at each jump.
        self.spans = cast("dict[str, Span]", SpanPrefix(whole.spans, mark.spans, self._seq))
        self.roots = whole.tree.roots[: bisect_right(whole.tree.roots, self._seq, key=_start_of)]
        for span_id in mark.open:
            self._own(span_id)

    def _own(self, span_id: str) -> None:
        span = self.spans.get(span_id)
        if span is None or span_id in self.owned:
            return
        self.owned.add(span_id)
        mine = copy.copy(span)
        begun = bisect_right(span.children, self._seq, key=_start_of)
        mine.children = list(span.children[:begun])
        if span.end_seq is None or span.end_seq > self._seq:
            mine.status, mine.end_ns, mine.end_seq, mine.error = "running", None, None, None
        self.spans[span_id] = mine
        siblings: Any = self.roots
        if span.parent_id is not None and span.parent_id in self.spans:
            self._own(span.parent_id)
            siblings = self.spans[span.parent_id].children
        for index in range(bisect_left(siblings, span.start_seq, key=_start_of), len(siblings)):
            if siblings[index] is span:
                siblings[index] = mine
                return

    def begin(self, span: Span) -> Span:
        """As that of a tree, under a span of its own."""
        if span.parent_id is not None:
            self._own(span.parent_id)
        self._seq = max(self._seq, span.start_seq)
        self.owned.add(span.span_id)
        return super().begin(span)

    def touched(self, span_id: str, seq: int) -> Span | None:
        """As that of a tree: a span of its own."""
        self._own(span_id)
        self._seq = max(self._seq, seq)
        return super().touched(span_id, seq)


class Moment(TraceModel):
    """A trace after its first `count` events; `add` of the next ones takes it on, as a run that is watched."""

    def __init__(self, whole: TraceModel, count: int) -> None:
        super().__init__(whole.trace_id, clock=lambda: 0.0)
        self._whole = whole
        self.live = True
        self._next_mark = sys.maxsize
        count = max(0, min(count, whole.taken))
        index = bisect_right(whole.marks, count, key=lambda mark: mark.events) - 1
        if index >= 0:
            self._restore(whole.marks[index])
        else:
            self.events = EventPrefix(whole.events, 0)
        self.advance(count - self.taken)

    @property
    def whole(self) -> TraceModel:
        """The trace that it is a moment of."""
        return self._whole

    def own_spans(self) -> set[str] | None:
        """Ids of the spans that it does not share with the whole trace."""
        return self.tree.owned if isinstance(self.tree, _MomentTree) else None

    def advance(self, events: int) -> None:
        """Take in that many of the next events."""
        whole = self._whole
        for number, begin, end in whole.events.stretches(self.taken, min(self.taken + events, whole.taken)):
            stored = whole.events.stored
            if stored is not None and number < len(stored):
                self.events = EventPrefix(whole.events, end)
                first, seq = whole.events.first(number), stored.first_seqs[number]
                if end - begin == stored.counts[number]:
                    take(self, seq, stored.columns(number))
                else:
                    take(self, seq + begin - first, part_of(stored.chunk(number), begin - first, end - first))
                continue
            for raw in whole.events[begin:end]:
                self.add(raw)
        if self.at_end and self._whole.status == "interrupted":
            # Nothing in the log says so: its host died.
            self.interrupt()

    @property
    def at_end(self) -> bool:
        """Whether nothing more is known."""
        return self.taken >= self._whole.taken

    def now_ns(self) -> int:
        """Time stands still between two events."""
        return self._last_offset

    def _restore(self, mark: Mark) -> None:
        whole = self._whole
        self.tree = _MomentTree(whole, mark)
        self.events = EventPrefix(whole.events, mark.events)
        self.taken = mark.events
        for name, value in zip(_STATE, mark.state, strict=True):
            setattr(self, name, value)
        for name in _ABOUT:
            setattr(self, name, getattr(whole, name))
        self.open_spans = dict.fromkeys(mark.open)
        self._queued = dict(mark.queued)
        self.streams = {name: _stream(whole.streams[name], kept) for name, kept in mark.streams.items()}
        self.traffic = _copied(mark.traffic)
        spans = self.spans
        self.traffic.calls = [spans[call.span_id] for call in whole.traffic.calls[: mark.calls]]
        for span_id, attempt in whole.landmarks.retries[: self.retries]:
            tries = self.retried.setdefault(span_id, [])
            tries.append(whole.retried[span_id][len(tries)])
            if attempt:
                self.retry_after[attempt] = whole.retry_after[attempt]
        self.revision += 1


def _stream(whole: StreamText, kept: tuple[dict[str, Any], int, str]) -> StreamText:
    known, lines, last = kept
    stream = StreamText(whole.stream_id)
    vars(stream).update(known)
    # What was given up at the beginning since is not there any more.
    stream.trimmed = min(whole.trimmed, lines - 1)
    stream.lines = [*whole.lines[: max(lines - 1 - whole.trimmed, 0)], last]
    return stream
