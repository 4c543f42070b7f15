"""The memories of a planner, each under the key of its conversation."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from penguiflow.planner.memory.config import MemoryIsolation, ShortTermMemoryConfig
from penguiflow.planner.memory.protocols import ShortTermMemory, ShortTermMemoryPersistence
from penguiflow.planner.memory.short_term import DefaultShortTermMemory, Summarizer

if TYPE_CHECKING:
    from penguiflow.llm.providers.base import Provider

__all__ = ["MemoryBank"]

logger = logging.getLogger("penguiflow.planner")

MAX_MEMORIES = 1000
"""Objects at a time; what a store keeps outlives them."""


class MemoryBank:
    """Gives out the memory of each conversation. No two keys ever have the same one.

    Args:
        memory: A `ShortTermMemoryConfig`; or the memory of one conversation, the first one that comes.
        store: Keeps the memories, if it can. Without one they end with this object, and the ones not used for the
            longest time before that.
        summarizer: The model that summarizes.
        limit: How many memories are held at a time.

    Raises:
        TypeError: `memory` is neither.
    """

    def __init__(
        self,
        memory: object,
        *,
        store: Any = None,
        summarizer: Provider | None = None,
        limit: int = MAX_MEMORIES,
    ) -> None:
        self._own: Any = None
        if isinstance(memory, ShortTermMemoryConfig):
            self.config = memory
        elif isinstance(memory, DefaultShortTermMemory):
            self.config, self._own = memory.config, memory
        elif isinstance(memory, ShortTermMemory):
            self.config, self._own = _config_of(memory), memory
        else:
            raise TypeError(
                "short_term_memory must be a ShortTermMemoryConfig or have the methods of ShortTermMemory; got "
                f"{type(memory).__name__}"
            )
        self.store = store if _keeps(store) else None
        self._summarizer = summarizer
        self._limit = limit
        self._memories: OrderedDict[str, ShortTermMemory] = OrderedDict()
        self._bound: str | None = None

    def held(self) -> list[str]:
        """The keys of the memories that are in use here, sorted."""
        return sorted(self._memories)

    def of(self, key: str) -> ShortTermMemory | None:
        """The memory of a conversation. None when the program's own memory is that of another one."""
        found = self._memories.get(key)
        if found is None:
            found = self._made(key)
            if found is None:
                return None
            self._memories[key] = found
        self._memories.move_to_end(key)
        if len(self._memories) > self._limit:
            self._forget()
        return found

    async def flush(self) -> None:
        """Return when none of those that are held summarizes in the background any more."""
        for memory in list(self._memories.values()):
            await memory.flush()

    async def refreshed(self, key: str) -> ShortTermMemory | None:
        """The same, as the store has it now. Raises what the store raises."""
        memory: Any = self.of(key)
        if isinstance(memory, DefaultShortTermMemory):
            await memory.refresh()
        elif self.store is not None and isinstance(memory, ShortTermMemoryPersistence):
            await memory.hydrate(self.store, key)
        found: ShortTermMemory | None = memory
        return found

    def _made(self, key: str) -> ShortTermMemory | None:
        own = self._own
        if own is not None and self._bound in (None, key):
            self._bound = key
            made: ShortTermMemory = own
        elif own is not None and not isinstance(own, DefaultShortTermMemory):
            logger.warning("memory_of_another_conversation", extra={"event": "memory_of_another_conversation"})
            return None
        else:
            made = DefaultShortTermMemory(config=self.config, summarizer=self._summarize())
        if isinstance(made, DefaultShortTermMemory):
            made.summarizer = made.summarizer or self._summarize()
            if self.store is not None:
                made.keep_in(self.store, key)
        return made

    def _summarize(self) -> Summarizer | None:
        if isinstance(self._own, DefaultShortTermMemory) and self._own.summarizer is not None:
            return self._own.summarizer
        if self.config.strategy != "rolling_summary":
            return None
        provider = self._summarizer
        if self.config.summarizer_model is not None:
            from penguiflow.llm.connect import provider_of

            provider = provider_of(self.config.summarizer_model)
        if provider is None:
            return None
        from penguiflow.planner.memory.summarizing import summarizer_of

        return summarizer_of(provider, self.config)

    def _forget(self) -> None:
        """Let go of the one that was not used for the longest time, of one that is summarizing last of all."""
        others = [key for key in list(self._memories)[:-1] if key != self._bound]
        idle = (key for key in others if not getattr(self._memories[key], "busy", False))
        if others:
            del self._memories[next(idle, others[0])]


def _keeps(store: Any) -> bool:
    return all(callable(getattr(store, name, None)) for name in ("save_memory_state", "load_memory_state"))


def _config_of(memory: ShortTermMemory) -> ShortTermMemoryConfig:
    """What a program's own memory says of itself; that it is to be used is certain."""
    config = getattr(memory, "config", None)
    if isinstance(config, ShortTermMemoryConfig):
        return config
    isolation = getattr(memory, "isolation", None)
    about = isolation if isinstance(isolation, MemoryIsolation) else MemoryIsolation()
    return ShortTermMemoryConfig(strategy="truncation", isolation=about)
