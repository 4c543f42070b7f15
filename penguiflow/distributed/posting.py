"""Messages on their way to the bus: one sender for each edge, so that they keep their order and go together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from penguiflow.bus.errors import BusAway, BusClosed, BusError
from penguiflow.bus.naming import CLOSED
from penguiflow.bus.protocol import BusMessage, EdgeBus

__all__ = ["Post"]

MOST_AT_ONCE = 100
"""Messages that are put together."""

Told = Callable[[BusError | None], None]
"""Is told when a message is on its edge, or why it is not."""


class Post:
    """Puts messages on edges; what is full or away holds up its own edge and no other."""

    def __init__(self, bus: EdgeBus) -> None:
        self._bus = bus
        self._waiting: dict[str, deque[tuple[BusMessage, Told]]] = {}
        self._senders: dict[str, asyncio.Task[None]] = {}

    @property
    def most_bytes(self) -> int | None:
        """The largest message that the bus takes, where it has such a limit and knows it."""
        most: int | None = getattr(self._bus, "most_bytes", None)
        return most

    def send(self, edge: str, message: BusMessage, told: Told, *, private: bool = False) -> None:
        """Have a message put, behind those that were sent by this edge before."""
        waiting = self._waiting.get(edge)
        if waiting is None:
            waiting = self._waiting[edge] = deque()
        waiting.append((message, told))
        if edge not in self._senders:
            task = asyncio.get_running_loop().create_task(self._go(edge, waiting, private), name="penguiflow:post")
            self._senders[edge] = task

    async def put(self, edge: str, *messages: BusMessage, private: bool = False) -> None:
        """Put messages, and return when they are there. Raises `BusError`."""
        if not messages:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left = len(messages)

        def told(error: BusError | None) -> None:
            nonlocal left
            left -= 1
            if error is not None and not done.done():
                done.set_exception(error)
            elif not left and not done.done():
                done.set_result(None)

        for message in messages:
            self.send(edge, message, told, private=private)
        try:
            await done
        finally:
            if done.done() and not done.cancelled():
                done.exception()  # several may fail, and whoever waited be gone

    async def _go(self, edge: str, waiting: deque[tuple[BusMessage, Told]], private: bool) -> None:
        try:
            await self._send_all(edge, waiting, private)
        finally:
            del self._senders[edge]
            del self._waiting[edge]
            for _, told in waiting:
                told(BusClosed(CLOSED))

    async def _send_all(self, edge: str, waiting: deque[tuple[BusMessage, Told]], private: bool) -> None:
        while waiting:
            batch = [waiting[index] for index in range(min(len(waiting), MOST_AT_ONCE))]
            messages = [message for message, _ in batch]
            errors = [await self._sent(edge, messages, private)] * len(batch)
            if len(batch) > 1 and errors[0] is not None and not isinstance(errors[0], BusAway | BusClosed):
                # Whose fault it was shows one by one. What is there already is a repeat.
                errors = [await self._sent(edge, [message], private) for message in messages]
            for _ in batch:
                waiting.popleft()
            for (_, told), error in zip(batch, errors, strict=True):
                told(error)

    async def _sent(self, edge: str, messages: Sequence[BusMessage], private: bool) -> BusError | None:
        """Put them; why that could not be done."""
        try:
            await (self._bus.tell(edge, *messages) if private else self._bus.put(edge, *messages))
        except BusError as error:
            return error
        return None

    async def close(self) -> None:
        """Put nothing more: who gets the inputs again puts what is missing."""
        senders = list(self._senders.values())
        for sender in senders:
            sender.cancel()
        if senders:
            await asyncio.wait(senders)
