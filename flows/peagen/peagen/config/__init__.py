"""`.peagen.toml`: where it is found, what may be in it, what it means for a run."""

from __future__ import annotations

from peagen.config.llm import LlmConfig, ModelChoice
from peagen.config.load import find_config, load_config
from peagen.config.models import Config, PluginSection

__all__ = ["Config", "LlmConfig", "ModelChoice", "PluginSection", "find_config", "load_config"]
