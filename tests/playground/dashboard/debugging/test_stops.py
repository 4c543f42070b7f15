from __future__ import annotations

from typing import Any

import pytest

from playground.breakpoints import Breakpoint
from playground.dashboard.debugging.model import BreakpointList, Place, Stops, place_of
from playground.protocol import Breakpoints, Resumed, Stopped


def stopped(stop: str, trace_id: str = "a", **more: Any) -> Stopped:
    fields = {"span_id": "1", "path": ["node:x[0]"], "kind": "before_tool", "name": "fetch", "since": 1.0}
    return Stopped.model_validate({"stop": stop, "trace_id": trace_id, **fields, **more})


def test_stops_are_kept_until_they_go_on() -> None:
    stops = Stops()
    for frame in (stopped("1:stop-1"), stopped("1:stop-2", "b"), stopped("1:stop-3")):
        stops.take(frame)
    assert [each.stop for each in stops.arrived()] == ["1:stop-1", "1:stop-2", "1:stop-3"]
    assert stops.arrived() == []
    assert [each.stop for each in stops.of("a")] == ["1:stop-1", "1:stop-3"]
    assert stops.places() == {"a": "before tool fetch and elsewhere", "b": "before tool fetch"}
    stops.take(Resumed(stop="1:stop-1", trace_id="a", action="proceed"))
    assert stops.get("1:stop-1") is None
    assert stops.places()["a"] == "before tool fetch"
    assert len(stops) == 2


def test_a_stop_that_is_told_again_did_not_arrive_again() -> None:
    stops = Stops()
    stops.take(stopped("1:stop-1"))
    stops.arrived()
    stops.take(stopped("1:stop-1", payload={"new": True}))
    assert stops.arrived() == []
    again = stops.get("1:stop-1")
    assert again is not None
    assert again.payload == {"new": True}


def test_a_stop_that_went_on_at_once_never_arrived() -> None:
    stops = Stops()
    stops.take(stopped("1:stop-1"))
    stops.take(Resumed(stop="1:stop-1", trace_id="a", action="gone"))
    assert stops.arrived() == []


def test_the_next_stop_is_found_around_the_end() -> None:
    stops = Stops()
    assert stops.after(None) is None
    for name in ("1:stop-1", "1:stop-2"):
        stops.take(stopped(name))
    names = []
    at: str | None = None
    for _ in range(3):
        found = stops.after(at)
        assert found is not None
        at = found.stop
        names.append(at)
    assert names == ["1:stop-1", "1:stop-2", "1:stop-1"]


def test_breakpoints_are_found_by_place_and_flow() -> None:
    points = BreakpointList()
    tool = Breakpoint(id="1", on="tool", name="fetch", target="flows/a.py")
    error = Breakpoint(id="2", on="error")
    points.take(Breakpoints(breakpoints=[tool, error], unfit={"1": "no url"}))
    assert points.at(Place("tool", "fetch"), "flows/a.py") == [tool]
    assert points.at(Place("tool", "fetch"), "flows/b.py") == []
    assert points.at(place_of(error), "flows/b.py") == [error]
    assert points.unfit == {"1": "no url"}
    assert points.new_id() == "3"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place("tool", "fetch"), "tool fetch"),
        (Place("node"), "each node"),
        (Place("kind", None, "after_decision"), "each decision"),
        (Place("kind", "gpt", "before_llm"), "each prompt · gpt"),
        (Place("error"), "each error"),
        (Place("any"), "anything"),
    ],
)
def test_places_have_names(place: Place, text: str) -> None:
    assert place.text() == text
