"""Look into memories and change them: for panels, and for a program that corrects what is remembered.

Every change names the version that it is of. Whoever comes too late gets `MemoryConflict`, and reads again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from penguiflow.observer import Payload
from penguiflow.planner.memory.bank import MemoryBank
from penguiflow.planner.memory.config import MemoryConflict, MemoryHealth, ShortTermMemoryConfig
from penguiflow.planner.memory.short_term import DefaultShortTermMemory
from penguiflow.planner.memory.state import MemoryState, cut
from penguiflow.planner.memory.turns import ConversationTurn, dump_turn
from penguiflow.state.documents import is_kv_key

if TYPE_CHECKING:
    from penguiflow.planner.memory.session import RunMemory
    from penguiflow.planner.run import PlannerRun

__all__ = ["MemoryChange", "MemoryEditor", "MemoryView", "RunMemoryEditor"]

logger = logging.getLogger("penguiflow.planner")


@dataclass(frozen=True, slots=True)
class MemoryView:
    """What is remembered of one conversation."""

    key: str
    """`tenant:user:session`."""
    version: int
    """Grows with every change."""
    turns: list[ConversationTurn]
    pending: list[ConversationTurn]
    """Older, and not in the summary yet."""
    summary: str
    health: MemoryHealth
    tokens: int
    """Estimated."""
    total_max_tokens: int | None
    """0: no limit; None: nobody said."""


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """One change of a memory, as JSON has it."""

    of: str
    """The key."""
    change: str
    """`turn.replaced`, `turn.deleted`, `summary.edited` or `cleared`."""
    before: Any
    after: Any
    version: int
    by: str


class MemoryEditor:
    """Reads and changes the memories of a planner (`planner.memories`), or of a store.

    Args:
        memories: The planner's memories, or a store that keeps some.
        config: For a store: budget and estimator. Without it nothing is cut to a budget.
        on_change: Awaited after each change; what it raises is logged.
        by: Who changes them, for `MemoryChange.by`.
    """

    def __init__(
        self,
        memories: Any,
        *,
        config: ShortTermMemoryConfig | None = None,
        on_change: Callable[[MemoryChange], Awaitable[None]] | None = None,
        by: str = "caller",
    ) -> None:
        self._bounded = config is not None or isinstance(memories, MemoryBank)
        if isinstance(memories, MemoryBank):
            self._bank = memories
        else:
            self._bank = MemoryBank(config or ShortTermMemoryConfig(strategy="truncation"), store=memories)
            if self._bank.store is None:
                raise TypeError(f"{type(memories).__name__} keeps no memories: it has no load_memory_state")
        self._on_change = on_change
        self._by = by

    async def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with `prefix`, sorted. A store that lists none knows only those that are in use here."""
        found = {key for key in self._bank.held() if key.startswith(prefix)}
        listing = getattr(self._bank.store, "list_memory_states", None)
        if callable(listing):
            found.update(key for key in await listing(prefix) if not is_kv_key(key))
        return sorted(found)

    async def get(self, key: str) -> MemoryView:
        """What is remembered under a key; an empty memory of version 0 for one that is not there."""
        memory = self._memory(key)
        await memory.refresh()
        return self._view(key, memory)

    async def replace_turn(self, key: str, turn_id: str, turn: ConversationTurn, *, version: int) -> MemoryView:
        """Put another turn in the place of one. Raises `MemoryConflict`, and `LookupError` for an unknown turn."""

        def change(state: MemoryState) -> tuple[Any, Any]:
            after = replace(turn, turn_id=turn_id)
            before = state.put(turn_id, after)
            return dump_turn(before), dump_turn(after)

        return await self._change(key, "turn.replaced", change, version)

    async def delete_turn(self, key: str, turn_id: str, *, version: int) -> MemoryView:
        """Forget one turn. Raises `MemoryConflict`, and `LookupError` for an unknown turn."""
        return await self._change(
            key, "turn.deleted", lambda state: (dump_turn(state.put(turn_id, None)), None), version
        )

    async def edit_summary(self, key: str, summary: str, *, version: int) -> MemoryView:
        """Put another summary in the place of that of a memory; it is cut to its budget. Raises `MemoryConflict`."""

        def change(state: MemoryState) -> tuple[Any, Any]:
            before, config = state.summary, self._bank.config
            limit = config.budget.summary_max_tokens
            state.summary = cut(summary, limit, config.tokens) if self._bounded else summary
            return before, state.summary

        return await self._change(key, "summary.edited", change, version)

    async def clear(self, key: str, *, version: int) -> MemoryView:
        """Forget all of a conversation. Raises `MemoryConflict`."""

        def change(state: MemoryState) -> tuple[Any, Any]:
            before = state.dump()
            state.turns, state.pending, state.summary = [], [], ""
            return before, None

        return await self._change(key, "cleared", change, version)

    async def _change(
        self, key: str, name: str, change: Callable[[MemoryState], tuple[Any, Any]], version: int
    ) -> MemoryView:
        memory = self._memory(key)

        def checked(state: MemoryState) -> tuple[Any, Any]:
            if state.revision != version:
                about = f"the memory {key!r} has version {state.revision}, and not {version}"
                raise MemoryConflict(f"{about}: somebody else has changed it; read it again")
            done = change(state)
            if self._bounded:
                state.fit(self._bank.config.budget, self._bank.config.tokens, strict=False)
            return done

        before, after = await memory.change(checked)
        view = self._view(key, memory)
        if name == "summary.edited":
            await memory.summary_edited(before, after)
        if self._on_change is not None:
            try:
                await self._on_change(MemoryChange(key, name, before, after, view.version, self._by))
            except Exception:  # whatever a listener raises: the memory is changed all the same
                logger.exception("memory_listener_failed", extra={"event": "memory_listener_failed"})
        return view

    def _memory(self, key: str) -> DefaultShortTermMemory:
        memory = self._bank.of(key)
        if isinstance(memory, DefaultShortTermMemory):
            return memory
        raise TypeError("the program's own memory cannot be edited: it has no turns that could be told apart")

    def _view(self, key: str, memory: DefaultShortTermMemory) -> MemoryView:
        state, config = memory.state, memory.config
        limit = config.budget.total_max_tokens if self._bounded else None
        tokens = memory.estimate_tokens()
        turns, pending = ([replace(turn) for turn in each] for each in (state.turns, state.pending))
        return MemoryView(key, state.revision, turns, pending, state.summary, state.health, tokens, limit)


