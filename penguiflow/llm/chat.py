"""Messages as chat completions have them, as messages of ours."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from penguiflow.llm.errors import LLMInvalidRequestError
from penguiflow.llm.types import (
    AudioPart,
    ContentPart,
    ImagePart,
    LLMMessage,
    LLMRequest,
    StructuredOutputSpec,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["from_chat", "with_response_format"]

_DATA_URL = re.compile(r"data:([\w.+/-]+);base64,(.*)\Z", re.DOTALL)


def from_chat(messages: Sequence[Mapping[str, Any]], *, limit: int | None = None) -> tuple[LLMMessage, ...]:
    """A conversation.

    Contents are texts, or lists of parts: `{"type": "text"}`, `{"type": "image_url"}` with a data URL,
    `{"type": "input_audio"}`. `limit` is the largest number of bytes of one picture or sound.

    Raises `LLMInvalidRequestError` for what is none of these, or too large.
    """
    return tuple(_message(message, limit) for message in messages)


def with_response_format(request: LLMRequest, form: Mapping[str, Any] | None) -> LLMRequest:
    """The request with what a `response_format` asks for."""
    from dataclasses import replace

    if form is None:
        return request
    if form.get("type") == "json_schema":
        named = form.get("json_schema") or {}
        spec = StructuredOutputSpec(
            named.get("name", "answer"), named.get("schema", {}), bool(named.get("strict", True))
        )
        return replace(request, structured_output=spec)
    return replace(request, extra={**(request.extra or {}), "response_format": dict(form)})


def _message(message: Mapping[str, Any], limit: int | None) -> LLMMessage:
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant", "tool"):
        raise LLMInvalidRequestError(f"a message has no role {role!r}")
    if role == "tool":
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        return LLMMessage("tool", (ToolResultPart(str(message.get("name", "")), text, message.get("tool_call_id")),))
    parts: list[ContentPart] = []
    if isinstance(content, str):
        parts.append(TextPart(content))
    elif content is not None:
        parts.extend(_part(part, limit) for part in content)
    for call in message.get("tool_calls") or ():
        function = call.get("function", {})
        parts.append(ToolCallPart(function.get("name", ""), function.get("arguments", "{}"), call.get("id")))
    return LLMMessage(role, tuple(parts) or (TextPart(""),))


def _part(part: Any, limit: int | None) -> ContentPart:
    if isinstance(part, (TextPart, ImagePart, AudioPart)):
        return _small_enough(part, limit)
    if isinstance(part, Mapping):
        kind = part.get("type")
        if kind in ("text", "input_text") and isinstance(part.get("text"), str):
            return TextPart(part["text"])
        if kind == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, Mapping) else image
            found = _DATA_URL.match(url) if isinstance(url, str) else None
            if found is None:
                raise LLMInvalidRequestError("a picture must be given as a data URL: data:image/png;base64,…")
            asked = image.get("detail") if isinstance(image, Mapping) else None
            detail: Literal["auto", "low", "high"] = asked if asked in ("low", "high") else "auto"
            return _small_enough(ImagePart(_decoded(found[2]), found[1], detail), limit)
        if kind == "input_audio" and isinstance(part.get("input_audio"), Mapping):
            sound = part["input_audio"]
            return _small_enough(
                AudioPart(_decoded(sound.get("data", "")), f"audio/{sound.get('format', 'wav')}"), limit
            )
    raise LLMInvalidRequestError(f"a message has no such part: {str(part)[:100]}")


def _decoded(data: str) -> bytes:
    try:
        return b64decode(data, validate=True)
    except (Base64Error, ValueError) as error:
        raise LLMInvalidRequestError(f"what was given as a picture or sound is not base64: {error}") from error


def _small_enough(part: ContentPart, limit: int | None) -> ContentPart:
    if limit is not None and isinstance(part, (ImagePart, AudioPart)) and len(part.data) > limit:
        raise LLMInvalidRequestError(
            f"{len(part.data)} bytes of {part.media_type} are more than the {limit} that go into a message; "
            "`multimodal_inline_data_limit_bytes` sets the limit"
        )
    return part
