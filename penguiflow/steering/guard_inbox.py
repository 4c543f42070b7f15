"""Guard events: questions to rules that are answered beside the run, and collected when they are."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from penguiflow.ids import new_id

__all__ = ["InMemoryGuardInbox", "SteeringGuardEvent", "SteeringGuardInbox", "SteeringGuardResponse"]


@dataclass
class SteeringGuardEvent:
    """What rules are asked about."""

    event_id: str = field(default_factory=new_id)
    correlation_id: str = field(default_factory=new_id)
    event_type: str = ""
    run_id: str = ""
    payload: dict[str, Any] = field(default_factory=dict)
    context_snapshot: dict[str, Any] = field(default_factory=dict)
    required_rules: frozenset[str] = frozenset()


@dataclass
class SteeringGuardResponse:
    """What the rules decided, or why they could not."""

    correlation_id: str
    decisions: list[Any] = field(default_factory=list)
    error: str | None = None


class RuleEvaluator(Protocol):
    """Asks the rules."""

    async def evaluate(self, event: SteeringGuardEvent) -> Sequence[Any]:
        """Their decisions about an event."""
        ...


class SteeringGuardInbox(ABC):
    """Takes events and gives responses."""

    @abstractmethod
    async def submit(self, event: SteeringGuardEvent) -> str:
        """Have an event evaluated; returns its correlation id."""

    @abstractmethod
    async def await_response(self, correlation_id: str, timeout_s: float) -> SteeringGuardResponse:
        """The response to an event, once: whoever has it, has it.

        Raises `KeyError` for an id that is unknown or answered, `TimeoutError` after `timeout_s` seconds (and then
        the response can still be had later).
        """

    @abstractmethod
    def drain_responses(self, run_id: str) -> list[SteeringGuardResponse]:
        """The responses of a run that are there and that nobody has had, in the order of their events."""


class InMemoryGuardInbox(SteeringGuardInbox):
    """Evaluates in tasks of the running loop.

    Of at most `max_events` events something is kept: beyond that the response that nobody collected for the longest
    time is forgotten, and when all are still being evaluated `submit` waits.
    """

    def __init__(self, evaluator: RuleEvaluator, *, max_events: int = 1000) -> None:
        self._evaluator = evaluator
        self._max_events = max_events
        self._asked: dict[str, tuple[str, asyncio.Task[SteeringGuardResponse]]] = {}
        """Run and evaluation by correlation id, in the order of the events."""

    async def submit(self, event: SteeringGuardEvent) -> str:
        """Have an event evaluated; returns its correlation id. Raises `ValueError` for an id that is in use."""
        while len(self._asked) >= self._max_events and not self._forget_one():
            await asyncio.wait([task for _, task in self._asked.values()], return_when=asyncio.FIRST_COMPLETED)
        if event.correlation_id in self._asked:
            raise ValueError(f"correlation_id {event.correlation_id} is in use")
        task = asyncio.create_task(self._evaluate(event), name="penguiflow:guard")
        self._asked[event.correlation_id] = event.run_id, task
        return event.correlation_id

    async def await_response(self, correlation_id: str, timeout_s: float) -> SteeringGuardResponse:
        """The response to an event, once. Raises `KeyError` and `TimeoutError`."""
        if correlation_id not in self._asked:
            raise KeyError(f"Unknown correlation_id: {correlation_id}")
        _, task = self._asked[correlation_id]
        await asyncio.wait([task], timeout=timeout_s)
        if not task.done():
            raise TimeoutError(f"no response to {correlation_id} after {timeout_s} s")
        self._asked.pop(correlation_id, None)
        if task.cancelled():
            raise KeyError(f"Unknown correlation_id: {correlation_id}")
        return task.result()

    def drain_responses(self, run_id: str) -> list[SteeringGuardResponse]:
        """The responses of a run that are there and that nobody has had."""
        ready = [
            key for key, (run, task) in self._asked.items() if run == run_id and task.done() and not task.cancelled()
        ]
        return [self._asked.pop(key)[1].result() for key in ready]

    async def aclose(self) -> None:
        """Cancel what is still being evaluated, and forget everything."""
        tasks = [task for _, task in self._asked.values()]
        self._asked.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_one(self) -> bool:
        for key, (_, task) in self._asked.items():
            if task.done():
                del self._asked[key]
                return True
        return False

    async def _evaluate(self, event: SteeringGuardEvent) -> SteeringGuardResponse:
        try:
            decisions = await self._evaluator.evaluate(event)
        except Exception as error:  # a rule is user code: its failure is the answer
            return SteeringGuardResponse(event.correlation_id, error=f"{type(error).__name__}: {error}")
        return SteeringGuardResponse(event.correlation_id, list(decisions))
