from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from playground.dashboard.inspector import Inspector
from playground.dashboard.trace import TraceModel
from playground.dashboard.views.detail import DetailView
from playground.dashboard.watching.calls import as_json, usage_text
from playground.dashboard.watching.llm import ModelCallView

ID = "9e9a20c1" * 4


def boxed(value: Any) -> dict[str, Any]:
    return {"type": "builtins:dict", "value": value}


def call(run: Any, step: str, *, purpose: str, reply: str, messages: Sequence[tuple[str, str]], **more: Any) -> str:
    request = {
        "model": "gpt-x",
        "messages": [{"role": role, "content": content} for role, content in messages],
        "temperature": 0.2,
        "purpose": purpose,
        "structured_output": {"name": "planner_action"},
    }
    span: str = run.start("llm", "openai/gpt-x", step, {"request": boxed(request), "ordinal": 0})
    run.ms += 500
    usage = {"input_tokens": 612, "output_tokens": 88, "cached_tokens": 40, "reasoning_tokens": 0}
    response = {"message": {"role": "assistant", "content": reply}, "reasoning": "Hm.", "usage": usage}
    run.end(span, response=boxed(response), usage=usage, cost=0.0021, finish_reasons=["stop"], **more)
    return span


def planner_run(script: Any) -> Any:
    """Two steps; the first reply had to be repaired."""
    run = script(ID, flow="agent")
    node = run.node("agent", "m")
    planner = run.start("planner", "react", node, {"tools": ["search"], "model": "gpt-x", "mode": "prompted"})
    step = run.start("step", "step", planner, {"step": 0})
    call(run, step, purpose="decision", reply="search it", messages=[("system", "You plan."), ("user", "Why?\x1b[2J")])
    run.event("planner.repair", "decision", step, planner, {"attempt": 1, "problem": "no JSON in the reply"})
    call(run, step, purpose="repair", reply='{"next_node": "search"}', messages=[("user", "Answer in JSON.")])
    decision = {"next_node": "search", "args": boxed({"query": "ice"}), "thought": "Look.", "source": "llm"}
    run.event("planner.decision", "search", step, planner, decision)
    tool = run.start("tool", "search", step, {"request": boxed({"tool": "search", "args": {"query": "ice"}})})
    run.end(tool, response=boxed({"observation": {"docs": ["a", "b"]}}))
    run.end(step)
    step = run.start("step", "step", planner, {"step": 1})
    call(run, step, purpose="decision", reply="done", messages=[("user", "And now?")])
    run.end(step)
    run.end(planner, reason="answer_complete", steps=2, usage={"input_tokens": 10, "output_tokens": 2}, cost=0.5)
    return run


def fed(run: Any, count: int | None = None) -> TraceModel:
    trace = TraceModel(ID)
    for raw in run.events[:count]:
        trace.add(raw)
    return trace


def text_of(view: DetailView) -> str:
    return "\n".join("".join(text for text, _ in view.safe_row(index, 90)) for index in range(len(view)))


def shown(trace: TraceModel) -> ModelCallView:
    view = ModelCallView()
    view.show_trace(trace)
    view.resize(90, 40)
    view.sync()
    return view


def test_the_last_call_is_shown_and_walked_from(script: Any) -> None:
    view = shown(fed(planner_run(script)))
    assert view.title()[0][0].strip() == "3/3"
    view.walk(-1)
    assert view.title()[0][0].strip() == "2/3"
    view.walk(-1)
    view.walk(-1)
    assert view.title()[0][0].strip() == "1/3"


def test_a_call_says_what_was_sent_and_what_became_of_it(script: Any) -> None:
    view = shown(fed(planner_run(script)))
    view.walk(-1)
    said = text_of(view)
    for part in (
        "repair · step 0",
        "gpt-x",
        "612 → 88 tokens (40 cached)",
        "176 tok/s",
        "$0.0021",
        "temperature 0.2",
        "decision · search",
        '"ice"',
        "raw reply",
        '{"next_node": "search"}',
        "1 user",
        "thinking",
    ):
        assert part in said, part
    view.walk(-1)
    said = text_of(view)
    assert "attempt 1: no JSON in the reply" in said
    assert "decision · search" not in said
    assert "2 user" in said
    assert "\x1b" not in said


def test_a_message_is_copied_exactly(script: Any) -> None:
    view = shown(fed(planner_run(script)))
    view.walk(-2)
    view.cursor = next(i for i in range(len(view)) if "2 user" in "".join(text for text, _ in view.row(i, 90)))
    assert view.copy_text() == "Why?\x1b[2J"


