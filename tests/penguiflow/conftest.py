"""What random tests of the runtime share: a loop whose time jumps, and a log that stays silent."""

from __future__ import annotations

import asyncio
import logging
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeAlias

import pytest

RunVirtually: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]
"""Runs a coroutine on a loop whose clock jumps; no task of a flow may be left."""
Wait: TypeAlias = Callable[[int], Coroutine[Any, Any, None]]
TURNS = 30


class Impatient(selectors.DefaultSelector):
    """Never waits: time passes instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits, and nothing can happen any more")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer when there is nothing else to do.

    Where there is no timer either, everybody waits for ever: the loop fails at once.
    """

    def __init__(self) -> None:
        self._impatient = Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        return self._impatient.now


@pytest.fixture(scope="session")
def run_virtually() -> RunVirtually:
    async def checked(body: Coroutine[Any, Any, None]) -> None:
        await body
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("penguiflow")]
        assert left == []

    def run(body: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(checked(body))

    return run


@pytest.fixture(scope="session")
def some_time() -> Wait:
    """A wait: up to 30 turns of the loop, or as many quarters of a second as the number exceeds 30."""

    async def wait(amount: int) -> None:
        if amount > TURNS:
            await asyncio.sleep((amount - TURNS) / 4)
        for _ in range(amount if amount <= TURNS else 0):
            await asyncio.sleep(0)

    return wait


@pytest.fixture
def quiet() -> Iterator[None]:
    """Thousands of tracebacks of wanted failures help nobody."""
    logger = logging.getLogger("penguiflow.core")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)
