"""What is remembered of one conversation, and how it is kept within its budget. Data: nothing here waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penguiflow.planner.memory.config import (
    MemoryBudget,
    MemoryBudgetExceeded,
    MemoryHealth,
    ShortTermMemoryConfig,
)
from penguiflow.planner.memory.turns import ConversationTurn, dump_turn, load_turn, shown_turn

__all__ = ["MemoryState", "cut"]

VERSION = 1
"""Of the stored form."""


@dataclass(slots=True)
class MemoryState:
    """The memory of one conversation."""

    turns: list[ConversationTurn] = field(default_factory=list)
    """The last ones, as they were; oldest first."""
    pending: list[ConversationTurn] = field(default_factory=list)
    """Older than these, and not in the summary yet."""
    summary: str = ""
    """Of what is older still."""
    health: MemoryHealth = MemoryHealth.HEALTHY
    degraded_at: float | None = None
    """Unix seconds of the last failure, when summarizing is given up."""
    revision: int = 0
    """How often it was changed."""
    count: int = 0
    """Turns that were ever added."""

    def copy(self) -> MemoryState:
        """The same again; turns are replaced and never changed, so that both may have them."""
        return replace(self, turns=list(self.turns), pending=list(self.pending))

    def add(self, turn: ConversationTurn, config: ShortTermMemoryConfig) -> bool:
        """Take a turn in, and make room for it; False for a turn that is there already.

        Raises `MemoryBudgetExceeded` when no room may be made; the state is not to be used then.
        """
        if config.strategy == "none" or (turn.turn_id and self.find(turn.turn_id) is not None):
            return False
        self.count += 1
        # A copy: the caller's turn may be added again, to a state that has other turns.
        self.turns.append(replace(turn, turn_id=turn.turn_id or f"turn-{self.count}"))
        leaving = max(0, len(self.turns) - config.budget.full_zone_turns)
        if config.strategy == "rolling_summary":
            self.pending += self.turns[:leaving]
        del self.turns[:leaving]
        self._bound_backlog(config)
        self.fit(config.budget, config.tokens)
        return True

    def summarized(self, batch: Iterable[str], base: str, summary: str, config: ShortTermMemoryConfig) -> bool:
        """Put a new summary in the place of `base` and the turns of these ids.

        False, and nothing changed, when they are not what the memory consists of any more.
        """
        ids = set(batch)
        if self.summary != base or not ids <= {turn.turn_id for turn in self.pending}:
            return False
        self.pending = [turn for turn in self.pending if turn.turn_id not in ids]
        self.summary = cut(summary, config.budget.summary_max_tokens, config.tokens)
        self.fit(config.budget, config.tokens, strict=False)
        return True

    def set_health(self, health: MemoryHealth, now: float, config: ShortTermMemoryConfig) -> MemoryHealth:
        """Change the health; what it was before."""
        before, self.health = self.health, health
        self.degraded_at = now if health is MemoryHealth.DEGRADED else None
        self._bound_backlog(config)
        return before

    def find(self, turn_id: str) -> ConversationTurn | None:
        """The turn of this id that is still there."""
        return next((turn for turn in (*self.pending, *self.turns) if turn.turn_id == turn_id), None)

    def put(self, turn_id: str, turn: ConversationTurn | None) -> ConversationTurn:
        """Put another turn in the place of one, or none; gives the one before. Raises `LookupError`."""
        for turns in (self.pending, self.turns):
            for place, before in enumerate(turns):
                if before.turn_id == turn_id:
                    turns[place : place + 1] = [] if turn is None else [turn]
                    return before
        known = ", ".join(each.turn_id for each in (*self.pending, *self.turns)) or "none"
        raise LookupError(f"no turn {turn_id!r} in this memory; there are: {known}")

    def context(self) -> dict[str, Any]:
        """What the model is shown: `{"conversation_memory": …}`, or nothing."""
        shown: dict[str, Any] = {"recent_turns": [shown_turn(turn) for turn in self.turns]}
        if self.pending:
            shown["pending_turns"] = [shown_turn(turn) for turn in self.pending]
        if self.summary:
            shown["summary"] = self.summary
        return {"conversation_memory": shown} if self.turns or len(shown) > 1 else {}

    def tokens(self, estimate: Callable[[str], int]) -> int:
        """How many tokens it is estimated to have."""
        sizes = (_size(turn, estimate) for turn in (*self.pending, *self.turns))
        return sum(sizes) + (estimate(self.summary) if self.summary else 0)

    def fit(self, budget: MemoryBudget, estimate: Callable[[str], int], *, strict: bool = True) -> None:
        """Make room until it is within its budget. Every step takes something away, so it ends.

        Raises `MemoryBudgetExceeded` by the policy `error`, if `strict`; else the oldest turns go.
        """
        self.summary = cut(self.summary, budget.summary_max_tokens, estimate)
        total = budget.total_max_tokens
        sizes = [_size(turn, estimate) for turn in (*self.pending, *self.turns)]
        said = estimate(self.summary) if self.summary else 0
        over = sum(sizes) + said - total
        if total == 0 or over <= 0:
            return
        if strict and budget.overflow_policy == "error":
            raise MemoryBudgetExceeded(f"the conversation has about {total + over} tokens of {total}")
        if budget.overflow_policy == "truncate_summary":
            self.summary = cut(self.summary, said - over, estimate)
            over -= said - (estimate(self.summary) if self.summary else 0)
        gone = 0
        while over > 0 and gone < len(sizes):
            over -= sizes[gone]
            gone += 1
        waiting = len(self.pending)
        del self.pending[:gone]
        del self.turns[: max(0, gone - waiting)]
        if over > 0:
            self.summary = cut(self.summary, total, estimate)

    def _bound_backlog(self, config: ShortTermMemoryConfig) -> None:
        if self.health is MemoryHealth.DEGRADED:
            del self.pending[: max(0, len(self.pending) - config.recovery_backlog_limit)]

    def dump(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "version": VERSION,
            "revision": self.revision,
            "count": self.count,
            "health": self.health.value,
            "degraded_at": self.degraded_at,
            "summary": self.summary,
            "turns": [dump_turn(turn) for turn in self.turns],
            "pending": [dump_turn(turn) for turn in self.pending],
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> MemoryState:
        """Read it back. Raises `ValueError` for what is no memory, or that of a later version."""
        if data.get("version", VERSION) != VERSION:
            raise ValueError(f"a memory of version {data['version']!r}; this program reads version {VERSION}")
        turns = [load_turn(turn) for turn in data.get("turns") or ()]
        pending = [load_turn(turn) for turn in data.get("pending") or ()]
        count = int(data.get("count", 0))
        for turn in (*pending, *turns):
            if not turn.turn_id:
                count += 1
                turn.turn_id = f"turn-{count}"
        return cls(
            turns,
            pending,
            str(data.get("summary") or ""),
            MemoryHealth(data.get("health", "healthy")),
            data.get("degraded_at"),
            int(data.get("revision", 0)),
            count,
        )


def cut(text: str, limit: int, estimate: Callable[[str], int]) -> str:
    """The longest beginning of a text that has at most `limit` tokens; it ends however the estimator counts."""
    if limit <= 0 or not text:
        return ""
    if estimate(text) <= limit:
        return text
    fits, longer = 0, len(text)
    while longer - fits > 1:
        middle = (fits + longer) // 2
        if estimate(text[:middle]) <= limit:
            fits = middle
        else:
            longer = middle
    return text[:fits]


def _size(turn: ConversationTurn, estimate: Callable[[str], int]) -> int:
    return estimate(json.dumps(shown_turn(turn), ensure_ascii=False, default=str))
