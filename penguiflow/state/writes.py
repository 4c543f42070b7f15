"""The part of a store that hands what is written to its writer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from penguiflow.recording.events import EventSink
from penguiflow.state.errors import StoreNotWritable
from penguiflow.state.intake import Intake

__all__ = ["WritesEvents"]


class WritesEvents:
    """What recorders and the runtime ask of a store; one that was opened to be read only has no writer."""

    place: str
    _writer: Intake | None
    _every_event: bool
    """Whether results wait for their events."""

    @property
    def sink(self) -> EventSink:
        """Where a recorder sends this store's events. Raises `StoreNotWritable` when opened read-only."""
        return self._writing()

    @property
    def congested(self) -> bool:
        """True while the writer holds as much as it may."""
        return self._writer is not None and self._writer.congested

    @property
    def dropped(self) -> int:
        """Events that were lost because nothing could be written."""
        return 0 if self._writer is None else self._writer.dropped

    def durable(self) -> Awaitable[None] | None:
        """What to await before a result is given out; None when there is nothing to wait for.

        Never raises: while nothing can be written, which is logged and told by `flush`, nobody is held up.
        """
        return self._writer.durable() if self._every_event and self._writer is not None else None

    @property
    def hold(self) -> Callable[[asyncio.Future[None]], bool] | None:
        """As `durable`, with a future of the caller's own: False when there is nothing to wait for. None: never."""
        return self._writer.hold if self._every_event and self._writer is not None else None

    async def wait_ready(self) -> None:
        """Return once the writer has room again."""
        if self._writer is not None:
            await self._writer.wait_ready()

    async def flush(self) -> None:
        """Return once all that was written so far is committed.

        Raises `StoreError` when it cannot be; it is kept and tried again, as far as there is room.
        """
        if self._writer is not None:
            await asyncio.wrap_future(self._writer.submit(None))

    def _writing(self) -> Intake:
        if self._writer is None:
            raise StoreNotWritable(f"{self.place} was opened to be read only", path=self.place)
        return self._writer
