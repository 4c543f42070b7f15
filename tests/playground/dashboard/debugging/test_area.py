"""Stopped runs, breakpoints and the context on a screen, against a source that plays scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from playground.breakpoints import Breakpoint
from playground.protocol import Breakpoints, Context, Memory, MemoryEdit
from playground.sources import RunRefused

OpenDesk = Callable[..., Any]
TRACE = "9e9a20c1" * 4


@pytest.fixture
def running(source: Any, triage: Callable[..., Any]) -> Any:
    """Each run stops in the attempt of its second node, before that has ended."""
    source.answer = lambda run: triage(TRACE, until="retry").events[:9]
    return source


async def start(desk: Any) -> None:
    """Run triage and wait for its tree."""
    await desk.press("j", "r")
    await desk.until(lambda: "technical" in desk.text() and desk.app.workspace.current, "the run")


def span_of(desk: Any, name: str) -> str:
    trace = desk.app.workspace.current
    return next(str(span.span_id) for span in trace.spans.values() if span.name == name and span.kind == "attempt")


async def stop(desk: Any, source: Any, name: str = "1:stop-1", **more: Any) -> Any:
    """The run stops before its second node."""
    fields = {"payload": {"id": 4711, "text": "slow"}, "span_id": span_of(desk, "technical")}
    frame = source.stops_at(TRACE, name, "before_node", "technical", **{**fields, **more})
    await desk.until(lambda: desk.app.areas["debugging"].selected == name, "the stop")
    return frame


async def test_a_stop_is_shown_and_marked(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk(size=(120, 40)) as desk:
        await start(desk)
        await stop(desk, running)
        await desk.until(lambda: "⏸ before node technical" in desk.text(), "the tab")
        text = desk.text()
        assert "⏸ 1 stopped" in text
        assert "⏸ technical  before node technical" in text
        assert 'text: "slow"' in text
        assert desk.app.spans.span.name == "technical"
        assert " c continue   s into   o over   e edit" in text
        (line,) = [row for row in desk.app.run_rows.rows if row.trace_id == TRACE]
        assert line.stopped == "before node technical"
        assert "stopped" in line.words()


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("c", {"action": "proceed", "then": "continue"}),
        ("s", {"action": "proceed", "then": "into"}),
        ("o", {"action": "proceed", "then": "over"}),
        ("O", {"action": "proceed", "then": "out"}),
        ("u", {"action": "retry"}),
        ("x", {"action": "abort"}),
    ],
)
async def test_step_keys_decide(open_desk: OpenDesk, running: Any, key: str, fields: dict[str, Any]) -> None:
    async with open_desk() as desk:
        await start(desk)
        frame = await stop(desk, running, actions=["proceed", "retry", "abort"])
        await desk.press(key)
        await desk.until(lambda: running.decisions, "the decision")
        (decision,) = running.decisions
        assert decision.stop == "1:stop-1"
        assert {name: getattr(decision, name) for name in fields} == fields
        running.goes_on(frame, fields["action"])
        await desk.until(lambda: "stopped" not in desk.text().splitlines()[0], "the end of the stop")
        await desk.until(lambda: desk.app.panes["inspect"].view is desk.app.detail, "the details")
        assert running.cancelled == []


async def test_run_to_here_takes_what_the_cursor_is_on(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await start(desk)
        await stop(desk, running)
        await desk.press("3", "g", "j", "t")
        await desk.until(lambda: running.decisions, "the decision")
        to = running.decisions[0].to
        assert (to.on, to.name) == ("node", "route")


async def test_what_cannot_be_done_is_said(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk(size=(160, 40)) as desk:
        await start(desk)
        await desk.press("s")
        await desk.until(lambda: "no run that is shown has stopped" in desk.text(), "why not")
        await desk.press("s", "s")
        assert [note.message for note in desk.app._notifications].count("no run that is shown has stopped") == 1
        await stop(desk, running, actions=["proceed"])
        for key, why in [("u", "can be tried again"), ("e", "can be edited"), ("K", "nothing to skip")]:
            await desk.press(key)
            await desk.until(lambda why=why: why in desk.text(), why)
        await desk.press("A")
        await desk.until(lambda: "no decision lies open" in desk.text(), "why not")
        assert running.decisions == []


async def test_a_refused_decision_leaves_the_run_where_it_is(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk(size=(160, 40)) as desk:
        await start(desk)
        await stop(desk, running)
        running.decision_refusal = RunRefused("it went on already", code="not_found")
        await desk.press("c")
        await desk.until(lambda: "it went on already" in desk.text(), "the refusal")
        running.decision_refusal = None
        await desk.press("c")
        await desk.until(lambda: len(running.decisions) == 2, "another try")


async def test_an_edit_goes_with_the_next_step(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await start(desk)
        payload = {"tool": "fetch", "args": {"url": "b"}, "call_id": "1"}
        await stop(desk, running, payload=payload, value_at="/args")
        await desk.press("e")
        await desk.until(lambda: '"url": "b"' in desk.text(), "the editor")
        assert '"call_id"' not in desk.app.screen._area.text
        desk.app.screen._area.move_cursor((1, 10))
        await desk.press("delete", "a", "ctrl+s")
        await desk.until(lambda: "✎ edited" in desk.text(), "the draft")
        assert running.decisions == []
        running.decision_refusal = RunRefused("no", [{"path": "/args/url", "message": "no such page"}])
        await desk.press("o")
        await desk.until(lambda: "✖ /args/url: no such page" in desk.text(), "the refusal, in the editor")
        desk.app.screen._area.move_cursor((1, 10))
        running.decision_refusal = None
        await desk.press("delete", "c", "ctrl+s", "o")
        await desk.until(lambda: len(running.decisions) == 2, "the decision")
        last = running.decisions[1]
        assert (last.action, last.edits, last.then) == ("edit", {"/args/url": "c"}, "over")


async def test_a_result_takes_the_place_of_a_call(open_desk: OpenDesk, running: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with open_desk() as desk:
        await start(desk)
        await stop(desk, running, actions=["proceed", "skip"], result_schema=schema)
        await desk.press("K")
        await desk.until(lambda: '"n": 0' in desk.text(), "the editor")
        await desk.press("ctrl+s")
        await desk.until(lambda: running.decisions, "the decision")
        assert (running.decisions[0].action, running.decisions[0].value) == ("skip", {"n": 0})


async def test_several_stops_are_walked(open_desk: OpenDesk, running: Any, triage: Callable[..., Any]) -> None:
    async with open_desk(size=(160, 40)) as desk:
        await start(desk)
        first = await stop(desk, running)
        other = "ab" * 16
        running.inbox.events.extend(triage(other, until="retry").events[:9])
        running.stops_at(other, "1:stop-2", "before_tool", "fetch")
        await desk.until(lambda: "⏸ 2 stopped" in desk.text(), "both")
        await desk.until(lambda: "abababab stopped before tool fetch" in desk.text(), "the notice")
        assert desk.app.areas["debugging"].selected == "1:stop-1"
        await desk.press("full_stop")
        await desk.until(lambda: desk.app.workspace.current.trace_id == other, "the other run")
        assert desk.app.areas["debugging"].selected == "1:stop-2"
        await desk.press("full_stop")
        await desk.until(lambda: desk.app.workspace.current.trace_id == TRACE, "the first run")
        running.goes_on(first)
        await desk.until(lambda: "⏸ 1 stopped" in desk.text(), "one left")
        await desk.press("s")
        await desk.until(lambda: "no run that is shown has stopped; ." in desk.text(), "why not")


async def test_two_branches_of_a_run_stop_at_once(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk(size=(200, 60)) as desk:
        await start(desk)
        first = await stop(desk, running)
        running.stops_at(TRACE, "1:stop-2", "before_tool", "fetch")
        await desk.until(lambda: "1 of 2" in desk.text(), "both")
        await desk.press("c")
        running.goes_on(first)
        await desk.until(lambda: desk.app.areas["debugging"].selected == "1:stop-2", "the other one")


async def test_a_run_stops_first_and_halts(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await desk.press("j", "S")
        await desk.until(lambda: running.requests, "the run")
        assert running.requests[0].stop_first
        await desk.until(lambda: desk.app.workspace.current, "the trace")
        await desk.press("H")
        await desk.until(lambda: running.halted == [TRACE], "the halt")


# -- breakpoints ------------------------------------------------------------------------------------------------------


async def test_b_breaks_where_the_cursor_is_and_takes_it_back(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await start(desk)
        await desk.press("3", "g", "j", "b")
        await desk.until(lambda: desk.app.workspace.breakpoints.all, "the breakpoint")
        (each,) = running.breakpoints.values()
        assert (each.on, each.name, each.target) == ("node", "route", "flows/triage.py")
        await desk.press("b")
        await desk.until(lambda: not running.breakpoints, "no breakpoint")


async def test_b_on_a_flow_asks_where(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await desk.press("j", "b")
        await desk.until(lambda: "node technical" in desk.text(), "the places")
        await desk.press(*"billing", "tab", *"id > ")
        await desk.until(lambda: "✖" in desk.text(), "what is wrong with it")
        await desk.press("enter")
        assert running.breakpoints == {}
        await desk.press("3", "enter")
        await desk.until(lambda: running.breakpoints, "the breakpoint")
        (each,) = running.breakpoints.values()
        assert (each.on, each.name, each.condition, each.once) == ("node", "billing", "id > 3", False)


async def test_a_place_may_be_named(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await desk.press("j", "B")
        await desk.until(lambda: "node technical" in desk.text(), "the places")
        await desk.press(*"fet", "enter")
        await desk.until(lambda: "nothing has this name here" in desk.text(), "what is missing")
        assert running.breakpoints == {}
        await desk.press("backspace", "backspace", "backspace", *"tool", "space", *"fetch", "enter")
        await desk.until(lambda: running.breakpoints, "the breakpoint")
        (each,) = running.breakpoints.values()
        assert (each.on, each.name) == ("tool", "fetch")


async def test_breakpoints_are_listed_and_changed(open_desk: OpenDesk, running: Any) -> None:
    points = [
        Breakpoint(id="1", on="tool", name="fetch", condition='"b" in args.url', hits=3),
        Breakpoint(id="2", on="error", enabled=False),
    ]
    running.breakpoints = {each.id: each for each in points}
    async with open_desk(size=(200, 60)) as desk:
        running.inbox.breakpoints = Breakpoints(breakpoints=points, unfit={"1": "there is no url"})
        await desk.press("5", "right_square_bracket", "right_square_bracket")
        await desk.until(lambda: '◉ tool fetch  if "b" in args.url' in desk.text(), "the first")
        text = desk.text()
        assert "3 hits" in text
        assert "⚠ there is no url" in text
        assert "○ each error" in text
        # What is wrong with the one under the cursor is said below; elsewhere, how many are on.
        await desk.press("G")
        assert desk.app.panes["output"].view.note() == "1 of 2 on"
        await desk.press("g", "space")
        await desk.until(lambda: not running.breakpoints["1"].enabled, "off")
        await desk.press("enter", "a")
        await desk.until(lambda: running.breakpoints["1"].once, "once")
        await desk.press("e")
        await desk.until(lambda: "Change a breakpoint" in desk.text(), "the form")
        await desk.press("ctrl+a", "ctrl+k", "enter")
        await desk.until(lambda: running.breakpoints["1"].condition is None, "without a condition")
        assert running.breakpoints["1"].hits == 3
        await desk.press("delete")
        await desk.until(lambda: list(running.breakpoints) == ["2"], "one left")


async def test_a_file_that_cannot_be_read_is_told_once(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk(size=(200, 60)) as desk:
        for _ in range(2):
            running.inbox.breakpoints = Breakpoints(problem="breakpoints.json cannot be read: it is no list")
            await desk.until(lambda: running.inbox.breakpoints is None, "the news")
        await desk.until(lambda: "breakpoints.json cannot be read" in desk.text(), "the notice")
        assert len(desk.app._notifications) == 1
        await desk.press("5", "right_square_bracket", "right_square_bracket")
        await desk.until(lambda: "⚠ breakpoints.json cannot be read" in desk.text(), "the lower edge")


async def test_a_condition_that_does_not_fit_is_told_once(open_desk: OpenDesk, running: Any) -> None:
    here = Breakpoint(id="1", on="node", name="summarize", condition="price > 3")
    anywhere = Breakpoint(id="2", on="any", condition="price > 3")
    async with open_desk(size=(200, 60)) as desk:
        for why in ("the payload has no 'price'", "a list has no 'price'"):
            running.inbox.breakpoints = Breakpoints(breakpoints=[here, anywhere], unfit={"1": why, "2": why})
            await desk.until(lambda: running.inbox.breakpoints is None, "the news")
        await desk.until(lambda: "did not stop at node summarize" in desk.text(), "the notice")
        assert len(desk.app._notifications) == 1


async def test_who_only_looks_on_sets_no_breakpoint(open_desk: OpenDesk, running: Any) -> None:
    running.can_decide = False
    async with open_desk(size=(160, 40)) as desk:
        await start(desk)
        await desk.press("3", "g", "j", "b")
        await desk.until(lambda: "breakpoints cannot be set here" in desk.text(), "why not")
        assert running.breakpoints == {}
        await stop(desk, running)
        await desk.until(lambda: "⏸ before node technical" in desk.text(), "the tab")
        assert "c continue" not in desk.text()
        assert "only look on" in desk.text()


# -- context ----------------------------------------------------------------------------------------------------------

PARTS: list[dict[str, Any]] = [
    {"name": "headers", "value": {"tenant": "a"}, "version": "v1"},
    {"name": "meta", "value": {}, "version": "v1", "editable": False, "why_not": "it has ended"},
]
MEMORY = {
    "key": "a:b:c", "planner": "react", "version": 4, "summary": "icebergs", "tokens": 500, "total_max_tokens": 1000,
    "turns": [{"turn_id": "t1", "user_message": "hi", "assistant_response": "ho"}],
}  # fmt: skip


async def test_the_context_of_a_stop_is_shown_and_edited(open_desk: OpenDesk, running: Any) -> None:
    parts = deepcopy(PARTS)

    def context(request: Any) -> Context:
        if request.type == "context.edit" and request.version == "v1":
            parts[0]["version"] = "v2"
            raise RunRefused("changed", code="conflict")
        return Context.model_validate({"stop": request.stop, "trace_id": TRACE, "parts": parts})

    running.context_answer = context
    running.memory_answer = lambda request: Memory.model_validate({"keys": ["a:b:c"], "memory": MEMORY})
    async with open_desk(size=(200, 60)) as desk:
        await start(desk)
        await stop(desk, running, memory="a:b:c", context=["headers", "meta"])
        await desk.press("5", *["right_square_bracket"] * 3)
        await desk.until(lambda: "icebergs" in desk.text(), "the memory")
        text = desk.text()
        assert 'tenant: "a"' in text
        assert "cannot be edited: it has ended" in text
        assert "██████████░░░░░░░░░░ 50% of 1.0k · 500 tokens" in text
        await desk.press("g", "e")
        await desk.until(lambda: "edit headers" in desk.text(), "the editor")
        desk.app.screen._area.move_cursor((1, 13))
        await desk.press("b", "ctrl+s")
        await desk.until(lambda: "it has changed meanwhile" in desk.text(), "the conflict")
        await desk.press("ctrl+s")
        await desk.until(lambda: len(desk.app.screen_stack) == 1, "the end")
        edits = [each for each in running.contexts if each.type == "context.edit"]
        assert [(each.version, each.edits) for each in edits] == [("v1", {"/tenant": "ba"}), ("v2", {"/tenant": "ba"})]


async def test_the_memory_is_edited_between_runs(open_desk: OpenDesk, running: Any) -> None:
    def memory(request: Any) -> Memory:
        shown = MEMORY if request.key is not None else None
        return Memory.model_validate({"keys": ["a:b:c", "x:y:z"], "memory": shown})

    running.memory_answer = memory
    async with open_desk(size=(200, 60)) as desk:
        await desk.press("5", *["right_square_bracket"] * 3)
        await desk.until(lambda: "2 conversations are remembered" in desk.text(), "the list")
        await desk.press("g", "j", "enter")
        await desk.until(lambda: "icebergs" in desk.text(), "the memory")
        await desk.until(lambda: "x:y:z" in desk.text(), "the other conversation")
        view = desk.app.areas["debugging"].surroundings.view
        await desk.press("g")
        while view.item is None or view.item.kind != "summary":
            await desk.press("j")
        await desk.press("e")
        await desk.until(lambda: "summary of a:b:c" in desk.text(), "the editor")
        await desk.press(*"no", "space", "ctrl+s")
        await desk.until(lambda: len(desk.app.screen_stack) == 1, "the end")
        (edit,) = [each for each in running.memories if isinstance(each, MemoryEdit)]
        assert (edit.change, edit.value, edit.version, edit.key) == ("summary", "no icebergs", 4, "a:b:c")
        while view.item is None or view.item.kind != "turn":
            await desk.press("j")
        await desk.press("delete")
        await desk.until(lambda: running.memories[-1].type == "memory.get" and any(
            getattr(each, "change", "") == "delete_turn" for each in running.memories), "the turn is gone")  # fmt: skip


async def test_a_payload_like_no_other_costs_its_own_rows(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await start(desk)
        payload = {"\x1b[31m": "\u202e\x00", "deep": [[[[{}]]]], "long": "x" * 100_000}
        await stop(desk, running, payload=payload, why={"messages": [{"role": "user", "content": None}], "reply": [1]})
        await desk.until(lambda: "deep" in desk.text(), "the payload")
        assert "\x1b" not in desk.text()


async def test_a_notice_of_a_stop_goes_when_there_is_nothing_to_go_to(
    open_desk: OpenDesk, running: Any, triage: Callable[..., Any]
) -> None:
    async with open_desk() as desk:
        await start(desk)
        await stop(desk, running)
        other = running.stops_at("7" * 32, "1:stop-2", "before_node", "route")
        offer = "77777777 stopped"
        await desk.until(lambda: offer in desk.text(), "the notice")
        running.goes_on(other)
        await desk.until(lambda: offer not in desk.text(), "the notice to go")


async def test_a_second_stop_of_the_run_in_sight_is_told_as_such(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await start(desk)
        await stop(desk, running)
        running.stops_at(TRACE, "1:stop-2", "before_node", "billing")
        await desk.until(lambda: "another branch of it stopped before node billing" in desk.text(), "the notice")
        assert "press . to go there" not in desk.text()
        await desk.press("full_stop")
        await desk.until(lambda: desk.app.areas["debugging"].selected == "1:stop-2", "the other stop")
        await desk.until(lambda: "another branch" not in desk.text(), "the notice to go")


async def test_a_run_that_stops_before_its_host_says_that_it_took_it_is_not_offered(
    open_desk: OpenDesk, running: Any, triage: Callable[..., Any]
) -> None:
    async with open_desk() as desk:
        await start(desk)
        await stop(desk, running)
        said: list[str] = []
        desk.app.say = lambda message, *more, **others: said.append(message)
        taken, asked = asyncio.Event(), running.run

        async def slow(request: Any) -> str:
            running.inbox.events.extend(running.answer(request))
            running.stops_at("7" * 32, "1:stop-2", "before_node", "route")
            await taken.wait()
            return str(await asked(request))

        running.run = slow
        running.answer = lambda run: triage("7" * 32, until="retry").events[:9]
        await desk.press("r")
        await desk.until(lambda: len(desk.app.workspace.stops) == 2, "the other stop")
        await desk.frame()
        taken.set()
        await desk.until(lambda: desk.app.areas["debugging"].selected == "1:stop-2", "the new run")
        await desk.frame()
        assert said == []


async def test_one_message_more_is_put_in(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await start(desk)
        await stop(desk, running, actions=["proceed", "edit", "inject"])
        await desk.press("M")
        await desk.until(lambda: "one message more" in desk.text(), "the editor")
        await desk.press("f7", *'{"id": 1}', "ctrl+s")
        await desk.until(lambda: running.decisions, "the decision")
        (decision,) = running.decisions
        assert (decision.stop, decision.action, decision.value) == ("1:stop-1", "inject", {"id": 1})


async def test_a_planner_is_given_a_note_that_is_a_text(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await start(desk)
        where = {"kind": "before_llm", "path": ["node:research[0]", "planner:research[0]"]}
        frame = running.stops_at(TRACE, "1:stop-1", name="gpt-x", actions=["proceed", "inject"], **where)
        await desk.until(lambda: desk.app.areas["debugging"].selected == frame.stop, "the stop")
        await desk.press("M")
        await desk.until(lambda: "a note to the planner" in desk.text(), "the editor")
        await desk.press("f7", *"12", "ctrl+s")
        await desk.until(lambda: "✖" in desk.text(), "what does not fit")
        assert running.decisions == []
        await desk.press("f7", *'"look at krill"', "ctrl+s")
        await desk.until(lambda: running.decisions, "the decision")
        assert running.decisions[0].value == "look at krill"


async def test_what_was_edited_is_not_lost_to_a_message_more(open_desk: OpenDesk, running: Any) -> None:
    async with open_desk() as desk:
        await start(desk)
        frame = await stop(desk, running, actions=["proceed", "edit", "inject"])
        desk.app.areas["debugging"].steps._drafts[frame.stop] = {"/id": 2}
        await desk.press("M")
        await desk.until(lambda: "what was edited would be lost" in desk.text(), "the notice")
        running.goes_on(frame)
        await stop(desk, running, "1:stop-2", actions=["proceed"])
        await desk.press("M")
        await desk.until(lambda: "nothing can be put in" in desk.text(), "the other notice")


@pytest.mark.parametrize(
    ("payload", "offered"),
    [
        ({"id": 4711}, {"id": 4711}),
        ({"payload": {"id": 1}, "headers": {"tenant": "t"}, "trace_id": TRACE}, {"id": 1}),
    ],
)
async def test_what_is_put_in_begins_as_the_payload(
    open_desk: OpenDesk, running: Any, payload: dict[str, Any], offered: dict[str, Any]
) -> None:
    async with open_desk() as desk:
        await start(desk)
        await stop(desk, running, actions=["proceed", "inject"], payload=payload)
        await desk.press("M")
        await desk.until(lambda: "sends this payload too" in desk.text(), "the editor")
        await desk.press("ctrl+s")
        await desk.until(lambda: running.decisions, "the decision")
        assert running.decisions[0].value == offered
