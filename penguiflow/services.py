"""What remote calls, state stores and time travel need of a flow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from penguiflow.metrics import StoredEvent

if TYPE_CHECKING:
    from penguiflow.broadcast import Broadcast
    from penguiflow.context import Context
    from penguiflow.core import PenguiFlow
    from penguiflow.node import Node
    from penguiflow.recording.frontier import Frontier
    from penguiflow.traces import TraceTable

__all__ = ["FlowServices"]


class FlowServices:
    """Histories, bindings, events and tasks of remote calls; traces that go on where they stopped."""

    def __init__(self, broadcast: Broadcast, table: TraceTable, state_store: Any | None) -> None:
        self._broadcast = broadcast
        self._table = table
        self._state_store = state_store
        self._active_store = state_store
        self._external: set[asyncio.Future[Any]] = set()

    async def load_history(self, trace_id: str) -> Sequence[StoredEvent]:
        """The stored events of a trace. Raises `RuntimeError` without a state store."""
        if self._active_store is None:
            raise RuntimeError("PenguiFlow was created without a state_store")
        if self._broadcast.feed is not None:
            await self._broadcast.feed.flush()
        history: Sequence[StoredEvent] = await self._active_store.load_history(trace_id)
        return history

    def register_external_task(self, trace_id: str, task: asyncio.Future[Any]) -> None:
        """Have `stop` cancel a task that works for a trace; the trace's cancellation is told to it by its event."""
        self._external.add(task)
        task.add_done_callback(self._external.discard)

    async def save_remote_binding(self, binding: Any) -> None:
        """Keep which remote task belongs to a trace; without a store a no-op, and a failure is only logged."""
        if self._active_store is None:
            return
        try:
            await self._active_store.save_remote_binding(binding)
        except Exception as error:  # a failing store must not stop the flow
            self._broadcast.failed("state_store_binding_failed", binding.trace_id, error)

    async def record_remote_event(
        self,
        *,
        event: str,
        node: Node,
        context: Context,
        trace_id: str | None,
        latency_ms: float | None,
        level: int = logging.INFO,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish an event of a remote call."""
        if not self._broadcast.wanted(level):
            return
        trace = None if trace_id is None else self._table.traces.get(trace_id)
        await self._broadcast.publish(
            self._broadcast.event(event, context, trace, latency_ms=latency_ms, extra=extra, trace_id=trace_id), level
        )

    def restore(
        self, frontier: Frontier, *, trace_id: str | None = None, edits: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[Any, None]:
        """Go on with a recorded trace from where its log says it stands (`penguiflow.recording.read_frontier`).

        With its own id the trace is resumed: its log goes on in the next epoch. With another `trace_id` it is forked
        and the origin stays as it is. `edits` change messages at the frontier, by JSON Pointer: `/payload/text`.

        Gives each result as `stream` does, those first that nobody had fetched; those that were delivered are not
        given again. Raises `penguiflow.recording.CannotRestore` at once when something of the frontier cannot be had
        again, and `FlowError` at the end when the trace failed. Leaving early cancels the trace.
        """
        from penguiflow.restore import go_on, prepare

        flow = cast("PenguiFlow", self)
        return go_on(flow, prepare(flow, frontier, trace_id=trace_id, edits=edits))
