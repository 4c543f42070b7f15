"""What a host and its clients say to each other: JSON frames over a WebSocket, version 1.

A client opens `ws://127.0.0.1:PORT/` with the header `Authorization: Bearer TOKEN`; a wrong token or a foreign
`Origin` is refused before the upgrade. There are two tokens: one for full control, and one for those who only look on;
whatever else they ask for is answered by the error `forbidden`. Both sides then send `hello`. A client's request has an
`id`; exactly one frame with the same number in `reply_to` answers it (`accepted`, `flows`, `run`'s `result`, `error`).

`events` and `stream` frames carry events in the JSON shape of `penguiflow.recording.events.TraceEvent`, in order.
Stream chunks (`stream.chunk` and the messages that carry them) travel in `stream` frames, which a host may drop for a
slow client; it then says how many. Nothing else is ever dropped. Events of the host itself (`code.loaded`,
`code.failed`, `stall`, `host.died`) travel in `events` frames under the trace id `HOST_TRACE`.
The frames of debugging are written down in `playground.debug_frames`; this module has all of them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from penguiflow.state.traces import TraceQuery, TraceSummary
from playground.again import ReplayOrder, ReplayReport, RestoreOrder, RestoreReport
from playground.debug_frames import (
    Answer,
    Breakpoints,
    Context,
    ContextEdit,
    ContextGet,
    ContextPart,
    Decide,
    Halt,
    Kill,
    Kv,
    KvEdit,
    KvEntry,
    KvGet,
    Memory,
    MemoryEdit,
    MemoryGet,
    MemoryShown,
    Question,
    Questions,
    Resumed,
    Steer,
    Stopped,
    Why,
)
from playground.frame import BaseFrame, CodeError, CodeFrame
from playground.queue_frames import LettersEdit, Queues, QueuesGet

__all__ = [
    "Accepted",
    "Answer",
    "BaseFrame",
    "Breakpoints",
    "Bye",
    "Cancel",
    "CodeError",
    "CodeFrame",
    "Context",
    "ContextEdit",
    "ContextGet",
    "ContextPart",
    "Decide",
    "Error",
    "ErrorCode",
    "Events",
    "FlowInfo",
    "Flows",
    "Frame",
    "FrameError",
    "HOST_TRACE",
    "Halt",
    "Hello",
    "Kill",
    "Kv",
    "KvEdit",
    "KvEntry",
    "KvGet",
    "HostStatus",
    "LettersEdit",
    "LoadEvents",
    "LogLine",
    "Logs",
    "MAX_FRAME_BYTES",
    "MAX_PAGE_BYTES",
    "MAX_PAGE_EVENTS",
    "Memory",
    "MemoryEdit",
    "MemoryGet",
    "MemoryShown",
    "ModuleInfo",
    "NodeInfo",
    "Numbers",
    "PROTOCOL_VERSION",
    "Page",
    "Question",
    "Questions",
    "Queues",
    "QueuesGet",
    "Reload",
    "Result",
    "Resumed",
    "Run",
    "Stats",
    "Steer",
    "Stopped",
    "Stream",
    "Subscribe",
    "Told",
    "Traces",
    "Why",
    "decode",
    "encode",
]

PROTOCOL_VERSION = 1
MAX_FRAME_BYTES = 16 * 1024 * 1024
"""A larger frame from a client is refused and its connection closed."""
MAX_PAGE_EVENTS = 2000
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Of events in one page; one that is larger comes alone."""
HOST_TRACE = "host"
"""Trace id of events that belong to no run."""

ErrorCode = Literal[
    "malformed",
    "unknown_frame",
    "forbidden",
    "not_found",
    "invalid_input",
    "load_error",
    "busy",
    "conflict",
    "store",
    "bus",
    "internal",
]
"""`conflict`: what was to be changed is another by now."""


class NodeInfo(BaseModel):
    """One node of a flow, as drawn in a graph."""

    name: str
    policy: dict[str, Any] = Field(default_factory=dict)
    input_type: str | None = None
    output_type: str | None = None


