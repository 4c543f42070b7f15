"""By the provider's own structured output."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from penguiflow.llm.output.base import read_json
from penguiflow.llm.profiles import ModelProfile
from penguiflow.llm.schema.plan import SchemaPlan
from penguiflow.llm.types import CompletionResponse, LLMMessage, LLMRequest, StructuredOutputSpec

__all__ = ["NativeOutputStrategy"]

T = TypeVar("T", bound=BaseModel)


class NativeOutputStrategy:
    """Sends the schema as `structured_output`; the answer is its text."""

    def build_request(
        self,
        model: str,
        messages: list[LLMMessage],
        response_model: type[BaseModel],
        profile: ModelProfile,
        plan: SchemaPlan,
        temperature: float | None = None,
    ) -> LLMRequest:
        """The messages with the schema, strict where the schema allows it."""
        spec = StructuredOutputSpec(response_model.__name__, plan.transformed_schema, plan.strict_applied)
        return LLMRequest(model, tuple(messages), structured_output=spec, temperature=temperature)

    def parse_response(self, response: CompletionResponse, response_model: type[T]) -> T:
        """The text as the model."""
        return read_json(response.message.text, response_model)
