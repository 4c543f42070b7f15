"""One run: from a request to its result."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Literal, Protocol

import pydantic_core
from pydantic import TypeAdapter, ValidationError

from penguiflow import FlowError, FlowErrorCode, Headers, Message, StreamChunk
from penguiflow.bus.errors import BusError
from penguiflow.observer import TraceHop, TraceLog
from penguiflow.recording.recorder import Recorder
from penguiflow.state.errors import StoreError
from penguiflow.state.traces import TraceStore
from playground.loader.inputs import InputRefused, pointer
from playground.loader.runnable import Runnable
from playground.protocol import Result, Run

DEFAULT_TENANT = "playground"
BUS = "BUS"
"""The code of an error that a bus has raised."""

Status = Literal["ok", "paused", "error", "timeout", "cancelled", "interrupted"]
STATUSES: dict[str, Status] = {
    FlowErrorCode.TRACE_CANCELLED: "cancelled",
    FlowErrorCode.NODE_TIMEOUT: "timeout",
    FlowErrorCode.DEADLINE_EXCEEDED: "timeout",
}
_statuses: TypeAdapter[Status] = TypeAdapter(Status)


class Outlet(Protocol):
    """The way to the clients."""

    @property
    def congested(self) -> bool:
        """True while more waits than should."""
        ...

    async def wait_ready(self) -> None:
        """Return once there is room again."""
        ...

    async def sent(self) -> None:
        """Return once everything posted so far has left for the clients."""
        ...


class RunLog:
    """The log of one trace, which remembers how it ended and adds the version of code that came in late."""

    def __init__(self, log: TraceLog, recorder: RunRecorder, trace_id: str) -> None:
        self.root = log.root
        self.start = log.start
        self.end = log.end
        self.event = log.event
        self.put = self._put_first
        self.taken = log.taken
        self.freeze = log.freeze
        self.describe = log.describe
        self._log = log
        self._recorder = recorder
        self._trace_id = trace_id

    def begin(self, edge: str, message_id: str, node: str, node_id: str) -> TraceHop | None:
        """As the log behind it; None where the node has to wait before it begins."""
        return None if self._recorder.congested else self._log.begin(edge, message_id, node, node_id)

    def _put_first(self, edge: str, span: str, message_id: str, content: Any, envelope: Message | None) -> None:
        """The input is in the log: from here on the trace's nodes can begin."""
        self.put = self._log.put
        self._log.put(edge, span, message_id, content, envelope)
        self._recorder.begun += 1

    def close(self, status: str, data: Mapping[str, Any] | None = None) -> None:
        """Write `trace.end`."""
        self._log.close(status, self._recorder.ended(self._trace_id, status, data))