class FlowInfo(BaseModel):
    """One thing that can be run."""

    target: str
    """What `pf run` takes: `flows/triage.py`, or `flows/triage.py:attr` where a module has several."""
    name: str
    title: str | None = None
    kind: Literal["flow", "planner", "orchestrator", "function"] = "flow"
    doc: str | None = None
    input_type: str | None = None
    input_schema: dict[str, Any] | None = None
    """JSON Schema of the input; None when anything goes."""
    samples: list[Any] = Field(default_factory=list)
    """Inputs to begin with, from the module's `__flow__`."""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """Default headers, meta and deadline, from the module's `__flow__`."""
    nodes: list[NodeInfo] = Field(default_factory=list)
    tools: list[str] = Field(default_factory=list)
    """A planner's."""
    edges: list[tuple[str, str]] = Field(default_factory=list)
    """Includes the edges from `OpenSea` and to `Rookery`."""
    bus: str | None = None
    """Where its edges are, when workers run its nodes; without what may be secret in the address."""
    bus_name: str | None = None
    """What it is called there, by workers and in the store."""
    version: str = ""
    """sha256 over the project sources that the flow imported."""
    generation: int = 0
    """Which worker process serves it."""


class ModuleInfo(BaseModel):
    """One file or module that was asked for, with what it offers or why it offers nothing."""

    path: str
    """As given, relative to the project."""
    state: Literal["loading", "loaded", "error", "stale"]
    """`stale`: the file is broken, and the flows are those of the last good version."""
    flows: list[FlowInfo] = Field(default_factory=list)
    error: CodeError | None = None
    loaded_at: float | None = None
    """Unix seconds."""
    load_ms: float | None = None


class Hello(BaseFrame):
    """First frame of both sides."""

    type: Literal["hello"] = "hello"
    protocol: int = PROTOCOL_VERSION
    client: str | None = None
    """Name of the client; None from a host."""
    generation: int | None = None
    """Number of the worker process; None from a client."""
    pid: int | None = None
    project: str | None = None
    version: str | None = None
    """penguiflow's version."""
    control: bool | None = None
    """From a host: False for a client whose token only lets it look on."""


class Flows(BaseFrame):
    """Client: ask for the flows. Host: all of them, whenever that changes."""

    type: Literal["flows"] = "flows"
    modules: list[ModuleInfo] = Field(default_factory=list)


class Run(BaseFrame):
    """Run a flow once. Answered by `accepted` at once and by a `result` for the trace at its end."""

    type: Literal["run"] = "run"
    target: str
    input: Any = None
    headers: dict[str, Any] = Field(default_factory=dict)
    meta: dict[str, Any] = Field(default_factory=dict)
    trace_id: str | None = None
    session: str | None = None
    """Which session the run belongs to; by default the one that the input names in `tool_context.session_id`."""
    deadline_s: float | None = None
    """Seconds from now."""
    replay: ReplayOrder | None = None
    """Run a recorded trace again: its inputs, headers, meta and deadline then take the place of those above."""
    restore: RestoreOrder | None = None
    """Fork or resume a recorded trace; `trace_id` is then the fork's, or the trace's own."""
    stop_first: bool = False
    """Stop at the first checkpoint, for a client that decides upon stopped runs."""


class Accepted(BaseFrame):
    """The request was understood; for a run, the id of its trace and the hash of the code that runs."""

    type: Literal["accepted"] = "accepted"
    trace_id: str | None = None
    version: str | None = None


class Result(BaseFrame):
    """A run of this host is over. Sent to every client that follows the trace."""

    type: Literal["result"] = "result"
    trace_id: str
    status: Literal["ok", "paused", "error", "timeout", "cancelled", "interrupted"]
    output: Any = None
    """The last output that was no stream chunk, as JSON."""
    error: dict[str, Any] | None = None
    """`FlowError.to_payload()`, or `{code, message}`."""
    version: str | None = None
    not_recorded: str | None = None
    """Why the store does not have the run, or not all of it, although it was to be recorded."""
    replay: ReplayReport | None = None
    """For a replay."""
    restore: RestoreReport | None = None
    """For a fork or a resumed run."""


class Cancel(BaseFrame):
    """Cancel a run. Answered by `accepted` or `error` (`not_found`)."""

    type: Literal["cancel"] = "cancel"
    trace_id: str


class Subscribe(BaseFrame):
    """Follow traces: all that come (`traces=None`), or the named ones, each from `since[trace] + 1`."""

    type: Literal["subscribe"] = "subscribe"
    traces: list[str] | None = None
    since: dict[str, int] = Field(default_factory=dict)


class Events(BaseFrame):
    """A batch of events."""

    type: Literal["events"] = "events"
    events: list[dict[str, Any]]


class Stream(BaseFrame):
    """A batch of stream chunks, as events; `dropped` chunks before them did not fit."""

    type: Literal["stream"] = "stream"
    events: list[dict[str, Any]]
    dropped: int = 0


class LogLine(BaseModel):
    """One line of what user code printed or logged."""

    ts: float
    source: Literal["stdout", "stderr", "log"]
    text: str
    level: str | None = None
    trace_id: str | None = None


