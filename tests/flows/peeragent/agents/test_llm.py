"""Who is asked, in which order, with what, and what becomes of failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from peeragent.agents import prompts
from peeragent.errors import AgentFailed
from peeragent.llm import Form, Model, make_model
from peeragent.models.turns import TurnRequest
from peeragent.providers import names_of
from penguiflow.llm import Provider, create_provider
from tests.model_server import ModelServer, Said

if TYPE_CHECKING:
    from peeragent.settings import Settings
    from tests.flows.peeragent.agents.conftest import Saying, Takes

    SettingsOf = Callable[..., Settings]

KEYS = {"openai_api_key": "sk-o", "google_api_key": "g", "anthropic_api_key": "a"}


class City(BaseModel):
    name: str
    people: int


CITY = Form(City)
ASKED = prompts.messages(prompts.SUMMARY, TurnRequest(task="A city."))


@pytest.fixture
async def servers() -> AsyncIterator[list[ModelServer]]:
    """One server for each provider: OpenAI, Google, Anthropic."""
    made = [ModelServer() for _ in range(3)]
    for each in made:
        await each.start()
    yield made
    for each in made:
        await each.stop()


def reaching(servers: Sequence[ModelServer]) -> Callable[..., Provider]:
    """`create_provider`, where each provider's models are at a server of the test."""
    places = dict(zip(("openai", "google", "anthropic"), servers, strict=True))

    def create(model: str, *, api_key: str | None = None, base_url: str | None = None) -> Provider:
        provider, _, name = model.partition("/")
        return create_provider(f"openai/{name}", api_key=api_key, base_url=base_url or places[provider].url)

    return create


# Whom the settings name


def test_without_a_key_the_model_is_scripted(settings_of: SettingsOf) -> None:
    assert names_of(settings_of()) == []
    first = make_model(settings_of()).first
    assert (first.provider, first.scripted) == ("scripted", True)


def test_the_order_is_openai_google_anthropic(settings_of: SettingsOf) -> None:
    assert [each.name for each in names_of(settings_of(**KEYS))] == [
        "openai/gpt-4o-mini",
        "google/gemini-2.5-flash",
        "anthropic/claude-sonnet-4-6",
    ]


def test_the_provider_of_the_settings_is_first_and_has_its_model(settings_of: SettingsOf) -> None:
    names = names_of(settings_of(**KEYS, llm_provider="anthropic", llm_model="claude-x"))
    assert [each.name for each in names] == ["anthropic/claude-x", "openai/gpt-4o-mini", "google/gemini-2.5-flash"]


def test_providers_without_a_key_are_left_out(settings_of: SettingsOf) -> None:
    names = names_of(settings_of(google_api_key="g"))
    assert [each.provider for each in names] == ["google"]
    assert "secret-key" not in repr(names_of(settings_of(google_api_key="secret-key")))


def test_a_server_of_ones_own_needs_no_key(settings_of: SettingsOf) -> None:
    (named,) = names_of(settings_of(openai_base_url="http://127.0.0.1:1/v1", llm_model="local-1"))
    assert named.name == "openai/local-1"


def test_all_three_can_be_loaded(settings_of: SettingsOf) -> None:
    """With the libraries of the providers themselves; nothing is sent."""
    model = make_model(settings_of(**KEYS))
    model.load()
    assert (model.provider.provider_name, model.provider.model) == ("openai", "gpt-4o-mini")
    assert model.provider is model.provider


# Requests


async def test_the_settings_reach_the_provider(openai_server: ModelServer, settings_of: SettingsOf) -> None:
    openai_server.say("Fine.")
    model = make_model(
        settings_of(
            openai_base_url=openai_server.url,
            openai_api_key="sk-test-key",
            llm_model="local-7",
            llm_temperature=0.3,
            llm_max_tokens=123,
        )
    )
    text, used = await model.text(None, ASKED, purpose="test")

    (asked,) = openai_server.asked
    assert text == "Fine."
    assert (used.provider, used.model, used.scripted, used.fallback) == ("openai", "local-7", False, False)
    assert asked.headers["authorization"] == "Bearer sk-test-key"
    assert (asked.body["model"], asked.body["temperature"]) == ("local-7", 0.3)
    assert 123 in (asked.body.get("max_tokens"), asked.body.get("max_completion_tokens"))


