"""The name that programs know for a client through DSPy; what it did is done by every provider."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from penguiflow.llm.protocol import NativeLLMAdapter, OnChunk
from penguiflow.llm.types import LLMRequest

__all__ = ["DSPyLLMClient"]

_INSTEAD = "DSPyLLMClient is deprecated: give the planner the model's name (`ReactPlanner(llm=…)`)"


class DSPyLLMClient(NativeLLMAdapter):
    """Asks a model for JSON of one form: an action, or whatever `output_schema` describes.

    Nothing of DSPy is used or needed. Deprecated: a planner does the same with the model's name alone.

    Args:
        llm: A model's name, or a mapping with `model` (and `api_key`, `base_url` or `api_base`).
        output_schema: What an answer is to look like, where a call does not say.
        temperature: How much chance there is in an answer.
        max_retries: Attempts after the first.
        timeout_s: For each attempt.
        max_tokens: The longest answer.

    Raises:
        ValueError: a mapping without a model.
        LLMError: the extra `llm` is not installed, or the model is of no known provider.
    """

    expects_json_schema = True

    def __init__(
        self,
        llm: str | dict[str, Any],
        *,
        output_schema: type[BaseModel] | None = None,
        temperature: float = 0.0,
        max_retries: int = 3,
        timeout_s: float = 360.0,
        max_tokens: int = 4096,
    ) -> None:
        warnings.warn(_INSTEAD, DeprecationWarning, stacklevel=2)
        given = {"model": llm} if isinstance(llm, str) else dict(llm)
        model = given.get("model")
        if not model:
            raise ValueError("DSPyLLMClient needs a model: a name, or a mapping with 'model'")
        self._given = given
        self._output_schema = output_schema
        self._numbers = {"temperature": temperature, "max_retries": max_retries, "timeout_s": timeout_s}
        self._max_tokens = max_tokens
        super().__init__(
            str(model),
            api_key=given.get("api_key"),
            base_url=given.get("base_url") or given.get("api_base"),
            temperature=temperature,
            max_retries=max_retries,
            timeout_s=timeout_s,
        )

    @classmethod
    def from_base_client(cls, base_client: DSPyLLMClient, output_schema: type[BaseModel]) -> DSPyLLMClient:
        """The same model, asked for another form."""
        numbers: dict[str, Any] = base_client._numbers
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return cls(base_client._given, output_schema=output_schema, max_tokens=base_client._max_tokens, **numbers)

    def _request(self, messages: Sequence[Mapping[str, Any]], response_format: Mapping[str, Any] | None) -> LLMRequest:
        return replace(super()._request(messages, response_format), max_tokens=self._max_tokens)

    async def complete(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any] | None = None,
        stream: bool = False,
        on_stream_chunk: OnChunk | None = None,
        on_reasoning_chunk: OnChunk | None = None,
    ) -> tuple[str, float]:
        """The JSON and its cost in US dollars, 0 when that is not known. Raises `LLMError`."""
        if response_format is None and self._output_schema is not None:
            schema = {"name": self._output_schema.__name__, "schema": self._output_schema.model_json_schema()}
            response_format = {"type": "json_schema", "json_schema": schema}
        return await super().complete(
            messages=messages,
            response_format=response_format,
            stream=stream,
            on_stream_chunk=on_stream_chunk,
            on_reasoning_chunk=on_reasoning_chunk,
        )
