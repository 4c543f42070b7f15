"""Texts that were made to be slow, or to break something: no turn holds up the others."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from peeragent.errors import AgentFailed
from peeragent.models.agents import Agent
from peeragent.models.turns import MAX_TASK, SocraticState

if TYPE_CHECKING:
    from tests.flows.peeragent.agents.conftest import Take

LONG = [
    "“" * MAX_TASK,
    "«" * MAX_TASK,
    "about " + "!" * (MAX_TASK - 6),
    " " * (MAX_TASK - 1) + "x",
    "x" + " " * (MAX_TASK - 1),
    "to " * (MAX_TASK // 3),
    "in c " * (MAX_TASK // 5),
    "\n" * (MAX_TASK - 1) + "x",
    '"' * MAX_TASK,
    "'" * MAX_TASK,
    "```\n" * (MAX_TASK // 4),
    "a. " * (MAX_TASK // 3),
    ":" * MAX_TASK,
    "</task>" * (MAX_TASK // 7),
    "1," * (MAX_TASK // 2),
    "{" * MAX_TASK,
    "[https://a.b/c] " * (MAX_TASK // 16),
    "Q: \nA: " * (MAX_TASK // 7),
    "write " * (MAX_TASK // 6),
]
BOUND_S = 1.0
"""Of CPU; what grows with the square of a text takes several seconds of it."""


@pytest.mark.parametrize("agent", [None, *Agent])
async def test_no_task_takes_long(take: Take, agent: Agent | None) -> None:
    for task in LONG:
        began = time.process_time()
        with suppress(AgentFailed):  # some are no task for this agent
            await take(task, agent=agent, stream=False)
        assert time.process_time() - began < BOUND_S, task[:20]


async def test_no_answer_takes_long(take: Take) -> None:
    state = SocraticState(task="Our sales dropped", asked=["When?", "How much?"])
    for text in LONG:
        answers = {f"{text}{number}": text for number in range(20)}
        began = time.process_time()
        await take(answers=answers, socratic=state, stream=False)
        assert time.process_time() - began < BOUND_S, text[:20]
