"""The models of pydantic-ai for an endpoint, each with a client of its own that asks once."""

from __future__ import annotations

import httpx2
from pydantic_ai.models import Model

from penguiflow.llm.providers.endpoints import Endpoint

__all__ = ["model_for"]


def model_for(endpoint: Endpoint, client: httpx2.AsyncClient) -> Model:
    """The model at an endpoint. Raises `UserError` without a key, and `ImportError` without the provider's library."""
    if endpoint.wire == "anthropic":
        return _anthropic(endpoint, client)
    if endpoint.wire == "google":
        return _google(endpoint, client)
    return _openai(endpoint, client)


def _openai(endpoint: Endpoint, client: httpx2.AsyncClient) -> Model:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.profiles.openai import OpenAIModelProfile
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=endpoint.base_url, api_key=endpoint.api_key, http_client=client)
    # A stream that ends without saying why was cut. Which forms of answers a server takes, it says itself: `ask` then
    # asks for less.
    profile = OpenAIModelProfile(
        openai_chat_streaming_requires_finish_reason=True,
        supports_json_schema_output=True,
        supports_json_object_output=True,
    )
    if endpoint.base_url is not None and not endpoint.listed:
        # What is OpenAI's alone, other servers refuse.
        profile["openai_chat_supports_max_completion_tokens"] = False
        profile["openai_chat_supports_allowed_tools"] = False
    return OpenAIChatModel(endpoint.model, provider=provider, profile=profile)


def _anthropic(endpoint: Endpoint, client: httpx2.AsyncClient) -> Model:
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    provider = AnthropicProvider(base_url=endpoint.base_url, api_key=endpoint.api_key, http_client=client)
    return AnthropicModel(endpoint.model, provider=provider)


def _google(endpoint: Endpoint, client: httpx2.AsyncClient) -> Model:
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    provider = GoogleProvider(base_url=endpoint.base_url, api_key=endpoint.api_key, http_client=client)
    return GoogleModel(endpoint.model, provider=provider)
