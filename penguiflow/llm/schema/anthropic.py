"""Anthropic: bounds are told in words."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from penguiflow.llm.schema.transformer import JsonSchemaTransformer

__all__ = ["AnthropicJsonSchemaTransformer"]


class AnthropicJsonSchemaTransformer(JsonSchemaTransformer):
    """What is not enforced goes into the description, where the model reads it."""

    UNSUPPORTED_KEYWORDS: ClassVar[set[str]] = {"$schema", "examples"}
    RELOCATE_TO_DESCRIPTION: ClassVar[set[str]] = {
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
    }

    def __init__(self, schema: dict[str, Any], *, strict: bool = False) -> None:
        super().__init__(schema, strict=strict)

    def convert(self, node: dict[str, Any]) -> dict[str, Any]:
        """Tell the bounds in words; in strict mode close an object."""
        bounds = sorted(self.RELOCATE_TO_DESCRIPTION & node.keys())
        if bounds:
            told = ", ".join(f"{name}: {json.dumps(node.pop(name))}" for name in bounds)
            node["description"] = f"{node['description']} ({told})" if node.get("description") else told
        if self.strict and isinstance(node.get("properties"), dict):
            node["additionalProperties"] = False
        return node
