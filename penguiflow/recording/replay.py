"""Run a recorded trace again, with the code as it is now and the answers as they were."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from penguiflow.errors import FlowError
from penguiflow.ids import new_id
from penguiflow.pieces import PartChunk
from penguiflow.recording.cassette import Cassette, RecordedInput
from penguiflow.recording.divergence import ReplayDiverged, difference
from penguiflow.recording.events import EventRecord
from penguiflow.recording.offline import Blocked, Offline, Started, offline
from penguiflow.recording.paths import matches
from penguiflow.recording.rebuilding import NotRebuildable, rebuild
from penguiflow.recording.recorder import Recorder
from penguiflow.recording.tape import ReplayTape, StrangeTape, answer_of, blur, open_secrets, rename
from penguiflow.recording.unmasking import unmask
from penguiflow.results import ResultQueue
from penguiflow.traces import trace_status
from penguiflow.types import Headers, Message, StreamChunk

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.observer import TraceLog
    from penguiflow.registry import ModelRegistry

__all__ = ["NotReplayable", "Replay", "SpanNotFound", "after_span", "comparable", "replay", "replay_running"]


class NotReplayable(Exception):
    """A trace that cannot be run again from its log; the text says why."""

    def __init__(self, trace_id: str, reason: str) -> None:
        super().__init__(f"trace {trace_id} cannot be replayed: {reason}")
        self.trace_id = trace_id
        self.reason = reason


class SpanNotFound(LookupError):
    """No span of the trace is meant, or several are: `candidates` are their paths."""

    def __init__(self, wanted: str, candidates: list[str]) -> None:
        told = f"several spans are meant by {wanted!r}" if candidates else f"no span is {wanted!r}"
        super().__init__(told)
        self.candidates = candidates


@dataclass
class Replay:
    """How a replay went, beside what was recorded."""

    trace_id: str
    """Of the new trace."""
    status: str = "ok"
    """`ok`, `error`, `timeout` or `cancelled`; `diverged` where the code asked something else than was recorded."""
    outputs: list[Any] = field(default_factory=list)
    """What it delivered, stream chunks left out."""
    payloads: list[dict[str, Any]] = field(default_factory=list)
    """The same as they are stored: masked, `{type, value}`, the recorded trace's id in the place of the new one."""
    streams: list[str] = field(default_factory=list)
    """The texts of its streams, masked as they are stored."""
    error: FlowError | None = None
    diverged: ReplayDiverged | None = None
    blocked: list[Blocked] = field(default_factory=list)
    """Connections that were tried and not let through."""
    started: list[Started] = field(default_factory=list)
    """Processes that were started: nobody watched what they did."""
    answered: int = 0
    """Calls that were answered from the recording."""
    made: int = 0
    """Calls that were made."""
    difference: str = ""
    """What it delivered against what was recorded, as a diff; empty when that is the same."""
    seconds: float = 0.0

    @property
    def output(self) -> Any:
        """The last output; the payload of a `Message`."""
        last = self.outputs[-1] if self.outputs else None
        return last.payload if isinstance(last, Message) else last

    @property
    def values(self) -> list[Any]:
        """What it delivered as JSON values, secrets masked."""
        return [comparable(payload) for payload in self.payloads]

    @property
    def same(self) -> bool:
        """Whether all went as it was recorded."""
        return self.diverged is None and not self.difference and not self.blocked

    def check(self) -> Replay:
        """Raise `ReplayDiverged` for a replay that diverged, and `AssertionError` for one that came out otherwise."""
        __tracebackhide__ = True  # for pytest, which would show this function
        if self.diverged is not None:
            raise self.diverged.with_traceback(None) from None
        if self.blocked:
            places = ", ".join(f"{each.to} ({each.file}:{each.line})" for each in self.blocked)
            raise AssertionError(f"the replay tried to connect to {places}")
        if self.difference:
            raise AssertionError(f"the replay came out otherwise than it was recorded:\n{self.difference}")
        return self


async def replay(
    flow: PenguiFlow,
    cassette: Cassette,
    *,
    registry: ModelRegistry | None = None,
    recorder: Any = None,
    trace_id: str | None = None,
    live_after: str | None = None,
) -> Replay:
    """Run a flow that is not running on the recorded inputs, and stop it again.

    Args:
        recorder: Takes the events of the new trace, which has `mode: replay` and its origin in its first event.
        trace_id: Of the new trace.
        live_after: A span, by its id or path: what is called after its end is called in earnest. Without it nothing
            leaves the process.

    Raises:
        NotReplayable: the trace lacks something that it takes, with its name.
        SpanNotFound: `live_after` names no span, or several.
    """
    flow.run(registry=registry, recorder=recorder or Recorder(_Nowhere(), name=cassette.flow), alone=True)
    try:
        return await replay_running(flow, cassette, trace_id=trace_id, live_after=live_after)
    finally:
        await flow.stop()


