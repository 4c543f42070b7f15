"""Events for whoever listens: the logger `penguiflow.core`, a state store, the middlewares."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Generator, Mapping, Sequence
from types import CoroutineType, MappingProxyType
from typing import Any, cast

from penguiflow.context import Context
from penguiflow.coroutines import DONE, Runner, raised, resume
from penguiflow.metrics import NO_EXTRA, EventDraft, FlowEvent, StoredEvent
from penguiflow.middlewares import Middleware
from penguiflow.store_feed import EventStore, StoreFeed
from penguiflow.traces import Trace

__all__ = ["Broadcast"]

logger = logging.getLogger("penguiflow.core")


class Broadcast:
    """Builds an event only when somebody wants it, and keeps their failures away from the flow."""

    def __init__(self, middlewares: Sequence[Middleware], queue_maxsize: int) -> None:
        self.middlewares = list(middlewares)
        self.feed: StoreFeed | None = None
        self.queue_maxsize = queue_maxsize
        self.background: set[asyncio.Task[None]] = set()
        self._runner = Runner()

    def wanted(self, level: int) -> bool:
        """Whether anybody wants an event of this level."""
        return bool(self.middlewares) or self.kept(level)

    def kept(self, level: int) -> bool:
        """Whether the store or the log takes an event of this level."""
        return self.feed is not None or logger.isEnabledFor(level)

    def event(
        self,
        event_type: str,
        context: Context,
        trace: Trace | None,
        *,
        attempt: int = 0,
        latency_ms: float | None = None,
        cancelled: bool | None = None,
        extra: Mapping[str, Any] | None = None,
        trace_id: str | None = None,
    ) -> FlowEvent:
        """The event, with queues and trace as they are now."""
        port = context._port
        waiting = 0
        for floe in port.outgoing:
            waiting += floe.size
        event: Any = EventDraft(
            event_type,
            time.time(),
            port.name,
            port.owner.node_id,
            trace_id if trace is None else trace.id,
            attempt,
            latency_ms,
            len(port.inbox.items),
            waiting,
            len(port.outgoing),
            self.queue_maxsize,
            None if trace is None else trace.queued + trace.inflight + trace.parked,
            0 if trace is None else trace.inflight,
            (trace is not None and trace.cancelled) if cancelled is None else cancelled,
            MappingProxyType(dict(extra)) if extra else NO_EXTRA,
        )
        event.__class__ = FlowEvent
        return cast("FlowEvent", event)

    def tell_now(
        self, event_type: str, context: Context, trace: Trace | None, latency_ms: float
    ) -> Coroutine[Any, Any, None] | None:
        """Tell the middlewares of a first attempt. Where one of them waits: the rest of it."""
        event = self.event(event_type, context, trace, latency_ms=latency_ms)
        for position, middleware in enumerate(self.middlewares):
            try:
                telling: Any = middleware(event)
                if type(telling) is CoroutineType:
                    runner = self._runner
                    pending = runner.send(telling)
                    if pending is DONE:
                        runner.result = None
                        continue
                    telling = runner.hand_over()
                    self._runner = Runner()
                else:
                    telling = telling.__await__()
                    pending = next(telling)
            except StopIteration:
                continue
            except Exception as error:  # a failing listener must not stop the flow
                self._runner = Runner()
                self.failed("middleware_error", event.trace_id, error, event)
            except BaseException as failure:  # the invocation ends with it, not its carrier
                self._runner = Runner()
                return raised(failure)
            else:
                return self._tell_rest(event, position, telling, pending)
        return None

    async def _tell_rest(
        self, event: FlowEvent, position: int, telling: Generator[Any, Any, None], pending: Any
    ) -> None:
        try:
            await resume(telling, pending)
        except Exception as error:  # a failing listener must not stop the flow
            self.failed("middleware_error", event.trace_id, error, event)
        await self._tell_middlewares(event, position + 1)

    async def tell(
        self,
        event_type: str,
        context: Context,
        *,
        attempt: int = 0,
        latency_ms: float | None = None,
        level: int = logging.INFO,
        extra: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
    ) -> None:
        """Publish an event of an invocation, outside the reach of its trace's cancellation.

        A cancellation that came meanwhile is raised afterwards.
        """
        if context._forced or not self.wanted(level):
            return
        # A stop ends the work of a node, whatever trace it was for: so it was told in penguiflow 3.
        trace = None if event_type == "node_cancelled" else context._trace
        event = self.event(event_type, context, trace, attempt=attempt, latency_ms=latency_ms, extra=extra)
        await context._shield(self.publish(event, level, exc))

    async def publish(self, event: FlowEvent, level: int = logging.INFO, exc: BaseException | None = None) -> None:
        """Log an event and hand it to the store and the middlewares, one after the other."""
        if logger.isEnabledFor(level):
            # Some exceptions tell a caller what they did: where they were raised is of no interest.
            told = None if getattr(exc, "is_answer", False) else exc
            logger.log(level, event.event_type, extra=event.to_payload(), exc_info=told)
        if self.feed is not None:
            await self.feed.put(StoredEvent.from_flow_event(event))
        await self._tell_middlewares(event, 0)

    async def _tell_middlewares(self, event: FlowEvent, start: int) -> None:
        for middleware in self.middlewares[start:]:
            try:
                await middleware(event)
            except Exception as error:  # a failing listener must not stop the flow
                self.failed("middleware_error", event.trace_id, error, event)

    def publish_later(self, event: FlowEvent) -> None:
        """Publish from where nothing can be awaited."""
        if self.wanted(logging.INFO):
            self.spawn(self.publish(event))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have something told in the background; `settle` waits for it."""
        task = asyncio.get_running_loop().create_task(work, name="penguiflow:publish")
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        return task

    async def settle(self) -> None:
        """Return once everything was told."""
        while self.background:
            await asyncio.wait(self.background)
        if self.feed is not None:
            await self.feed.close()

    def use_store(self, store: EventStore | None) -> None:
        """Have the events kept by `store` from now on."""
        self.feed = None if store is None else StoreFeed(store, self._not_kept)

    def _not_kept(self, event: StoredEvent, error: Exception) -> None:
        about = {"event": "state_store_save_failed", "trace_id": event.trace_id, "exception": repr(error)}
        more = {"kind": event.kind, "node_name": event.node_name, "node_id": event.node_id}
        logger.error("state_store_save_failed", extra={**about, **more}, exc_info=error)

    def failed(
        self, what: str, trace_id: str | None, error: Exception, event: FlowEvent | None = None, **more: Any
    ) -> None:
        """Log that a store, bus or listener failed; the flow goes on."""
        about: dict[str, Any] = {"event": what, "trace_id": trace_id, "exception": repr(error), **more}
        if event is not None:
            about.update(kind=event.event_type, node_name=event.node_name, node_id=event.node_id)
        logger.error(what, extra=about, exc_info=error)
