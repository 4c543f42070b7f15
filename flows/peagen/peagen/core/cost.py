"""What a run costs: estimated before, capped while it goes on, reported when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from peagen.config.llm import SCRIPTED, ModelChoice
from peagen.core.cache import Answer
from peagen.core.models import name_of, priced_as
from peagen.errors import BudgetExceeded

USUAL_ANSWER = 800
"""Tokens of an answer, where nothing is known of earlier ones."""


def price(choice: ModelChoice, input_tokens: int, output_tokens: int) -> float | None:
    """US dollars for so many tokens; None for a model whose price nobody knows."""
    if choice.provider == SCRIPTED:
        return 0.0
    from penguiflow.llm.pricing import cost_of
    from penguiflow.llm.types import Usage

    usage = Usage(input_tokens, output_tokens, input_tokens + output_tokens)
    cost = cost_of(priced_as(choice), usage, listed=choice.base_url is None)
    return None if cost is None else cost.total_cost


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is still to be asked."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = 0.0
    """In US dollars; None when the price is not known."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": self.cost,
        }


def estimate(choice: ModelChoice, prompts: Iterable[int | None], usual_answer: int = USUAL_ANSWER) -> Estimate:
    """What answers to prompts of so many tokens will take. None: a prompt that cannot be rendered yet."""
    tokens = list(prompts)
    known = [count for count in tokens if count is not None]
    usual = sum(known) // len(known) if known else usual_answer
    inputs, outputs = sum(usual if count is None else count for count in tokens), len(tokens) * usual_answer
    return Estimate(
        calls=len(tokens),
        input_tokens=inputs,
        output_tokens=outputs,
        cost=price(choice, inputs, outputs) if tokens else 0.0,
    )


class Budget:
    """What was spent, and what may be.

    Before a call its prompt and a usual answer are set aside, so calls that are made at once cannot pass the cap
    together. The last call may pass it by as much as its answer is longer than usual.
    """

    def __init__(self, *, max_tokens: int | None = None, max_cost: float | None = None) -> None:
        """`max_tokens` of prompts and answers together; `max_cost` in US dollars."""
        self.max_tokens = max_tokens
        self.max_cost = max_cost
        self.calls = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost = 0.0
        self.cost_known = True
        self._aside: dict[int, tuple[int, float]] = {}
        self._numbers = 0

    @property
    def usual_answer(self) -> int:
        """Tokens of an answer, by those that came."""
        return self.output_tokens // self.calls if self.calls else USUAL_ANSWER

    def reserve(self, choice: ModelChoice, prompt_tokens: int) -> int:
        """Set aside what one call is going to take; gives a number for `spend` or `release`.

        Raises:
            BudgetExceeded: it does not fit, or there is a cap on money and the price is not known.
        """
        answer = self.usual_answer
        tokens, cost = prompt_tokens + answer, 0.0
        if self.max_cost is not None:
            priced = price(choice, prompt_tokens, answer)
            if priced is None:
                raise BudgetExceeded(
                    f"no price is known for {name_of(choice)}, so the run cannot be kept below ${self.max_cost:g}",
                    hint="Cap the tokens with --max-tokens instead.",
                )
            cost = priced
            spent = self.cost + sum(money for _, money in self._aside.values())
            if spent + cost > self.max_cost:
                raise BudgetExceeded(
                    f"the cap of ${self.max_cost:g} is reached: ${spent:.4f} is spent or set aside,"
                    f" and this call would take about ${cost:.4f}",
                    hint="Run again with a higher --max-cost: what was answered is not asked again.",
                )
        if self.max_tokens is not None:
            used = self.input_tokens + self.output_tokens + sum(count for count, _ in self._aside.values())
            if used + tokens > self.max_tokens:
                raise BudgetExceeded(
                    f"the cap of {self.max_tokens} tokens is reached: {used} are used or set aside,"
                    f" and this call would take about {tokens}",
                    hint="Run again with a higher --max-tokens: what was answered is not asked again.",
                )
        self._numbers += 1
        self._aside[self._numbers] = tokens, cost
        return self._numbers

    def release(self, number: int) -> None:
        """The call was not made, or failed."""
        self._aside.pop(number, None)

    def spend(self, number: int, answer: Answer) -> None:
        """The call took this."""
        self.release(number)
        self.calls += 1
        self.input_tokens += answer.input_tokens
        self.output_tokens += answer.output_tokens
        if answer.cost is None:
            self.cost_known = False
        else:
            self.cost += answer.cost
