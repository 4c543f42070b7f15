"""What an input tells of itself."""

from __future__ import annotations

from typing import Any

import pytest

from playground.loader.inputs import session_of


@pytest.mark.parametrize(
    ("value", "session"),
    [
        ({"query": "q", "tool_context": {"session_id": "s"}}, "s"),
        ({"query": "q", "tool_context": {"session_id": " "}}, None),
        ({"query": "q", "tool_context": {"session_id": 7}}, None),
        ({"query": "q", "tool_context": None}, None),
        ({"query": "q", "session_id": "s"}, None),
        (["tool_context"], None),
        ("text", None),
        (None, None),
    ],
)
def test_the_session_of_an_input(value: Any, session: str | None) -> None:
    assert session_of(value) == session
