"""How a model is asked for an answer of a given form: by its own means, by a tool, or in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from penguiflow.llm.profiles import ModelProfile, get_schema_transformer
from penguiflow.llm.schema.transformer import (
    estimate_object_key_count,
    has_composition_keywords,
    has_open_objects,
    has_recursive_refs,
)

__all__ = ["OutputMode", "SchemaPlan", "choose_output_mode", "plan_schema"]


class OutputMode(Enum):
    """How the form is asked for."""

    NATIVE = "native"
    """By the provider's structured output."""
    TOOLS = "tools"
    """By a tool whose arguments have the form."""
    PROMPTED = "prompted"
    """In words."""


@dataclass(frozen=True)
class SchemaPlan:
    """A schema in the form that a model takes, and what is known of it."""

    requested_schema: dict[str, Any]
    transformed_schema: dict[str, Any]
    strict_requested: bool
    strict_applied: bool
    """Whether the model can be held to it: an object that is open in the schema cannot be closed."""
    compatible_with_native: bool
    compatible_with_tools: bool
    reasons: tuple[str, ...] = ()
    """Why it is not compatible with this or that."""
    estimated_total_keys: int | None = None
    has_recursive_refs: bool = False
    has_composition: bool = False


def plan_schema(profile: ModelProfile, schema: dict[str, Any], *, mode: OutputMode | None = None) -> SchemaPlan:
    """Plan how to ask for a schema. With `mode`, what speaks against the others is not looked at."""
    keys, recursive = estimate_object_key_count(schema), has_recursive_refs(schema)
    strict = profile.strict_mode_default and not recursive and not has_open_objects(schema)
    against_native: list[str] = []
    against_tools: list[str] = []
    if mode in (None, OutputMode.NATIVE):
        if not profile.supports_schema_guided_output:
            against_native.append("the model has no structured output")
        if profile.max_schema_keys is not None and keys > profile.max_schema_keys:
            against_native.append(f"{keys} keys are more than the {profile.max_schema_keys} that the model takes")
        if recursive and profile.native_structured_kind not in ("openai_response_format", "anthropic_tool_use"):
            against_native.append("the schema refers to itself")
    if mode in (None, OutputMode.TOOLS) and not (profile.supports_tools and profile.supports_native_tool_calls):
        against_tools.append("the model has no tools")
    transformer = get_schema_transformer(profile, schema, strict=strict)
    return SchemaPlan(
        requested_schema=schema,
        transformed_schema=transformer.transform() if transformer is not None else schema,
        strict_requested=profile.strict_mode_default,
        strict_applied=strict,
        compatible_with_native=not against_native,
        compatible_with_tools=not against_tools,
        reasons=(*against_native, *against_tools),
        estimated_total_keys=keys,
        has_recursive_refs=recursive,
        has_composition=has_composition_keywords(schema),
    )


def choose_output_mode(profile: ModelProfile, schema: dict[str, Any]) -> tuple[OutputMode, SchemaPlan]:
    """The mode that the model likes best of those that the schema allows: its own choice, native, tools, prompted."""
    plan = plan_schema(profile, schema)
    fits = {
        OutputMode.NATIVE: plan.compatible_with_native,
        OutputMode.TOOLS: plan.compatible_with_tools,
        OutputMode.PROMPTED: True,
    }
    ladder = (OutputMode(profile.default_output_mode), OutputMode.NATIVE, OutputMode.TOOLS, OutputMode.PROMPTED)
    return next(mode for mode in ladder if fits[mode]), plan
