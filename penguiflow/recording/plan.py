"""What a frontier stands for, as objects that a flow can go on with; and what of it cannot be had again."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from penguiflow.recording.cassette import Cassette, RecordedCall
from penguiflow.recording.events import TraceEvent
from penguiflow.recording.frontier import EXIT, Frontier
from penguiflow.recording.held import Content, Held, NodeState
from penguiflow.recording.payloads import encode_payload
from penguiflow.recording.pointers import NOTHING, PointerError, assign, find, parts_of
from penguiflow.recording.rebuilding import NotRebuildable, rebuild
from penguiflow.recording.streams import exact_text
from penguiflow.recording.tape import ResumeTape, rename
from penguiflow.recording.unmasking import unmask
from penguiflow.reruns import Again
from penguiflow.types import Headers, Message, StreamChunk
from penguiflow.validation import is_message

__all__ = ["CannotRestore", "Edit", "Plan", "Restored", "plan"]


class CannotRestore(Exception):
    """A trace cannot go on from here. `problems` has a line for each thing that is missing or does not fit."""

    def __init__(self, problems: Sequence[str], missing: Sequence[str] = ()) -> None:
        super().__init__("; ".join([*problems, *(f"the secret at {path} is not known" for path in missing)]))
        self.problems = list(problems)
        self.missing = list(missing)
        """Paths of secrets that have to be given."""


class Restored(NamedTuple):
    """A message on its way."""

    message_id: str
    edge: str
    message: Any
    """A `Message`, or a bare payload."""
    again: Again | None = None
    """What its node had done with it already; None when it had not begun."""
    piece: Mapping[str, Any] | None = None
    """The data of its `stream.chunk`, as they are stored, where it carries a piece of a stream."""


class Edit(NamedTuple):
    """A value that was changed. What it is now is in the message."""

    message_id: str
    path: str
    before: Any
    """As the log has it, masked; None where nothing was."""


class Plan:
    """All that is needed to go on."""

    def __init__(self, frontier: Frontier, trace_id: str, shift_s: float) -> None:
        self.frontier = frontier
        self.trace_id = trace_id
        self.shift_s = shift_s
        """What is added to deadlines, in seconds."""
        self.messages: list[Restored] = []
        """For nodes, in the order in which they are to be handled."""
        self.results: list[Restored] = []
        """Results that nobody has fetched."""
        self.delivered: list[Restored] = []
        """Results that a fork takes over."""
        self.output: Any = None
        """The last result that is no chunk."""
        self.states: dict[str, dict[str, Any]] = {}
        """By node."""
        self.holds: dict[str, str] = {}
        """Why nodes wait, by node."""
        self.streams: dict[tuple[str, str], int] = {}
        """Number of the next chunk, by node and stream."""
        self.held: list[tuple[str, str, str, list[tuple[int, int]]]] = []
        """What the log held back of streams: node, stream, the secret that it may be, how much of which chunks."""
        self.tape: ResumeTape | None = None
        self.edits: list[Edit] = []

    @property
    def is_fork(self) -> bool:
        """Whether it goes on as another trace."""
        return self.trace_id != self.frontier.trace_id


def plan(
    frontier: Frontier, trace_id: str, edits: Mapping[str, Any] | None = None, *, now: float, nodes: Sequence[str]
) -> Plan:
    """Build what a frontier holds, for trace `trace_id` (another one than its own: a fork) of a flow of these nodes.

    `edits` are JSON Pointers into the message that the frontier's last event is about (`/payload/text`), or into
    another one whose id stands in front (`3fa8…:/payload/text`), with their new values. Raises `CannotRestore`.
    """
    planned = Plan(frontier, trace_id, max(0.0, now - frontier.ts))
    _Planner(planned, edits or {}, set(nodes)).work()
    return planned


class _Planner:
    def __init__(self, plan: Plan, edits: Mapping[str, Any], nodes: set[str]) -> None:
        self.plan = plan
        self.frontier = plan.frontier
        self.nodes = nodes
        self.problems: list[str] = []
        self.missing: list[str] = []
        self.edits: dict[str, list[tuple[str, Any]]] = {}
        """Pointers and values, by message id."""
        self.secrets: dict[str, str] = {}
        """Those that were given, by their marks: who gives one has given it for all places that have the same."""
        self.kept_secrets: dict[str, Any] = {}
        """Those that were given for what nodes keep, by place."""
        self.asked: set[str] = set()
        """Marks that are among the missing."""
        for path, value in edits.items():
            self._sort_in(path, value)

    def work(self) -> None:
        """Fill the plan. Raises `CannotRestore`."""
        frontier = self.frontier
        if frontier.cancelled:
            self.problems.append("the trace was being cancelled: nothing is left to go on with")
        elif not self.plan.is_fork and frontier.status not in (None, "interrupted"):
            self.problems.append(f"the trace is over ({frontier.status}): there is nothing to resume")
        elif not frontier.entered:
            self.problems.append("nothing had come in yet: its input is not in the log")
        if self.problems:
            raise CannotRestore(self.problems)
        self._learn_secrets()
        self._messages()
        self._states()
        for (node, stream), number in frontier.streams.items():
            self.plan.streams.setdefault((node, self._stream(stream)), number)
        self._calls()
        for message_id in self.edits:
            self.problems.append(f"no message {message_id} waits or is worked on after event {frontier.seq}")
        if self.problems or self.missing:
            raise CannotRestore(self.problems, self.missing)

    def _messages(self) -> None:
        frontier, plan = self.frontier, self.plan
        untold: set[tuple[str, str, int]] = set()
        for invocation in frontier.invocations.values():
            if invocation.held is None:
                self.problems.append(f"message {invocation.message_id}, which a node works on, is not in the log")
                continue
            chunks = [(self._stream(stream), number) for stream, number in invocation.chunks]
            if plan.is_fork and invocation.untold is not None:
                # Its text is in the origin's log only, and nobody has it yet.
                stream, number = chunks.pop()
                plan.streams[invocation.held.target, stream] = number
                untold.add((invocation.held.target, stream, number))
            # Who follows a fork has heard nothing yet.
            parts = None if plan.is_fork else invocation.parts
            self._add(invocation.held, plan.messages, Again(invocation.sent, chunks, parts))
            for fetched in invocation.fetched:
                self._add(fetched, plan.messages)
        for held in frontier.waiting.values():
            self._add(held, plan.results if held.target == EXIT else plan.messages)
        if plan.is_fork:
            for held in frontier.delivered:
                self._add(held, plan.delivered)
        self._held_back(untold)
        if frontier.output is not None and frontier.output.content is not None:
            plan.output = self._output(frontier.output.content)

    def _held_back(self, untold: set[tuple[str, str, int]]) -> None:
        """What the log goes on holding back, but for the chunks that are sent once more."""
        again = {(node, stream) for node, stream, _ in untold}
        spread = {place: found for place, found in self.frontier.spread.items() if self._place(*place) in again}
        for place, pending in {**self.frontier.pending, **spread}.items():
            node, stream = self._place(*place)
            parts = [part for part in pending.parts if (node, stream, part[0]) not in untold]
            if parts and pending.name is not None:
                self.plan.held.append((node, stream, pending.name, parts))

    def _place(self, node: str, stream: str) -> tuple[str, str]:
        return node, self._stream(stream)

    def _output(self, content: Content) -> Any:
        """The last result, for those who show it: as an object if it can be had, else as the log has it."""
        filled, _ = unmask(content.payload)
        try:
            return rebuild(filled)
        except NotRebuildable:
            return content.payload.get("value")

    def _add(self, held: Held, to: list[Restored], again: Again | None = None) -> None:
        is_exit = held.target == EXIT
        if not is_exit and held.target not in self.nodes:
            what = f"message {held.message_id} (event {held.seq})"
            does = f"{what} waits for it" if again is None else f"it was working on {what}"
            self.problems.append(f"the flow has no node '{held.target}' any more: {does}")
            return
        try:
            message = self._message(held)
        except (NotRebuildable, PointerError, ValidationError) as error:
            if not is_exit:
                self.problems.append(
                    f"message {held.message_id} on {held.edge} (event {held.seq}): {_first_line(error)}"
                )
            return
        piece = held.chunk
        if piece is not None:
            piece = {**piece, "stream_id": self._stream(str(piece["stream_id"]))}
        to.append(Restored(held.message_id, held.edge, message, again, piece))

    def _message(self, held: Held) -> Any:
        """The message as it was sent, with edits, secrets and the deadline of now."""
        content = held.content
        if held.chunk is not None:
            payload: Any = self._chunk(held.chunk)
            if content is None or content.headers is None:
                return payload
            return self._envelope(content, content.headers, content.meta, payload, content.deadline_s, held)
        if content is None:
            raise NotRebuildable("/payload", "message", "the log does not have it")
        stored = dict(content.payload)
        masked, stored, new = self._edited(held.message_id, _document(content), stored)
        document, missing = unmask(masked, given=self._known)
        if missing:
            self._miss(missing, masked, self._prefix(held.message_id))
            return None
        if "value" in stored:
            stored["value"] = document["payload"]
        payload = rebuild(stored, at="/payload")
        if new:
            _check_kept(payload, new)
        if document["headers"] is None:
            return self._renamed(payload)
        return self._envelope(content, document["headers"], document["meta"], payload, document["deadline_s"], held)

    def _envelope(
        self, content: Content, headers: Any, meta: Any, payload: Any, deadline_s: float | None, held: Held
    ) -> Message:
        if deadline_s is not None and deadline_s == content.deadline_s:
            deadline_s = (self.frontier.deadline(content, held.message_id) or 0.0) + self.plan.shift_s
        return Message(
            payload=payload,
            headers=Headers.model_validate(headers),
            trace_id=self.plan.trace_id,
            ts=content.ts,
            deadline_s=deadline_s,
            meta=meta or {},
        )

    def _chunk(self, chunk: Mapping[str, Any]) -> StreamChunk:
        if "text" not in chunk:
            raise NotRebuildable("/payload", "penguiflow.types:StreamChunk", "the log does not have its text")
        return StreamChunk(
            stream_id=self._stream(str(chunk["stream_id"])),
            seq=int(chunk["chunk_seq"]),
            text=exact_text(chunk),
            done=bool(chunk.get("done")),
            meta=chunk.get("meta") or {},
        )

    # -- edits ---------------------------------------------------------------------------------------------------------

    def _sort_in(self, path: str, value: Any) -> None:
        message_id, colon, pointer = path.partition(":")
        if path.startswith("/") or not colon:
            message_id, pointer = self._subject(path), path
        if not pointer.startswith("/"):
            self.problems.append(f"{path} is no JSON Pointer: /payload/text")
        elif message_id in self.frontier.states:
            self.kept_secrets[path] = value
        elif message_id:
            self.edits.setdefault(message_id, []).append((pointer, value))

    def _subject(self, path: str) -> str:
        """The message that a path without an id means."""
        frontier = self.frontier
        open_ids = [*frontier.invocations, *(key for key, held in frontier.waiting.items() if held.target != EXIT)]
        if frontier.subject in open_ids:
            return str(frontier.subject)
        if len(open_ids) == 1:
            return open_ids[0]
        if not open_ids:
            self.problems.append(f"{path}: after event {frontier.seq} no message is left to change")
        else:
            shown = ", ".join(f"{key}:{path}" for key in open_ids[:_MAX_SHOWN])
            self.problems.append(f"{path}: after event {frontier.seq} there are several messages; name one: {shown}")
        return ""

    def _edited(
        self, message_id: str, document: dict[str, Any], stored: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        """The message with its edits, and the pointers of those that put something where nothing was."""
        edits = self.edits.pop(message_id, ())
        new: list[str] = []
        if not edits:
            return document, stored, new
        document, stored = copy.deepcopy(document), copy.deepcopy(stored)
        for pointer, value in edits:
            parts = parts_of(pointer)
            if parts[0] not in document or (parts[0] != "payload" and document["headers"] is None):
                raise PointerError(
                    f"{pointer}: a message has /payload, /headers, /meta and /deadline_s; what a planner decided has "
                    "/next_node, /args and /thought, at the event `planner.decision`"
                )
            if parts[0] == "payload" and find(document, parts) is NOTHING:
                new.append(pointer)
            self.plan.edits.append(Edit(message_id, pointer, assign(document, parts, value)))
            if parts[0] == "payload":
                _forget_types(stored, pointer.removeprefix("/payload"))
        return document, stored, new

    # -- secrets -------------------------------------------------------------------------------------------------------

    def _learn_secrets(self) -> None:
        """Find out which secrets were given: edits of places that have a mark."""
        frontier = self.frontier
        working = [held for each in frontier.invocations.values() for held in (each.held, *each.fetched)]
        for held in (*working, *frontier.waiting.values()):
            if held is None or held.content is None:
                continue
            for pointer, value in self.edits.get(held.message_id, ()):
                mark = find(_document(held.content), parts_of(pointer))
                if isinstance(mark, dict) and mark.keys() == {"$secret"} and isinstance(value, str):
                    self.secrets[str(mark["$secret"])] = value

    def _known(self, at: str, mark: str) -> str | None:
        given = self.kept_secrets.get(at)
        if isinstance(given, str):
            self.secrets[mark] = given
        return self.secrets.get(mark)

    def _miss(self, places: Sequence[str], masked: Any, prefix: str) -> None:
        """Ask for secrets, once for each."""
        for place in places:
            mark = str(find(masked, parts_of(place)))
            if mark not in self.asked:
                self.asked.add(mark)
                self.missing.append(f"{prefix}{place}")

    def _prefix(self, message_id: str) -> str:
        """What stands before a path into this message."""
        return "" if message_id == self.frontier.subject else f"{message_id}:"

    # -- what nodes keep -----------------------------------------------------------------------------------------------

    def _states(self) -> None:
        for node, state in self.frontier.states.items():
            if node not in self.nodes:
                self.problems.append(f"the flow has no node '{node}' any more, which keeps state for the trace")
                continue
            try:
                self.plan.states[node] = self._state(node, state)
            except NotRebuildable as error:
                self.problems.append(f"what node '{node}' keeps: {_first_line(error)}")
            if state.hold is not None:
                self.plan.holds[node] = state.hold

    def _state(self, node: str, state: NodeState) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, form in state.values.items():
            at = f"{node}:/{key}"
            if "$list" in form:
                values[key] = [self._kept(item, f"{at}/{index}") for index, item in enumerate(form["$list"])]
            else:
                values[key] = self._kept(form, at)
        return values

    def _kept(self, form: Mapping[str, Any], at: str) -> Any:
        """One value; a message that came by an edge is that message."""
        for mark in ("$message", "$payload"):
            if mark in form:
                content = form[mark]
                if not isinstance(content, Content):
                    raise NotRebuildable(at, "message", "the log does not have it")
                payload = self._filled(content.payload, at)
                if mark == "$payload" or content.headers is None:
                    return self._renamed(payload)
                return self._renamed(
                    Message(
                        payload=payload,
                        headers=Headers.model_validate(content.headers),
                        trace_id=self.frontier.trace_id,
                        ts=content.ts,
                        deadline_s=None if content.deadline_s is None else content.deadline_s + self.plan.shift_s,
                        meta=content.meta,
                    )
                )
        return self._renamed(self._filled(form, at))

    def _filled(self, stored: Mapping[str, Any], at: str) -> Any:
        filled, missing = unmask(stored, at=at, given=self._known)
        self._miss([place.removeprefix(at) for place in missing], stored, at)
        return None if missing else rebuild(filled, at=at)

    def _renamed(self, value: Any) -> Any:
        """A value in whose messages a fork's id stands in the place of the origin's."""
        old, new = self.frontier.trace_id, self.plan.trace_id
        if old == new:
            return value
        if is_message(value) or getattr(value, "trace_id", None) == old:
            return value.model_copy(update={"trace_id": new}) if hasattr(value, "model_copy") else value
        if type(value) is list:
            return [self._renamed(item) for item in value]
        if type(value) is dict:
            return {key: self._renamed(item) for key, item in value.items()}
        return value

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _stream(self, stream: str) -> str:
        """Streams are named after their trace unless somebody says otherwise."""
        return self.plan.trace_id if stream == self.frontier.trace_id else stream

    def _calls(self) -> None:
        """Answers for what invocations under way had asked, those of a fork in the origin too."""
        frontier = self.frontier
        own = [event for invocation in frontier.invocations.values() for event in invocation.calls]
        by_trace: dict[str, list[TraceEvent]] = {}
        for event in [*frontier.origin_calls, *own]:
            by_trace.setdefault(event.trace_id, []).append(event)
        answers: dict[tuple[str, str, str, int], RecordedCall] = {}
        for trace_id, events in by_trace.items():
            events.sort(key=lambda event: event.seq)
            new = self.plan.trace_id
            cassette = Cassette.of(event._replace(data=rename(event.data, trace_id, new)) for event in events)
            answers.update({(call.place, call.kind, call.name, call.ordinal): call for call in cassette.calls})
        if answers:
            self.plan.tape = ResumeTape(Cassette(trace_id=self.plan.trace_id, calls=list(answers.values())))


_MAX_SHOWN = 5


def _document(content: Content) -> dict[str, Any]:
    """A message as those who change it see it."""
    return {
        "payload": content.payload.get("value"),
        "headers": content.headers,
        "meta": content.meta,
        "deadline_s": content.deadline_s,
    }


def _check_kept(payload: Any, pointers: Sequence[str]) -> None:
    """Raise `PointerError` where a value was put into an object that has no such place and dropped it."""
    encoded = from_json(encode_payload(payload))
    for pointer in pointers:
        if find({"payload": encoded.get("value")}, parts_of(pointer)) is NOTHING:
            raise PointerError(f"{pointer}: a {encoded['type']} has no such place")


def _forget_types(stored: dict[str, Any], place: str) -> None:
    """What was noted of a value does not hold for the one that takes its place."""
    for table in ("types", "lost"):
        notes = stored.get(table)
        if notes:
            kept = {at: kind for at, kind in notes.items() if at != place and not at.startswith(f"{place}/")}
            if place == "" and table == "types":
                kept = {}
            stored[table] = kept
    if place == "":
        stored.pop("repr", None)
        stored.pop("base64", None)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'/'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error).partition("\n")[0]
