"""Requests and answers as they stand in the log."""

from __future__ import annotations

import json

import pytest

from penguiflow.llm.types import (
    AudioPart,
    CompletionResponse,
    Cost,
    ImagePart,
    LLMMessage,
    LLMRequest,
    StructuredOutputSpec,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
    Usage,
)
from penguiflow.llm.wire import call_about, dump_request, dump_response, load_request, load_response

CALL = ToolCallPart("fetch", '{"url": "x"', "c1")


def test_a_request_is_had_again_from_its_json() -> None:
    picture = (TextPart("look"), ImagePart(b"\x00\xff", "image/png", "low"), AudioPart(b"\x01", "audio/wav"))
    request = LLMRequest(
        model="m",
        messages=(
            LLMMessage.of("system", "be brief"),
            LLMMessage("user", picture),
            LLMMessage("assistant", (CALL,)),
            LLMMessage("tool", (ToolResultPart("fetch", "{}", "c1", is_error=True),)),
        ),
        tools=(ToolSpec("fetch", "fetches", {"type": "object"}),),
        tool_choice="auto",
        structured_output=StructuredOutputSpec("answer", {"type": "object"}, strict=False),
        temperature=0.0,
        extra={"top_p": 0.5},
    )

    assert load_request(json.loads(json.dumps(dump_request(request)))) == request


@pytest.mark.parametrize("known", [True, False])
def test_an_answer_is_had_again_from_its_json(known: bool) -> None:
    usage = Usage(1, 2, 3, 4, 5) if known else Usage.zero()
    cost = Cost(0.1, 0.2, 0.3) if known else None
    response = CompletionResponse(
        LLMMessage("assistant", (TextPart("hm"), CALL)),
        usage,
        None,
        "thought",
        "tool_calls",
        cost,
        "m-2026",
        "r1",
        known,
    )
    data = json.loads(json.dumps(dump_response(response)))

    assert load_response(data) == response
    about = call_about(data)
    assert about.get("cost") == (0.3 if known else None)
    assert ("usage" in about) is known
    assert (about["model"], about["finish_reasons"]) == ("m-2026", ["tool_calls"])


def test_what_the_provider_gave_is_not_written() -> None:
    answer = CompletionResponse(LLMMessage.of("assistant", "hi"), Usage.zero(), raw_response=object())
    assert "raw_response" not in dump_response(answer)
