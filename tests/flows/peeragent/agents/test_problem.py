"""The tree of causes: checked, repaired, or refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from peeragent.agents.problem import same
from peeragent.errors import AgentFailed
from peeragent.models.agents import Agent, ProblemTree

if TYPE_CHECKING:
    from peeragent.llm import Model
    from tests.flows.peeragent.agents.conftest import Saying, Take, Takes
    from tests.model_server import ModelServer

GOOD: dict[str, Any] = {
    "problem_type": "Cost",
    "main_problem": "Delivery is too expensive",
    "root_causes": [
        {"cause": "Fuel", "sub_causes": ["Old vans", "Long detours"]},
        {"cause": "Wages", "sub_causes": ["Overtime", "Agency staff", "Night shifts"]},
        {"cause": "Returns", "sub_causes": ["Wrong addresses", "Damaged parcels"]},
    ],
}


def tree(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **changes}


def causes(*branches: tuple[str, *tuple[str, ...]]) -> dict[str, Any]:
    return tree(root_causes=[{"cause": cause, "sub_causes": list(below)} for cause, *below in branches])


A, B, C = ("Fuel", "Old vans", "Long detours"), ("Wages", "Overtime", "Agency"), ("Returns", "Addresses", "Damages")
BROKEN = [
    (causes(A, B), "3 to 5 root causes, not 2"),
    (causes(A, B, C, ("D", "e", "f"), ("G", "h", "i"), ("J", "k", "l")), "not 6"),
    (causes(A, B, ("Returns", "Addresses")), "'Returns' must have 2 or 3 sub-causes, not 1"),
    (causes(A, B, ("Returns", "a1", "b1", "c1", "d1")), "not 4"),
    (causes(A, B, ("fuel ", "Addresses", "Damages")), "'Fuel' and 'fuel' say the same"),
    (causes(A, B, ("Returns", "OLD   VANS", "Damages")), "say the same"),
    (causes(A, B, ("Returns", "Overtime!", "Damages")), "say the same"),
    (causes(A, B, ("Returns", "The vans are old", "Damages")), "say the same"),
    (causes(A, ("Wages", "Wage", "Agency"), C), "say the same"),
    (tree(problem_type="Weather"), "must be one of Growth"),
]


@pytest.mark.parametrize(("broken", "complaint"), BROKEN)
async def test_a_broken_tree_is_repaired(
    takes: Takes, saying: Callable[..., Saying], broken: dict[str, Any], complaint: str
) -> None:
    model = saying(broken, GOOD)
    result = (await takes(model.model)("Our delivery costs", agent=Agent.PROBLEM)).result.result

    assert result.type == "problem_tree"
    assert result.data == GOOD
    told = model.requests[1].messages
    assert json.loads(told[-2].text) == broken
    assert complaint in told[-1].text


@pytest.mark.parametrize(("broken", "complaint"), BROKEN)
async def test_a_tree_that_stays_broken_is_refused(
    takes: Takes, saying: Callable[..., Saying], broken: dict[str, Any], complaint: str
) -> None:
    model = saying(*[broken] * 5)
    with pytest.raises(AgentFailed) as failed:
        await takes(model.model)("Our delivery costs", agent=Agent.PROBLEM)
    assert failed.value.code == "NOT_MECE"
    assert complaint in failed.value.message
    assert len(model.requests) == 3


async def test_a_reply_that_is_no_tree(takes: Takes, saying: Callable[..., Saying]) -> None:
    with pytest.raises(AgentFailed) as failed:
        await takes(saying("a", "b", "c").model)("Our costs", agent=Agent.PROBLEM)
    assert failed.value.code == "LLM_BAD_REPLY"


async def test_a_real_model_over_a_connection(openai_server: ModelServer, served: Model, takes: Takes) -> None:
    openai_server.say(json.dumps(causes(A, B)), f"Sorry:\n```json\n{json.dumps(tree(problem_type='cost'))}\n```")
    result = (await takes(served)("Costs", agent=Agent.PROBLEM, context={"country": "Chile"})).result.result
    assert result.data == GOOD
    assert result.agent_type == "problem_structuring_agent"
    assert "Chile" in str(openai_server.asked[0].body["messages"])
    assert "3 to 5 root causes, not 2" in str(openai_server.asked[1].body["messages"])


@pytest.mark.parametrize(
    "task",
    [
        "Our sales dropped 20%",
        "Delivery delays in the warehouse",
        "Our servers fail every week",
        "The audit found gaps in compliance",
        "Employees leave and morale is low",
        "Costs are rising",
        "{nothing} in particular",
    ],
)
async def test_trees_of_the_scripted_model(take: Take, task: str) -> None:
    taken = await take(task, agent=Agent.PROBLEM)
    made = ProblemTree.model_validate(taken.result.result.data)
    assert task in made.main_problem


def test_what_says_the_same() -> None:
    assert same("High prices", "high  PRICES.")
    assert same("Lack of training", "Training")
    assert same("Slow delivery of parts", "Delivery of parts is slow")
    assert not same("Slow delivery", "Slow production")
    assert not same("List price", "Price list of rivals")
    assert same("高い", "高い")
    assert not same("…", "!")
