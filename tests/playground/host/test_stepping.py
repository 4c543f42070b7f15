from __future__ import annotations

import pytest

from penguiflow.checkpoints import Checkpoint
from playground.host.stepping import step_from

NODE = ("node:ask[m1]",)
NEXT = ("node:tell[m2]",)
PLANNER = (*NODE, "planner:react[0]")
STEP, LATER = (*PLANNER, "step:step[0]"), (*PLANNER, "step:step[1]")
BRANCH, OTHER = (*STEP, "branch:fetch[0]"), (*STEP, "branch:fetch[1]")
JOIN = (*STEP, "join:join.total[0]")
CALL = (*STEP, "call:tool.fetch[0]")
DEEP = (*CALL, "planner:inner[0]", "step:step[0]")


def at(path: tuple[str, ...]) -> Checkpoint:
    return Checkpoint("before_tool", "t", "s", "x", {}, path)


@pytest.mark.parametrize(
    ("how", "start", "goes_by", "ends_at"),
    [
        ("into", NODE, [], [NODE, STEP, NEXT, DEEP]),
        ("over", NODE, [PLANNER, STEP, DEEP], [NODE, NEXT]),
        ("over", STEP, [BRANCH, OTHER, CALL, DEEP, (*JOIN, "call:tool.total[0]")], [STEP, JOIN, LATER, NODE, NEXT]),
        (
            "over",
            BRANCH,
            [OTHER, (*OTHER, "call:tool.fetch[0]"), (*BRANCH, "call:tool.fetch[0]")],
            [BRANCH, JOIN, LATER],
        ),
        ("over", JOIN, [(*JOIN, "call:tool.total[0]")], [JOIN, LATER]),
        ("out", STEP, [STEP, LATER, BRANCH, JOIN], [NODE, NEXT]),
        ("out", BRANCH, [BRANCH, OTHER, (*BRANCH, "call:tool.fetch[0]")], [JOIN, LATER, NODE]),
        ("out", DEEP, [DEEP, (*CALL, "planner:inner[0]")], [STEP, CALL, LATER]),
        ("out", NODE, [NODE, STEP], [NEXT]),
    ],
)
def test_where_a_step_ends(
    how: str, start: tuple[str, ...], goes_by: list[tuple[str, ...]], ends_at: list[tuple[str, ...]]
) -> None:
    ends = step_from(how, start)
    assert ends is not None
    assert [path for path in goes_by if ends(at(path))] == []
    assert [path for path in ends_at if not ends(at(path))] == []


def test_who_goes_on_does_not_stop() -> None:
    assert step_from("continue", NODE) is None
