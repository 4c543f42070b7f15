"""Limits hold for whoever takes from them, and a snapshot goes on where it was taken."""

from __future__ import annotations

import pytest

from penguiflow.llm.types import CompletionResponse, Cost, LLMMessage, Usage
from penguiflow.planner import UsageLimits
from penguiflow.planner.budgets import Budgets


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def answer(tokens: int, cost: float | None = None) -> CompletionResponse:
    price = None if cost is None else Cost(0.0, cost, cost)
    return CompletionResponse(LLMMessage.of("assistant", ""), Usage(tokens, tokens, 2 * tokens), cost=price)


def test_hops_are_taken_together_or_not_at_all() -> None:
    budgets = Budgets(clock=Clock(), hop_budget=3)

    assert budgets.take_hops(2)
    assert not budgets.take_hops(2)
    assert budgets.take_hops()
    assert budgets.snapshot()["hops_used"] == 3
    assert budgets.snapshot()["hop_exhausted"] is True


@pytest.mark.parametrize(
    ("limits", "reached"),
    [
        (UsageLimits(requests=1), "requests"),
        (UsageLimits(input_tokens=5), "tokens"),
        (UsageLimits(output_tokens=4), "tokens"),
        (UsageLimits(total_tokens=10), "tokens"),
        (UsageLimits(cost=0.5), "cost"),
        (UsageLimits(requests=2, total_tokens=11, cost=0.6), None),
    ],
)
def test_a_limit_is_reached(limits: UsageLimits, reached: str | None) -> None:
    budgets = Budgets(clock=Clock(), limits=limits)
    assert budgets.take_request()
    budgets.add(answer(5, 0.5))

    assert budgets.exceeded() == reached
    assert budgets.take_request("reflection") is (reached is None)


def test_a_cost_that_nobody_knows_is_not_nothing() -> None:
    budgets = Budgets(clock=Clock(), limits=UsageLimits(cost=0.1))
    budgets.take_request()
    budgets.add(answer(5))

    assert budgets.exceeded() is None
    assert budgets.cost_snapshot()["unknown_cost_calls"] == 1


def test_a_snapshot_goes_on_where_it_was_taken() -> None:
    clock = Clock()
    budgets = Budgets(clock=clock, deadline_s=10, hop_budget=4)
    budgets.take_hops(3)
    budgets.take_request()
    budgets.add(answer(5, 0.25))
    clock.now += 6
    later = Clock()
    later.now = 5.0
    again = Budgets(clock=later, deadline_s=10, hop_budget=4)
    again.restore(budgets.snapshot())

    assert (again.seconds_left(), again.hops_used, again.requests) == (4.0, 3, 1)
    assert again.cost_snapshot() == budgets.cost_snapshot()
    later.now += 4
    assert again.exceeded() == "deadline"
    assert again.snapshot()["deadline_triggered"] is True
