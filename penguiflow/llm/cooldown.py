"""Which models and keys are asked next, and which are left alone because they failed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from penguiflow.llm.errors import LLMAuthError, LLMError, LLMRateLimitError, LLMServerError, LLMTimeoutError
from penguiflow.llm.routing import get_provider_for_model

__all__ = ["CooldownStore", "Entry", "ModelFallbackConfig", "Turns"]

T = TypeVar("T")

Entry = tuple[str, int]
"""A model, and the place of its key."""

_FALLS_BACK = (LLMAuthError, LLMRateLimitError, LLMServerError, LLMTimeoutError)


class CooldownStore:
    """Which entries are left alone, and for how long. May be shared by any number of clients and threads."""

    def __init__(self) -> None:
        self._until: dict[Entry, float] = {}

    def in_cooldown(self, entry: Entry) -> bool:
        """Whether it is left alone now."""
        return self._until.get(entry, 0.0) > time.monotonic()

    def set_cooldown(self, entry: Entry, seconds: float) -> float:
        """Leave it alone for as long, or for longer if that was said before. Returns the seconds that are left."""
        now = time.monotonic()
        until = max(self._until.get(entry, 0.0), now + max(seconds, 0.0))
        self._until[entry] = until
        return until - now

    def seconds_until_earliest(self, entries: Sequence[Entry]) -> float | None:
        """Seconds until the first of those that are left alone is not any longer; None if none of them is."""
        now = time.monotonic()
        left = [self._until[entry] - now for entry in entries if self._until.get(entry, 0.0) > now]
        return min(left, default=None)


@dataclass
class ModelFallbackConfig:
    """Whom to ask when the first model fails."""

    models: list[str]
    """The other models, in the order in which they are asked."""
    api_keys: list[str] | None = None
    """Keys of the first model's provider; models of other providers have theirs from the environment."""
    cooldown_s: float = 45.0
    """How long an entry that failed is left alone; longer if its provider says so."""
    max_wait_s: float = 30.0
    """How long a call waits when all of them are left alone."""

    @classmethod
    def from_env(
        cls,
        model_vars: Sequence[str],
        *,
        api_key_vars: Sequence[str] | None = None,
        cooldown_s: float = 45.0,
        max_wait_s: float = 30.0,
    ) -> ModelFallbackConfig:
        """Models and keys from variables of the environment; those that are not set are left out."""
        keys = [os.environ[name] for name in api_key_vars or () if os.environ.get(name)]
        return cls(
            [os.environ[name] for name in model_vars if os.environ.get(name)], keys or None, cooldown_s, max_wait_s
        )


class Turns:
    """Whose turn it is."""

    def __init__(
        self, primary: str, config: ModelFallbackConfig, store: CooldownStore | None, default_api_key: str | None
    ) -> None:
        self.config = config
        self._store = store if store is not None else CooldownStore()
        self._keys = list(config.api_keys) if config.api_keys else [default_api_key]
        self._primary = primary
        models = list(dict.fromkeys([primary, *config.models]))
        self.entries: list[Entry] = [
            (model, place) for model in models for place in range(len(self._keys) if self.is_at_home(model) else 1)
        ]

    def is_at_home(self, model: str) -> bool:
        """Whether it is one of the first model's provider: keys and addresses are that provider's."""
        return get_provider_for_model(model) == get_provider_for_model(self._primary)

    def key(self, entry: Entry) -> str | None:
        model, place = entry
        return self._keys[place] if self.is_at_home(model) else None

    def free(self) -> Entry | None:
        return next((entry for entry in self.entries if not self._store.in_cooldown(entry)), None)

    async def take(self) -> Entry:
        """The first entry that is free. Raises `LLMRateLimitError` when none is soon enough."""
        waited = 0.0
        while (entry := self.free()) is None:
            left = self._store.seconds_until_earliest(self.entries) or 0.0
            if waited + left > self.config.max_wait_s:
                raise LLMRateLimitError(
                    f"all of {', '.join(dict.fromkeys(model for model, _ in self.entries))} have failed, and the first "
                    f"of them is asked again in {left:.1f} s; a call waits for {self.config.max_wait_s:g} s at most",
                    retryable=False,
                    retry_after=left,
                )
            # Clocks tick in steps: a wait that ends a moment early is made up by another turn of the loop.
            await asyncio.sleep(left)
            waited += left
        return entry

    def failed(self, entry: Entry, error: LLMError) -> None:
        """Leave an entry alone, if another may do better."""
        if isinstance(error, _FALLS_BACK):
            asked_for = error.retry_after if isinstance(error, LLMRateLimitError) else None
            self._store.set_cooldown(entry, max(self.config.cooldown_s, asked_for or 0.0))

    def has_another(self, error: LLMError, tried: int) -> bool:
        return isinstance(error, _FALLS_BACK) and tried < len(self.entries) and self.free() is not None

    async def until_answered(self, attempt: Callable[[], Awaitable[T]], may_go_on: Callable[[], bool]) -> T:
        """Make attempts until one succeeds: with every entry, then once more after a wait, if there is time for one."""
        tried = 0
        while True:
            tried += 1
            try:
                return await attempt()
            except LLMError as error:
                if not isinstance(error, _FALLS_BACK) or not may_go_on():
                    raise
                if self.free() is None:
                    left = self._store.seconds_until_earliest(self.entries) or 0.0
                    if left > self.config.max_wait_s:
                        raise
                if tried >= 2 * len(self.entries):
                    raise
