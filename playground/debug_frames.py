"""Frames of debugging: where runs stop, what becomes of them, and what is changed meanwhile.

They are part of `playground.protocol`, which is where they are to be imported from.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from penguiflow.checkpoints import CheckpointKind
from penguiflow.state.models import SteeringEventType
from playground.breakpoints import Breakpoint
from playground.frame import BaseFrame
from playground.queue_frames import LettersEdit, QueuesGet

Action = Literal["proceed", "edit", "skip", "inject", "retry", "abort"]


class Breakpoints(BaseFrame):
    """Client: ask for the breakpoints, and change them. From then on it is one that decides upon stopped runs.

    Host: all of them, as the answer and whenever that changes. After the answer comes a `stopped` for each such run.
    """

    type: Literal["breakpoints"] = "breakpoints"
    look: bool = False
    """The client only looks: it does not decide, or not any more. One that may only look always does that."""
    put: list[Breakpoint] = Field(default_factory=list)
    """To be added, or to take the place of those with their ids."""
    remove: list[str] = Field(default_factory=list)
    """Ids."""
    breakpoints: list[Breakpoint] = Field(default_factory=list)
    problem: str | None = None
    """Why the project's file could not be read, or written."""
    unfit: dict[str, str] = Field(default_factory=dict)
    """Why a condition did not fit the last payload that it was tried on, by id."""


class Why(BaseModel):
    """What led to what is about to happen: the last call of a model in this step, and what was decided."""

    messages: list[dict[str, Any]] = Field(default_factory=list)
    """The prompt: `{role, content, …}` each. Long texts are cut."""
    reply: Any = None
    """As the model gave it, raw."""
    decision: dict[str, Any] | None = None
    """What was read from it: `{next_node, args, thought, …}`."""
    seqs: dict[str, int] = Field(default_factory=dict)
    """Where the log has all of it: `llm.start`, `llm.end`, `planner.decision`."""
    cut: list[str] = Field(default_factory=list)
    """Which of `messages`, `reply`, `decision` were cut."""


class Stopped(BaseFrame):
    """A run has stopped at a checkpoint; others of its branches may go on. Sent to every client.

    Sent again, with the same `stop`, when something of it was changed by `context.edit`.
    """

    type: Literal["stopped"] = "stopped"
    stop: str
    """What `decide` names."""
    trace_id: str
    span_id: str
    path: list[str]
    """As `penguiflow.checkpoints.Checkpoint` has it."""
    kind: CheckpointKind
    name: str
    target: str | None = None
    """The flow."""
    payload: Any = None
    """As JSON, without secrets; None, and `bytes`, where it is too large to be shown."""
    bytes: int | None = None
    actions: list[Action] = Field(default=["proceed", "abort"])
    """What can be decided here."""
    value_schema: dict[str, Any] | None = None
    """JSON Schema of what `edit` takes; None when anything goes, or nobody knows."""
    value_at: str = ""
    """Where in the payload that is what `edit` takes, as a JSON Pointer; edits may only be made there."""
    result_schema: dict[str, Any] | None = None
    """JSON Schema of what `skip` takes."""
    context: list[str] = Field(default_factory=list)
    """Which parts `context.get` gives."""
    memory: str | None = None
    """Key of the conversation whose memory the run has."""
    kv: str | None = None
    """`tenant:user:session` whose values its tools keep; None where nobody knows."""
    why: Why | None = None
    """For a planner's stop."""
    breakpoint: str | None = None
    """Id; None for a step."""
    since: float
    """Unix seconds."""


class Resumed(BaseFrame):
    """A stopped run goes on, or is gone. Sent to every client."""

    type: Literal["resumed"] = "resumed"
    stop: str
    trace_id: str
    action: Literal["proceed", "edit", "skip", "inject", "retry", "abort", "gone"]
    by: str | None = None
    """Name of the client; None when nobody decided."""


class Decide(BaseFrame):
    """What becomes of a stopped run. Answered by `accepted`, or by `error` (`not_found`, `invalid_input`)."""

    type: Literal["decide"] = "decide"
    stop: str
    action: Action = "proceed"
    value: Any = None
    """The new payload, the result, the message, or why it is aborted. Secrets may stay hidden as they were shown."""
    edits: dict[str, Any] = Field(default_factory=dict)
    """For `edit`, in place of `value`: new values by JSON Pointer into the payload."""
    then: Literal["continue", "into", "over", "out"] = "continue"
    """Where it stops next, besides at breakpoints: see `playground.host.stepping`."""
    to: Breakpoint | None = None
    """Run to here: a breakpoint for this run alone, which stops it once."""


