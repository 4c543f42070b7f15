"""What is asked for, and by whom."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

from peeragent.models.agents import Agent

Policy = Literal["enqueue", "reject", "interrupt"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    owner: str = "anonymous"
    admin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked for."""

    task: str
    session_id: str | None = None
    agent: Agent | None = None
    kind: Literal["execute", "direct", "continue", "demo", "problem_tree"] = "execute"
    context: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    diagnose_now: bool = False
    """No further round of questions: these answers must do."""
    priority: int | None = None
    prefix: str = "task"
    task_id: str | None = None
    """Made by the door, where it is told before the work begins."""
    webhook: str | None = None
    idempotency_key: str | None = None
    policy: Policy | None = None

    @property
    def fingerprint(self) -> str:
        """The same for the same request."""
        told = repr(
            (
                self.kind,
                self.agent,
                self.task,
                self.session_id,
                self.context,
                self.answers,
                self.webhook,
                self.diagnose_now,
            )
        )
        return hashlib.sha256(told.encode()).hexdigest()
