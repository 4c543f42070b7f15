"""How a conversation is remembered: strategy, budget, and whose it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from penguiflow.planner.memory.turns import ConversationTurn
from penguiflow.state.documents import join_key, split_key

__all__ = [
    "MemoryBudget",
    "MemoryBudgetExceeded",
    "MemoryConflict",
    "MemoryHealth",
    "MemoryIsolation",
    "MemoryKey",
    "ShortTermMemoryConfig",
    "default_token_estimator",
]


class MemoryBudgetExceeded(RuntimeError):
    """A turn does not fit, and `overflow_policy="error"` forbids to make room."""


class MemoryConflict(RuntimeError):
    """The memory is another one than whoever changes it has seen: read it again."""


class MemoryHealth(StrEnum):
    """How the summarizing goes."""

    HEALTHY = "healthy"
    RETRY = "retry"
    """The last attempt failed; there will be another."""
    DEGRADED = "degraded"
    """Given up for a while: what is not summarized waits, at most `recovery_backlog_limit` turns of it."""
    RECOVERING = "recovering"
    """Tried again after a while."""


def default_token_estimator(text: str) -> int:
    """About how many tokens a text has."""
    return len(text) // 4 + 1


@dataclass(slots=True)
class MemoryBudget:
    """How much is remembered, in estimated tokens."""

    full_zone_turns: int = 5
    """The last turns are kept as they were."""
    summary_max_tokens: int = 1000
    """0: no summary is kept."""
    total_max_tokens: int = 10000
    """0: no limit."""
    overflow_policy: Literal["truncate_summary", "truncate_oldest", "error"] = "truncate_oldest"
    """What makes room: the end of the summary and then the oldest turns, the oldest turns, or nothing."""

    def __post_init__(self) -> None:
        for name in ("full_zone_turns", "summary_max_tokens", "total_max_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"MemoryBudget.{name} must not be negative; got {getattr(self, name)}")
        if 0 < self.total_max_tokens < self.summary_max_tokens:
            about = f"summary_max_tokens ({self.summary_max_tokens}) is more than total_max_tokens"
            raise ValueError(f"MemoryBudget: {about} ({self.total_max_tokens})")
        if self.overflow_policy not in ("truncate_summary", "truncate_oldest", "error"):
            raise ValueError(f"MemoryBudget.overflow_policy is unknown: {self.overflow_policy!r}")


@dataclass(slots=True)
class MemoryKey:
    """Whose conversation it is."""

    tenant_id: str
    user_id: str
    session_id: str

    def composite(self) -> str:
        """`tenant:user:session`. A colon or percent sign of a part is escaped, so that no two keys look the same."""
        return join_key(self.tenant_id, self.user_id, self.session_id)

    @classmethod
    def parse(cls, composite: str) -> MemoryKey:
        """Read what `composite` wrote. Raises `ValueError`."""
        parts = split_key(composite)
        if len(parts) != 3 or not all(parts):
            raise ValueError(f"a memory's key is 'tenant:user:session', none of it empty; got {composite!r}")
        return cls(*parts)


@dataclass(slots=True)
class MemoryIsolation:
    """Where `tool_context` says whose conversation it is: keys, or dotted paths."""

    tenant_key: str = "tenant_id"
    user_key: str = "user_id"
    session_key: str = "session_id"
    require_explicit_key: bool = True
    """Without tenant, user and session there is no memory. False: then a run has one that ends with it."""

    def key_of(self, tool_context: Mapping[str, Any]) -> MemoryKey | None:
        """The key; None unless tenant, user and session are all there."""
        parts = [_found(tool_context, path) for path in (self.tenant_key, self.user_key, self.session_key)]
        return None if None in parts else MemoryKey(*(part for part in parts if part is not None))


def _found(context: Mapping[str, Any], path: str) -> str | None:
    value: Any = context.get(path)
    if value is None and "." in path:
        value = context
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        return None
    return str(value) or None


@dataclass(slots=True)
class ShortTermMemoryConfig:
    """What is remembered of a conversation, and how."""

    strategy: Literal["truncation", "rolling_summary", "none"] = "none"
    """Keep the last turns; or keep them and a summary of those before; or nothing."""
    budget: MemoryBudget = field(default_factory=MemoryBudget)
    isolation: MemoryIsolation = field(default_factory=MemoryIsolation)
    summarizer_model: str | None = None
    """Who summarizes; None: the planner's summarizer."""
    include_trajectory_digest: bool = True
    """Remember which tools were called too, and what they gave, in short."""
    recovery_backlog_limit: int = 20
    """Turns that wait while summarizing is given up; the oldest of more are forgotten."""
    retry_attempts: int = 3
    """After the first failure of the summarizer."""
    retry_backoff_base_s: float = 2.0
    """Before the first retry; doubled for each further one."""
    degraded_retry_interval_s: float = 30.0
    token_estimator: Callable[[str], int] | None = None
    on_turn_added: Callable[[ConversationTurn], Awaitable[None]] | None = None
    on_summary_updated: Callable[[str, str], Awaitable[None]] | None = None
    """Gets the summary before and after."""
    on_health_changed: Callable[[MemoryHealth, MemoryHealth], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        if self.strategy not in ("truncation", "rolling_summary", "none"):
            raise ValueError(f"ShortTermMemoryConfig.strategy is unknown: {self.strategy!r}")
        for name in ("recovery_backlog_limit", "retry_attempts", "retry_backoff_base_s", "degraded_retry_interval_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"ShortTermMemoryConfig.{name} must not be negative; got {getattr(self, name)}")

    @property
    def tokens(self) -> Callable[[str], int]:
        """The estimator."""
        return self.token_estimator or default_token_estimator
