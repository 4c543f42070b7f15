"""Asking until the answer fits: what was wrong with an answer is told to the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from penguiflow.llm.calls import AskPolicy, ask
from penguiflow.llm.cancelling import unless_cancelled
from penguiflow.llm.errors import LLMError, LLMParseError, LLMRateLimitError, LLMValidationError, is_retryable
from penguiflow.llm.output.base import OutputStrategy
from penguiflow.llm.providers.base import Provider
from penguiflow.llm.schema.plan import plan_schema
from penguiflow.llm.types import CancelToken, CompletionResponse, Cost, LLMMessage, LLMRequest, StreamCallback, Usage

__all__ = [
    "Answer",
    "ModelRetry",
    "RetryConfig",
    "RetryState",
    "ValidationRetry",
    "ask_until_it_fits",
    "call_with_retry",
    "format_parse_retry_message",
    "format_validation_retry_message",
]

T = TypeVar("T", bound=BaseModel)

_PROBLEMS = 10  # that are told of one answer
TIMEOUT = 120.0  # seconds for an attempt, where nobody says


class ModelRetry(Exception):
    """Raised by whoever reads an answer (a validator, a strategy) to have the model told what to do better."""

    def __init__(self, message: str, validation_errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.validation_errors = validation_errors or []


class ValidationRetry(Exception):
    """An answer does not fit; `errors` are those of pydantic."""

    def __init__(self, errors: list[dict[str, Any]], raw_content: str) -> None:
        super().__init__(f"the answer does not fit: {len(errors)} problems")
        self.errors = errors
        self.raw_content = raw_content


@dataclass
class RetryConfig:
    """How often, and for what, a model is asked again."""

    max_retries: int = 3
    retry_on_validation: bool = True
    retry_on_parse: bool = True
    retry_on_provider_errors: bool = True
    initial_backoff_s: float = 1.0
    """Before an attempt that follows a failure of the provider."""
    max_backoff_s: float = 30.0
    backoff_multiplier: float = 2.0


@dataclass
class RetryState:
    """Where a call with its retries is."""

    attempt: int = 0
    total_cost: float = 0.0
    errors: list[Exception] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer that fits, and what all attempts took."""

    data: T
    usage: Usage
    cost: Cost | None
    """None when that of an attempt is not known."""
    attempts: int
    response: CompletionResponse


def format_validation_retry_message(error: ValidationError | ValidationRetry) -> LLMMessage:
    """What does not fit, as a message of the user."""
    problems = error.errors() if isinstance(error, ValidationError) else error.errors
    lines = []
    for problem in problems[:_PROBLEMS]:
        where = ".".join(str(each) for each in problem.get("loc", ())) or "the answer"
        lines.append(f"- {where}: {problem.get('msg', problem)}")
    if len(problems) > _PROBLEMS:
        lines.append(f"- and {len(problems) - _PROBLEMS} more")
    told = "\n".join(lines)
    return LLMMessage.of(
        "user", f"Your answer does not fit the schema:\n{told}\nGive the whole answer again, corrected."
    )


def format_parse_retry_message(error: json.JSONDecodeError) -> LLMMessage:
    """Where it stops being JSON, as a message of the user."""
    return LLMMessage.of(
        "user",
        f"Your answer is no JSON: {error.msg} (line {error.lineno}, column {error.colno}). "
        "Answer with the JSON alone, without text or fences around it.",
    )


async def call_with_retry(
    provider: Provider,
    base_messages: list[LLMMessage],
    response_model: type[T],
    output_strategy: Any,
    *,
    pricing_fn: Callable[[str, int, int], float] | None = None,
    **options: Any,
) -> tuple[T, float]:
    """Ask until the answer fits. Returns it, and what all attempts cost in US dollars (0 when that is not known).

    Args:
        provider: Whom to ask.
        base_messages: What to ask.
        response_model: What the answer is to be.
        output_strategy: How it is asked for; see `penguiflow.llm.output`.
        pricing_fn: `(model, input tokens, output tokens)` to US dollars, instead of what the provider tells.
        options: Those of `ask_until_it_fits`.

    Raises:
        LLMValidationError: The last answer does not fit.
        LLMParseError: It is no JSON.
        LLMError: The provider failed.
    """
    answer = await ask_until_it_fits(provider, base_messages, response_model, output_strategy, **options)
    if pricing_fn is not None:
        return answer.data, pricing_fn(provider.model, answer.usage.input_tokens, answer.usage.output_tokens)
    return answer.data, 0.0 if answer.cost is None else answer.cost.total_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """How each attempt is made."""

    provider: Provider
    timeout_s: float | None
    cancel: CancelToken | None
    on_event: StreamCallback | None

    async def __call__(self, request: LLMRequest) -> CompletionResponse:
        policy = AskPolicy(timeout_s=self.timeout_s if self.timeout_s is not None else TIMEOUT, max_retries=0)
        return await unless_cancelled(ask(self.provider, request, policy=policy, on_event=self.on_event), self.cancel)


