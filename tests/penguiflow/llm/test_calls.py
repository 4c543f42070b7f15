"""One answer, however many attempts it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from penguiflow.llm.calls import LONGEST_RETRY_AFTER, AskPolicy, ask
from penguiflow.llm.errors import (
    LLMAuthError,
    LLMError,
    LLMInvalidRequestError,
    LLMRateLimitError,
    LLMServerError,
    LLMTimeoutError,
    LLMValidationError,
)
from penguiflow.llm.profiles import ModelProfile
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.types import LLMMessage, LLMRequest, StreamEvent, StructuredOutputSpec

AT_ONCE = AskPolicy(backoff_s=0)
SCHEMA = StructuredOutputSpec("answer", {"type": "object", "properties": {}})


def request(**fields: Any) -> LLMRequest:
    return LLMRequest("scripted", (LLMMessage.of("user", "How high is it?"),), **fields)


async def forever(_: LLMRequest) -> str:
    await asyncio.Event().wait()
    return "never"


@pytest.mark.parametrize("error", [LLMServerError("503"), LLMRateLimitError("429"), LLMTimeoutError("slow")])
async def test_what_may_succeed_later_is_asked_again(error: LLMError) -> None:
    model, failed = ScriptedModel([error, error, "8848 m"]), list[tuple[int, LLMError, float]]()

    answer = await ask(model, request(), policy=AT_ONCE, on_retry=lambda *told: failed.append(told))

    assert answer.message.text == "8848 m"
    assert failed == [(1, error, 0.0), (2, error, 0.0)]


@pytest.mark.parametrize(
    "error", [LLMAuthError("401"), LLMInvalidRequestError("unknown model"), LLMValidationError("no number")]
)
async def test_what_will_fail_again_is_not_asked_again(error: LLMError) -> None:
    model = ScriptedModel([error, "never"])

    with pytest.raises(type(error)):
        await ask(model, request(), policy=AT_ONCE)
    assert len(model.requests) == 1


async def test_the_last_error_is_raised() -> None:
    model = ScriptedModel([LLMServerError("first"), LLMServerError("second"), LLMServerError("third")])

    with pytest.raises(LLMServerError, match="third"):
        await ask(model, request(), policy=AskPolicy(backoff_s=0, max_retries=2))
    assert len(model.requests) == 3


async def test_backoff_doubles_up_to_its_bound(waits: list[float]) -> None:
    errors: Sequence[Any] = [LLMServerError("503")] * 5

    await ask(ScriptedModel([*errors, "8848 m"]), request(), policy=AskPolicy(max_retries=5, max_backoff_s=4))

    assert [base <= wait <= base * 1.25 for base, wait in zip([1, 2, 4, 4, 4], waits, strict=True)] == [True] * 5


async def test_the_provider_says_how_long_to_wait(waits: list[float]) -> None:
    await ask(ScriptedModel([LLMRateLimitError("429", retry_after=45.0), "8848 m"]), request(), policy=AskPolicy())
    assert waits == [45.0]


async def test_who_may_come_back_at_once_does_not_wait(waits: list[float]) -> None:
    await ask(ScriptedModel([LLMRateLimitError("429", retry_after=0.0), "8848 m"]), request(), policy=AskPolicy())
    assert waits == []


async def test_nobody_waits_for_hours(waits: list[float]) -> None:
    busy = LLMRateLimitError("429", retry_after=LONGEST_RETRY_AFTER + 1)

    with pytest.raises(LLMRateLimitError):
        await ask(ScriptedModel([busy, "never"]), request(), policy=AskPolicy())
    assert waits == []


async def test_nobody_waits_beyond_the_deadline(waits: list[float]) -> None:
    with pytest.raises(LLMRateLimitError):
        await ask(
            ScriptedModel([LLMRateLimitError("429", retry_after=5.0), "never"]),
            request(),
            policy=AskPolicy(),
            seconds_left=lambda: 4.0,
        )
    assert waits == []


@pytest.mark.usefixtures("virtual_time")
async def test_an_attempt_ends_at_its_timeout() -> None:
    model = ScriptedModel([forever, "8848 m"])

    answer = await ask(model, request(), policy=AskPolicy(timeout_s=0.01, backoff_s=0))

    assert answer.message.text == "8848 m"


@pytest.mark.usefixtures("virtual_time")
async def test_an_attempt_ends_at_the_deadline() -> None:
    left = iter([0.01, -0.01])

    with pytest.raises(LLMTimeoutError, match=r"did not answer within 0\.01 s"):
        await ask(ScriptedModel([forever]), request(), policy=AT_ONCE, seconds_left=lambda: next(left))


async def test_without_time_nothing_is_asked() -> None:
    model = ScriptedModel()

    with pytest.raises(LLMTimeoutError, match="no time was left"):
        await ask(model, request(), policy=AT_ONCE, seconds_left=lambda: 0.0)
    assert not model.requests


async def test_a_cancelled_call_ends_at_once() -> None:
    asked = asyncio.Event()

    async def hang(_: LLMRequest) -> str:
        asked.set()
        return await forever(_)

    task = asyncio.create_task(ask(ScriptedModel([hang]), request(), policy=AT_ONCE))
    await asked.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_before_attempt_is_asked_each_time_and_may_refuse() -> None:
    model, attempts = ScriptedModel([LLMServerError("503"), "never"]), list[int]()

    def before() -> None:
        attempts.append(1)
        if len(attempts) == 2:
            raise RuntimeError("the budget is spent")

    with pytest.raises(RuntimeError, match="the budget is spent"):
        await ask(model, request(), policy=AT_ONCE, before_attempt=before)
    assert len(model.requests) == 1


async def test_a_refused_schema_becomes_json_and_then_text() -> None:
    model = ScriptedModel(
        [
            LLMInvalidRequestError(
                "Invalid parameter: 'response_format' of type 'json_schema' is not supported", None, 400
            ),
            LLMInvalidRequestError("'response_format.type' must be 'text'", None, 400),
            "8848 m",
        ]
    )

    answer = await ask(model, request(structured_output=SCHEMA, extra={"seed": 1}), policy=AskPolicy(max_retries=0))

    assert answer.message.text == "8848 m"
    asked = [(each.structured_output, each.extra) for each in model.requests]
    assert asked == [
        (SCHEMA, {"seed": 1}),
        (None, {"seed": 1, "response_format": {"type": "json_object"}}),
        (None, {"seed": 1}),
    ]


async def test_a_refused_temperature_is_not_sent_again() -> None:
    refused = LLMInvalidRequestError(
        "Unsupported value: 'temperature' does not support 0.0 with this model.", None, 400
    )
    model = ScriptedModel([refused, "8848 m", "8849 m"])

    await ask(model, request(temperature=0.0), policy=AT_ONCE)
    await ask(model, request(temperature=0.0), policy=AT_ONCE)

    assert [each.temperature for each in model.requests] == [0.0, None, None]


async def test_a_model_without_a_temperature_gets_none() -> None:
    model = ScriptedModel(["8848 m"], profile=ModelProfile(supports_temperature=False))

    await ask(model, request(temperature=0.5), policy=AT_ONCE)

    assert model.requests[0].temperature is None


async def test_pieces_of_a_failed_attempt_are_told_to_be_void() -> None:
    told: list[str] = []

    def listen(event: StreamEvent) -> None:
        if event.delta_text:
            told.append(event.delta_text)

    broken = ScriptedReply(text="884", error=LLMServerError("the connection was cut"))
    await ask(
        ScriptedModel([broken, "8848 m"]),
        request(),
        policy=AT_ONCE,
        on_event=listen,
        on_retry=lambda attempt, error, delay: told.append(f"void: {error}"),
    )

    assert told == ["884", "void: the connection was cut", "8848 m"]


async def test_an_error_of_the_programs_own_goes_on_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        await ask(ScriptedModel([ZeroDivisionError()]), request(), policy=AT_ONCE)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that are waited for; nobody does."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds:
            waited.append(seconds)

    monkeypatch.setattr("penguiflow.llm.calls.asyncio.sleep", sleep)
    return waited
