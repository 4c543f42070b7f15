"""A program's own model client as a provider: what has `complete(messages=…)` and gives a text."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penguiflow.llm.errors import LLMError, LLMServerError, LLMTimeoutError, map_status_to_error
from penguiflow.llm.profiles.model import ModelProfile
from penguiflow.llm.providers.base import Provider
from penguiflow.llm.text import Joiner, mended
from penguiflow.llm.types import (
    CancelToken,
    CompletionResponse,
    Cost,
    LLMMessage,
    LLMRequest,
    StreamCallback,
    StreamEvent,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from penguiflow.llm.wire import texts

__all__ = ["JSONClientProvider", "chat_messages", "known_error", "response_format"]


_ALWAYS = frozenset({"messages", "tools", "response_format", "stream", "on_stream_chunk"})


class JSONClientProvider(Provider):
    """Asks a client that has `complete`, and perhaps `complete_with_tools`.

    The client gets messages as `{role, content}`, and of the other arguments those that its signature names. It gives
    the text, or the text and what it cost in US dollars. It streams if it takes `stream` and `on_stream_chunk`.
    """

    def __init__(self, client: Any, *, profile: ModelProfile | None = None) -> None:
        """Raises `TypeError` for something that cannot be asked."""
        complete = getattr(client, "complete", None)
        if not callable(complete):
            raise TypeError(f"{type(client).__name__} is no model client: it has no method `complete(messages=…)`")
        self._takes = _parameters(complete)
        if "request" in self._takes and "messages" not in self._takes:
            name = type(client).__name__
            raise TypeError(
                f"`complete` of {name} takes a request: make {name} a subclass of `penguiflow.llm.Provider`"
            )
        self.client = client
        self._complete: Callable[..., Any] = complete
        self._with_tools: Callable[..., Any] | None = getattr(client, "complete_with_tools", None)
        takes_tools = callable(self._with_tools)
        self._takes_with_tools = _parameters(self._with_tools) if self._with_tools is not None else frozenset()
        self._profile = profile or ModelProfile(
            supports_schema_guided_output=True, supports_tools=takes_tools, supports_native_tool_calls=takes_tools
        )
        self._model = str(getattr(client, "model", None) or type(client).__name__)

    @property
    def provider_name(self) -> str:
        """`client`."""
        return "client"

    @property
    def profile(self) -> ModelProfile:
        """Tools only if the client has `complete_with_tools`."""
        return self._profile

    @property
    def model(self) -> str:
        """The client's `model`, or the name of its class."""
        return self._model

    async def complete(
        self,
        request: LLMRequest,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        stream: bool = False,
        on_stream_event: StreamCallback | None = None,
    ) -> CompletionResponse:
        """Ask the client. What its library raises for a failed call becomes an `LLMError`; bugs stay what they are."""
        listener = _Listener(on_stream_event if stream else None)
        with_tools = bool(request.tools) and self._with_tools is not None
        call, takes = self._complete, self._takes
        if with_tools and self._with_tools is not None:
            call, takes = self._with_tools, self._takes_with_tools
        offered: dict[str, Any] = {
            "messages": chat_messages(request.messages) if with_tools else texts(request.messages),
            "response_format": response_format(request),
            "stream": listener.wanted,
            "on_stream_chunk": listener.text if listener.wanted else None,
            "on_reasoning_chunk": listener.reasoning if listener.wanted else None,
        }
        if with_tools:
            offered["tools"] = list(request.tools or ())
        try:
            answer = call(**{name: value for name, value in offered.items() if name in takes})
            if inspect.isawaitable(answer):
                answer = await answer
        except LLMError:
            raise
        except Exception as error:  # a client's library has its own errors; unknown ones go on as they are
            known = known_error(error, self._model)
            if known is None:
                raise
            raise known from error
        response = _response_of(answer, self._model)
        listener.end(response)
        return response


