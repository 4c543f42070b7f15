"""What calls cost."""

from __future__ import annotations

import logging

import pytest

from penguiflow.llm import pricing
from penguiflow.llm.pricing import calculate_cost, calculate_cost_from_usage, cost_of, get_pricing, register_pricing
from penguiflow.llm.types import Cost, Usage

THOUSAND = Usage(1000, 1000, 2000)


@pytest.fixture(autouse=True)
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "_registered", {})
    monkeypatch.setattr(pricing, "_told", set())


@pytest.mark.parametrize("model", ["mine", "openai/gpt-4o", "gpt-4o", "openrouter/openai/gpt-4o", "GPT-4o"])
def test_registered_prices_come_first(model: str) -> None:
    register_pricing("mine", 0.5, 2)
    register_pricing("gpt-4o", 0.5, 2)

    assert cost_of(model, THOUSAND) == Cost(0.5, 2, 2.5)
    assert get_pricing(model) == (0.5, 2)


def test_a_price_of_nothing_is_known() -> None:
    register_pricing("local", 0, 0)
    assert cost_of("local", THOUSAND) == Cost.zero()


def test_list_prices() -> None:
    cost = cost_of("openai/gpt-4o-mini", THOUSAND)
    assert cost is not None
    assert cost.total_cost > 0
    assert cost.total_cost == pytest.approx(cost.input_cost + cost.output_cost)
    assert get_pricing("gpt-4o-mini") == pytest.approx((cost.input_cost, cost.output_cost))
    assert calculate_cost("gpt-4o-mini", 1000, 1000) == pytest.approx(cost.total_cost)
    assert calculate_cost_from_usage("gpt-4o-mini", THOUSAND) == cost


def test_what_was_cached_is_cheaper() -> None:
    cached, full = cost_of("gpt-4o", Usage(1000, 0, 1000, cached_tokens=900)), cost_of("gpt-4o", Usage(1000, 0, 1000))
    assert cached is not None
    assert full is not None
    assert 0 < cached.input_cost < full.input_cost


def test_what_nobody_knows_is_not_0(caplog: pytest.LogCaptureFixture) -> None:
    assert cost_of("nobody-knows-1", THOUSAND) is None
    assert cost_of("nim/qwen/qwen3", THOUSAND) is None
    assert cost_of("gpt-4o", THOUSAND, listed=False) is None
    assert caplog.records == []


def test_functions_that_must_give_a_number_say_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert calculate_cost("nobody-knows-1", 1, 1) == 0
        assert calculate_cost_from_usage("nobody-knows-1", THOUSAND) == Cost.zero()
        assert get_pricing("nobody-knows-1") == (0, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "no price is known for the model 'nobody-knows-1': it counts as 0; `register_pricing` sets one"
    ]


def test_a_price_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        register_pricing("x", -1, 0)