class RunRecorder:
    """Puts the host's knowledge between a flow and its recorder (this is a `TraceRecorder`)."""

    def __init__(self, inner: Recorder, versions: Versions, wire: Outlet) -> None:
        self._inner = inner
        self._wire = wire
        self.shared = inner
        """For traces that others write, too."""
        self.begun = 0
        """How many traces have got their input."""
        self._told = 0
        """Of how many of them somebody else knows."""
        self._versions = versions
        self.open_logs: dict[str, RunLog] = {}
        self._started_with: dict[str, str] = {}
        self._statuses: dict[str, str] = {}

    @property
    def store(self) -> TraceStore | None:
        """As the recorder behind it: planners without a store of their own keep their paused runs there."""
        return self._inner.store

    @property
    def congested(self) -> bool:
        """Whether a flow has to wait before it handles or sends a message: always with the first one of a trace."""
        return self.begun > self._told or self._inner.congested or self._wire.congested

    async def wait_ready(self) -> None:
        """Return once there is room, and the beginning of every trace is out.

        User code may end the process with its first statement. The trace has to be in the store by then, with its
        input, and the client has to know of it.
        """
        begun = self.begun
        if begun > self._told:
            with contextlib.suppress(StoreError):  # the run goes on without being recorded
                await self._inner.flush()
            await self._wire.sent()
            self._told = max(self._told, begun)
        await self._inner.wait_ready()
        await self._wire.wait_ready()

    async def flush(self) -> None:
        """As the recorder behind it."""
        await self._inner.flush()

    def durable(self) -> Awaitable[None] | None:
        """As the recorder behind it."""
        return self._inner.durable()

    def open(self, trace_id: str, data: Mapping[str, Any] | None = None) -> RunLog:
        """Begin the log of a trace."""
        version = self._versions.now()
        self._started_with[trace_id] = version
        log = RunLog(self._inner.open(trace_id, {**(data or {}), "version": version}), self, trace_id)
        self.open_logs[trace_id] = log
        return log

    def ended(self, trace_id: str, status: str, data: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Note how a trace ended; gives the data for its last event."""
        self.open_logs.pop(trace_id, None)
        self._statuses[trace_id] = "paused" if status == "ok" and data is not None and data.get("paused") else status
        version = self._versions.now()
        if self._started_with.pop(trace_id, version) != version:
            return {**(data or {}), "version": version}
        return data

    def annotate(self, trace_id: str, data: Mapping[str, Any]) -> None:
        """Add to the first event of a trace that is about to begin."""
        self._inner.annotate(trace_id, data)

    async def prepare(self, trace_id: str) -> None:
        """A caller chose the id: there may be a trace of that name already."""
        with contextlib.suppress(StoreError):
            await self._inner.prepare(trace_id)

    def note(self, trace_id: str, status: str | None) -> None:
        """How a trace has ended that others write."""
        if status is not None:
            self._statuses[trace_id] = status

    def settle(self, result: Result) -> None:
        """The log knows best how a run ended: a deadline, for one, delivers an answer and is no success."""
        status = self._statuses.pop(result.trace_id, None)
        if status is not None and result.status == "ok":
            result.status = _statuses.validate_python(status)

    def close_all(self) -> list[str]:
        """Close the logs of traces that would not end; returns their ids."""
        closed = list(self.open_logs)
        for trace_id in closed:
            self.open_logs[trace_id].close("interrupted")
        return closed


class Versions:
    """The hash of one flow's code, which grows while modules are imported late."""

    def __init__(self, runnable: Runnable, compute: Any) -> None:
        self._runnable = runnable
        self._compute = compute

    def now(self) -> str:
        """The hash over what is imported by now."""
        version: str = self._compute(self._runnable)
        return version


def make_message(runnable: Runnable, request: Run, trace_id: str) -> Any:
    """What goes into the flow. Raises `InputRefused`."""
    payload = runnable.takes.validate(request.input)
    if runnable.takes.bare:
        return payload
    defaults = runnable.info.defaults
    deadline_s = request.deadline_s if request.deadline_s is not None else defaults.get("deadline_s")
    try:
        return Message(
            payload=payload,
            headers=Headers(**{"tenant": DEFAULT_TENANT, **defaults.get("headers", {}), **request.headers}),
            trace_id=trace_id,
            deadline_s=None if deadline_s is None else time.time() + deadline_s,
            meta={**defaults.get("meta", {}), **request.meta},
        )
    except ValidationError as error:
        details = [{"path": "/headers" + pointer(item["loc"]), "message": item["msg"]} for item in error.errors()]
        raise InputRefused(details) from None


async def perform(runnable: Runnable, message: Any, trace_id: str, deadline_s: float | None) -> Result:
    """Run a flow once and say how it went. Raises nothing but `CancelledError`, and has cancelled the trace by then."""
    bound_s = None if isinstance(message, Message) else deadline_s
    return await listen(lambda: runnable.flow.stream(message, trace_id=trace_id), trace_id, bound_s)


async def listen(
    begin: Callable[[], AsyncGenerator[Any, None]], trace_id: str, bound_s: float | None = None, output: Any = None
) -> Result:
    """Hear out what a trace gives and say how it went; `output` is its result so far. Raises as `perform`."""
    error: dict[str, Any] | None = None
    status: Status = "ok"
    try:
        async with asyncio.timeout(bound_s), aclosing(begin()) as results:
            async for item in results:
                value = item.payload if isinstance(item, Message) else item
                if not isinstance(value, StreamChunk):
                    output = value
    except FlowError as failure:
        status = STATUSES.get(failure.code, "error")
        error = jsonable(failure.to_payload())
    except BusError as failure:
        status = "error"
        error = {"code": BUS, "message": str(failure)}
    except TimeoutError:
        status = "timeout"
        error = {"code": str(FlowErrorCode.DEADLINE_EXCEEDED), "message": "Deadline exceeded"}
    except Exception as failure:  # neither the runtime nor user code can end the host
        status = "error"
        error = {"code": "INTERNAL", "message": f"{type(failure).__name__}: {failure}"}
    return Result(trace_id=trace_id, status=status, output=jsonable(output), error=error)


def cancelled(trace_id: str) -> Result:
    """The end of a run that nobody waits for any more."""
    error = {"code": str(FlowErrorCode.TRACE_CANCELLED), "message": f"trace cancelled: {trace_id}"}
    return Result(trace_id=trace_id, status="cancelled", error=error)


def jsonable(value: Any) -> Any:
    """Any value as JSON can say it; NaN and infinities as recorded payloads have them, what has no JSON by its repr."""
    for convert in (_by_way_of_text, _with_care):
        with contextlib.suppress(Exception):  # a payload's own serializers and __repr__ are user code
            plain = convert(value)
            return _spell_numbers(plain) if _holds_odd_number(plain) else plain
    return f"<{type(value).__qualname__}: cannot be shown as JSON>"


def _by_way_of_text(value: Any) -> Any:
    text = pydantic_core.to_json(value, fallback=repr, inf_nan_mode="strings", serialize_unknown=True)
    return pydantic_core.from_json(text)


def _with_care(value: Any) -> Any:
    """Takes what text cannot hold: strings that are no Unicode, integers of any length."""
    return pydantic_core.to_jsonable_python(value, fallback=repr, inf_nan_mode="strings", serialize_unknown=True)


LONG_BITS = 8192
"""Of an integer that readers of JSON may refuse: they have limits of some thousand digits."""


def _holds_odd_number(plain: Any) -> bool:
    pending = [plain]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
        elif _spell(value) is not value:
            return True
    return False


def _spell_numbers(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _spell_numbers(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_spell_numbers(value) for value in plain]
    return _spell(plain)


def _spell(value: Any) -> Any:
    """A number that JSON does not have, or that its readers refuse, as text."""
    if isinstance(value, int) and value.bit_length() > LONG_BITS:
        return hex(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
