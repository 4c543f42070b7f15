"""Frames about distributed flows: their edges, the workers that consume them, and messages that nobody could handle.

They are part of `playground.protocol`, which is where they are to be imported from.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from playground.frame import BaseFrame

__all__ = ["EdgeShown", "LetterShown", "LettersEdit", "QueueRequest", "Queues", "QueuesGet", "WorkerShown"]


class EdgeShown(BaseModel):
    """One edge, as the bus has it."""

    edge: str
    """`source->target`."""
    source: str
    target: str
    waiting: int
    """Messages that nobody has."""
    leased: int
    """Messages that somebody has, or gave back for later."""
    dead: int
    """Dead letters."""
    capacity: int
    """Messages before senders wait; 0: any number."""
    workers: list[str] = Field(default_factory=list)
    """Ids of the live workers that consume it."""
    unattended: bool = False
    """Messages wait, and no worker that lives consumes them."""


class WorkerShown(BaseModel):
    """One worker, as it last told of itself."""

    worker_id: str
    flow: str
    host: str
    pid: int
    nodes: list[str] = Field(default_factory=list)
    alive: bool
    state: str
    """`running`, `draining` or `ended`."""
    started_at: float
    seen_at: float
    """Unix seconds, by the store's clock."""
    about: dict[str, Any] = Field(default_factory=dict)
    """What else it tells: slots, what is under way and done, redeliveries, version of the code."""


class LetterShown(BaseModel):
    """One message that nobody could handle."""

    edge: str
    id: str
    """The message's."""
    attempts: int
    reason: str
    trace_id: str | None = None
    payload: Any = None
    """As JSON, without secrets; None, and `bytes`, where it is too large to be shown, or no JSON."""
    bytes: int = 0
    """Of the payload."""


class QueuesGet(BaseFrame):
    """The edges of a distributed flow. Answered by `queues` or `error`.

    `not_found`: there is no such flow, or it runs in one process. `bus`: its bus cannot be asked.
    """

    type: Literal["queues.get"] = "queues.get"
    target: str | None = None
    """The flow; None: the only one that is distributed."""
    letters: bool = False
    """Dead letters as well."""
    edge: str | None = None
    """Dead letters of this edge alone."""
    limit: int = Field(default=100, ge=1, le=100_000)
    """So many dead letters of an edge, the oldest."""


class LettersEdit(BaseFrame):
    """Put dead letters back on their edges, or forget them.

    Answered by `queues`, as it is then, or by `error`; `not_found`, and `conflict` for the beginning of several ids:
    then nothing has changed.
    """

    type: Literal["letters.edit"] = "letters.edit"
    target: str | None = None
    change: Literal["retry", "drop"]
    edge: str | None = None
    """Letters of this edge alone."""
    ids: list[str] = Field(default_factory=list)
    """Ids, or beginnings of them that no other has; the traces' part of an id may be left out. Empty: all of them."""


class Queues(BaseFrame):
    """How the edges of a flow are."""

    type: Literal["queues"] = "queues"
    target: str
    flow: str
    """Its name on the bus."""
    bus: str
    """Where that is, without what may be secret in it."""
    edges: list[EdgeShown] = Field(default_factory=list)
    workers: list[WorkerShown] = Field(default_factory=list)
    """Those of the last hour, oldest first."""
    letters: list[LetterShown] = Field(default_factory=list)
    changed: list[LetterShown] = Field(default_factory=list)
    """For `letters.edit`: what was put back, or forgotten."""
    full: list[str] = Field(default_factory=list)
    """For `letters.edit`: edges that had no room for all of their letters."""
    problem: str | None = None
    """Why not all is known, such as a store that does not know workers."""


QueueRequest = QueuesGet | LettersEdit
