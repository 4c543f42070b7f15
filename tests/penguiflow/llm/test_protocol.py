"""A provider as a planner's client, and where its calls are told of."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from penguiflow.llm.calls import AskPolicy, ask
from penguiflow.llm.connect import provider_of
from penguiflow.llm.cooldown import ModelFallbackConfig
from penguiflow.llm.errors import LLMInvalidRequestError, LLMRateLimitError, LLMServerError
from penguiflow.llm.fallback import FallbackLLMClient
from penguiflow.llm.protocol import NativeLLMAdapter, NativeToolCallResult, create_native_adapter
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.telemetry import LLMEvent, create_mlflow_callback, create_prometheus_callback
from penguiflow.llm.tracing import (
    LLMCallSpan,
    LLMTraceSink,
    LoggingLLMTraceSink,
    MlflowLLMTraceSink,
    resolve_trace_sink_from_env,
)
from penguiflow.llm.types import (
    AudioPart,
    Cost,
    ImagePart,
    LLMRequest,
    StreamEvent,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
)
from tests.model_server import Said

if TYPE_CHECKING:
    from tests.model_server import ModelServer

ASKED = [{"role": "user", "content": "How high is it?"}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "action", "schema": {"type": "object"}}}


def adapter(*replies: Any, **options: Any) -> tuple[NativeLLMAdapter, ScriptedModel]:
    model = ScriptedModel(list(replies))
    return NativeLLMAdapter("mine", provider=model, **options), model


async def test_a_text_and_its_cost() -> None:
    client, model = adapter(ScriptedReply(text="8848 m", cost=Cost(1, 2, 3)), temperature=0.5, reasoning_effort="low")

    assert await client.complete(messages=ASKED, response_format=SCHEMA) == ("8848 m", 3)

    (asked,) = model.requests
    assert (asked.temperature, asked.extra) == (0.5, {"reasoning_effort": "low"})
    assert asked.structured_output is not None
    assert (asked.structured_output.name, asked.structured_output.strict) == ("action", True)
    assert client.model == "mine"


async def test_options_of_requests() -> None:
    client, model = adapter("1", "2", json_schema_mode=False, use_native_reasoning=False, reasoning_effort="low")

    await client.complete(messages=ASKED, response_format=SCHEMA)
    await client.complete(messages=ASKED)

    assert [asked.extra for asked in model.requests] == [{"response_format": {"type": "json_object"}}, None]
    with pytest.raises(ValueError, match="reasoning_display"):
        adapter(reasoning_display="loud")


async def test_chunks() -> None:
    client, _ = adapter(ScriptedReply(text="8848 m", reasoning="hm"), "quiet", streaming_enabled=True)
    told: list[tuple[str, str, bool]] = []
    hears: dict[str, Any] = {
        "on_stream_chunk": lambda piece, done: told.append(("text", piece, done)),
        "on_reasoning_chunk": lambda piece, done: told.append(("thought", piece, done)),
    }

    await client.complete(messages=ASKED, stream=True, **hears)

    assert told == [("thought", "hm", False), ("text", "8848 m", False), ("text", "", True), ("thought", "", True)]
    told.clear()
    await client.complete(messages=ASKED, stream=False, **hears)
    assert told == []


async def test_tools() -> None:
    reply = ScriptedReply(text="I search.", tool_calls=(ToolCallPart("search", "{}", "c"),), reasoning="hm")
    client, model = adapter(reply)
    tool = ToolSpec("search", "Finds", {"type": "object"})
    messages: list[dict[str, Any]] = [
        *ASKED,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "b", "function": {"name": "s", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "b", "name": "s", "content": {"found": 1}},
    ]

    result = await client.complete_with_tools(messages=messages, tools=[tool])

    assert result == NativeToolCallResult("I search.", [ToolCallPart("search", "{}", "c")], 0.0, "hm")
    assert model.requests[0].tools == (tool,)
    assert model.requests[0].messages[1].parts == (ToolCallPart("s", "{}", "b"),)
    assert model.requests[0].messages[2].parts == (ToolResultPart("s", '{"found": 1}', "b"),)


async def test_parts_of_messages() -> None:
    client, model = adapter("seen", "too large", multimodal_inline_data_limit_bytes=3)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n", "detail": "low"}}
    sound = {"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}}
    content = [{"type": "text", "text": "Look"}, image, sound, ImagePart(b"own", "image/gif")]

    await client.complete(messages=[{"role": "user", "content": content}])

    assert model.requests[0].messages[0].parts == (
        TextPart("Look"),
        ImagePart(b"png", "image/png", "low"),
        AudioPart(b"wav", "audio/wav"),
        ImagePart(b"own", "image/gif"),
    )
    for part, told in (
        (
            {"type": "image_url", "image_url": "data:image/png;base64,bGFyZ2U="},
            "5 bytes of image/png are more than the 3",
        ),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "as a data URL"),
        ({"type": "input_audio", "input_audio": {"data": "%%"}}, "is not base64"),
        ({"type": "video"}, "no such part"),
    ):
        with pytest.raises(LLMInvalidRequestError, match=told):
            await client.complete(messages=[{"role": "user", "content": [part]}])
    with pytest.raises(LLMInvalidRequestError, match="no role 'robot'"):
        await client.complete(messages=[{"role": "robot", "content": "x"}])


async def test_events_of_an_answer() -> None:
    client, _ = adapter("8848 m", LLMServerError("500"))

    told = [event async for event in client.stream_events(messages=ASKED)]

    assert "".join(event.delta_text or "" for event in told) == "8848 m"
    assert told[-1].done
    with pytest.raises(LLMServerError):
        async for _ in client.stream_events(messages=ASKED):
            pass


async def test_leaving_the_events_gives_the_call_up(openai_server: ModelServer) -> None:
    openai_server.say(Said(text="a long answer", hold=asyncio.Event(), hold_after=2))
    client = create_native_adapter("openai/local-1", api_key="k", base_url=openai_server.url)

    events = client.stream_events(messages=ASKED)
    first: StreamEvent = await anext(events)
    await events.aclose()

    assert first.delta_text
    await asyncio.wait_for(openai_server.gone.wait(), 60)


async def test_a_rate_limit_may_be_left_to_others() -> None:
    busy = LLMRateLimitError("429", retry_after=0.001)
    client, model = adapter(busy, "never", retry_rate_limit_errors=False)
    with pytest.raises(LLMRateLimitError):
        await client.complete(messages=ASKED)
    assert len(model.requests) == 1


async def test_models_by_name(openai_server: ModelServer) -> None:
    client = create_native_adapter({"model": "openai/local-1", "api_key": "k", "api_base": openai_server.url})
    assert await client.complete(messages=ASKED) == ("That is all.", 0.0)
    with pytest.raises(ValueError, match="by its name"):
        create_native_adapter({"api_key": "k"})

    openai_server.say(Said(status=429, headers={"retry-after": "60"}), Said(text="fresh"))
    several = create_native_adapter(
        "openai/local-1", base_url=openai_server.url, fallback=ModelFallbackConfig([], ["spent", "fresh"])
    )
    assert isinstance(several, FallbackLLMClient)
    assert await several.complete(messages=ASKED) == ("fresh", 0.0)
    openai_server.say(Said(calls=[("c", "search", "{}")]))
    tool = ToolSpec("search", "Finds", {"type": "object"})
    provider = provider_of(several)
    answer = await ask(provider, LLMRequest("any", (), tools=(tool,)), policy=AskPolicy(), on_event=lambda event: None)
    assert answer.message.tool_calls == [ToolCallPart("search", "{}", "c")]


class Sink:
    """Keeps the calls that it is told of."""

    def __init__(self) -> None:
        self.calls: list[LLMCallSpan] = []

    @contextmanager
    def span(self, call: LLMCallSpan) -> Iterator[None]:
        try:
            yield
        finally:
            self.calls.append(call)


async def test_a_sink_is_told_of_each_call() -> None:
    sink = Sink()
    assert isinstance(sink, LLMTraceSink)
    client, _ = adapter("8848 m", LLMInvalidRequestError("no"), trace_sink=sink)

    await client.complete(messages=ASKED, response_format=SCHEMA)
    with pytest.raises(LLMInvalidRequestError):
        await client.complete(messages=ASKED)

    good, bad = sink.calls
    assert (good.provider, good.model, good.attempts, good.content_chars) == ("scripted", "mine", 1, 6)
    assert good.response_format_kind == "json_schema"
    assert good.outcome_attributes().keys() == {
        "attempts",
        "content_chars",
        "input_tokens",
        "output_tokens",
        "cost_usd",
        "latency_ms",
    }
    assert (bad.error_type, bad.error_message, bad.content_chars) == ("LLMInvalidRequestError", "no", None)


def test_the_environment_names_a_sink(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("PENGUIFLOW_LLM_TRACING", raising=False)
    assert resolve_trace_sink_from_env() is None
    monkeypatch.setenv("PENGUIFLOW_LLM_TRACING", "log")
    sink = resolve_trace_sink_from_env()
    assert isinstance(sink, LoggingLLMTraceSink)
    with caplog.at_level(logging.INFO), sink.span(LLMCallSpan("p", "m", attempts=2)):
        pass
    assert "p (m) attempts=2" in caplog.text
    monkeypatch.setenv("PENGUIFLOW_LLM_TRACING", "loud")
    with pytest.raises(ValueError, match="there are 'log' and 'mlflow'"):
        resolve_trace_sink_from_env()


class Fake(ModuleType):
    """A library that is not installed here; keeps what it is told."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.told: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def tell(*args: Any, **more: Any) -> Fake:
            self.told.append((name, args))
            return self

        return tell

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *error: object) -> None:
        self.told.append(("end", ()))


