"""Log lines for people and for machines, with everything that the runtime attaches to its records."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

__all__ = ["ExtraFormatter", "StructuredFormatter", "configure_logging"]

_STANDARD_FIELDS = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
_TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_MAX_TEXT = 100
"""Characters of a string that a line for people shows."""


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller attached to a record."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}


def _plain(value: Any) -> Any:
    """A JSON form of what JSON does not know; called by `json.dumps`."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return repr(value) if isinstance(value, BaseException) else str(value)


def _json_ready(value: Any) -> Any:
    """The value if it can be written as JSON, else what it looks like: a log line must not fail over its extras."""
    try:
        json.dumps(value, default=_plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
    return value


class StructuredFormatter(logging.Formatter):
    """One JSON object per record: level, logger, message, timestamp (ISO 8601, UTC), extra, exception, stack.

    The last three are left out when there is nothing to say.
    """

    STANDARD_FIELDS = _STANDARD_FIELDS
    include_extras = True
    """Whether `extra` is written at all."""

    def __init__(self, include_timestamp: bool = True, indent: int | None = None) -> None:
        super().__init__()
        self.include_timestamp = include_timestamp
        self.indent = indent

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; on one line, unless `indent` was given."""
        fields: dict[str, Any] = {
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self.include_timestamp:
            fields["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat()
        if self.include_extras and (extras := _extras(record)):
            fields["extra"] = {key: _json_ready(value) for key, value in extras.items()}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return json.dumps(fields, default=_plain, indent=self.indent)


class ExtraFormatter(logging.Formatter):
    """The usual line, with the extras behind the message: `base [k="v", n=1]`."""

    STANDARD_FIELDS = _STANDARD_FIELDS

    def __init__(self, fmt: str | None = None, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is that of `logging`
        """The message with its extras; a traceback comes after both."""
        base = super().formatMessage(record)
        shown = ", ".join(f"{key}={_short(value)}" for key, value in _extras(record).items())
        return f"{base} [{shown}]" if shown else base


def _short(value: Any) -> str:
    if isinstance(value, str):
        text = value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + "..."
        # Quoted as JSON, so that no text can begin a line of its own.
        return json.dumps(text, ensure_ascii=False)
    return str(value).replace("\r", "\\r").replace("\n", "\\n")


def configure_logging(
    level: int | str = logging.INFO,
    *,
    structured: bool = False,
    include_extras: bool = True,
    logger_name: str = "penguiflow",
) -> None:
    """Send a logger's records to stderr: as text for people, or as JSON lines.

    Replaces the handlers that the logger has, and keeps its records from the loggers above it. Raises `ValueError`
    for an unknown level, and then has changed nothing.
    """
    formatter: logging.Formatter
    if structured:
        formatter = StructuredFormatter()
        formatter.include_extras = include_extras
    else:
        formatter = ExtraFormatter(_TEXT_FORMAT) if include_extras else logging.Formatter(_TEXT_FORMAT)
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    target = logging.getLogger(logger_name)
    target.setLevel(level)
    target.handlers[:] = [handler]
    target.propagate = False
