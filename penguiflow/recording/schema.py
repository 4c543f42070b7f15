"""What stands in the data of each kind of event: the documented form of the log.

A version is raised when a field changes its meaning or goes away. New fields and kinds may come at any time, so that a
reader passes over what it does not know.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = ["DATA", "EVENTS_VERSION", "events_schema"]

EVENTS_VERSION = 1

Status = Literal["ok", "error", "timeout", "cancelled", "interrupted"]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Data(BaseModel):
    model_config = ConfigDict(extra="allow")


class Payload(_Data):
    """A value of the user's code."""

    type: str
    """`module:Class`."""
    value: JsonValue = None
    """Its JSON. `{"$secret": …}` stands for what is secret."""
    types: dict[str, str] = {}
    """Types of places in the value that its class does not tell, by JSON Pointer; `/*` means all items of a list."""
    lost: dict[str, str] = {}
    """Places of which the JSON does not hold all."""
    repr: bool = False
    """True when the value is only the beginning of its repr, or of its JSON."""
    base64: bool = False
    """True for bytes that are no text."""
    bytes: int | None = None
    """Length of the whole, where only a part is kept or it is kept elsewhere."""
    artifact: str | None = Field(None, alias="$artifact")
    """`sha256:…` of a value that is kept elsewhere."""


class Failure(_Data):
    """An exception."""

    type: str
    message: str
    traceback: str
    file: str | None
    line: int | None


class TraceStart(_Data):
    flow: str
    target: str | None = None
    version: str | None = None
    """sha256 of the code."""
    environment: dict[str, str] = {}
    session: str | None = None
    origin: dict[str, JsonValue] | None = None
    """`trace_id` and `seq` that a fork or a replay comes from, or the `trace_id` that background work is of."""
    mode: str | None = None
    worker: str | None = None


class NotForkable(_Data):
    message_id: str
    path: str
    type: str


class End(_Data):
    status: Status
    error: dict[str, Any] | None = None
    paused: str | None = None
    """Why it waits for somebody, where its result is a question; what comes of the answer is another trace."""


class TraceEnd(End):
    version: str | None = None
    """Of the code, if more was imported during the run."""
    not_forkable: list[NotForkable] = []
    """Payloads, or places in them, that cannot be rebuilt."""


class Enqueued(_Data):
    message_id: str
    source: str
    target: str
    payload: Payload | None = None
    headers: dict[str, JsonValue] | None = None
    meta: dict[str, JsonValue] | None = None
    deadline_s: float | None = None
    same_as: str | None = None
    """Message of the same emission that carries the payload."""
    stream_id: str | None = None
    chunk_seq: int | None = None
    restored: dict[str, JsonValue] | None = None
    """In a fork: what the invocation had sent before."""


class MessageRef(_Data):
    message_id: str


class Dequeued(MessageRef):
    queue_wait_s: float | None = None
    """In a worker: how long the message had been on its edge."""
    attempt: int | None = None
    """In a worker: the how many-th delivery of the message this is, from 1."""


class Dropped(MessageRef):
    reason: str


class NodeStart(MessageRef):
    node_id: str
    queue_wait_s: float | None = None
    delivery: int | None = None
    """As `queue_wait_s` and `attempt` of the event before it."""


class AttemptStart(_Data):
    attempt: int
    """From 0."""


class AttemptEnd(End):
    latency_ms: float | None = None


class Retry(_Data):
    attempt: int
    """The one to come."""
    sleep_s: float
    error: str


class HeldText(_Data):
    """The end of a stream so far, which may be the beginning of a secret."""

    of: str | None
    """The name of the secret; None when it cannot be filled in."""
    parts: list[tuple[int, int]]
    """Whose it is: number of a chunk, characters."""


class Chunk(_Data):
    stream_id: str
    chunk_seq: int
    text: str
    done: bool
    meta: dict[str, JsonValue] = {}
    carried: list[tuple[int, int]] = []
    """Whose the first characters of the text are: number of a chunk before this one, how many."""
    rest: bool = False
    """True when all of the text is carried, and this is no chunk of its own."""
    spread: list[tuple[int, int]] = []
    """As `carried`, of the secret that the text begins with then."""
    held: HeldText | None = None
    node: str | None = None
    """Who sent it, where that is not told by the span: of a `rest`, and at the beginning of a fork."""
    of: str | None = None
    """The span of the call within the node that it comes from (a model's, a tool's): such a chunk is no message."""
    chars: int | None = None
    """With `of`: characters of the stream up to the end of this chunk."""
    lacks: tuple[str, int, int] | None = None
    """At the beginning of a fork: a text, and from where how many of its characters the chunk lacks at its end."""
    skips: int = 0
    """At the beginning of a fork: how many of the first characters, secrets filled in, are not the chunk's."""


