"""Turns of the flow: on the scripted model, on replies of a test, and over a real connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

from peeragent.errors import AgentFailed
from peeragent.flow import make_flow, make_registry
from peeragent.llm import Model, make_model
from peeragent.models.turns import TurnRequest, TurnResult
from peeragent.search import CorpusSearch, SearchTool
from peeragent.settings import Settings
from penguiflow import FlowError, Headers, Message, PenguiFlow, StreamChunk
from penguiflow.llm import LLMRequest, ScriptedModel

if TYPE_CHECKING:
    from tests.model_server import ModelServer

HANG_S = 120.0
SECRETS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GOOGLE_API_KEY", "ANTHROPIC_API_KEY", "LLM_PROVIDER", "LLM_MODEL")


class Taken(NamedTuple):
    """A turn."""

    result: TurnResult
    chunks: list[StreamChunk]

    @property
    def text(self) -> str:
        """What was streamed."""
        return "".join(chunk.text for chunk in self.chunks)


class Take(Protocol):
    """Takes a turn; raises the `AgentFailed` that it ends with."""

    async def __call__(self, task: str = "", **fields: Any) -> Taken: ...


class Takes(Protocol):
    """Makes a `Take` for a model and a search tool; `about` are fields of its messages."""

    def __call__(self, model: Model | None = None, search: SearchTool | None = None, **run: Any) -> Take: ...


def told(request: LLMRequest) -> str:
    """All that a model was told besides the system message."""
    return "\n".join(message.text for message in request.messages if message.role != "system")


class Saying:
    """A model with replies of a test, one after the other; data is said as JSON."""

    def __init__(self, replies: Iterable[Any]) -> None:
        self.scripted = ScriptedModel([each if isinstance(each, str) else json.dumps(each) for each in replies])
        self.model = Model(lambda: self.scripted)

    @property
    def requests(self) -> list[LLMRequest]:
        """What it was asked."""
        return list(self.scripted.requests)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor a `.env` of whoever runs the tests is to say which model answers."""
    monkeypatch.chdir(tmp_path)
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings_of() -> Callable[..., Settings]:
    return Settings


@pytest.fixture
def served(openai_server: ModelServer, settings_of: Callable[..., Settings]) -> Model:
    """A model over a real connection: it says what the test tells the server to."""
    settings = settings_of(openai_base_url=openai_server.url, openai_api_key="sk-test-key")
    return make_model(settings, backoff_s=0.01)


@pytest.fixture
def saying() -> Callable[..., Saying]:
    return lambda *replies: Saying(replies)


@pytest.fixture
async def takes(settings_of: Callable[..., Settings]) -> AsyncIterator[Takes]:
    started: list[PenguiFlow] = []

    def make(model: Model | None = None, search: SearchTool | None = None, **run: Any) -> Take:
        flow = make_flow(model or make_model(settings_of()), search or CorpusSearch())
        answer_with, about = run.pop("answer_with", None), run.pop("about", {})
        if answer_with is not None:
            flow.answer_with(answer_with)
        flow.run(registry=make_registry(), **run)
        started.append(flow)

        async def take(task: str = "", **fields: Any) -> Taken:
            request = TurnRequest(task=task, **fields)
            results: list[Any] = []
            chunks: list[StreamChunk] = []
            try:
                async with asyncio.timeout(HANG_S):
                    async for item in flow.stream(Message(payload=request, headers=Headers(tenant="tests"), **about)):
                        (chunks if isinstance(item.payload, StreamChunk) else results).append(item.payload)
            except FlowError as error:
                failure = error.unwrap()
                if isinstance(failure, AgentFailed):
                    raise failure from None
                raise
            (result,) = results
            return Taken(result, chunks)

        return take

    yield make
    for flow in started:
        await flow.stop()


@pytest.fixture
async def take(takes: Takes) -> Take:
    """Turns on the scripted model and the corpus."""
    return takes()
