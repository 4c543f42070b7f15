"""Whose turn it is: a node that keeps something for a trace works on one message of it at a time, over all workers.

In a worker that is a lock. Between workers it is a row of the trace's memory that says who has the turn, written with
compare-and-set. Whoever has it hands it on to the next message in the same worker with the commit that it makes anyway,
and removes the row with the last one. No clocks are compared: a turn is over when its row has not moved for somewhat
more than a lease, by the clock of whoever waits; who works for long writes the row again.

What a node keeps is guarded by its own version all the same: turns spare work that would be done twice, no more.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from types import CodeType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pydantic_core import from_json, to_json

from penguiflow.distributed.names import turn_scope
from penguiflow.state.bounded import Recent
from penguiflow.state.errors import StoreError
from penguiflow.state.shared import SharedChange, SharedRow

if TYPE_CHECKING:
    from penguiflow.distributed.share import Share

__all__ = ["Turn", "Turns", "names_state"]

_HOLD_LEASES = 0.5
"""For how many leases a worker hands the turn on to messages that it has itself."""
_LINGER_S = 0.05
"""How long a worker that had no room for the next message keeps the turn until it comes, in seconds."""
_STILL_LEASES = 1.4
"""For how many leases the row of a turn that is over has not moved: whoever had it has lost his message before."""
_LOOKS = 6
"""Looks within a lease that it takes, at least, to find that a turn does not move: a store may be away for a while."""
_MOST_CONTENDED = 1000


class Turn:
    """A trace's turn at a node, as far as this worker goes."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting: list[str] = []
        """Who waits for the lock, in order; by `handled_key`."""
        self.ours = False
        """Whether the row says that this worker has the turn."""
        self.since = 0.0
        """When this worker got it."""
        self.lingers = False
        """Whether the next message may be about to come to this worker."""
        self.yields = False
        """Whether others shall go first: this worker has had it for long."""
        self._version = 0
        self._seen_at = 0.0
        self._still_s = 0.0

    @property
    def idle(self) -> bool:
        """Whether this worker has the turn, and no message for it."""
        return self.ours and not self.waiting and not self.lock.locked()

    def is_dead(self, version: int, lease_s: float) -> bool:
        """Whether somebody else's turn, which has this version now, has not moved for long."""
        now = asyncio.get_running_loop().time()
        if version != self._version:
            self._version, self._still_s = version, 0.0
        else:
            self._still_s += min(now - self._seen_at, lease_s / _LOOKS)
        self._seen_at = now
        return self._still_s >= _STILL_LEASES * lease_s


class Turns:
    """The turns of the traces at one node."""

    def __init__(self, share: Share, node: str) -> None:
        self.scope = turn_scope(node)
        self._share = share
        self._known: WeakValueDictionary[str, Turn] = WeakValueDictionary()
        """By run; whoever has one, or waits for it, holds it."""
        self._contended: Recent[str, None] = Recent(_MOST_CONTENDED)
        self._leaving: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    def lost(self, run: str) -> None:
        """Another worker has spoiled what was done for a trace."""
        self._contended.keep(run, None)

    def is_contended(self, run: str) -> bool:
        """Whether that has happened."""
        return run in self._contended

    @asynccontextmanager
    async def one_by_one(self, run: str, key: str, aside: AbstractAsyncContextManager[None]) -> AsyncIterator[Turn]:
        """While within, no other message of the trace is here; they come in the order in which they asked.

        Whoever has to wait does so within `aside`.
        """
        turn = self._known.get(run)
        if turn is None:
            turn = self._known[run] = Turn()
        try:
            async with AsyncExitStack() as stack:
                if turn.waiting or turn.lock.locked():
                    turn.waiting.append(key)
                    try:
                        async with aside:
                            await stack.enter_async_context(turn.lock)
                            turn.waiting.remove(key)
                    except BaseException:
                        if key in turn.waiting:
                            turn.waiting.remove(key)
                        raise
                else:
                    await stack.enter_async_context(turn.lock)
                yield turn
        finally:
            if turn.idle:
                await self._leave(run, turn)

    async def claim(self, run: str, key: str, turn: Turn, expect: Mapping[str, int]) -> bool:
        """Take the turn, where rows have the versions that they are expected to have."""
        change = SharedChange(trace_id=run, expect=expect, put={self.scope: self._row(key)})
        turn.ours = (await self._share.commit(change)).done
        turn.since = asyncio.get_running_loop().time()
        return turn.ours

    def is_ours(self, row: SharedRow) -> bool:
        """Whether this worker has the turn."""
        return bool(from_json(row.value)["worker"] == self._share.token)

    def message_of(self, row: SharedRow) -> str:
        """For which message its worker has the turn, by `handled_key`."""
        return str(from_json(row.value)["message"])

    def handed_on(self, turn: Turn, *, may_come: bool) -> bytes | None:
        """The row as the commit leaves it: for the next message in this worker, for anybody if there is none.

        `may_come`: the worker had no room for one, and could not see whether there is.
        """
        held_s = asyncio.get_running_loop().time() - turn.since
        turn.yields = held_s > _HOLD_LEASES * self._share.bus.limits.lease_s
        turn.lingers = may_come and not turn.waiting
        if turn.yields or not (turn.waiting or turn.lingers):
            return None
        return self._row(turn.waiting[0] if turn.waiting else "")

    async def keep(self, run: str, key: str) -> None:
        """Say that whoever has the turn is at work."""
        row = (await self._share.load(run, (self.scope,))).rows.get(self.scope)
        if row is not None and self.is_ours(row):
            change = SharedChange(trace_id=run, expect={self.scope: row.version}, put={self.scope: self._row(key)})
            await self._share.commit(change)

    async def close(self) -> None:
        """Give back the turns that nobody uses."""
        self._closing.set()
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def _leave(self, run: str, turn: Turn) -> None:
        """Nobody is left here who could use it, at least not yet."""
        if not turn.lingers:
            await self._release(run, turn)
            return
        leaving = asyncio.get_running_loop().create_task(self._linger(run, turn), name="penguiflow:turn")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _linger(self, run: str, turn: Turn) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                await self._closing.wait()
        if turn.idle:
            await self._release(run, turn)

    async def _release(self, run: str, turn: Turn) -> None:
        """Let others have it. Where that cannot be said, it is over after a lease."""
        async with turn.lock:
            turn.ours = False
            with suppress(StoreError):
                await self._share.commit(SharedChange(trace_id=run, put={self.scope: None}))

    def _row(self, key: str) -> bytes:
        return to_json({"worker": self._share.token, "message": key})


def names_state(func: Any) -> bool:
    """Whether a node's code names `trace_state`: known before it has looked there for the first time."""
    while isinstance(func, functools.partial):
        func = func.func
    func = inspect.unwrap(func)
    if not hasattr(func, "__code__"):
        func = type(func).__call__
    code = getattr(func, "__code__", None)
    return isinstance(code, CodeType) and _names(code)


def _names(code: CodeType) -> bool:
    return "trace_state" in code.co_names or any(_names(each) for each in code.co_consts if isinstance(each, CodeType))
