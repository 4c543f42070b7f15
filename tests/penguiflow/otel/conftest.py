"""A collector: an HTTP server that decodes what OTLP exporters send."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What was sent, as dictionaries."""

    def __init__(self) -> None:
        self.status = 200
        self.paths: list[str] = []
        self.spans: list[dict[str, Any]] = []
        self.metrics: dict[str, list[dict[str, Any]]] = {}
        self.scopes: set[str] = set()
        self.resources: list[dict[str, Any]] = []
        self.url = ""

    def span(self, name: str) -> dict[str, Any]:
        """The only span of this name."""
        (found,) = [span for span in self.spans if span["name"] == name]
        return found

    def take_spans(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            self.resources.append(plain(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.scopes.add(scope.scope.name)
                self.spans += [
                    {
                        "name": span.name,
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "kind": span.kind,
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "status": (span.status.code, span.status.message),
                        "attributes": plain(span.attributes),
                        "events": [(event.name, plain(event.attributes)) for event in span.events],
                    }
                    for span in scope.spans
                ]

    def take_metrics(self, body: bytes) -> None:
        request = ExportMetricsServiceRequest.FromString(body)
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = (metric.histogram if metric.HasField("histogram") else metric.sum).data_points
                    self.metrics[metric.name] = [
                        {
                            "attributes": plain(point.attributes),
                            "sum": point.sum if metric.HasField("histogram") else point.as_int,
                            "count": point.count if metric.HasField("histogram") else 0,
                            "unit": metric.unit,
                        }
                        for point in points
                    ]


def plain(attributes: Any) -> dict[str, Any]:
    return {item.key: value_of(item.value) for item in attributes}


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, kind)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on a port of its own."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found.paths.append(self.path)
            if found.status == 200:
                (found.take_metrics if self.path.endswith("metrics") else found.take_spans)(body)
            self.send_response(found.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield found
    server.shutdown()
    server.server_close()
    thread.join(timeout=60)
