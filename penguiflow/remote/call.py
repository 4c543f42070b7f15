"""One call of a remote agent: what is asked, told and remembered, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from penguiflow.calls import call_out, stream_out
from penguiflow.remote.models import (
    RemoteCallRequest,
    RemoteCallResult,
    RemoteStreamEvent,
    RemoteTaskAuthRequired,
    RemoteTaskInputRequired,
    RemoteTaskSnapshot,
    RemoteTaskState,
)
from penguiflow.remote.protocol import RemoteTransport
from penguiflow.state.models import RemoteBinding
from penguiflow.traceparent import KEY, outgoing, remote_key
from penguiflow.traces import TraceCancelled
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.node import Node

__all__ = ["RemoteCall"]

CANCEL_TIMEOUT_S = 5.0
"""How long an agent has to take a cancellation."""

_anything: TypeAdapter[Any] = TypeAdapter(Any)


class RemoteCall:
    """A call for one message, in one attempt of its node."""

    def __init__(
        self,
        *,
        transport: RemoteTransport,
        node: Node,
        ctx: Context,
        message: Message,
        skill: str,
        agent_url: str,
        agent_card: Mapping[str, Any] | None,
        streaming: bool,
        record_binding: bool,
    ) -> None:
        meta = message.meta
        self._transport = transport
        self._node = node
        self._ctx = ctx
        self._message = message
        self._streaming = streaming
        self._record_binding = record_binding
        self._agent_url = agent_url
        self._context_id = _text(meta.get("remote_context_id")) or _text(meta.get("context_id"))
        self._task_id = _text(meta.get("remote_task_id"))
        self._asking = False
        self._bound_to: tuple[str, str | None] | None = None
        """Task and context as they were last saved."""
        self._events = 0
        self._started = time.perf_counter()
        self._cancelled = None if ctx.runtime is None else ctx.runtime.ensure_trace_event(message.trace_id)
        self._cancelling: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._request = RemoteCallRequest(
            message=message,
            skill=skill,
            agent_url=agent_url,
            agent_card=agent_card,
            metadata=dict(meta),
            timeout_s=node.policy.timeout_s,
            context_id=self._context_id,
            task_id=self._task_id,
        )

    async def run(self) -> Any:
        """Ask the agent; returns its result."""
        if self._is_cancelled():
            self._mirror_cancel("pre_cancelled")
            raise TraceCancelled(self._message.trace_id)
        try:
            await self._tell("remote_call_start", logging.DEBUG, 0.0, {})
            result = await (self._stream() if self._streaming else self._send())
        except (asyncio.CancelledError, TraceCancelled):
            # Also a timeout of the node, and the flow's stop: nothing that was started is left running.
            self._mirror_cancel("trace_cancel" if self._is_cancelled() else "call_cancelled")
            raise
        except Exception as error:  # whatever transport or agent did is told, and raised again
            await self._failed(error)
            raise
        finally:
            if self._watcher is not None:
                self._watcher.cancel()
        about = {
            "remote_status": "success",
            "remote_response_bytes": _size(result),
            "remote_stream_events": self._events,
        }
        await self._tell("remote_call_success", logging.INFO, self._elapsed_ms(), about)
        return result

    async def _send(self) -> Any:
        if self._task_id is not None:
            await self._learn(None, None, None)
        answer = await call_out(self._ctx, "remote", self._request.skill, self._asked(), self._ask)
        await self._learn(answer.agent_url, answer.context_id, answer.task_id)
        return _outcome(answer.result)

    async def _stream(self) -> Any:
        result = None
        if self._task_id is not None:
            await self._learn(None, None, None)
        async with AsyncExitStack() as stack:
            events = stream_out(self._ctx, "remote", self._request.skill, self._asked(), self._ask_stream)
            stack.push_async_callback(events.aclose)
            async for event in events:
                await self._learn(event.agent_url, event.context_id, event.task_id)
                about: dict[str, Any] = {"remote_stream_seq": self._events, "remote_chunk_done": event.done}
                self._events += 1
                if event.text is not None:
                    about["remote_chunk_bytes"] = len(event.text.encode("utf-8", "surrogatepass"))
                if event.meta:
                    about["remote_chunk_meta_keys"] = sorted(map(str, event.meta))
                await self._tell("remote_stream_event", logging.DEBUG, self._elapsed_ms(), about)
                if event.text is not None:
                    await self._ctx.emit_chunk(
                        parent=self._message, text=event.text, done=event.done, meta=dict(event.meta or {})
                    )
                if event.result is not None:
                    result = event.result
        return _outcome(result)

    def _asked(self) -> dict[str, Any]:
        """What tells this call from others, in a recording: nothing that is another one each time."""
        request = self._request
        return {
            "agent_url": request.agent_url,
            "skill": request.skill,
            "payload": request.message.payload,
            "headers": request.message.headers.model_dump(),
            "meta": dict(request.message.meta),
            "context_id": request.context_id,
            "task_id": request.task_id,
            "streaming": self._streaming,
        }

    def _ask(self) -> Awaitable[RemoteCallResult]:
        self._asking = True
        return self._transport.send(self._placed())

    def _ask_stream(self) -> AsyncIterator[RemoteStreamEvent]:
        self._asking = True
        return self._transport.stream(self._placed())

    @property
    def _answered(self) -> bool:
        """Whether the answer comes from a recording, and there is no agent to be told of anything."""
        trace = self._ctx._trace
        return not self._asking and trace is not None and trace.tape is not None

    def _placed(self) -> RemoteCallRequest:
        """The request, which tells the agent where in our trace it is asked, if anybody follows that."""
        trace = self._ctx._trace
        if trace is None or not getattr(trace.log, "propagates", False):
            return self._request
        key = remote_key(self._ctx._attempt_span)
        where = outgoing(trace.id, key, self._message.meta)
        return replace(self._request, metadata={**(self._request.metadata or {}), KEY: where})

    async def _learn(self, agent_url: str | None, context_id: str | None, task_id: str | None) -> None:
        """Take note of ids. A task is bound to the trace, as is one that takes its place; the trace is watched."""
        self._agent_url = agent_url or self._agent_url
        self._context_id = context_id or self._context_id
        self._task_id = task_id or self._task_id
        if self._task_id is None:
            return
        if self._bound_to != (self._task_id, self._context_id):
            self._bound_to = (self._task_id, self._context_id)
            if self._cancelled is not None and self._watcher is None:
                self._watcher = asyncio.create_task(self._watch(self._cancelled), name="penguiflow:remote-watch")
                self._own(self._watcher)
            await self._save_binding(self._task_id)
        if self._is_cancelled():
            self._mirror_cancel("pre_cancelled")
            raise TraceCancelled(self._message.trace_id)

    async def _save_binding(self, task_id: str) -> None:
        if not self._record_binding or self._ctx.runtime is None or self._answered:
            return
        meta = self._message.meta
        tenant = _text(meta.get("tenant_id")) or _text(meta.get("tenant")) or self._message.headers.tenant
        await self._ctx.runtime.save_remote_binding(
            RemoteBinding(
                trace_id=self._message.trace_id,
                context_id=self._context_id,
                task_id=task_id,
                agent_url=self._agent_url,
                router_session_id=_text(meta.get("session_id")),
                remote_skill=self._request.skill,
                tenant_id=tenant,
                user_id=_text(meta.get("user_id")),
                last_remote_task_id=task_id,
                metadata={"source": "remote_node"},
            )
        )

    async def _failed(self, error: Exception) -> None:
        if isinstance(error, RemoteTaskInputRequired | RemoteTaskAuthRequired):
            # The task waits for somebody: it must be found again.
            snapshot = error.snapshot
            await self._learn(snapshot.agent_url, snapshot.context_id, snapshot.task_id)
        about = {"remote_status": "error", "remote_error": repr(error)}
        await self._tell("remote_call_error", logging.ERROR, self._elapsed_ms(), about)

    # Cancellation

    def _is_cancelled(self) -> bool:
        return self._cancelled is not None and self._cancelled.is_set()

    async def _watch(self, cancelled: asyncio.Event) -> None:
        await cancelled.wait()
        self._mirror_cancel("trace_cancel")

    def _mirror_cancel(self, reason: str) -> None:
        """Have the remote task cancelled, if there is one and nobody has: in a task, so that nothing waits for it."""
        if self._task_id is None or self._cancelling is not None or self._answered:
            return
        sending = asyncio.create_task(
            self._send_cancel(self._agent_url, self._task_id), name="penguiflow:remote-cancel"
        )
        self._cancelling = asyncio.create_task(self._see_cancelled(sending, reason), name="penguiflow:remote-cancel")
        self._own(self._cancelling)

    async def _send_cancel(self, agent_url: str, task_id: str) -> None:
        async with asyncio.timeout(CANCEL_TIMEOUT_S):
            await self._transport.cancel(agent_url=agent_url, task_id=task_id)

    async def _see_cancelled(self, sending: asyncio.Task[None], reason: str) -> None:
        """Wait until the agent took the cancellation. The flow's stop waits for it, and does not end it."""
        began = time.perf_counter()
        about = {"remote_status": "cancelled", "remote_cancel_reason": reason}
        event, level = "remote_call_cancelled", logging.INFO
        while not sending.done():
            try:
                await asyncio.wait([sending])
            except asyncio.CancelledError:
                continue
        if sending.cancelled():
            return  # the event loop ends
        error = sending.exception()
        if error is not None:
            about |= {"remote_status": "cancel_error", "remote_error": repr(error)}
            event, level = "remote_cancel_error", logging.ERROR
        await self._tell(event, level, (time.perf_counter() - began) * 1000, about)

    def _own(self, task: asyncio.Task[None]) -> None:
        if self._ctx.runtime is not None:
            self._ctx.runtime.register_external_task(self._message.trace_id, task)

    # Events

    @cached_property
    def _request_bytes(self) -> int:
        return _size(self._message.payload)

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000

    async def _tell(self, event: str, level: int, latency_ms: float, about: Mapping[str, Any]) -> None:
        if self._ctx.runtime is None:
            return
        extra: dict[str, Any] = {
            "remote_skill": self._request.skill,
            "remote_transport": type(self._transport).__name__,
            "remote_streaming": self._streaming,
            "remote_agent_url": self._agent_url,
            "remote_request_bytes": self._request_bytes,
        }
        if self._context_id is not None:
            extra["remote_context_id"] = self._context_id
        if self._task_id is not None:
            extra["remote_task_id"] = self._task_id
        await self._ctx.runtime.record_remote_event(
            event=event,
            node=self._node,
            context=self._ctx,
            trace_id=self._message.trace_id,
            latency_ms=latency_ms,
            level=level,
            extra={**extra, **about},
        )


def _outcome(result: Any) -> Any:
    """The result; that of a task which is given as a whole, if it has one to give."""
    if not isinstance(result, RemoteTaskSnapshot):
        return result
    state = result.status.state
    if state is RemoteTaskState.INPUT_REQUIRED:
        raise RemoteTaskInputRequired(result)
    if state is RemoteTaskState.AUTH_REQUIRED:
        raise RemoteTaskAuthRequired(result)
    if state is not RemoteTaskState.COMPLETED:
        about = f": {result.status.message}" if result.status.message else ""
        raise RuntimeError(f"Remote task {result.task_id} is {state.value}{about}")
    return result.result


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _size(value: Any) -> int:
    """Bytes of a value: as they are, or as JSON."""
    if value is None:
        return 0
    if isinstance(value, bytes | bytearray):
        return len(value)
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    try:
        return len(_anything.dump_json(value, fallback=repr))
    except ValueError:  # what cannot be written as JSON has no size worth telling
        return 0
