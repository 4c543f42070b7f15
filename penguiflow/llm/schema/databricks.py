"""Databricks: no references, no alternatives, no bounds, and few keys."""

from __future__ import annotations

from typing import Any, ClassVar

from penguiflow.llm.schema.transformer import JsonSchemaTransformer

__all__ = ["DatabricksJsonSchemaTransformer"]


class DatabricksJsonSchemaTransformer(JsonSchemaTransformer):
    """Of alternatives the first that is not null is kept, and named as optional in the description."""

    UNSUPPORTED_KEYWORDS: ClassVar[set[str]] = {
        "pattern",
        "patternProperties",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
        "minItems",
        "maxItems",
        "$schema",
        "default",
        "examples",
    }
    INLINE: ClassVar[bool] = True
    MAX_KEYS = 64
    MAX_TOOLS = 32
    MAX_TOOL_SCHEMA_KEYS = 16

    def convert(self, node: dict[str, Any]) -> dict[str, Any]:
        """Take one of several alternatives; close an object in strict mode."""
        for key in ("anyOf", "oneOf", "allOf"):
            options = node.pop(key, None)
            if not isinstance(options, list) or not options:
                continue
            chosen = next((each for each in options if each != {"type": "null"}), options[0])
            node = {**chosen, **node}
            if key != "allOf" and {"type": "null"} in options:
                node["description"] = f"{node.get('description', '')} (may be left out)".strip()
        if self.strict and isinstance(node.get("properties"), dict):
            node.setdefault("additionalProperties", False)
        return node
