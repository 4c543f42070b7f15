"""What ends a run from within. A tool's pauses are exceptions that no `except Exception` of its own catches."""

from __future__ import annotations

from typing import Any

from penguiflow.planner.outcomes import PlannerPauseReason
from penguiflow.traces import TraceCancelled

__all__ = ["AskSignal", "LimitReached", "PauseSignal", "RunAborted"]


class PauseSignal(BaseException):
    """`ctx.pause`: the run pauses; the tool does not go on."""

    def __init__(self, reason: PlannerPauseReason, payload: dict[str, Any]) -> None:
        super().__init__(reason, payload)
        self.reason = reason
        self.payload = payload


class AskSignal(PauseSignal):
    """`ctx.ask` where nobody is there to answer: the run pauses, and the tool goes on in place when it is resumed."""

    def __init__(self, reason: PlannerPauseReason, payload: dict[str, Any], journal: dict[str, Any]) -> None:
        super().__init__(reason, payload)
        self.journal = journal
        """What the tool's calls gave until now: they are not made again."""


class LimitReached(Exception):
    """A limit of the run is reached: `deadline`, `requests`, `tokens`, `cost`."""

    def __init__(self, limit: str, attempts: int = 0) -> None:
        super().__init__(limit, attempts)
        self.limit = limit
        self.attempts = attempts
        """How many a call of a model had made by then."""

    def __str__(self) -> str:
        return self.limit


class RunAborted(TraceCancelled):
    """An interceptor decided `abort`. Where the run is part of a trace, that is cancelled."""

    def __init__(self, checkpoint: str, reason: str) -> None:
        super().__init__(None)
        self.checkpoint = checkpoint
        self.reason = reason

    def __str__(self) -> str:
        return f"aborted at {self.checkpoint}: {self.reason}"