class CallStart(_Data):
    ordinal: int
    request: Payload


class CallEnd(End):
    response: Payload | None = None
    cancelled: bool = False
    latency_ms: float
    replayed: bool = False
    """True when the answer came from a recording."""
    waited: bool = False
    """Whether others could run while the call was under way: a replay lets them where it did."""


class Record(_Data):
    ordinal: int
    request: Payload
    response: Payload | None = None
    error: dict[str, Any] | None = None
    cancelled: bool = False
    latency_ms: float
    replayed: bool = False
    """True when the answer came from a recording."""
    waited: bool = False
    """Whether others could run while the call was under way: a replay lets them where it did."""


class PlaybookStart(_Data):
    ordinal: int


class LlmEnd(CallEnd):
    usage: dict[str, int] | None = None
    """Tokens; missing where the provider did not tell them."""
    cost: float | None = None
    """US dollars; missing where it is not known."""
    model: str | None = None
    """Who answered, if the provider said so."""
    finish_reasons: list[str] = []
    response_id: str | None = None


class PlannerStart(_Data):
    ordinal: int
    mode: str
    """`prompted` or `native`."""
    model: str
    tools: list[str]
    session: str | None = None
    resumed: str | None = None
    """The trace in which the run was paused."""


class PlannerEnd(End):
    reason: str | None = None
    """Of its result: why it finished, or paused."""
    steps: int
    usage: dict[str, int]
    cost: float


class StepStart(_Data):
    ordinal: int
    step: int
    """From 0, within the run."""


class StepEnd(End):
    kind: str | None = None
    """`tool`, `parallel`, `error`, `finish`, `deferred` or `pause`; missing for one that was not finished."""
    next_node: str | None = None


class BranchStart(_Data):
    ordinal: int
    """Its place in the plan."""
    node: str
    args: Payload


class PlannerDecision(_Data):
    next_node: str
    args: Payload
    thought: str
    source: str
    """`llm`; `queue` for a further action of an earlier reply; `sequence` where the model was not asked."""
    alternates: int
    """How many other actions stood in the reply."""


class PlannerRepair(_Data):
    purpose: str
    attempt: int
    problem: str


class PlannerPaused(_Data):
    reason: str
    payload: dict[str, JsonValue]
    lasting: bool = True
    """Whether the run is kept for longer than its process lives."""


class PlannerResumed(_Data):
    reason: str
    trace_id: str | None = None
    """The trace in which the run was paused."""


class PlannerReflection(_Data):
    score: float
    passed: bool | None = None
    revision: int | None = None
    feedback: str | None = None
    revisions: int | None = None


class MemoryChanged(_Data):
    of: str
    """The memory's key; of a value that tools keep (`ctx.kv`) its own."""
    change: str
    """Of a value `kv.init`, `kv.set`, `kv.patch` or `kv.delete`; `before` and `after` have it under its names."""
    before: JsonValue = None
    after: JsonValue = None
    by: str
    version: int | None = None
    """Of the memory, after a summary that was written in the background."""


class JoinStart(_Data):
    ordinal: int | None = None
    """Of a planner's join, which is a span of its step."""
    node_id: str | None = None
    hold: str | None = None
    """What the node waits for."""


class JoinEnd(End):
    parents: list[str] = []
    """Ids of the messages that came, the first 1000 of them."""
    came: int
    """How many they are."""


class Deadline(MessageRef):
    code: str
    deadline_s: float | None = None


class Budget(MessageRef):
    code: str


class Reason(_Data):
    reason: str


class Nothing(_Data):
    pass


class ContextChanged(_Data):
    set: dict[str, JsonValue] = {}
    """What the node keeps under each key, in full."""
    added: dict[str, list[JsonValue]] = {}
    """What came at the end of lists."""
    removed: list[str] = []
    hold: str | None = None
    """Why the node waits for more messages of the trace."""
    of: str | None = None
    """Within a planner: `llm_context`. The other fields above are then missing."""
    before: Payload | None = None
    after: Payload | None = None
    by: str | None = None


