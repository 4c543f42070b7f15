"""What models can do: by their names, or as a program says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penguiflow.llm.profiles.families import DEFAULT, FAMILIES
from penguiflow.llm.profiles.model import ModelProfile

if TYPE_CHECKING:
    from penguiflow.llm.schema.transformer import JsonSchemaTransformer

__all__ = ["ModelProfile", "get_profile", "get_profiles", "get_schema_transformer", "register_profile"]

_registered: dict[str, ModelProfile] = {}


def get_profiles() -> dict[str, ModelProfile]:
    """Every profile by the name, or the beginning of names, that it is for."""
    return {**FAMILIES, **_registered}


def get_profile(model: str) -> ModelProfile:
    """What a model can do.

    A profile is looked for under the whole name, under what follows each `/` of it, and under that with dashes for
    dots; then under the longest beginning of the shortest of these; else it is that of a model that nobody knows.
    """
    profiles = get_profiles()
    spellings = _spellings(model)
    for name in spellings:
        if name in profiles:
            return profiles[name]
    for name in sorted(spellings, key=len):
        found = [known for known in profiles if name.startswith((known, known.replace(".", "-")))]
        if found:
            return profiles[max(found, key=len)]
    return DEFAULT


def register_profile(model: str, profile: ModelProfile) -> None:
    """Say what a model, or every model whose name begins so, can do."""
    _registered[model] = profile


def get_schema_transformer(
    profile: ModelProfile, schema: dict[str, Any], *, strict: bool = True
) -> JsonSchemaTransformer | None:
    """What brings a schema into the form that the model takes; None where it takes any."""
    from penguiflow.llm.schema import TRANSFORMERS

    name = profile.schema_transformer_name
    if name is None or name not in TRANSFORMERS:
        return None
    return TRANSFORMERS[name](schema, strict=strict)


def _spellings(model: str) -> list[str]:
    """The name, what follows each slash of it, and these with dashes for dots."""
    parts = model.strip().split("/")
    names = ["/".join(parts[start:]) for start in range(len(parts))]
    names += [name.lower() for name in names if name != name.lower()]
    return [*names, *(name.replace(".", "-") for name in names if "." in name)]
