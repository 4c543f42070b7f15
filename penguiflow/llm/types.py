"""What is said to a model and what comes back, whoever's model it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "AudioPart",
    "CancelToken",
    "CompletionResponse",
    "ContentPart",
    "Cost",
    "ImagePart",
    "LLMMessage",
    "LLMRequest",
    "ReasoningDisplay",
    "Role",
    "StreamCallback",
    "StreamEvent",
    "StructuredOutputSpec",
    "TextPart",
    "ToolCallPart",
    "ToolResultPart",
    "ToolSpec",
    "Usage",
    "extract_single_tool_call",
    "extract_text",
    "strip_markdown_fences",
    "validate_reasoning_display",
]

Role = Literal["system", "user", "assistant", "tool"]
ReasoningDisplay = Literal["summarized", "omitted"] | None

_FENCED = re.compile(r"\A```[\w+-]*[ \t]*\n?(.*?)\n?[ \t]*```\Z", re.DOTALL)


def validate_reasoning_display(reasoning_display: object) -> ReasoningDisplay:
    """The value as it is. Raises `ValueError` when it is none of `summarized`, `omitted` and None."""
    if reasoning_display is None or reasoning_display == "summarized" or reasoning_display == "omitted":
        return reasoning_display
    raise ValueError(f"reasoning_display must be None, 'summarized' or 'omitted'; got {reasoning_display!r}")


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A model calls a tool."""

    name: str
    arguments_json: str
    """As the model wrote it: it need not be JSON."""
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """What a tool gave."""

    name: str
    result_json: str
    call_id: str | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture."""

    data: bytes
    media_type: str
    detail: Literal["auto", "low", "high"] = "auto"


@dataclass(frozen=True, slots=True)
class AudioPart:
    """Sound."""

    data: bytes
    media_type: str


ContentPart = TextPart | ToolCallPart | ToolResultPart | ImagePart | AudioPart


@dataclass(frozen=True, slots=True)
class LLMMessage:
    """One message of a conversation."""

    role: Role
    parts: tuple[ContentPart, ...] | list[ContentPart]

    @property
    def text(self) -> str:
        """Its texts, put together."""
        parts = self.parts
        if len(parts) == 1:
            part = parts[0]
            return part.text if isinstance(part, TextPart) else ""
        return "".join(part.text for part in parts if isinstance(part, TextPart))

    @property
    def tool_calls(self) -> list[ToolCallPart]:
        """The tools that it calls, in order."""
        return [part for part in self.parts if isinstance(part, ToolCallPart)]

    @classmethod
    def of(cls, role: Role, text: str) -> LLMMessage:
        """A message of one text."""
        return cls(role, (TextPart(text),))


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it."""

    name: str
    description: str
    json_schema: dict[str, Any]
    """Of its arguments."""


@dataclass(frozen=True, slots=True)
class StructuredOutputSpec:
    """The form in which a model is to answer."""

    name: str
    json_schema: dict[str, Any]
    strict: bool = True


@dataclass(frozen=True, slots=True)
class LLMRequest:
    """One question to a model, whole."""

    model: str
    messages: tuple[LLMMessage, ...] | list[LLMMessage]
    tools: tuple[ToolSpec, ...] | list[ToolSpec] | None = None
    tool_choice: str | None = None
    """`auto`, `required`, `none`, or the name of a tool."""
    structured_output: StructuredOutputSpec | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    extra: dict[str, Any] | None = None
    """What only some providers know: `reasoning_effort`, `top_p` …"""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, or of several."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int = 0
    """Of the input, read from the provider's cache."""
    reasoning_tokens: int = 0
    """Of the output, thought and not said."""

    @classmethod
    def zero(cls) -> Usage:
        """None used."""
        return cls(0, 0, 0)

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.total_tokens + other.total_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call cost. A cost that is not known is None in the place of this."""

    input_cost: float
    output_cost: float
    total_cost: float
    currency: str = "USD"

    @classmethod
    def zero(cls) -> Cost:
        """Nothing."""
        return cls(0.0, 0.0, 0.0)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.input_cost + other.input_cost,
            self.output_cost + other.output_cost,
            self.total_cost + other.total_cost,
            self.currency,
        )


@dataclass(frozen=True, slots=True)
class CompletionResponse:
    """A model's answer, whole."""

    message: LLMMessage
    usage: Usage
    raw_response: Any = None
    """The provider's own object; never recorded."""
    reasoning_content: str | None = None
    finish_reason: str | None = None
    """`stop`, `length`, `tool_calls`, `content_filter` or the provider's own word."""
    cost: Cost | None = None
    """None when it is not known."""
    model: str | None = None
    """Who answered, when that is another one than was asked (a fallback, a dated version)."""
    response_id: str | None = None
    usage_known: bool = True
    """False when the provider did not tell its usage: then `usage` is zero, and counts nothing."""


@dataclass(slots=True)
class StreamEvent:
    """A piece of an answer as it comes."""

    delta_text: str | None = None
    delta_reasoning: str | None = None
    delta_tool_call: ToolCallPart | None = None
    """Name and id come with its first piece; `arguments_json` is what is added."""
    usage: Usage | None = None
    done: bool = False
    finish_reason: str | None = None


StreamCallback = Callable[[StreamEvent], None]
"""Called on the event loop for each piece, in order; must not block."""


@dataclass(slots=True)
class CancelToken:
    """Says that a call is not wanted any longer."""

    _cancelled: bool = field(default=False, init=False)

    def cancel(self) -> None:
        """Say so."""
        self._cancelled = True

    def is_cancelled(self) -> bool:
        """Whether it was said."""
        return self._cancelled


def extract_text(message: LLMMessage) -> str:
    """The texts of a message, put together."""
    return message.text


def extract_single_tool_call(message: LLMMessage, expected_name: str | None = None) -> ToolCallPart:
    """The one tool call of a message. Raises `ValueError` for none, several, or one of another name."""
    calls = message.tool_calls
    if len(calls) != 1:
        raise ValueError(f"expected one tool call, got {len(calls)}")
    if expected_name is not None and calls[0].name != expected_name:
        raise ValueError(f"expected a call of {expected_name!r}, got {calls[0].name!r}")
    return calls[0]


def strip_markdown_fences(text: str) -> str:
    """The text without the fence around it, if there is one around all of it."""
    stripped = text.strip()
    found = _FENCED.match(stripped)
    return found[1].strip() if found else stripped