def test_the_newest_call_is_followed_until_one_is_picked(script: Any) -> None:
    run = planner_run(script)
    ends = [n for n, raw in enumerate(run.events, 1) if b'"llm.start"' in raw[:300]]
    trace = fed(run, ends[0])
    view = shown(trace)
    assert "running" in text_of(view)
    for raw in run.events[ends[0] : ends[1]]:
        trace.add(raw)
    view._due = 0.0
    view.sync()
    assert view.title()[0][0].strip() == "2/2"
    view.walk(-1)
    for raw in run.events[ends[1] :]:
        trace.add(raw)
    view._due = 0.0
    view.sync()
    assert view.title()[0][0].strip() == "1/3"


def test_picking_finds_the_call_at_or_after_a_span(script: Any) -> None:
    trace = fed(planner_run(script))
    view = shown(trace)
    tool = next(span for span in trace.spans.values() if span.kind == "tool")
    assert view.pick(tool)
    assert view.span is trace.traffic.calls[2]
    assert view.pick(trace.traffic.calls[0])
    assert view.span is trace.traffic.calls[0]


def test_broken_and_foreign_payloads_are_told_not_fatal(script: Any) -> None:
    run = script(ID)
    for request in (
        "just text",
        {"value": {"messages": ["a", 3, None, {"role": 7}]}},
        None,
        {"value": {"messages": 3}},
    ):
        span = run.start("llm", "m", run.root, {"request": request})
        run.end(span, response={"value": {"message": {"content": [{"type": "text"}]}, "reasoning": [1]}}, usage="many")
    view = shown(fed(run))
    for _ in range(4):
        assert "cannot be shown" not in text_of(view)
        view.walk(-1)
    assert usage_text({"input_tokens": True}) == "0 → 0 tokens"


def test_the_whole_call_as_json(script: Any) -> None:
    trace = fed(planner_run(script))
    said = json.loads(as_json(trace, trace.traffic.calls[0]))
    assert said["request"]["messages"][0] == {"role": "system", "content": "You plan."}
    assert said["response"]["message"]["content"] == "search it"


def test_the_inspector_shows_what_tools_steps_and_planners_did(script: Any) -> None:
    trace = fed(planner_run(script))
    detail = DetailView()
    detail.resize(90, 60)
    inspector = Inspector(detail)
    expected = {
        "tool": ["args", "observation", "docs"],
        "step": ["decision · search", "Look."],
        "planner": ["gpt-x", "answer_complete after 2 steps", "$0.5000"],
        "llm": ["L shows", "612 → 88"],
    }
    for kind, parts in expected.items():
        inspector.show_span(trace, next(span for span in trace.spans.values() if span.kind == kind))
        said = text_of(detail)
        for part in parts:
            assert part in said, (kind, part)


async def test_keys_in_the_dashboard(open_desk: Any, source: Any, script: Any) -> None:
    source.answer = lambda run: planner_run(script).finish()
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        await desk.press("3", "g", "L")
        assert "[LLM]" in desk.text()
        assert "1/3" in desk.text()
        await desk.press("right_parenthesis")
        assert "2/3" in desk.text()
        assert desk.app.spans.span.kind == "llm"
        # The tree's cursor takes the document along.
        await desk.press("3", "G", "k")
        await desk.press("j")
        assert "3/3" in desk.text()


async def test_without_calls_it_says_so(open_desk: Any, source: Any, triage: Any) -> None:
    source.answer = lambda run: triage(ID).events
    async with open_desk(size=(120, 40)) as desk:
        await desk.press("j", "r")
        await desk.until(lambda: desk.app.workspace.current and desk.app.workspace.current.over, "the run")
        await desk.press("L")
        assert "no model was called in this run" in desk.text()


def test_the_call_in_front_stays_at_another_moment_of_the_run(script: Any) -> None:
    run = planner_run(script)
    view = shown(fed(run))
    view.walk(-1)
    assert view.span is not None
    picked = view.span.span_id
    moment = fed(run, len(run.events) - 6)
    view.show_trace(moment)
    view.sync()
    assert view.span is moment.spans[picked]
    assert view.title()[0][0].strip().startswith("2/")
    # Before it began, it is the newest one of then.
    first = next(n for n, raw in enumerate(run.events, 1) if b'"llm.end"' in raw[:300])
    view.show_trace(fed(run, first))
    view.sync()
    assert view.title()[0][0].strip() == "1/1"
