"""The planner that answers for a shop: native tool calls, approval, and an answer that is data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flows import support_agent
from flows._support_desk import ORDERS
from flows._support_model import support_model
from flows.support_agent import Resolution
from penguiflow.checkpoints import Checkpoint, Decision
from penguiflow.llm.providers.pydantic_ai import PydanticAIProvider
from penguiflow.planner import PlannerFinish, PlannerPause, ReactPlanner
from penguiflow.state import SQLiteStateStore
from tests.model_server import Said

if TYPE_CHECKING:
    from tests.model_server import ModelServer

DESK = {"session_id": "desk"}
ODD: list[Any] = [
    None,
    "gone",
    5,
    [],
    {},
    [[]],
    {"orders": "none", "status": "lost"},
    {"reference": None, "pages": [3]},
]
"""What somebody may put in the place of an observation."""
MakePlanner = Callable[..., ReactPlanner]


@pytest.fixture
def planner_of(store: SQLiteStateStore) -> MakePlanner:
    def make(model: Any = None, **options: Any) -> ReactPlanner:
        return support_agent.make_planner(model or support_model(), store, **options)

    return make


def resolved(outcome: Any) -> Resolution:
    assert isinstance(outcome, PlannerFinish), outcome
    assert outcome.payload["warnings"] == []
    return Resolution.model_validate(outcome.payload["structured"])


def called(outcome: Any) -> list[Any]:
    """The tools of each step; several of a plan as a list."""
    return [
        step["action"]["next_node"] or [each["node"] for each in step["action"]["plan"]]
        for step in outcome.metadata["steps"]
    ]


async def test_a_lost_parcel_is_refunded_at_once(planner_of: MakePlanner) -> None:
    outcome = await planner_of().run("Order A-103 never came, I am linus@example.org")

    assert called(outcome) == [["find_customer", "find_order"], "refund"]
    made = resolved(outcome)
    assert (made.category, made.resolved, made.order_id, made.refund) == ("refund", True, "A-103", 18.0)
    assert made.reply.startswith("Hello Linus. 18.00 for order A-103 is on its way")


@pytest.mark.parametrize(
    ("query", "category", "done", "part"),
    [
        ("Where is my order A-102?", "order", True, "an ice axe, is on its way"),
        ("I forgot my password", "question", True, "Forgot password"),
        ("I want a refund for A-999", "refund", False, "there is no order A-999"),
        ("I want a refund for A-102", "refund", True, "is on its way."),
        ("Hi", "question", False, "passed it on"),
    ],
)
async def test_other_messages(planner_of: MakePlanner, query: str, category: str, done: bool, part: str) -> None:
    made = resolved(await planner_of().run(query))
    assert (made.category, made.resolved, made.refund) == (category, done, None)
    assert part in made.reply


@pytest.mark.parametrize("odd", ODD)
async def test_whatever_a_tool_is_said_to_have_given(planner_of: MakePlanner, odd: Any) -> None:
    async def instead(checkpoint: Checkpoint) -> Decision | None:
        return Decision.edit(odd) if checkpoint.kind == "after_tool" else None

    outcome = await planner_of(interceptors=[instead]).run("Order A-103 never came, I am linus@example.org")
    assert isinstance(outcome, PlannerFinish)
    assert outcome.payload["raw_answer"].startswith("Hello")


async def test_tools_are_called_natively(planner_of: MakePlanner) -> None:
    model = support_model()
    await planner_of(model).run("Order A-103 never came, I am linus@example.org")

    offered = {tool.name for tool in model.requests[0].tools or ()}
    assert offered == {"find_customer", "find_order", "search_help", "refund", "final_response"}
    said = [call.name for message in model.requests[-1].messages for call in message.tool_calls]
    assert said == ["find_customer", "find_order", "refund"]


QUERY = "My tent A-101 is lost. Give me my money back! ada@example.org"


async def test_a_large_refund_waits_for_approval_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    before = SQLiteStateStore(tmp_path / "paused.db")
    pause = await support_agent.make_planner(support_model(), before).run(QUERY, tool_context=DESK)
    await before.close()
    assert isinstance(pause, PlannerPause)
    assert pause.reason == "approval_required"
    assert pause.payload == {"order_id": "A-101", "amount": ORDERS["A-101"].price, "reason": "lost"}

    after = SQLiteStateStore(tmp_path / "paused.db")
    planner = support_agent.make_planner(support_model(), after)
    outcome = await planner.resume(pause.resume_token, "yes", tool_context={**DESK, "approved_by": "Kim"})
    assert resolved(outcome).refund == 240.0
    assert isinstance(outcome, PlannerFinish)
    assert outcome.metadata["steps"][-1]["observation"]["approved_by"] == "Kim"
    with pytest.raises(KeyError):
        await planner.resume(pause.resume_token, "yes", tool_context={"approved_by": "Kim"})
    await after.close()


async def test_a_word_of_the_user_is_no_approval(planner_of: MakePlanner) -> None:
    """The model may say yes as often as it likes: who approves is not its to say."""
    planner = planner_of()
    pause = await planner.run(QUERY, tool_context=DESK)
    assert isinstance(pause, PlannerPause)
    again = await planner.resume(pause.resume_token, "yes", tool_context=DESK)
    assert isinstance(again, PlannerPause)


async def test_a_refund_that_is_refused(planner_of: MakePlanner) -> None:
    planner = planner_of()
    pause = await planner.run(QUERY, tool_context=DESK)
    assert isinstance(pause, PlannerPause)
    made = resolved(await planner.resume(pause.resume_token, "no, not this one"))
    assert (made.resolved, made.refund) == (False, None)
    assert "was not approved" in made.reply


async def test_every_sample_is_answered_or_waits(planner_of: MakePlanner) -> None:
    planner = planner_of()
    outcomes = [await planner.run(sample["query"]) for sample in support_agent.__flow__["samples"]]
    replies = {resolved(each).reply if isinstance(each, PlannerFinish) else each.reason for each in outcomes}
    assert len(replies) == len(outcomes)
    assert "approval_required" in replies


async def test_a_model_of_the_outside_decides(openai_server: ModelServer, planner_of: MakePlanner) -> None:
    """Tool calls in pieces over the wire; an answer that does not fit is asked for again."""
    right = {
        "structured": {"category": "order", "resolved": True, "reply": "Both are fine 🧣.", "order_id": "A-100"},
        "answer": "Both are fine 🧣.",
    }
    openai_server.say(
        Said(
            calls=[
                ("c1", "find_order", '{"order_id": "A-100"}'),
                ("c2", "find_customer", '{"email": "grace@example.org"}'),
            ],
            pieces=3,
        ),
        Said(calls=[("c3", "final_response", json.dumps({"structured": {"category": "nonsense"}}))]),
        json.dumps(right["structured"]),
    )
    model = PydanticAIProvider("openai/local-1", api_key="a-key", base_url=openai_server.url)
    try:
        outcome = await planner_of(model).run("Two things")
    finally:
        await model.aclose()

    assert called(outcome) == [["find_order", "find_customer"]]
    made = resolved(outcome)
    assert (made.category, made.reply, made.order_id) == ("order", "Both are fine 🧣.", "A-100")
    results = [each for each in openai_server.asked[1].body["messages"] if each["role"] == "tool"]
    assert [("scarf" in each["content"], "ice axe" in each["content"]) for each in results] == [
        (True, False),
        (False, True),
    ]


async def test_an_order_is_refunded_once_in_a_session(planner_of: MakePlanner) -> None:
    planner = planner_of()
    whole = {"tenant_id": "shop", "user_id": "support", "session_id": "desk"}
    paused = await planner.run(QUERY, tool_context=whole)
    assert isinstance(paused, PlannerPause)
    approved = await planner.resume(paused.resume_token, "yes", tool_context={**whole, "approved_by": "Grace"})
    assert resolved(approved).refund == 240.0
    # It was approved once; nobody is asked again, and no more money is given.
    again = await planner.run(QUERY, tool_context=whole)
    assert resolved(again).refund == 240.0
    elsewhere = await planner.run(QUERY, tool_context={**whole, "session_id": "other"})
    assert isinstance(elsewhere, PlannerPause)
