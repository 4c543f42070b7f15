"""In words."""

from __future__ import annotations

import json
from typing import ClassVar, TypeVar

from pydantic import BaseModel

from penguiflow.llm.calls import JSON_OBJECT
from penguiflow.llm.output.base import read_json
from penguiflow.llm.profiles import ModelProfile
from penguiflow.llm.schema.plan import SchemaPlan
from penguiflow.llm.types import CompletionResponse, LLMMessage, LLMRequest

__all__ = ["PromptedOutputStrategy"]

T = TypeVar("T", bound=BaseModel)


class PromptedOutputStrategy:
    """Tells the schema in a system message, or in one of the user where the model takes no system message."""

    SYSTEM_TEMPLATE: ClassVar[str] = (
        "Answer with one JSON object that fits this JSON schema, and with nothing else:\n{schema}"
    )
    USER_TEMPLATE: ClassVar[str] = (
        "Give the answer as one JSON object that fits this JSON schema, and nothing else:\n{schema}"
    )

    def build_request(
        self,
        model: str,
        messages: list[LLMMessage],
        response_model: type[BaseModel],
        profile: ModelProfile,
        plan: SchemaPlan,
        temperature: float | None = None,
    ) -> LLMRequest:
        """The messages with the schema in words; JSON mode where the model has one."""
        schema = json.dumps(plan.requested_schema, ensure_ascii=False)
        if profile.supports_system_role:
            told = [LLMMessage.of("system", self.SYSTEM_TEMPLATE.format(schema=schema)), *messages]
        else:
            told = [*messages, LLMMessage.of("user", self.USER_TEMPLATE.format(schema=schema))]
        extra = {"response_format": dict(JSON_OBJECT)} if profile.supports_json_only_output else None
        return LLMRequest(model, tuple(told), temperature=temperature, extra=extra)

    def parse_response(self, response: CompletionResponse, response_model: type[T]) -> T:
        """The text as the model; what stands before and after the object is passed over."""
        text = response.message.text
        try:
            return read_json(text, response_model)
        except json.JSONDecodeError:
            start, end = text.find("{"), text.rfind("}")
            if start < 0 or end < start:
                raise
            return read_json(text[start : end + 1], response_model)
