"""OpenAI, Anthropic, Google and whatever speaks OpenAI's protocol, through `pydantic_ai.direct`.

The library, which takes a second to load, is imported when a provider is made, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from penguiflow.llm.cancelling import unless_cancelled
from penguiflow.llm.errors import LLMError, LLMTimeoutError
from penguiflow.llm.pricing import cost_of
from penguiflow.llm.profiles import ModelProfile, get_profile
from penguiflow.llm.providers.base import Provider
from penguiflow.llm.providers.endpoints import Wire, endpoint_of
from penguiflow.llm.providers.keeping import Kept
from penguiflow.llm.text import Joiner
from penguiflow.llm.types import (
    CancelToken,
    CompletionResponse,
    LLMRequest,
    StreamCallback,
    StreamEvent,
    ToolCallPart,
)

if TYPE_CHECKING:
    import httpx2
    from pydantic_ai.messages import BaseToolCallPart, ModelResponse, ModelResponseStreamEvent
    from pydantic_ai.models import Model

__all__ = ["PydanticAIProvider"]

TIMEOUT = 360.0  # seconds, for a call whose caller sets none
READ_TIMEOUT = 1200.0  # seconds
CONNECT_TIMEOUT = 30.0  # seconds
_DIRECT = "pydantic_ai.direct"


@dataclass(slots=True)
class _Connection:
    """What is used on one event loop."""

    model: Model
    kept: Kept
    """Its client."""


class PydanticAIProvider(Provider):
    """One model, asked once per call.

    Each event loop that uses it has a client of its own, which is closed when the loop ends, and by `aclose`.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        profile: ModelProfile | None = None,
        timeout: float = TIMEOUT,
        client_factory: Callable[[], httpx2.AsyncClient] | None = None,
        **settings: Any,
    ) -> None:
        """See `create_provider`; `client_factory` makes the HTTP client of an event loop.

        Raises:
            ImportError: Where the extra `penguiflow[llm]` is not installed.
            ValueError: For a model whose place is not known.
        """
        self._endpoint = endpoint_of(model, api_key=api_key, base_url=base_url)
        _load(model, self._endpoint.wire)
        self._name = model
        self._profile = profile or get_profile(model)
        self._timeout = timeout
        self._settings = settings
        self._client_factory = client_factory
        self._connections: dict[asyncio.AbstractEventLoop, _Connection] = {}

    @property
    def provider_name(self) -> str:
        """Whose the model is; `openai-compatible` for a server that only its address tells."""
        return self._endpoint.provider

    @property
    def profile(self) -> ModelProfile:
        """By the model's name, unless it was given another one."""
        return self._profile

    @property
    def model(self) -> str:
        """As the provider calls it."""
        return self._endpoint.model

    async def complete(
        self,
        request: LLMRequest,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        stream: bool = False,
        on_stream_event: StreamCallback | None = None,
    ) -> CompletionResponse:
        """Ask once; see `Provider.complete`."""
        timeout = timeout_s if timeout_s is not None else self._timeout
        extra = {**self._settings, **(request.extra or {})}
        shown = extra.get("reasoning_display") != "omitted"
        listener = _Listener(on_stream_event, shown) if stream and on_stream_event is not None else None
        response = await unless_cancelled(self._complete(request, timeout, listener), cancel)
        return response if shown else replace(response, reasoning_content=None)

    async def aclose(self) -> None:
        """Close the connections of this event loop. A later call opens others."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection.kept.close()

    async def _complete(self, request: LLMRequest, timeout: float, listener: _Listener | None) -> CompletionResponse:
        from penguiflow.llm.providers.pydantic_errors import error_of
        from penguiflow.llm.providers.pydantic_messages import answer_of

        try:
            async with asyncio.timeout(timeout) as bound:
                answered = await self._ask(request, timeout, listener)
                response = answer_of(answered, asked=self.model)
        except LLMError:
            raise
        except Exception as error:
            # Whatever a library makes of a broken answer is a failed call; what a listener raises is the program's own.
            if listener is not None and listener.failure is error:
                raise
            if isinstance(error, TimeoutError) and bound.expired():
                message = f"{self.provider_name} ({self.model}) did not answer within {timeout:.3g} s"
                raise LLMTimeoutError(message, provider=self.provider_name, raw=error) from error
            url = self._endpoint.base_url
            raise error_of(error, provider=self.provider_name, model=self.model, url=url) from error
        response = replace(response, cost=self._cost(response))
        if listener is not None:
            listener.end(response)
        return response

    async def _ask(self, request: LLMRequest, timeout: float, listener: _Listener | None) -> ModelResponse:
        from pydantic_ai.direct import model_request, model_request_stream

        from penguiflow.llm.providers.pydantic_messages import messages_of, parameters_of, settings_of

        model = (await self._connection()).model
        messages = messages_of(request.messages, self._endpoint.wire)
        settings = settings_of(request, self._endpoint.wire, timeout_s=timeout, defaults=self._settings)
        parameters = parameters_of(request, self._endpoint.wire)
        if listener is None:
            return await model_request(
                model, messages, model_settings=settings, model_request_parameters=parameters, instrument=False
            )
        async with model_request_stream(
            model, messages, model_settings=settings, model_request_parameters=parameters, instrument=False
        ) as stream:
            async for event in stream:
                listener.take(event)
            return stream.get()

    async def _connection(self) -> _Connection:
        loop = asyncio.get_running_loop()
        connection = self._connections.get(loop)
        if connection is None:
            from penguiflow.llm.providers.pydantic_models import model_for

            for ended in [each for each in self._connections if each.is_closed()]:
                del self._connections[ended]
            client = (self._client_factory or _client)()
            connection = _Connection(model_for(self._endpoint, client), Kept(client, self))
            self._connections[loop] = connection
            await connection.kept.begin()
        return connection

    def _cost(self, response: CompletionResponse) -> Any:
        if not response.usage_known:
            return None
        return cost_of(self._name, response.usage, listed=self._endpoint.listed)


class _Listener:
    """Turns the events of pydantic-ai into ours, without halves of characters."""

    def __init__(self, on_event: StreamCallback, shows_reasoning: bool) -> None:
        self._on_event = on_event
        self._shows_reasoning = shows_reasoning
        self._joiners: dict[int, Joiner] = {}
        self._calls: dict[int, ToolCallPart] = {}
        self._kinds: dict[int, str] = {}
        self.failure: Exception | None = None
        """What the callback raised."""

    def take(self, event: ModelResponseStreamEvent) -> None:
        if event.event_kind == "part_start":
            part = event.part
            if part.part_kind == "text" or part.part_kind == "thinking":
                self._say(event.index, part.part_kind, part.content)
            elif part.part_kind == "tool-call":
                self._calls[event.index] = ToolCallPart(part.tool_name, "", part.tool_call_id)
                self._tell(StreamEvent(delta_tool_call=self._calls[event.index]))
                self._say(event.index, "tool-call", _arguments(part))
        elif event.event_kind == "part_delta":
            delta = event.delta
            if delta.part_delta_kind == "text" or delta.part_delta_kind == "thinking":
                self._say(event.index, delta.part_delta_kind, delta.content_delta or "")
            elif delta.part_delta_kind == "tool_call" and isinstance(delta.args_delta, str):
                self._say(event.index, "tool-call", delta.args_delta)

    def end(self, response: CompletionResponse) -> None:
        for index, joiner in self._joiners.items():
            self._give(index, self._kinds[index], joiner.end())
        usage = response.usage if response.usage_known else None
        self._tell(StreamEvent(usage=usage, done=True, finish_reason=response.finish_reason))

    def _say(self, index: int, kind: str, piece: str) -> None:
        self._kinds[index] = kind
        self._give(index, kind, self._joiners.setdefault(index, Joiner()).feed(piece))

    def _give(self, index: int, kind: str, piece: str) -> None:
        if not piece or (kind == "thinking" and not self._shows_reasoning):
            return
        if kind == "text":
            self._tell(StreamEvent(delta_text=piece))
        elif kind == "thinking":
            self._tell(StreamEvent(delta_reasoning=piece))
        else:
            self._tell(StreamEvent(delta_tool_call=replace(self._calls[index], arguments_json=piece)))

    def _tell(self, event: StreamEvent) -> None:
        try:
            self._on_event(event)
        except Exception as error:  # noted, to tell it from what the libraries raise
            self.failure = error
            raise


def _arguments(part: BaseToolCallPart) -> str:
    if isinstance(part.args, str):
        return part.args
    return part.args_as_json_str() if part.args else ""


def _client() -> httpx2.AsyncClient:
    import httpx2
    from pydantic_ai.models import create_async_httpx2_client

    # Attempts are bounded by `asyncio.timeout`; these are for what hangs below it.
    return create_async_httpx2_client(timeout=httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT, pool=READ_TIMEOUT))


def _load(model: str, wire: Wire) -> None:
    try:
        for name in (_DIRECT, f"pydantic_ai.models.{wire}"):
            import_module(name)
    except ImportError as error:
        raise ImportError(
            f"the model {model!r} needs the extra `llm`: pip install 'penguiflow[llm]' ({error})", name=error.name
        ) from error
