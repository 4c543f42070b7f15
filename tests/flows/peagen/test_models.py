"""Which model is asked, over the wire, and what becomes of its failures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from peagen.config.llm import ModelChoice
from peagen.core.models import Model, answer_key, connect, name_of, priced_as
from peagen.errors import ModelFailed
from penguiflow.llm import ScriptedModel
from tests.model_server import ModelServer, Said

CHOICE = ModelChoice(provider="openai", model="local-1", api_key="k")


def test_an_answer_depends_on_what_is_asked_and_not_on_where() -> None:
    key = answer_key(CHOICE, "prompt")
    assert key == answer_key(replace(CHOICE, api_key="other", base_url="http://elsewhere"), "prompt")
    assert key != answer_key(CHOICE, "prompt ")
    for other in (replace(CHOICE, model="x"), replace(CHOICE, temperature=0.5), replace(CHOICE, max_tokens=1)):
        assert key != answer_key(other, "prompt")
    assert name_of(CHOICE) == "openai/local-1"
    assert name_of(ModelChoice(provider="scripted", model="scripted")) == "scripted"
    assert priced_as(ModelChoice(provider="gemini", model="gemini-2.5-flash")) == "google/gemini-2.5-flash"


def test_who_is_not_known_or_has_no_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    with pytest.raises(ModelFailed, match="no key for groq") as failed:
        connect(ModelChoice(provider="groq", model="llama"))
    assert "GROQ_API_KEY" in failed.value.hint
    with pytest.raises(ModelFailed, match="'nobody' is not known") as failed:
        connect(ModelChoice(provider="nobody", model="m", api_key="k"))
    assert "groq" in failed.value.hint
    assert isinstance(connect(ModelChoice(provider="scripted", model="scripted")), ScriptedModel)


async def test_it_is_asked_over_the_wire(openai_server: ModelServer) -> None:
    openai_server.say(Said(status=503, error="busy"), "```python\nx = 1\n```")
    model = Model(replace(CHOICE, base_url=openai_server.url, temperature=0.25, max_tokens=77), backoff_s=0.0)
    retries: list[int] = []

    answer = await model.ask("Write x.", purpose="x.py", on_retry=lambda number, error, seconds: retries.append(number))

    assert answer.text == "```python\nx = 1\n```"
    assert (answer.input_tokens, answer.output_tokens, answer.cost) == (20, 7, None)
    assert retries == [1]
    asked = openai_server.asked[-1]
    assert asked.headers["authorization"] == "Bearer k"
    assert (asked.body["model"], asked.body["temperature"]) == ("local-1", 0.25)
    assert 77 in (asked.body.get("max_tokens"), asked.body.get("max_completion_tokens"))
    assert [message["content"] for message in asked.body["messages"]] == ["You are a software developer.", "Write x."]


async def test_a_key_that_is_refused_is_not_tried_for_every_file(openai_server: ModelServer) -> None:
    openai_server.otherwise = Said(status=401, error="no such key")
    model = Model(replace(CHOICE, base_url=openai_server.url), backoff_s=0.0)
    for _ in range(3):
        with pytest.raises(ModelFailed, match="refuses the key") as failed:
            await model.ask("Write x.", purpose="x.py")
        assert "OPENAI_API_KEY" in failed.value.hint
    assert len(openai_server.asked) == 1


async def test_what_is_refused_is_told(openai_server: ModelServer) -> None:
    openai_server.otherwise = Said(status=400, error="no such model")
    model = Model(replace(CHOICE, base_url=openai_server.url), retries=0)
    with pytest.raises(ModelFailed, match=r"openai/local-1 failed: .*no such model"):
        await model.ask("Write x.", purpose="x.py")
