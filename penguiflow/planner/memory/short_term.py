"""The memory of one conversation: the last turns, and a summary of those before."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from penguiflow.observer import BACKGROUND_TASK
from penguiflow.planner.memory.background import SummaryTrace, summary_trace
from penguiflow.planner.memory.config import MemoryHealth, ShortTermMemoryConfig
from penguiflow.planner.memory.keeping import Kept
from penguiflow.planner.memory.state import MemoryState
from penguiflow.planner.memory.turns import ConversationTurn, dump_turn

__all__ = ["DefaultShortTermMemory", "Summarizer"]

logger = logging.getLogger("penguiflow.planner")

Summarizer = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""From `{"previous_summary", "turns"}` to `{"summary"}`."""

SUMMARY_TIMEOUT_S = 120.0
"""For one call of the summarizer."""
HOOK_TIMEOUT_S = 10.0
MAX_OVERTAKEN = 5
"""How often a summary may come too late, since somebody else changed what it was of, before it is left to them."""

T = TypeVar("T")

_working: set[asyncio.Task[None]] = set()
"""Kept until they end: the event loop alone would not."""


class DefaultShortTermMemory:
    """Remembers one conversation, within a budget.

    With `rolling_summary` the turns beyond the full zone wait until a task in the background has put them into the
    summary. It makes `retry_attempts` further attempts, then gives up until `degraded_retry_interval_s` later
    another turn comes. Without a summarizer they wait until the budget drops them.
    """

    def __init__(
        self,
        *,
        config: ShortTermMemoryConfig,
        summarizer: Summarizer | None = None,
        time_source: Callable[[], float] | None = None,
    ) -> None:
        self.config = config
        self.summarizer = summarizer
        self._time = time_source or time.time
        self._state = MemoryState()
        self._kept: Kept | None = None
        self._task: asyncio.Task[None] | None = None

    def keep_in(self, store: Any, key: str) -> None:
        """From here on every change is made to what the store has under this key, by whomever it was left there."""
        self._kept = Kept(store, key)

    @property
    def state(self) -> MemoryState:
        """What is remembered, as this object saw it last. Not to be changed."""
        return self._state

    @property
    def health(self) -> MemoryHealth:
        """How the summarizing goes."""
        return self._state.health

    @property
    def busy(self) -> bool:
        """Whether it is summarizing."""
        return self._task is not None and not self._task.done()

    async def add_turn(self, turn: ConversationTurn) -> None:
        """Remember a turn; one that is there already changes nothing.

        Raises:
            MemoryBudgetExceeded: it does not fit, and the policy is `error`. The memory is as it was.
            MemoryConflict, OSError …: the store cannot take it. The memory is as it was.
        """
        if not turn.ts:
            turn.ts = self._time()
        added = await self.change(lambda state: state.add(turn, self.config))
        if not added:
            return
        await self._tell(self.config.on_turn_added, turn)
        self._summarize()

    async def change(self, change: Callable[[MemoryState], T]) -> T:
        """Change the state where it is kept; nothing is changed when `change` raises."""
        if self._kept is not None:
            result, self._state = await self._kept.change(change)
            return result
        state = self._state.copy()
        result = change(state)
        state.revision += state != self._state
        self._state = state
        return result

    async def refresh(self) -> None:
        """See what the store has now. Raises what it raises."""
        if self._kept is not None:
            self._state = await self._kept.load()

    async def get_llm_context(self) -> Mapping[str, Any]:
        """`{"conversation_memory": {recent_turns, pending_turns?, summary?}}`; nothing while there is none."""
        return self.context()

    def context(self) -> dict[str, Any]:
        """The same."""
        return {} if self.config.strategy == "none" else self._state.context()

    def estimate_tokens(self) -> int:
        """Of turns and summary."""
        return self._state.tokens(self.config.tokens)

    async def flush(self) -> None:
        """Return when nothing is summarized in the background any more; retries are bounded, and so is this."""
        task = self._task
        if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([task])

    async def persist(self, store: Any, key: str) -> None:
        """Keep it in a store, if that keeps memories."""
        if hasattr(store, "save_memory_state"):
            await store.save_memory_state(key, self.to_dict())

    async def hydrate(self, store: Any, key: str) -> None:
        """Take what a store has, if it has any."""
        saved = await store.load_memory_state(key) if hasattr(store, "load_memory_state") else None
        if saved is not None:
            self.from_dict(saved)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return self._state.dump()

    def from_dict(self, state: Mapping[str, Any]) -> None:
        """Read it back. Raises `ValueError` for what is no memory."""
        self._state = MemoryState.load(state)

    def get_artifact(self, ref: str) -> Any | None:
        """None: artifacts are where the planner keeps them."""
        return None

    async def summary_edited(self, before: str, after: str) -> None:
        """Tell the hook of a summary that somebody wrote."""
        await self._tell(self.config.on_summary_updated, before, after)

    # In the background

    def _summarize(self) -> None:
        state, running = self._state, self._task
        if self.config.strategy != "rolling_summary" or self.summarizer is None or not state.pending:
            return
        loop = asyncio.get_running_loop()
        if running is not None and not running.done() and running.get_loop() is loop:
            return
        if state.health is MemoryHealth.DEGRADED:
            since = 0.0 if state.degraded_at is None else self._time() - state.degraded_at
            if 0 <= since < self.config.degraded_retry_interval_s:
                return
        self._task = loop.create_task(self._work(self.summarizer), name=BACKGROUND_TASK)
        _working.add(self._task)
        self._task.add_done_callback(_working.discard)

    async def _work(self, summarizer: Summarizer) -> None:
        async with summary_trace() as trace:
            try:
                if self.health is MemoryHealth.DEGRADED:
                    await self._to(MemoryHealth.RECOVERING)
                await self._summarize_all(summarizer, trace)
            except Exception as error:  # a store that cannot take it: the turns stay until the next one comes
                logger.exception("memory_not_summarized", extra={"event": "memory_not_summarized"})
                if trace is not None:
                    trace.error = error

    async def _summarize_all(self, summarizer: Summarizer, trace: SummaryTrace | None) -> None:
        failures = overtaken = 0
        while self._state.pending and overtaken < MAX_OVERTAKEN:
            batch, base = list(self._state.pending), self._state.summary
            try:
                summary = await self._ask(summarizer, base, batch)
            except Exception as error:  # whatever a summarizer raises
                logger.warning("memory_summary_failed: %s: %s", type(error).__name__, error)
                if trace is not None:
                    trace.error = error
                failures += 1
                if failures > self.config.retry_attempts or self.health is MemoryHealth.RECOVERING:
                    await self._to(MemoryHealth.DEGRADED)
                    return
                await self._to(MemoryHealth.RETRY)
                await asyncio.sleep(self.config.retry_backoff_base_s * 2 ** (failures - 1))
                continue
            failures = 0
            ids = [turn.turn_id for turn in batch]
            done = await self.change(lambda state: state.summarized(ids, base, summary, self.config))  # noqa: B023
            if not done:
                overtaken += 1
                continue
            if trace is not None:
                trace.changed(base, self._state.summary, self._state.revision)
            await self._to(MemoryHealth.HEALTHY)
            await self._tell(self.config.on_summary_updated, base, self._state.summary)

    async def _ask(self, summarizer: Summarizer, base: str, batch: list[ConversationTurn]) -> str:
        if self.config.budget.summary_max_tokens == 0:
            return ""
        async with asyncio.timeout(SUMMARY_TIMEOUT_S):
            told = await summarizer({"previous_summary": base, "turns": [dump_turn(turn) for turn in batch]})
        summary = told.get("summary") if isinstance(told, Mapping) else None
        if not isinstance(summary, str) or not summary.strip():
            raise ValueError("a summarizer gives {'summary': text}")
        return summary.strip()

    async def _to(self, health: MemoryHealth) -> None:
        if self.health is health and health is not MemoryHealth.DEGRADED:
            return
        before = await self.change(lambda state: state.set_health(health, self._time(), self.config))
        if before is not health:
            await self._tell(self.config.on_health_changed, before, health)

    async def _tell(self, hook: Callable[..., Awaitable[None]] | None, *about: Any) -> None:
        if hook is None:
            return
        try:
            async with asyncio.timeout(HOOK_TIMEOUT_S):
                await hook(*about)
        except Exception:  # whatever a program's hook raises is none of the conversation's
            logger.exception("memory_hook_failed", extra={"event": "memory_hook_failed"})
