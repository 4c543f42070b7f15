"""Going on with another key or model."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow.llm.calls import AskPolicy, ask
from penguiflow.llm.cooldown import CooldownStore
from penguiflow.llm.errors import (
    LLMAuthError,
    LLMError,
    LLMInvalidRequestError,
    LLMRateLimitError,
    LLMServerError,
    LLMTimeoutError,
)
from penguiflow.llm.fallback import FallbackLLMClient, FallbackProvider, GenericFallbackLLMClient, ModelFallbackConfig
from penguiflow.llm.providers import create_provider
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.types import LLMRequest, ToolCallPart
from tests.model_server import Said

if TYPE_CHECKING:
    from tests.model_server import ModelServer
    from tests.penguiflow.llm.conftest import MakeRequest

Scripts = dict[str, list[Any]]
AT_ONCE = AskPolicy(backoff_s=0)


class Models:
    """Makes scripted models; keeps who was asked, with which key."""

    def __init__(self, scripts: Scripts) -> None:
        self.scripts = scripts
        self.asked: list[tuple[str, str | None]] = []

    def make(self, model: str, *, api_key: str | None = None, **settings: Any) -> ScriptedModel:
        def reply(request: LLMRequest) -> Any:
            self.asked.append((model, api_key))
            script = self.scripts.get(model) or [f"{model} answers"]
            return script.pop(0) if len(script) > 1 else script[0]

        return ScriptedModel(rules=[(lambda request: True, reply)], model=model)

    def provider(self, *others: str, keys: list[str] | None = None, **config: Any) -> FallbackProvider:
        return FallbackProvider("first", ModelFallbackConfig(list(others), keys, **config), provider_factory=self.make)


@pytest.mark.parametrize(
    "error", [LLMAuthError("401"), LLMRateLimitError("429"), LLMServerError("500"), LLMTimeoutError("late")]
)
@pytest.mark.parametrize("through_ask", [True, False])
async def test_the_next_one_answers(request_of: MakeRequest, error: LLMError, through_ask: bool) -> None:
    models = Models({"first": [error]})
    provider = models.provider("second")

    call = ask(provider, request_of(), policy=AT_ONCE) if through_ask else provider.complete(request_of())
    answer = await call

    assert (answer.message.text, answer.model) == ("second answers", "second")
    assert models.asked == [("first", None), ("second", None)]
    await provider.complete(request_of())
    assert models.asked[-1] == ("second", None), "the first is left alone for a while"


async def test_the_first_is_named_when_it_answers(request_of: MakeRequest) -> None:
    provider = Models({}).provider("second")

    assert (await provider.complete(request_of())).model is None
    assert (provider.provider_name, provider.model) == ("scripted", "first")


async def test_keys_come_before_models(request_of: MakeRequest) -> None:
    busy = LLMRateLimitError("429")
    models = Models({"first": [busy, busy, "at last"]})

    await models.provider("second", keys=["a", "b"]).complete(request_of())

    assert models.asked == [("first", "a"), ("first", "b"), ("second", "a")]


async def test_keys_and_addresses_stay_with_their_provider(request_of: MakeRequest) -> None:
    made: list[tuple[str, dict[str, Any]]] = []

    def make(model: str, **settings: Any) -> ScriptedModel:
        made.append((model, settings))
        return ScriptedModel([LLMServerError("500")])

    config = ModelFallbackConfig(["gpt-4o-mini", "claude-sonnet-4-5"], ["key"], max_wait_s=0)
    provider = FallbackProvider("gpt-4o", config, provider_factory=make, base_url="http://x", timeout=3.0)
    with pytest.raises(LLMServerError):
        await provider.complete(request_of())

    at_home = {"api_key": "key", "base_url": "http://x", "timeout": 3.0}
    elsewhere = {"api_key": None, "timeout": 3.0}
    assert made == [("gpt-4o", at_home), ("gpt-4o-mini", at_home), ("claude-sonnet-4-5", elsewhere)]


async def test_what_another_would_refuse_too_is_raised(request_of: MakeRequest) -> None:
    models = Models({"first": [LLMInvalidRequestError("no such field")]})

    with pytest.raises(LLMInvalidRequestError):
        await models.provider("second").complete(request_of())
    assert models.asked == [("first", None)]


async def test_when_all_fail_for_longer_than_one_waits(request_of: MakeRequest) -> None:
    models = Models({"first": [LLMServerError("first")], "second": [LLMServerError("second")]})
    provider = models.provider("second", max_wait_s=1, cooldown_s=60)

    with pytest.raises(LLMServerError, match="second"):
        await provider.complete(request_of())
    with pytest.raises(LLMRateLimitError, match=r"all of first, second have failed.*for 1 s at most") as caught:
        await provider.complete(request_of())
    assert not caught.value.retryable
    assert len(models.asked) == 2


@pytest.mark.parametrize("through_ask", [True, False])
async def test_when_all_fail_one_waits_for_the_first(request_of: MakeRequest, through_ask: bool) -> None:
    models = Models({"first": [LLMServerError("500"), "again"], "second": [LLMServerError("500")]})
    provider = models.provider("second", cooldown_s=0.02, max_wait_s=30)

    call = ask(provider, request_of(), policy=AT_ONCE) if through_ask else provider.complete(request_of())

    assert (await call).message.text == "again"


async def test_it_ends_where_nothing_cools_down(request_of: MakeRequest) -> None:
    models = Models({"first": [LLMServerError("500")], "second": [LLMServerError("500")]})
    provider = models.provider("second", cooldown_s=0)

    with pytest.raises(LLMServerError):
        await provider.complete(request_of())
    with pytest.raises(LLMServerError):
        await ask(provider, request_of(), policy=AskPolicy(backoff_s=0, max_retries=2))


@pytest.mark.usefixtures("virtual_time")
async def test_one_that_hangs_is_left_for_another(request_of: MakeRequest) -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return "never"

    models = Models({"first": [lambda request: hang()]})
    provider = models.provider("second")

    answer = await ask(provider, request_of(), policy=AskPolicy(timeout_s=0.02))
    assert answer.message.text == "second answers"


async def test_pieces_of_two_answers_are_told_apart(request_of: MakeRequest) -> None:
    broken = ScriptedReply(text="half", error=LLMServerError("cut"))
    told: list[str] = []

    def listen(event: Any) -> None:
        told.append(event.delta_text or "")

    with pytest.raises(LLMServerError):
        await Models({"first": [broken]}).provider("second").complete(request_of(), stream=True, on_stream_event=listen)
    told.clear()
    await ask(
        Models({"first": [broken]}).provider("second"),
        request_of(),
        policy=AT_ONCE,
        on_event=listen,
        on_retry=lambda attempt, error, delay: told.append("<void>"),
    )
    assert "".join(told) == "half<void>second answers"


async def test_of_many_at_once_one_finds_out(request_of: MakeRequest) -> None:
    models = Models({"first": [LLMRateLimitError("429")]})
    provider = models.provider("second")

    answers = await asyncio.gather(*(ask(provider, request_of(), policy=AT_ONCE) for _ in range(200)))

    assert {each.message.text for each in answers} == {"second answers"}
    assert Counter(model for model, _ in models.asked) == {"first": 1, "second": 200}


async def test_over_the_wire(openai_server: ModelServer, request_of: MakeRequest) -> None:
    def answer(asked: Any) -> Said:
        if asked.headers["authorization"] == "Bearer spent":
            return Said(status=429, headers={"retry-after": "60"})
        return Said(text=f"{asked.body['model']} with {asked.headers['authorization']}")

    openai_server.otherwise = answer
    config = ModelFallbackConfig([], ["spent", "fresh"])
    provider = FallbackProvider("openai/local-1", config, provider_factory=create_provider, base_url=openai_server.url)
    told: list[Any] = []

    response = await ask(provider, request_of(), policy=AT_ONCE, on_retry=lambda *failed: told.append(failed[1:]))

    assert response.message.text == "local-1 with Bearer fresh"
    assert [type(error) for error, _ in told] == [LLMRateLimitError]
    assert told[0][1] == 0.0


def test_the_environment_names_models_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECOND", "gpt-4o-mini")
    monkeypatch.setenv("KEY", "abc")
    monkeypatch.delenv("THIRD", raising=False)

    config = ModelFallbackConfig.from_env(["SECOND", "THIRD"], api_key_vars=["KEY", "NO_KEY"], cooldown_s=1)

    assert config == ModelFallbackConfig(["gpt-4o-mini"], ["abc"], 1, 30.0)
    assert ModelFallbackConfig.from_env(["THIRD"]).api_keys is None


def test_cooldowns() -> None:
    store = CooldownStore()
    assert not store.in_cooldown(("a", 0))
    assert store.seconds_until_earliest([("a", 0)]) is None
    assert 59 < store.set_cooldown(("a", 0), 60) <= 60
    assert 59 < store.set_cooldown(("a", 0), 1) <= 60, "a shorter one does not end a longer one"
    assert store.in_cooldown(("a", 0))
    assert not store.in_cooldown(("a", 1))
    store.set_cooldown(("b", 0), 600)
    earliest = store.seconds_until_earliest([("b", 0), ("a", 0)])
    assert earliest is not None
    assert 50 < earliest <= 60


class Client:
    """A contract-style client."""

    def __init__(self, model: str, failure: Exception | None) -> None:
        self.model = model
        self.failure = failure

    async def complete(self, *, messages: Any, response_format: Any = None, **more: Any) -> tuple[str, float]:
        if self.failure is not None:
            raise self.failure
        return f"{self.model} answers", 0.5

    async def complete_with_tools(self, *, messages: Any, tools: Any, **more: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        return ToolCallPart("search", "{}")


class RateLimitError(Exception):
    """As client libraries name it."""


@pytest.mark.parametrize("failure", [LLMRateLimitError("429"), RateLimitError("busy")])
async def test_clients_of_a_program(failure: Exception) -> None:
    def make(model: str, *, api_key: str | None = None) -> Client:
        return Client(model, failure if model == "first" else None)

    generic = GenericFallbackLLMClient("first", ModelFallbackConfig(["second"]), client_factory=make)
    assert generic.model == "first"
    assert await generic.complete(messages=[]) == ("second answers", 0.5)
    assert generic.model == "second"

    adapters = FallbackLLMClient("first", ModelFallbackConfig(["second"]), adapter_factory=make)
    assert await adapters.complete(messages=[]) == ("second answers", 0.5)
    assert await adapters.complete_with_tools(messages=[], tools=[]) == ToolCallPart("search", "{}")


async def test_a_clients_bug_is_not_covered_up() -> None:
    make: Callable[..., Client] = lambda model, **settings: Client(model, KeyError("a bug"))  # noqa: E731
    client = GenericFallbackLLMClient("first", ModelFallbackConfig(["second"]), client_factory=make)

    with pytest.raises(KeyError):
        await client.complete(messages=[])