class Halt(BaseFrame):
    """Stop a run at the next checkpoint that it comes to. Answered by `accepted` or `error` (`not_found`)."""

    type: Literal["halt"] = "halt"
    trace_id: str


PartName = Literal["headers", "meta", "llm_context", "tool_context"]


class ContextPart(BaseModel):
    """One part of what is around a stopped run."""

    name: PartName
    value: Any = None
    """As JSON, without secrets; None, and `bytes`, where it is too large to be shown."""
    bytes: int | None = None
    version: str
    """Of this content; an edit names it."""
    value_schema: dict[str, Any] | None = None
    """JSON Schema; None when any object goes."""
    editable: bool = True
    why_not: str | None = None
    """Why it cannot be edited."""


class ContextGet(BaseFrame):
    """What is around a stopped run. Answered by `context` or `error` (`not_found`)."""

    type: Literal["context.get"] = "context.get"
    stop: str


class ContextEdit(BaseFrame):
    """Change a part of it, at once. Answered by `context`, or `error` (`not_found`, `invalid_input`, `conflict`)."""

    type: Literal["context.edit"] = "context.edit"
    stop: str
    part: PartName
    version: str
    """As `context` told it; `conflict` when it is another one by now."""
    value: Any = None
    """The whole of it. Secrets may stay hidden as they were shown."""
    edits: dict[str, Any] = Field(default_factory=dict)
    """In place of `value`: new values by JSON Pointer into it."""


class Context(BaseFrame):
    """What is around a stopped run."""

    type: Literal["context"] = "context"
    stop: str
    trace_id: str
    parts: list[ContextPart] = Field(default_factory=list)


class MemoryShown(BaseModel):
    """What a planner remembers of one conversation."""

    key: str
    """`tenant:user:session`."""
    planner: str
    version: int
    """Grows with every change; an edit names it."""
    turns: list[dict[str, Any]] = Field(default_factory=list)
    """Oldest first: `{turn_id, user_message, assistant_response, …}`."""
    pending: list[dict[str, Any]] = Field(default_factory=list)
    """Older, and not in the summary yet."""
    summary: str = ""
    health: str = "healthy"
    tokens: int = 0
    """Estimated."""
    total_max_tokens: int | None = None
    """0: no limit; None: nobody said."""
    artifacts: list[dict[str, Any]] = Field(default_factory=list)
    """Of the session: `{id, mime_type, size_bytes, filename, …}`."""
    editable: bool = True
    turn_schema: dict[str, Any] | None = None
    """JSON Schema of a turn."""


class MemoryGet(BaseFrame):
    """What is remembered. Answered by `memory` or `error` (`not_found`)."""

    type: Literal["memory.get"] = "memory.get"
    key: str | None = None
    """`tenant:user:session`; None: only which there are."""
    planner: str | None = None
    """Name of the planner; None: the first that has this key, or could."""
    prefix: str = ""
    """Of the keys that are listed."""


class MemoryEdit(BaseFrame):
    """Change what is remembered, at once; a run under way sees it in its next prompt.

    Answered by `memory`, or `error` (`not_found`, `invalid_input`, `conflict`).
    """

    type: Literal["memory.edit"] = "memory.edit"
    key: str
    planner: str | None = None
    version: int
    """As `memory` told it; `conflict` when it is another one by now."""
    change: Literal["summary", "turn", "delete_turn", "clear"]
    turn_id: str | None = None
    """For `turn` and `delete_turn`."""
    value: Any = None
    """The summary, or the turn."""


class Memory(BaseFrame):
    """What is remembered."""

    type: Literal["memory"] = "memory"
    keys: list[str] = Field(default_factory=list)
    """Of all conversations, sorted; at most 1,000."""
    memory: MemoryShown | None = None
    """The one that was asked for."""


