"""What a model can do, and how it wants to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ModelProfile"]


@dataclass(frozen=True)
class ModelProfile:
    """The capabilities of one model, or of a family of them."""

    supports_schema_guided_output: bool = False
    supports_json_only_output: bool = True
    supports_tools: bool = True
    supports_native_tool_calls: bool = True
    supports_reasoning: bool = False
    supports_streaming: bool = True
    supports_image_input: bool = False
    supports_audio_input: bool = False
    supports_temperature: bool = True
    default_output_mode: Literal["native", "tools", "prompted"] = "native"
    native_structured_kind: Literal[
        "openai_response_format",
        "databricks_constrained_decoding",
        "anthropic_tool_use",
        "google_response_schema",
        "bedrock_tool_use",
        "openai_compatible_tools",
        "unknown",
    ] = "unknown"
    schema_transformer_name: str | None = None
    reasoning_effort_param: str | None = None
    thinking_tags: tuple[str, str] | None = None
    reasoning_display_default: Literal["summarized", "omitted"] | None = None
    reasoning_request_style: Literal["adaptive_effort", "thinking_budget", "reasoning_effort"] | None = None
    preferred_transport: Literal["native", "pydantic-ai"] | None = None
    strict_mode_default: bool = True
    supports_system_role: bool = True
    drop_unsupported_params: bool = True
    unsupported_request_params: frozenset[str] = frozenset()
    max_tools: int | None = None
    max_schema_keys: int | None = None
    max_context_tokens: int | None = None
    max_output_tokens: int | None = None
