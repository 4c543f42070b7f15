"""Anthropic's and Google's protocols, as far as the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import pytest_asyncio

from penguiflow.llm.errors import (
    LLMAuthError,
    LLMContextLengthError,
    LLMError,
    LLMRateLimitError,
    LLMServerError,
)
from penguiflow.llm.providers.pydantic_ai import PydanticAIProvider
from penguiflow.llm.types import (
    ImagePart,
    LLMMessage,
    LLMRequest,
    StreamEvent,
    StructuredOutputSpec,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
    Usage,
)

if TYPE_CHECKING:
    from tests.penguiflow.llm.conftest import MakeRequest

CLAUDE, GEMINI = "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash"
SEARCH = ToolSpec("search", "Finds pages", {"type": "object", "properties": {"q": {"type": "string"}}})
OPEN = {
    "type": "object",
    "properties": {"args": {"type": "object", "additionalProperties": True}},
    "required": ["args"],
}
CONVERSATION = LLMRequest(
    "any",
    (
        LLMMessage.of("system", "Be brief."),
        LLMMessage("user", (TextPart("Look"), ImagePart(b"png", "image/png"))),
        LLMMessage("assistant", (ToolCallPart("search", '{"q": "a"}', "one"),)),
        LLMMessage("tool", (ToolResultPart("search", "out of order", "one", is_error=True),)),
    ),
    tools=(SEARCH,),
    temperature=0.25,
    max_tokens=100,
    extra={"top_p": 0.5, "seed": 7},
)


class Wire:
    """Answers every request in the same way; keeps what was asked."""

    def __init__(self, answer: Callable[[dict[str, Any]], httpx2.Response]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self._answer = answer

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._handle), timeout=60)

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(json.loads(request.content))
        self.paths.append(request.url.path)
        return self._answer(self.asked[-1])


MakeWire = Callable[..., tuple[Wire, PydanticAIProvider]]


@pytest_asyncio.fixture
async def wired() -> AsyncIterator[MakeWire]:
    made: list[PydanticAIProvider] = []

    def make(model: str, answer: Callable[[dict[str, Any]], httpx2.Response]) -> tuple[Wire, PydanticAIProvider]:
        wire = Wire(answer)
        made.append(PydanticAIProvider(model, api_key="a-key", client_factory=wire.client))
        return wire, made[-1]

    yield make
    for provider in made:
        await provider.aclose()


def events(*told: Mapping[str, Any]) -> httpx2.Response:
    lines = [(f"event: {each['type']}\n" if "type" in each else "") + f"data: {json.dumps(each)}\n\n" for each in told]
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content="".join(lines).encode())


def claude(asked: dict[str, Any]) -> httpx2.Response:
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0}
    about: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6-20260101",
    }
    about |= {"stop_sequence": None, "usage": usage}
    call = {"type": "tool_use", "id": "two", "name": "search", "input": {"q": "b"}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    if not asked.get("stream"):
        content = [thought, {"type": "text", "text": "Hi 😀"}, call]
        return httpx2.Response(200, json={**about, "content": content, "stop_reason": "tool_use"})
    blocks: list[tuple[Any, list[Any]]] = [
        ({**thought, "thinking": "", "signature": ""}, [{"type": "thinking_delta", "thinking": "hm"}]),
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": text} for text in ("Hi ", "😀")]),
        (
            {**call, "input": {}},
            [{"type": "input_json_delta", "partial_json": piece} for piece in ('{"q": ', '"b"}')],
        ),
    ]
    told: list[Any] = [{"type": "message_start", "message": {**about, "content": [], "stop_reason": None}}]
    for index, (block, deltas) in enumerate(blocks):
        told.append({"type": "content_block_start", "index": index, "content_block": block})
        told += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        told.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": "tool_use", "stop_sequence": None}
    told.append({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 5}})
    return events(*told, {"type": "message_stop"})


def gemini(asked: dict[str, Any]) -> httpx2.Response:
    parts = [
        {"text": "hm", "thought": True},
        {"text": "Hi 😀"},
        {"functionCall": {"id": "two", "name": "search", "args": {"q": "b"}}},
    ]
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 18}
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    answer = {
        "candidates": [candidate],
        "usageMetadata": {**usage, "cachedContentTokenCount": 4},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r1",
    }
    return httpx2.Response(200, json=answer)


def gemini_streamed(asked: dict[str, Any]) -> httpx2.Response:
    return events(gemini(asked).json())


async def test_what_claude_is_asked_and_says(wired: MakeWire) -> None:
    wire, provider = wired(CLAUDE, claude)

    answer = await provider.complete(CONVERSATION)

    (asked,) = wire.asked
    assert wire.paths == ["/v1/messages"]
    assert asked["system"] == "Be brief."
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]
    assert asked["messages"][0]["content"][1]["source"]["data"] == "cG5n"
    assert asked["messages"][1]["content"][0]["input"] == {"q": "a"}
    result = asked["messages"][2]["content"][0]
    assert (result["tool_use_id"], result["is_error"]) == ("one", True)
    assert asked["tools"][0]["name"] == "search"
    wanted = {"model": "claude-sonnet-4-6", "max_tokens": 100, "temperature": 0.25, "top_p": 0.5}
    assert {name: asked[name] for name in wanted} == wanted
    assert "seed" not in asked, "Anthropic has none"
    assert answer.message.parts == (TextPart("Hi 😀"), ToolCallPart("search", '{"q":"b"}', "two"))
    assert answer.usage == Usage(14, 5, 19, cached_tokens=4)
    assert (answer.reasoning_content, answer.finish_reason, answer.response_id) == ("hm", "tool_calls", "msg_1")
    assert answer.model == "claude-sonnet-4-6-20260101"
    assert answer.cost is not None
    assert answer.cost.total_cost > 0


async def test_what_gemini_is_asked_and_says(wired: MakeWire) -> None:
    wire, provider = wired(GEMINI, gemini)

    answer = await provider.complete(CONVERSATION)

    (asked,) = wire.asked
    assert wire.paths == ["/v1beta/models/gemini-2.5-flash:generateContent"]
    assert asked["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert [content["role"] for content in asked["contents"]] == ["user", "model", "user"]
    assert asked["contents"][0]["parts"][1]["inlineData"]["data"] == "cG5n"
    assert asked["contents"][1]["parts"][0]["functionCall"]["args"] == {"q": "a"}
    assert asked["contents"][2]["parts"][0]["functionResponse"]["response"] == {"error": "out of order"}
    config = asked["generationConfig"]
    assert (config["temperature"], config["maxOutputTokens"], config["topP"], config["seed"]) == (0.25, 100, 0.5, 7)
    assert answer.message.text == "Hi 😀"
    (call,) = answer.message.tool_calls
    assert (call.name, json.loads(call.arguments_json), call.call_id) == ("search", {"q": "b"}, "two")
    assert answer.usage == Usage(10, 8, 18, cached_tokens=4, reasoning_tokens=3)
    assert (answer.reasoning_content, answer.finish_reason, answer.response_id) == ("hm", "tool_calls", "r1")


@pytest.mark.parametrize(("model", "wire"), [(CLAUDE, claude), (GEMINI, gemini_streamed)])
async def test_what_is_streamed(wired: MakeWire, model: str, wire: Any) -> None:
    _, provider = wired(model, wire)
    told: list[StreamEvent] = []

    answer = await provider.complete(CONVERSATION, stream=True, on_stream_event=told.append)

    assert "".join(event.delta_text or "" for event in told) == answer.message.text == "Hi 😀"
    assert "".join(event.delta_reasoning or "" for event in told) == answer.reasoning_content == "hm"
    deltas = [event.delta_tool_call for event in told if event.delta_tool_call is not None]
    assert {(delta.name, delta.call_id) for delta in deltas} == {("search", "two")}
    assert json.loads("".join(delta.arguments_json for delta in deltas)) == {"q": "b"}
    assert (told[-1].done, told[-1].usage, told[-1].finish_reason) == (True, answer.usage, "tool_calls")
    assert answer.usage.cached_tokens == 4


async def test_an_open_schema_stays_open(wired: MakeWire, request_of: MakeRequest) -> None:
    request = request_of(structured_output=StructuredOutputSpec("action", OPEN))
    wire, provider = wired(CLAUDE, claude)
    await provider.complete(request)
    asked = wire.asked[0]
    assert "format" not in asked.get("output_config", {}), "there the object would be closed"
    assert '"args"' in json.dumps(asked["system"]).replace('\\"', '"')

    wire, provider = wired(GEMINI, gemini)
    await provider.complete(request)
    schema = wire.asked[0]["generationConfig"]["responseJsonSchema"]
    assert schema["properties"]["args"]["additionalProperties"] is True


async def test_a_closed_schema_is_enforced(wired: MakeWire, request_of: MakeRequest) -> None:
    closed = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wire, provider = wired(CLAUDE, claude)

    await provider.complete(request_of(structured_output=StructuredOutputSpec("number", closed)))

    assert wire.asked[0]["output_config"]["format"]["type"] == "json_schema"


@pytest.mark.parametrize("model", [CLAUDE, GEMINI])
@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [
        (429, ("rate_limit_error", "RESOURCE_EXHAUSTED", "slow down"), LLMRateLimitError),
        (401, ("authentication_error", "UNAUTHENTICATED", "wrong key"), LLMAuthError),
        (400, ("invalid_request_error", "INVALID_ARGUMENT", "prompt is too long: 9 tokens"), LLMContextLengthError),
        (503, ("overloaded_error", "UNAVAILABLE", "too much to do"), LLMServerError),
    ],
)
async def test_what_goes_wrong(
    wired: MakeWire,
    request_of: MakeRequest,
    model: str,
    status: int,
    told: tuple[str, str, str],
    kind: type[LLMError],
) -> None:
    error = {"type": told[0], "status": told[1], "message": told[2], "code": status}
    response = httpx2.Response(status, headers={"retry-after": "3"}, json={"type": "error", "error": error})
    wire, provider = wired(model, lambda asked: response)

    with pytest.raises(kind, match=told[2]) as caught:
        await provider.complete(request_of())

    assert len(wire.asked) == 1, "the libraries below do not ask again"
    if isinstance(caught.value, LLMRateLimitError):
        assert caught.value.retry_after == 3.0
