"""The client of an earlier name asks a model over the wire, without DSPy."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from penguiflow.planner import DSPyLLMClient
from tests.model_server import ModelServer, Said


class Verdict(BaseModel):
    good: bool


async def test_it_asks_for_its_form(openai_server: ModelServer) -> None:
    openai_server.say(Said(text='{"next_node": "final_response", "args": {}}'), Said(text='{"good": true}'))
    given = {"model": "openai/local-1", "api_key": "k", "api_base": openai_server.url}
    with pytest.warns(DeprecationWarning, match="ReactPlanner"):
        client = DSPyLLMClient(given, temperature=0.5, max_tokens=77)
    judge = DSPyLLMClient.from_base_client(client, Verdict)
    asked = [{"role": "user", "content": "Is it good?"}]

    assert await client.complete(messages=asked) == ('{"next_node": "final_response", "args": {}}', 0.0)
    text, _ = await judge.complete(messages=asked)

    assert Verdict.model_validate_json(text).good
    plain, shaped = (each.body for each in openai_server.asked)
    assert "response_format" not in plain
    assert plain["temperature"] == 0.5
    assert 77 in (plain.get("max_tokens"), plain.get("max_completion_tokens"))
    assert shaped["response_format"]["json_schema"]["name"] == "Verdict"


def test_it_needs_a_model() -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"), pytest.raises(ValueError, match="needs a model"):
        DSPyLLMClient({"api_key": "k"})
