"""Is the user's loop alive, and if not, where is it stuck?"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from penguiflow import Context
from playground.loader.usercode import blocking_frame
from playground.protocol import CodeFrame

PING_EVERY_S = 0.1
LATE_S = 0.25
"""A loop that does not answer for this long is said to be blocked."""
REPEAT_S = 1.0


class Stall(NamedTuple):
    """The user's loop did not answer."""

    ms: float
    frame: CodeFrame | None
    trace_id: str | None
    """Whose node it is, if that can be told."""
    over: bool
    """It answers again; `ms` is how long it took."""


class Watchdog:
    """Asks the user's loop again and again whether it is there. Runs on the wire's loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        root: Path,
        on_stall: Callable[[Stall], None],
        thread_id: int | None = None,
    ) -> None:
        """`thread_id` is the thread that runs the loop, the main one by default."""
        self._loop = loop
        self._root = root
        self._on_stall = on_stall
        self._thread_id = thread_id or threading.main_thread().ident or 0
        self._asked_at: float | None = None
        self.lag_ms = 0.0
        """How late the last answer was."""

    async def watch(self) -> None:
        """Watch until cancelled."""
        reported: Stall | None = None
        while True:
            if self._pending() is None:
                self._asked_at = time.monotonic()
                try:
                    self._loop.call_soon_threadsafe(self._answer)
                except RuntimeError:  # the loop is closed: the worker ends
                    return
            await asyncio.sleep(PING_EVERY_S)
            asked_at = self._pending()
            if asked_at is None:
                if reported is not None:
                    self._on_stall(reported._replace(ms=max(self.lag_ms, reported.ms), over=True))
                    reported = None
                continue
            late = time.monotonic() - asked_at
            if late > LATE_S and (reported is None or late * 1e3 > reported.ms + REPEAT_S * 1e3):
                reported = self._look(late, reported)
                self._on_stall(reported)

    def _pending(self) -> float | None:
        """When the question was asked that is not answered yet; the answer comes from the other thread."""
        return self._asked_at

    def _answer(self) -> None:
        asked_at, self._asked_at = self._asked_at, None
        if asked_at is not None:
            self.lag_ms = (time.monotonic() - asked_at) * 1e3

    def _look(self, late: float, before: Stall | None) -> Stall:
        frame = blocking_frame(self._thread_id, self._root)
        trace_id = running_trace(self._thread_id)
        if before is not None:
            trace_id = trace_id or before.trace_id
        return Stall(late * 1e3, frame, trace_id, over=False)


def running_trace(thread_id: int) -> str | None:
    """The trace whose node a thread is running: the innermost frame that holds a node's context says so."""
    frame: FrameType | None = sys._current_frames().get(thread_id)
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if isinstance(value, Context):
                return value.trace_id
        frame = frame.f_back
    return None
