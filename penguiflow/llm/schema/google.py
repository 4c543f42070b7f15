"""Google: a subset of OpenAPI's schemas."""

from __future__ import annotations

from typing import Any, ClassVar

from penguiflow.llm.schema.transformer import JsonSchemaTransformer

__all__ = ["GoogleJsonSchemaTransformer"]


class GoogleJsonSchemaTransformer(JsonSchemaTransformer):
    """No references; one value is an enum of one; alternatives are `anyOf`."""

    UNSUPPORTED_KEYWORDS: ClassVar[set[str]] = {
        "$schema",
        "discriminator",
        "examples",
        "title",
        "exclusiveMinimum",
        "exclusiveMaximum",
    }
    INLINE: ClassVar[bool] = True

    def convert(self, node: dict[str, Any]) -> dict[str, Any]:
        """Say it as OpenAPI does."""
        if "const" in node:
            value = node.pop("const")
            node["enum"] = [value]
            if isinstance(value, str):
                node.setdefault("type", "string")
        if "oneOf" in node:
            node["anyOf"] = [*node.get("anyOf", []), *node.pop("oneOf")]
        return node
