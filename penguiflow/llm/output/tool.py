"""By a tool whose arguments have the form of the answer."""

from __future__ import annotations

import json
from typing import ClassVar, TypeVar

from pydantic import BaseModel

from penguiflow.llm.output.base import read_json
from penguiflow.llm.profiles import ModelProfile
from penguiflow.llm.schema.plan import SchemaPlan
from penguiflow.llm.types import CompletionResponse, LLMMessage, LLMRequest, ToolSpec

__all__ = ["ToolsOutputStrategy"]

T = TypeVar("T", bound=BaseModel)


class ToolsOutputStrategy:
    """Offers one tool, and asks for a call of it."""

    TOOL_NAME: ClassVar[str] = "structured_output"

    def build_request(
        self,
        model: str,
        messages: list[LLMMessage],
        response_model: type[BaseModel],
        profile: ModelProfile,
        plan: SchemaPlan,
        temperature: float | None = None,
    ) -> LLMRequest:
        """The messages with the tool."""
        about = (response_model.__doc__ or "").strip() or f"Give the answer as {response_model.__name__}."
        tool = ToolSpec(self.TOOL_NAME, about, plan.transformed_schema)
        return LLMRequest(model, tuple(messages), tools=(tool,), tool_choice=self.TOOL_NAME, temperature=temperature)

    def parse_response(self, response: CompletionResponse, response_model: type[T]) -> T:
        """The arguments of the first call; the text, from a model that answers instead of calling."""
        calls = [call for call in response.message.tool_calls if call.name == self.TOOL_NAME]
        if not calls:
            return read_json(response.message.text, response_model)
        return response_model.model_validate(json.loads(calls[0].arguments_json))
