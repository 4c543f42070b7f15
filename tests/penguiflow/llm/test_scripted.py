"""The model that says what it is told to."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from penguiflow.llm.errors import LLMInvalidRequestError, LLMServerError
from penguiflow.llm.schema.sample import sample_of
from penguiflow.llm.scripted import ScriptedModel, ScriptedReply
from penguiflow.llm.types import (
    CompletionResponse,
    Cost,
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

SEARCH = ToolSpec("search", "Finds pages", {"type": "object"})


async def said(model: ScriptedModel, request: LLMRequest) -> str:
    return (await model.complete(request)).message.text


def conversation(query: str, *said_before: str) -> LLMRequest:
    messages = [LLMMessage.of("user", query)]
    for each in said_before:
        messages += [LLMMessage.of("assistant", each), LLMMessage.of("user", f"Observation, {query}")]
    return LLMRequest("any", tuple(messages))


async def test_a_script_is_said_in_its_order(request_of: MakeRequest) -> None:
    model = ScriptedModel(["one", "two"])

    assert [await said(model, request_of()) for _ in range(2)] == ["one", "two"]
    assert [request.messages[0].text for request in model.requests] == ["How high is it?"] * 2


async def test_a_text_is_a_script_of_one(request_of: MakeRequest) -> None:
    assert await said(ScriptedModel("one"), request_of()) == "one"


@pytest.mark.parametrize("when", ["high", re.compile("h[iy]gh"), lambda request: True])
async def test_rules_go_on_when_the_script_is_used_up(request_of: MakeRequest, when: Any) -> None:
    model = ScriptedModel(["script"], rules=[("deep", "no"), (when, "rule")])

    assert [await said(model, request_of()) for _ in range(3)] == ["script", "rule", "rule"]


async def test_a_rule_says_one_thing_after_the_other_in_each_conversation() -> None:
    model = ScriptedModel(rules=[("weather", ["look", "found", "sunny"]), ("news", ["read"])])

    assert await said(model, conversation("weather")) == "look"
    assert await said(model, conversation("weather", "look", "found")) == "sunny"
    assert await said(model, conversation("weather", "look")) == "found"
    assert await said(model, conversation("weather", *"abcd")) == "sunny"
    assert await said(model, conversation("news", "read")) == "read"


async def test_many_conversations_at_once_do_not_mix() -> None:
    model = ScriptedModel(rules=[(f"<{number}>", [f"{number} a", f"{number} b"]) for number in range(200)])

    async def talk(number: int) -> list[str]:
        first = await said(model, conversation(f"<{number}>"))
        return [first, await said(model, conversation(f"<{number}>", first))]

    assert await asyncio.gather(*map(talk, range(200))) == [[f"{n} a", f"{n} b"] for n in range(200)]


async def test_functions_of_the_request(request_of: MakeRequest) -> None:
    async def later(request: LLMRequest) -> str:
        return request.messages[0].text.upper()

    assert await said(ScriptedModel([lambda request: {"n": len(request.messages)}]), request_of()) == '{"n": 1}'
    assert await said(ScriptedModel([later]), request_of("a")) == "A"


async def test_an_exception_is_raised(request_of: MakeRequest) -> None:
    error = LLMServerError("500")
    with pytest.raises(LLMServerError) as caught:
        await ScriptedModel([error]).complete(request_of())
    assert caught.value is error


async def test_what_is_no_reply_is_refused(request_of: MakeRequest) -> None:
    with pytest.raises(LLMInvalidRequestError, match="a scripted reply is no int"):
        await ScriptedModel([lambda request: 3]).complete(request_of())
    with pytest.raises(ValueError, match="at least one character"):
        ScriptedModel(piece=0)


@pytest.mark.parametrize(
    ("action", "tools", "parts"),
    [
        ({"next_node": "search", "args": {"q": "ü"}}, (), (TextPart('{"next_node": "search", "args": {"q": "ü"}}'),)),
        ({"next_node": "search", "args": {"q": "ü"}}, (SEARCH,), (ToolCallPart("search", '{"q": "ü"}', "call_0"),)),
        (
            {"next_node": "parallel", "args": {"steps": [{"node": "search", "args": {}}, {"node": "search"}]}},
            (SEARCH,),
            (ToolCallPart("search", "{}", "call_0"), ToolCallPart("search", "{}", "call_1")),
        ),
        ({"next_node": "final_response", "args": {"answer": "Done"}}, (SEARCH,), (TextPart("Done"),)),
        ({"answer": 3}, (SEARCH,), (TextPart('{"answer": 3}'),)),
        (ToolCallPart("search", "{}", "c"), (SEARCH,), (ToolCallPart("search", "{}", "c"),)),
        ([ToolCallPart("a", "{}"), ToolCallPart("b", "{}")], (), (ToolCallPart("a", "{}"), ToolCallPart("b", "{}"))),
    ],
)
async def test_one_script_serves_both_ways_to_call_tools(
    request_of: MakeRequest, action: Any, tools: Sequence[ToolSpec], parts: Any
) -> None:
    answer = await ScriptedModel([action]).complete(request_of(tools=tuple(tools)))

    assert answer.message.parts == parts
    assert answer.finish_reason == ("tool_calls" if isinstance(parts[0], ToolCallPart) else "stop")


async def test_calls_are_numbered_through_a_conversation() -> None:
    messages = (
        LLMMessage.of("user", "q"),
        LLMMessage("assistant", (ToolCallPart("search", "{}", "call_0"),)),
        LLMMessage("tool", (ToolResultPart("search", "found", "call_0"),)),
    )
    model = ScriptedModel(rules=[("found", {"next_node": "search", "args": {}})])

    answer = await model.complete(LLMRequest("any", messages, tools=(SEARCH,)))

    assert answer.message.tool_calls[0].call_id == "call_1"


@pytest.mark.parametrize("piece", [1, 3, 100])
async def test_it_streams(request_of: MakeRequest, piece: int) -> None:
    calls = (ToolCallPart("search", '{"q": "a"}', "c"),)
    model = ScriptedModel([ScriptedReply(text="Wait 😀", reasoning="hm, so", tool_calls=calls)], piece=piece)
    events: list[StreamEvent] = []

    answer = await model.complete(request_of(), stream=True, on_stream_event=events.append)

    assert "".join(event.delta_text or "" for event in events) == "Wait 😀"
    assert "".join(event.delta_reasoning or "" for event in events) == answer.reasoning_content == "hm, so"
    deltas = [event.delta_tool_call for event in events if event.delta_tool_call]
    assert {(delta.name, delta.call_id) for delta in deltas} == {("search", "c")}
    assert "".join(delta.arguments_json for delta in deltas) == '{"q": "a"}'
    assert [event.done for event in events] == [False] * (len(events) - 1) + [True]
    assert events[-1].usage == answer.usage
    assert max(len(event.delta_text or "") for event in events) <= piece


async def test_it_breaks_off(request_of: MakeRequest) -> None:
    events: list[StreamEvent] = []

    with pytest.raises(LLMServerError):
        await ScriptedModel([ScriptedReply(text="half", error=LLMServerError("cut"))]).complete(
            request_of(), stream=True, on_stream_event=events.append
        )
    assert [(event.delta_text, event.done) for event in events] == [("half", False)]


async def test_usage_is_the_same_every_time(request_of: MakeRequest) -> None:
    model = ScriptedModel(rules=[("h", "8 letters"), ("tool", ToolCallPart("ab", "{}"))])

    answers = [await model.complete(request_of("how high")) for _ in range(2)]

    assert [each.usage for each in answers] == [Usage(2, 3, 5), Usage(2, 3, 5)]
    assert answers[0].cost == Cost.zero()
    thinking = await ScriptedModel([ScriptedReply(text="abcd", reasoning="abcdefgh")]).complete(request_of(""))
    assert thinking.usage == Usage(0, 3, 3, reasoning_tokens=2)


async def test_a_whole_response(request_of: MakeRequest) -> None:
    response = CompletionResponse(LLMMessage.of("assistant", "x"), Usage(1, 2, 3), cost=Cost(1, 2, 3))
    assert await ScriptedModel([response]).complete(request_of()) is response
    told = ScriptedReply(text="x", usage=Usage(1, 2, 3), cost=Cost(1, 2, 3), finish_reason="length")
    answer = await ScriptedModel([told]).complete(request_of())
    assert (answer.usage, answer.cost, answer.finish_reason) == (Usage(1, 2, 3), Cost(1, 2, 3), "length")


class Color(Enum):
    RED = "red"


class Leaf(BaseModel):
    name: Annotated[str, Field(min_length=12, max_length=14)]
    color: Color
    children: list[Leaf] = []


class Everything(BaseModel):
    count: Annotated[int, Field(gt=3, multiple_of=5)]
    share: Annotated[float, Field(gt=0.1, lt=0.3)]
    below: Annotated[int, Field(lt=-2)]
    free: int
    flag: bool
    kind: Literal["a"]
    union: int | str
    maybe: Leaf | None
    pair: tuple[int, str]
    several: Annotated[list[Leaf], Field(min_length=2)]
    table: dict[str, int]
    anything: Any
    with_default: str = "default"


class Endless(BaseModel):
    inner: Endless | None


async def test_an_answer_that_nobody_scripted_fits_its_schema(request_of: MakeRequest) -> None:
    for form in (Everything, Leaf, Endless):
        spec = StructuredOutputSpec(form.__name__, form.model_json_schema())
        answer = await said(ScriptedModel(), request_of(structured_output=spec))
        form.model_validate_json(answer)
    assert TypeAdapter(list[int]).validate_python(sample_of({"type": "array", "items": {"type": "integer"}})) == []
    assert sample_of({"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"type": "integer", "minimum": 7}}}) == 7
    assert sample_of({"type": ["null", "string"], "format": "date"}) == "2000-01-01"
    assert sample_of({}) == "scripted"


async def test_it_never_runs_dry(request_of: MakeRequest) -> None:
    model = ScriptedModel(["one"])
    await model.complete(request_of())

    assert await said(model, request_of()) == "Nothing is scripted for: How high is it?"
    assert await said(model, request_of(tools=(SEARCH,))) == "Nothing is scripted for: How high is it?"
    action = StructuredOutputSpec("action", {"type": "object", "properties": {"next_node": {}, "args": {}}})
    final = {"next_node": "final_response", "args": {"answer": "Nothing is scripted for: How high is it?"}}
    assert json.loads(await said(model, request_of(structured_output=action))) == final
    told = (LLMMessage.of("system", 'Answer as {"next_node": …}'), LLMMessage.of("user", "How high is it?"))
    assert json.loads(await said(model, LLMRequest("any", told))) == final
    assert await said(model, LLMRequest("any", ())) == "Nothing is scripted for: "


async def test_it_keeps_a_thousand_requests(request_of: MakeRequest) -> None:
    model = ScriptedModel()
    for number in range(1100):
        await model.complete(request_of(str(number)))
    assert len(model.requests) == 1000
    assert model.requests[-1].messages[0].text == "1099"
