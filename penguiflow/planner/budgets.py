"""What a run has used, and what it has left. Asked before every call, also by branches that run at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from penguiflow.llm.types import CompletionResponse, Usage
from penguiflow.planner.config import UsageLimits

__all__ = ["Budgets", "CallKind"]

CallKind = Literal["main", "reflection", "summarizer"]


class Budgets:
    """Deadline, hops and usage of one run. Taking is one step of the event loop: no two branches take the last hop."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        deadline_s: float | None = None,
        hop_budget: int | None = None,
        limits: UsageLimits | None = None,
        outer: Budgets | None = None,
    ) -> None:
        """`outer`: of the run whose tool makes this one; what is used here is used there too, and its limits hold."""
        self._clock = clock
        self._outer = outer
        self._limits = limits or UsageLimits()
        self.deadline_at = None if deadline_s is None else clock() + deadline_s
        self.hop_budget = hop_budget
        self.hops_used = 0
        self.deadline_triggered = False
        self.hop_exhausted = False
        self.usage = Usage.zero()
        self.calls: dict[str, int] = {"main": 0, "reflection": 0, "summarizer": 0}
        self.tool_calls = 0
        self.cost = 0.0
        self.unknown_costs = 0
        """Calls whose cost nobody knows."""

    @property
    def requests(self) -> int:
        """Calls of models."""
        return sum(self.calls.values())

    def seconds_left(self) -> float | None:
        """Until the deadline; None without one."""
        return None if self.deadline_at is None else max(0.0, self.deadline_at - self._clock())

    def take_hops(self, count: int = 1) -> bool:
        """Take as many hops, or none when there are not as many left."""
        if self.hop_budget is not None and self.hops_used + count > self.hop_budget:
            self.hop_exhausted = True
            return False
        self.hops_used += count
        return True

    def take_tool_calls(self, count: int = 1) -> bool:
        """Take as many calls of tools, or none when there are not as many left."""
        limit = self._limits.tool_calls
        if limit is not None and self.tool_calls + count > limit:
            return False
        if self._outer is not None and not self._outer.take_tool_calls(count):
            return False
        self.tool_calls += count
        return True

    def give_back_hops(self, count: int) -> None:
        """Hops that were taken and not used."""
        self.hops_used -= count

    def give_back_tool_calls(self, count: int) -> None:
        """Calls that were taken and not made."""
        self.tool_calls -= count
        if self._outer is not None:
            self._outer.give_back_tool_calls(count)

    def take_request(self, kind: CallKind = "main") -> bool:
        """Take one call of a model; False when a limit is reached."""
        if self.exceeded() is not None:
            return False
        self.count_requests(kind, 1)
        return True

    def count_requests(self, kind: CallKind, count: int) -> None:
        """Count calls of a model that are made, or were made before: a recording answers them."""
        self.calls[kind] += count
        if self._outer is not None:
            self._outer.count_requests(kind, count)

    def reached(self, limit: str) -> None:
        """Note that a call ended, now or in the recording, because of a limit."""
        if limit == "deadline":
            self.deadline_triggered = True

    def add(self, response: CompletionResponse) -> None:
        """Count what a call used."""
        if response.usage_known:
            self.usage += response.usage
        if response.cost is None:
            self.unknown_costs += 1
        else:
            self.cost += response.cost.total_cost
        if self._outer is not None:
            self._outer.add(response)

    def within(self) -> Budgets:
        """For one call of a tool: counts what runs that the tool makes use, here and there."""
        return Budgets(clock=self._clock, outer=self)

    def spent(self) -> dict[str, Any] | None:
        """What was used, as `count` takes it; None where no model was asked."""
        if not self.requests:
            return None
        usage = [self.usage.input_tokens, self.usage.output_tokens, self.usage.total_tokens]
        about = {"calls": dict(self.calls), "usage": usage, "cost": self.cost, "unknown_costs": self.unknown_costs}
        return {**about, "tool_calls": self.tool_calls} if self.tool_calls else about

    def count(self, spent: Mapping[str, Any]) -> None:
        """Count what a recording says was used."""
        for kind, calls in spent["calls"].items():
            self.calls[kind] += calls
        self.usage += Usage(*spent["usage"])
        self.cost += spent["cost"]
        self.unknown_costs += spent["unknown_costs"]
        self.tool_calls += spent.get("tool_calls", 0)
        if self._outer is not None:
            self._outer.count(spent)

    def exceeded(self) -> str | None:
        """Which limit is reached: `deadline`, `requests`, `tokens`, `cost`; None while the run may go on.

        Hops and calls of tools are not among them: a run without any left may still answer.
        """
        if self.deadline_at is not None and self._clock() >= self.deadline_at:
            self.deadline_triggered = True
        if self.deadline_triggered:
            return "deadline"
        if self._outer is not None and (limit_there := self._outer.exceeded()) is not None:
            return limit_there
        limits, usage = self._limits, self.usage
        if limits.requests is not None and self.requests >= limits.requests:
            return "requests"
        for used, limit in (
            (usage.input_tokens, limits.input_tokens),
            (usage.output_tokens, limits.output_tokens),
            (usage.total_tokens, limits.total_tokens),
        ):
            if limit is not None and used >= limit:
                return "tokens"
        return "cost" if limits.cost is not None and self.cost >= limits.cost else None

    def cost_snapshot(self) -> dict[str, Any]:
        """`finish.metadata["cost"]`."""
        return {
            "total_cost_usd": round(self.cost, 4),
            "main_llm_calls": self.calls["main"],
            "reflection_llm_calls": self.calls["reflection"],
            "summarizer_llm_calls": self.calls["summarizer"],
            "unknown_cost_calls": self.unknown_costs,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "total_tokens": self.usage.total_tokens,
        }

    def snapshot(self) -> dict[str, Any]:
        """`finish.metadata["constraints"]`, and what a pause keeps."""
        return {
            "deadline_at": self.deadline_at,
            "deadline_remaining_s": self.seconds_left(),
            "hop_budget": self.hop_budget,
            "hops_used": self.hops_used,
            "deadline_triggered": self.deadline_triggered,
            "hop_exhausted": self.hop_exhausted,
            "tool_calls": self.tool_calls,
            "calls": dict(self.calls),
            "usage": [self.usage.input_tokens, self.usage.output_tokens, self.usage.total_tokens],
            "cost": self.cost,
            "unknown_costs": self.unknown_costs,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot: the time that was left begins to run now."""
        left = snapshot.get("deadline_remaining_s")
        if left is not None:
            self.deadline_at = self._clock() + float(left)
        self.hops_used = int(snapshot.get("hops_used", 0))
        self.tool_calls = int(snapshot.get("tool_calls", 0))
        self.calls.update(snapshot.get("calls") or {})
        self.usage = Usage(*(snapshot.get("usage") or (0, 0, 0)))
        self.cost = float(snapshot.get("cost", 0.0))
        self.unknown_costs = int(snapshot.get("unknown_costs", 0))
