"""The results that wait for `fetch`, and when they may be given out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from penguiflow.channels import Item
    from penguiflow.ports import Port, Targets

__all__ = ["Durable", "Egress", "Hold"]

Durable = Callable[[], "Awaitable[None] | None"]
"""Gives what to await until every event so far is committed; None when all are."""
Hold = Callable[["asyncio.Future[None]"], bool]
"""As `Durable`, with a future of the caller's own: False when there is nothing to wait for."""


class Egress:
    """Takes results from Rookery; where a store asks for it, not before the events behind them are committed."""

    def __init__(self, rookery: Port) -> None:
        self.durable: Durable | None = None
        self.hold: Hold | None = None
        """Where whoever waits for a result anyway can wait for the commit with the same future."""
        self.rookery = rookery
        self._taken = 0
        self._committed = 0
        """How far results may be taken, counted as they are taken: one commit serves all that wait."""

    async def take(self, from_: Targets = None) -> Item:
        """The next result (from the named nodes). A caller who is cancelled has taken nothing."""
        rookery = self.rookery
        while True:
            if self.durable is not None and rookery.inbox.items:
                if from_ is not None:
                    await self.kept()
                elif self._taken >= self._committed:
                    reach = self._taken + len(rookery.inbox.items)
                    await self.kept()
                    self._committed = max(self._committed, reach)
            item = rookery.take(from_)
            if item is not None:
                self._taken += 1
                return item
            await rookery.wait_arrival(from_)

    async def kept(self) -> None:
        """Return once every event so far is committed, if the store wants that to be waited for."""
        if self.durable is not None and (commit := self.durable()) is not None:
            await commit

    def forget(self) -> None:
        """Results were taken away elsewhere: count anew."""
        self._committed = self._taken