async def ask_until_it_fits(
    provider: Provider,
    base_messages: list[LLMMessage],
    response_model: type[T],
    output_strategy: OutputStrategy,
    *,
    config: RetryConfig | None = None,
    on_retry: Callable[[int, Exception], None] | None = None,
    build_request: Callable[[list[LLMMessage]], LLMRequest] | None = None,
    **options: Any,
) -> Answer[T]:
    """Ask until the answer fits, and tell what it took.

    Options: `timeout_s` (of an attempt), `cancel`, `stream`, `on_stream_event`, and for the request `profile`, `plan`
    and `temperature`. `build_request` makes requests instead of the strategy. `on_retry` gets the number of the attempt
    that failed, from 1, and its error.

    Raises what `call_with_retry` does.
    """
    config, state = config or RetryConfig(), RetryState()
    make = build_request or _builder(provider, response_model, output_strategy, options)
    on_event = options.get("on_stream_event") if options.get("stream") else None
    call = _Call(provider=provider, timeout_s=options.get("timeout_s"), cancel=options.get("cancel"), on_event=on_event)
    messages, usage, cost = list(base_messages), Usage.zero(), Cost.zero()
    known: Cost | None = cost
    while True:
        state.attempt += 1
        try:
            response = await call(make(messages))
        except LLMError as error:
            if not (config.retry_on_provider_errors and is_retryable(error)) or state.attempt > config.max_retries:
                raise
            state.errors.append(error)
            if on_retry is not None:
                on_retry(state.attempt, error)
            await asyncio.sleep(_backoff(config, state.attempt, error))
            continue
        usage += response.usage
        known = known + response.cost if known is not None and response.cost is not None else None
        try:
            data = output_strategy.parse_response(response, response_model)
            return Answer(data, usage, known, state.attempt, response)
        except (json.JSONDecodeError, ValidationError, ValidationRetry, ModelRetry) as error:
            feedback = _feedback(error, config)
            if feedback is None or state.attempt > config.max_retries:
                raise _unfit(error, provider, response) from error
            state.errors.append(error)
            if on_retry is not None:
                on_retry(state.attempt, error)
            messages = [*messages, _as_said(response), feedback]


def _builder(
    provider: Provider, response_model: type[BaseModel], strategy: OutputStrategy, options: dict[str, Any]
) -> Callable[[list[LLMMessage]], LLMRequest]:
    profile = options.get("profile") or provider.profile
    plan = options.get("plan") or plan_schema(profile, response_model.model_json_schema())
    temperature = options.get("temperature")
    return lambda messages: strategy.build_request(provider.model, messages, response_model, profile, plan, temperature)


def _as_said(response: CompletionResponse) -> LLMMessage:
    """The answer as a text: a tool call would have to be answered by the tool."""
    message = response.message
    if not message.tool_calls:
        return message
    return LLMMessage.of("assistant", message.text or message.tool_calls[0].arguments_json)


def _feedback(error: Exception, config: RetryConfig) -> LLMMessage | None:
    if isinstance(error, json.JSONDecodeError):
        return format_parse_retry_message(error) if config.retry_on_parse else None
    if not config.retry_on_validation:
        return None
    if isinstance(error, (ValidationError, ValidationRetry)):
        return format_validation_retry_message(error)
    return LLMMessage.of("user", str(error))


def _unfit(error: Exception, provider: Provider, response: CompletionResponse) -> LLMError:
    about: dict[str, Any] = {"provider": provider.provider_name, "raw": error}
    if isinstance(error, json.JSONDecodeError):
        return LLMParseError(f"the answer is no JSON: {error}", raw_content=response.message.text, **about)
    problems: Any = []
    if isinstance(error, ValidationError):
        problems = error.errors()
    elif isinstance(error, ValidationRetry):
        problems = error.errors
    elif isinstance(error, ModelRetry):
        problems = error.validation_errors
    return LLMValidationError(f"the answer does not fit: {error}", validation_errors=list(problems), **about)


def _backoff(config: RetryConfig, attempt: int, error: LLMError) -> float:
    seconds = min(config.initial_backoff_s * config.backoff_multiplier ** (attempt - 1), config.max_backoff_s)
    if isinstance(error, LLMRateLimitError) and error.retry_after is not None:
        return max(seconds, error.retry_after)
    return seconds