class CheckpointHit(_Data):
    checkpoint: str
    decision: str | None = None
    """Of a node's."""
    payload: Payload | None = None
    """Of a planner's: what was shown."""


class CheckpointResolved(_Data):
    checkpoint: str = ""
    decision: str = ""
    """Both are missing where asking failed."""
    ordinal: int | None = None
    """This and what follows: of a planner's, as of `record`."""
    request: Payload | None = None
    response: Payload | None = None
    error: dict[str, Any] | None = None
    cancelled: bool = False
    latency_ms: float | None = None
    replayed: bool = False
    waited: bool = False


class Edit(_Data):
    before: JsonValue
    after: JsonValue
    by: str
    checkpoint: str | None = None
    """Of a planner's: which one."""
    of: str | None = None
    """What is around a stopped run: `headers`, `meta`, `llm_context`, `tool_context`, `memory` or `kv`."""


class LogRecord(_Data):
    level: str
    text: str
    file: str | None = None
    line: int | None = None
    error: Failure | None = None


class Stall(_Data):
    ms: float
    file: str | None = None
    line: int | None = None
    function: str | None = None
    text: str | None = None


class HostDied(_Data):
    exit_code: int | None = None
    signal: str | None = None
    noticed: float | None = None
    reason: str | None = None


DATA: dict[str, type[BaseModel]] = {
    "trace.start": TraceStart,
    "trace.end": TraceEnd,
    "message.enqueued": Enqueued,
    "message.dequeued": Dequeued,
    "message.dropped": Dropped,
    "node.start": NodeStart,
    "node.end": End,
    "attempt.start": AttemptStart,
    "attempt.end": AttemptEnd,
    "node.retry": Retry,
    "stream.chunk": Chunk,
    "record": Record,
    "remote.start": CallStart,
    "remote.end": CallEnd,
    "llm.start": CallStart,
    "llm.end": LlmEnd,
    "tool.start": CallStart,
    "tool.end": CallEnd,
    "planner.start": PlannerStart,
    "planner.end": PlannerEnd,
    "step.start": StepStart,
    "step.end": StepEnd,
    "branch.start": BranchStart,
    "branch.end": End,
    "planner.decision": PlannerDecision,
    "planner.repair": PlannerRepair,
    "planner.pause": PlannerPaused,
    "planner.resume": PlannerResumed,
    "planner.reflection": PlannerReflection,
    "memory.changed": MemoryChanged,
    "playbook.start": PlaybookStart,
    "playbook.end": End,
    "join.start": JoinStart,
    "join.end": JoinEnd,
    "deadline.exceeded": Deadline,
    "budget.exhausted": Budget,
    "cancel.requested": Reason,
    "cancel.done": Nothing,
    "context.changed": ContextChanged,
    "checkpoint.hit": CheckpointHit,
    "checkpoint.resolved": CheckpointResolved,
    "edit": Edit,
    "log": LogRecord,
    "stall": Stall,
    "host.died": HostDied,
}
"""The model of the data of each kind."""


def events_schema() -> dict[str, Any]:
    """The JSON Schema of one event: the fields that all have, and for each kind what its data hold."""
    definitions: dict[str, Any] = {}
    kinds = []
    for kind, model in DATA.items():
        schema = model.model_json_schema(ref_template="#/$defs/{model}", mode="serialization")
        definitions.update(schema.pop("$defs", {}))
        definitions[model.__name__] = schema
        of_kind = {"properties": {"kind": {"const": kind}}, "required": ["kind"]}
        kinds.append({"if": of_kind, "then": {"properties": {"data": {"$ref": f"#/$defs/{model.__name__}"}}}})
    number, text = {"type": "integer", "minimum": 0}, {"type": "string"}
    fields: dict[str, Any] = {
        "seq": number, "epoch": number, "trace_id": text, "span_id": text, "parent_id": {"type": ["string", "null"]},
        "ts": {"type": "number"}, "offset_ns": {"type": "integer"}, "kind": text, "name": text,
        "data": {"type": "object"},
    }  # fmt: skip
    several = {"worker_id": text, "worker_seq": number}
    return {
        "$schema": _DIALECT,
        "title": "TraceEvent",
        "description": "One event of a trace. Kinds and fields that are not named here may come at any time.",
        "version": EVENTS_VERSION,
        "type": "object",
        "properties": {**fields, **several},
        "required": list(fields),
        "allOf": kinds,
        "$defs": dict(sorted(definitions.items())),
    }
