"""A provider as a `JSONLLMClient`: messages as mappings in, a text and its cost out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from penguiflow.llm.calls import AskPolicy, ask
from penguiflow.llm.chat import from_chat, with_response_format
from penguiflow.llm.errors import LLMError, LLMRateLimitError
from penguiflow.llm.providers import create_provider
from penguiflow.llm.providers.base import Provider
from penguiflow.llm.tracing import LLMCallSpan, LLMTraceSink, resolve_trace_sink_from_env
from penguiflow.llm.types import (
    CompletionResponse,
    LLMRequest,
    StreamCallback,
    StreamEvent,
    ToolCallPart,
    ToolSpec,
    validate_reasoning_display,
)

__all__ = [
    "INLINE_MULTIMODAL_DATA_LIMIT_BYTES",
    "NativeLLMAdapter",
    "NativeToolCallResult",
    "create_native_adapter",
]

INLINE_MULTIMODAL_DATA_LIMIT_BYTES = 32 * 1024
OnChunk = Callable[[str, bool], None]


@dataclass(slots=True)
class NativeToolCallResult:
    """What a model said when it was offered tools."""

    content: str
    tool_calls: list[ToolCallPart] = field(default_factory=list)
    cost: float = 0.0
    """US dollars; 0 when it is not known."""
    reasoning_content: str | None = None


class NativeLLMAdapter:
    """Asks a provider, with retries and with less where it refuses a schema or a temperature."""

    def __init__(
        self,
        model: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        provider: Provider | None = None,
        retry_rate_limit_errors: bool = True,
        trace_sink: LLMTraceSink | None = None,
        **options: Any,
    ) -> None:
        """`provider` is asked instead of one that is made for the model.

        Options, each with its default: `temperature=None`, `max_retries=3`, `timeout_s=120.0`, `json_schema_mode=True`,
        `streaming_enabled=True`, `use_native_reasoning=True`, `reasoning_effort=None`, `reasoning_display=None`,
        `transport=None` (all are one), `multimodal_inline_data_limit_bytes=32 KiB`. Others go to `create_provider`.
        """
        self._temperature: float | None = options.pop("temperature", None)
        self._json_schema_mode: bool = options.pop("json_schema_mode", True)
        self._streaming: bool = options.pop("streaming_enabled", True)
        self._reasons: bool = options.pop("use_native_reasoning", True)
        self._effort: str | None = options.pop("reasoning_effort", None)
        self._display = validate_reasoning_display(options.pop("reasoning_display", None))
        self._limit: int = options.pop("multimodal_inline_data_limit_bytes", INLINE_MULTIMODAL_DATA_LIMIT_BYTES)
        options.pop("transport", None)
        self._policy = AskPolicy(timeout_s=options.pop("timeout_s", 120.0), max_retries=options.pop("max_retries", 3))
        self._retry_rate_limits = retry_rate_limit_errors
        self._sink = trace_sink if trace_sink is not None else resolve_trace_sink_from_env()
        self._model = model
        self._provider = provider or create_provider(model, api_key=api_key, base_url=base_url, **options)

    @property
    def model(self) -> str:
        """The name that it was given."""
        return self._model

    def as_provider(self) -> Provider:
        """The provider that is asked: planners use it as it is, for what it tells of usage."""
        return self._provider

    async def complete(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any] | None = None,
        stream: bool = False,
        on_stream_chunk: OnChunk | None = None,
        on_reasoning_chunk: OnChunk | None = None,
    ) -> tuple[str, float]:
        """The text and its cost in US dollars, 0 when that is not known. Raises `LLMError`."""
        request = self._request(messages, response_format)
        response = await self._ask(request, _chunks(on_stream_chunk, on_reasoning_chunk) if stream else None)
        _finish(on_stream_chunk if stream else None, on_reasoning_chunk if stream else None)
        return response.message.text, _dollars(response)

    async def complete_with_tools(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[ToolSpec],
        stream: bool = False,
        on_stream_chunk: OnChunk | None = None,
        on_reasoning_chunk: OnChunk | None = None,
    ) -> NativeToolCallResult:
        """The text, and the tools that the model calls. Raises `LLMError`."""
        request = replace(self._request(messages, None), tools=tuple(tools))
        response = await self._ask(request, _chunks(on_stream_chunk, on_reasoning_chunk) if stream else None)
        _finish(on_stream_chunk if stream else None, on_reasoning_chunk if stream else None)
        message = response.message
        return NativeToolCallResult(message.text, message.tool_calls, _dollars(response), response.reasoning_content)

    async def stream_events(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[StreamEvent]:
        """The pieces of an answer as they come. Leaving the loop gives the call up. Raises `LLMError`."""
        events: asyncio.Queue[StreamEvent | None] = asyncio.Queue()
        request = self._request(messages, response_format)
        call = asyncio.create_task(
            self._provider.complete(
                request,
                timeout_s=timeout_s if timeout_s is not None else self._policy.timeout_s,
                stream=True,
                on_stream_event=events.put_nowait,
            )
        )
        call.add_done_callback(lambda done: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            await call
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait({call})

    def _request(self, messages: Sequence[Mapping[str, Any]], response_format: Mapping[str, Any] | None) -> LLMRequest:
        extra: dict[str, Any] = {}
        if self._reasons and self._effort is not None:
            extra["reasoning_effort"] = self._effort
        if self._display is not None:
            extra["reasoning_display"] = self._display
        request = LLMRequest(
            self._model, from_chat(messages, limit=self._limit), temperature=self._temperature, extra=extra or None
        )
        if response_format is not None and not self._json_schema_mode and response_format.get("type") == "json_schema":
            response_format = {"type": "json_object"}
        return with_response_format(request, response_format)

    async def _ask(self, request: LLMRequest, on_event: StreamCallback | None) -> CompletionResponse:
        on_event = on_event if self._streaming else None
        attempts = 1
        span = LLMCallSpan(self._provider.provider_name, self._model, stream=on_event is not None)
        span.response_format_kind = "json_schema" if request.structured_output is not None else None

        def count(attempt: int, error: LLMError, delay: float) -> None:
            nonlocal attempts
            if isinstance(error, LLMRateLimitError) and not self._retry_rate_limits:
                raise error
            attempts += 1

        began = time.perf_counter()
        with self._sink.span(span) if self._sink is not None else nullcontext():
            try:
                response = await ask(self._provider, request, policy=self._policy, on_event=on_event, on_retry=count)
            except LLMError as error:
                span.error_type, span.error_message = type(error).__name__, str(error)
                raise
            finally:
                span.attempts, span.latency_ms = attempts, (time.perf_counter() - began) * 1000
            span.content_chars = len(response.message.text)
            span.cost_usd = None if response.cost is None else response.cost.total_cost
            if response.usage_known:
                span.input_tokens = response.usage.input_tokens
                span.output_tokens = response.usage.output_tokens
        return response


def create_native_adapter(
    model: str | Mapping[str, Any],
    *,
    fallback: Any | None = None,
    cooldown_store: Any | None = None,
    timeout_s: float = 360.0,
    **kwargs: Any,
) -> Any:
    """A planner's client for a model by its name, or by a mapping with `model`, `api_key`, `api_base` and others.

    Keyword arguments are those of `NativeLLMAdapter`. With `fallback` (a `ModelFallbackConfig`) it goes on with other
    keys and models.
    """
    settings = {"model": model} if isinstance(model, str) else dict(model)
    name = settings.pop("model", None)
    if not isinstance(name, str) or not name:
        raise ValueError("a model is given by its name, or by a mapping that has it as 'model'")
    base_url = settings.pop("api_base", None)
    if base_url is not None:
        settings.setdefault("base_url", base_url)
    options = {"timeout_s": timeout_s, **settings, **kwargs}
    if fallback is None:
        return NativeLLMAdapter(name, **options)
    from penguiflow.llm.fallback import FallbackLLMClient

    key = options.pop("api_key", None)
    return FallbackLLMClient(name, fallback, cooldown_store=cooldown_store, default_api_key=key, **options)


def _chunks(on_text: OnChunk | None, on_reasoning: OnChunk | None) -> StreamCallback | None:
    if on_text is None and on_reasoning is None:
        return None

    def tell(event: StreamEvent) -> None:
        if event.delta_text and on_text is not None:
            on_text(event.delta_text, False)
        if event.delta_reasoning and on_reasoning is not None:
            on_reasoning(event.delta_reasoning, False)

    return tell


def _finish(*callbacks: OnChunk | None) -> None:
    for callback in callbacks:
        if callback is not None:
            callback("", True)


def _dollars(response: CompletionResponse) -> float:
    return 0.0 if response.cost is None else response.cost.total_cost
