"""Actions on disk, and the forms in which earlier versions wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from penguiflow.planner import PlannerAction
from penguiflow.planner.legacy import action_of, dump_action_legacy

PLAN = {"steps": [{"node": "a", "args": {"x": 1}}], "join": {"node": "j", "args": {}, "inject": {"all": "$results"}}}


@pytest.mark.parametrize(
    "action",
    [
        PlannerAction(next_node="search", args={"q": "x"}, thought="look"),
        PlannerAction(next_node="parallel", args=PLAN),
        PlannerAction(next_node="parallel", args={"steps": [{"node": "a", "args": {}}]}),
        PlannerAction(next_node="final_response", args={"answer": "42", "confidence": 0.5}),
    ],
)
def test_an_action_is_had_again_from_disk(action: PlannerAction) -> None:
    assert action_of(dump_action_legacy(action)) == action


@pytest.mark.parametrize(
    ("written", "next_node", "args"),
    [
        ({"thought": "t", "next_node": None, "args": {"raw_answer": "42"}}, "final_response", {"raw_answer": "42"}),
        ({"answer": "42"}, "final_response", {"answer": "42"}),
        ({"next_node": "final_response", "args": "42"}, "final_response", {"answer": "42"}),
        ({"next_node": "final_response", "args": ["4", "2"]}, "final_response", {"answer": "4\n2"}),
        ({"action": {"next_node": "search", "args": {}}}, "search", {}),
        ({"next_node": " search ", "args": None}, "search", {}),
        ({"next_node": "plan", "args": {"steps": []}}, "parallel", {"steps": []}),
        (
            {"plan": [{"node": "a"}], "join": {"node": "j", "inject": {"mapping": {"d": "$results"}}}},
            "parallel",
            {"steps": [{"node": "a", "args": {}}], "join": {"node": "j", "args": {}, "inject": {"d": "$results"}}},
        ),
    ],
)
def test_forms_of_earlier_versions(written: dict[str, Any], next_node: str, args: dict[str, Any]) -> None:
    action = action_of(written)
    assert (action.next_node, action.args) == (next_node, args)


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"thought": "hm"},
        {"next_node": 3},
        {"next_node": " "},
        {"next_node": "search", "args": "x"},
        {"next_node": "final_response", "args": 3},
        {"next_node": "parallel", "args": {}},
        {"next_node": "parallel", "args": {"steps": ["a"]}},
        {"next_node": "parallel", "args": {"steps": [{"node": "a", "args": []}]}},
    ],
)
def test_what_is_no_action_says_why(written: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(missing|must be)"):
        action_of(written)
