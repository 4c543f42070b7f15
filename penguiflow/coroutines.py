"""Coroutines that are driven by hand: started with `send(None)`, then awaited for the rest."""

from __future__ import annotations

import contextvars
import types
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["DONE", "Closed", "Runner", "raised", "resume", "resume_in", "returned"]

DONE: Any = object()
"""What a `Runner` gives when a coroutine has returned."""


class Closed(GeneratorExit):
    """The coroutine was closed from outside, which is something else than a `GeneratorExit` of its own making."""


@types.coroutine
def resume(coro: Coroutine[Any, Any, Any] | Generator[Any, Any, Any], pending: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that was started by hand and waits for `pending`."""
    while True:
        try:
            value = yield pending
        except GeneratorExit:
            coro.close()
            raise Closed from None
        except BaseException as error:
            try:
                pending = coro.throw(error)
            except StopIteration as stop:
                return stop.value
        else:
            try:
                pending = coro.send(value)
            except StopIteration as stop:
                return stop.value


@types.coroutine
def resume_in(context: contextvars.Context, coro: Coroutine[Any, Any, Any], pending: Any) -> Generator[Any, Any, Any]:
    """As `resume`, each step within `context`."""
    while True:
        try:
            value = yield pending
        except GeneratorExit:
            context.run(coro.close)
            raise Closed from None
        except BaseException as error:
            try:
                pending = context.run(coro.throw, error)
            except StopIteration as stop:
                return stop.value
        else:
            try:
                pending = context.run(coro.send, value)
            except StopIteration as stop:
                return stop.value


class Runner:
    """Runs coroutines one after the other, and hands over to one that waits.

    A coroutine that is started by hand raises its result; one that is awaited hands it back, which costs half as much.
    `send(coro)` gives `DONE` when it has returned (`result` is then to be taken away), else what it waits for: then
    the runner is to be handed over. A failure uses it up, too.
    """

    __slots__ = ("_handed_over", "_running", "result", "send")

    def __init__(self) -> None:
        self._handed_over = False
        self.result: Any = None
        self._running = self._run()
        self.send = self._running.send
        self.send(None)

    def hand_over(self) -> Generator[Any, Any, Any]:
        """What is to be driven in place of the coroutine that waits."""
        self._handed_over = True
        return self._running

    @types.coroutine
    def _run(self) -> Generator[Any, Any, Any]:
        coro = yield
        while True:
            result = yield from coro
            if self._handed_over:
                return result
            self.result, result = result, None
            coro = yield DONE


async def returned(value: Any) -> Any:
    """A result that was there already."""
    return value


async def raised(failure: BaseException) -> Any:
    """A failure that was there already."""
    raise failure
