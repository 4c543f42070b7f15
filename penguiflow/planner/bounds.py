"""Work that must be over in time, or when somebody cancels it from outside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from penguiflow.steering import SteeringCancelled

if TYPE_CHECKING:
    from penguiflow.steering import SteeringInbox

__all__ = ["OutOfTime", "bounded", "end_tasks"]

GRACE_S = 1.0
"""How long work may take to end once it is cancelled, before it is left behind."""

logger = logging.getLogger("penguiflow.planner")
_left_behind: set[asyncio.Future[Any]] = set()
"""Kept until they end: the event loop alone would not."""


class OutOfTime(Exception):
    """The time is over; the work is cancelled, or left behind when it does not end."""


async def bounded(
    work: Coroutine[Any, Any, Any], seconds: float | None = None, steering: SteeringInbox | None = None
) -> Any:
    """The result of `work`.

    Raises:
        OutOfTime: after `seconds`.
        SteeringCancelled: when the run is cancelled by a steering event.
    """
    if seconds is None and steering is None:
        return await work
    if steering is not None and steering.cancelled:
        work.close()
        raise SteeringCancelled(steering.cancel_reason)
    task: asyncio.Future[Any] = asyncio.ensure_future(work)
    waiting: set[asyncio.Future[Any]] = {task}
    if steering is not None:
        waiting.add(asyncio.ensure_future(steering.cancel_event.wait()))
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if steering is not None and steering.cancelled:
            raise SteeringCancelled(steering.cancel_reason)
        raise OutOfTime
    finally:
        await end_tasks(waiting)


async def end_tasks(tasks: set[asyncio.Future[Any]]) -> None:
    """Cancel what is not done, and wait until it is; what does not end is left behind, and logged."""
    open_ = {task for task in tasks if not task.done()}
    for task in open_:
        task.cancel()
    if open_:
        _, stubborn = await asyncio.wait(open_, timeout=GRACE_S)
        for task in stubborn:
            logger.error("planner_work_ignores_cancellation", extra={"event": "planner_work_ignores_cancellation"})
            _left_behind.add(task)
            task.add_done_callback(_forget)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # it is known, or nobody wants to know


def _forget(task: asyncio.Future[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()
