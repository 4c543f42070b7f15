"""What a planner and its runs cannot use is said at once, in one line."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": 3}, "a run got an unexpected keyword argument 'max_steps'"),
        ({"memory_key": "a:b:c"}, "memory_key must be a MemoryKey, not str"),
        ({"steering": 4}, "steering must be a SteeringInbox, not int"),
        ({"tool_visibility": {"a"}}, "tool_visibility must be a policy with `visible_tools`, not set"),
        ({"on_ask": "yes"}, "on_ask must be a function, not str"),
        ({"event_callback": []}, "event_callback must be a function, not list"),
        ({"query": 5}, "query must be a string, not int"),
    ],
)
async def test_what_a_run_cannot_use_is_said_at_once(kit: Any, options: dict[str, Any], message: str) -> None:
    planner = kit.planner_of(script=[kit.answer("Three.")])
    with pytest.raises(TypeError) as caught:
        await planner.run(**{"query": "How many?", **options})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iters": "3"}, "max_iters must be a number; got '3'"),
        ({"usage_limits": {"requests": 1}}, "usage_limits must be of type UsageLimits; got {'requests': 1}"),
        ({"reflection_config": True}, "reflection_config must be of type ReflectionConfig; got True"),
    ],
)
def test_options_of_the_wrong_kind_are_refused(kit: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        kit.planner_of(**options)
    assert str(caught.value) == message
