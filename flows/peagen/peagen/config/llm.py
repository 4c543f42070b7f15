"""Which model is asked, and how: `[llm]`, the environment and the command line together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from peagen.config.section import Section
from peagen.config.variables import is_unset
from peagen.errors import PeagenError

DEFAULT_MAX_TOKENS = 8192
MODEL_TIMEOUT_S = 1200.0
SCRIPTED = "scripted"
"""The provider that needs no key."""


@dataclass(frozen=True)
class ModelChoice:
    """Which model is asked, and how."""

    provider: str
    model: str
    temperature: float | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    timeout_s: float = MODEL_TIMEOUT_S


class LlmConfig(Section):
    """`[llm]`, `[llm.api_keys]` and `[llm.<provider>]`."""

    default_provider: str | None = None
    default_model_name: str | None = None
    default_temperature: float | None = Field(default=None, ge=0, le=2)
    default_max_tokens: int | None = Field(default=None, gt=0)
    api_keys: dict[str, str] = Field(default_factory=dict)

    def table(self, provider: str) -> dict[str, Any]:
        """`[llm.<provider>]`, its keys in lower case."""
        found = (self.model_extra or {}).get(provider)
        return {str(key).lower(): value for key, value in found.items()} if isinstance(found, dict) else {}

    def forget_servers(self) -> list[str]:
        """Take out every `base_url`; returns what they were called."""
        found = []
        for name, table in (self.model_extra or {}).items():
            for key in [key for key in table if key.lower() == "base_url"] if isinstance(table, dict) else []:
                del table[key]
                found.append(f"llm.{name}.{key}")
        return found

    def resolve(
        self,
        agent_env: Mapping[str, Any] | None = None,
        provider: str | None = None,
        model_name: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> ModelChoice:
        """Which model is asked: what the command line says, else `agent_env`, else the environment, else this.

        Raises:
            PeagenError: no provider or no model is named, or a value is not of its type.
        """
        given = dict(agent_env or {})
        env = os.environ if environ is None else environ
        chosen = provider or given.get("provider") or env.get("PROVIDER") or _set(self.default_provider)
        if not chosen:
            raise PeagenError(
                "no provider of models is named",
                hint='say --provider, --agent-env \'{"provider": "openai"}\', PROVIDER, or llm.default_provider'
                " in .peagen.toml; --provider scripted needs no key",
            )
        chosen = str(chosen)
        table = self.table(chosen)
        model = (
            model_name
            or given.get("model_name")
            or given.get("model")
            or table.get("model_name")
            or (SCRIPTED if chosen == SCRIPTED else _set(self.default_model_name))
        )
        if not model:
            raise PeagenError(
                f"no model of {chosen} is named",
                hint="say --model-name, model_name in --agent-env, or llm.default_model_name in .peagen.toml",
            )
        prefix = chosen.upper().replace("-", "_")
        key = given.get("api_key") or _set(table.get("api_key")) or _set(self.api_keys.get(chosen))
        return ModelChoice(
            provider=chosen,
            model=str(model),
            temperature=_number(given, "temperature", float, self.default_temperature),
            max_tokens=_number(given, "max_tokens", int, self.default_max_tokens) or DEFAULT_MAX_TOKENS,
            api_key=key or env.get(f"{prefix}_API_KEY") or None,
            base_url=given.get("base_url") or _set(table.get("base_url")) or env.get(f"{prefix}_BASE_URL") or None,
            timeout_s=_number(given, "timeout", float, None) or MODEL_TIMEOUT_S,
        )


def _set(value: Any) -> Any:
    """A value that says something: no `${VAR}` of the environment that is not set, no `sk-...` out of a manual."""
    if isinstance(value, str) and (is_unset(value) or value.rstrip().endswith(("...", "…"))):
        return None
    return value


def _number(given: Mapping[str, Any], name: str, kind: type[Any], default: Any) -> Any:
    value = given.get(name)
    if value is None:
        return default
    try:
        if isinstance(value, bool):
            raise TypeError
        return kind(value)
    except (TypeError, ValueError):
        raise PeagenError(f"{name} must be a number, not {value!r}", where="--agent-env") from None
