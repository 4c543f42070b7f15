"""What a trace got from the world: its inputs, and the answers to its calls. Enough to run it again without the world.

A cassette is made from the events of a trace, or read from a file. As all that is stored it is masked: no secret is in
it that is not in the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from penguiflow.calls import segment
from penguiflow.recording.events import TraceEvent
from penguiflow.recording.paths import SpanPaths
from penguiflow.recording.streams import give_back

__all__ = ["KINDS", "Cassette", "CassetteError", "RecordedCall", "RecordedInput", "RecordedOutput"]

SCHEMA = 1
KINDS = (
    "trace.*", "node.start", "node.end", "attempt.*", "playbook.*", "planner.start", "planner.end", "step.*",
    "branch.*", "join.*", "llm.*", "tool.*", "remote.*", "record", "message.enqueued", "stream.chunk",
    "deadline.exceeded",
    "checkpoint.resolved",
)  # fmt: skip
"""The events that a cassette is made of: what to ask a store for."""
CALL_SPANS = frozenset({"llm", "tool", "remote"})
CHUNK_TYPE = "penguiflow.types:StreamChunk"

Ending = Literal["timeout", "deadline", "cancelled", "abandoned"]


class CassetteError(Exception):
    """A file is no cassette, or one that this version cannot read."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path} is no cassette that can be replayed: {reason}")
        self.path = str(path)
        self.reason = reason


class RecordedCall(BaseModel):
    """One call that left the process, with its answer."""

    path: str
    """Where it was made: `summarize[0]/attempt[0]/fetch[1]`."""
    place: str
    """The same for machines, without the call itself."""
    kind: str
    """`record`, `checkpoint`, `llm`, `tool` or `remote`."""
    name: str
    ordinal: int = Field(ge=0)
    request: Any
    """In its stored form, `{type, value}`."""
    response: Any = None
    """As the request; None when there was none."""
    error: dict[str, Any] | None = None
    """`{class, args, type, message, …}` of what it raised."""
    ending: Ending | None = None
    """Why it has neither."""
    begun_s: float = 0.0
    """Seconds since the trace began."""
    seconds: float = 0.0
    """How long it took."""
    waited: bool = True
    """Whether others could run meanwhile."""
    after: int = 0
    """How many invocations had begun when the answer came."""
    seq: int = 0
    """The event that has its answer."""
    span: str = Field(default="", exclude=True)


class RecordedInput(BaseModel):
    """One message that came in from outside."""

    payload: dict[str, Any]
    """In its stored form, `{type, value}`."""
    headers: dict[str, Any] | None = None
    """None for a bare payload."""
    meta: dict[str, Any] = Field(default_factory=dict)
    deadline_in_s: float | None = None
    """Seconds from when it came in."""
    targets: list[str]
    """The nodes that it was sent to."""


class RecordedOutput(BaseModel):
    """One message that left the flow."""

    payload: dict[str, Any]
    """In its stored form, `{type, value}`."""


