"""Our messages as those of pydantic-ai, and its answers as ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic_ai import messages as theirs
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from penguiflow.llm.providers.endpoints import Wire
from penguiflow.llm.schema.transformer import has_open_objects
from penguiflow.llm.text import mended
from penguiflow.llm.types import (
    AudioPart,
    CompletionResponse,
    ContentPart,
    ImagePart,
    LLMMessage,
    LLMRequest,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

__all__ = ["answer_of", "finish_reason_of", "messages_of", "parameters_of", "settings_of", "usage_of"]

_COMMON = frozenset(
    {"top_p", "top_k", "stop_sequences", "extra_headers", "parallel_tool_calls", "service_tier", "cache"}
)
_SAMPLING = frozenset({"seed", "presence_penalty", "frequency_penalty", "logit_bias"})
_TAKEN: dict[Wire, frozenset[str]] = {
    "openai": (_COMMON | _SAMPLING) - {"top_k"},
    "anthropic": _COMMON,
    "google": (_COMMON | _SAMPLING) - {"parallel_tool_calls", "logit_bias"},
}
"""Settings of requests that pydantic-ai translates for each protocol."""
_OURS = frozenset({"response_format", "reasoning_effort", "reasoning_display", "extra_body"})
_FINISHED = {"tool_call": "tool_calls"}


def messages_of(messages: Iterable[LLMMessage], wire: Wire) -> list[theirs.ModelMessage]:
    """A conversation; calls without an id get one, and so do their results."""
    result: list[theirs.ModelMessage] = []
    ids = _CallIds()
    for message in messages:
        if message.role == "assistant":
            result.append(theirs.ModelResponse(parts=[_said(part, ids) for part in message.parts]))
            continue
        parts = _asked(message, ids, wire)
        last = result[-1] if result else None
        if isinstance(last, theirs.ModelRequest):
            result[-1] = theirs.ModelRequest(parts=[*last.parts, *parts])
        else:
            result.append(theirs.ModelRequest(parts=parts))
    return result


def parameters_of(request: LLMRequest, wire: Wire) -> ModelRequestParameters:
    """Its tools, and the form of its answer."""
    tools = [
        ToolDefinition(
            name=tool.name, description=tool.description, parameters_json_schema=tool.json_schema, strict=False
        )
        for tool in request.tools or ()
    ]
    form = request.structured_output
    if form is None:
        return ModelRequestParameters(function_tools=tools)
    # None is strict where the schema allows it: `True` would close the objects that a schema leaves open.
    strict = None if form.strict else False
    output = OutputObjectDefinition(json_schema=form.json_schema, name=form.name, strict=strict)
    # Anthropic closes every object: what a schema leaves open would always be empty. It is told in words there.
    in_words = wire == "anthropic" and has_open_objects(form.json_schema)
    return ModelRequestParameters(
        function_tools=tools, output_mode="prompted" if in_words else "native", output_object=output
    )


def settings_of(request: LLMRequest, wire: Wire, *, timeout_s: float, defaults: Mapping[str, Any]) -> ModelSettings:
    """Its other settings. What pydantic-ai does not know goes to OpenAI and Anthropic as it is."""
    extra = {**defaults, **(request.extra or {})}
    settings: dict[str, Any] = {"timeout": timeout_s}
    if wire != "google":  # whose client makes one attempt unless it is told otherwise
        settings["max_retries"] = 0
    temperature = request.temperature if request.temperature is not None else defaults.get("temperature")
    max_tokens = request.max_tokens if request.max_tokens is not None else defaults.get("max_tokens")
    if temperature is not None:
        settings["temperature"] = temperature
    if max_tokens is not None:
        settings["max_tokens"] = max_tokens
    if request.tools and request.tool_choice not in (None, "auto"):
        choice = request.tool_choice
        settings["tool_choice"] = choice if choice in ("required", "none") else [choice]
    if extra.get("reasoning_effort"):
        # The common setting is for models that pydantic-ai knows to think; other servers are told what was asked for.
        settings["openai_reasoning_effort" if wire == "openai" else "thinking"] = extra["reasoning_effort"]
    body: dict[str, Any] = dict(extra.get("extra_body") or {})
    if wire == "openai" and extra.get("response_format"):
        body["response_format"] = extra["response_format"]
    for name, value in extra.items():
        if name in _OURS or name in ("temperature", "max_tokens"):
            continue
        if name in _TAKEN[wire] or name.startswith(f"{wire}_"):
            settings[name] = value
        elif name not in _COMMON | _SAMPLING:
            body[name] = value
    if body and wire != "google":
        settings["extra_body"] = body
    return cast(ModelSettings, settings)


def answer_of(response: theirs.ModelResponse, *, asked: str) -> CompletionResponse:
    """Its answer; `asked` is the model that was asked."""
    parts: list[ContentPart] = []
    thoughts: list[str] = []
    for part in response.parts:
        if isinstance(part, theirs.TextPart):
            parts.append(TextPart(mended(part.content)))
        elif isinstance(part, theirs.ThinkingPart):
            thoughts.append(mended(part.content))
        elif isinstance(part, theirs.ToolCallPart):
            written = part.args if isinstance(part.args, str) else part.args_as_json_str()
            parts.append(ToolCallPart(part.tool_name, mended(written), part.tool_call_id))
    if not parts:
        refusal = (response.provider_details or {}).get("refusal")
        parts.append(TextPart(mended(refusal) if isinstance(refusal, str) else ""))
    usage = usage_of(response)
    return CompletionResponse(
        message=LLMMessage("assistant", tuple(parts)),
        usage=usage or Usage.zero(),
        raw_response=response,
        reasoning_content="\n".join(thought for thought in thoughts if thought) or None,
        finish_reason=finish_reason_of(response),
        model=response.model_name if response.model_name != asked else None,
        response_id=response.provider_response_id,
        usage_known=usage is not None,
    )


def usage_of(response: theirs.ModelResponse) -> Usage | None:
    """Its tokens; None when it did not tell."""
    usage = response.usage
    if usage.unmeasured_requests or not usage.total_tokens:
        return None
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.cache_read_tokens,
        usage.output_reasoning_tokens,
    )


def finish_reason_of(response: theirs.ModelResponse) -> str | None:
    """Why it ended, in the words of chat completions."""
    reason = response.finish_reason
    if reason == "stop" and any(isinstance(part, theirs.ToolCallPart) for part in response.parts):
        return "tool_calls"  # Google has no word for it
    return None if reason is None else _FINISHED.get(reason, reason)


class _CallIds:
    """The ids of tool calls; those that have none are numbered, and found by the tool's name."""

    def __init__(self) -> None:
        self._made = 0
        self._open: list[tuple[str, str]] = []

    def called(self, call: ToolCallPart) -> str:
        identity = call.call_id or f"call_{self._made}"
        self._made += 1
        self._open.append((call.name, identity))
        return identity

    def answered(self, result: ToolResultPart) -> str:
        for name, identity in self._open:
            if identity == result.call_id or (result.call_id is None and name == result.name):
                self._open.remove((name, identity))
                return identity
        return result.call_id or f"call_{self._made}"


