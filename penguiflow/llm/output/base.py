"""What the strategies have in common."""

from __future__ import annotations

import json
from typing import Protocol, TypeVar

from pydantic import BaseModel

from penguiflow.llm.profiles import ModelProfile
from penguiflow.llm.schema.plan import SchemaPlan
from penguiflow.llm.types import CompletionResponse, LLMMessage, LLMRequest, strip_markdown_fences

__all__ = ["OutputStrategy", "read_json"]

T = TypeVar("T", bound=BaseModel)


class OutputStrategy(Protocol):
    """One way to ask for an answer of a given form."""

    def build_request(
        self,
        model: str,
        messages: list[LLMMessage],
        response_model: type[BaseModel],
        profile: ModelProfile,
        plan: SchemaPlan,
        temperature: float | None = None,
    ) -> LLMRequest:
        """The request for it."""
        ...

    def parse_response(self, response: CompletionResponse, response_model: type[T]) -> T:
        """The answer. Raises `json.JSONDecodeError` for no JSON, and `ValidationError` for JSON that does not fit."""
        ...


def read_json(text: str, response_model: type[T]) -> T:
    """A text of JSON, with or without a fence around it, as the model."""
    return response_model.model_validate(json.loads(strip_markdown_fences(text)))
