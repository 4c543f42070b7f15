"""`before_llm` of calls that a node makes: looked at, edited, replaced, and told again by a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from penguiflow import Context, FlowError, Headers, Message, ModelRegistry, Node, PenguiFlow, create
from penguiflow.checkpoints import Checkpoint, Decision, Unfit
from penguiflow.llm import AskPolicy, LLMMessage, LLMRequest, ScriptedModel, StreamEvent, ask_in
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import stored
from penguiflow.recording.replay import replay
from penguiflow.state import SQLiteStateStore

POLICY = AskPolicy(max_retries=0, backoff_s=0.0)


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    texts: list[str]
    pieces: list[str]


registry = ModelRegistry()
registry.register("ask", Question, Answer)


def asking(model: ScriptedModel) -> PenguiFlow:
    """Asks twice, and the second time with the first answer."""

    async def ask(question: Question, ctx: Context) -> Answer:
        pieces: list[str] = []

        def take(event: StreamEvent) -> None:
            if event.delta_text:
                pieces.append(event.delta_text)

        said = [question.text]
        for purpose in ("first", "second"):
            request = LLMRequest(model.model, tuple(LLMMessage.of("user", text) for text in said))
            response = await ask_in(ctx, model, request, policy=POLICY, purpose=purpose, on_event=take)
            said.append(response.message.text)
        return Answer(texts=said[1:], pieces=pieces)

    return create(Node(ask, name="ask").to())


class At:
    """Decides at the call of a purpose, and stops nowhere else."""

    def __init__(self, purpose: str, decision: Decision | None = None) -> None:
        self.purpose, self.decision = purpose, decision
        self.seen: list[Checkpoint] = []

    def wants(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.kind == "before_llm" and checkpoint.payload["purpose"] == self.purpose

    async def __call__(self, checkpoint: Checkpoint) -> Decision | None:
        self.seen.append(checkpoint)
        return self.decision


def model() -> ScriptedModel:
    return ScriptedModel(
        rules=[("edited", "to the edited"), ("more", "to more"), ("because", "so"), ("why", "because")]
    )


async def run(flow: PenguiFlow, **options: Any) -> Answer:
    flow.run(registry=registry, **options)
    try:
        message = Message(payload=Question(text="why?"), headers=Headers(tenant="t"), trace_id="t1")
        answer: Answer = (await flow.call(message)).payload
        return answer
    finally:
        await flow.stop()


async def test_a_stop_shows_the_request_and_what_goes_there() -> None:
    at = At("second")
    answer = await run(asking(model()), interceptors=[at])
    assert answer.texts == ["because", "so"]
    (seen,) = at.seen
    assert (seen.kind, seen.name) == ("before_llm", "scripted/scripted")
    assert len(seen.path) == 1
    assert seen.path[0].startswith("node:ask[")
    assert [each["content"] for each in seen.payload["messages"]] == ["why?", "because"]
    place = seen.place
    assert place is not None
    assert place.actions == ("proceed", "edit", "skip", "inject", "abort")
    assert place.shown() == seen.payload
    assert place.schema("skip") == {"type": "string"}
    assert place.checked("edit", seen.payload) == seen.payload
    for action, value in (("edit", {"messages": []}), ("edit", 5), ("skip", {"text": "x"})):
        with pytest.raises(Unfit):
            place.checked(action, value)  # type: ignore[arg-type]
    assert "headers" in place.parts()


@pytest.mark.parametrize(
    ("decision", "first", "asked"),
    [
        (Decision.proceed, "because", 2),
        (Decision.edit({"model": "m", "messages": [{"role": "user", "content": "edited"}]}), "to the edited", 2),
        (Decision.skip("said by hand"), "said by hand", 1),
        (Decision.inject("more"), "to more", 2),
    ],
    ids=["proceed", "edit", "skip", "inject"],
)
async def test_what_is_decided_is_done_and_done_again_by_a_replay(
    tmp_path: Path, decision: Decision, first: str, asked: int
) -> None:
    scripted, store = model(), SQLiteStateStore(tmp_path / "state.db")
    answer = await run(asking(scripted), interceptors=[At("first", decision)], state_store=store)
    await store.recorder().flush()
    events = [event async for event in stored(store, "t1")]
    await store.close()
    assert answer.texts[0] == first
    assert "".join(answer.pieces) == "".join(answer.texts)
    assert len(scripted.requests) == asked
    kinds = [event.kind for event in events]
    assert (kinds.count("checkpoint.hit"), kinds.count("edit")) == (1, int(decision.action in ("edit", "skip")))

    silent = ScriptedModel()
    again = (await replay(asking(silent), Cassette.of(events), registry=registry)).check()
    assert again.output == answer
    assert not silent.requests


async def test_an_abort_cancels_the_trace() -> None:
    scripted = model()
    with pytest.raises(FlowError) as ended:
        await run(asking(scripted), interceptors=[At("second", Decision.abort("enough"))])
    assert "enough" in str(ended.value)
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("value", [{"messages": "x"}, 5, {"model": "m"}])
async def test_what_is_no_request_fails_the_node(value: Any) -> None:
    with pytest.raises(FlowError) as failed:
        await run(asking(model()), interceptors=[At("first", Decision.edit(value))])
    assert "no request" in str(failed.value.unwrap())


async def test_an_interceptor_that_fails_fails_the_node() -> None:
    async def broken(checkpoint: Checkpoint) -> Decision | None:
        if checkpoint.kind == "before_llm":
            raise KeyError("oops")
        return None

    with pytest.raises(FlowError) as failed:
        await run(asking(model()), interceptors=[broken])
    assert "oops" in str(failed.value.unwrap())
