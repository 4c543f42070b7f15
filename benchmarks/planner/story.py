"""What every runtime does here: a model that answers at once calls ten tools, one after the other, and gives an answer.

This runs in the environments of other runtimes too: it may import nothing but pydantic and the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, Field

from benchmarks.runtime.measure import Run, SkippedWork

__all__ = ["ANSWER", "INSTRUCTIONS", "LONG", "QUERY", "STEPS", "TOOLS", "Found", "Scope", "Story", "Wanted"]

STEPS = 10
"""Calls of tools before the answer."""
LONG = 40

QUERY = "Which of our suppliers were late twice this year, and what did it cost us?"
ANSWER = "Two were: Hansen and Ortiz. It cost us 18,400 euros."
INSTRUCTIONS = "Answer questions about suppliers. Look things up before you answer. Name amounts in euros."


class Scope(BaseModel):
    """Where a tool looks."""

    region: str = Field(description="Country or continent")
    year: int = Field(ge=2000, le=2100, description="Of the delivery")


class Wanted(BaseModel):
    """What a tool takes."""

    query: str = Field(min_length=1, description="Words that must occur")
    scope: Scope
    limit: int = Field(default=10, ge=1, le=50, description="Most results")
    tags: list[str] = Field(default_factory=list, description="Only results with all of these")


class Hit(BaseModel):
    """One result."""

    title: str
    score: float
    text: str


class Found(BaseModel):
    """What a tool gives."""

    mark: str
    hits: list[Hit]


TOOLS = {
    "search_orders": "Find orders by words. Gives the best ones first, with a short text of each.",
    "search_invoices": "Find invoices by words. Amounts are in euros, with tax.",
    "search_mails": "Find mails that we wrote to a supplier, or got from one.",
    "list_suppliers": "List suppliers by region, with how much was ordered from them.",
    "fetch_contract": "Fetch what a contract says of a term. Contracts of earlier years are there, too.",
    "delivery_dates": "Give the days on which deliveries were promised, and on which they came.",
    "exchange_rates": "Give rates of a currency against the euro, by month.",
    "cost_of_delay": "Work out what a delay cost, as the contract has it.",
}
"""Name and description of each tool."""

Work = Callable[[Wanted], Awaitable[Found]]


class Story:
    """What the model says and the tools do in one run after the other, counted in `run.calls`."""

    def __init__(self, run: Run, steps: int = STEPS) -> None:
        self.steps = steps
        self.events = 0
        """Counted by whoever listens."""
        self._run = run
        self._turn = 0
        self._worked = 0
        self._checked = False
        names = list(TOOLS)
        self.calls = [(names[number % len(names)], self._args(number)) for number in range(steps)]
        """Tool and arguments of each step."""
        self._found = [_found(number) for number in range(steps)]

    @staticmethod
    def _args(number: int) -> dict[str, Any]:
        scope = {"region": "Europe", "year": 2020 + number % 5}
        return {"query": f"late delivery asked-{number}-", "scope": scope, "tags": ["supplier", "delay"]}

    def turn(self, texts: Callable[[], str]) -> int:
        """The model is asked: which step it decides now; `steps` for the answer.

        `texts` gives all that the model is told. It is looked at in the first run only, when nothing is timed.

        Raises:
            SkippedWork: a tool was not called since the last turn, or the model is not told what came before.
        """
        self._run.calls += 1
        number = self._turn
        if self._worked != number:
            raise SkippedWork(f"the model was asked {number + 1} times, and {self._worked} tools were called")
        if number == self.steps:
            if not self._checked:
                self._check(texts())
            self._turn = self._worked = 0
        else:
            self._turn += 1
        return number

    def _check(self, told: str) -> None:
        wanted = [INSTRUCTIONS, QUERY, *(f"asked-{number}-" for number in range(self.steps))]
        wanted += [f"given-{number}-" for number in range(self.steps)]
        missing = [each for each in wanted if each not in told]
        if missing:
            raise SkippedWork(f"the model was not told {missing[0]!r} and {len(missing) - 1} other things")
        self._checked = True

    async def work(self, name: str, args: Wanted) -> Found:
        """A tool.

        Raises:
            SkippedWork: the tool or its arguments are not those of this step, or they are not validated.
        """
        self._run.calls += 1
        number = self._worked
        wanted, given = self.calls[number]
        if name != wanted or args.query != given["query"] or type(args.scope) is not Scope or args.limit != 10:
            raise SkippedWork(f"{name} was called with {args!r}, and should have been {wanted} with {given}")
        self._worked = number + 1
        return self._found[number]

    def replies(self) -> list[str]:
        """What a model says in each turn when it is asked for JSON."""
        said = [{"next_node": name, "args": args} for name, args in self.calls]
        return [json.dumps(each) for each in [*said, {"next_node": "final_response", "args": {"answer": ANSWER}}]]

    async def measure(self, ask: Callable[[str], Awaitable[str]]) -> None:
        """Have runs made one after the other; `step_us` is the CPU time of one step.

        Args:
            ask: One run: takes the query and gives the answer.

        Raises:
            SkippedWork: an answer is wrong, or a tool or the model was called too often or not often enough.
        """

        async def drive(count: int) -> None:
            for _ in range(count):
                answer = await ask(QUERY)
                if answer != ANSWER:
                    raise SkippedWork(f"the answer is {answer!r}")

        await drive(1)
        self.events = 0
        run, seen = self._run, 0

        async def counted(count: int) -> None:
            nonlocal seen
            before = self.events
            await drive(count)
            seen = self.events - before

        await run.measure(counted, calls=2 * self.steps + 1, smallest=4)
        run.figures["step_us"] = run.figures["cpu_us"] / self.steps
        run.figures["events"] = seen / run.figures["units"]


def _found(number: int) -> Found:
    hits = [
        Hit(title=f"Delivery {number}/{place}", score=0.9 - place / 10, text="came eleven days late, and was accepted")
        for place in range(3)
    ]
    return Found(mark=f"given-{number}-", hits=hits)
