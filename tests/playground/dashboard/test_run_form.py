"""The form as a person meets it: keys in a hurry, lists that open, messages that come and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual import events
from textual.widgets import Input, Select

from playground.protocol import FlowInfo, ModuleInfo
from playground.sources import RunRefused

OpenDesk = Callable[..., Any]
SCHEMA = {
    "title": "Question",
    "type": "object",
    "required": ["who"],
    "properties": {
        "who": {"type": "string"},
        "tone": {"enum": ["dry", "warm"], "type": "string", "default": "dry"},
        "until": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None},
        "mode": {"type": "string", "default": "ok"},
    },
}
BODY = "a question that is asked again and again, with another end: "


@pytest.fixture(autouse=True)
def _ask(source: Any) -> None:
    samples = [{"who": f"{BODY}{end}", "mode": mode} for end, mode in (("one", "ok"), ("two", "ok"), ("two", "hang"))]
    flow = FlowInfo(target="flows/ask.py", name="ask", input_schema=SCHEMA, samples=samples, version="22" * 32)
    source.modules = [ModuleInfo(path="flows/ask.py", state="loaded", flows=[flow])]


def value(desk: Any, number: int) -> str:
    return str(desk.app.screen.query_one(f"#field-{number}", Input).value)


async def opened(desk: Any) -> None:
    await desk.press("enter")
    await desk.until(lambda: isinstance(desk.app.focused, Input), "the form")


async def test_keys_without_pauses_reach_the_fields_that_they_are_meant_for(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await opened(desk)
        for key in ("tab", "tab", "7", "tab", "Q", "shift+tab", "8"):
            desk.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await desk.until(lambda: value(desk, 3) == "Q", "the last field")
        await desk.until(lambda: value(desk, 2) == "8", "the field before it")


async def test_escape_closes_an_open_list_and_then_the_form(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await opened(desk)
        await desk.press("tab", "enter")
        choice = desk.app.screen.query_one("#field-1", Select)
        await desk.until(lambda: choice.expanded, "the list")
        await desk.press("escape")
        assert not choice.expanded
        assert desk.app.focused is choice
        await desk.press("escape")
        assert len(desk.app.screen_stack) == 1


async def test_what_was_typed_is_there_again_until_it_runs(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await opened(desk)
        await desk.press(*"Bo", "ctrl+o")
        desk.app.screen.query_one("#extra-0").focus()
        await desk.press(*"s1", "escape")
        await opened(desk)
        assert value(desk, 0) == "Bo"
        assert desk.app.screen.query_one("#extra-0", Input).value == "s1"
        assert desk.app.screen.has_class("-more")
        await desk.press("enter")
        await desk.until(lambda: desk.source.requests, "the run")
        assert desk.source.requests[0].session == "s1"
        desk.app.state.inputs.clear()
        await desk.press("1")
        await opened(desk)
        assert value(desk, 0) == f"{BODY}one"


async def test_messages_go_when_the_value_is_right(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await opened(desk)
        await desk.press("tab", "tab", *"tomorrow", "enter")
        await desk.until(lambda: "✖ must be a date, such as 2026-01-31" in desk.text(), "the message")
        assert desk.app.focused.id == "field-2"
        await desk.press(*["backspace"] * 7)
        await desk.until(lambda: "must be a date" in desk.text(), "the text")
        await desk.press("backspace", *"2026-02-03")
        await desk.until(lambda: "✖" not in desk.text(), "the end of the message")
        await desk.press("enter")
        await desk.until(lambda: desk.source.requests, "the run")
        assert desk.source.requests[0].input["until"] == "2026-02-03"


async def test_what_the_host_refused_goes_with_the_value(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        details = [{"path": "who", "message": "is unknown"}, {"path": "", "message": "not both"}]
        desk.source.refusal = RunRefused("no", details)
        await opened(desk)
        await desk.press("ctrl+r")
        await desk.until(lambda: "✖ is unknown" in desk.text() and "✖ not both" in desk.text(), "the refusal")
        await desk.press("X")
        await desk.until(lambda: "✖" not in desk.text(), "the end of the refusal")


async def test_inputs_to_choose_from_show_what_differs(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await opened(desk)
        await desk.press("shift+tab", "enter")
        await desk.until(lambda: "sample 3" in desk.text(), "the list")
        rows = [line for line in desk.text().splitlines() if "sample " in line]
        assert ['one"' in row for row in rows] == [True, False, False]
        assert ['"mode": "hang"' in row for row in rows] == [False, False, True]


async def test_no_column_moves_with_the_focus(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await opened(desk)
        before = desk.text()
        for _ in range(5):
            await desk.press("tab")
            assert [line for line in desk.text().splitlines() if "┃" in line] == [
                line for line in before.splitlines() if "┃" in line
            ]
