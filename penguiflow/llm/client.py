"""A client for answers that are pydantic models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from penguiflow.llm.calls import AskPolicy, ask
from penguiflow.llm.cancelling import unless_cancelled
from penguiflow.llm.cooldown import CooldownStore, ModelFallbackConfig
from penguiflow.llm.errors import LLMError
from penguiflow.llm.output import strategy_for
from penguiflow.llm.profiles import ModelProfile
from penguiflow.llm.providers import create_provider
from penguiflow.llm.providers.base import Provider
from penguiflow.llm.retry import RetryConfig, ask_until_it_fits
from penguiflow.llm.schema.plan import OutputMode, choose_output_mode, plan_schema
from penguiflow.llm.telemetry import LLMEvent, TimingContext, get_telemetry_hooks
from penguiflow.llm.types import (
    CancelToken,
    CompletionResponse,
    Cost,
    LLMMessage,
    LLMRequest,
    StreamCallback,
    Usage,
)

__all__ = ["LLMClient", "LLMClientConfig", "LLMResult", "generate_structured"]

T = TypeVar("T", bound=BaseModel)


@dataclass
class LLMClientConfig:
    """How a client asks."""

    max_retries: int = 3
    retry_on_validation: bool = True
    retry_on_parse: bool = True
    retry_on_provider_errors: bool = True
    timeout_s: float = 120.0
    """For each attempt."""
    temperature: float | None = None
    force_mode: OutputMode | None = None
    enable_telemetry: bool = True
    enable_cost_tracking: bool = True


@dataclass
class LLMResult:
    """An answer and what it took, all attempts together."""

    data: BaseModel
    usage: Usage
    cost: Cost
    """Zero when it is not known; `cost_known` tells these apart."""
    mode_used: OutputMode
    attempts: int
    raw_response: Any = None
    cost_known: bool = True


class LLMClient:
    """Asks one model for answers of a given form."""

    def __init__(
        self,
        model: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        fallback: ModelFallbackConfig | None = None,
        cooldown_store: CooldownStore | None = None,
        config: LLMClientConfig | None = None,
        provider: Provider | None = None,
        profile: ModelProfile | None = None,
        **provider_kwargs: Any,
    ) -> None:
        """`provider` is asked instead of one that is made for the model. Raises what `create_provider` does."""
        self._config = config or LLMClientConfig()
        if provider is None and fallback is not None:
            from penguiflow.llm.fallback import FallbackProvider

            if base_url is not None:
                provider_kwargs["base_url"] = base_url
            provider = FallbackProvider(
                model,
                fallback,
                provider_factory=create_provider,
                cooldown_store=cooldown_store,
                default_api_key=api_key,
                **provider_kwargs,
            )
        self._provider = provider or create_provider(model, api_key=api_key, base_url=base_url, **provider_kwargs)
        self._profile = profile or self._provider.profile
        self._total_cost = Cost.zero()

    @property
    def provider(self) -> Provider:
        """Whom it asks."""
        return self._provider

    @property
    def profile(self) -> ModelProfile:
        """What the model can do."""
        return self._profile

    @property
    def total_cost(self) -> Cost:
        """Of all answers by now, as far as it is known."""
        return self._total_cost

    def reset_cost(self) -> None:
        """Count from zero again."""
        self._total_cost = Cost.zero()

    async def generate(
        self,
        messages: list[LLMMessage],
        response_model: type[T],
        *,
        timeout_s: float | None = None,
        max_retries: int | None = None,
        temperature: float | None = None,
        force_mode: OutputMode | None = None,
        **options: Any,
    ) -> LLMResult:
        """An answer that fits `response_model`.

        Options: `cancel`, `stream` and `on_stream_event`, as `Provider.complete` has them.

        Raises:
            LLMError: Of the kind that tells what went wrong.
        """
        config, schema = self._config, response_model.model_json_schema()
        forced = force_mode or config.force_mode
        if forced is None:
            mode, plan = choose_output_mode(self._profile, schema)
        else:
            mode, plan = forced, plan_schema(self._profile, schema, mode=forced)
        retries = RetryConfig(
            config.max_retries if max_retries is None else max_retries,
            config.retry_on_validation,
            config.retry_on_parse,
            config.retry_on_provider_errors,
        )
        self._tell("request_start", mode=mode.value)
        with TimingContext(self._provider.provider_name, self._provider.model) as timing:
            try:
                answer = await ask_until_it_fits(
                    self._provider,
                    messages,
                    response_model,
                    strategy_for(mode),
                    config=retries,
                    on_retry=lambda attempt, error: self._tell("retry", attempt=attempt, error=str(error)),
                    timeout_s=timeout_s if timeout_s is not None else config.timeout_s,
                    temperature=temperature if temperature is not None else config.temperature,
                    profile=self._profile,
                    plan=plan,
                    **options,
                )
            except LLMError as error:
                self._tell("error", error=str(error), error_type=type(error).__name__, latency_ms=timing.latency_ms)
                raise
        cost = answer.cost if answer.cost is not None else Cost.zero()
        self._count(answer.cost)
        self._tell(
            "request_end", latency_ms=timing.latency_ms, attempts=answer.attempts, **_numbers(answer.usage, cost)
        )
        raw = answer.response.raw_response
        return LLMResult(answer.data, answer.usage, cost, mode, answer.attempts, raw, answer.cost is not None)

    async def complete_raw(
        self,
        request: LLMRequest,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        stream: bool = False,
        on_stream_event: StreamCallback | None = None,
    ) -> CompletionResponse:
        """The answer as it comes, with the retries of the configuration. Raises `LLMError`."""
        config = self._config
        policy = AskPolicy(
            timeout_s=timeout_s if timeout_s is not None else config.timeout_s,
            max_retries=config.max_retries if config.retry_on_provider_errors else 0,
        )
        call = ask(self._provider, request, policy=policy, on_event=on_stream_event if stream else None)
        response = await unless_cancelled(call, cancel)
        self._count(response.cost)
        return response

    def _count(self, cost: Cost | None) -> None:
        if cost is not None and self._config.enable_cost_tracking:
            self._total_cost += cost

    def _tell(self, event_type: str, **extra: Any) -> None:
        if self._config.enable_telemetry:
            event = LLMEvent.create(event_type, self._provider.provider_name, self._provider.model, **extra)
            get_telemetry_hooks().emit(event)


async def generate_structured(
    model: str,
    messages: list[LLMMessage],
    response_model: type[T],
    *,
    api_key: str | None = None,
    fallback: ModelFallbackConfig | None = None,
    cooldown_store: CooldownStore | None = None,
    **kwargs: Any,
) -> T:
    """One answer that fits. Other arguments are those of `LLMClient`. Raises `LLMError`."""
    client = LLMClient(model, api_key=api_key, fallback=fallback, cooldown_store=cooldown_store, **kwargs)
    return cast(T, (await client.generate(messages, response_model)).data)


def _numbers(usage: Usage, cost: Cost) -> dict[str, Any]:
    return {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "cost": cost.total_cost}
