"""What can go wrong in a trace, as one typed error.

FlowError
 ├── code        a `FlowErrorCode` value
 ├── trace_id, node_name, node_id
 ├── metadata    attempt, latency_ms, timeout_s, exception_repr …
 └── unwrap()    the exception behind it
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

__all__ = ["FlowError", "FlowErrorCode"]


class FlowErrorCode(StrEnum):
    """Why a trace did not deliver what was asked of it."""

    NODE_TIMEOUT = "NODE_TIMEOUT"
    NODE_EXCEPTION = "NODE_EXCEPTION"
    TRACE_CANCELLED = "TRACE_CANCELLED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    HOP_BUDGET_EXHAUSTED = "HOP_BUDGET_EXHAUSTED"
    TOKEN_BUDGET_EXHAUSTED = "TOKEN_BUDGET_EXHAUSTED"


class FlowError(Exception):
    """A failure of one trace, with where it happened and what was behind it."""

    def __init__(
        self,
        *,
        trace_id: str | None,
        node_name: str | None,
        code: FlowErrorCode | str,
        message: str,
        original_exc: BaseException | None = None,
        node_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.trace_id = trace_id
        self.node_name = node_name
        self.node_id = node_id
        self.code = str(code.value) if isinstance(code, FlowErrorCode) else str(code)
        self.message = message
        self.original_exc = original_exc
        self.metadata: Mapping[str, Any] = MappingProxyType(dict(metadata or {}))
        self._told_type: str | None = None
        super().__init__(str(self))

    @property
    def exception_type(self) -> str | None:
        """The class name of the exception behind this error."""
        return self._told_type if self.original_exc is None else type(self.original_exc).__name__

    def unwrap(self) -> BaseException | None:
        """The exception behind this error; None where that stayed in another process."""
        return self.original_exc

    def to_payload(self) -> dict[str, Any]:
        """A JSON-ready form: `code` and `message`, then whatever else is known."""
        known = {
            "trace_id": self.trace_id,
            "node_name": self.node_name,
            "node_id": self.node_id,
            "exception_type": self.exception_type,
            "metadata": dict(self.metadata) or None,
        }
        return {
            "code": self.code,
            "message": self.message,
            **{key: value for key, value in known.items() if value is not None},
        }

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> FlowError:
        """The error of a `to_payload`, without its exception. Raises `KeyError` where code or message lack."""
        error = cls(
            trace_id=payload.get("trace_id"),
            node_name=payload.get("node_name"),
            node_id=payload.get("node_id"),
            code=payload["code"],
            message=payload["message"],
            metadata=payload.get("metadata"),
        )
        error._told_type = payload.get("exception_type")
        return error

    @classmethod
    def from_exception(
        cls,
        *,
        trace_id: str | None,
        node_name: str | None,
        node_id: str | None,
        exc: BaseException,
        code: FlowErrorCode,
        message: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> FlowError:
        """Wrap `exc`; the message defaults to its text."""
        return cls(
            trace_id=trace_id,
            node_name=node_name,
            node_id=node_id,
            code=code,
            message=message or str(exc) or type(exc).__name__,
            original_exc=exc,
            metadata=metadata,
        )

    def __str__(self) -> str:
        parts = [f"[{self.code}] {self.message}"]
        if self.trace_id is not None:
            parts.append(f"trace={self.trace_id}")
        if self.node_name is not None:
            parts.append(f"node={self.node_name}")
        return " ".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (
            self.trace_id,
            self.node_name,
            self.code,
            self.message,
            self.original_exc,
            self.node_id,
            dict(self.metadata),
            self._told_type,
        )


def _rebuild(
    trace_id: str | None,
    node_name: str | None,
    code: str,
    message: str,
    original_exc: BaseException | None,
    node_id: str | None,
    metadata: dict[str, Any],
    told_type: str | None = None,
) -> FlowError:
    """Keyword-only constructors do not survive pickling by themselves."""
    error = FlowError(
        trace_id=trace_id,
        node_name=node_name,
        code=code,
        message=message,
        original_exc=original_exc,
        node_id=node_id,
        metadata=metadata,
    )
    error._told_type = told_type
    return error
