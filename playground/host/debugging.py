"""What clients ask of a debugger, each request with its answer. Everything is called on the loop of the runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from penguiflow.checkpoints import Checkpoint
from penguiflow.state.errors import StoreError
from penguiflow.state.models import SteeringEvent
from penguiflow.steering.inboxes import inboxes
from penguiflow.steering.payloads import SteeringValidationError, validate_steering_event
from playground.debug_frames import DebugRequest
from playground.host.clients import Client, Hub
from playground.host.control import Load
from playground.host.debugger import UNNAMED, Debugger
from playground.host.desk import Desk
from playground.host.key_values import KeyValues
from playground.host.memories import Memories
from playground.host.outbox import FRAME
from playground.host.outlet import Outlet
from playground.host.queues import QueueDesk
from playground.host.records import Records
from playground.host.stops import Conflict
from playground.host.why import tells_why, why_of
from playground.loader.inputs import InputRefused
from playground.loader.runnable import Runnable
from playground.project import Project
from playground.protocol import (
    Accepted,
    Answer,
    BaseFrame,
    Breakpoints,
    ContextEdit,
    ContextGet,
    Decide,
    Error,
    Halt,
    Kill,
    KvEdit,
    KvGet,
    LettersEdit,
    MemoryEdit,
    MemoryGet,
    Questions,
    QueuesGet,
    Steer,
    Why,
    encode,
)


class Debugging:
    """The debugger of a host, as clients see it."""

    def __init__(
        self,
        order: Load,
        wire: Outlet,
        records: Records,
        *,
        begin: Callable[[Coroutine[Any, Any, None]], object],
        changed: Callable[[], None],
        stops_changed: Callable[[], None],
        target_of: Callable[[str], str | None],
        log_of: Callable[[str], Any],
        planners: Callable[[], Iterable[Any]],
        runnables: Callable[[], Iterable[Runnable]],
    ) -> None:
        """`changed`, `stops_changed` and `target_of` as `Debugger` has them.

        `begin` begins a task; `log_of` gives the recorder of a trace that is running; `planners` are those of the
        project, `runnables` what it can run.
        """
        self._wire = wire
        self._records = records
        self._begin = begin
        self._recorder_of = log_of
        self._memories = Memories(planners, self._editors, self._tell_memory)
        self._key_values = KeyValues(planners, self._runs_kv, lambda: records.store, self._tell_memory)
        project = Project(Path(order.root), Path(order.home))
        self.queues = QueueDesk(runnables, project, lambda: records.store)
        self._target_of = target_of
        self.debugger = Debugger(
            Path(order.breakpoints or order.home),
            tell=lambda frame: wire.post(lambda hub: hub.broadcast(frame), urgent=True),
            changed=changed,
            stops_changed=stops_changed,
            target_of=target_of,
            masker=wire.hub.masker,
            hold_s=order.hold_s,
            why=self._why,
        )

        self.desk = Desk(
            tell=lambda frame: wire.post(lambda hub: hub.broadcast(frame), urgent=True),
            changed=stops_changed,
            masker=wire.hub.masker,
            hold_s=order.hold_s,
        )

    def do(self, request: DebugRequest, client: Client) -> None:
        """Do what a client asks for, and answer it."""
        match request:
            case Breakpoints():
                self._attend(request, client)
            case Decide():
                self._reply(client, request, self._decide(request, client))
            case Halt():
                self._reply(client, request, self._halt(request))
            case ContextGet() | ContextEdit():
                self._reply(client, request, self._context(request, client))
            case MemoryGet() | MemoryEdit():
                self._begin(self._memory(request, client))
            case KvGet() | KvEdit():
                self._begin(self._kv(request, client))
            case QueuesGet() | LettersEdit():
                self._begin(self._queues(request, client))
            case Steer():
                self._begin(self._steer(request, client))
            case Questions():
                self._questions(request, client)
            case Answer():
                self._reply(client, request, self.desk.take(request))
            case Kill():
                text = "this host has nobody who could end it and start another one"
                self._reply(client, request, Error(code="not_found", message=text))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _questions(self, request: Questions, client: Client) -> None:
        """A client asks what is open, and answers from now on, unless it may only look on."""
        if client.answers:
            self.desk.attend()
        self._reply(client, request, self.desk.questions())

    def _attend(self, request: Breakpoints, client: Client) -> None:
        """A client decides upon stopped runs from now on, and may change the breakpoints, or only looks at them."""
        told, stopped = self.debugger.look() if request.look else self.debugger.attend(request)
        self._reply(client, request, told)
        for frame in stopped:
            self._wire.post(functools.partial(_send, client, encode(frame)), urgent=True)

    def _decide(self, request: Decide, client: Client) -> BaseFrame:
        """Let a stopped run go on."""
        try:
            if self.debugger.decide(request, client.name):
                return Accepted()
        except InputRefused as error:
            return Error(code="invalid_input", message=str(error), details=error.details)
        return Error(code="not_found", message=f"{request.stop} does not wait any more")

    def _halt(self, request: Halt) -> BaseFrame:
        """Stop a run at its next checkpoint."""
        if self._target_of(request.trace_id) is None:
            return Error(code="not_found", message=f"trace {request.trace_id} is not running, or a replay")
        self.debugger.halt(request.trace_id)
        return Accepted(trace_id=request.trace_id)

    def _context(self, request: ContextGet | ContextEdit, client: Client) -> BaseFrame:
        """What is around a stopped run; with an edit, after it."""
        stop = self.debugger.find(request.stop)
        try:
            if stop is not None and isinstance(request, ContextEdit):
                self.debugger.change(request, client.name)
        except InputRefused as error:
            return Error(code="invalid_input", message=str(error), details=error.details)
        except Conflict as error:
            return Error(code="conflict", message=str(error))
        except LookupError as error:
            return Error(code="not_found", message=str(error))
        if stop is None:
            return Error(code="not_found", message=f"{request.stop} does not wait any more")
        return stop.context()

    async def _memory(self, request: MemoryGet | MemoryEdit, client: Client) -> None:
        masker = self._wire.hub.masker
        self._reply(client, request, await self._memories.do(request, client.name or UNNAMED, masker))

    def _editors(self) -> list[Any]:
        """Of the memories that stopped runs have."""
        places = [stop.checkpoint.place for stop in self.debugger.stops]
        return [editor for place in places if place is not None and (editor := place.memory()) is not None]

    async def _kv(self, request: KvGet | KvEdit, client: Client) -> None:
        masker = self._wire.hub.masker
        self._reply(client, request, await self._key_values.do(request, client.name or UNNAMED, masker))

    async def _queues(self, request: QueuesGet | LettersEdit, client: Client) -> None:
        self._reply(client, request, await self.queues.do(request, self._wire.hub.masker))

    def _runs_kv(self) -> list[Any]:
        """Whose values the tools of stopped runs keep."""
        places = [stop.checkpoint.place for stop in self.debugger.stops]
        return [kv for place in places if place is not None and (kv := place.kv()) is not None]

    def _tell_memory(self, key: str, data: dict[str, Any]) -> None:
        self._wire.post(lambda hub: hub.add_host_event("memory.changed", key, data), urgent=True)

    async def _steer(self, request: Steer, client: Client) -> None:
        """Put an event into the inbox of a planner's run."""
        inbox = inboxes.find(request.trace_id)
        if inbox is None:
            text = f"no planner is running in trace {request.trace_id} that could be steered"
            self._reply(client, request, Error(code="not_found", message=text))
            return
        event = SteeringEvent(
            session_id="",
            task_id=request.trace_id,
            event_type=request.event,
            payload=request.payload,
            trace_id=request.trace_id,
            source=client.name or UNNAMED,
        )
        answer: BaseFrame = Accepted(trace_id=request.trace_id)
        try:
            validate_steering_event(event)
            if not await inbox.push(event):
                answer = Error(code="busy", message="the inbox of the run is full: wait until it has read some")
        except SteeringValidationError as error:
            details = [{"path": "/payload", "message": text} for text in error.errors]
            answer = Error(code="invalid_input", message="; ".join(error.errors), details=details)
        self._reply(client, request, answer)

    async def _why(self, checkpoint: Checkpoint) -> Why | None:
        """What led to a checkpoint: it is in the store by the time that this asks for it."""
        store, recorder = self._records.store, self._recorder_of(checkpoint.trace_id or "")
        if store is None or recorder is None or not tells_why(checkpoint):
            return None
        try:
            await recorder.flush()
            summary = await store.get_trace(checkpoint.trace_id or "")
        except StoreError:  # a run that cannot be recorded is stopped all the same
            return None
        return None if summary is None else await why_of(store, checkpoint, summary.events - 1)

    def _reply(self, client: Client, request: BaseFrame, frame: BaseFrame) -> None:
        self._wire.post(lambda hub: client.reply(request, frame), urgent=True)


def _send(client: Client, data: bytes, hub: Hub) -> None:
    client.put(FRAME, data)