async def replay_running(
    flow: PenguiFlow,
    cassette: Cassette,
    *,
    trace_id: str | None = None,
    live_after: str | None = None,
    annotate: Callable[[str, dict[str, Any]], None] | None = None,
) -> Replay:
    """As `replay`, in a flow that runs with a recorder; `annotate` adds to the first event of the new trace."""
    point = None if live_after is None else after_span(cassette, live_after)
    inputs = _inputs(cassette, flow)
    if point is None:
        _check_answers(cassette)
    else:
        _check_secrets(cassette, point)
    outcome = Replay(trace_id or new_id())
    tape = ReplayTape(cassette, outcome.trace_id, live_after=point)
    strange: dict[str, StrangeTape] = {}

    def tape_of(other: str) -> ReplayTape | StrangeTape:
        return tape if other == outcome.trace_id else strange.setdefault(other, StrangeTape(tape, other))

    before = flow._table.tape_of
    flow._table.tape_of = tape_of
    if annotate is not None:
        origin = {"trace_id": cassette.trace_id, "seq": point} if point is not None else {"trace_id": cassette.trace_id}
        annotate(outcome.trace_id, {"origin": origin, "mode": "replay"})
    started = time.perf_counter()
    try:
        with ExitStack() as stack:
            guard = stack.enter_context(offline())
            tape.on_live = guard.lift
            await _perform(flow, inputs, outcome, guard, tape)
    finally:
        flow._table.tape_of = before
    outcome.seconds = time.perf_counter() - started
    outcome.answered, outcome.made = tape.answered, tape.made
    outcome.diverged = tape.diverged
    if outcome.diverged is None and outcome.status == cassette.status:
        outcome.diverged = tape.missing()
    if outcome.diverged is not None:
        outcome.status = "diverged"
    else:
        outcome.difference = _compare(cassette, outcome, blur if tape.blurred else _as_it_is)
    return outcome


def after_span(cassette: Cassette, wanted: str) -> int:
    """The last event of a span or call, by its id or the end of its path. Raises `SpanNotFound`."""
    exact = cassette.spans.get(wanted)
    if exact is not None:
        return exact[1]
    found = {path: seq for path, seq in cassette.spans.values() if path and matches(path, wanted)}
    found.update({call.path: call.seq for call in cassette.calls if matches(call.path, wanted)})
    if len(found) != 1:
        raise SpanNotFound(wanted, sorted(found))
    return next(iter(found.values()))


def _inputs(cassette: Cassette, flow: PenguiFlow) -> list[tuple[RecordedInput, Any]]:
    if cassette.problem is not None:
        raise NotReplayable(cassette.trace_id, cassette.problem)
    if not cassette.inputs:
        raise NotReplayable(cassette.trace_id, "its input is not in the log")
    known = {str(node.name) for node in flow.ingress}
    inputs = []
    for number, each in enumerate(cassette.inputs):
        gone = sorted(set(each.targets) - known)
        if gone:
            raise NotReplayable(cassette.trace_id, f"the flow has no entry node {gone[0]!r} any more")
        try:
            inputs.append((each, rebuild(open_secrets(each.payload), at=f"input {number}")))
        except NotRebuildable as error:
            raise NotReplayable(cassette.trace_id, str(error)) from error
    return inputs


def _check_answers(cassette: Cassette) -> None:
    """Find out before anything runs what cannot be answered."""
    for call in cassette.calls:
        try:
            answer_of(call)
        except NotRebuildable as error:
            raise NotReplayable(cassette.trace_id, str(error)) from error


def _check_secrets(cassette: Cassette, point: int) -> None:
    """What is called in earnest is not called with what merely stands for a secret."""
    for number, each in enumerate(cassette.inputs):
        missing = unmask(each.payload.get("value"), at="/payload")[1]
        if missing:
            where = missing[0] if len(cassette.inputs) == 1 else f"{missing[0]} of input {number}"
            reason = f"the log does not have the secret at {where}, and the calls after event {point} may need it"
            raise NotReplayable(cassette.trace_id, f"{reason}: fork the trace there, with `--set` for the secret")


