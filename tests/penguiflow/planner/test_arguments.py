"""Arguments are validated, filled where a few are missing, and refused where they are no real ones."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from penguiflow.catalog import tool
from penguiflow.llm.errors import LLMServerError
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner.events import PlannerEvent
from penguiflow.planner.placeholders import AUTO_STR_SENTINEL, autofilled, is_simple


class Mail(BaseModel):
    to: str = Field(description="An address")
    subject: str
    urgent: bool = False


class Size(Enum):
    SMALL = "s"


class Many(BaseModel):
    text: str
    count: int
    ratio: float
    yes: bool
    names: list[str]
    more: dict[str, int]
    kind: Literal["a", "b"]
    size: Size
    maybe: int | None


class Picky(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def _odd(cls, value: str) -> str:
        if value == "boom":
            raise RuntimeError("a validator that breaks")
        return value


class Sent(BaseModel):
    ok: bool = True


async def send(args: Mail, ctx: Any) -> Sent:
    return Sent()


async def pick(args: Picky, ctx: Any) -> Sent:
    return Sent()


def only_friends(args: Mail, action: Any) -> Any:
    if args.to == "raise":
        raise LookupError("who is that?")
    return {"friend@x": None, "true@x": True, "false@x": False}.get(args.to, {"error": f"{args.to} is no friend"})


@tool(desc="Sends to friends", arg_validator=only_friends)
async def send_to_friend(args: Mail, ctx: Any) -> Sent:
    return Sent()


@tool(desc="Takes no placeholders", arg_validation={"reject_placeholders": True, "placeholders": ["xxx"]})
async def send_strictly(args: Mail, ctx: Any) -> Sent:
    return Sent()


@tool(desc="Takes anything", arg_validation={"reject_placeholders": False, "emit_suspect": True})
async def send_anyhow(args: Mail, ctx: Any) -> Sent:
    return Sent()


@tool(desc="Wants everything", arg_validation={"reject_autofill": True})
async def count(args: Many, ctx: Any) -> Sent:
    return Sent()


def names(events: list[PlannerEvent]) -> list[str]:
    wanted = ("arg_fill", "planner_args", "graceful")
    return [event.event_type for event in events if event.event_type.startswith(wanted)]


async def test_values_that_are_missing_are_asked_for(kit: Any) -> None:
    events: list[PlannerEvent] = []
    model = ScriptedModel([kit.call("send", subject="hi"), '{"to": "ann@x", "urgent": true}', kit.answer("sent")])
    finish = await kit.planner_of(send, model=model, event_callback=events.append).run(
        "Write to Ann", llm_context={"a": 1}
    )
    [step] = finish.metadata["steps"]
    assert step["action"]["args"] == {"subject": "hi", "to": "ann@x"}
    assert step["observation"] == {"ok": True}
    assert names(events) == ["planner_args_invalid", "arg_fill_attempt", "arg_fill_success"]
    [invalid] = [event.extra for event in events if event.event_type == "planner_args_invalid"]
    assert invalid["autofilled_fields"] == ["to"]
    assert (invalid["placeholders"], invalid["placeholder_paths"]) == ([AUTO_STR_SENTINEL], ["to"])
    metadata = finish.metadata
    assert (metadata["args_invalid_count"], metadata["arg_fill_success_count"]) == (1, 1)
    assert (metadata["autofill_rejection_count"], metadata["consecutive_arg_failures"]) == (1, 0)
    asked = model.requests[1]
    assert "An address" in asked.messages[0].text
    assert asked.structured_output is not None
    assert asked.structured_output.json_schema["required"] == ["to"]
    assert json.loads(asked.messages[1].text) == {"query": "Write to Ann", "context": {"a": 1}}


async def test_a_bare_value_is_that_of_the_one_field(kit: Any) -> None:
    script = [kit.call("send", subject="hi"), "ann@x", kit.answer("sent")]
    finish = await kit.planner_of(send, script=script).run("q")
    assert finish.metadata["steps"][0]["action"]["args"]["to"] == "ann@x"


@pytest.mark.parametrize(
    "reply",
    [
        "I do not know {that}",
        "I cannot tell from what I was given.",
        "That is nothing that anybody said to me before",
        '{"to": "<auto>"}',
        '{"to": ["a"]}',
        '{"x": 1}',
        "",
        LLMServerError("no"),
    ],
)
async def test_values_are_asked_for_once(kit: Any, reply: Any) -> None:
    events: list[PlannerEvent] = []
    script = [kit.call("send", subject="hi"), reply, kit.call("send", to="b@x", subject="hi"), kit.answer("sent")]
    planner = kit.planner_of(send, script=script, event_callback=events.append, llm_max_retries=0)
    finish = await planner.run("q")
    assert finish.payload["raw_answer"] == "sent"
    failed, sent = finish.metadata["steps"]
    assert "required arguments are missing: to" in failed["error"]
    assert sent["observation"] == {"ok": True}
    assert names(events) == ["planner_args_invalid", "arg_fill_attempt", "arg_fill_failure"]
    assert (finish.metadata["arg_fill_failure_count"], finish.metadata["consecutive_arg_failures"]) == (1, 0)


async def test_the_model_is_told_how_to_call_again(kit: Any) -> None:
    model = ScriptedModel([kit.call("send", subject="hi"), kit.answer("sent")])
    await kit.planner_of(send, model=model, arg_fill_enabled=False).run("q")
    note = model.requests[1].messages[-1]
    assert note.role == "system"
    assert "'send' was not made" in note.text


async def test_a_second_time_without_values_ends_the_run(kit: Any) -> None:
    events: list[PlannerEvent] = []
    script = [kit.call("send", subject="hi"), "{}", kit.call("send", subject="hi"), '{"answer": "To whom?"}']
    finish = await kit.planner_of(send, script=script, event_callback=events.append).run("q")
    assert finish.reason == "no_path"
    assert finish.payload == {
        "requires_followup": True,
        "failure_reason": "consecutive_arg_failures",
        "tool": "send",
        "last_error": "required arguments are missing: to",
        "missing_fields": ["to"],
        "raw_answer": "To whom?",
    }
    assert names(events)[-2:] == ["graceful_failure_attempt", "graceful_failure_success"]
    assert finish.metadata["autofill_rejection_count"] == 2


@pytest.mark.parametrize("words", ["Tell me more.", LLMServerError("no")])
async def test_arguments_that_never_fit_end_the_run(kit: Any, words: Any) -> None:
    bad = kit.call("send", to=[1], subject="hi")
    planner = kit.planner_of(send, script=[bad, bad, words], max_consecutive_arg_failures=2, llm_max_retries=0)
    finish = await planner.run("q")
    assert finish.reason == "no_path"
    assert "to: Input should be a valid string" in finish.payload["last_error"]
    assert finish.payload.get("raw_answer") == (words if isinstance(words, str) else None)
    assert finish.metadata["consecutive_arg_failures"] == 2
    assert finish.metadata["step_count"] == 2


async def test_a_call_that_works_begins_the_count_anew(kit: Any) -> None:
    bad, good = kit.call("send", to=[1], subject="hi"), kit.call("send", to="a", subject="hi")
    planner = kit.planner_of(send, script=[bad, good, bad, good, kit.answer("a")], max_consecutive_arg_failures=2)
    finish = await planner.run("q")
    assert finish.reason == "answer_complete"
    assert [bool(step["error"]) for step in finish.metadata["steps"]] == [True, False, True, False]


async def test_other_arguments_of_the_same_reply_are_tried(kit: Any) -> None:
    text = json.dumps(kit.call("send", subject="hi")) + json.dumps(kit.call("send", to="a@x", subject="ho"))
    finish = await kit.planner_of(send, script=[text, kit.answer("sent")]).run("q")
    [step] = finish.metadata["steps"]
    assert step["action"]["args"] == {"to": "a@x", "subject": "ho"}


@pytest.mark.parametrize(
    ("to", "error"),
    [
        ("friend@x", None),
        ("true@x", None),
        ("false@x", "the arguments were rejected"),
        ("foe@x", "foe@x is no friend"),
        ("raise", "LookupError: who is that?"),
    ],
)
async def test_a_tool_may_check_its_arguments_itself(kit: Any, to: str, error: str | None) -> None:
    script = [kit.call("send_to_friend", to=to, subject="hi"), kit.answer("done")]
    finish = await kit.planner_of(send_to_friend, script=script).run("q")
    assert finish.metadata["steps"][0]["error"] == error


async def test_a_validator_that_breaks_is_an_error_of_the_step(kit: Any) -> None:
    finish = await kit.planner_of(pick, script=[kit.call("pick", text="boom"), kit.answer("done")]).run("q")
    assert "RuntimeError: a validator that breaks" in finish.metadata["steps"][0]["error"]


async def test_placeholders_are_refused_or_told_as_the_tool_says(kit: Any) -> None:
    for node, to, refused in (
        (send, "TBD", False),
        (send_strictly, " XXX ", True),
        (send_strictly, "tbd", False),
        (send_anyhow, "<auto>", False),
    ):
        events: list[PlannerEvent] = []
        name = node.__name__
        script = [kit.call(name, to=to, subject="hi"), "{}", kit.answer("done"), kit.answer("done")]
        planner = kit.planner_of(
            node, script=script if refused else [script[0], script[2]], event_callback=events.append
        )
        finish = await planner.run("q")
        assert bool(finish.metadata["steps"][0]["error"]) is refused
        told = names(events)[:1]
        assert told == (["planner_args_invalid"] if refused else ["planner_args_suspect"] if to != "tbd" else [])


async def test_a_tool_may_want_everything(kit: Any) -> None:
    args = {"text": "t", "ratio": 1, "yes": True, "names": [], "more": {}, "kind": "a", "size": "s", "maybe": None}
    script = [kit.call("count", **args), '{"count": 3}', kit.answer("done")]
    finish = await kit.planner_of(count, script=script).run("q")
    assert finish.metadata["steps"][0]["action"]["args"]["count"] == 3


def test_every_type_has_something_to_stand_for_it() -> None:
    with pytest.raises(ValueError, match="missing") as caught:
        Many.model_validate({})
    found = autofilled(Many, {}, caught.value)  # type: ignore[arg-type]
    assert found is not None
    assert found[0] == {
        "text": AUTO_STR_SENTINEL,
        "count": 0,
        "ratio": 0.0,
        "yes": False,
        "names": [],
        "more": {},
        "kind": "a",
        "size": "s",
        "maybe": None,
    }
    Many.model_validate(found[0])
    assert [is_simple(kind) for kind in (str, int | None, Size, Literal["a"], list[str], Mail)] == [True] * 4 + [
        False
    ] * 2