class RunMemoryEditor:
    """Changes the memory of a run under way: the store has it at once, and the run's next prompt too."""

    def __init__(self, run: PlannerRun, memory: RunMemory) -> None:
        self._run = run
        self._memory = memory
        self._editor = MemoryEditor(memory.bank)

    @property
    def key(self) -> str:
        """Of the conversation."""
        return self._memory.key

    @property
    def bank(self) -> MemoryBank:
        """Where the memory is from."""
        return self._memory.bank

    def saw(self, view: MemoryView, before: MemoryView, by: str) -> None:
        """Somebody has changed the memory: the run's log says so, and its next prompt has it as it is now."""
        shown = [MemoryState(each.turns, each.pending, each.summary).context() for each in (before, view)]
        about = {"of": "memory", "before": Payload(shown[0]), "after": Payload(shown[1]), "by": by}
        self._run.site.event("edit", self.key, about)
        self._seen(view)

    async def get(self) -> MemoryView:
        """What is remembered now, which may be more than the run has seen."""
        return await self._editor.get(self._memory.key)

    async def replace_turn(self, turn_id: str, turn: ConversationTurn, *, version: int) -> MemoryView:
        """See `MemoryEditor.replace_turn`."""
        return self._seen(await self._editor.replace_turn(self._memory.key, turn_id, turn, version=version))

    async def delete_turn(self, turn_id: str, *, version: int) -> MemoryView:
        """See `MemoryEditor.delete_turn`."""
        return self._seen(await self._editor.delete_turn(self._memory.key, turn_id, version=version))

    async def edit_summary(self, summary: str, *, version: int) -> MemoryView:
        """See `MemoryEditor.edit_summary`."""
        return self._seen(await self._editor.edit_summary(self._memory.key, summary, version=version))

    async def clear(self, *, version: int) -> MemoryView:
        """See `MemoryEditor.clear`."""
        return self._seen(await self._editor.clear(self._memory.key, version=version))

    def _seen(self, view: MemoryView) -> MemoryView:
        shown = MemoryState(view.turns, view.pending, view.summary).context()
        self._run.changes.append({"conversation_memory": shown.get("conversation_memory")})
        return view
