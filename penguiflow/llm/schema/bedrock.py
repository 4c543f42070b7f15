"""Bedrock: tools without references and ornaments."""

from __future__ import annotations

from typing import Any, ClassVar

from penguiflow.llm.schema.transformer import JsonSchemaTransformer

__all__ = ["BedrockJsonSchemaTransformer"]


class BedrockJsonSchemaTransformer(JsonSchemaTransformer):
    """References are replaced; in strict mode objects are closed."""

    UNSUPPORTED_KEYWORDS: ClassVar[set[str]] = {"$schema", "title", "examples", "default"}
    INLINE: ClassVar[bool] = True

    def convert(self, node: dict[str, Any]) -> dict[str, Any]:
        """Close an object that does not say whether it is open."""
        if self.strict and isinstance(node.get("properties"), dict):
            node.setdefault("additionalProperties", False)
        return node
