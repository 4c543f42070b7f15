"""What calls cost, as OpenTelemetry metrics: latency, bytes, failures and cancellations of remote agents; of models
latency and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import metrics as api

from penguiflow.otel import names
from penguiflow.otel.attributes import Attributes, address_attributes

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from penguiflow.metrics import FlowEvent

__all__ = ["ModelMetrics", "RemoteMetrics"]

_OUTCOMES = {"remote_call_success": "success", "remote_call_error": "error"}
_CANCELS = {"remote_call_cancelled": "cancelled", "remote_cancel_error": "error"}
_MODEL_ATTRIBUTES = (
    names.OPERATION, names.PROVIDER, names.REQUEST_MODEL, names.RESPONSE_MODEL, names.ERROR_TYPE,
)  # fmt: skip


class RemoteMetrics:
    """A middleware: `create(…, middlewares=[RemoteMetrics()])`.

    The rate of failures is that of `penguiflow.remote.calls` with the status `error` among all of them.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        meter = (provider or api.get_meter_provider()).get_meter(names.SCOPE)
        self._calls = meter.create_counter(names.REMOTE_CALLS, "{call}", "Calls that were answered, or failed.")
        self._duration = meter.create_histogram(names.REMOTE_DURATION, "s", "From the request to the whole answer.")
        self._asked = meter.create_histogram(names.REMOTE_REQUEST_SIZE, "By", "Size of requests' payloads.")
        self._answered = meter.create_histogram(names.REMOTE_RESPONSE_SIZE, "By", "Size of results.")
        self._chunks = meter.create_counter(names.REMOTE_CHUNK_BYTES, "By", "Text that was streamed.")
        self._cancels = meter.create_histogram(
            names.REMOTE_CANCEL_DURATION, "s", "From a cancellation to the agent's answer to it."
        )

    async def __call__(self, event: FlowEvent) -> None:
        """Take one event of a flow."""
        kind = event.event_type
        if not kind.startswith("remote_"):
            return
        extra = event.extra
        about: Attributes = {
            names.SKILL: str(extra.get("remote_skill")),
            names.STREAMING: bool(extra.get("remote_streaming")),
            **address_attributes(extra.get("remote_agent_url")),
        }
        seconds = (event.latency_ms or 0.0) / 1e3
        if kind == "remote_call_start":
            self._asked.record(_bytes(extra.get("remote_request_bytes")), about)
        elif kind == "remote_stream_event":
            self._chunks.add(_bytes(extra.get("remote_chunk_bytes")), about)
        elif kind in _OUTCOMES:
            about[names.REMOTE_STATUS] = _OUTCOMES[kind]
            self._calls.add(1, about)
            self._duration.record(seconds, about)
            if kind == "remote_call_success":
                self._answered.record(_bytes(extra.get("remote_response_bytes")), about)
        elif kind in _CANCELS:
            about[names.REMOTE_STATUS] = _CANCELS[kind]
            about[names.REASON] = str(extra.get("remote_cancel_reason", ""))
            self._cancels.record(seconds, about)


class ModelMetrics:
    """Latency and tokens of models' calls, for `SpanSink(…, metrics=ModelMetrics())`."""

    def __init__(self, provider: MeterProvider | None = None) -> None:
        meter = (provider or api.get_meter_provider()).get_meter(names.SCOPE)
        self._duration = meter.create_histogram(names.OPERATION_DURATION, "s", "Duration of a model's call.")
        self._tokens = meter.create_histogram(names.TOKEN_USAGE, "{token}", "Tokens of a model's call.")

    def called(self, attributes: Attributes, seconds: float) -> None:
        """A call has ended; `attributes` are those of its span."""
        about: dict[str, Any] = {name: attributes[name] for name in _MODEL_ATTRIBUTES if name in attributes}
        self._duration.record(seconds, about)
        for name, kind in ((names.INPUT_TOKENS, "input"), (names.OUTPUT_TOKENS, "output")):
            if isinstance(attributes.get(name), int):
                self._tokens.record(attributes[name], {**about, names.TOKEN_TYPE: kind})


def _bytes(value: Any) -> int:
    return value if isinstance(value, int) else 0
