"""From an exception in a node to the error that its trace ends with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penguiflow.errors import FlowError, FlowErrorCode

if TYPE_CHECKING:
    from penguiflow.node import Node
    from penguiflow.traces import Trace

__all__ = [
    "DeadlinePassed",
    "InterceptorFailed",
    "NodeTimeout",
    "cancelled_error",
    "flow_error",
    "held_error",
    "said",
    "text_of",
    "timeout_error",
]


class DeadlinePassed(Exception):
    """The trace's deadline has passed while the node was at it."""


class InterceptorFailed(Exception):
    """An interceptor raised, or gave what its node cannot use; the exception is its cause.

    Nothing may go on that somebody wanted to decide upon.
    """


class NodeTimeout(Exception):
    """The policy's bound on one attempt has passed. (A `TimeoutError` of the node's own code is something else.)"""


def text_of(failure: BaseException, how: Callable[[BaseException], str]) -> str:
    """`str` or `repr` of an exception, even of one that cannot be shown."""
    try:
        return how(failure)
    except Exception:  # the exception's own method raises
        return f"<{type(failure).__name__} that cannot be shown>"


def timeout_error(node: Node) -> TimeoutError:
    """What users see of a `NodeTimeout`."""
    return TimeoutError(f"Node '{node.name}' timed out after {node.policy.timeout_s or 0.0:.2f}s")


def flow_error(node: Node, trace_id: str | None, failure: BaseException, attempt: int, latency_ms: float) -> FlowError:
    """What a trace gets for a node that failed for good."""
    name = str(node.name)
    metadata: dict[str, Any] = {"attempt": attempt, "latency_ms": latency_ms}
    if isinstance(failure, NodeTimeout):
        metadata["timeout_s"] = node.policy.timeout_s or 0.0
        code = FlowErrorCode.NODE_TIMEOUT
        failure = timeout_error(node)
        message = str(failure)
    else:
        metadata["exception_repr"] = text_of(failure, repr)
        code = FlowErrorCode.NODE_EXCEPTION
        text = text_of(failure, str)
        message = f"Node '{name}' raised {type(failure).__name__}{f': {text}' if text else ''}"
    return FlowError.from_exception(
        trace_id=trace_id,
        node_name=name,
        node_id=node.node_id,
        exc=failure,
        code=code,
        message=message,
        metadata=metadata,
    )


def held_error(trace: Trace) -> FlowError:
    """What a caller gets when the trace ended while nodes still waited for messages."""
    return FlowError(
        trace_id=trace.id,
        node_name=None,
        code=FlowErrorCode.NODE_EXCEPTION,
        message="; ".join(said(why) for why in (trace.holds or {}).values()),
    )


def said(why: str | Callable[[], str]) -> str:
    """Why a node waits for more messages, in words."""
    if isinstance(why, str):
        return why
    try:
        return str(why())
    except Exception as failure:  # the program's own: nobody is to wait for ever because of it
        return f"a node waits for more messages ({type(failure).__name__} when asked why: {text_of(failure, str)})"


def cancelled_error(trace: Trace, reason: str) -> FlowError:
    """What a caller gets who waits for a trace that was cancelled."""
    return FlowError(
        trace_id=trace.id, node_name=None, code=FlowErrorCode.TRACE_CANCELLED, message=f"trace cancelled: {reason}"
    )
