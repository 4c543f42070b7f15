"""What pydantic-ai and the libraries below it raise, as errors of ours."""

from __future__ import annotations

import re
from typing import Any

from pydantic_ai import exceptions as theirs

from penguiflow.llm.errors import (
    LLMAuthError,
    LLMContextLengthError,
    LLMError,
    LLMInvalidRequestError,
    LLMRateLimitError,
    LLMServerError,
    LLMTimeoutError,
    extract_clean_error_message,
    is_context_length_error,
    map_status_to_error,
)

__all__ = ["error_of"]


_KEY_NAME = re.compile(r"\b[A-Z][A-Z0-9_]*_API_KEY\b")


def error_of(error: Exception, *, provider: str, model: str, url: str | None = None) -> LLMError:
    """The error of ours that tells the same; `url` is said where nothing was found there."""
    status = getattr(error, "status_code", None)
    text = f"{provider} ({model}): {_said(error)}"
    if url is not None and (status == 404 or isinstance(error, theirs.ModelConnectionError)):
        text += f", at {url}"
    about: dict[str, Any] = {"provider": provider, "status_code": status if isinstance(status, int) else None}
    about["raw"] = error
    if isinstance(error, theirs.UserError):
        if "API_KEY" not in str(error) and "api_key" not in str(error):
            return LLMInvalidRequestError(text, **about)
        names = " or ".join(dict.fromkeys(_KEY_NAME.findall(str(error)))) or "its key"
        how = f"set {names} in the environment, or give `api_key` beside `model`"
        return LLMAuthError(f"{provider} ({model}): there is no key: {how}", **about)
    if isinstance(error, theirs.ModelContextWindowExceededError) or (
        isinstance(error, theirs.ModelHTTPError) and error.status_code in (400, 413) and is_context_length_error(text)
    ):
        return LLMContextLengthError(text, **about)
    if isinstance(error, theirs.ModelQuotaExceededError):
        return LLMRateLimitError(text, **about, retryable=False)
    if isinstance(error, (theirs.ModelTimeoutError, theirs.ModelRequestTimeout, TimeoutError)):
        return LLMTimeoutError(text, **about)
    if isinstance(error, theirs.ModelHTTPError):
        mapped = map_status_to_error(error.status_code, text, provider, error)
        if isinstance(mapped, LLMRateLimitError):
            mapped.retry_after = error.retry_after
        return mapped
    if isinstance(error, theirs.ModelRateLimitError):
        return LLMRateLimitError(text, **about, retry_after=error.retry_after)
    if isinstance(error, theirs.ModelAuthenticationError):
        return LLMAuthError(text, **about)
    if isinstance(error, theirs.ModelRequestRejectedError):
        return LLMInvalidRequestError(text, **about)
    # A connection that was cut, an answer that is no JSON, or one that trips the library: ask again.
    return LLMServerError(text, **about)


def _said(error: Exception) -> str:
    """The provider's own words, where it has any."""
    body = getattr(error, "body", None)
    for _ in range(3):
        if isinstance(body, dict) and isinstance(body.get("error"), (dict, str)):
            body = body["error"]
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        status = getattr(error, "status_code", None)
        text = " ".join(body["message"].split())[:1000]
        return f"{text} (HTTP {status})" if isinstance(status, int) else text
    text = extract_clean_error_message(error)
    if not isinstance(error, theirs.ModelConnectionError):
        return text
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return f"{text.rstrip('.')}: {cause}" if str(cause) and str(cause) != str(error) else text
