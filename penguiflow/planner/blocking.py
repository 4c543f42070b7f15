"""Tools that hold up the event loop, and all that runs in it, are told of: no timeout can end them."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Generator
from time import perf_counter
from typing import Any

__all__ = ["Unblocking"]

LONG_S = 1.0
"""How long a tool may compute, or wait without `await`, before that is logged."""

logger = logging.getLogger("penguiflow.planner")


class Unblocking:
    """Awaits a tool's coroutine; logs a warning when it keeps the event loop to itself for more than `LONG_S`."""

    __slots__ = ("_made", "_name")

    def __init__(self, made: Coroutine[Any, Any, Any], name: str) -> None:
        self._made = made
        self._name = name

    def __await__(self) -> Generator[Any, Any, Any]:
        made = self._made
        value: Any = None
        raised: BaseException | None = None
        while True:
            began = perf_counter()
            try:
                awaited = made.send(value) if raised is None else made.throw(raised)
            except StopIteration as done:
                return done.value
            finally:
                took = perf_counter() - began
                if took > LONG_S:
                    self._tell(took)
            value = raised = None
            try:
                value = yield awaited
            except BaseException as error:  # it is the tool's to take, cancellation and the end of the program too
                raised = error

    def _tell(self, took: float) -> None:
        logger.warning(
            "tool '%s' held up the event loop for %.1f s: nothing else ran, and no timeout could end it. "
            "Call what blocks with `await asyncio.to_thread(...)`",
            self._name,
            took,
            extra={"event": "planner_tool_blocks", "tool": self._name, "blocked_s": took},
        )