class Cassette(BaseModel):
    """One trace, ready to be run again."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    trace_id: str
    flow: str = ""
    target: str | None = None
    started: float = 0.0
    """Unix seconds."""
    status: str = "running"
    error: dict[str, Any] | None = None
    """What the trace failed with."""
    inputs: list[RecordedInput] = Field(default_factory=list)
    calls: list[RecordedCall] = Field(default_factory=list)
    """In the order in which they were answered."""
    outputs: list[RecordedOutput] = Field(default_factory=list)
    streams: list[str] = Field(default_factory=list)
    """The texts of the streams that left the flow."""
    problem: str | None = Field(default=None, exclude=True)
    """Why the trace cannot be run again, if it cannot."""
    spans: dict[str, tuple[str, int]] = Field(default_factory=dict, exclude=True)
    """Path and last event of each span, by its id."""
    places: dict[str, str] = Field(default_factory=dict, exclude=True)
    """Paths of attempts, by their place."""

    model_config = {"populate_by_name": True}

    @classmethod
    def of(cls, events: Iterable[TraceEvent]) -> Cassette:
        """The cassette of a trace, from its events in order (those of `KINDS` are enough)."""
        reader = _Reader()
        for event in events:
            reader.add(event)
        return reader.finish()

    @classmethod
    def load(cls, path: str | Path) -> Cassette:
        """Read a file. Raises `CassetteError`, and `FileNotFoundError`."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise CassetteError(path, f"it is not JSON ({error})") from None
        schema = data.get("schema") if isinstance(data, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise CassetteError(path, f"it was written by a newer version (schema {schema}, known are up to {SCHEMA})")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = "/".join(str(part) for part in first["loc"])
            raise CassetteError(path, f"{where or 'the file'}: {first['msg']}") from None

    def save(self, path: str | Path) -> None:
        """Write a file that people can read and compare."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        text = json.dumps({"schema": SCHEMA, **data}, indent=1, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def path_of(self, place: str, node: str) -> str:
        """How people know a place; `node` is the name of the node, for one that the recording does not have."""
        known = self.places.get(place)
        if known is None:
            known = next((call.path.rpartition("/")[0] for call in self.calls if call.place == place), None)
        if known is not None:
            return known
        message_id, attempt, *inside = place.split("/", 2)
        known = self.places.get(f"{message_id}/{attempt}", f"{node}[new]/attempt[{attempt}]")
        return "/".join([known, *inside])


class _Reader:
    """Makes a cassette from events, one by one."""

    def __init__(self) -> None:
        self.paths = SpanPaths()
        self.cassette = Cassette(trace_id="")
        self.calls: dict[tuple[str, str, int], RecordedCall] = {}
        self.begun: dict[str, TraceEvent] = {}
        """Call spans that are open."""
        self.sent: dict[str, dict[str, Any]] = {}
        """Payloads by message id, until the trace is read: others may be the same."""
        self.inputs: dict[str, RecordedInput] = {}
        self.cut: dict[str, str] = {}
        """How attempts ended that did not succeed, by span id."""
        self.late: set[str] = set()
        """Node spans whose trace had run out of time."""
        self.parents: dict[str, str] = {}
        self.taken: set[str] = set()
        """Ids of the messages that nodes have begun with."""
        self.went_on: dict[str, int] = {}
        """The last event of each span that shows its code at work."""
        self.forked = False
        self.background = False
        self.chunks: dict[tuple[str, int], str] = {}
        self.sent_in: dict[tuple[str, int], dict[str, Any]] = {}
        """Chunks that came in from outside, by stream and number."""
        self.piece: tuple[str, int] | None = None
        """The one that came in last, which may go by other edges too."""
        self.streamed: dict[str, list[str]] = {}
        self.root = ""

    def add(self, event: TraceEvent) -> None:
        """Take one event."""
        self.paths.add(event)
        if event.parent_id is not None:
            self.parents[event.span_id] = event.parent_id
        kind, data = event.kind, event.data
        family, _, moment = kind.rpartition(".")
        if kind == "trace.start":
            self._begin(event)
        elif kind == "trace.end":
            self.cassette.status = str(data.get("status", "ok"))
            self.cassette.error = data.get("error") if isinstance(data.get("error"), dict) else None
        elif kind == "message.enqueued":
            self._message(event)
        elif kind == "stream.chunk":
            self._chunk(event)
        elif kind == "record" or (kind == "checkpoint.resolved" and "request" in data):
            self._call(event, event, self.paths.of(event.span_id).path, self.paths.of(event.span_id).place)
        elif family in CALL_SPANS and moment == "start":
            self.begun[event.span_id] = event
        elif family in CALL_SPANS and moment == "end":
            begun = self.begun.pop(event.span_id, None)
            # A process that died was given no answer, and there was none to give.
            if begun is not None and "request" in begun.data and data.get("status") != "interrupted":
                around = self.paths.of(begun.parent_id or "")
                self._call(begun, event, around.path, around.place)
        elif kind == "attempt.end" and data.get("status") in ("timeout", "cancelled"):
            self.cut[event.span_id] = str(data["status"])
        elif kind == "deadline.exceeded":
            self.late.add(event.span_id)
        elif moment == "start":
            self._note_start(family, event)
        if moment == "end":
            self.cassette.spans[event.span_id] = (self.paths.of(event.span_id).path, event.seq)

    def _chunk(self, event: TraceEvent) -> None:
        data, stream = event.data, str(event.data.get("stream_id"))
        if "of" in data:
            return
        if event.span_id == self.root and "node" not in data:
            own = give_back(data, lambda earlier: self.sent_in.get((stream, earlier)))
            if own is not None:
                own["seq"] = int(own.pop("chunk_seq", 0))
                self.sent_in[stream, own["seq"]] = own
        text = str(data.get("text", ""))
        for earlier, length in data.get("carried", ()):
            self.chunks[stream, earlier] = self.chunks.get((stream, earlier), "") + text[:length]
            text = text[length:]
        if not data.get("rest"):
            self.chunks[stream, int(data.get("chunk_seq", 0))] = text

    def finish(self) -> Cassette:
        """All events are read."""
        cassette = self.cassette
        cassette.calls = sorted(self.calls.values(), key=lambda call: call.seq)
        for call in cassette.calls:
            if call.ending is not None:
                call.ending = self._ending(call)
        cassette.inputs = list(self.inputs.values())
        cassette.streams = ["".join(texts) for texts in self.streamed.values()]
        if not cassette.inputs and cassette.problem is None:
            origin = "it was forked from another trace" if self.forked else "its input is not in the log"
            cassette.problem = "it is no run, but was done in the background of one" if self.background else origin
        return cassette

    def _note_start(self, family: str, event: TraceEvent) -> None:
        if family == "node":
            # A run that was resumed begins some a second time.
            self.taken.add(str(event.data.get("message_id", event.span_id)))
        elif family == "attempt":
            where = self.paths.of(event.span_id)
            self.cassette.places[where.place] = where.path

    def _begin(self, event: TraceEvent) -> None:
        data = event.data
        if self.root:
            return
        self.root = event.span_id
        self.forked = bool(data.get("origin"))
        self.background = data.get("mode") == "background"
        cassette = self.cassette
        cassette.trace_id = event.trace_id
        cassette.flow = str(data.get("flow", event.name))
        cassette.target = data["target"] if isinstance(data.get("target"), str) else None
        cassette.started = event.ts

    def _message(self, event: TraceEvent) -> None:
        data = event.data
        message_id = str(data.get("message_id"))
        payload = data.get("payload")
        if payload is None and isinstance(data.get("same_as"), str):
            payload = self.sent.get(data["same_as"])
        elif payload is not None:
            self.sent[message_id] = payload
        if not self.paths.of(event.span_id).outer:
            return
        if data.get("source") == "OpenSea":
            self._input(event, message_id, payload)
        if data.get("target") == "Rookery":
            if "stream_id" in data:
                stream_id, number = str(data["stream_id"]), int(data.get("chunk_seq", 0))
                self.streamed.setdefault(stream_id, []).append(self.chunks.get((stream_id, number), ""))
            elif payload is not None:
                self.cassette.outputs.append(RecordedOutput(payload=payload))

    def _input(self, event: TraceEvent, message_id: str, payload: dict[str, Any] | None) -> None:
        data = event.data
        same_as = data.get("same_as")
        if isinstance(same_as, str) and same_as in self.inputs:
            self.inputs[same_as].targets.append(str(data.get("target")))
            return
        if "stream_id" in data:
            place, target = (str(data["stream_id"]), int(data.get("chunk_seq", 0))), str(data.get("target"))
            targets = next(reversed(self.inputs.values())).targets if self.piece == place else [target]
            if target not in targets:
                targets.append(target)
                return
            self.piece = place
            value = self.sent_in.get(place)
            payload = None if value is None else {"type": CHUNK_TYPE, "value": value}
        if payload is None:
            self.cassette.problem = "what came in from outside is not in the log"
            return
        if event.span_id != self.root:
            self.cassette.problem = "it was over, and went on with another input"
            return
        deadline_s = data.get("deadline_s")
        self.inputs[message_id] = RecordedInput(
            payload=payload,
            headers=data.get("headers"),
            meta=data.get("meta") or {},
            deadline_in_s=None if deadline_s is None else deadline_s - event.ts,
            targets=[str(data.get("target"))],
        )

    def _call(self, begun: TraceEvent, ended: TraceEvent, path: str, place: str) -> None:
        asked, data = begun.data, ended.data
        ordinal = int(asked.get("ordinal", 0))
        seconds = float(data.get("latency_ms") or 0.0) / 1e3
        one_event = begun is ended
        kind = begun.kind if begun.kind == "record" else begun.kind.rpartition(".")[0]
        call = RecordedCall(
            path=f"{path}/{segment(kind, begun.name)}[{ordinal}]".lstrip("/"),
            place=place,
            kind=kind,
            name=begun.name,
            ordinal=ordinal,
            request=asked.get("request"),
            response=data.get("response"),
            error=data.get("error") if isinstance(data.get("error"), dict) else None,
            ending="abandoned" if data.get("cancelled") else None,
            begun_s=round(max(0.0, ended.offset_ns / 1e9 - seconds), 6),
            seconds=round(seconds, 6),
            waited=data.get("waited") is not False,
            after=len(self.taken),
            seq=ended.seq,
            span=begun.span_id if one_event else begun.parent_id or "",
        )
        if call.ending is None:
            self.went_on[call.span] = call.seq
        # A run that was resumed repeats what it was at: the later answer is the one that counted.
        self.calls[place, segment(kind, call.name), ordinal] = call

    def _ending(self, call: RecordedCall) -> Ending:
        """What ended the call is what ended the attempt that it was made in."""
        span: str | None = call.span
        if self.went_on.get(call.span, -1) > call.seq:
            return "abandoned"
        while span is not None and span not in self.cut:
            span = self.parents.get(span)
        if span is None:
            return "abandoned"
        if self.cut[span] == "cancelled":
            return "cancelled"
        return "deadline" if self.parents.get(span) in self.late else "timeout"
