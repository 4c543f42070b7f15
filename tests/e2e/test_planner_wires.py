"""One planner program over every way to talk to a model: its trajectory is the same each time, whatever goes wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from pydantic import BaseModel

from penguiflow import ModelRegistry, Node, NodePolicy
from penguiflow.llm.providers.pydantic_ai import PydanticAIProvider
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import PlannerEvent, PlannerFinish, ReactPlanner
from penguiflow.recording.cassette import Cassette
from penguiflow.recording.frontier import stored
from penguiflow.recording.replay import replay
from penguiflow.state.sqlite import SQLiteStateStore
from tests.model_server import Said

if TYPE_CHECKING:
    from pathlib import Path

    from penguiflow.llm.providers.base import Provider
    from tests.model_server import ModelServer

ANSWER = 'Häuser 🏠🐧 and a family 👩‍👩‍👧: "quoted", back\\slash, \\u0041, tab\tand\nline; Ω≈ç√ \U0001d518\u0301 end 😀'
THOUGHT = "I look, zuerst 🔎"


class Query(BaseModel):
    q: str
    limit: int = 2


class Page(BaseModel):
    url: str


class Found(BaseModel):
    urls: list[str]


class Text(BaseModel):
    text: str


async def search(args: Query, ctx: Any) -> Found:
    """Find pages."""
    return Found(urls=[f"corpus://{args.q}/{number}" for number in range(args.limit)])


async def fetch(args: Page, ctx: Any) -> Text:
    """Read a page."""
    if args.url.endswith("/gone"):
        raise LookupError(f"no page {args.url} 🕳")
    return Text(text=f"«{args.url}» in full")


PROGRAM: list[tuple[str, Any]] = [
    ("search", {"q": "Pinguïn 🐧"}),
    ("parallel", [("fetch", {"url": "corpus://Pinguïn 🐧/0"}), ("fetch", {"url": "corpus://Pinguïn 🐧/1"})]),
    ("fetch", {"url": "corpus://here"}),
    ("fetch", {"url": "corpus://x/gone"}),
    ("nobody", {"q": "x"}),
    ("search", {"limit": 1}),
    ("search", {"q": "again", "limit": 1}),
]
"""What the model decides, one step after the other, before it answers."""


def action(turn: int) -> dict[str, Any]:
    """What it says as JSON."""
    if turn >= len(PROGRAM):
        return {"next_node": "final_response", "args": {"answer": ANSWER}}
    node, args = PROGRAM[turn]
    if node == "parallel":
        args = {"steps": [{"node": name, "args": given} for name, given in args]}
    return {"thought": THOUGHT, "next_node": node, "args": args}


def calls(turn: int) -> list[tuple[str, str, str]]:
    """What it says as tool calls."""
    node, args = PROGRAM[turn]
    made = args if node == "parallel" else [(node, args)]
    return [(f"id-{turn}-{place}", name, json.dumps(given)) for place, (name, given) in enumerate(made)]


def turns_of(messages: Sequence[Mapping[str, Any]]) -> int:
    return sum(message["role"] == "assistant" for message in messages)


class Client:
    """A client as programs have written them: gets messages, gives a text and what it cost."""

    def __init__(self) -> None:
        self.formats: list[Any] = []

    async def complete(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any] | None = None,
        stream: bool = False,
        on_stream_chunk: Callable[[str, bool], None] | None = None,
    ) -> tuple[str, float]:
        self.formats.append(response_format)
        text = json.dumps(action(turns_of(messages)), ensure_ascii=True)
        if stream and on_stream_chunk is not None:
            for start in range(0, len(text), 5):
                on_stream_chunk(text[start : start + 5], False)
            on_stream_chunk("", True)
        return text, 0.001


class Wire:
    """A way to talk to a model, and what the program is to see of it."""

    def __init__(self, model: Any, **options: Any) -> None:
        self.model = model
        self.options = options
        self.heard: list[PlannerEvent] = []

    def planner(self, **more: Any) -> ReactPlanner:
        registry = ModelRegistry()
        registry.register("search", Query, Found)
        registry.register("fetch", Page, Text)
        nodes = [Node(search, name="search"), Node(fetch, name="fetch", policy=NodePolicy(timeout_s=60.0))]
        return ReactPlanner(
            **({"llm_client": self.model} if isinstance(self.model, Client) else {"llm": self.model}),
            nodes=nodes,
            registry=registry,
            max_iters=len(PROGRAM) + 2,
            stream_final_response=True,
            arg_fill_enabled=False,
            event_callback=self.heard.append,
            **self.options,
            **more,
        )

    async def run(self) -> PlannerFinish:
        finish = await self.planner().run("What is known of penguins?")
        assert isinstance(finish, PlannerFinish), finish
        return finish

    def streamed(self) -> str:
        """The answer as it was told while it was written: what was taken back does not count."""
        text = ""
        for event in self.heard:
            about = event.extra
            if event.event_type == "llm_stream_chunk" and about["channel"] == "answer":
                text = "" if about.get("superseded") else text + about["text"]
        return text


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penguiflow.planner.model_calls.BACKOFF_S", 0.0)


@pytest_asyncio.fixture
async def local(openai_server: ModelServer) -> AsyncIterator[Callable[..., Provider]]:
    made: list[PydanticAIProvider] = []

    def make() -> Provider:
        made.append(PydanticAIProvider("openai/local-1", api_key="a-key", base_url=openai_server.url))
        return made[-1]

    yield make
    for provider in made:
        await provider.aclose()


def speak(server: ModelServer, *, native: bool, **how: Any) -> None:
    """The server says what the program's model says, by what it has been told until now."""

    def reply(asked: Any) -> Said:
        turn = turns_of(asked.body["messages"])
        if not native:
            return Said(text=json.dumps(action(turn), ensure_ascii=bool(turn % 2)), **how)
        if turn >= len(PROGRAM):
            return Said(text=ANSWER, **how)
        return Said(text=THOUGHT, calls=calls(turn), **how)

    server.otherwise = reply


