"""Where a run can go on, and what can be changed there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from penguiflow.recording.events import TraceEvent
from playground.dashboard.trace import TraceModel
from playground.dashboard.travel.places import (
    NoPlace,
    edits_between,
    point_at_event,
    point_at_span,
    stand_at,
)


class Stored:
    """The part of a source that a log is read from."""

    def __init__(self, events: list[bytes]) -> None:
        self._events = [TraceEvent.from_dict(json.loads(raw)) for raw in events]

    async def load_events(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[TraceEvent]:
        return [event for event in self._events if event.seq > after][:limit]


def model_of(events: list[bytes]) -> TraceModel:
    trace = TraceModel("t")
    for raw in events:
        trace.add(raw)
    return trace


def span_of(trace: TraceModel, kind: str, name: str = "", number: int = 0) -> Any:
    return [span for span in trace.spans.values() if span.kind == kind and name in ("", span.name)][number]


async def test_a_step_and_its_tool_stand_for_the_decision(research: Callable[..., Any]) -> None:
    trace = model_of(research().events)
    for span in (span_of(trace, "step", number=1), span_of(trace, "tool", "fetch")):
        point = point_at_span(trace, span)
        assert (point.kind, point.head.kind, point.head.name) == ("decision", "planner.decision", "fetch")
        stand = await stand_at(cast("Any", None), trace, point)
        assert stand.document == {"next_node": "fetch", "args": {"url": "corpus://a"}, "thought": "fetch it"}
        assert "research · step 1" in stand.about[0]
        assert stand.schema is not None
        assert stand.schema["properties"]["next_node"]["enum"][:3] == ["search", "fetch", "skim"]
        after = {"next_node": "skim", "args": {"url": "corpus://b"}, "thought": "fetch it"}
        assert edits_between(stand.document, after, stand.prefixes) == {"/next_node": "skim", "/args/url": "corpus://b"}


async def test_a_call_of_a_model_stands_for_its_prompt(research: Callable[..., Any]) -> None:
    trace = model_of(research().events)
    point = point_at_span(trace, span_of(trace, "llm", number=1))
    assert (point.kind, point.head.kind) == ("before_llm", "llm.start")
    stand = await stand_at(cast("Any", None), trace, point)
    after = json.loads(json.dumps(stand.document).replace("what, step 1", "what else"))
    edits = edits_between(stand.document, after, stand.prefixes)
    assert edits == {"before_llm:/messages/0/content": "what else"}


async def test_an_event_of_a_tool_stands_for_its_arguments(research: Callable[..., Any]) -> None:
    run = research()
    trace = model_of(run.events)
    index = next(i for i, raw in enumerate(run.events) if json.loads(raw)["kind"] == "tool.start")
    point = point_at_event(trace, index)
    stand = await stand_at(cast("Any", None), trace, point)
    assert (point.kind, stand.document) == ("before_tool", {"args": {"query": "what"}})
    assert edits_between(stand.document, {"args": {}}, stand.prefixes) == {"before_tool:/args": {}}


async def test_a_node_stands_for_its_message(triage: Callable[..., Any]) -> None:
    run = triage()
    trace = model_of(run.events)
    point = point_at_span(trace, span_of(trace, "node", "technical"))
    stand: Any = await stand_at(Stored(run.events), trace, point)  # type: ignore[arg-type]
    assert point.kind == "message"
    assert stand.about[0] == "Message route->technical."
    assert stand.document["payload"]["id"] == 4711
    after = json.loads(json.dumps(stand.document))
    after["payload"]["id"] = 5
    assert edits_between(stand.document, after, stand.prefixes) == {"/payload/id": 5}


async def test_after_the_end_nothing_is_left(triage: Callable[..., Any]) -> None:
    run = triage()
    trace = model_of(run.events)
    stand = await stand_at(Stored(run.events), trace, point_at_event(trace, len(run.events) - 1))  # type: ignore[arg-type]
    assert stand.document is None
    assert "Nothing was left to do" in stand.about[0]
    with pytest.raises(NoPlace, match="no such event"):
        point_at_event(trace, len(run.events))


@pytest.mark.parametrize(
    ("before", "after", "edits"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 1.0}, {"/a": 1.0}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {"/a/c": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"/a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [1, 3]}, {"/a/1": 3}),
        ({"a": [1, 2]}, {"a": [1]}, {"/a": [1]}),
        ({"x/y": {"m~n": 1}}, {"x/y": {"m~n": None}}, {"/x~1y/m~0n": None}),
        ({"a": True}, {"a": 1}, {"/a": 1}),
    ],
)
def test_edits_are_the_smallest_places_that_differ(before: Any, after: Any, edits: dict[str, Any]) -> None:
    assert edits_between(before, after, {"": ""}) == edits


def test_several_messages_are_named_in_front(research: Callable[..., Any]) -> None:
    before = {"a->b m1": {"payload": 1}, "a->c m2": {"payload": 2}}
    after = {"a->b m1": {"payload": 1}, "a->c m2": {"payload": 3}}
    prefixes = {"a->b m1": "m1:", "a->c m2": "m2:"}
    assert edits_between(before, after, prefixes) == {"m2:/payload": 3}
    with pytest.raises(NoPlace, match="names of the messages"):
        edits_between(before, {"a->b m1": {}}, prefixes)
    with pytest.raises(NoPlace, match="keys have to stay"):
        edits_between({"a": 1}, [], {"": ""})
