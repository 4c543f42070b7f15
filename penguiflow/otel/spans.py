"""The event log as OpenTelemetry spans: while it is written, or from a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags
from pydantic_core import from_json

from penguiflow.otel import attributes as of
from penguiflow.otel import names
from penguiflow.recording.events import EventRecord, TraceEvent
from penguiflow.traceparent import Parent, parent_of, remote_key, span_number, trace_number

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from penguiflow.otel.metrics import ModelMetrics

__all__ = ["SpanSink"]

MAX_SPAN_EVENTS = 128
"""What happens more often within a span is counted in its `dropped_events`, as the SDK does."""
MAX_CONTENT_CHARS = 8192
_LATEST_NS = (1 << 63) - 1
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_TOLD = frozenset(
    {
        "node.retry", "deadline.exceeded", "budget.exhausted", "cancel.requested", "cancel.done", "message.dropped",
        "checkpoint.hit", "checkpoint.resolved", "planner.decision", "planner.repair", "planner.pause",
        "planner.resume", "planner.reflection", "stall", "host.died",
    }
)  # fmt: skip
"""Kinds of events that become events of their span."""
_UNTOLD = frozenset({"message.dequeued", "context.changed", "memory.changed", "log", "code.loaded", "edit"})


class _Open:
    """A span that has not ended."""

    __slots__ = ("asked", "attributes", "chunks", "dropped", "events", "kind", "name", "number", "parent", "start_ns")

    def __init__(self, number: int, kind: str, name: str, parent: str | None, start_ns: int) -> None:
        self.number = number
        self.kind = kind
        self.name = name
        self.parent = parent
        self.start_ns = start_ns
        self.attributes: of.Attributes = {}
        self.events: list[Event] = []
        self.asked = False
        """Whether a remote call was made in it."""
        self.chunks = 0
        self.dropped = 0


class _Trace:
    """A trace that has spans open."""

    __slots__ = ("base_ns", "number", "open", "parent", "roots")

    def __init__(self, trace_id: str) -> None:
        self.number = trace_number(trace_id)
        self.parent: Parent | None = None
        self.base_ns = 0
        self.open: dict[str, _Open] = {}
        self.roots = 0


class SpanSink:
    """Takes events and gives spans to a span processor, each when it has ended.

    It is a sink for a recorder: `store.recorder(SpanSink(processor))`, `Recorder(SpanSink(processor))`. Remote calls of
    traces that are recorded so carry a `traceparent`. `take` gives it the events of a stored trace. What it holds are
    the spans that are open.

    Args:
        processor: Where ended spans go, a `BatchSpanProcessor` for example. Its thread is the SDK's.
        resource: What the process is; the SDK's default, with `OTEL_SERVICE_NAME` and the like.
        content: Whether prompts, arguments, answers and messages go along. They do not by default.
        metrics: Told of the calls of models: see `ModelMetrics`.
    """

    propagates = True
    """Remote calls tell the other side where they come from."""

    def __init__(
        self,
        processor: SpanProcessor,
        *,
        resource: Resource | None = None,
        content: bool = False,
        metrics: ModelMetrics | None = None,
        max_content_chars: int = MAX_CONTENT_CHARS,
    ) -> None:
        self._processor = processor
        self._resource = Resource.create() if resource is None else resource
        self._content = content
        self._metrics = metrics
        self._most = max_content_chars
        self._scope = InstrumentationScope(names.SCOPE)
        self._traces: dict[str, _Trace] = {}
        self._handlers: dict[str, Callable[[_Trace, _Open, EventRecord, dict[str, Any]], None]] = {
            "message.enqueued": self._message,
            "stream.chunk": self._chunk,
            "record": self._record,
        }

    def write(self, record: EventRecord) -> None:
        """Take one event of a live recorder."""
        kind = record.kind
        if kind in _UNTOLD:
            return
        if kind.endswith(".start"):
            self._start(record, from_json(record.data))
            return
        trace = self._traces.get(record.trace_id)
        span = None if trace is None else trace.open.get(record.span_id)
        if trace is None or span is None:
            return
        if kind.endswith(".end"):
            self._end(trace, span, record, from_json(record.data))
            return
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(trace, span, record, from_json(record.data))
        elif kind in _TOLD:
            data = from_json(record.data)
            self._add(trace, span, kind, record, {**of.flat(data), **self._failure(data)})

    def take(self, event: TraceEvent) -> None:
        """Take one event of a stored trace; they come in order."""
        from penguiflow.recording.payloads import encode_data

        self.write(EventRecord(*event[:9], encode_data(event.data)))

    def close(self, timeout_s: float = 10.0) -> None:
        """Send what has ended, and let the processor go. Blocks until that is done, or too late."""
        self._processor.force_flush(int(timeout_s * 1000))
        self._processor.shutdown()

    def _start(self, record: EventRecord, data: dict[str, Any]) -> None:
        trace_id, kind = record.trace_id, record.kind[:-6]
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = _Trace(trace_id)
        if record.parent_id is None:
            trace.roots += 1
            # All times are counted from one reading of the clock that can step, by the one that never does.
            trace.base_ns = round(record.ts * 1e6) * 1000 - record.offset_ns
        key = record.span_id
        around = trace.open.get(record.parent_id or "")
        if kind == "remote" and around is not None and not around.asked:
            # Its caller has told the agent this id, before there was a span.
            around.asked = True
            key = remote_key(record.parent_id or "")
        span = _Open(
            span_number(trace_id, key),
            kind,
            of.span_name(kind, record.name, data),
            record.parent_id,
            _clamped(trace.base_ns + record.offset_ns),
        )
        span.attributes = of.start_attributes(kind, record.name, data)
        if kind == "trace":
            span.attributes[names.TRACE_ID] = trace_id
            span.attributes[names.EPOCH] = record.epoch
        if self._content:
            span.attributes.update(of.call_content(kind, data, most=self._most))
        trace.open[record.span_id] = span

    def _end(self, trace: _Trace, span: _Open, record: EventRecord, data: dict[str, Any]) -> None:
        del trace.open[record.span_id]
        end_ns = _clamped(trace.base_ns + record.offset_ns)
        span.attributes.update(of.end_attributes(span.kind, data))
        if span.chunks:
            span.attributes[names.CHUNKS] = span.chunks
        if self._content:
            span.attributes.update(of.call_content(span.kind, data, most=self._most))
        error = data.get("error")
        if isinstance(error, dict):
            event = Event(names.EXCEPTION_EVENT, of.exception_attributes(error), end_ns)
            span.events.append(event)
        status = span.attributes[names.STATUS]
        told = str(error.get("message", status)) if isinstance(error, dict) else str(status)
        parent = trace.open.get(span.parent) if span.parent is not None else None
        if parent is not None:
            around = self._context(trace, parent.number)
        elif trace.parent is not None:
            around = SpanContext(trace.parent.trace, trace.parent.span, True, TraceFlags(trace.parent.flags))
        else:
            around = None
        self._processor.on_end(
            ReadableSpan(
                name=span.name,
                context=self._context(trace, span.number),
                parent=around,
                resource=self._resource,
                attributes=span.attributes,
                events=tuple(span.events),
                kind=of.span_kind(span.kind),
                status=Status(StatusCode.OK) if status == "ok" else Status(StatusCode.ERROR, told),
                start_time=span.start_ns,
                end_time=max(end_ns, span.start_ns),
                instrumentation_scope=self._scope,
            )
        )
        if self._metrics is not None and span.kind == "llm":
            self._metrics.called(span.attributes, (end_ns - span.start_ns) / 1e9)
        if span.kind == "trace":
            trace.roots -= 1
            if trace.roots <= 0:
                del self._traces[record.trace_id]

    def _context(self, trace: _Trace, number: int) -> SpanContext:
        return SpanContext(trace.number, number, False, _SAMPLED)

    def _message(self, trace: _Trace, span: _Open, record: EventRecord, data: dict[str, Any]) -> None:
        if span.kind == "trace" and trace.parent is None and record.name.startswith("OpenSea->"):
            trace.parent = parent_of(data.get("meta"))
            if trace.parent is not None:
                # No span of the trace has ended yet: the input comes first.
                trace.number = trace.parent.trace
        if self._content and "payload" in data:
            about = {names.EDGE: record.name, names.PAYLOAD: of.json_text(data["payload"], self._most)}
            self._add(trace, span, "message.enqueued", record, about)

    def _chunk(self, trace: _Trace, span: _Open, record: EventRecord, data: dict[str, Any]) -> None:
        span.chunks += 1

    def _record(self, trace: _Trace, span: _Open, record: EventRecord, data: dict[str, Any]) -> None:
        about = {**of.flat(data), **self._failure(data)}
        if self._content:
            about.update(of.call_content("record", data, most=self._most))
        self._add(trace, span, f"record {record.name}", record, about)

    def _failure(self, data: dict[str, Any]) -> of.Attributes:
        error = data.get("error")
        return of.exception_attributes(error) if isinstance(error, dict) else {}

    def _add(self, trace: _Trace, span: _Open, name: str, record: EventRecord, about: of.Attributes) -> None:
        if len(span.events) >= MAX_SPAN_EVENTS:
            span.dropped += 1
            return
        span.events.append(Event(name, about, _clamped(trace.base_ns + record.offset_ns)))


def _clamped(time_ns: int) -> int:
    """What fits into a span, whatever an imported trace says."""
    return min(max(time_ns, 0), _LATEST_NS)