class Logs(BaseFrame):
    """A batch of log lines; `dropped` lines before them did not fit."""

    type: Literal["logs"] = "logs"
    lines: list[LogLine]
    dropped: int = 0


class HostStatus(BaseFrame):
    """How the host is, from one that has a supervisor: after `hello`, and whenever that changes."""

    type: Literal["host"] = "host"
    state: str
    """As in `playground.sources.HostState`."""
    text: str = ""
    generation: int = 0
    killable: bool = False


class Told(BaseFrame):
    """Something that people should be told once."""

    type: Literal["told"] = "told"
    text: str
    severity: Literal["information", "warning", "error"] = "information"


class Traces(BaseFrame):
    """Client: which runs of this and earlier days. Host: they, newest first."""

    type: Literal["traces"] = "traces"
    query: TraceQuery | None = None
    traces: list[TraceSummary] = Field(default_factory=list)


class Numbers(BaseFrame):
    """Client: statistics over runs of the store. Host: they, by flow, the one that ran last first."""

    type: Literal["numbers"] = "numbers"
    query: dict[str, Any] | None = None
    """As `penguiflow.state.statistics.StatisticsQuery`."""
    flows: list[dict[str, Any]] = Field(default_factory=list)
    """As `penguiflow.state.statistics.FlowStatistics`."""


class LoadEvents(BaseFrame):
    """Client: committed events of a trace with `seq > after`. Answered by a `page`, or `error` (`store`)."""

    type: Literal["load"] = "load"
    trace_id: str
    after: int = -1
    limit: int = Field(default=MAX_PAGE_EVENTS, ge=1)


class Page(BaseFrame):
    """Events that were asked for. There may be fewer than that: with `more`, the others come with the next page."""

    type: Literal["page"] = "page"
    trace_id: str
    events: list[dict[str, Any]] = Field(default_factory=list)
    more: bool = False


class Reload(BaseFrame):
    """Load (or load again) the project's code. Answered by `flows`."""

    type: Literal["reload"] = "reload"


class Stats(BaseFrame):
    """Client: ask. Host: how it is doing."""

    type: Literal["stats"] = "stats"
    running: int = 0
    events: int = 0
    """Since the worker started."""
    rss_bytes: int = 0
    loop_lag_ms: float = 0.0


class Error(BaseFrame):
    """A request was refused, or a frame was not understood. The connection stays."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str
    details: list[dict[str, Any]] = Field(default_factory=list)
    """For `invalid_input`: `{path, message}` for each field."""


class Bye(BaseFrame):
    """The host closes this connection: `superseded` (a newer generation serves), `shutdown`, or `protocol`."""

    type: Literal["bye"] = "bye"
    reason: str


Frame = Annotated[
    Hello
    | Flows
    | Run
    | Accepted
    | Result
    | Cancel
    | Subscribe
    | Events
    | Stream
    | Logs
    | Breakpoints
    | Stopped
    | Resumed
    | Decide
    | Halt
    | ContextGet
    | ContextEdit
    | Context
    | MemoryGet
    | MemoryEdit
    | Memory
    | KvGet
    | KvEdit
    | Kv
    | Steer
    | Questions
    | Answer
    | Kill
    | QueuesGet
    | LettersEdit
    | Queues
    | HostStatus
    | Told
    | Traces
    | Numbers
    | LoadEvents
    | Page
    | Reload
    | Stats
    | Error
    | Bye,
    Field(discriminator="type"),
]

_adapter: TypeAdapter[Any] = TypeAdapter(Frame)


class FrameError(ValueError):
    """A frame that cannot be understood; `code` goes into the `error` frame that answers it."""

    def __init__(self, code: Literal["malformed", "unknown_frame"], message: str) -> None:
        super().__init__(message)
        self.code: Literal["malformed", "unknown_frame"] = code


def decode(data: str | bytes) -> Any:
    """Read one frame. Raises `FrameError`, which says what is wrong with it."""
    try:
        return _adapter.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        unknown = first["type"] in {"union_tag_invalid", "union_tag_not_found"}
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        raise FrameError("unknown_frame" if unknown else "malformed", message) from None


def encode(frame: BaseModel) -> bytes:
    """Write one frame, or a part of one. Lone surrogates, as in file names that are not UTF-8, are spelled out."""
    try:
        return frame.model_dump_json(exclude_none=True).encode()
    except PydanticSerializationError:
        return to_json(_spelled_out(frame.model_dump(exclude_none=True)), inf_nan_mode="null")


def _spelled_out(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_spelled_out(key): _spelled_out(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled_out(item) for item in value]
    return value
