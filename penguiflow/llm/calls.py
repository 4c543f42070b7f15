"""One answer of a model, however many attempts it takes: retries, time-outs, and requests that are asked for less."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from penguiflow.llm.errors import (
    LLMError,
    LLMInvalidRequestError,
    LLMRateLimitError,
    LLMServerError,
    LLMTimeoutError,
    is_temperature_error,
)
from penguiflow.llm.providers.base import Provider, Rotation
from penguiflow.llm.types import CompletionResponse, LLMRequest, StreamCallback

__all__ = ["JSON_OBJECT", "AskPolicy", "ask", "fitted", "simpler"]

LONGEST_RETRY_AFTER = 120.0  # seconds; who is told to wait for longer than that is not served by waiting
JITTER = 0.25  # of a backoff, on top: callers that failed together shall not come back together
JSON_OBJECT = {"type": "json_object"}
"""`extra["response_format"]` of a request for JSON of any form."""

_SCHEMA_REFUSED = re.compile(
    r"response[ _]?(format|schema|mime)|json[ _]?(schema|object|mode)|structured[ _-]?output|output_(config|format)"
    r"|\bschema\b|constrained decoding",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskPolicy:
    """How long an answer may take, and how often it is asked for."""

    timeout_s: float = 360.0
    """For each attempt."""
    max_retries: int = 3
    backoff_s: float = 1.0
    """Before the first retry; doubled for each further one."""
    max_backoff_s: float = 30.0


async def ask(
    provider: Provider,
    request: LLMRequest,
    *,
    policy: AskPolicy,
    seconds_left: Callable[[], float | None] | None = None,
    before_attempt: Callable[[], None] | None = None,
    on_event: StreamCallback | None = None,
    on_retry: Callable[[int, LLMError, float], None] | None = None,
) -> CompletionResponse:
    """Ask until there is an answer.

    What may succeed later is asked again, after a backoff, or when the provider says (`retry_after`). What is refused
    for its temperature or its schema is asked again at once without; such attempts are no retries.

    Args:
        provider: Whom to ask.
        request: What to ask.
        policy: Time-outs and retries.
        seconds_left: Until the deadline of whoever asks, None without one; bounds attempts and waits.
        before_attempt: Called before every attempt. It may raise, and then none is made.
        on_event: Gets the pieces of the answer as they come; with it the answer is streamed.
        on_retry: Gets the number of the attempt that failed (from 1), its error and the seconds until the next one.
            Pieces that came of the failed attempt are void.

    Raises:
        LLMError: The last attempt's error, when there is to be no other.
        CancelledError: At once; the provider closes its connection.
    """
    attempt = retries = tried = 0
    while True:
        attempt += 1
        tried += 1
        request = fitted(provider, request)
        timeout = _time_for_an_attempt(provider, policy, seconds_left)
        if before_attempt is not None:
            before_attempt()
        try:
            return await _attempt(provider, request, timeout, on_event)
        except LLMError as error:
            smaller = simpler(provider, request, error)
            if smaller is not None:
                request, delay = smaller, 0.0
            elif isinstance(provider, Rotation) and provider.has_another(error, tried):
                delay = 0.0
            else:
                wait = _delay(error, policy, retries, seconds_left)
                if wait is None:
                    raise
                delay = wait
                retries += 1
                tried = 0
            if on_retry is not None:
                on_retry(attempt, error, delay)
        if delay:
            await asyncio.sleep(delay)


def fitted(provider: Provider, request: LLMRequest) -> LLMRequest:
    """The request without a temperature, if the model takes none."""
    if request.temperature is None:
        return request
    if provider.temperature_unsupported or not provider.profile.supports_temperature:
        return replace(request, temperature=None)
    return request


def simpler(provider: Provider, request: LLMRequest, error: LLMError) -> LLMRequest | None:
    """The request that can be made where this one was refused; None if there is none.

    A refused temperature is dropped, and the provider remembers it. A refused schema becomes JSON of any form, and
    that becomes text.
    """
    if not isinstance(error, LLMInvalidRequestError):
        return None
    if request.temperature is not None and is_temperature_error(error):
        provider.mark_temperature_unsupported()
        return replace(request, temperature=None)
    if _SCHEMA_REFUSED.search(str(error)) is None:
        return None
    extra = dict(request.extra or {})
    if request.structured_output is not None:
        return replace(request, structured_output=None, extra={**extra, "response_format": JSON_OBJECT})
    if extra.pop("response_format", None) is not None:
        return replace(request, extra=extra or None)
    return None


async def _attempt(
    provider: Provider, request: LLMRequest, timeout_s: float, on_event: StreamCallback | None
) -> CompletionResponse:
    if isinstance(provider, Rotation):  # which has to know whose time is up
        return await provider.attempt(
            request, timeout_s=timeout_s, stream=on_event is not None, on_stream_event=on_event
        )
    try:
        async with asyncio.timeout(timeout_s) as bound:
            return await provider.complete(
                request, timeout_s=timeout_s, stream=on_event is not None, on_stream_event=on_event
            )
    except TimeoutError as error:
        if not bound.expired():
            raise
        message = f"{provider.provider_name} ({provider.model}) did not answer within {timeout_s:.3g} s"
        raise LLMTimeoutError(message, provider=provider.provider_name, raw=error) from error


def _time_for_an_attempt(
    provider: Provider, policy: AskPolicy, seconds_left: Callable[[], float | None] | None
) -> float:
    left = seconds_left() if seconds_left is not None else None
    if left is None:
        return policy.timeout_s
    if left <= 0:
        raise LLMTimeoutError(
            f"no time was left to ask {provider.provider_name} ({provider.model})",
            provider=provider.provider_name,
            retryable=False,
        )
    return min(left, policy.timeout_s)


def _delay(
    error: LLMError, policy: AskPolicy, retries: int, seconds_left: Callable[[], float | None] | None
) -> float | None:
    """Seconds until the next attempt; None if there is to be none."""
    if not error.retryable or retries >= policy.max_retries:
        return None
    if not isinstance(error, (LLMTimeoutError, LLMRateLimitError, LLMServerError)) and type(error) is not LLMError:
        return None
    delay = min(policy.backoff_s * 2**retries, policy.max_backoff_s) * (1 + JITTER * random.random())
    if isinstance(error, LLMRateLimitError) and error.retry_after is not None:
        if error.retry_after > LONGEST_RETRY_AFTER:
            return None
        # Who is told that it may come back at once does so.
        delay = max(delay, error.retry_after) if error.retry_after > 0 else 0.0
    left = seconds_left() if seconds_left is not None else None
    return None if left is not None and left <= delay else delay
