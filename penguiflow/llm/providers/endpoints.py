"""Where models are reached: which protocol, at which address, with which key."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from penguiflow.llm.routing import ParsedModel, ProviderType, parse_model_string

__all__ = ["Endpoint", "Wire", "endpoint_of"]

Wire = Literal["openai", "anthropic", "google"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one model is reached."""

    provider: str
    wire: Wire
    """The protocol that is spoken there."""
    model: str
    """As it is called there."""
    base_url: str | None
    """None for the address that the provider's own library knows."""
    api_key: str | None
    listed: bool
    """Whether the provider's list prices hold there."""


_KEYS: dict[ProviderType, tuple[str, ...]] = {
    "openrouter": ("OPENROUTER_API_KEY",),
    "nim": ("NVIDIA_API_KEY", "NIM_API_KEY"),
    "databricks": ("DATABRICKS_TOKEN",),
}
_URLS: dict[ProviderType, str] = {
    "openrouter": "https://openrouter.ai/api/v1",
    "nim": "https://integrate.api.nvidia.com/v1",
}
_URL_NAMES: dict[ProviderType, str] = {"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_BASE_URL"}
_OWN: dict[ProviderType, Wire] = {"openai": "openai", "anthropic": "anthropic", "google": "google"}


def endpoint_of(model: str, *, api_key: str | None = None, base_url: str | None = None) -> Endpoint:
    """Where a model is reached.

    A `base_url` is that of a server that speaks OpenAI's protocol, unless the model is one of Anthropic or Google.

    Raises `ValueError` for a model whose place is not known.
    """
    parsed = parse_model_string(model)
    wire = _OWN.get(parsed.provider, "openai")
    base_url = base_url or os.environ.get(_URL_NAMES.get(parsed.provider, "")) or None
    url = base_url or _known_url(parsed)
    key = api_key or next((os.environ[name] for name in _KEYS.get(parsed.provider, ()) if os.environ.get(name)), None)
    if url is None and parsed.provider not in _OWN:
        raise ValueError(
            f"nobody knows where the model {model!r} is: write its provider before it (openai/, anthropic/, google/, "
            "openrouter/, nim/, databricks/), or give `base_url` of a server that speaks OpenAI's protocol"
        )
    name = parsed.provider if parsed.provider != "unknown" else "openai-compatible"
    return Endpoint(name, wire, parsed.model_id, url, key, _is_listed(parsed.provider, base_url))


def _known_url(parsed: ParsedModel) -> str | None:
    if parsed.provider == "databricks":
        host = os.environ.get("DATABRICKS_HOST", "").rstrip("/")
        if not host:
            return None
        return f"{host if '://' in host else f'https://{host}'}/serving-endpoints"
    return _URLS.get(parsed.provider)


def _is_listed(provider: ProviderType, base_url: str | None) -> bool:
    """Whether it is the provider's own server: others have prices of their own."""
    if base_url is None:
        return True
    host = urlsplit(base_url).hostname or ""
    own = {
        "openai": ".openai.com",
        "anthropic": ".anthropic.com",
        "google": ".googleapis.com",
        "openrouter": "openrouter.ai",
    }.get(provider)
    return own is not None and host.endswith(own)
