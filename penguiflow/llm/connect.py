"""What a planner is given as its model becomes a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penguiflow.llm.json_client import JSONClientProvider
from penguiflow.llm.providers.base import Provider

if TYPE_CHECKING:
    from penguiflow.llm.fallback import ModelFallbackConfig

__all__ = ["provider_of"]


def provider_of(llm: Any, *, fallback: ModelFallbackConfig | None = None) -> Provider:
    """The provider for a model.

    Args:
        llm: A provider; a client with `complete(messages=…)`; the name of a model (`openai/gpt-5-mini`; `scripted` is
            the one that needs no key); or a mapping with `model`, and `api_key`, `api_base` and other settings as far
            as they are wanted.
        fallback: Models to go on with when this one fails; for names and mappings only.

    Raises:
        TypeError: For something else.
        ValueError: For a mapping without a model, a name that no provider is known for, and a fallback for a
            provider or a client.
        ImportError: For a model that needs the extra `penguiflow[llm]`, where that is not installed.
    """
    if isinstance(llm, (str, Mapping)):
        return _named(llm, fallback)
    if fallback is not None:
        raise ValueError("a fallback is for models that are given by name: leave it out, or give the name of the model")
    if isinstance(llm, Provider):
        return llm
    own = getattr(llm, "as_provider", None)
    if callable(own):
        provider = own()
        if isinstance(provider, Provider):
            return provider
    return JSONClientProvider(llm)


def _named(llm: str | Mapping[str, Any], fallback: ModelFallbackConfig | None) -> Provider:
    settings: dict[str, Any] = {"model": llm} if isinstance(llm, str) else dict(llm)
    model = settings.pop("model", None)
    if not isinstance(model, str) or not model.strip():
        raise ValueError("a model is given by its name, or by a mapping that has it as 'model'")
    if model.partition("/")[0].partition(":")[0] == "scripted":
        from penguiflow.llm.scripted import ScriptedModel

        return ScriptedModel(model=model)
    from penguiflow.llm.providers import create_provider

    settings.setdefault("base_url", settings.pop("api_base", None))
    if fallback is None:
        return create_provider(model, **settings)
    from penguiflow.llm.fallback import FallbackProvider

    key = settings.pop("api_key", None)
    return FallbackProvider(model, fallback, provider_factory=create_provider, default_api_key=key, **settings)
