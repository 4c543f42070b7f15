"""Logs with structure: one JSON object a line, with the task and the session they belong to."""

from __future__ import annotations

import logging
import sys

import structlog

from peeragent.models.tasks import TaskRecord
from peeragent.settings import Settings

_INFO = logging.getLogger(__name__)
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


def log_task(task: TaskRecord, seconds: float) -> None:
    """One line for each task that is over; never what was asked, nor what was answered."""
    if not _INFO.isEnabledFor(logging.INFO):
        return
    log.info(
        "task",
        task_id=task.task_id,
        session_id=task.session_id,
        trace_id=task.trace_id,
        owner=task.owner,
        agent=task.agent_type,
        status=task.status.value,
        code=task.error.code if task.error else None,
        attempt=task.attempts,
        seconds=round(seconds, 4),
    )


def configure_logging(settings: Settings) -> None:
    """Have all logs of the process written to stderr as the settings say."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # Each request is an interaction and each run a trace; what libraries say of theirs is noise.
    for name in ("httpx", "httpcore", "uvicorn.access", "penguiflow.core"):
        logging.getLogger(name).setLevel(logging.WARNING)
