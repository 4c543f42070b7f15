"""Reading a trace while it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

from penguiflow.recording.events import TraceEvent

if TYPE_CHECKING:
    from penguiflow.state.traces import TraceStore

__all__ = ["follow"]

POLL_S = 0.05
"""How often a trace that is written is looked at. Its writer may be another process."""
_PAGE = 2000


async def poll() -> None:
    """Wait for a moment, where nobody tells that there is more."""
    await asyncio.sleep(POLL_S)


async def follow(
    store: TraceStore, trace_id: str, after: int = -1, *, pause: Callable[[], Awaitable[None]] = poll
) -> AsyncGenerator[TraceEvent, None]:
    """Committed events with `seq > after`, and those to come, until the trace is over.

    `pause` is awaited before it is looked again.
    """
    while True:
        # Asked before the events are read: what comes after that is seen in the next round.
        trace = await store.get_trace(trace_id)
        while page := await store.load_events(trace_id, after=after, limit=_PAGE):
            for event in page:
                yield event
            after = page[-1].seq
        if trace is None or trace.status != "running":
            return
        await pause()
