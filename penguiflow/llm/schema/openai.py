"""OpenAI: in strict mode every object is closed, and has all of its properties."""

from __future__ import annotations

from typing import Any, ClassVar

from penguiflow.llm.schema.transformer import JsonSchemaTransformer

__all__ = ["OpenAIJsonSchemaTransformer"]


class OpenAIJsonSchemaTransformer(JsonSchemaTransformer):
    """Optional properties become nullable ones, as strict mode knows no others."""

    UNSUPPORTED_KEYWORDS: ClassVar[set[str]] = {
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
        "uniqueItems",
        "multipleOf",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "default",
        "examples",
        "$schema",
    }

    def convert(self, node: dict[str, Any]) -> dict[str, Any]:
        """Close an object."""
        if "oneOf" in node:
            node["anyOf"] = [*node.get("anyOf", []), *node.pop("oneOf")]
        if not self.strict or not isinstance(node.get("properties"), dict):
            return node
        needed = set(node.get("required", ()))
        node["properties"] = {
            name: each if name in needed else _nullable(each) for name, each in node["properties"].items()
        }
        node["required"] = list(node["properties"])
        node["additionalProperties"] = False
        return node


def _nullable(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null" and not {"enum", "const"} & schema.keys():
        return {**schema, "type": [kind, "null"]}
    options = schema.get("anyOf")
    if isinstance(options, list):
        return schema if {"type": "null"} in options else {**schema, "anyOf": [*options, {"type": "null"}]}
    if kind == "null" or (isinstance(kind, list) and "null" in kind):
        return schema
    return {"anyOf": [schema, {"type": "null"}]}
