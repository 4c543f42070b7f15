"""What can go wrong between a program and a model.

LLMError
├── LLMTimeoutError           no answer in time
├── LLMRateLimitError         429; `retry_after` seconds if the provider says so
├── LLMServerError            5xx, or the connection broke
├── LLMInvalidRequestError    4xx: the request is wrong
├── LLMAuthError              401, 403: the key is
├── LLMContextLengthError     more tokens than the model takes
├── LLMCancelledError         nobody wants the answer any longer
├── LLMValidationError        an answer that does not fit its model
└── LLMParseError             an answer that is no JSON
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "LLMAuthError",
    "LLMCancelledError",
    "LLMContextLengthError",
    "LLMError",
    "LLMInvalidRequestError",
    "LLMParseError",
    "LLMRateLimitError",
    "LLMServerError",
    "LLMTimeoutError",
    "LLMValidationError",
    "extract_clean_error_message",
    "is_context_length_error",
    "is_retryable",
    "is_temperature_error",
    "map_status_to_error",
]

_CONTEXT_LENGTH = re.compile(
    r"context[ _-]?(length|window)|maximum context|too many (input )?tokens|prompt is too long|input is too long"
    r"|exceeds? the (model'?s )?(maximum|max|limit).{0,40}token|token limit|reduce the length",
    re.IGNORECASE,
)
_TEMPERATURE = re.compile(
    r"temperature.{0,80}(unsupported|not support|only the default|deprecated|not allowed|may only be set)"
    r"|(unsupported|not support).{0,80}temperature",
    re.IGNORECASE | re.DOTALL,
)
_JSON_MESSAGE = re.compile(r"""["']message["']\s*:\s*(?:"((?:[^"\\]|\\.)+)"|'((?:[^'\\]|\\.)+)')""")
_MAX_MESSAGE = 500


@dataclass(eq=False)
class LLMError(Exception):
    """A call of a model failed."""

    message: str
    provider: str | None = None
    status_code: int | None = None
    retryable: bool = False
    """Whether the same request may succeed later."""
    raw: Any = None
    """What the provider's own library raised."""

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


@dataclass(eq=False)
class LLMTimeoutError(LLMError):
    """No answer came in time."""

    retryable: bool = True


@dataclass(eq=False)
class LLMRateLimitError(LLMError):
    """Too many requests."""

    retryable: bool = True
    retry_after: float | None = None
    """Seconds."""


@dataclass(eq=False)
class LLMServerError(LLMError):
    """The provider failed, or the connection did."""

    retryable: bool = True


@dataclass(eq=False)
class LLMInvalidRequestError(LLMError):
    """The provider does not take the request."""


@dataclass(eq=False)
class LLMAuthError(LLMError):
    """The key is missing, wrong, or may not do this."""


@dataclass(eq=False)
class LLMCancelledError(LLMError):
    """The call was given up."""

    retryable: bool = True


@dataclass(eq=False)
class LLMContextLengthError(LLMError):
    """More tokens than the model takes."""

    max_tokens: int | None = None
    current_tokens: int | None = None


@dataclass(eq=False)
class LLMValidationError(LLMError):
    """The answer does not fit the model that was asked for."""

    retryable: bool = True
    validation_errors: list[dict[str, Any]] = field(default_factory=list)


@dataclass(eq=False)
class LLMParseError(LLMError):
    """The answer is no JSON."""

    retryable: bool = True
    raw_content: str = ""


def is_retryable(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    return isinstance(error, LLMError) and error.retryable


def map_status_to_error(status_code: int, message: str, provider: str | None = None, raw: Any = None) -> LLMError:
    """The error that an HTTP status stands for."""
    about: dict[str, Any] = {"provider": provider, "status_code": status_code, "raw": raw}
    if status_code in (400, 413) and is_context_length_error(message):
        return LLMContextLengthError(message, **about)
    if status_code in (401, 403):
        return LLMAuthError(message, **about)
    if status_code in (408, 504):
        return LLMTimeoutError(message, **about)
    if status_code == 429:
        return LLMRateLimitError(message, **about)
    if status_code >= 500:
        return LLMServerError(message, **about)
    if status_code >= 400:
        return LLMInvalidRequestError(message, **about)
    return LLMError(message, **about)


def is_context_length_error(error: Exception | str) -> bool:
    """Whether it says that there were too many tokens."""
    return isinstance(error, LLMContextLengthError) or _CONTEXT_LENGTH.search(str(error)) is not None


def is_temperature_error(error: Exception | str) -> bool:
    """Whether it says that the model takes no temperature."""
    return _TEMPERATURE.search(str(error)) is not None


def extract_clean_error_message(exc: Exception) -> str:
    """What an error says to people: the provider's own message, without the JSON around it."""
    text = exc.message if isinstance(exc, LLMError) else str(exc)
    found = _JSON_MESSAGE.search(text)
    if found:
        text = found[1] or found[2]
    text = " ".join(text.split()) or type(exc).__name__
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"
