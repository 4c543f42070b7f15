"""Secrets that are given to a fork reach its nodes, and nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from penguiflow import Context, FlowError, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.recording import CannotRestore, EventRecord, Recorder, TraceEvent
from penguiflow.recording.frontier import frontier
from penguiflow.recording.masking import Masker

KEY, TOKEN = "planted-key-111111", "planted-token-222222"


class Question(BaseModel):
    text: str = "it"
    api_key: str = KEY
    hidden: SecretStr = SecretStr(TOKEN)


class Sink(list[EventRecord]):
    def write(self, record: EventRecord) -> None:
        self.append(record)

    def events(self) -> list[TraceEvent]:
        return [record.decode() for record in self]


def node(func: Any, name: str) -> Node:
    return Node(func, name=name, policy=NodePolicy(validate="none"))


def fan_out(seen: list[Question]) -> PenguiFlow:
    """One question for two nodes; the first of them keeps it."""

    async def ask(message: Message, ctx: Context) -> Message:
        return message

    async def keep(message: Message, ctx: Context) -> None:
        ctx.trace_state["question"] = message.payload
        seen.append(message.payload)

    async def use(message: Message, ctx: Context) -> str:
        seen.append(message.payload)
        return "used"

    begin, left, right = node(ask, "ask"), node(keep, "keep"), node(use, "use")
    return create(begin.to(left, right))


async def log_of(flow: PenguiFlow, results: Any, masker: Masker) -> list[TraceEvent]:
    sink = Sink()
    flow.run(recorder=Recorder(sink, masker=masker))
    try:
        async for _ in results():
            pass
    except FlowError:
        pass
    finally:
        await flow.stop()
    return sink.events()


async def record(flow: PenguiFlow, payload: Any, masker: Masker) -> list[TraceEvent]:
    return await log_of(flow, lambda: flow.stream(Message(payload=payload, headers=Headers(tenant="acme"))), masker)


async def fork(
    flow: PenguiFlow, events: list[TraceEvent], at: int, edits: dict[str, Any], masker: Masker
) -> list[TraceEvent]:
    return await log_of(flow, lambda: flow.restore(frontier(events, at), trace_id="forked", edits=edits), masker)


def sent(events: list[TraceEvent], edge: str) -> TraceEvent:
    return next(event for event in events if event.kind == "message.enqueued" and event.name == edge)


async def test_what_is_given_for_a_secret_is_in_no_event() -> None:
    masker = Masker(environment={})
    seen: list[Question] = []
    origin = await record(fan_out(seen), Question(), masker)
    edits = {"/payload/api_key": KEY, "/payload/hidden": "another-secret-333333", "/payload/text": "else"}
    forked = await fork(fan_out(seen), origin, 1, edits, masker)
    assert seen[-1].api_key == KEY
    assert seen[-1].hidden.get_secret_value() == "another-secret-333333"
    told = {event.data["path"]: (event.data["before"], event.data["after"]) for event in forked if event.kind == "edit"}
    stored = sent(origin, "OpenSea->ask").data["payload"]["value"]
    assert told["/payload/text"] == ("it", "else")
    assert told["/payload/api_key"] == (stored["api_key"], stored["api_key"])
    assert told["/payload/hidden"] == (
        stored["hidden"],
        sent(forked, "OpenSea->ask").data["payload"]["value"]["hidden"],
    )
    assert told["/payload/hidden"][0] != told["/payload/hidden"][1]
    text = json.dumps([event.data for event in forked])
    assert "planted" not in text
    assert "another-secret" not in text


async def test_a_secret_is_asked_for_once_and_given_once() -> None:
    masker = Masker(environment={})
    seen: list[Question] = []
    origin = await record(fan_out(seen), Question(), masker)
    at = sent(origin, "ask->use").seq
    with pytest.raises(CannotRestore) as refused:
        await fork(fan_out(seen), origin, at, {}, masker)
    assert len(refused.value.missing) == 2
    given = dict(zip(refused.value.missing, (KEY, TOKEN), strict=True))
    del seen[:]
    await fork(fan_out(seen), origin, at, given, masker)
    assert [(each.api_key, each.hidden.get_secret_value()) for each in seen] == [(KEY, TOKEN)] * 2


async def test_a_secret_that_a_node_keeps_can_be_given() -> None:
    masker = Masker(environment={})

    def build() -> PenguiFlow:
        async def ask(message: Message, ctx: Context) -> str:
            ctx.trace_state["login"] = {"password": "planted-password"}
            return "asked"

        async def use(message: Message, ctx: Context) -> str:
            return "used"

        return create(node(ask, "ask").to(following := node(use, "use")), following.to())

    origin = await record(build(), "go", masker)
    at = next(event.seq for event in origin if event.kind == "node.end")
    with pytest.raises(CannotRestore) as refused:
        await fork(build(), origin, at, {}, masker)
    assert refused.value.missing == ["ask:/login/value/password"]
    forked = await fork(build(), origin, at, {refused.value.missing[0]: "planted-password"}, masker)
    assert forked[-1].data["status"] == "ok"
    assert "planted" not in json.dumps([event.data for event in forked])


async def test_a_place_that_an_object_does_not_have_is_refused() -> None:
    masker = Masker(environment={})
    origin = await record(fan_out([]), Question(), masker)
    edits = {"/payload/api_key": KEY, "/payload/hidden": TOKEN, "/payload/nothing": 1}
    with pytest.raises(CannotRestore, match=r"/payload/nothing: a .*:Question has no such place"):
        await fork(fan_out([]), origin, 1, edits, masker)


async def test_what_a_fork_takes_over_of_a_stream_is_not_marked_twice() -> None:
    masker = Masker(environment={"PLANTED_API_KEY": "planted-env-33333333"})

    def build() -> PenguiFlow:
        async def speak(message: Message, ctx: Context) -> str:
            await ctx.emit_chunk(parent=message, text="it is planted-env-33333333, or ⟦$secret it⟧. ")
            await ctx.emit_chunk(parent=message, text="Done", done=True)
            return "spoken"

        return create(node(speak, "speak").to())

    def texts(events: list[TraceEvent]) -> list[str]:
        return [event.data["text"] for event in events if event.kind == "stream.chunk"]

    origin = await record(build(), "go", masker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANTED_API_KEY", "planted-env-33333333")
        forked = await fork(build(), origin, len(origin) - 1, {}, masker)
    assert texts(forked) == texts(origin) == ["it is ⟦$secret env:PLANTED_API_KEY⟧, or ⟦$$secret it⟧. ", "Done"]
