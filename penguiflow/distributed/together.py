"""What several ask for at the same time is asked for together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Together"]

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
MOST_AT_ONCE = 200


class Together(Generic[Asked, Answer]):
    """Asks for one batch at a time: what comes while one is under way is the next.

    `ask` gives an answer for each of a batch, in its order; what it raises is raised for all of them.
    """

    def __init__(
        self, ask: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]], *, closed: Callable[[], Exception]
    ) -> None:
        self._ask = ask
        self._closed = closed
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, asked: Asked) -> Answer:
        """Ask for one thing, with others."""
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, done))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._go(), name="penguiflow:together")
        return await done

    async def _go(self) -> None:
        batch: Sequence[tuple[Asked, asyncio.Future[Answer]]] = ()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                try:
                    answers = await self._ask([asked for asked, _ in batch])
                except Exception as failure:  # whatever it is: those who asked are told
                    for _, done in batch:
                        if not done.done():
                            done.set_exception(failure)
                    continue
                for (_, done), answer in zip(batch, answers, strict=True):
                    if not done.done():
                        done.set_result(answer)
        finally:
            self._task = None
            for _, done in (*batch, *self._waiting):
                if not done.done():
                    done.set_exception(self._closed())
            self._waiting.clear()

    async def close(self) -> None:
        """Ask no more: those who wait get what `closed` makes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
