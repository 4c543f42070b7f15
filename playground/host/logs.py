"""What user code logs: it goes to the clients when nobody else handles it, and into its trace."""

from __future__ import annotations

import logging
from collections.abc import Callable

from penguiflow.current import CURRENT
from penguiflow.recording.logs import note
from playground.protocol import LogLine

MAX_TEXT = 16 * 1024


class WireHandler(logging.Handler):
    """Stands in for `logging.lastResort`: programs that configure logging themselves keep what they configured."""

    def __init__(self, send: Callable[[LogLine], None], level: int = logging.WARNING) -> None:
        super().__init__(level)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record over, cut to a length that can be shown."""
        try:
            text = self.format(record)
            line = f"{record.name}: {text[:MAX_TEXT]}"
            self._send(LogLine(ts=record.created, source="log", text=line, level=record.levelname))
        except Exception:  # the standard library's own rule for handlers: logging never breaks the program
            self.handleError(record)


def keep_in_traces(level: int) -> None:
    """From now on whatever is logged in a node, at this level or above, becomes part of its trace.

    Every logger comes by here, those that do not propagate too, after its filters. A handler of the root logger would
    change the program: with one there, `logging.basicConfig` does nothing and `logging.lastResort` is not asked.
    """
    CURRENT.wanted = True
    call_handlers = logging.Logger.callHandlers

    def note_and_call(self: logging.Logger, record: logging.LogRecord) -> None:
        if record.levelno >= level:
            note(record)
        call_handlers(self, record)

    logging.Logger.callHandlers = note_and_call  # type: ignore[method-assign]
