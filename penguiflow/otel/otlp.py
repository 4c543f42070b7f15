"""Spans to a collector by OTLP over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterable
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from penguiflow.otel.metrics import ModelMetrics
from penguiflow.otel.spans import SpanSink
from penguiflow.recording.events import TraceEvent

__all__ = ["ExportFailed", "export_events", "otlp_sink", "traces_url"]

BATCH = 512
"""Spans that are sent together."""
_TRACES_PATH = "/v1/traces"


class ExportFailed(Exception):
    """The collector did not take the spans."""


def traces_url(endpoint: str) -> str:
    """Where spans go: the collector's address gets the usual path, a full one stays as it is.

    Raises `ValueError` for what is no address.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{endpoint!r} is no http address")
    return endpoint if parts.path.strip("/") else endpoint.rstrip("/") + _TRACES_PATH


def otlp_sink(
    endpoint: str | None = None,
    *,
    content: bool = False,
    resource: Resource | None = None,
    metrics: ModelMetrics | None = None,
) -> SpanSink:
    """A sink that sends spans to a collector while a flow runs; `close` it at the end.

    Without an `endpoint` the environment tells (`OTEL_EXPORTER_OTLP_ENDPOINT` and so on). The SDK sends in batches,
    from a thread of its own; what it cannot send in time it drops, and the flow is not held up.
    """
    exporter = OTLPSpanExporter(None if endpoint is None else traces_url(endpoint))
    return SpanSink(BatchSpanProcessor(exporter), content=content, resource=resource, metrics=metrics)


async def export_events(
    events: AsyncIterable[TraceEvent], endpoint: str | None = None, *, content: bool = False
) -> int:
    """Send a stored trace; returns the number of its spans. Holds the spans that are open and one batch of others.

    Sends from where it is called, and blocks meanwhile. Raises `ExportFailed`, and `ValueError` for the address.
    """
    exporter: SpanExporter = OTLPSpanExporter(None if endpoint is None else traces_url(endpoint))
    sender = _Sender(exporter)
    sink = SpanSink(sender, content=content)
    try:
        async for event in events:
            sink.take(event)
        sender.send()
    finally:
        exporter.shutdown()
    return sender.sent


class _Sender(SpanProcessor):
    """Sends full batches at once."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._batch: list[ReadableSpan] = []
        self.sent = 0

    def on_end(self, span: ReadableSpan) -> None:
        self._batch.append(span)
        if len(self._batch) >= BATCH:
            self.send()

    def send(self) -> None:
        """Send what there is."""
        batch, self._batch = self._batch, []
        if batch and self._exporter.export(batch) is not SpanExportResult.SUCCESS:
            raise ExportFailed(f"the collector did not take the spans ({self.sent} were sent before)")
        self.sent += len(batch)