async def _perform(
    flow: PenguiFlow,
    inputs: list[tuple[RecordedInput, Any]],
    outcome: Replay,
    guard: Offline,
    tape: ReplayTape,
) -> None:
    """Send the inputs in, and take what comes out until the trace is over."""
    streams: dict[str, str] = {}
    sink = ResultQueue(0)
    first = _message(*inputs[0], outcome.trace_id)
    trace = flow._begin(first, outcome.trace_id, sink)
    log = trace.log
    if log is not None:
        trace.log = _Counting(log, tape)
    try:
        # The trace must not end before all of its inputs are in.
        trace.inflight += 1
        try:
            for each, given in inputs:
                payload = given
                if isinstance(given, StreamChunk) and given.stream_id == tape.cassette.trace_id:
                    payload = given.model_copy(update={"stream_id": outcome.trace_id})
                message = _message(each, payload, outcome.trace_id)
                wanted = [node for node in flow.ingress if str(node.name) in each.targets]
                await flow._submit(message, trace, None if len(wanted) == len(flow.ingress) else wanted)
        finally:
            flow._table.release(trace)
        while True:
            item = await sink.get()
            value = _payload(item)
            if isinstance(value, PartChunk):
                continue  # how far a model got before it was asked again is not part of what came out
            if isinstance(value, StreamChunk):
                streams[value.stream_id] = streams.get(value.stream_id, "") + value.text
            else:
                outcome.outputs.append(item)
                outcome.payloads.append(value if log is None else log.freeze(value))
    except StopAsyncIteration:
        pass
    except FlowError as error:
        outcome.error = error
    finally:
        flow._end(trace, sink)
        outcome.blocked, outcome.started = guard.blocked, guard.started
        outcome.streams = [text if log is None else str(log.freeze(text)["value"]) for text in streams.values()]
    # A deadline or a budget delivers an answer, and raises nothing.
    outcome.error = outcome.error or trace.error
    outcome.status = "ok" if outcome.error is None else trace_status(outcome.error)


def _message(recorded: RecordedInput, payload: Any, trace_id: str) -> Any:
    """The input as it came in, with as much time left as it had."""
    if recorded.headers is None:
        return payload
    late = recorded.deadline_in_s
    return Message(
        payload=payload,
        headers=Headers(**recorded.headers),
        trace_id=trace_id,
        deadline_s=None if late is None else time.time() + late,
        meta=recorded.meta,
    )


def _compare(cassette: Cassette, outcome: Replay, seen: Callable[[Any], Any]) -> str:
    """Status, outputs and streams of both, as a diff. The order in which outputs came is left out.

    `seen` makes of a value what is compared of it.
    """
    then = [output.payload for output in cassette.outputs]
    outcome.payloads = rename(outcome.payloads, outcome.trace_id, cassette.trace_id)
    streams = rename(outcome.streams, outcome.trace_id, cassette.trace_id)
    before = _Outcome(cassette.status, seen(then), seen(cassette.streams))
    after = _Outcome(outcome.status, seen(outcome.payloads), seen(streams))
    if before.key() == after.key():
        return ""
    return difference(before.shown(), after.shown()) or "the classes of the outputs are others"


def _as_it_is(value: Any) -> Any:
    return value


class _Outcome:
    def __init__(self, status: str, outputs: list[Any], streams: list[str]) -> None:
        self._status = status
        self._outputs = sorted((comparable(output) for output in outputs), key=to_json)
        self._streams = sorted(streams)

    def key(self) -> tuple[str, bytes, bytes]:
        return self._status, to_json(self._outputs), to_json(self._streams)

    def shown(self) -> dict[str, Any]:
        return {"status": self._status, "outputs": self._outputs, "streams": self._streams}


def comparable(payload: dict[str, Any]) -> Any:
    """What stands for a value that has no JSON (an error that was delivered, say) tells its time, too."""
    return {"type": payload["type"]} if payload.get("repr") is True else payload.get("value")


def _payload(item: Any) -> Any:
    return item.payload if isinstance(item, Message) else item


class _Nowhere:
    """For a replay that nobody records: message ids are made where there is a log."""

    def write(self, record: EventRecord) -> None:
        """Take an event."""


class _Counting:
    """A log that tells the tape how far the flow is."""

    def __init__(self, log: TraceLog, tape: ReplayTape) -> None:
        self._log = log
        self._tape = tape
        self.root = log.root
        self.event = log.event
        self.end = log.end
        self.put = log.put
        self.freeze = log.freeze
        self.describe = log.describe
        self.close = log.close

    def start(self, kind: str, name: str, parent: str, data: Mapping[str, Any] | None = None) -> str:
        """Open a span."""
        span = self._log.start(kind, name, parent, data)
        if kind == "node":
            self._tape.order.began()
        return span

    def begin(self, edge: str, message_id: str, node: str, node_id: str) -> None:
        """Every event for itself."""

    def taken(self, edge: str, parent: str, message_id: str, node: str, node_id: str) -> tuple[str, str]:
        """A node takes a message."""
        spans = self._log.taken(edge, parent, message_id, node, node_id)
        self._tape.order.began()
        return spans

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)
