"""Providers by name: what they load, where they ask, and what becomes of their connections."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx2
import pytest

from penguiflow.llm.errors import LLMAuthError
from penguiflow.llm.providers import create_provider
from penguiflow.llm.providers.endpoints import endpoint_of
from penguiflow.llm.providers.pydantic_ai import PydanticAIProvider
from tests.model_server import ModelServer

if TYPE_CHECKING:
    from tests.penguiflow.llm.conftest import MakeRequest

FRESH = """
import sys
import penguiflow.llm, penguiflow.llm.connect, penguiflow.llm.providers.pydantic_ai
from penguiflow.llm.connect import provider_of
from penguiflow.llm.scripted import ScriptedModel
assert isinstance(provider_of("scripted"), ScriptedModel)
heavy = {"pydantic_ai", "openai", "anthropic", "genai_prices", "httpx2", "google.genai"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
provider_of("openai/gpt-5-mini")
assert "pydantic_ai" in sys.modules
assert "anthropic" not in sys.modules
"""
MISSING = """
import sys
sys.modules["pydantic_ai"] = None
from penguiflow.llm.connect import provider_of
try:
    provider_of("openai/gpt-5-mini")
except ImportError as error:
    print(error)
"""


ENDS = """
import asyncio, gc, threading
from tests.model_server import ModelServer
from penguiflow.llm.providers import create_provider
from penguiflow.llm.types import LLMMessage, LLMRequest

server, loop, ready = ModelServer(), asyncio.new_event_loop(), threading.Event()

def serve():
    loop.run_until_complete(server.start())
    ready.set()
    loop.run_forever()

threading.Thread(target=serve, daemon=True).start()
ready.wait()

async def main():
    provider = create_provider("openai/local-1", api_key="k", base_url=server.url)
    request = LLMRequest("any", (LLMMessage.of("user", "Hi"),))
    await asyncio.gather(*(provider.complete(request) for _ in range(3)))

for _ in range(2):
    asyncio.run(main())
    gc.collect()
"""


def python(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_is_loaded_when_a_provider_is_made() -> None:
    python(FRESH)


def test_a_program_that_ends_leaves_no_connection_open() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", ENDS], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_extra_is_named() -> None:
    assert "pip install 'penguiflow[llm]'" in python(MISSING)


@pytest.mark.parametrize(
    ("model", "provider", "wire", "name"),
    [
        ("openai/gpt-5-mini", "openai", "openai", "gpt-5-mini"),
        ("gpt-4o", "openai", "openai", "gpt-4o"),
        ("anthropic/claude-sonnet-4-5", "anthropic", "anthropic", "claude-sonnet-4-5"),
        ("gemini-2.5-flash", "google", "google", "gemini-2.5-flash"),
        ("openrouter/anthropic/claude-sonnet-4.5", "openrouter", "openai", "anthropic/claude-sonnet-4.5"),
        ("nim/qwen/qwen3", "nim", "openai", "qwen/qwen3"),
        ("databricks/databricks-gpt-5", "databricks", "openai", "databricks-gpt-5"),
    ],
)
def test_where_a_model_is(model: str, provider: str, wire: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", "dbc.example.com")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    endpoint = endpoint_of(model)

    assert (endpoint.provider, endpoint.wire, endpoint.model) == (provider, wire, name)
    if wire == "openai" and provider != "openai":
        assert endpoint.base_url is not None
        assert endpoint.base_url.startswith("https://")


def test_keys_and_addresses_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "a-key")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gateway.example.com/v1")

    assert endpoint_of("openrouter/qwen/qwen3").api_key == "a-key"
    assert endpoint_of("openrouter/qwen/qwen3", api_key="another").api_key == "another"
    assert endpoint_of("gpt-4o").base_url == "http://gateway.example.com/v1"
    assert not endpoint_of("gpt-4o").listed


def test_a_model_whose_place_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABRICKS_HOST", raising=False)
    for model in ("llama-3", "bedrock/anthropic.claude", "databricks/databricks-gpt-5"):
        with pytest.raises(ValueError, match="nobody knows where the model"):
            create_provider(model)
    assert create_provider("meta/llama-3", base_url="http://127.0.0.1:9/v1").provider_name == "openai-compatible"


async def test_a_missing_key_is_told_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, request_of: MakeRequest
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(LLMAuthError, match="OPENAI_API_KEY"):
        await create_provider("openai/gpt-5-mini").complete(request_of())


def test_each_loop_has_a_client_of_its_own_that_ends_with_it(request_of: MakeRequest) -> None:
    clients: list[httpx2.AsyncClient] = []

    def client() -> httpx2.AsyncClient:
        clients.append(httpx2.AsyncClient())
        return clients[-1]

    async def talk(provider: PydanticAIProvider | None) -> PydanticAIProvider:
        server = ModelServer()
        await server.start()
        provider = provider or PydanticAIProvider(
            "openai/local-1", api_key="k", base_url=server.url, client_factory=client
        )
        provider._endpoint = endpoint_of("openai/local-1", api_key="k", base_url=server.url)
        for _ in range(3):
            await provider.complete(request_of())
        assert server.open == 1
        assert not clients[-1].is_closed
        await server.stop()
        return provider

    provider = asyncio.run(talk(None))
    assert [each.is_closed for each in clients] == [True]
    asyncio.run(talk(provider))
    assert [each.is_closed for each in clients] == [True, True]
    assert len(provider._connections) == 1


async def test_a_closed_provider_can_be_asked_again(openai_server: ModelServer, request_of: MakeRequest) -> None:
    provider = PydanticAIProvider("openai/local-1", api_key="k", base_url=openai_server.url)
    for _ in range(2):
        assert (await provider.complete(request_of())).message.text == "That is all."
        await provider.aclose()
    await provider.aclose()


async def test_a_provider_that_nobody_holds_closes_its_client(
    openai_server: ModelServer, request_of: MakeRequest
) -> None:
    closed = asyncio.Event()

    class Client(httpx2.AsyncClient):
        async def aclose(self) -> None:
            await super().aclose()
            closed.set()

    provider = PydanticAIProvider("openai/local-1", api_key="k", base_url=openai_server.url, client_factory=Client)
    await provider.complete(request_of())

    del provider
    gc.collect()

    await asyncio.wait_for(closed.wait(), 60)
