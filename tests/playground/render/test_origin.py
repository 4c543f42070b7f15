"""Where a trace comes from is said where it is listed and shown."""

from __future__ import annotations

from typing import Any

import pytest

from penguiflow.state.traces import TraceSummary
from playground.render.tracelist import trace_lines
from playground.render.tree import heading_lines

ORIGIN = "ff8cf72b372a55de2d4a4d356ed2b524"


def summary(origin: dict[str, Any] | None, error: str | None = None) -> TraceSummary:
    fields = {"trace_id": "a" * 32, "status": "ok", "started": 1.0, "events": 3, "input": '"q"', "error": error}
    return TraceSummary.model_validate({**fields, "origin": origin})


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ({"trace_id": ORIGIN, "seq": 19}, "fork of ff8cf72b372a after event 19"),
        ({"trace_id": ORIGIN, "mode": "replay"}, "replay of ff8cf72b372a"),
        ({"trace_id": ORIGIN, "seq": 19, "mode": "replay"}, "replay of ff8cf72b372a"),
        ({"trace_id": "\x1b[31m"}, "from ␛[31m"),
    ],
)
def test_a_fork_and_a_replay_say_of_what(origin: dict[str, Any], told: str) -> None:
    assert heading_lines(summary(origin))[1].endswith(f" · {told}")
    assert trace_lines([summary(origin)])[1].endswith(f'{told}  "q"')
    assert trace_lines([summary(origin, error="it failed")])[1].endswith("it failed")


def test_others_say_nothing() -> None:
    assert heading_lines(summary(None))[1].endswith("3 events")
    assert trace_lines([summary(None)])[1].endswith('3  "q"')
