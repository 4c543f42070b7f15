"""Names of models: whose a model is, and what its name tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ParsedModel",
    "ProviderType",
    "build_model_string",
    "estimate_context_window",
    "get_provider_for_model",
    "is_reasoning_model",
    "is_vision_model",
    "normalize_model_id",
    "parse_model_string",
]

ProviderType = Literal["openai", "nim", "anthropic", "google", "bedrock", "databricks", "openrouter", "unknown"]

_PREFIXES: dict[str, ProviderType] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "gemini": "google",
    "bedrock": "bedrock",
    "databricks": "databricks",
    "nim": "nim",
    "nvidia": "nim",
    "openrouter": "openrouter",
}
_BARE: tuple[tuple[re.Pattern[str], ProviderType], ...] = (
    (re.compile(r"databricks-"), "databricks"),
    (re.compile(r"(us\.|eu\.|apac\.|global\.)?(anthropic|amazon|meta|mistral|cohere|ai21)\."), "bedrock"),
    (re.compile(r"(chat)?gpt-|o[1-9](-|$)|text-embedding-|ft:gpt-"), "openai"),
    (re.compile(r"claude"), "anthropic"),
    (re.compile(r"gemini"), "google"),
)
_REASONING = re.compile(
    r"(^|[/.-])(o[1-9](-|$)|gpt-5(?!-chat)|gpt-[6-9]|gpt-oss|deepseek-r|deepseek-reasoner|qwq|magistral)"
    r"|claude-(opus|sonnet|haiku)-[4-9]|claude-3[-.]7|gemini-(2\.5|[3-9])|thinking|reason",
    re.IGNORECASE,
)
_VISION = re.compile(
    r"gpt-4o|gpt-4\.1|gpt-4-turbo|gpt-[5-9]|(^|[/-])o[1-9](?!-mini|-preview)|claude|gemini|vision|-vl|pixtral|llava|llama-4",
    re.IGNORECASE,
)
_WINDOWS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"gpt-4\.1|gemini|llama-4", re.IGNORECASE), 1_000_000),
    (re.compile(r"gpt-[5-9]", re.IGNORECASE), 400_000),
    (re.compile(r"claude|(^|[/-])o[1-9](-|$)", re.IGNORECASE), 200_000),
    (re.compile(r"gpt-3\.5", re.IGNORECASE), 16_385),
    (re.compile(r"gpt-4(-0|-3|$)", re.IGNORECASE), 8_192),
)
_WINDOW = 128_000  # tokens; what most models of today take


@dataclass(frozen=True)
class ParsedModel:
    """The parts of a model's name."""

    provider: ProviderType
    model_id: str
    """As the provider knows it."""
    original: str
    sub_provider: str | None = None
    """With `openrouter/<sub>/<model>`: whose model it is."""


def parse_model_string(model: str) -> ParsedModel:
    """Take a name apart: by its prefix, or for a bare name by what it begins with.

    Raises `ValueError` for an empty one.
    """
    name = model.strip()
    if not name:
        raise ValueError("the name of a model is empty")
    prefix, slash, rest = name.partition("/")
    provider = _PREFIXES.get(prefix.lower()) if slash and rest else None
    if provider == "openrouter":
        sub, more, _ = rest.partition("/")
        return ParsedModel(provider, rest, model, sub if more else None)
    if provider is not None:
        return ParsedModel(provider, rest, model)
    for pattern, owner in _BARE:
        if pattern.match(name.lower()):
            return ParsedModel(owner, name, model)
    return ParsedModel("unknown", name, model)


def normalize_model_id(model: str) -> str:
    """The name without its provider, in lower case, with dashes for dots: what two spellings have in common."""
    return parse_model_string(model).model_id.rpartition("/")[2].lower().replace(".", "-")


def get_provider_for_model(model: str) -> ProviderType:
    """Whose a model is; `unknown` if its name does not tell."""
    return parse_model_string(model).provider


def is_reasoning_model(model: str) -> bool:
    """Whether the name is that of a model that thinks before it answers."""
    return _REASONING.search(model) is not None


def is_vision_model(model: str) -> bool:
    """Whether the name is that of a model that takes pictures."""
    return _VISION.search(model) is not None


def estimate_context_window(model: str) -> int:
    """Tokens that the model takes, by the family that its name tells."""
    return next((window for pattern, window in _WINDOWS if pattern.search(model)), _WINDOW)


def build_model_string(provider: ProviderType, model_id: str, *, sub_provider: str | None = None) -> str:
    """The name that `parse_model_string` takes apart into these."""
    if provider == "unknown":
        return model_id
    if provider == "openrouter" and sub_provider and not model_id.startswith(f"{sub_provider}/"):
        return f"openrouter/{sub_provider}/{model_id}"
    return f"{provider}/{model_id}"
