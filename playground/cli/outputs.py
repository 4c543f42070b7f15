"""The JSON that commands print. The schemas in `docs/schema/` are made from these models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.recording.diff import TraceDiff
from penguiflow.state.traces import TraceStatus, TraceSummary
from playground.protocol import FlowInfo

__all__ = [
    "SCHEMA",
    "DiffOutput",
    "EventOutput",
    "GraphOutput",
    "InspectOutput",
    "RestoreOutput",
    "RunOutput",
    "ServeOutput",
    "WebOutput",
    "SpanOutput",
    "TracesOutput",
    "ReplayOutput",
    "MadeTestOutput",
]

SCHEMA = 1
"""Raised when a field changes its meaning or goes away."""


class _Output(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class RunOutput(_Output):
    """`pf run --json`: one run."""

    trace_id: str
    status: TraceStatus
    output: Any
    """The last output that was no stream chunk."""
    error: dict[str, Any] | None
    """`code`, `message`, and what else is known of the failure."""
    version: str | None
    """Hash of the code that ran."""
    not_recorded: str | None = None
    """Why the store does not have the run, or not all of it. Left out when it has, and with `--no-store`."""


class ReplayOutput(_Output):
    """`pf replay --json`: a recorded run once more."""

    schema_: Literal[1] = Field(1, alias="schema")
    trace_id: str
    """Of the new trace."""
    origin: str
    """Of the trace that was replayed."""
    status: TraceStatus | Literal["diverged"]
    output: Any
    """The last output that was no stream chunk."""
    error: dict[str, Any] | None
    version: str | None
    """Hash of the code that ran."""
    same: bool
    """Whether all went as it was recorded."""
    answered: int
    """Calls that were answered from the recording."""
    made: int
    """Calls that were made, after `--live-after`."""
    diverged: dict[str, Any] | None
    """The first call that is not as recorded: `path, seq, why, recorded, got, diff`."""
    difference: str
    """What came out against what was recorded, as a diff; empty when that is the same."""
    blocked: list[dict[str, Any]]
    """Connections that were tried and not let through: `to, file, line`."""
    started: list[dict[str, Any]] = []
    """Processes that were started, which nobody watched: `command, file, line`."""


class MadeTestOutput(_Output):
    """`pf test --json`: what was written."""

    schema_: Literal[1] = Field(1, alias="schema")
    trace_id: str
    """Of the trace that the test replays."""
    test: str
    """The file with the test."""
    cassette: str
    """The file with the recording."""
    calls: int
    """Calls that the recording answers."""


class RestoreOutput(RunOutput):
    """`pf fork --json` and `pf resume --json`: a recorded run that went on."""

    schema_: Literal[1] = Field(1, alias="schema")
    origin: str
    """The trace that was forked, or resumed: then `trace_id` is the same."""
    seq: int | None
    """After which of its events it went on; later than `--at` where that is in the middle of the input."""
    repeated: int
    """Invocations that were under way there, and were run again."""


class TracesOutput(_Output):
    """`pf traces --json`: runs, newest first."""

    schema_: Literal[1] = Field(1, alias="schema")
    traces: list[TraceSummary]


class SpanOutput(_Output):
    """One span of a trace; spans nest by `parent_id`."""

    span_id: str
    parent_id: str | None
    kind: str
    """`trace`, `node`, `attempt` …"""
    name: str
    status: str
    """`running` while the span has no end, then ok, error, timeout, cancelled or interrupted."""
    start_ns: int
    """Nanoseconds since the trace began."""
    end_ns: int | None
    duration_ns: int | None
    attempt: int | None
    """From 0, for attempts."""
    error: dict[str, Any] | None
    start_seq: int
    """The event that opened it."""
    end_seq: int | None
    input_id: str | None
    """Message id of what it worked on."""
    output_ids: list[str]
    """Message ids of what it sent, chunks of streams left out."""
    worker_id: str | None = None
    """The worker that began it, where several processes wrote the trace."""
    delivery: int | None = None
    """For a worker's work on a message: the how many-th delivery of that it was, from 1."""
    queue_wait_s: float | None = None
    """How long the message had been on its edge."""


class EventOutput(_Output):
    """One event of a trace, see `docs/events.md`."""

    seq: int = Field(ge=0)
    epoch: int = Field(ge=0)
    trace_id: str
    span_id: str
    parent_id: str | None
    ts: float
    offset_ns: int
    kind: str
    name: str
    data: dict[str, Any]
    worker_id: str | None = None
    """Who wrote it, where several processes wrote the trace."""
    worker_seq: int | None = None
    """Position among what that one wrote of the trace, from 0, without gaps."""


class InspectOutput(_Output):
    """`pf inspect --json`: a whole trace."""

    schema_: Literal[1] = Field(1, alias="schema")
    trace: TraceSummary
    spans: list[SpanOutput]
    """Parents before their children."""
    events: list[EventOutput]
    """In order of `seq`, without gaps."""


class GraphOutput(_Output):
    """`pf graph --json`: one flow with its nodes and edges."""

    schema_: Literal[1] = Field(1, alias="schema")
    flow: FlowInfo


class DiffOutput(TraceDiff):
    """`pf diff --json`: how two traces compare."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    a: TraceSummary
    b: TraceSummary


class WebOutput(BaseModel):
    """One line for each link to a dashboard in a browser: at the start, and whenever one was used."""

    link: str
    """Lets one browser in, once."""
    pid: int


class ServeOutput(BaseModel):
    """Where a host is reached, and what opens it."""

    url: str
    pid: int
    project: str
    debug: bool
    """Whether runs can be stopped and changed."""
    control_token: str
    """File with the token for full control."""
    view_token: str
    """File with the token for looking on."""
