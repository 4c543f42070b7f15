"""Events of `LLMClient` for whoever listens: `request_start`, `retry`, `request_end`, `error`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

__all__ = [
    "LLMEvent",
    "TelemetryCallback",
    "TelemetryHooks",
    "TimingContext",
    "create_mlflow_callback",
    "create_prometheus_callback",
    "default_logger_callback",
    "get_telemetry_hooks",
    "set_telemetry_hooks",
]

logger = logging.getLogger(__name__)


@dataclass
class LLMEvent:
    """Something that happened to a call."""

    event_type: str
    timestamp: datetime
    provider: str
    model: str
    trace_id: str | None = None
    extra: dict[str, Any] | None = None
    """`latency_ms`, `input_tokens`, `output_tokens`, `cost`, `attempt`, `error`: as far as they are known."""

    @classmethod
    def create(
        cls, event_type: str, provider: str, model: str, *, trace_id: str | None = None, **extra: Any
    ) -> LLMEvent:
        """An event of now."""
        return cls(event_type, datetime.now(UTC), provider, model, trace_id, extra or None)


TelemetryCallback = Callable[[LLMEvent], None]


class TelemetryHooks:
    """Tells events to callbacks. One that fails is logged, and the call goes on."""

    def __init__(self) -> None:
        self._callbacks: list[TelemetryCallback] = []
        self._enabled = True

    def register(self, callback: TelemetryCallback) -> None:
        """Tell it every event."""
        self._callbacks.append(callback)

    def unregister(self, callback: TelemetryCallback) -> bool:
        """Tell it no more. False if it was not told before."""
        if callback not in self._callbacks:
            return False
        self._callbacks.remove(callback)
        return True

    def emit(self, event: LLMEvent) -> None:
        """Tell an event to all, in the order in which they came."""
        if not self._enabled:
            return
        for callback in tuple(self._callbacks):
            try:
                callback(event)
            except Exception:  # a listener's failure is not that of the call
                logger.exception("a callback for events of models failed")

    def enable(self) -> None:
        """Tell events."""
        self._enabled = True

    def disable(self) -> None:
        """Tell none."""
        self._enabled = False

    def clear(self) -> None:
        """Forget every callback."""
        self._callbacks.clear()


_hooks = TelemetryHooks()


def get_telemetry_hooks() -> TelemetryHooks:
    """Those of the process."""
    return _hooks


def set_telemetry_hooks(hooks: TelemetryHooks) -> None:
    """Use others."""
    global _hooks  # noqa: PLW0603 - the one place where a program sets what its clients report to
    _hooks = hooks


def default_logger_callback(event: LLMEvent) -> None:
    """Write an event into the log: a failure as a warning, others for debugging."""
    level = logging.WARNING if event.event_type == "error" else logging.DEBUG
    logger.log(level, "%s %s/%s %s", event.event_type, event.provider, event.model, event.extra or {})


def create_mlflow_callback() -> TelemetryCallback:
    """A callback that logs numbers to the active run of MLflow. Raises `ImportError` where that is not installed."""
    import mlflow

    def tell(event: LLMEvent) -> None:
        numbers = {
            f"llm.{name}": float(value)
            for name, value in (event.extra or {}).items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        if event.event_type in ("request_end", "error") and numbers:
            mlflow.log_metrics(numbers)

    return tell


def create_prometheus_callback() -> TelemetryCallback:
    """A callback that counts calls, tokens and seconds. Raises `ImportError` without `prometheus_client`."""
    from prometheus_client import Counter, Histogram

    calls = Counter("penguiflow_llm_events_total", "Events of model calls", ["event", "provider", "model"])
    tokens = Counter("penguiflow_llm_tokens_total", "Tokens of model calls", ["kind", "provider", "model"])
    seconds = Histogram("penguiflow_llm_request_seconds", "Seconds of model calls", ["provider", "model"])

    def tell(event: LLMEvent) -> None:
        extra = event.extra or {}
        calls.labels(event.event_type, event.provider, event.model).inc()
        for kind in ("input", "output"):
            if f"{kind}_tokens" in extra:
                tokens.labels(kind, event.provider, event.model).inc(extra[f"{kind}_tokens"])
        if "latency_ms" in extra:
            seconds.labels(event.provider, event.model).observe(extra["latency_ms"] / 1000)

    return tell


class TimingContext:
    """Measures what happens inside of a `with`."""

    def __init__(self, provider: str, model: str, trace_id: str | None = None) -> None:
        self.provider = provider
        self.model = model
        self.trace_id = trace_id
        self._began = self._ended = 0.0

    def __enter__(self) -> Self:
        self._began, self._ended = time.perf_counter(), 0.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = time.perf_counter()

    @property
    def latency_ms(self) -> float:
        """Milliseconds until the end, or until now."""
        return ((self._ended or time.perf_counter()) - self._began) * 1000 if self._began else 0.0