TROUBLE: dict[str, list[Said]] = {
    "too many requests": [Said(status=429, error="slow down", headers={"retry-after": "0"})] * 2,
    "server error": [Said(status=500, error="down"), Said(status=503, error="still down")],
    "cut in the head": [Said(text="x", cut_after=0)],
    "cut in the middle": [Said(text=json.dumps(action(0)), cut_after=3)],
    "no chat completion": [Said(raw=b'{"choices": [{"mess')],
}
UNREADABLE = [
    Said(text='{"next_node": "search", "args": {"q": "Pin'),
    Said(text="Let me think about that for a while."),
    Said(text='{"next_node": "search", "args": ', pieces=1, escaped=True),
]


def seen(finish: PlannerFinish) -> list[dict[str, Any]]:
    """A trajectory without what one wire tells and another does not."""
    assert finish.reason == "answer_complete", finish
    assert finish.payload["raw_answer"] == ANSWER
    steps = []
    for step in finish.metadata["steps"]:
        told = dict(step)
        told["action"] = {key: value for key, value in step["action"].items() if key != "thought"}
        steps.append(told)
    return steps


async def trajectory() -> list[dict[str, Any]]:
    model = ScriptedModel(rules=[(lambda _: True, [action(turn) for turn in range(len(PROGRAM) + 1)])])
    return seen(await Wire(model).run())


async def test_the_program_does_what_it_is_meant_to() -> None:
    steps = await trajectory()

    assert [step["error"] is None for step in steps] == [True, True, True, False, False, False, True]
    assert steps[0]["observation"] == {"urls": ["corpus://Pinguïn 🐧/0", "corpus://Pinguïn 🐧/1"]}
    branches = steps[1]["observation"]["branches"]
    urls = steps[0]["observation"]["urls"]
    assert [branch["observation"]["text"] for branch in branches] == [f"«{url}» in full" for url in urls]
    failure = steps[3]["failure"]
    assert (failure["error_code"], failure["args"]) == ("LookupError", {"url": "corpus://x/gone"})
    assert "nobody" in steps[4]["error"]
    assert "q" in steps[5]["error"]


async def test_scripted_and_native() -> None:
    model = ScriptedModel(rules=[(lambda _: True, [action(turn) for turn in range(len(PROGRAM) + 1)])])
    wire = Wire(model, tool_call_mode="native")

    assert seen(await wire.run()) == await trajectory()
    assert wire.streamed() == ANSWER
    assert all(request.tools for request in model.requests)


async def test_a_client_of_the_programs_own() -> None:
    client = Client()
    wire = Wire(client)
    finish = await wire.run()

    assert seen(finish) == await trajectory()
    assert wire.streamed() == ANSWER
    assert finish.metadata["cost"]["total_cost_usd"] == 0.001 * (len(PROGRAM) + 1)
    assert {form["type"] for form in client.formats} == {"json_schema"}


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("pieces", [1, 3, 4000])
@pytest.mark.parametrize("native", [False, True])
async def test_a_server(
    openai_server: ModelServer, local: Callable[..., Provider], native: bool, pieces: int, escaped: bool
) -> None:
    speak(openai_server, native=native, pieces=pieces, escaped=escaped)
    wire = Wire(local(), tool_call_mode="native" if native else "prompted")
    finish = await wire.run()

    assert seen(finish) == await trajectory()
    assert wire.streamed() == ANSWER
    wire.streamed().encode()  # no half of a character
    for event in wire.heard:
        json.dumps(event.to_payload()).encode()
    assert {asked.body["stream"] for asked in openai_server.asked} == {True}
    assert all(bool(asked.body.get("tools")) == native for asked in openai_server.asked)
    assert finish.metadata["cost"]["total_tokens"] == 27 * (len(PROGRAM) + 1)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("trouble", TROUBLE)
