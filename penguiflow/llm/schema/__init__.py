"""Forms of schemas: which a provider takes, and what fits one."""

from __future__ import annotations

from penguiflow.llm.schema.anthropic import AnthropicJsonSchemaTransformer
from penguiflow.llm.schema.bedrock import BedrockJsonSchemaTransformer
from penguiflow.llm.schema.databricks import DatabricksJsonSchemaTransformer
from penguiflow.llm.schema.google import GoogleJsonSchemaTransformer
from penguiflow.llm.schema.openai import OpenAIJsonSchemaTransformer
from penguiflow.llm.schema.transformer import JsonSchemaTransformer

__all__ = ["TRANSFORMERS"]

TRANSFORMERS: dict[str, type[JsonSchemaTransformer]] = {
    "anthropic": AnthropicJsonSchemaTransformer,
    "bedrock": BedrockJsonSchemaTransformer,
    "databricks": DatabricksJsonSchemaTransformer,
    "google": GoogleJsonSchemaTransformer,
    "openai": OpenAIJsonSchemaTransformer,
}
"""By `ModelProfile.schema_transformer_name`."""
