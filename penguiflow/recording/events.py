"""What a trace is made of: a gapless sequence of events.

`EventRecord` is what travels inside a process (its data already encoded, so that a payload which changes later
does not change the log); `TraceEvent` is what readers get back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import pydantic_core

from penguiflow.recording.lines import event_line, trace_field

__all__ = ["EventRecord", "EventSink", "TraceEvent", "is_shared", "lift_worker", "shared_root"]

_MARK = b'"worker_seq":'
_LONGEST_MARK = len(_MARK) + 21
_MARKED = re.compile(rb'[{,]"worker_id":"(?:[^"\\]|\\.)*","worker_seq":[0-9]+\}\Z')


def shared_root(epoch: int) -> str:
    """Id of the trace's own span, where several processes write."""
    return f"{epoch:x}.0" if epoch else "0"


def is_shared(data: bytes) -> bool:
    """Whether the data of an event say which of several writers of its trace wrote it: its place is for the store."""
    return _MARK in data[-_LONGEST_MARK:] and _MARKED.search(data, max(0, data.rfind(b'"worker_id":') - 1)) is not None


def lift_worker(line: bytes) -> bytes:
    """An event's JSON with `worker_id` and `worker_seq` beside the data, which carry them; any other as it is."""
    if not is_shared(line[:-1]):
        return line
    start = line.rfind(b'"worker_id":')
    before = line[:start].removesuffix(b",")
    return b"%b},%b}" % (before, line[start:-2])


class TraceEvent(NamedTuple):
    """One event of a trace, decoded."""

    seq: int
    """Position within the trace, from 0, without gaps."""
    epoch: int
    """How often the trace was taken up again after an interruption."""
    trace_id: str
    span_id: str
    """The span this event belongs to; for a `.start` the span it opens."""
    parent_id: str | None
    """The span around it; None for the trace's own span."""
    ts: float
    """Wall clock, unix seconds, to the microsecond."""
    offset_ns: int
    """Nanoseconds since the trace began, by a clock that never steps."""
    kind: str
    """Dotted: `node.start`, `message.enqueued`, `checkpoint.hit` …"""
    name: str
    """The node, edge, tool or stream that it is about."""
    data: dict[str, Any]

    @property
    def worker_id(self) -> str | None:
        """Which of several writers of the trace wrote it; None where there is one."""
        found = self.data.get("worker_id")
        return found if isinstance(found, str) and "worker_seq" in self.data else None

    @property
    def worker_seq(self) -> int | None:
        """Position among what that one wrote of the trace, without gaps."""
        found = self.data.get("worker_seq")
        return found if isinstance(found, int) else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON shape of `docs/schema/trace_event.json`."""
        fields = self._asdict()
        if self.worker_id is not None:
            data = fields["data"] = dict(self.data)
            fields["worker_id"], fields["worker_seq"] = data.pop("worker_id"), data.pop("worker_seq")
        return fields

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> TraceEvent:
        """Read the JSON shape back; raises `KeyError` when a field is missing."""
        event = cls(**{field: value[field] for field in cls._fields})
        if "worker_id" in value:
            writer = {"worker_id": value["worker_id"], "worker_seq": value["worker_seq"]}
            return event._replace(data={**event.data, **writer})
        return event


class EventRecord(NamedTuple):
    """A `TraceEvent` whose data is already JSON."""

    seq: int
    epoch: int
    trace_id: str
    span_id: str
    parent_id: str | None
    ts: float
    offset_ns: int
    kind: str
    name: str
    data: bytes
    """A JSON object."""

    def decode(self) -> TraceEvent:
        """The event with its data as Python values."""
        return TraceEvent(*self[:9], pydantic_core.from_json(self.data))

    def to_json(self) -> bytes:
        """The event's JSON shape as bytes, without decoding its data."""
        return event_line(self, trace_field(self.trace_id))


class EventSink(Protocol):
    """Where a recorder sends events: a store's writer, a host's wire, a test's list."""

    def write(self, record: EventRecord) -> None:
        """Take one event, in order. Called on the loop's thread; must not block and must not raise."""
        ...
