"""What nodes write with the logging module becomes part of their trace, as `log` events."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from penguiflow.current import CURRENT
from penguiflow.recording.text import clean_text

if TYPE_CHECKING:
    from penguiflow.observer import TraceLog
    from penguiflow.recording.masking import Masker
    from penguiflow.traces import Trace

__all__ = ["MAX_BYTES", "MAX_CHARS", "TraceLogHandler", "note", "shown"]

MAX_CHARS = 8 * 1024
"""Of one line."""
MAX_BYTES = 4 * 1024 * 1024
"""Of all lines of one trace."""
_ENOUGH = 4 * MAX_CHARS
"""Characters that are looked at, so that no half of a secret is left where a line is cut."""
_LINE_BYTES = 256
"""What a line costs beside its text."""
_OWN = "penguiflow"
"""What the library logs of itself is in the trace in other forms, or about the recording itself."""


class TraceLogHandler(logging.Handler):
    """Add it to a logger (`logging.getLogger().addHandler(TraceLogHandler())`) to have its lines in the traces.

    Takes what is logged inside nodes of flows that are recorded: in the function, in tasks it starts, in
    `asyncio.to_thread`. From the first such handler on every recorded invocation pays for a context variable.
    """

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        CURRENT.wanted = True

    def handle(self, record: logging.LogRecord) -> bool:
        """As the base class, without its lock: a store's writer may log too while somebody writes to the store."""
        found: Any = self.filter(record)
        if found:
            self.emit(found if isinstance(found, logging.LogRecord) else record)
        return bool(found)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, if it was made in a node."""
        note(record)


def note(record: logging.LogRecord) -> None:
    """Write a record into the log of the trace in whose node it was made.

    Where it was made in a thread, it is written as soon as the loop of the flow comes to it. Raises nothing.
    """
    context = CURRENT.get()
    if context is None or record.name.partition(".")[0] == _OWN:
        return
    trace, engine = context._trace, context._port.inbox.engine
    log = None if trace is None else trace.log
    if trace is None or log is None or engine is None or trace.log_bytes >= MAX_BYTES:
        return
    try:
        text = clean_text(record.getMessage())
    except Exception:  # arguments that do not fit, or the user's `__str__`: handlers that show the line tell of it
        return
    if len(text) > _ENOUGH:
        text = f"{text[:_ENOUGH]}…"
    about = {"level": record.levelname, "text": text, "file": clean_text(record.pathname), "line": record.lineno}
    error = record.exc_info[1] if record.exc_info else None
    write = partial(_write, trace, log, context._attempt_span or context._span, record.name, about, error)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if loop is engine.loop:
        write()
        return
    try:
        engine.loop.call_soon_threadsafe(write)
    except RuntimeError:
        return  # the loop is closed, and the trace with it


def _write(
    trace: Trace, log: TraceLog, span: str, name: str, about: dict[str, Any], error: BaseException | None
) -> None:
    if trace.log_bytes >= MAX_BYTES:
        return
    if error is not None:
        about["error"] = failure = log.describe(error)
        trace.log_bytes += len(failure.get("traceback", ""))
    trace.log_bytes += _LINE_BYTES + len(about["text"])
    log.event("log", name, span or log.root, about)
    if trace.log_bytes >= MAX_BYTES:
        last = f"nothing more of what this trace logs is recorded: {MAX_BYTES >> 20} MB is the most"
        log.event("log", _OWN, log.root, {"level": "WARNING", "text": last})


def shown(data: dict[str, Any], masker: Masker) -> dict[str, Any]:
    """The data of a `log` event as it is recorded: without `password=…` and the like, and not longer than a line."""
    text = masker.early(data["text"])
    return {**data, "text": f"{text[:MAX_CHARS]}…" if len(text) > MAX_CHARS else text}
