"""What tests of models share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Protocol

import httpx2
import pytest
import pytest_asyncio

from penguiflow.llm.providers.pydantic_ai import PydanticAIProvider
from penguiflow.llm.types import LLMMessage, LLMRequest

if TYPE_CHECKING:
    from tests.model_server import ModelServer


PATIENCE = 120.0  # seconds; longer than any machine is busy


class MakeRequest(Protocol):
    """A request of one text; the other fields by name."""

    def __call__(self, text: str = "How high is it?", **fields: Any) -> LLMRequest: ...


@pytest.fixture(scope="session")
def request_of() -> MakeRequest:
    def make(text: str = "How high is it?", **fields: Any) -> LLMRequest:
        return LLMRequest("any", (LLMMessage.of("user", text),), **fields)

    return make


@pytest_asyncio.fixture
async def local_model(openai_server: ModelServer) -> AsyncIterator[Callable[..., PydanticAIProvider]]:
    """Makes providers for the local server; they are closed after the test."""
    made: list[PydanticAIProvider] = []

    def make(model: str = "openai/local-1", **settings: Any) -> PydanticAIProvider:
        settings.setdefault("client_factory", lambda: httpx2.AsyncClient(timeout=PATIENCE, limits=httpx2.Limits()))
        made.append(PydanticAIProvider(model, api_key="a-key", base_url=openai_server.url, **settings))
        return made[-1]

    yield make
    for provider in made:
        await provider.aclose()
