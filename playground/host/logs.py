"""What user code logs, when nobody else handles it, goes to the clients with its level."""

from __future__ import annotations

import logging
from collections.abc import Callable

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
