"""Clients of a program's own, and what else a planner may be given as its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow.llm.connect import provider_of
from penguiflow.llm.cooldown import ModelFallbackConfig
from penguiflow.llm.errors import (
    LLMAuthError,
    LLMContextLengthError,
    LLMError,
    LLMInvalidRequestError,
    LLMRateLimitError,
    LLMServerError,
    LLMTimeoutError,
)
from penguiflow.llm.fallback import FallbackProvider
from penguiflow.llm.json_client import JSONClientProvider
from penguiflow.llm.protocol import NativeLLMAdapter, NativeToolCallResult
from penguiflow.llm.providers.pydantic_ai import PydanticAIProvider
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.llm.types import (
    Cost,
    LLMMessage,
    LLMRequest,
    StreamEvent,
    StructuredOutputSpec,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
)

if TYPE_CHECKING:
    from tests.penguiflow.llm.conftest import MakeRequest

SCHEMA = {"type": "object"}


class Plain:
    """What the protocol has had from the first."""

    def __init__(self, answer: Any = "8848 m") -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    async def complete(
        self, *, messages: Sequence[Mapping[str, Any]], response_format: Mapping[str, Any] | None = None
    ) -> Any:
        self.asked.append({"messages": messages, "response_format": response_format})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Streaming(Plain):
    """What the protocol has now."""

    async def complete(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        response_format: Mapping[str, Any] | None = None,
        stream: bool = False,
        on_stream_chunk: Callable[[str, bool], None] | None = None,
        on_reasoning_chunk: Callable[[str, bool], None] | None = None,
    ) -> tuple[str, float]:
        if stream and on_stream_chunk is not None and on_reasoning_chunk is not None:
            on_reasoning_chunk("hm", False)
            on_stream_chunk("8848", False)
            on_stream_chunk(" m", True)
        return "8848 m", 0.25


async def test_a_client_is_asked_as_ever(request_of: MakeRequest) -> None:
    client = Plain()
    request = request_of(structured_output=StructuredOutputSpec("planner_action", SCHEMA))

    answer = await provider_of(client).complete(request)

    assert client.asked == [
        {
            "messages": [{"role": "user", "content": "How high is it?"}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "planner_action", "schema": SCHEMA, "strict": True},
            },
        }
    ]
    assert answer.message.text == "8848 m"
    assert (answer.cost, answer.usage_known) == (None, False)
    assert provider_of(client).model == "Plain"


@pytest.mark.parametrize(
    ("given", "cost"), [(("x", 0.25), Cost(0, 0, 0.25)), (("x", None), None), (("x", 0), Cost.zero())]
)
async def test_the_number_is_a_cost(request_of: MakeRequest, given: Any, cost: Cost | None) -> None:
    answer = await provider_of(Plain(given)).complete(request_of())
    assert (answer.message.text, answer.cost) == ("x", cost)


async def test_a_client_that_streams(request_of: MakeRequest) -> None:
    events: list[StreamEvent] = []

    answer = await provider_of(Streaming()).complete(request_of(), stream=True, on_stream_event=events.append)

    assert [event.delta_text for event in events if event.delta_text] == ["8848", " m"]
    assert [event.delta_reasoning for event in events if event.delta_reasoning] == ["hm"]
    assert events[-1].done
    assert answer.cost == Cost(0, 0, 0.25)


async def test_a_client_that_does_not_stream_says_all_at_once(request_of: MakeRequest) -> None:
    events: list[StreamEvent] = []

    await provider_of(Plain()).complete(request_of(), stream=True, on_stream_event=events.append)

    assert [(event.delta_text, event.done) for event in events] == [("8848 m", False), (None, True)]


async def test_halves_of_characters_are_joined(request_of: MakeRequest) -> None:
    class Halves:
        async def complete(self, *, messages: Any, stream: bool = False, on_stream_chunk: Any = None) -> str:
            if stream:
                for piece in ("a\ud83d", "\ude00", "b\ud83d"):
                    on_stream_chunk(piece, False)
            return "a\ud83d\ude00b\ud83d"

    events: list[StreamEvent] = []
    answer = await provider_of(Halves()).complete(request_of(), stream=True, on_stream_event=events.append)

    assert answer.message.text == "a😀b\ufffd"
    assert [event.delta_text for event in events if event.delta_text] == ["a", "😀", "b", "\ufffd"]


async def test_signatures_of_all_kinds(request_of: MakeRequest) -> None:
    class Takes:
        model = "mine"

        async def complete(self, **everything: Any) -> str:
            return ",".join(sorted(everything))

    class Sync:
        def complete(self, messages: Any) -> str:
            return "at once"

    provider = provider_of(Takes())
    assert (await provider.complete(request_of())).message.text == "messages,on_stream_chunk,response_format,stream"
    assert provider.model == "mine"
    assert (await provider_of(Sync()).complete(request_of())).message.text == "at once"


async def test_a_client_with_tools() -> None:
    class Tools(Plain):
        async def complete_with_tools(self, *, messages: Any, tools: Any, stream: bool = False) -> Any:
            self.asked.append({"messages": messages, "tools": tools})
            return NativeToolCallResult("I search.", [ToolCallPart("search", "{}", "c")], 0.5, "hm")

    client, tool = Tools(), ToolSpec("search", "Finds", SCHEMA)
    messages = (
        LLMMessage.of("user", "q"),
        LLMMessage("assistant", (ToolCallPart("search", "{}", "b"),)),
        LLMMessage("tool", (ToolResultPart("search", "found", "b"),)),
    )
    provider = provider_of(client)
    assert provider.profile.supports_native_tool_calls

    answer = await provider.complete(LLMRequest("any", messages, tools=(tool,)))

    assert answer.message.parts == (TextPart("I search."), ToolCallPart("search", "{}", "c"))
    assert (answer.reasoning_content, answer.cost, answer.finish_reason) == ("hm", Cost(0, 0, 0.5), "tool_calls")
    (asked,) = client.asked
    assert asked["tools"] == [tool]
    assert asked["messages"] == [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "b", "type": "function", "function": {"name": "search", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "b", "name": "search", "content": "found"},
    ]
    assert not provider_of(Plain()).profile.supports_native_tool_calls


class RateLimitError(Exception):
    """Named as client libraries name it."""


class ContextWindowExceededError(Exception):
    """Named so too."""


class WithStatus(Exception):
    """Has a status, as others do."""

    status_code = 401


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (RateLimitError("busy"), LLMRateLimitError),
        (ContextWindowExceededError("maximum context length"), LLMContextLengthError),
        (WithStatus("no"), LLMAuthError),
        (TimeoutError(), LLMTimeoutError),
        (ConnectionResetError("reset"), LLMServerError),
        (LLMInvalidRequestError("as it is"), LLMInvalidRequestError),
    ],
)
async def test_failures_of_libraries_are_known(
    request_of: MakeRequest, raised: Exception, kind: type[LLMError]
) -> None:
    with pytest.raises(kind) as caught:
        await provider_of(Plain(raised)).complete(request_of())
    assert caught.value is raised or caught.value.raw is raised


async def test_bugs_stay_what_they_are(request_of: MakeRequest) -> None:
    with pytest.raises(ZeroDivisionError):
        await provider_of(Plain(ZeroDivisionError())).complete(request_of())
    with pytest.raises(TypeError, match=r"`complete` of Plain gave int; it must give a str, or \(str, cost\)"):
        await provider_of(Plain(3)).complete(request_of())


def test_what_is_given_as_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedModel()
    assert provider_of(scripted) is scripted
    assert isinstance(provider_of("scripted"), ScriptedModel)
    assert isinstance(provider_of({"model": "scripted"}), ScriptedModel)
    assert isinstance(provider_of(Plain()), JSONClientProvider)
    named = provider_of({"model": "openai/local", "api_key": "k", "api_base": "http://127.0.0.1:9/v1"})
    assert isinstance(named, PydanticAIProvider)
    assert (named.provider_name, named.model) == ("openai", "local")
    adapter = NativeLLMAdapter("mine", provider=scripted)
    assert provider_of(adapter) is scripted
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    several = provider_of({"model": "gpt-4o", "api_key": "a"}, fallback=ModelFallbackConfig(["gpt-4o-mini"]))
    assert isinstance(several, FallbackProvider)
    assert several.model == "gpt-4o"


def test_what_is_no_model() -> None:
    with pytest.raises(TypeError, match="object is no model client"):
        provider_of(object())
    for nameless in ("", {}, {"model": None}, {"api_key": "k"}):
        with pytest.raises(ValueError, match="a model is given by its name"):
            provider_of(nameless)
    with pytest.raises(ValueError, match="a fallback is for models that are given by name"):
        provider_of(Plain(), fallback=ModelFallbackConfig(["gpt-4o"]))


def test_a_class_that_takes_requests_and_is_no_provider_is_told_so() -> None:
    class Mine:
        async def complete(self, request: LLMRequest) -> str:
            return "hello"

    with pytest.raises(
        TypeError, match=r"`complete` of Mine takes a request: make Mine a subclass of `penguiflow\.llm\."
    ):
        JSONClientProvider(Mine())
