"""Calls that leave the process: written down as they happen, and answered from a recording where there is one.

`ctx.record` is the public face. Whatever else talks to the world (remote agents, models, tools) goes through
`call_out` or `stream_out`: then it is recorded, replayed and not repeated after a crash, without knowing of any of it.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from penguiflow.failures import DeadlinePassed, NodeTimeout
from penguiflow.observer import Payload
from penguiflow.traces import TraceCancelled

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.observer import TraceLog
    from penguiflow.traces import Trace

__all__ = [
    "Answer",
    "Call",
    "Scope",
    "Tape",
    "call_now",
    "call_out",
    "chance",
    "has_answer",
    "scope_of",
    "segment",
    "stream_out",
]

SEED_BITS = 53
"""Of the seeds that are recorded: readers of JSON may know no longer integers."""
ABANDONED_GRACE_S = 5.0
"""How much longer than it took when it was recorded a call may wait that was cancelled from within its node."""
_TOLD_APART = frozenset({"llm", "tool"})
"""Kinds whose names are those of models and tools, and may be the name of anything else too."""
_WHO: Any = object()
"""The request of a call that has none."""
_EVENTS = {"record": "record", "checkpoint": "checkpoint.resolved"}
"""Kinds that are one event, written when the call is over; the others are spans."""


class Call(NamedTuple):
    """One call, and where it is made."""

    node: str
    """Name of the node that makes it."""
    place: str
    """`<message id>/<attempt>`, then `/<segment>[<ordinal>]` for each span inside the attempt."""
    kind: str
    """`record`, `checkpoint`, `llm`, `tool` or `remote`."""
    name: str
    ordinal: int
    """From 0, among the calls of this name in this place, in the order in which they begin."""
    request: Any
    """In its stored form: see `TraceLog.freeze`."""


class Answer(NamedTuple):
    """What a recording has for a call."""

    response: Any = None
    error: BaseException | None = None
    ending: str | None = None
    """Why there is neither response nor error: its attempt ran into a `timeout` or the trace's `deadline`, the trace
    was `cancelled`, or the node `abandoned` the call."""
    seconds: float = 0.0
    """How long it took."""
    waited: bool = True
    """Whether others could run meanwhile."""


class Tape(Protocol):
    """Knows the answers to calls of a trace that ran before."""

    def answer(self, call: Call) -> Answer | None:
        """The recorded answer; None for a call that is to be made. Raises `TraceCancelled` where the replay ends."""
        ...

    def has(self, call: Call) -> bool:
        """Whether there is a recorded answer: for calls that are made only where somebody wants to be asked."""
        ...

    @property
    def live(self) -> bool:
        """Whether somebody may be asked what the recording does not know."""
        ...

    async def turn(self, call: Call) -> None:
        """Return when the answer to this call is due."""
        ...

    def outlived(self, call: Call) -> TraceCancelled:
        """What to raise for a call that is still awaited although it was abandoned when it was recorded."""
        ...

    def pause(self, seconds: float) -> float:
        """How long to wait before a retry that waited `seconds`."""
        ...


def segment(kind: str, name: str) -> str:
    """How a span or call stands in a path: `fetch`, `tool.fetch`, `llm.openai:gpt-5`."""
    return f"{kind}.{name.replace('/', ':')}" if kind in _TOLD_APART else name


class Scope:
    """Where calls are counted: one attempt of an invocation, or a span inside it."""

    __slots__ = ("chances", "counts", "parts", "place", "span")

    def __init__(self, place: str, span: str) -> None:
        self.place = place
        self.span = span
        self.counts: dict[str, int] = {}
        self.chances: dict[int, random.Random] = {}
        """Generators, by part."""
        self.parts: WeakKeyDictionary[asyncio.Task[Any], int] | None = None

    def part(self, context: Context) -> int:
        """Which of the parts that run at once here asks: 0 for the node's function itself, others as they first ask.

        A task that the function made is a part. Who asks first depends on little; in which order all ask, on the world.
        """
        if context._task is None:
            return 0
        try:
            task = asyncio.current_task()
        except RuntimeError:  # in another thread
            return 0
        if task is None or task is context._task:
            return 0
        if self.parts is None:
            self.parts = WeakKeyDictionary()
        known = self.parts.get(task)
        if known is None:
            known = self.parts[task] = self.count("")
        return known + 1

    def count(self, name: str) -> int:
        """The ordinal of one more call of this name."""
        ordinal = self.counts.get(name, 0)
        self.counts[name] = ordinal + 1
        return ordinal

    def within(self, step: str, ordinal: int, span: str) -> Scope:
        """The scope of a span inside this one."""
        return Scope(f"{self.place}/{step}[{ordinal}]", span)


def scope_of(context: Context, log: TraceLog) -> Scope:
    """The attempt that is under way."""
    span = context._attempt_span or log.root
    scope = context._scope
    if scope is None or scope.span != span:
        scope = context._scope = Scope(f"{context._item[4]}/{context._attempt}", span)
    return scope


class _Entry:
    """One call on its way into the log."""

    def __init__(
        self, context: Context, trace: Trace, log: TraceLog, kind: str, name: str, request: Any, scope: Scope | None
    ) -> None:
        self.log = log
        self.context = context
        self.trace = trace
        if scope is None:
            scope = scope_of(context, log)
        self.parent = scope.span
        part = scope.part(context)
        if request is _WHO:
            # Nothing but who asks tells such calls apart.
            request = [part] if part else []
        # What is written at once needs no copy of its own.
        asked = Payload(request) if trace.tape is None and kind not in _EVENTS else log.freeze(request)
        self.call = Call(context._port.name, scope.place, kind, name, scope.count(segment(kind, name)), asked)
        self.answer: Answer | None = None
        self.about: Callable[[Any], Mapping[str, Any]] | None = None
        if trace.tape is not None:
            try:
                self.answer = trace.tape.answer(self.call)
            except TraceCancelled as stop:
                # Nothing of the trace may go on, whatever the node's code makes of the exception.
                context._flow()._cancel(trace, stop.headline)
                raise
        self.started = perf_counter()
        self.waited = False
        self.span = ""
        self.scope = scope
        if kind not in _EVENTS:
            self.span = log.start(kind, name, self.parent, {"ordinal": self.call.ordinal, "request": self.call.request})
            self.scope = scope.within(segment(kind, name), self.call.ordinal, self.span)

    async def make(self, perform: Callable[..., Any], *args: Any) -> Any:
        """Make the call, and see whether others could run meanwhile: that is what order depends on."""
        made = perform(*args)
        if not inspect.isawaitable(made):
            return made
        turned = asyncio.get_running_loop().call_soon(self._turned)
        try:
            return await made
        finally:
            turned.cancel()

    def _turned(self) -> None:
        self.waited = True

    def returned(self, response: Any) -> None:
        """Write the response."""
        told = self.about(response) if self.about is not None else {}
        self._write("ok", {"response": Payload(response), **told})

    def failed(self, error: BaseException, pieces: list[Any] | None = None) -> None:
        """Write the failure, with what it takes to raise it again, and what came before it."""
        data: dict[str, Any] = {} if pieces is None else {"response": Payload(pieces)}
        if isinstance(error, asyncio.CancelledError | TraceCancelled | GeneratorExit):
            self._write("cancelled", {**data, "cancelled": True})
            return
        kind = type(error)
        about = {"class": f"{kind.__module__}:{kind.__qualname__}", "args": self.log.freeze(list(error.args))}
        self._write("error", {**data, "error": {**self.log.describe(getattr(error, "_described_by", error)), **about}})

    def _write(self, status: str, data: dict[str, Any]) -> None:
        data["latency_ms"] = (perf_counter() - self.started) * 1e3
        waited = self.waited
        if self.answer is not None:
            waited = self.answer.waited
            data["latency_ms"] = self.answer.seconds * 1e3
            data["replayed"] = True
        if not waited:
            data["waited"] = False
        kind, name = self.call.kind, self.call.name
        if kind in _EVENTS:
            data = {"ordinal": self.call.ordinal, "request": self.call.request, **data}
            self.log.event(_EVENTS[kind], name, self.parent, data)
        else:
            self.log.end(kind, name, self.span, self.parent, status, data)

    async def replay(self, answer: Answer) -> Any:
        """Give, raise or repeat what the recording has."""
        if answer.ending is not None:
            await self._end_alike(answer)
        assert self.trace.tape is not None
        if answer.waited:
            await self.trace.tape.turn(self.call)
        if answer.error is not None:
            raise answer.error
        return answer.response

    async def _end_alike(self, answer: Answer) -> None:
        """The call had no answer when it was recorded: have happen again what ended it."""
        assert self.trace.tape is not None
        # Waits, if only for a moment: nothing else can be cancelled.
        await self.trace.tape.turn(self.call)
        await asyncio.sleep(0)
        worker = self.context._port.inbox.worker
        engine = self.context._port.inbox.engine
        if answer.ending in ("timeout", "deadline") and worker is not None and engine is not None:
            too_late = NodeTimeout if answer.ending == "timeout" else DeadlinePassed
            engine.invoker._expire(worker, self.context, too_late)
        elif answer.ending == "cancelled":
            self.context._flow()._cancel(self.trace, "the recorded run was cancelled here")
        # Whoever abandoned the call will do so again.
        await asyncio.sleep(answer.seconds + ABANDONED_GRACE_S)
        stop = self.trace.tape.outlived(self.call)
        self.context._flow()._cancel(self.trace, stop.headline)
        raise stop


async def call_out(
    context: Context,
    kind: str,
    name: str,
    request: Any,
    perform: Callable[..., Any],
    *args: Any,
    scope: Scope | None = None,
    inside: Callable[[Scope], None] | None = None,
    about: Callable[[Any], Mapping[str, Any]] | None = None,
) -> Any:
    """Make a call by way of the trace's log: `perform(*args)`, awaited if need be; `request` is what tells it apart.

    Args:
        kind: `record` or `checkpoint` (one event), or that of a span: `llm`, `tool`, `remote`.
        scope: Where it is made; by default the attempt that is under way.
        inside: Told where calls are made that are part of this one, before it begins. What is answered from a
            recording makes none.
        about: What the end of the span says besides, from the response.
    """
    trace = context._trace
    log = None if trace is None else trace.log
    if trace is None or log is None:
        made = perform(*args)
        return await made if inspect.isawaitable(made) else made
    entry = _Entry(context, trace, log, kind, name, request, scope)
    entry.about = about
    if inside is not None:
        inside(entry.scope)
    try:
        if entry.answer is not None:
            response = await entry.replay(entry.answer)
        else:
            response = await entry.make(perform, *args)
    except BaseException as error:
        entry.failed(error)
        raise
    entry.returned(response)
    return response


def has_answer(context: Context, kind: str, name: str, request: Any, scope: Scope) -> bool:
    """Whether a recording answers the next call of this name: of calls that are made only where somebody is asked."""
    trace = context._trace
    if trace is None or trace.log is None or trace.tape is None:
        return False
    ordinal = scope.counts.get(segment(kind, name), 0)
    return trace.tape.has(Call(context._port.name, scope.place, kind, name, ordinal, trace.log.freeze(request)))


def call_now(context: Context, name: str, perform: Callable[[], Any], scope: Scope | None = None) -> Any:
    """As `call_out`, for a call without a request that neither waits nor fails."""
    trace = context._trace
    log = None if trace is None else trace.log
    if trace is None or log is None:
        return perform()
    entry = _Entry(context, trace, log, "record", name, _WHO, scope)
    response = perform() if entry.answer is None else entry.answer.response
    entry.returned(response)
    return response


async def stream_out(
    context: Context, kind: str, name: str, request: Any, perform: Callable[[], AsyncIterator[Any]]
) -> AsyncGenerator[Any, None]:
    """As `call_out`, for a call that answers piece by piece; close it (`aclosing`) when you leave early."""
    trace = context._trace
    log = None if trace is None else trace.log
    if trace is None or log is None:
        async with _closing(perform()) as source:
            async for piece in source:
                yield piece
        return
    entry = _Entry(context, trace, log, kind, name, request, None)
    entry.waited = True
    pieces: list[Any] = []
    try:
        if entry.answer is not None:
            for piece in entry.answer.response or ():
                pieces.append(piece)
                yield piece
            await entry.replay(entry.answer)
        else:
            async with _closing(perform()) as source:
                async for piece in source:
                    pieces.append(piece)
                    yield piece
    except BaseException as error:
        entry.failed(error, pieces)
        raise
    entry.returned(pieces)


@asynccontextmanager
async def _closing(source: AsyncIterator[Any]) -> AsyncIterator[AsyncIterator[Any]]:
    """Close what can be closed: a transport may give any iterator."""
    try:
        yield source
    finally:
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()


def chance(context: Context, scope: Scope | None = None) -> random.Random:
    """The generator of the attempt (or span) that is under way, and of the task; its seed is in the log."""
    trace = context._trace
    log = None if trace is None else trace.log
    if log is None:
        return random.Random()
    if scope is None:
        scope = scope_of(context, log)
    part = scope.part(context)
    if part not in scope.chances:
        seed = call_now(context, "ctx.random", lambda: secrets.randbits(SEED_BITS), scope)
        scope.chances[part] = random.Random(seed)
    return scope.chances[part]
