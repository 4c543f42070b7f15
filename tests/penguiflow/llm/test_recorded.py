"""Calls of models from a node's function: spans of the trace, answered from a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import Context, FlowError, Headers, Message, ModelRegistry, Node, PenguiFlow, create
from penguiflow.llm import (
    AskPolicy,
    LLMMessage,
    LLMRequest,
    LLMServerError,
    ScriptedModel,
    ScriptedReply,
    StreamEvent,
    ask_in,
)
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import stored
from penguiflow.recording.replay import replay
from penguiflow.state import SQLiteStateStore

POLICY = AskPolicy(max_retries=2, backoff_s=0.0)
TEXT = "An answer that is said in pieces."


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    text: str
    pieces: list[str]
    restarts: int = 0


registry = ModelRegistry()
registry.register("ask", Question, Answer)


def asking(model: ScriptedModel, *, stream: bool = True) -> PenguiFlow:
    async def ask(question: Question, ctx: Context) -> Answer:
        pieces: list[str] = []
        restarts: list[int] = []

        def take(event: StreamEvent) -> None:
            if event.delta_text:
                pieces.append(event.delta_text)

        request = LLMRequest(model.model, (LLMMessage.of("user", question.text),))
        response = await ask_in(
            ctx,
            model,
            request,
            policy=POLICY,
            purpose="test",
            on_event=take if stream else None,
            on_restart=lambda: restarts.append(len(pieces)),
        )
        return Answer(text=response.message.text, pieces=pieces, restarts=len(restarts))

    return create(Node(ask, name="ask").to())


async def run(flow: PenguiFlow, **options: Any) -> Any:
    flow.run(registry=registry, **options)
    try:
        message = Message(payload=Question(text="why?"), headers=Headers(tenant="t"), trace_id="t1")
        return (await flow.call(message)).payload
    finally:
        await flow.stop()


async def recorded(path: Path, flow: PenguiFlow) -> tuple[Any, list[Any]]:
    store = SQLiteStateStore(path / "state.db")
    try:
        answer = await run(flow, state_store=store)
        await store.recorder().flush()
        return answer, [event async for event in stored(store, "t1")]
    finally:
        await store.close()


async def test_without_a_record_the_model_is_just_asked() -> None:
    answer = await run(asking(ScriptedModel(rules=[("why", TEXT)])))
    assert answer.text == "".join(answer.pieces) == TEXT


async def test_a_call_is_a_span_with_its_purpose_and_usage(tmp_path: Path) -> None:
    answer, events = await recorded(tmp_path, asking(ScriptedModel(rules=[("why", TEXT)])))

    (start,) = [event for event in events if event.kind == "llm.start"]
    (end,) = [event for event in events if event.kind == "llm.end"]
    assert start.name == end.name == "scripted/scripted"
    asked = start.data["request"]["value"]
    assert asked["purpose"] == "test"
    assert asked["messages"] == [{"role": "user", "content": "why?"}]
    assert end.data["status"] == "ok"
    assert end.data["usage"]["output_tokens"] > 0
    assert end.data["response"]["value"]["message"]["content"] == answer.text == TEXT


@pytest.mark.parametrize("stream", [True, False])
async def test_a_replay_gives_the_same_pieces_and_asks_nobody(tmp_path: Path, stream: bool) -> None:
    answer, events = await recorded(tmp_path, asking(ScriptedModel(rules=[("why", TEXT)], piece=5), stream=stream))
    silent = ScriptedModel()
    outcome = (await replay(asking(silent, stream=stream), Cassette.of(events), registry=registry)).check()

    assert outcome.output == answer
    assert len(answer.pieces) == (7 if stream else 0)
    assert not silent.requests


async def test_attempts_are_told_and_void_pieces_too(tmp_path: Path) -> None:
    broken = ScriptedReply(text="An ans", error=LLMServerError("gone"))
    answer, events = await recorded(tmp_path, asking(ScriptedModel([broken, TEXT])))

    assert (answer.text, answer.restarts) == (TEXT, 1)
    assert "".join(answer.pieces) == f"An ans{TEXT}"
    (retry,) = [event for event in events if event.kind == "node.retry"]
    assert "gone" in retry.data["error"]
    (end,) = [event for event in events if event.kind == "llm.end"]
    assert end.data["response"]["value"]["attempts"] == 2
    # What is given out again is the answer that counts.
    replayed = (await replay(asking(ScriptedModel()), Cassette.of(events), registry=registry)).outputs[-1]
    assert "".join(replayed.payload.pieces) == TEXT


async def test_a_failure_is_recorded_and_raised_again(tmp_path: Path) -> None:
    store = SQLiteStateStore(tmp_path / "state.db")
    flow = asking(ScriptedModel(rules=[("why", LLMServerError("down", provider="p", status_code=503))]))
    with pytest.raises(FlowError) as failed:
        await run(flow, state_store=store)
    await store.recorder().flush()
    events = [event async for event in stored(store, "t1")]
    await store.close()

    assert isinstance(failed.value.unwrap(), LLMServerError)
    (end,) = [event for event in events if event.kind == "llm.end"]
    assert end.data["status"] == "error"
    outcome = await replay(asking(ScriptedModel()), Cassette.of(events), registry=registry)
    assert outcome.error is not None
    again = outcome.error.unwrap()
    assert isinstance(again, LLMServerError)
    assert (again.message, again.status_code) == ("down", 503)
