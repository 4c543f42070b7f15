"""Traces and measurements for OpenTelemetry. Needs the extra `penguiflow[otel]`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penguiflow.otel.metrics import ModelMetrics, RemoteMetrics
    from penguiflow.otel.otlp import ExportFailed, export_events, otlp_sink
    from penguiflow.otel.spans import SpanSink

_HOMES = {
    "ExportFailed": "otlp",
    "ModelMetrics": "metrics",
    "RemoteMetrics": "metrics",
    "SpanSink": "spans",
    "export_events": "otlp",
    "otlp_sink": "otlp",
}

__all__ = ["ExportFailed", "ModelMetrics", "RemoteMetrics", "SpanSink", "export_events", "otlp_sink"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