def test_mlflow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = Fake("mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setenv("PENGUIFLOW_LLM_TRACING", "mlflow")
    sink = resolve_trace_sink_from_env()
    assert isinstance(sink, MlflowLLMTraceSink)
    with sink.span(LLMCallSpan("p", "m", attempts=2)):
        pass
    create_mlflow_callback()(LLMEvent.create("request_end", "p", "m", latency_ms=1.5, error="x"))
    create_mlflow_callback()(LLMEvent.create("retry", "p", "m", attempt=1))

    assert mlflow.told == [
        ("start_span", ()),
        ("set_attributes", ({"provider": "p", "model": "m", "stream": False},)),
        ("set_attributes", ({"attempts": 2},)),
        ("end", ()),
        ("log_metrics", ({"llm.latency_ms": 1.5},)),
    ]


def test_prometheus_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    prometheus = Fake("prometheus_client")
    monkeypatch.setitem(sys.modules, "prometheus_client", prometheus)
    tell = create_prometheus_callback()
    prometheus.told.clear()

    tell(LLMEvent.create("request_end", "p", "m", input_tokens=3, latency_ms=500))

    assert prometheus.told == [
        ("labels", ("request_end", "p", "m")),
        ("inc", ()),
        ("labels", ("input", "p", "m")),
        ("inc", (3,)),
        ("labels", ("p", "m")),
        ("observe", (0.5,)),
    ]


def test_what_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, make in (("mlflow", create_mlflow_callback), ("prometheus_client", create_prometheus_callback)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=name):
            make()
