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
LAST_S = 1.0
"""How long what is still open is waited for when a trace is over that several processes write."""
_PAGE = 2000


async def poll() -> None:
    """Wait for a moment, where nobody tells that there is more."""
    await asyncio.sleep(POLL_S)


async def follow(
    store: TraceStore, trace_id: str, after: int = -1, *, pause: Callable[[], Awaitable[None]] = poll
) -> AsyncGenerator[TraceEvent, None]:
    """Committed events with `seq > after`, and those to come, until the trace is over.

    `pause` is awaited before it is looked again. Where several processes write, one ends the trace while another may be
    about to tell that its part is over: what is open then is waited for, not for long.
    """
    left_open: set[str] = set()
    patience_s = LAST_S
    while True:
        # Asked before the events are read: what comes after that is seen in the next round.
        trace = await store.get_trace(trace_id)
        while page := await store.load_events(trace_id, after=after, limit=_PAGE):
            for event in page:
                yield event
                if event.worker_id is not None:
                    _note(left_open, event)
            after = page[-1].seq
        if trace is None or (trace.status != "running" and (not left_open or patience_s <= 0)):
            return
        if trace.status != "running":
            patience_s -= POLL_S
            await poll()
        else:
            await pause()


def _note(left_open: set[str], event: TraceEvent) -> None:
    if event.kind.endswith(".start"):
        left_open.add(event.span_id)
    elif event.kind.endswith(".end"):
        left_open.discard(event.span_id)
