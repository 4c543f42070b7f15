"""What a run costs: before, while it goes on, and when it is over."""

from __future__ import annotations

import pytest

from peagen.config.llm import ModelChoice
from peagen.core.cache import Answer
from peagen.core.cost import USUAL_ANSWER, Budget, estimate, price
from peagen.errors import BudgetExceeded

SCRIPTED = ModelChoice(provider="scripted", model="scripted")
GPT = ModelChoice(provider="openai", model="gpt-4o")
OWN = ModelChoice(provider="openai", model="gpt-4o", base_url="http://localhost:1/v1")


def test_a_price_is_known_or_it_is_none() -> None:
    assert price(SCRIPTED, 1000, 1000) == 0.0
    known = price(GPT, 1_000_000, 0)
    assert known is not None
    assert known > 0
    # A server of one's own has prices of its own.
    assert price(OWN, 1000, 1000) is None


def test_an_estimate_takes_the_mean_for_what_cannot_be_known() -> None:
    found = estimate(SCRIPTED, [100, 300, None], usual_answer=50)
    assert (found.calls, found.input_tokens, found.output_tokens, found.cost) == (3, 600, 150, 0.0)
    assert estimate(GPT, []).cost == 0.0
    assert estimate(OWN, [10]).cost is None


def test_calls_that_are_made_at_once_cannot_pass_a_cap_together() -> None:
    budget = Budget(max_tokens=2 * (100 + USUAL_ANSWER))
    first = budget.reserve(SCRIPTED, 100)
    budget.reserve(SCRIPTED, 100)
    with pytest.raises(BudgetExceeded, match="cap of 1800 tokens"):
        budget.reserve(SCRIPTED, 100)
    budget.release(first)
    third = budget.reserve(SCRIPTED, 100)
    budget.spend(third, Answer(text="", input_tokens=90, output_tokens=10, cost=0.25))
    assert (budget.calls, budget.input_tokens, budget.output_tokens, budget.cost) == (1, 90, 10, 0.25)
    assert budget.usual_answer == 10
    budget.reserve(SCRIPTED, 100)


def test_a_cap_on_money_needs_a_price() -> None:
    with pytest.raises(BudgetExceeded, match="no price is known"):
        Budget(max_cost=1.0).reserve(OWN, 10)
    with pytest.raises(BudgetExceeded, match="cap of"):
        Budget(max_cost=0.000001).reserve(GPT, 1000)
    budget = Budget(max_cost=10.0)
    budget.spend(budget.reserve(GPT, 1000), Answer(text="", cost=None))
    assert budget.cost_known is False
