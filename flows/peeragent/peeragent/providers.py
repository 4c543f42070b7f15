"""Whom the settings have keys for, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pydantic import SecretStr

from peeragent.settings import Settings
from penguiflow.llm import (
    CancelToken,
    CompletionResponse,
    FallbackProvider,
    LLMRequest,
    ModelFallbackConfig,
    ModelProfile,
    Provider,
    StreamCallback,
)

Create = Callable[..., Provider]
"""`penguiflow.llm.create_provider`, or what takes its place."""

ORDER = ("openai", "google", "anthropic")
DEFAULT_MODELS = {"openai": "gpt-4o-mini", "google": "gemini-2.5-flash", "anthropic": "claude-sonnet-4-6"}
"""Of a provider for which `llm_model` names none."""
COOLDOWN = 10.0  # seconds for which a provider that failed is passed over, where there are others
NO_KEY = "unused"  # what a server of one's own is told, where no key is set


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One model at one provider."""

    provider: str
    model: str
    key: SecretStr | None = None
    url: str | None = None

    @property
    def name(self) -> str:
        """As `create_provider` takes it."""
        return f"{self.provider}/{self.model}"


def names_of(settings: Settings) -> list[Named]:
    """Whom the settings have keys for: `llm_provider` first, then in `ORDER`. Empty without any."""
    found = []
    for provider in dict.fromkeys((settings.llm_provider, *ORDER)):
        key: SecretStr | None = getattr(settings, f"{provider}_api_key")
        url = settings.openai_base_url if provider == "openai" else None
        if key is None and url is None:
            continue
        own = settings.llm_model if provider == settings.llm_provider else None
        found.append(Named(provider=provider, model=own or DEFAULT_MODELS[provider], key=key, url=url))
    return found


def connected(names: Sequence[Named], create: Create) -> Provider:
    """Who is asked: the first, and the others where it fails for its key, its load, its time or by itself."""

    def one(named: Named) -> Provider:
        key = NO_KEY if named.key is None else named.key.get_secret_value()
        return _Signed(create(named.name, api_key=key, base_url=named.url), named.name)

    # All of them now: loading a provider's library takes a second, which no request is to wait for.
    made = {each.name: one(each) for each in names}
    first, *others = made
    if not others:
        return made[first]
    config = ModelFallbackConfig(models=others, cooldown_s=COOLDOWN, max_wait_s=COOLDOWN)
    return FallbackProvider(first, config, provider_factory=lambda model, **_: made[model])


class _Signed(Provider):
    """A provider whose answers say whose they are: with fallbacks nobody knows otherwise."""

    def __init__(self, inner: Provider, name: str) -> None:
        self._inner = inner
        self._name = name

    @property
    def provider_name(self) -> str:
        return self._inner.provider_name

    @property
    def profile(self) -> ModelProfile:
        return self._inner.profile

    @property
    def model(self) -> str:
        return self._inner.model

    async def complete(
        self,
        request: LLMRequest,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        stream: bool = False,
        on_stream_event: StreamCallback | None = None,
    ) -> CompletionResponse:
        response = await self._inner.complete(
            request, timeout_s=timeout_s, cancel=cancel, stream=stream, on_stream_event=on_stream_event
        )
        return replace(response, model=self._name)
