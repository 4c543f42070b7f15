"""Coroutines that are driven by hand: started with `send(None)`, then awaited for the rest."""

from __future__ import annotations

import contextvars
import types
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["Closed", "raised", "resume", "resume_in", "returned"]


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


async def returned(value: Any) -> Any:
    """A result that was there already."""
    return value


async def raised(failure: BaseException) -> Any:
    """A failure that was there already."""
    raise failure
