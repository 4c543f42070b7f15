"""Answers that are pydantic models: strategies, retries with feedback, the client, what it tells."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ValidationError

from penguiflow.llm.client import LLMClient, LLMClientConfig, generate_structured
from penguiflow.llm.cooldown import ModelFallbackConfig
from penguiflow.llm.errors import (
    LLMAuthError,
    LLMCancelledError,
    LLMParseError,
    LLMRateLimitError,
    LLMServerError,
    LLMValidationError,
)
from penguiflow.llm.fallback import FallbackProvider
from penguiflow.llm.output import NativeOutputStrategy, PromptedOutputStrategy, ToolsOutputStrategy, strategy_for
from penguiflow.llm.profiles import ModelProfile
from penguiflow.llm.retry import (
    ModelRetry,
    RetryConfig,
    ValidationRetry,
    call_with_retry,
    format_parse_retry_message,
    format_validation_retry_message,
)
from penguiflow.llm.schema.plan import OutputMode, plan_schema
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.telemetry import (
    LLMEvent,
    TelemetryHooks,
    TimingContext,
    default_logger_callback,
    get_telemetry_hooks,
    set_telemetry_hooks,
)
from penguiflow.llm.types import (
    CancelToken,
    CompletionResponse,
    Cost,
    LLMMessage,
    LLMRequest,
    StreamEvent,
    ToolCallPart,
    Usage,
)
from tests.model_server import Said

if TYPE_CHECKING:
    from tests.model_server import ModelServer
    from tests.penguiflow.llm.conftest import MakeRequest


class Height(BaseModel):
    """How high a mountain is."""

    metres: int


ASKED = [LLMMessage.of("user", "How high is it?")]
GOOD = '{"metres": 8848}'
NO_WAIT = RetryConfig(initial_backoff_s=0)
PLAIN = ModelProfile()


def response(text: str, *calls: ToolCallPart) -> CompletionResponse:
    from penguiflow.llm.types import TextPart

    return CompletionResponse(LLMMessage("assistant", (TextPart(text), *calls)), Usage.zero())


@pytest.mark.parametrize("mode", list(OutputMode))
async def test_each_mode_asks_and_reads(mode: OutputMode) -> None:
    call = ToolCallPart("structured_output", GOOD, "c")
    model = ScriptedModel([call if mode is OutputMode.TOOLS else GOOD])

    result = await LLMClient("any", provider=model).generate(ASKED, Height, force_mode=mode, temperature=0.5)

    assert result.data == Height(metres=8848)
    assert (result.mode_used, result.attempts) == (mode, 1)
    (asked,) = model.requests
    assert asked.temperature == 0.5
    if mode is OutputMode.NATIVE:
        assert asked.structured_output is not None
        assert asked.structured_output.name == "Height"
        assert asked.structured_output.json_schema["properties"].keys() == {"metres"}
    elif mode is OutputMode.TOOLS:
        (tool,) = asked.tools or ()
        assert (tool.name, tool.description, asked.tool_choice) == (
            "structured_output",
            "How high a mountain is.",
            "structured_output",
        )
    else:
        assert asked.messages[0].role == "system"
        assert '"metres"' in asked.messages[0].text


def test_replies_are_read_with_what_stands_around_them() -> None:
    for text in (GOOD, f"```json\n{GOOD}\n```"):
        assert NativeOutputStrategy().parse_response(response(text), Height) == Height(metres=8848)
    assert PromptedOutputStrategy().parse_response(response(f"It is {GOOD}, surely."), Height) == Height(metres=8848)
    assert ToolsOutputStrategy().parse_response(response(GOOD), Height) == Height(metres=8848)
    for text in ("no", "} {"):
        with pytest.raises(json.JSONDecodeError):
            PromptedOutputStrategy().parse_response(response(text), Height)
    with pytest.raises(ValidationError):
        NativeOutputStrategy().parse_response(response("{}"), Height)
    assert isinstance(strategy_for(OutputMode.PROMPTED), PromptedOutputStrategy)


def test_a_model_without_system_messages_is_told_by_the_user() -> None:
    profile = ModelProfile(supports_system_role=False, supports_json_only_output=False)
    plan = plan_schema(profile, Height.model_json_schema())

    request = PromptedOutputStrategy().build_request("m", ASKED, Height, profile, plan)

    assert [message.role for message in request.messages] == ["user", "user"]
    assert request.extra is None


async def test_what_is_wrong_is_told_to_the_model() -> None:
    model = ScriptedModel(["no JSON", '{"metres": "high"}', GOOD])
    failed: list[tuple[int, str]] = []

    data, cost = await call_with_retry(
        model,
        ASKED,
        Height,
        NativeOutputStrategy(),
        on_retry=lambda attempt, error: failed.append((attempt, type(error).__name__)),
    )

    assert (data, cost) == (Height(metres=8848), 0.0)
    assert failed == [(1, "JSONDecodeError"), (2, "ValidationError")]
    told = [message.text for message in model.requests[2].messages]
    assert told[1] == "no JSON"
    assert "is no JSON" in told[2]
    assert told[3] == '{"metres": "high"}'
    assert "- metres: Input should be a valid integer" in told[4]


async def test_a_call_that_does_not_fit_is_told_as_text() -> None:
    model = ScriptedModel([ToolCallPart("structured_output", "{}", "c"), ToolCallPart("structured_output", GOOD, "c")])

    await call_with_retry(model, ASKED, Height, ToolsOutputStrategy())

    assert [message.role for message in model.requests[1].messages] == ["user", "assistant", "user"]
    assert model.requests[1].messages[1].text == "{}"


@pytest.mark.parametrize(
    ("replies", "config", "error", "asked"),
    [
        (["no"] * 9, RetryConfig(max_retries=2), LLMParseError, 3),
        (["{}"] * 9, RetryConfig(max_retries=1), LLMValidationError, 2),
        (["no"], RetryConfig(retry_on_parse=False), LLMParseError, 1),
        (["{}"], RetryConfig(retry_on_validation=False), LLMValidationError, 1),
        ([LLMServerError("500")], RetryConfig(retry_on_provider_errors=False), LLMServerError, 1),
        ([LLMServerError("500")] * 9, RetryConfig(max_retries=2, initial_backoff_s=0), LLMServerError, 3),
        ([LLMAuthError("401")], NO_WAIT, LLMAuthError, 1),
    ],
)
async def test_it_ends(replies: list[Any], config: RetryConfig, error: type[Exception], asked: int) -> None:
    model = ScriptedModel(replies)

    with pytest.raises(error) as caught:
        await call_with_retry(model, ASKED, Height, NativeOutputStrategy(), config=config)

    assert len(model.requests) == asked
    if isinstance(caught.value, LLMValidationError):
        assert caught.value.validation_errors[0]["loc"] == ("metres",)
    if isinstance(caught.value, LLMParseError):
        assert caught.value.raw_content == "no"


async def test_a_failure_of_the_provider_is_waited_for() -> None:
    model = ScriptedModel([LLMServerError("500"), LLMRateLimitError("429", retry_after=0.001), GOOD])
    data, _ = await call_with_retry(model, ASKED, Height, NativeOutputStrategy(), config=NO_WAIT)
    assert data.metres == 8848


async def test_whoever_reads_may_say_what_to_do_better() -> None:
    class Careful(NativeOutputStrategy):
        def parse_response(self, response: CompletionResponse, response_model: type[Any]) -> Any:
            height = super().parse_response(response, response_model)
            if height.metres == 1:
                raise ModelRetry("Look again: no mountain is that low.")
            if height.metres == 2:
                raise ValidationRetry([{"loc": ("metres",), "msg": "too low"}], response.message.text)
            return height

    model = ScriptedModel(['{"metres": 1}', '{"metres": 2}', GOOD])
    await call_with_retry(model, ASKED, Height, Careful())

    assert model.requests[1].messages[-1].text == "Look again: no mountain is that low."
    assert "- metres: too low" in model.requests[2].messages[-1].text
    with pytest.raises(LLMValidationError, match="Look again"):
        await call_with_retry(
            ScriptedModel(['{"metres": 1}']), ASKED, Height, Careful(), config=RetryConfig(max_retries=0)
        )


def test_many_problems_are_told_in_short() -> None:
    error = ValidationRetry([{"loc": (str(number),), "msg": "no"} for number in range(12)], "")
    assert format_validation_retry_message(error).text.splitlines()[-2] == "- and 2 more"
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{\n no")
    assert "(line 2, column 2)" in format_parse_retry_message(caught.value).text


async def test_usage_and_cost_are_those_of_all_attempts() -> None:
    first = ScriptedReply(text="{}", usage=Usage(10, 1, 11), cost=Cost(0.25, 0.5, 0.75))
    second = ScriptedReply(text=GOOD, usage=Usage(20, 2, 22, cached_tokens=5), cost=Cost(1, 2, 3))
    client = LLMClient("any", provider=ScriptedModel([first, second, first, second]))

    result = await client.generate(ASKED, Height)

    assert (result.usage, result.cost, result.attempts) == (Usage(30, 3, 33, 5), Cost(1.25, 2.5, 3.75), 2)
    assert result.cost_known
    assert client.total_cost == Cost(1.25, 2.5, 3.75)
    client.reset_cost()
    assert client.total_cost == Cost.zero()
    priced = await call_with_retry(
        ScriptedModel([first, second]),
        ASKED,
        Height,
        NativeOutputStrategy(),
        pricing_fn=lambda model, inputs, outputs: float(inputs + outputs),
    )
    assert priced[1] == 33


async def test_a_cost_that_nobody_knows(openai_server: ModelServer) -> None:
    openai_server.say(Said(text=GOOD))
    client = LLMClient("openai/local-1", api_key="k", base_url=openai_server.url)

    result = await client.generate(ASKED, Height, force_mode=OutputMode.NATIVE)

    assert (result.usage, result.cost, result.cost_known) == (Usage(20, 7, 27, 5, 3), Cost.zero(), False)
    assert client.provider.provider_name == "openai"
    assert client.profile is client.provider.profile


async def test_a_raw_answer_streams_and_is_given_up(request_of: MakeRequest) -> None:
    async def forever(request: LLMRequest) -> str:
        await asyncio.Event().wait()
        return ""

    events: list[StreamEvent] = []
    client = LLMClient("any", provider=ScriptedModel(["8848 m", forever]))
    answer = await client.complete_raw(request_of(), stream=True, on_stream_event=events.append)
    assert answer.message.text == "8848 m"
    assert events[-1].done
    token = CancelToken()
    call = asyncio.create_task(client.complete_raw(request_of(), cancel=token))
    token.cancel()
    with pytest.raises(LLMCancelledError):
        await call


async def test_one_call(openai_server: ModelServer) -> None:
    openai_server.say(Said(status=429, headers={"retry-after": "60"}), Said(text=GOOD))
    data = await generate_structured(
        "openai/local-1",
        ASKED,
        Height,
        base_url=openai_server.url,
        fallback=ModelFallbackConfig([], ["spent", "fresh"]),
        config=LLMClientConfig(force_mode=OutputMode.NATIVE),
    )
    assert data == Height(metres=8848)
    assert [asked.headers["authorization"] for asked in openai_server.asked] == ["Bearer spent", "Bearer fresh"]


def test_a_client_with_a_fallback() -> None:
    client = LLMClient("gpt-4o", api_key="k", fallback=ModelFallbackConfig(["gpt-4o-mini"]))
    assert isinstance(client.provider, FallbackProvider)


@pytest.fixture
def told() -> Iterator[list[LLMEvent]]:
    events: list[LLMEvent] = []
    before, hooks = get_telemetry_hooks(), TelemetryHooks()
    hooks.register(events.append)
    set_telemetry_hooks(hooks)
    yield events
    set_telemetry_hooks(before)


async def test_events_are_told(told: list[LLMEvent]) -> None:
    await LLMClient("any", provider=ScriptedModel(["{}", GOOD])).generate(ASKED, Height)
    with pytest.raises(LLMAuthError):
        await LLMClient("any", provider=ScriptedModel([LLMAuthError("401")])).generate(ASKED, Height)

    assert [event.event_type for event in told] == ["request_start", "retry", "request_end", "request_start", "error"]
    end = told[2].extra or {}
    assert end["attempts"] == 2
    assert end["input_tokens"] > 0
    assert end["latency_ms"] >= 0
    assert (told[4].extra or {})["error_type"] == "LLMAuthError"
    assert (told[0].provider, told[0].model, told[0].timestamp.tzinfo) == ("scripted", "scripted", UTC)
    quiet = LLMClient("any", provider=ScriptedModel([GOOD]), config=LLMClientConfig(enable_telemetry=False))
    await quiet.generate(ASKED, Height)
    assert len(told) == 5


def test_listeners_come_and_go(caplog: pytest.LogCaptureFixture) -> None:
    hooks, told = TelemetryHooks(), list[LLMEvent]()
    event = LLMEvent.create("error", "p", "m", trace_id="t", error="x")

    def broken(event: LLMEvent) -> None:
        raise ZeroDivisionError

    hooks.register(broken)
    hooks.register(told.append)
    hooks.emit(event)
    assert "a callback for events of models failed" in caplog.text
    hooks.disable()
    hooks.emit(event)
    hooks.enable()
    assert hooks.unregister(broken)
    assert not hooks.unregister(broken)
    hooks.emit(event)
    hooks.clear()
    hooks.emit(event)
    assert told == [event, event]
    with caplog.at_level(logging.DEBUG):
        default_logger_callback(event)
        default_logger_callback(LLMEvent.create("retry", "p", "m"))
    assert [record.levelname for record in caplog.records[-2:]] == ["WARNING", "DEBUG"]


def test_time_is_measured() -> None:
    timing = TimingContext("p", "m")
    assert timing.latency_ms == 0
    with timing:
        during = timing.latency_ms
    assert 0 <= during <= timing.latency_ms == timing.latency_ms
