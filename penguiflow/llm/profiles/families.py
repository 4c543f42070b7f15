"""What families of models can do, by what their names begin with. The longest beginning counts."""

from __future__ import annotations

from dataclasses import replace

from penguiflow.llm.profiles.model import ModelProfile

__all__ = ["DEFAULT", "FAMILIES"]

DEFAULT = ModelProfile(native_structured_kind="openai_compatible_tools", default_output_mode="tools")
"""Of a model that nobody knows: chat completions with tools."""

_OPENAI = ModelProfile(
    supports_schema_guided_output=True,
    supports_image_input=True,
    native_structured_kind="openai_response_format",
    schema_transformer_name="openai",
    max_context_tokens=128_000,
)
_OPENAI_REASONING = replace(
    _OPENAI,
    supports_reasoning=True,
    supports_temperature=False,
    reasoning_effort_param="reasoning_effort",
    reasoning_request_style="reasoning_effort",
    max_context_tokens=200_000,
)
_OPENAI_EARLY = replace(
    _OPENAI, supports_schema_guided_output=False, supports_image_input=False, default_output_mode="tools"
)
_CLAUDE = ModelProfile(
    supports_json_only_output=False,
    supports_image_input=True,
    default_output_mode="tools",
    native_structured_kind="anthropic_tool_use",
    schema_transformer_name="anthropic",
    strict_mode_default=False,
    max_context_tokens=200_000,
    max_output_tokens=8_192,
)
_CLAUDE_THINKING = replace(
    _CLAUDE,
    supports_schema_guided_output=True,
    supports_reasoning=True,
    reasoning_effort_param="thinking",
    reasoning_request_style="thinking_budget",
    max_output_tokens=64_000,
)
_CLAUDE_ADAPTIVE = replace(
    _CLAUDE_THINKING,
    supports_temperature=False,
    reasoning_request_style="adaptive_effort",
    reasoning_display_default="summarized",
)
_GEMINI = ModelProfile(
    supports_schema_guided_output=True,
    supports_image_input=True,
    supports_audio_input=True,
    native_structured_kind="google_response_schema",
    schema_transformer_name="google",
    max_context_tokens=1_000_000,
)
_GEMINI_THINKING = replace(
    _GEMINI,
    supports_reasoning=True,
    reasoning_effort_param="thinking_level",
    reasoning_request_style="thinking_budget",
    max_output_tokens=65_536,
)
_DATABRICKS = ModelProfile(
    supports_schema_guided_output=True,
    native_structured_kind="databricks_constrained_decoding",
    schema_transformer_name="databricks",
    max_tools=32,
    max_schema_keys=64,
)
_BEDROCK = ModelProfile(
    supports_json_only_output=False,
    default_output_mode="tools",
    native_structured_kind="bedrock_tool_use",
    schema_transformer_name="bedrock",
    strict_mode_default=False,
)
_OPEN = replace(DEFAULT, strict_mode_default=False)
_OPEN_THINKING = replace(
    _OPEN, supports_reasoning=True, supports_native_tool_calls=True, thinking_tags=("<think>", "</think>")
)

FAMILIES: dict[str, ModelProfile] = {
    "gpt-3.5": _OPENAI_EARLY,
    "gpt-4": _OPENAI_EARLY,
    "gpt-4-turbo": replace(_OPENAI_EARLY, supports_image_input=True),
    "gpt-4o": _OPENAI,
    "gpt-4o-audio": replace(_OPENAI, supports_audio_input=True),
    "gpt-4.1": replace(_OPENAI, max_context_tokens=1_000_000),
    "gpt-5": replace(_OPENAI_REASONING, max_context_tokens=400_000),
    "gpt-5-chat": replace(_OPENAI, max_context_tokens=400_000),
    "gpt-6": replace(_OPENAI_REASONING, max_context_tokens=400_000),
    "gpt-oss": replace(_OPEN, supports_reasoning=True, reasoning_effort_param="reasoning_effort"),
    "gpt-audio": replace(_OPENAI, supports_audio_input=True),
    "o1": _OPENAI_REASONING,
    "o3": _OPENAI_REASONING,
    "o4": _OPENAI_REASONING,
    "claude": _CLAUDE,
    "claude-3-7": _CLAUDE_THINKING,
    "claude-haiku-4": _CLAUDE_THINKING,
    "claude-sonnet-4": _CLAUDE_THINKING,
    "claude-opus-4": _CLAUDE_THINKING,
    "claude-opus-4-7": _CLAUDE_ADAPTIVE,
    "claude-opus-4-8": _CLAUDE_ADAPTIVE,
    "gemini": _GEMINI,
    "gemini-2.5": _GEMINI_THINKING,
    "gemini-3": _GEMINI_THINKING,
    "databricks": _DATABRICKS,
    "databricks-claude": replace(_DATABRICKS, supports_reasoning=True, default_output_mode="tools"),
    "anthropic.": _BEDROCK,
    "amazon.": _BEDROCK,
    "deepseek": _OPEN,
    "deepseek-r": _OPEN_THINKING,
    "deepseek-reasoner": _OPEN_THINKING,
    "llama": _OPEN,
    "mistral": _OPEN,
    "nemotron": _OPEN,
    "qwen": _OPEN,
    "qwq": _OPEN_THINKING,
}