def _said(part: ContentPart, ids: _CallIds) -> theirs.ModelResponsePart:
    if isinstance(part, TextPart):
        return theirs.TextPart(part.text)
    if isinstance(part, ToolCallPart):
        return theirs.ToolCallPart(part.name, part.arguments_json, ids.called(part))
    raise ValueError(f"an assistant's message has no {type(part).__name__}")


def _asked(message: LLMMessage, ids: _CallIds, wire: Wire) -> list[theirs.ModelRequestPart]:
    if message.role == "system":
        return [theirs.SystemPromptPart(message.text)]
    parts: list[theirs.ModelRequestPart] = []
    content: list[theirs.UserContent] = []
    for part in message.parts:
        match part:
            case TextPart(text):
                content.append(text)
            case ImagePart(data, media_type, detail):
                told = {"detail": detail} if wire == "openai" else None
                content.append(theirs.BinaryContent(data, media_type=media_type, vendor_metadata=told))
            case AudioPart(data, media_type):
                content.append(theirs.BinaryContent(data, media_type=media_type))
            case ToolResultPart(name, result, _, is_error):
                outcome = "failed" if is_error else "success"
                parts.append(
                    theirs.ToolReturnPart(
                        tool_name=name,
                        content=result,
                        tool_call_id=ids.answered(part),
                        outcome=cast(Any, outcome),
                    )
                )
            case _:
                raise ValueError(f"a message of the {message.role} has no {type(part).__name__}")
    if content:
        only = content[0] if len(content) == 1 else None
        parts.append(theirs.UserPromptPart(only if isinstance(only, str) else content))
    return parts