class _Listener:
    """Turns what the client tells while it streams into events; tells the whole text of one that does not stream."""

    def __init__(self, on_event: StreamCallback | None) -> None:
        self._on_event = on_event
        self._said = False
        self._text, self._reasoning = Joiner(), Joiner()

    @property
    def wanted(self) -> bool:
        return self._on_event is not None

    def text(self, piece: str, done: bool = False) -> None:
        piece = self._text.feed(piece) + (self._text.end() if done else "")
        if self._on_event is not None and piece:
            self._said = True
            self._on_event(StreamEvent(delta_text=piece))

    def reasoning(self, piece: str, done: bool = False) -> None:
        piece = self._reasoning.feed(piece) + (self._reasoning.end() if done else "")
        if self._on_event is not None and piece:
            self._on_event(StreamEvent(delta_reasoning=piece))

    def end(self, response: CompletionResponse) -> None:
        if self._on_event is None:
            return
        self.text("", done=True)
        if not self._said and response.message.text:
            self._on_event(StreamEvent(delta_text=response.message.text))
        for call in response.message.tool_calls:
            self._on_event(StreamEvent(delta_tool_call=call))
        self._on_event(StreamEvent(done=True, finish_reason=response.finish_reason))


def response_format(request: LLMRequest) -> dict[str, Any] | None:
    """The `response_format` of chat completions that a request asks for."""
    form = request.structured_output
    if form is not None:
        schema = {"name": form.name, "schema": form.json_schema, "strict": form.strict}
        return {"type": "json_schema", "json_schema": schema}
    asked = (request.extra or {}).get("response_format")
    return dict(asked) if isinstance(asked, Mapping) else None


def chat_messages(messages: Sequence[LLMMessage]) -> list[dict[str, Any]]:
    """Messages as chat completions have them, with tool calls and their results."""
    result: list[dict[str, Any]] = []
    for message in messages:
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        result.extend(
            {"role": "tool", "tool_call_id": part.call_id, "name": part.name, "content": part.result_json}
            for part in results
        )
        if results and not message.text:
            continue
        entry: dict[str, Any] = {"role": message.role, "content": message.text}
        if message.tool_calls:
            entry["tool_calls"] = [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments_json},
                }
                for call in message.tool_calls
            ]
        result.append(entry)
    return result


def _parameters(call: Callable[..., Any]) -> frozenset[str]:
    """What of the protocol's arguments a client's method takes."""
    try:
        parameters = inspect.signature(call).parameters
    except (TypeError, ValueError):  # a callable of C code: the least that the protocol has
        return frozenset({"messages"})
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        # `**kwargs` takes what the protocol has always had; what came later only under its name.
        return _ALWAYS | frozenset(parameters)
    return frozenset(parameters)


def _response_of(answer: Any, model: str) -> CompletionResponse:
    cost: Any = None
    if isinstance(answer, tuple) and len(answer) == 2:
        answer, cost = answer
    calls: list[ToolCallPart] = []
    reasoning = None
    if not isinstance(answer, str) and hasattr(answer, "tool_calls"):
        calls, reasoning = list(answer.tool_calls or ()), getattr(answer, "reasoning_content", None)
        cost, answer = getattr(answer, "cost", cost), getattr(answer, "content", None) or ""
    if not isinstance(answer, str):
        raise TypeError(f"`complete` of {model} gave {type(answer).__name__}; it must give a str, or (str, cost)")
    said = (TextPart(mended(answer)),) if answer or not calls else ()
    known = isinstance(cost, (int, float)) and not isinstance(cost, bool)
    return CompletionResponse(
        message=LLMMessage("assistant", (*said, *calls)),
        usage=Usage.zero(),
        reasoning_content=reasoning,
        finish_reason="tool_calls" if calls else "stop",
        cost=Cost(0.0, 0.0, float(cost)) if known else None,
        usage_known=False,
    )


def known_error(error: Exception, model: str) -> LLMError | None:
    """The `LLMError` for what a library raises; known by its status, or by the name of its class."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 400:
        return map_status_to_error(status, str(error), model, error)
    names = " ".join(each.__name__ for each in type(error).__mro__)
    if isinstance(error, TimeoutError) or "Timeout" in names:
        return LLMTimeoutError(str(error) or "the model client timed out", provider=model, raw=error)
    for name, code in (
        ("ContextWindowExceeded", 400),
        ("RateLimit", 429),
        ("Authentication", 401),
        ("PermissionDenied", 403),
        ("BadRequest", 400),
        ("ServiceUnavailable", 503),
        ("InternalServerError", 500),
    ):
        if name in names:
            return map_status_to_error(code, str(error), model, error)
    if isinstance(error, ConnectionError) or "APIConnectionError" in names:
        return LLMServerError(str(error) or type(error).__name__, provider=model, raw=error)
    return None