class KvEntry(BaseModel):
    """One value that tools keep (`ctx.kv`)."""

    session: str
    """`tenant:user:session`."""
    scope: Literal["session", "task"] = "session"
    task: str = ""
    """Its id, in the scope `task`."""
    namespace: str = ""
    key: str
    value: Any = None
    """As JSON, without secrets; None, and `cut`, where it is too large to be shown here."""
    cut: bool = False
    bytes: int = 0
    etag: str | None = None
    """Tells what it is of; an edit names it. None where there is nothing."""
    updated: float | None = None
    """Unix seconds."""
    expires: float | None = None
    """Unix seconds; None: never."""
    artifact: str | None = None
    """Id of the copy of a large value."""


class KvGet(BaseFrame):
    """What tools keep in a session. Answered by `kv` or `error` (`not_found`)."""

    type: Literal["kv.get"] = "kv.get"
    session: str | None = None
    """`tenant:user:session`; None: only which there are."""
    scope: Literal["session", "task"] = "session"
    task: str = ""
    namespace: str = ""
    key: str | None = None
    """This one alone, as a whole; None: all of the session, of every scope and namespace."""


class KvEdit(BaseFrame):
    """Change a value, at once; whoever reads it next has the new one.

    Answered by `kv`, with this one alone, or `error` (`not_found`, `invalid_input`, `conflict`).
    """

    type: Literal["kv.edit"] = "kv.edit"
    session: str
    scope: Literal["session", "task"] = "session"
    task: str = ""
    namespace: str = ""
    key: str
    change: Literal["set", "delete"] = "set"
    etag: str | None = None
    """As `kv` told it; `conflict` when it is another by now. None: there is nothing yet."""
    value: Any = None
    """The whole of it. Secrets may stay hidden as they were shown."""
    edits: dict[str, Any] = Field(default_factory=dict)
    """In place of `value`: new values by JSON Pointer into it."""


class Kv(BaseFrame):
    """What tools keep in a session."""

    type: Literal["kv"] = "kv"
    sessions: list[str] = Field(default_factory=list)
    """Those that have values, sorted; at most 1,000."""
    entries: list[KvEntry] = Field(default_factory=list)
    """By scope, task, namespace and key."""
    more: int = 0
    """How many there are besides."""


class Steer(BaseFrame):
    """Steer a planner's run while it goes on. Answered by `accepted`, or `error`.

    `not_found`: there is no such run. `invalid_input`: the payload is not what this event takes. `busy`: its inbox is
    full.
    """

    type: Literal["steer"] = "steer"
    trace_id: str
    event: SteeringEventType
    payload: dict[str, Any] = Field(default_factory=dict)
    """For `USER_MESSAGE` a `text`; for `REDIRECT` an `instruction`; for `CANCEL` a `reason`."""


class Question(BaseModel):
    """A run asks somebody (`ctx.ask`), and waits."""

    question: str
    """What `answer` names."""
    trace_id: str
    span_id: str = ""
    prompt: str
    value_schema: dict[str, Any] | None = None
    """JSON Schema of the answer; None for text."""
    since: float
    """Unix seconds."""


class Questions(BaseFrame):
    """Client: ask which questions are open. Host: all of them, as the answer and whenever that changes."""

    type: Literal["questions"] = "questions"
    look: bool = False
    """The client only looks: it does not answer, or not any more. One that may only look always does that."""
    questions: list[Question] = Field(default_factory=list)


class Answer(BaseFrame):
    """Answer a question. Answered by `accepted`, or `error` (`not_found`: it was answered; `invalid_input`)."""

    type: Literal["answer"] = "answer"
    question: str
    value: Any = None
    declined: bool = False
    """Nobody will answer: the run of a planner's tool pauses, any other node is told so."""


class Kill(BaseFrame):
    """End a host that is silent, or blocked for 2 s, with its runs; another takes its place. Answered by `accepted`.

    Or by `error`, `not_found`: it is neither, or nobody is there who could end it.
    """

    type: Literal["kill"] = "kill"


DebugRequest = (
    Breakpoints
    | Decide
    | Halt
    | ContextGet
    | ContextEdit
    | MemoryGet
    | MemoryEdit
    | KvGet
    | KvEdit
    | Steer
    | Questions
    | Answer
    | Kill
    | QueuesGet
    | LettersEdit
)
"""What a client may ask for here."""
