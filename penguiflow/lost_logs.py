"""What a trace writes of itself, and what becomes of it when its recorder fails.

A recorder must not raise, but it may be anybody's. Nobody is to wait for ever because of it: the trace goes on without
a log, cannot succeed any more, and whoever waits for it is told why.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from penguiflow.failures import cancelled_error, text_of
from penguiflow.joins import end_joins

if TYPE_CHECKING:
    from penguiflow.traces import Trace

__all__ = ["close_log", "lose_log", "write"]

logger = logging.getLogger("penguiflow.core")


def write(trace: Trace, kind: str, name: str, data: Mapping[str, Any]) -> None:
    """Write an event of the trace itself."""
    log = trace.log
    if log is None:
        return
    try:
        log.event(kind, name, log.root, data)
    except Exception as failure:  # a recorder's
        lose_log(trace, failure)


def close_log(trace: Trace, status: str, starved: bool) -> None:
    """Write the end of a trace; `starved`: nodes still waited for messages."""
    log, trace.log = trace.log, None
    if log is None:
        return
    try:
        if trace.joins:
            end_joins(trace, log, "error" if starved else "cancelled")
        if trace.cancelled:
            log.event("cancel.done", "", log.root)
        about: dict[str, Any] | None = None if trace.error is None else {"error": trace.error.to_payload()}
        if trace.paused is not None and status == "ok":
            about = {"paused": trace.paused}
        log.close(status, about)
    except Exception as failure:  # a recorder's
        lose_log(trace, failure)


def lose_log(trace: Trace, failure: Exception) -> str:
    """The recorder has failed: write nothing more but the end. Returns what the trace is to be cancelled with."""
    reason = f"its recorder failed: {type(failure).__name__}: {text_of(failure, str)}"
    about = {"event": "recorder_failed", "trace_id": trace.id}
    logger.error("recorder_failed", exc_info=failure, extra=about)
    log, trace.log = trace.log, None
    trace.slow_down()
    trace.error = trace.error or cancelled_error(trace, reason)
    if log is not None:
        with suppress(Exception):  # it may be able to write that it is over, if nothing else
            log.close("cancelled", {"error": trace.error.to_payload()})
    return reason
