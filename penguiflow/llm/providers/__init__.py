"""Where models are."""

from __future__ import annotations

from typing import Any

from penguiflow.llm.providers.base import Provider

__all__ = ["Provider", "create_provider"]


def create_provider(model: str, *, api_key: str | None = None, base_url: str | None = None, **kwargs: Any) -> Provider:
    """The provider for a model by its name.

    Args:
        model: `openai/gpt-5-mini`, `anthropic/claude-sonnet-4-6`, `google/gemini-2.5-flash`,
            `openrouter/<whose>/<model>`, `nim/…`, `databricks/…`, or a bare name that tells whose it is.
        api_key: By default that of the environment (`OPENAI_API_KEY` and so on).
        base_url: Of a server that speaks OpenAI's protocol.
        kwargs: `profile`, `timeout`, and settings of every request (`temperature`, `max_tokens`, `top_p` …).

    Raises:
        ImportError: Where the extra `penguiflow[llm]` is not installed.
        ValueError: For a model whose place is not known.
    """
    from penguiflow.llm.providers.pydantic_ai import PydanticAIProvider

    return PydanticAIProvider(model, api_key=api_key, base_url=base_url, **kwargs)
