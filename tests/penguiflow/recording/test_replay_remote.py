"""Remote agents are answered from the recording too, and nobody is told of anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel

from penguiflow import (
    Headers,
    Message,
    NodePolicy,
    RemoteCallRequest,
    RemoteCallResult,
    RemoteNode,
    RemoteStreamEvent,
    create,
)
from penguiflow.recording import Recorder
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.replay import replay
from penguiflow.state import InMemoryStateStore


class Found(BaseModel):
    text: str


class Agent:
    """A transport whose every use is counted."""

    def __init__(self) -> None:
        self.asked: list[RemoteCallRequest] = []
        self.cancels = 0
        self.failing = False

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        self.asked.append(request)
        if self.failing:
            raise ConnectionResetError("the agent hung up")
        return RemoteCallResult(result=Found(text="here"), context_id="c", task_id="t")

    async def stream(self, request: RemoteCallRequest) -> AsyncIterator[RemoteStreamEvent]:
        self.asked.append(request)
        for text in ("he", "re"):
            yield RemoteStreamEvent(text=text, task_id="t")
        yield RemoteStreamEvent(result=Found(text="here"), done=True)

    async def cancel(self, *, agent_url: str, task_id: str) -> None:
        self.cancels += 1


async def run_twice(sink: Any, agent: Agent, *, streaming: bool = False) -> tuple[Cassette, Any]:
    node = RemoteNode(
        transport=agent,
        skill="search",
        agent_url="https://agent.example",
        name="ask",
        streaming=streaming,
        policy=NodePolicy(validate="none"),
    )
    store = InMemoryStateStore()
    flow = create(node.to(), state_store=store)
    flow.run(recorder=Recorder(sink, name="remote"))
    async for _ in flow.stream(Message(payload="where", headers=Headers(tenant="acme"))):
        pass
    await flow.stop()
    cassette = Cassette.of(sink.events())
    return cassette, await replay(flow, cassette)


async def test_an_answer_is_replayed(sink: Any) -> None:
    agent = Agent()
    cassette, outcome = await run_twice(sink, agent)
    (call,) = cassette.calls
    assert (call.path, call.kind) == ("ask[0]/attempt[0]/search[0]", "remote")
    assert len(agent.asked) == 1
    assert outcome.output == Found(text="here")
    assert outcome.same


async def test_a_stream_is_replayed_piece_by_piece(sink: Any) -> None:
    agent = Agent()
    cassette, outcome = await run_twice(sink, agent, streaming=True)
    assert cassette.streams == outcome.streams == ["here"]
    assert outcome.output == Found(text="here")
    assert len(agent.asked) == 1
    assert outcome.same


async def test_another_question_diverges(sink: Any) -> None:
    agent = Agent()
    cassette, _ = await run_twice(sink, agent)
    node = RemoteNode(
        transport=agent,
        skill="search",
        agent_url="https://other.example",
        name="ask",
        policy=NodePolicy(validate="none"),
    )
    outcome = await replay(create(node.to()), cassette)
    assert outcome.diverged is not None
    assert "https://other.example" in outcome.diverged.diff
    assert len(agent.asked) == 1
