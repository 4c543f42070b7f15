"""Who keeps paused runs: under tokens that are good once, and for an hour."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from penguiflow.planner.protocols import PauseRecord, PendingCall
from penguiflow.state.bounded import Recent

if TYPE_CHECKING:
    from penguiflow.planner.run import PlannerRun

__all__ = ["PAUSE_TTL_S", "NoPausedRun", "PauseStore", "keeps_pauses", "record_of"]

PAUSE_TTL_S = 3600.0
MAX_PAUSED = 10_000
"""Without a store; beyond it the oldest are forgotten."""


def keeps_pauses(store: Any) -> bool:
    """Whether a state store takes paused runs."""
    return all(callable(getattr(store, name, None)) for name in ("save_planner_state", "load_planner_state"))


class NoPausedRun(KeyError):
    """There is no paused run under this token, or none any more."""

    is_answer = True
    """Logs need no traceback of it."""

    def __str__(self) -> str:
        return str(self.args[0])


class PauseStore:
    """Keeps paused runs in the state store, so that they can go on in another process; without one, in memory.

    Args:
        store: A state store; used if it has `save_planner_state` and `load_planner_state`, which gives out once.
        ttl_s: How long a token is good. A store may forget it earlier.
        clock: Unix seconds.
    """

    def __init__(
        self, store: Any = None, *, ttl_s: float = PAUSE_TTL_S, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store if keeps_pauses(store) else None
        self._ttl_s = ttl_s
        self._clock = clock
        self._kept: Recent[str, dict[str, Any]] = Recent(MAX_PAUSED)

    @property
    def lasting(self) -> bool:
        """Whether what it keeps is there when this process is gone."""
        return self._store is not None

    async def save(self, run: PlannerRun, record: PauseRecord) -> str:
        """Keep it; gives its token.

        Raises what the store raises: a token that nobody can resume is worse than a run that fails.
        """
        token = uuid4().hex
        data = {**asdict(record), "expires": self._clock() + self._ttl_s}
        if self._store is None:
            self._kept.keep(token, data)
        else:
            await self._store.save_planner_state(token, data)
        return token

    async def take(self, token: str) -> PauseRecord:
        """Give it out, once: of those who ask at the same time, one gets it. Raises `NoPausedRun`, a `KeyError`."""
        if self._store is None:
            data = self._kept.pop(token, None)
        else:
            data = await self._store.load_planner_state(token)
        return self._good(token, data)

    async def peek(self, token: str) -> PauseRecord:
        """Look at it, and leave it where it is. Raises `NoPausedRun`, and `TypeError` for a store that cannot."""
        if self._store is None:
            return self._good(token, self._kept.get(token))
        look = getattr(self._store, "peek_planner_state", None)
        if not callable(look):
            name = type(self._store).__name__
            raise TypeError(f"{name} cannot show a paused run without giving it out: it has no peek_planner_state")
        return self._good(token, await look(token))

    def _good(self, token: str, data: Mapping[str, Any] | None) -> PauseRecord:
        shown = f"'{token[:8]}…'" if len(token) > 8 else repr(token)
        if data is None:
            about = f"it is unknown, was used already, or is older than {self._ttl_s / 60:g} minutes"
            if self._store is None:
                about += "; without a `state_store` paused runs end with the process that they were in"
            raise NoPausedRun(f"no run waits under the token {shown}: {about}")
        if "trajectory" not in data:
            raise NoPausedRun(f"what is kept under the token {shown} is no paused run")
        if data.get("expires", self._clock()) < self._clock():
            raise NoPausedRun(
                f"the token {shown} has expired: the run waited for more than {self._ttl_s / 60:g} minutes"
            )
        return record_of(data)


def record_of(data: Mapping[str, Any]) -> PauseRecord:
    """A record from its JSON; keys that it does not know are passed over."""
    known = {name: data[name] for name in PauseRecord.__dataclass_fields__ if name in data}
    pending = known.pop("pending", None)
    if isinstance(pending, Mapping):
        pending = PendingCall(**{name: pending[name] for name in PendingCall.__dataclass_fields__ if name in pending})
    return PauseRecord(**known, pending=pending)
