"""Telling publishers of a run: in order, beside the work, and without stopping it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from peagen.errors import PeagenError
from peagen.run.options import OnEvent

log = logging.getLogger("peagen")

_TOLD = {
    "process.started": ("projects", "files"),
    "file.done": ("project", "file", "status", "error"),
    "process.done": ("counts",),
}
"""What is published, and which fields go into `extra`."""


@contextlib.asynccontextmanager
async def told_to(publisher: Any | None, channel: str, on_event: OnEvent | None) -> AsyncIterator[OnEvent]:
    """A listener that tells `on_event` at once, and the publisher in its own time; at the end all is published.

    The first event is published before anything else happens, so that a publisher that cannot be reached is an error
    at once (`PeagenError`). Later failures are logged, once.
    """
    if publisher is None:
        yield on_event or _nobody
        return
    queue: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
    try:
        await _publish(publisher, channel, {"type": "process.started"})
    except PeagenError:
        raise
    except Exception as error:  # a publisher is anybody's code
        raise PeagenError(f"the publisher failed: {error}", where=type(publisher).__name__) from error

    def tell(event: Mapping[str, Any]) -> None:
        if on_event is not None:
            on_event(event)
        if event["type"] in _TOLD and event["type"] != "process.started":
            queue.put_nowait(shown(event))

    task = asyncio.get_running_loop().create_task(_publish_all(publisher, channel, queue))
    try:
        yield tell
    finally:
        queue.put_nowait(None)
        await task


def shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as it is published: `type`, `seconds` where there are any, and `extra`."""
    kind = str(event["type"])
    extra = {name: event[name] for name in _TOLD[kind] if event.get(name)}
    told: dict[str, Any] = {"type": kind}
    if "seconds" in event:
        told["seconds"] = round(float(event["seconds"]), 3)
    return {**told, "extra": extra} if extra else told


async def _publish_all(publisher: Any, channel: str, queue: asyncio.Queue[Mapping[str, Any] | None]) -> None:
    failed = False
    while (event := await queue.get()) is not None:
        try:
            await _publish(publisher, channel, event)
        except Exception as error:  # a publisher is anybody's code, and no reason to lose a run
            if not failed:
                log.warning("The publisher failed, the run goes on: %s", error)
            failed = True


async def _publish(publisher: Any, channel: str, event: Mapping[str, Any]) -> None:
    done = publisher.publish(channel, event) if _is_async(publisher) else None
    if done is not None:
        await done
    else:
        await asyncio.to_thread(publisher.publish, channel, event)


def _is_async(publisher: Any) -> bool:
    return inspect.iscoroutinefunction(publisher.publish)


def _nobody(event: Mapping[str, Any]) -> None:
    """Nobody listens."""
