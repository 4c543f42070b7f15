"""What a trace has in hand: messages on edges, invocations under way, and what nodes keep."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penguiflow.recording.events import TraceEvent
from penguiflow.reruns import SentPart

__all__ = ["MAX_RECENT", "Content", "Held", "Invocation", "NodeState", "Pending", "Taken", "emission_of"]

MAX_RECENT = 64
"""Emissions from outside, and chunks of one invocation, of which the content is remembered for edges to come."""


class Content:
    """What a message carries: shared by all edges that it went by."""

    __slots__ = ("deadline_s", "headers", "meta", "payload", "ts")

    def __init__(self, payload: Mapping[str, Any], data: Mapping[str, Any], ts: float) -> None:
        self.payload = payload
        """`{"type", "value"}`."""
        self.headers: dict[str, Any] | None = data.get("headers")
        """None for a bare payload without an envelope."""
        self.meta: dict[str, Any] = data.get("meta") or {}
        self.deadline_s: float | None = data.get("deadline_s")
        self.ts = ts

    def become(self, other: Content) -> None:
        """Carry what another one does."""
        self.payload, self.headers, self.meta = other.payload, other.headers, other.meta
        self.deadline_s, self.ts = other.deadline_s, other.ts


class Held:
    """A message that is on an edge, or that a node works on."""

    __slots__ = ("chunk", "content", "edge", "message_id", "seq")

    def __init__(
        self, message_id: str, edge: str, seq: int, content: Content | None, chunk: Mapping[str, Any] | None
    ) -> None:
        self.message_id = message_id
        self.edge = edge
        """`a->b`."""
        self.seq = seq
        """The event that says it was sent."""
        self.content = content
        """None when the log does not have it."""
        self.chunk = chunk
        """`stream_id`, `chunk_seq`, `text`, `done`, `meta` of a piece of a stream, whose `content` is its envelope."""

    @property
    def target(self) -> str:
        """The node it is for, or `Rookery`."""
        return self.edge.split("->", 1)[1]


class Invocation:
    """A message that was taken from its edge and is not done with."""

    __slots__ = (
        "calls",
        "changes",
        "chunks",
        "contents",
        "fetched",
        "held",
        "message_id",
        "parts",
        "recent",
        "sent",
        "untold",
    )

    def __init__(self, message_id: str, held: Held | None) -> None:
        self.message_id = message_id
        self.held = held
        """The message itself; None when the log does not have it."""
        self.sent: set[str] = set()
        """Ids of what it has sent."""
        self.chunks: list[tuple[str, int]] = []
        """Stream and number of the pieces it has sent, in order."""
        self.parts: dict[str, SentPart] = {}
        """What its parts have sent, by stream."""
        self.untold: tuple[str, int] | None = None
        """The last of them, as long as the log does not say that it was sent by any edge."""
        self.fetched: list[Held] = []
        """What its function fetched by itself."""
        self.calls: list[TraceEvent] = []
        """What a cassette needs of it."""
        self.changes: list[Mapping[str, Any]] = []
        """To the node's state; they count when the invocation ends."""
        self.contents: dict[str, Content] = {}
        """Of what it has sent lately, for other edges by which the same goes."""
        self.recent: deque[tuple[str, dict[str, Any]]] = deque(maxlen=MAX_RECENT)
        """Its last chunks, by the id of their stream."""


class Pending:
    """What the chunks of a stream lack for the moment: it may be the beginning of a secret, and is held back."""

    __slots__ = ("chunks", "name", "parts")

    def __init__(self, name: str | None, parts: Iterable[Sequence[int]], chunks: dict[int, dict[str, Any]]) -> None:
        self.name = name
        """Of the secret, like `env:NAME`; None for one that cannot be filled in."""
        self.parts = [(number, length) for number, length in parts]
        """How many characters of which chunks."""
        self.chunks = chunks
        """Their data, as far as they are known."""


class NodeState:
    """What a node keeps in `ctx.trace_state`, in the form of the log, and why it waits."""

    __slots__ = ("hold", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        """A payload for each key, or `{"$list": [payloads]}`; messages as `Content` under `$message`, `$payload`."""
        self.hold: str | None = None

    def change(self, change: Mapping[str, Any]) -> None:
        """Take in what an invocation changed; `own` is the content of its message."""
        own, values = change.get("own"), self.values
        for key in change.get("removed") or ():
            values.pop(key, None)
        for key, value in (change.get("set") or {}).items():
            known = value if "$list" not in value else {"$list": [_resolved(item, own) for item in value["$list"]]}
            values[key] = _resolved(known, own)
        for key, items in (change.get("added") or {}).items():
            values.setdefault(key, {"$list": []})["$list"] += [_resolved(item, own) for item in items]
        self.hold = change.get("hold")


class Taken:
    """Messages that were taken from their edges, where several processes write: each tells of it in its own time."""

    __slots__ = ("done", "early", "ids")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.early: dict[str, Content] = {}
        """Of those of which it was not told yet that they were sent, the content, which is filled in then."""
        self.done: set[str] = set()
        """Those that some worker has finished; another one that had the same may tell of it later."""

    def add(self, message_id: str, *, early: bool) -> None:
        """One was taken."""
        if early and message_id not in self.ids:
            self.early[message_id] = Content({}, {}, 0.0)
        self.ids.add(message_id)


def emission_of(data: Mapping[str, Any]) -> str:
    """What all parts of one emission have in common."""
    if "stream_id" in data:
        return f"{data['stream_id']}/{data.get('chunk_seq')}"
    return str(data.get("same_as") or data.get("message_id"))


def _resolved(form: Mapping[str, Any], own: Content | None) -> Mapping[str, Any]:
    """A value in which the invocation's own message is named: with that message."""
    for mark in ("$message", "$payload"):
        if mark in form and not isinstance(form[mark], Content):
            return {mark: own}
    return form
