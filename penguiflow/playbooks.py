"""Playbooks: flows that a node calls as if they were functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penguiflow.asking import answerer_of
from penguiflow.calls import scope_of
from penguiflow.callsite import node_path
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.traces import TraceCancelled, trace_id_of, trace_status
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.core import PenguiFlow
    from penguiflow.observer import TraceLog
    from penguiflow.registry import ModelRegistry

    PlaybookFactory = Callable[[], tuple[PenguiFlow, ModelRegistry | None]]

__all__ = ["call_playbook"]


class _Nested:
    """Records a playbook's trace as a span inside the trace that called it."""

    congested = False

    def __init__(self, log: TraceLog, span: str) -> None:
        self._log = log
        self._span = span

    def open(self, trace_id: str, data: Mapping[str, Any] | None = None) -> TraceLog:
        """A log whose root is the playbook's span."""
        return _NestedLog(self._log, self._span)

    async def wait_ready(self) -> None:
        """The caller's recorder has been waited for."""

    async def flush(self) -> None:
        """The caller's recorder does that."""

    def durable(self) -> None:
        """What a playbook gives stays inside the caller's trace."""


class _NestedLog:
    """The caller's log, seen from the playbook's span."""

    def __init__(self, log: TraceLog, root: str) -> None:
        self.root = root
        self.propagates = getattr(log, "propagates", False)
        self.start = log.start
        self.end = log.end
        self.event = log.event
        self.put = log.put
        self.taken = log.taken
        self.freeze = log.freeze
        self.describe = log.describe

    def begin(self, edge: str, message_id: str, node: str, node_id: str) -> None:
        """Every event for itself."""

    def close(self, status: str, data: Mapping[str, Any] | None = None) -> None:
        """The span is closed by whoever called the playbook."""


async def call_playbook(
    playbook: PlaybookFactory,
    parent_msg: Message,
    timeout: float | None = None,
    *,
    runtime: PenguiFlow | None = None,
    context: Context | None = None,
) -> Any:
    """Build a flow, run it on `parent_msg` and return its first result (the payload of a `Message`).

    The flow is always stopped. With `runtime` a cancellation of the message's trace reaches the playbook, and one of
    the playbook's trace reaches the caller's. With `context` the interceptors of the caller's flow are asked at the
    playbook's checkpoints as well.

    Raises:
        TimeoutError: after `timeout` seconds.
        FlowError: when the playbook failed.
        TraceCancelled: when the trace was, or is, cancelled.
    """
    trace_id = trace_id_of(parent_msg)
    watched = None if runtime is None or trace_id is None else runtime.ensure_trace_event(trace_id)
    if watched is not None and watched.is_set():
        raise TraceCancelled(trace_id)
    if context is not None and context.trace_id == trace_id:
        watched = None  # the invocation that waits for the playbook is cancelled itself
    flow, registry = playbook()
    flow._answerer = answerer_of(context) or flow._answerer
    log = None if context is None or context._trace is None else context._trace.log
    span, name, parent = "", getattr(playbook, "__name__", "playbook"), ""
    part = f"playbook:{name}"
    recorder = None
    if log is not None and context is not None:
        scope = scope_of(context, log)
        parent, ordinal = scope.span, scope.count(name)
        part = f"{part}[{ordinal}]"
        span = log.start("playbook", name, parent, {"ordinal": ordinal})
        recorder = _Nested(log, span)
        # Ids and answers must not depend on when it is called, only on where.
        tape = context._trace.tape if context._trace is not None else None
        flow._table.origin = f"{scope.place}/{name}[{ordinal}]"
        flow._table.tape_of = None if tape is None else lambda trace_id: tape
    status = "cancelled"
    caller = None if context is None else context.runtime
    try:
        flow.run(registry=registry, recorder=recorder)
        if caller is not None and context is not None:
            flow._called_from = (*node_path(context), part)
            for interceptor in caller._interceptors:
                flow.intercept(interceptor)
            caller._playbooks.add(flow)
        async with asyncio.timeout(timeout):
            result = await _first_result(flow, parent_msg, watched)
        status = "ok"
    except TimeoutError:
        status = "timeout"
        raise
    except FlowError as error:
        status = trace_status(error)
        if error.code == FlowErrorCode.TRACE_CANCELLED:
            if runtime is not None and trace_id is not None and runtime.running:
                await runtime.cancel(trace_id)
            raise TraceCancelled(trace_id) from error
        raise
    finally:
        try:
            await _stop(flow)
        finally:
            if caller is not None:
                caller._playbooks.discard(flow)
            if log is not None:
                log.end("playbook", name, span, parent, status)
    return result.payload if isinstance(result, Message) else result


async def _stop(flow: PenguiFlow) -> None:
    """Stop it, however often the caller is cancelled meanwhile; that is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while flow.running:
        try:
            await flow.stop()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _first_result(flow: PenguiFlow, message: Message, watched: asyncio.Event | None) -> Any:
    """The first thing that the flow delivers; None when it ends without. Ends early when `watched` is set."""
    results = flow.stream(message)
    if watched is None:
        try:
            return await anext(results, None)
        finally:
            await results.aclose()
    first = asyncio.ensure_future(anext(results, None))
    waiting: set[asyncio.Future[Any]] = {first, asyncio.ensure_future(watched.wait())}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            return first.result()
        raise TraceCancelled(message.trace_id)
    finally:
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await results.aclose()
