"""Where calls of models are told of outside of penguiflow: `PENGUIFLOW_LLM_TRACING=log`, or `mlflow`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

__all__ = [
    "TRACING_ENV_VAR",
    "LLMCallSpan",
    "LLMTraceSink",
    "LoggingLLMTraceSink",
    "MlflowLLMTraceSink",
    "resolve_trace_sink_from_env",
]

TRACING_ENV_VAR = "PENGUIFLOW_LLM_TRACING"
_OUTCOME = ("attempts", "content_chars", "input_tokens", "output_tokens", "cost_usd", "latency_ms")


@dataclass(slots=True)
class LLMCallSpan:
    """One call. What comes of it is filled in before the span ends; what is not known stays None."""

    provider: str
    model: str
    stream: bool = False
    response_format_kind: str | None = None
    attempts: int | None = None
    content_chars: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    error_type: str | None = None
    error_message: str | None = None

    def outcome_attributes(self) -> dict[str, Any]:
        """What came of it, as far as it is known."""
        names = (*_OUTCOME, "error_type", "error_message")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@runtime_checkable
class LLMTraceSink(Protocol):
    """Is told of calls."""

    def span(self, call: LLMCallSpan) -> AbstractContextManager[Any]:
        """Entered before a call; left when its outcome stands in `call`."""
        ...


class LoggingLLMTraceSink:
    """A line of the log for each call."""

    def __init__(self, *, level: int = logging.INFO, logger_name: str = "penguiflow.llm.trace") -> None:
        self._level = level
        self._logger = logging.getLogger(logger_name)

    @contextmanager
    def span(self, call: LLMCallSpan) -> Iterator[None]:
        """Write the line when the call has ended."""
        try:
            yield
        finally:
            told = " ".join(f"{name}={value}" for name, value in call.outcome_attributes().items())
            self._logger.log(self._level, "%s (%s) %s", call.provider, call.model, told)


class MlflowLLMTraceSink:
    """A span of MLflow for each call. Raises `ImportError` where MLflow is not installed."""

    def __init__(self, *, span_name: str = "llm.complete") -> None:
        import mlflow

        self._mlflow = mlflow
        self._name = span_name

    @contextmanager
    def span(self, call: LLMCallSpan) -> Iterator[Any]:
        """Open the span, and set its attributes when the call has ended."""
        with self._mlflow.start_span(name=self._name) as span:
            span.set_attributes({"provider": call.provider, "model": call.model, "stream": call.stream})
            try:
                yield span
            finally:
                span.set_attributes(call.outcome_attributes())


def resolve_trace_sink_from_env() -> LLMTraceSink | None:
    """The sink that the environment names; None without one. Raises `ValueError` for one that does not exist."""
    name = os.environ.get(TRACING_ENV_VAR, "").strip().lower()
    if not name:
        return None
    if name == "log":
        return LoggingLLMTraceSink()
    if name == "mlflow":
        return MlflowLLMTraceSink()
    raise ValueError(f"{TRACING_ENV_VAR}={name}: there are 'log' and 'mlflow'")