async def test_a_server_that_fails_now_and_then(
    openai_server: ModelServer, local: Callable[..., Provider], native: bool, trouble: str
) -> None:
    speak(openai_server, native=native, pieces=2)
    openai_server.say(*TROUBLE[trouble])
    wire = Wire(local(), tool_call_mode="native" if native else "prompted")
    finish = await wire.run()

    assert seen(finish) == await trajectory()
    assert wire.streamed() == ANSWER
    assert len(openai_server.asked) == len(PROGRAM) + 1 + len(TROUBLE[trouble])
    assert finish.metadata["cost"]["main_llm_calls"] == len(openai_server.asked)


async def test_the_last_answer_is_cut_while_it_is_streamed(
    openai_server: ModelServer, local: Callable[..., Provider]
) -> None:
    """What was told of the answer that broke off is taken back."""
    speak(openai_server, native=False, pieces=2)
    whole = openai_server.otherwise
    assert callable(whole)
    cut: list[bool] = []

    def reply(asked: Any) -> Said:
        said = whole(asked)
        if turns_of(asked.body["messages"]) == len(PROGRAM) and not cut:
            cut.append(True)
            return Said(text=said.text, pieces=2, cut_after=50)
        return said

    openai_server.otherwise = reply
    wire = Wire(local())
    finish = await wire.run()

    assert seen(finish) == await trajectory()
    assert any(event.extra.get("superseded") for event in wire.heard)
    assert wire.streamed() == ANSWER


@pytest.mark.parametrize("said", UNREADABLE)
async def test_a_reply_that_cannot_be_read(
    openai_server: ModelServer, local: Callable[..., Provider], said: Said
) -> None:
    speak(openai_server, native=False)
    openai_server.say(said)
    wire = Wire(local())
    finish = await wire.run()

    assert seen(finish) == await trajectory()
    assert wire.streamed() == ANSWER
    assert finish.metadata["repair_attempts"] == 1


async def test_tool_calls_whose_arguments_cannot_be_read(
    openai_server: ModelServer, local: Callable[..., Provider]
) -> None:
    speak(openai_server, native=True, pieces=3)
    openai_server.say(Said(calls=[("c", "search", '{"q": "Pin')]), Said(calls=[("c", "search", '["Pin"]')]))
    finish = await Wire(local(), tool_call_mode="native").run()

    assert seen(finish) == await trajectory()
    assert finish.metadata["repair_attempts"] == 2


async def test_every_call_of_a_native_run_has_its_result(
    openai_server: ModelServer, local: Callable[..., Provider]
) -> None:
    """Providers refuse a conversation in which a call is left without an answer."""
    speak(openai_server, native=True)
    await Wire(local(), tool_call_mode="native").run()

    told: list[list[Any]] = []
    for asked in openai_server.asked:
        waiting: list[str] = []
        for message in asked.body["messages"]:
            if message["role"] == "tool":
                waiting.remove(message["tool_call_id"])
                continue
            assert waiting == []
            waiting = [call["id"] for call in message.get("tool_calls") or ()]
        assert waiting == []
        told.append([message for message in asked.body["messages"] if message["role"] != "system"])
    assert len(told) == len(PROGRAM) + 1
    for before, after in pairwise(told):
        assert after[: len(before)] == before
        assert len(after) > len(before)


@pytest.mark.parametrize("native", [False, True])
async def test_a_recorded_run_is_replayed_without_the_server(
    openai_server: ModelServer, local: Callable[..., Provider], tmp_path: Path, native: bool
) -> None:
    speak(openai_server, native=native, pieces=3, escaped=True)
    openai_server.say(Said(status=429, headers={"retry-after": "0"}), Said(text="hm", cut_after=1))
    store = SQLiteStateStore(tmp_path / "state.db")
    wire = Wire(local(), tool_call_mode="native" if native else "prompted", state_store=store)
    finish = await wire.run()
    asked = len(openai_server.asked)
    await openai_server.stop()
    await store.recorder().flush()

    again = Wire(wire.model, tool_call_mode="native" if native else "prompted")
    flow, registry = again.planner().as_flow()
    cassette = Cassette.of([event async for event in stored(store, finish.metadata["trace_id"])])
    outcome = (await replay(flow, cassette, registry=registry)).check()

    assert seen(outcome.output) == seen(finish)
    assert outcome.output.metadata == {key: value for key, value in finish.metadata.items() if key != "trace_id"}
    assert len(openai_server.asked) == asked
    await store.close()
