"""How a tool ends the run that it is called in: by exceptions that no `except Exception` of its own catches."""

from __future__ import annotations

from typing import Any

from penguiflow.planner.outcomes import PlannerPauseReason

__all__ = ["AskSignal", "PauseSignal", "RunAborted"]


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


class RunAborted(Exception):
    """An interceptor decided `abort`."""

    def __init__(self, checkpoint: str, reason: str) -> None:
        super().__init__(f"aborted at {checkpoint}: {reason}")
        self.checkpoint = checkpoint
        self.reason = reason