async def test_a_model_that_takes_too_long_is_a_failure(openai_server: ModelServer, settings_of: SettingsOf) -> None:
    openai_server.otherwise = Said(text="late", hold=asyncio.Event())
    settings = settings_of(openai_base_url=openai_server.url, openai_api_key="k", llm_timeout=0.2)
    with pytest.raises(AgentFailed) as failed:
        await make_model(settings, backoff_s=0.0).text(None, ASKED, purpose="test")
    assert failed.value.code == "LLM_UNAVAILABLE"
    assert "in time" in failed.value.message


# Fallback


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_the_next_provider_answers(servers: list[ModelServer], settings_of: SettingsOf, status: int) -> None:
    openai, google, anthropic = servers
    openai.otherwise = Said(status=status, error="no")
    google.say("From Google.")
    model = make_model(settings_of(**KEYS), create=reaching(servers), backoff_s=0.0)
    text, used = await model.text(None, ASKED, purpose="test")

    assert text == "From Google."
    assert (used.provider, used.model, used.fallback) == ("google", "gemini-2.5-flash", True)
    assert (len(openai.asked), len(google.asked), len(anthropic.asked)) == (1, 1, 0)
    assert openai.asked[0].headers["authorization"] == "Bearer sk-o"
    assert google.asked[0].headers["authorization"] == "Bearer g"


async def test_the_third_provider_answers_where_two_fail(servers: list[ModelServer], settings_of: SettingsOf) -> None:
    openai, google, anthropic = servers
    openai.otherwise = Said(status=401, error="no")
    google.otherwise = Said(status=503, error="no")
    anthropic.otherwise = "From Anthropic."
    model = make_model(settings_of(**KEYS), create=reaching(servers), backoff_s=0.0)

    for _ in range(2):
        text, used = await model.text(None, ASKED, purpose="test")
        assert (text, used.provider) == ("From Anthropic.", "anthropic")
    # Those that failed are left alone for a while.
    assert (len(openai.asked), len(google.asked), len(anthropic.asked)) == (1, 1, 2)


async def test_a_provider_that_hangs_is_passed_over(servers: list[ModelServer], settings_of: SettingsOf) -> None:
    openai, google, anthropic = servers
    openai.otherwise = Said(text="late", hold=asyncio.Event())
    google.otherwise = anthropic.otherwise = "From another."
    # What the first call of a process has to load is not to count.
    await make_model(settings_of(google_api_key="g"), create=reaching(servers)).text(None, ASKED, purpose="test")
    model = make_model(settings_of(**KEYS, llm_timeout=2.0), create=reaching(servers), backoff_s=0.0)
    text, used = await model.text(None, ASKED, purpose="test")
    assert (text, used.fallback) == ("From another.", True)


async def test_a_fallback_is_told_in_the_answer_of_an_agent(
    servers: list[ModelServer], settings_of: SettingsOf, takes: Takes
) -> None:
    openai, google, _ = servers
    openai.otherwise = Said(status=401, error="no")
    google.say("```python\nprint(41 + 1)\n```")
    taken = await takes(make_model(settings_of(**KEYS), create=reaching(servers), backoff_s=0.0))("Write Python code")

    assert taken.result.result.data["code"] == "print(41 + 1)"
    assert taken.result.result.model.fallback
    assert taken.result.result.model.provider == "google"


# Failures


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "LLM_UNAVAILABLE"), (429, "LLM_UNAVAILABLE"), (500, "LLM_UNAVAILABLE"), (400, "LLM_REFUSED")],
)
async def test_failures_have_codes_and_tell_no_secrets(
    openai_server: ModelServer, served: Model, status: int, code: str
) -> None:
    openai_server.otherwise = Said(status=status, error="Incorrect API key provided: sk-test-key")
    with pytest.raises(AgentFailed) as failed:
        await served.text(None, ASKED, purpose="test")
    assert failed.value.code == code
    assert "sk-test" not in str(failed.value)
    assert "gpt-4o-mini" in str(failed.value)


async def test_nobody_listens(settings_of: SettingsOf) -> None:
    model = make_model(settings_of(openai_base_url="http://127.0.0.1:9/v1", openai_api_key="k"), backoff_s=0.0)
    with pytest.raises(AgentFailed) as failed:
        await model.text(None, ASKED, purpose="test")
    assert failed.value.code == "LLM_UNAVAILABLE"


async def test_a_failure_of_a_moment_is_no_failure(openai_server: ModelServer, served: Model) -> None:
    openai_server.say(Said(status=500, error="oops"), Said(status=429, error="slow down"), "At last.")
    assert (await served.text(None, ASKED, purpose="test"))[0] == "At last."


async def test_an_empty_reply_is_a_failure(saying: Callable[..., Saying]) -> None:
    with pytest.raises(AgentFailed) as failed:
        await saying("  \n").model.text(None, ASKED, purpose="test")
    assert failed.value.code == "LLM_BAD_REPLY"


