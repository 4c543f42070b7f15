"""Secrets that a replay does not have: something stands for them, and nobody takes it for a difference."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.recording import Recorder
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.masking import Masker, stand_in
from penguiflow.recording.replay import NotReplayable, Replay, replay


class Question(BaseModel):
    text: str
    api_key: str = "planted-key-111111"
    token: SecretStr = SecretStr("planted-token-222222")


async def ask_model(prompt: str, headers: dict[str, str]) -> str:
    return f"answer to {prompt}"


def asking(prompt: str) -> PenguiFlow:
    """A flow that makes a request of its secrets, and hands them on."""

    async def ask(message: Message, ctx: Context) -> dict[str, Any]:
        question: Question = message.payload
        headers = {"X-Api-Key": question.api_key, "Authorization": "Bearer " + question.token.get_secret_value()}
        text = await ctx.record("model", ask_model, f"{prompt} {question.text}", headers)
        return {"text": text, "headers": headers, "question": question}

    return create(Node(ask, name="ask", policy=NodePolicy(validate="none")).to())


async def record(sink: Any, flow: PenguiFlow, payload: Any) -> Cassette:
    flow.run(recorder=Recorder(sink, name="asking"))
    async for _ in flow.stream(Message(payload=payload, headers=Headers(tenant="acme"))):
        pass
    await flow.stop()
    return Cassette.of(sink.events())


async def replay_again(flow: PenguiFlow, cassette: Cassette) -> Replay:
    """As in another process: what it knows of the recording is what a file would hold."""
    return await replay(flow, Cassette.model_validate_json(cassette.model_dump_json(by_alias=True)))


async def test_a_secret_that_is_lost_is_no_difference(sink: Any) -> None:
    cassette = await record(sink, asking("Summarize"), Question(text="penguins"))
    went = await replay_again(asking("Summarize"), cassette)
    went.check()
    given = went.values[0]
    assert given["question"]["api_key"] == cassette.inputs[0].payload["value"]["api_key"]
    assert given["question"]["token"] == cassette.inputs[0].payload["value"]["token"]
    assert "planted" not in cassette.model_dump_json()


async def test_a_divergence_shows_what_counts_and_no_secret_that_was_lost(sink: Any) -> None:
    cassette = await record(sink, asking("Summarize"), Question(text="penguins"))
    went = await replay_again(asking("Shorten"), cassette)
    assert went.diverged is not None
    changed = [line for line in went.diverged.diff.splitlines()[2:] if line.startswith(("+", "-"))]
    assert changed == ['-  "Summarize penguins",', '+  "Shorten penguins",']


async def test_a_replay_does_not_tell_the_secrets_of_the_environment(
    sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_API_KEY", "planted-env-33333333")

    async def speak(message: Message, ctx: Context) -> str:
        prompt: str = message.payload
        for piece in (prompt[:10], prompt[10:], "."):
            await ctx.emit_chunk(parent=ctx.message, text=piece)
        return prompt

    def flow() -> PenguiFlow:
        return create(Node(speak, name="speak", policy=NodePolicy(validate="none")).to())

    cassette = await record(sink, flow(), "key=planted-env-33333333")
    went = await replay_again(flow(), cassette)
    went.check()
    assert went.streams == cassette.streams == ["key=⟦$secret env:PLANTED_API_KEY⟧."]


async def test_a_variable_that_is_not_set_is_no_difference_either(sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_API_KEY", "planted-env-33333333")
    monkeypatch.setenv("PLANTED_TOKEN", "planted-env-44444444")
    question = Question(text="it", api_key="planted-env-33333333", token=SecretStr("planted-env-44444444"))
    cassette = await record(sink, asking("Summarize"), question)
    monkeypatch.delenv("PLANTED_API_KEY")
    monkeypatch.delenv("PLANTED_TOKEN")
    went = await replay_again(asking("Summarize"), cassette)
    went.check()
    assert went.values[0]["headers"] == {
        "X-Api-Key": {"$secret": "env:PLANTED_API_KEY"},
        "Authorization": "Bearer ⟦$secret env:PLANTED_TOKEN⟧",
    }


async def test_nothing_is_called_in_earnest_with_what_stands_for_a_secret(sink: Any) -> None:
    cassette = await record(sink, asking("Summarize"), Question(text="penguins"))
    with pytest.raises(NotReplayable, match="does not have the secret at /payload/api_key"):
        await replay(asking("Shorten"), cassette, live_after="ask[0]/attempt[0]")


def test_what_stands_for_a_secret_cannot_be_made_up() -> None:
    masker = Masker(environment={})
    assert masker.value({"api_key": stand_in("hmac:12ab")}) == {"api_key": {"$secret": "hmac:12ab"}}
    assert masker.value(f"say {stand_in('env:NAME')}") == "say ⟦$secret env:NAME⟧"
    made_up = masker.value({"api_key": "⟦$secret env:NAME⟧", "text": "⟦$secret env:NAME⟧"})
    assert made_up["text"] == "⟦$$secret env:NAME⟧"
    assert made_up["api_key"]["$secret"].startswith("hmac:")
    assert masker.text(f"say {stand_in('env:NAME')}") == "say ⟦$secret env:NAME⟧"
