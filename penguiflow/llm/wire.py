"""Requests and answers as plain data: how they stand in the log, and how a recording answers.

A message of one text has its text as `content`; any other has a list of parts, each with its `type`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from penguiflow.llm.types import (
    AudioPart,
    CompletionResponse,
    ContentPart,
    Cost,
    ImagePart,
    LLMMessage,
    LLMRequest,
    StructuredOutputSpec,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
    Usage,
)

__all__ = [
    "REQUEST_SCHEMA",
    "call_about",
    "dump_message",
    "dump_request",
    "dump_response",
    "fitting_request",
    "load_message",
    "load_request",
    "load_response",
    "texts",
]


REQUEST_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "messages": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "role": {"enum": ["system", "user", "assistant", "tool"]},
                    "content": {"type": "string"},
                    "parts": {"type": "array"},
                },
                "required": ["role"],
            },
        },
        "temperature": {"type": ["number", "null"]},
        "max_tokens": {"type": ["integer", "null"]},
    },
    "required": ["model", "messages"],
}
"""JSON Schema of the parts of a request that people write."""


def dump_request(request: LLMRequest) -> dict[str, Any]:
    """A request as JSON has it; what is not set is left out."""
    data: dict[str, Any] = {"model": request.model, "messages": [dump_message(each) for each in request.messages]}
    if request.tools:
        data["tools"] = [
            {"name": tool.name, "description": tool.description, "json_schema": tool.json_schema}
            for tool in request.tools
        ]
    if request.structured_output is not None:
        form = request.structured_output
        data["structured_output"] = {"name": form.name, "json_schema": form.json_schema, "strict": form.strict}
    for name in ("tool_choice", "temperature", "max_tokens", "extra"):
        value = getattr(request, name)
        if value is not None:
            data[name] = value
    return data


def load_request(data: Mapping[str, Any]) -> LLMRequest:
    """The request that `dump_request` made this of. Raises `KeyError` and `TypeError` for something else."""
    form, tools = data.get("structured_output"), data.get("tools")
    return LLMRequest(
        model=data["model"],
        messages=tuple(load_message(each) for each in data["messages"]),
        tools=None if tools is None else tuple(ToolSpec(**tool) for tool in tools),
        tool_choice=data.get("tool_choice"),
        structured_output=None if form is None else StructuredOutputSpec(**form),
        temperature=data.get("temperature"),
        max_tokens=data.get("max_tokens"),
        extra=data.get("extra"),
    )


def fitting_request(data: Any) -> LLMRequest:
    """As `load_request`, for what people write. Raises `ValueError` and `TypeError`."""
    if not isinstance(data, Mapping):
        raise ValueError("a request is an object with a model and messages")
    try:
        return load_request(data)
    except (KeyError, IndexError) as error:
        raise ValueError(f"{error} is missing") from None


def dump_message(message: LLMMessage) -> dict[str, Any]:
    """A message as JSON has it."""
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return {"role": message.role, "content": parts[0].text}
    return {"role": message.role, "parts": [_dump_part(part) for part in parts]}


def load_message(data: Mapping[str, Any]) -> LLMMessage:
    """The message that `dump_message` made this of."""
    if "content" in data:
        return LLMMessage(data["role"], (TextPart(data["content"]),))
    return LLMMessage(data["role"], tuple(_load_part(part) for part in data["parts"]))


def dump_response(response: CompletionResponse) -> dict[str, Any]:
    """An answer as JSON has it, without the provider's own object."""
    usage, cost = response.usage, response.cost
    return {
        "message": dump_message(response.message),
        "usage": _dump_usage(usage) if response.usage_known else None,
        "cost": None if cost is None else [cost.input_cost, cost.output_cost, cost.total_cost, cost.currency],
        "reasoning": response.reasoning_content,
        "finish_reason": response.finish_reason,
        "model": response.model,
        "response_id": response.response_id,
    }


def load_response(data: Mapping[str, Any]) -> CompletionResponse:
    """The answer that `dump_response` made this of."""
    usage, cost = data.get("usage"), data.get("cost")
    return CompletionResponse(
        message=load_message(data["message"]),
        usage=Usage.zero() if usage is None else Usage(**usage),
        reasoning_content=data.get("reasoning"),
        finish_reason=data.get("finish_reason"),
        cost=None if cost is None else Cost(*cost),
        model=data.get("model"),
        response_id=data.get("response_id"),
        usage_known=usage is not None,
    )


def call_about(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the end of an `llm` span says of an answer (as `dump_response` gives it): lists of runs show it."""
    about: dict[str, Any] = {}
    if data.get("usage") is not None:
        about["usage"] = data["usage"]
    if data.get("cost") is not None:
        about["cost"] = data["cost"][2]
    if data.get("model"):
        about["model"] = data["model"]
    if data.get("finish_reason"):
        about["finish_reasons"] = [data["finish_reason"]]
    if data.get("response_id"):
        about["response_id"] = data["response_id"]
    return about


def _dump_usage(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def _dump_part(part: ContentPart) -> dict[str, Any]:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text}
        case ToolCallPart(name, arguments, call_id):
            return {"type": "tool_call", "name": name, "arguments": arguments, "call_id": call_id}
        case ToolResultPart(name, result, call_id, is_error):
            return {"type": "tool_result", "name": name, "result": result, "call_id": call_id, "is_error": is_error}
        case ImagePart(data, media_type, detail):
            return {"type": "image", "base64": b64encode(data).decode(), "media_type": media_type, "detail": detail}
        case AudioPart(data, media_type):
            return {"type": "audio", "base64": b64encode(data).decode(), "media_type": media_type}


def _load_part(data: Mapping[str, Any]) -> ContentPart:
    kind = data["type"]
    if kind == "text":
        return TextPart(data["text"])
    if kind == "tool_call":
        return ToolCallPart(data["name"], data["arguments"], data.get("call_id"))
    if kind == "tool_result":
        return ToolResultPart(data["name"], data["result"], data.get("call_id"), bool(data.get("is_error")))
    if kind == "image":
        return ImagePart(b64decode(data["base64"]), data["media_type"], data.get("detail", "auto"))
    if kind == "audio":
        return AudioPart(b64decode(data["base64"]), data["media_type"])
    raise ValueError(f"a message has no part of type {kind!r}")


def texts(messages: Sequence[LLMMessage]) -> list[dict[str, str]]:
    """Messages as `{role, content}` of texts alone: what clients of earlier versions take."""
    return [{"role": message.role, "content": message.text} for message in messages]
