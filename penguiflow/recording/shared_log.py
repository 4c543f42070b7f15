"""The log of a trace that several processes write.

Whoever begins the trace writes `trace.start`; everybody writes what happens in his process; one of them writes
`trace.end`. Nobody knows what the others have written: the store gives each event its place (`seq`) in the commit, and
its offset from the time at which the trace began there. The data of each event end in `worker_id` and `worker_seq`,
which counts what this process writes of the trace, without gaps. Spans have ids that no other process gives.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from penguiflow.recording.events import TraceEvent, shared_root
from penguiflow.recording.hops import Track
from penguiflow.recording.payloads import encode_data
from penguiflow.recording.spans import Span, SpanTree
from penguiflow.recording.text import clean_text
from penguiflow.recording.trace_log import Log

if TYPE_CHECKING:
    from penguiflow.recording.recorder import Recorder

__all__ = ["SPAN_KINDS", "Joined", "SharedLog", "open_spans"]

MAX_TRACES = 65_536
"""Of which it is remembered how much this process has written of them."""
SPAN_KINDS = tuple(
    f"{kind}.*" for kind in ("node", "attempt", "playbook", "planner", "step", "llm", "tool", "branch", "join")
)
"""What begins and ends within a node's work on a message."""
_TAG_BYTES = 5
_EMPTY = b"{}"


class Joined:
    """How much one worker has written of traces that others write, too."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = clean_text(worker_id)
        name = self.worker_id.encode() + os.urandom(8)
        self.tag = blake2b(name, digest_size=_TAG_BYTES).hexdigest()
        """The beginning of the ids of all its spans. A worker that is started again by the same name has another."""
        self._tracks: OrderedDict[str, Track] = OrderedDict()

    def track(self, trace_id: str, epoch: int) -> Track:
        """Where this worker is in a trace."""
        track = self._tracks.get(trace_id)
        if track is None:
            track = self._tracks[trace_id] = Track(trace_id, 0, epoch, perf_counter_ns())
            if len(self._tracks) > MAX_TRACES:
                self._tracks.popitem(last=False)
        self._tracks.move_to_end(trace_id)
        track.epoch = epoch
        return track


class SharedLog(Log):
    """What one process writes of such a trace: a `TraceLog`, and there may be many at a time, for one delivery each.

    `close` writes `trace.end`, and is for the one who ends the trace; the others just leave theirs.
    """

    __slots__ = ("_mark", "_tag")

    def __init__(self, recorder: Recorder, track: Track, joined: Joined, root: str, epoch: int) -> None:
        self._prepare(recorder, track.trace_id, track)
        self.epoch = epoch
        # Whole hops have numbers that only one writer can give.
        self._sink = None
        self.root = root or shared_root(epoch)
        self._tag = joined.tag
        self._mark = b'"worker_id":%b,"worker_seq":' % to_json(joined.worker_id)

    def begin_trace(self, data: Mapping[str, Any]) -> None:
        """Write `trace.start`: once for each epoch, and committed before others join."""
        self._write("trace.start", self._name, self.root, None, self._encode(data))

    def start(self, kind: str, name: str, parent: str, data: Mapping[str, Any] | None = None) -> str:
        """Open a span."""
        span = f"{self._tag}.{self._track.next_seq:x}"
        if not self.closed:
            parent = parent or self.root
            self._spans[span] = (parent, kind, name)
            self._write(f"{kind}.start", name, span, parent, self._encode(data))
        return span

    def taken(self, edge: str, parent: str, message_id: str, node: str, node_id: str) -> tuple[str, str]:
        """Write `message.dequeued`, and the starts of the node's span and of its first attempt."""
        self.event("message.dequeued", edge, parent, {"message_id": message_id})
        span = self.start("node", node, parent, {"message_id": message_id, "node_id": node_id})
        return span, self.start("attempt", node, span, {"attempt": 0})

    def end_of_other(self, kind: str, name: str, span: str, parent: str, status: str) -> None:
        """End a span that a worker left open which is gone."""
        self._write(f"{kind}.end", name, span, parent, encode_data({"status": status}))

    def close(self, status: str, data: Mapping[str, Any] | None = None) -> None:
        """Write `trace.end`. Spans that are open elsewhere stay open."""
        if not self.closed:
            self._write_rest(status, data)
            self.closed = True

    def _write(self, kind: str, name: str, span: str, parent: str | None, data: bytes) -> None:
        comma = b"" if data == _EMPTY else b","
        marked = b"%b%b%b%d}" % (data[:-1], comma, self._mark, self._track.next_seq)
        super()._write(kind, name, span, parent, marked)


def open_spans(events: Iterable[TraceEvent], message_id: str, node: str) -> list[Span]:
    """Spans of a node's work on a message that have not ended, each before those within it."""
    tree = SpanTree()
    for event in events:
        tree.add(event)
    works = [
        span
        for span in tree.spans.values()
        if span.kind == "node" and span.name == node and span.input_id == message_id and span.end_seq is None
    ]
    return [span for work in works for span in _with_children(work) if span.end_seq is None]


def _with_children(span: Span) -> Iterator[Span]:
    yield span
    for child in span.children:
        yield from _with_children(child)
