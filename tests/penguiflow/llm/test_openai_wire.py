"""Chat completions over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow.llm.calls import AskPolicy, ask
from penguiflow.llm.errors import (
    LLMAuthError,
    LLMCancelledError,
    LLMContextLengthError,
    LLMError,
    LLMInvalidRequestError,
    LLMRateLimitError,
    LLMServerError,
    LLMTimeoutError,
)
from penguiflow.llm.providers.base import Provider
from penguiflow.llm.providers.pydantic_ai import PydanticAIProvider
from penguiflow.llm.types import (
    AudioPart,
    CancelToken,
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
from tests.model_server import Said

if TYPE_CHECKING:
    from tests.model_server import ModelServer
    from tests.penguiflow.llm.conftest import MakeRequest

MakeModel = Callable[..., Provider]
PATIENCE = 60  # seconds
EMOJI = 'Hä 😀 "so" 👩‍🚀 \\u \n end'
SEARCH = ToolSpec("search", "Finds pages", {"type": "object", "properties": {"q": {"type": "string"}}})
ACTION = StructuredOutputSpec(
    "planner_action",
    {
        "type": "object",
        "properties": {"next_node": {"type": "string"}, "args": {"type": "object", "additionalProperties": True}},
        "required": ["next_node"],
    },
)


async def streamed(provider: Provider, request: LLMRequest) -> tuple[Any, list[StreamEvent]]:
    events: list[StreamEvent] = []
    return await provider.complete(request, stream=True, on_stream_event=events.append), events


async def test_a_whole_answer(openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest) -> None:
    openai_server.say(Said(text="8848 m", reasoning="Everest, surely."))

    answer = await local_model().complete(request_of())

    assert answer.message == LLMMessage("assistant", (TextPart("8848 m"),))
    assert answer.usage == Usage(20, 7, 27, cached_tokens=5, reasoning_tokens=3)
    assert answer.usage_known
    assert answer.reasoning_content == "Everest, surely."
    assert (answer.finish_reason, answer.response_id, answer.model) == ("stop", "chatcmpl-1", None)
    assert answer.cost is None


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("pieces", [1, 2, 5])
async def test_a_streamed_answer(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest, escaped: bool, pieces: int
) -> None:
    openai_server.say(Said(text=EMOJI, reasoning="😀 hm", escaped=escaped, pieces=pieces))

    answer, events = await streamed(local_model(), request_of())

    assert answer.message.text == EMOJI
    assert "".join(event.delta_text or "" for event in events) == EMOJI
    assert "".join(event.delta_reasoning or "" for event in events) == answer.reasoning_content == "😀 hm"
    json.dumps([event.delta_text for event in events], ensure_ascii=False).encode()
    assert (events[-1].done, events[-1].usage, events[-1].finish_reason) == (True, answer.usage, "stop")
    assert answer.usage == Usage(20, 7, 27, cached_tokens=5, reasoning_tokens=3)


async def test_reasoning_that_nobody_shall_see(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    openai_server.say(Said(text="8848 m", reasoning="hm"))

    answer, events = await streamed(local_model(), request_of(extra={"reasoning_display": "omitted"}))

    assert answer.reasoning_content is None
    assert [event.delta_reasoning for event in events if event.delta_reasoning] == []
    assert answer.message.text == "8848 m"


async def test_half_of_a_character_that_stays_alone(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    openai_server.say(Said(text="half: \ud83d", escaped=True))

    answer, events = await streamed(local_model(), request_of())

    assert answer.message.text == "half: \ufffd"
    assert "".join(event.delta_text or "" for event in events) == "half: \ufffd"


async def test_tool_calls_that_are_streamed_in_pieces(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    openai_server.say(
        Said(calls=[("a", "search", '{"q": "😀 x"}'), ("b", "search", '{"q": tru')], pieces=3, escaped=True)
    )

    answer, events = await streamed(local_model(), request_of(tools=(SEARCH,)))

    assert answer.message.tool_calls == [
        ToolCallPart("search", '{"q": "😀 x"}', "a"),
        ToolCallPart("search", '{"q": tru', "b"),
    ]
    assert answer.finish_reason == "tool_calls"
    deltas = [event.delta_tool_call for event in events if event.delta_tool_call is not None]
    assert {delta.name for delta in deltas} == {"search"}
    assert "".join(delta.arguments_json for delta in deltas if delta.call_id == "a") == '{"q": "😀 x"}'
    assert "".join(delta.arguments_json for delta in deltas if delta.call_id == "b") == '{"q": tru'


async def test_what_is_asked(openai_server: ModelServer, local_model: MakeModel) -> None:
    conversation = (
        LLMMessage.of("system", "Be brief."),
        LLMMessage("user", (TextPart("Look"), ImagePart(b"png", "image/png", "low"))),
        LLMMessage("assistant", (TextPart("I search."), ToolCallPart("search", '{"q": "a"}', "one"))),
        LLMMessage("tool", (ToolResultPart("search", '{"found": 1}', "one"),)),
        LLMMessage("assistant", (ToolCallPart("search", '{"q": "b"}'),)),
        LLMMessage("tool", (ToolResultPart("search", '{"found": 2}'),)),
    )
    request = LLMRequest(
        "any",
        conversation,
        tools=(SEARCH,),
        tool_choice="required",
        temperature=0.25,
        max_tokens=50,
        extra={"reasoning_effort": "low", "top_p": 0.5, "guided_regex": "a+", "seed": 7},
    )

    await local_model().complete(request)

    (asked,) = openai_server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer a-key"
    body = asked.body
    assert [message["role"] for message in body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
    ]
    image = body["messages"][1]["content"][1]["image_url"]
    assert (image["url"], image["detail"]) == ("data:image/png;base64,cG5n", "low")
    first, second = body["messages"][2], body["messages"][4]
    assert first["content"] == "I search."
    assert first["tool_calls"][0]["function"]["name"] == "search"
    assert json.loads(first["tool_calls"][0]["function"]["arguments"]) == {"q": "a"}
    assert first["tool_calls"][0]["id"] == body["messages"][3]["tool_call_id"] == "one"
    assert second["tool_calls"][0]["id"] == body["messages"][5]["tool_call_id"]
    assert body["messages"][5]["content"] == '{"found": 2}'
    assert body["tools"][0]["function"]["name"] == "search"
    assert body["tools"][0]["function"]["parameters"]["properties"] == {"q": {"type": "string"}}
    wanted = {"model": "local-1", "temperature": 0.25, "max_tokens": 50, "tool_choice": "required", "top_p": 0.5}
    assert {name: body[name] for name in wanted} == wanted
    assert (body["reasoning_effort"], body["guided_regex"], body["seed"]) == ("low", "a+", 7)


async def test_a_call_that_was_no_json_can_be_told_again(openai_server: ModelServer, local_model: MakeModel) -> None:
    conversation = (
        LLMMessage.of("user", "Search"),
        LLMMessage("assistant", (ToolCallPart("search", '{"q": tru', "one"),)),
        LLMMessage("tool", (ToolResultPart("search", "these arguments are no JSON", "one", is_error=True),)),
    )

    await local_model().complete(LLMRequest("any", conversation, tools=(SEARCH,)))

    told = openai_server.asked[0].body["messages"]
    assert "tru" in told[1]["tool_calls"][0]["function"]["arguments"]
    assert "these arguments are no JSON" in told[2]["content"]


async def test_sound_is_asked_about(openai_server: ModelServer, local_model: MakeModel) -> None:
    request = LLMRequest("any", (LLMMessage("user", (TextPart("What is said?"), AudioPart(b"wav", "audio/wav"))),))

    await local_model("openai/gpt-4o-audio-preview").complete(request)

    assert openai_server.asked[0].body["messages"][0]["content"][1]["input_audio"] == {"data": "d2F2", "format": "wav"}


async def test_an_open_schema_stays_open(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    await local_model().complete(request_of(structured_output=ACTION))

    form = openai_server.asked[0].body["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["name"] == "planner_action"
    assert form["json_schema"]["strict"] is False
    assert form["json_schema"]["schema"]["properties"]["args"]["additionalProperties"] is True


async def test_a_server_that_knows_no_schema_is_asked_for_json(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    openai_server.say(Said(status=400, error="response_format of type json_schema is not supported"), "{}")

    answer = await ask(local_model(), request_of(structured_output=ACTION), policy=AskPolicy())

    assert answer.message.text == "{}"
    assert openai_server.asked[1].body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("said", "kind", "retryable", "text"),
    [
        (Said(status=401, error="wrong key"), LLMAuthError, False, r"wrong key \(HTTP 401\)"),
        (Said(status=403, error="not yours"), LLMAuthError, False, "not yours"),
        (Said(status=429, headers={"retry-after": "7"}), LLMRateLimitError, True, "429"),
        (Said(status=400, error="maximum context length is 10 tokens"), LLMContextLengthError, False, "10 tokens"),
        (Said(status=400, error="no such field"), LLMInvalidRequestError, False, "no such field"),
        (Said(status=404, error="no such model"), LLMInvalidRequestError, False, "no such model"),
        (Said(status=500, error="oh"), LLMServerError, True, "oh"),
        (Said(status=503), LLMServerError, True, "503"),
        (Said(text="a long answer", cut_after=3), LLMServerError, True, "peer closed"),
        (Said(raw=b"data: {nope\n\n"), LLMServerError, True, "JSON"),
        (Said(raw=b""), LLMServerError, True, "openai"),
    ],
)
async def test_what_goes_wrong(
    openai_server: ModelServer,
    local_model: MakeModel,
    request_of: MakeRequest,
    said: Said,
    kind: type[LLMError],
    retryable: bool,
    text: str,
    stream: bool,
) -> None:
    openai_server.say(said)

    with pytest.raises(kind, match=text) as caught:
        await local_model().complete(request_of(), stream=stream, on_stream_event=lambda event: None)

    assert type(caught.value) is kind
    assert caught.value.retryable is retryable
    assert caught.value.provider == "openai"
    assert len(openai_server.asked) == 1, "the libraries below do not ask again"
    if isinstance(caught.value, LLMRateLimitError):
        assert caught.value.retry_after == 7.0


async def test_a_model_that_there_is_not(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    openai_server.say(Said(status=404, error="The model `local-1` does not exist"))

    with pytest.raises(LLMInvalidRequestError) as caught:
        await local_model().complete(request_of())

    told = f"openai (local-1): The model `local-1` does not exist (HTTP 404), at {openai_server.url}"
    assert str(caught.value) == told


async def test_there_is_no_key(request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(LLMAuthError) as caught:
        await PydanticAIProvider("openai/gpt-4o-mini").complete(request_of())

    how = "set OPENAI_API_KEY in the environment, or give `api_key` beside `model`"
    assert str(caught.value) == f"openai (gpt-4o-mini): there is no key: {how}"


async def test_nobody_is_there(local_model: MakeModel, request_of: MakeRequest, openai_server: ModelServer) -> None:
    provider, url = local_model(), openai_server.url
    await openai_server.stop()

    with pytest.raises(LLMServerError, match=rf"Connection error.*, at {url}"):
        await provider.complete(request_of())


async def test_an_answer_that_was_cut_is_asked_for_again(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    openai_server.say(Said(text="8848 metres", cut_after=2), Said(status=500), "8848 m")
    told: list[str] = []

    answer = await ask(
        local_model(),
        request_of(),
        policy=AskPolicy(backoff_s=0),
        on_event=lambda event: told.append(event.delta_text or ""),
        on_retry=lambda attempt, error, delay: told.append(f"<{attempt}>"),
    )

    assert answer.message.text == "8848 m"
    assert "".join(told).rpartition("<2>")[2] == "8848 m"


async def test_a_server_that_does_not_tell_its_usage(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    openai_server.say(Said(text="8848 m", usage=None), Said(text="8848 m", usage=None))

    whole = await local_model().complete(request_of())
    pieces, events = await streamed(local_model(), request_of())

    assert (whole.usage, whole.usage_known) == (pieces.usage, pieces.usage_known) == (Usage.zero(), False)
    assert events[-1].usage is None


@pytest.mark.parametrize("stream", [False, True])
async def test_an_empty_answer_is_an_answer(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest, stream: bool
) -> None:
    openai_server.say(Said(text=""))

    answer = await local_model().complete(request_of(), stream=stream, on_stream_event=lambda event: None)

    assert answer.message.text == ""


@pytest.mark.parametrize("stream", [False, True])
async def test_a_megabyte(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest, stream: bool
) -> None:
    text = "0123456789abcdeü" * 65_536
    openai_server.say(Said(text=text, pieces=50_000))

    answer = await local_model().complete(request_of(), stream=stream, on_stream_event=lambda event: None)

    assert answer.message.text == text


async def test_two_hundred_at_once(openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest) -> None:
    openai_server.otherwise = lambda asked: Said(text=f"answer to {asked.body['messages'][0]['content']}")
    provider = local_model()

    answers = await asyncio.gather(*(provider.complete(request_of(f"question {number}")) for number in range(200)))

    assert [each.message.text for each in answers] == [f"answer to question {number}" for number in range(200)]


@pytest.mark.parametrize("after", [None, 2])
async def test_a_call_that_is_cancelled_closes_its_connection(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest, after: int | None
) -> None:
    openai_server.say(Said(text="a long answer", hold=asyncio.Event(), hold_after=after))
    call = asyncio.create_task(
        local_model().complete(request_of(), stream=after is not None, on_stream_event=lambda event: None)
    )
    async with asyncio.timeout(PATIENCE):
        await openai_server.waiting.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await openai_server.gone.wait()


async def test_a_token_gives_a_call_up(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    openai_server.say(Said(hold=asyncio.Event()))
    token = CancelToken()
    call = asyncio.create_task(local_model().complete(request_of(), cancel=token))
    async with asyncio.timeout(PATIENCE):
        await openai_server.waiting.wait()
        token.cancel()
        with pytest.raises(LLMCancelledError):
            await call
        await openai_server.gone.wait()


async def test_an_answer_that_does_not_come_in_time(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    openai_server.say(Said(hold=asyncio.Event()))

    with pytest.raises(LLMTimeoutError):
        await local_model().complete(request_of(), timeout_s=0.05)


async def test_what_a_listener_raises_is_its_own(
    openai_server: ModelServer, local_model: MakeModel, request_of: MakeRequest
) -> None:
    def listen(event: StreamEvent) -> None:
        raise ZeroDivisionError("of the listener")

    with pytest.raises(ZeroDivisionError, match="of the listener"):
        await local_model().complete(request_of(), stream=True, on_stream_event=listen)