# Replies with a form


@pytest.mark.parametrize(
    "reply",
    [
        '{"name": "Rome", "people": 3}',
        '```json\n{"name": "Rome", "people": 3}\n```',
        'Here it is: {"name": "Rome", "people": 3}. Good?',
    ],
)
async def test_json_is_found(saying: Callable[..., Saying], reply: str) -> None:
    city, used = await saying(reply).model.form(None, ASKED, CITY, purpose="test")
    assert city == City(name="Rome", people=3)
    assert used.scripted


async def test_what_is_wrong_is_told_to_the_model(openai_server: ModelServer, served: Model) -> None:
    openai_server.say('{"name": "Rome", "people": "many"}', '{"name": "Rome", "people": 3}')
    city, _ = await served.form(None, ASKED, CITY, purpose="test")

    assert city.people == 3
    first, second = openai_server.asked
    assert first.body["response_format"]["json_schema"]["name"] == "City"
    assert second.body["messages"][-2] == {"role": "assistant", "content": '{"name": "Rome", "people": "many"}'}
    assert "people: Input should be a valid integer" in json.dumps(second.body["messages"][-1])


async def test_a_server_without_schemas_is_asked_without(openai_server: ModelServer, served: Model) -> None:
    refused = Said(status=400, error="response_format json_schema is not supported")
    openai_server.say(refused, '{"name": "Rome", "people": 3}')
    assert (await served.form(None, ASKED, CITY, purpose="test"))[0].name == "Rome"


@pytest.mark.parametrize(
    "reply", ['{"name":' * 100_000 + "}", '{"people": ' + "9" * 10_000 + "}", "}{", "{" * 10 + "}"]
)
async def test_strange_json_is_a_bad_reply(saying: Callable[..., Saying], reply: str) -> None:
    with pytest.raises(AgentFailed) as failed:
        await saying(reply).model.form(None, ASKED, CITY, purpose="test", repairs=0)
    assert failed.value.code == "LLM_BAD_REPLY"
    assert len(failed.value.message) < 500


async def test_repairs_end(saying: Callable[..., Saying]) -> None:
    model = saying(*["no"] * 9)
    with pytest.raises(AgentFailed) as failed:
        await model.model.form(None, ASKED, CITY, purpose="test", repairs=2)
    assert failed.value.code == "LLM_BAD_REPLY"
    assert len(model.requests) == 3


async def test_what_a_check_says_is_told_too(saying: Callable[..., Saying]) -> None:
    model = saying({"name": "Rome", "people": 1}, {"name": "Rome", "people": 2}, {"name": "Rome", "people": 3})

    def check(city: City) -> str | None:
        return None if city.people == 3 else f"{city.people} people are too few"

    city, _ = await model.model.form(None, ASKED, CITY, purpose="test", check=check, code="TOO_FEW")
    assert city.people == 3
    assert "1 people are too few" in model.requests[1].messages[-1].text
    assert "2 people are too few" in model.requests[2].messages[-1].text

    other = saying(*[{"name": "Rome", "people": 1}] * 3)
    with pytest.raises(AgentFailed) as failed:
        await other.model.form(None, ASKED, CITY, purpose="test", check=check, code="TOO_FEW")
    assert failed.value.code == "TOO_FEW"


def test_a_failure_can_be_made_again() -> None:
    """Recordings keep an exception as its class and its arguments."""
    failure = AgentFailed("NOT_MECE", "no")
    again: Any = AgentFailed(*failure.args)
    assert (again.code, again.message, str(again)) == ("NOT_MECE", "no", "no")


class Anything(BaseModel):
    data: Any


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("NaN", "finite"),
        ("[1, -Infinity]", "finite"),
        ('{"a": 1e999}', "finite"),
        (r'"\ud800"', "surrogate"),
        (r'{"\udc00": 1}', "surrogate"),
        ("[" * 70 + "]" * 70, "within each other"),
        ("[" * 200_000, "JSON object|nested|Expecting|delimiter"),
    ],
    ids=["nan", "infinity", "overflow", "surrogate", "surrogate name", "deep", "endless"],
)
def test_a_reply_that_could_not_be_kept_is_not_taken(data: str, says: str) -> None:
    form = Form(Anything)
    with pytest.raises(ValueError, match=says):
        form.read(f'{{"data": {data}}}')
    assert form.read('{"data": [1.5, {"é": null}, "😀"]}').data == [1.5, {"é": None}, "😀"]
