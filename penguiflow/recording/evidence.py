"""What the events say at the places where two traces differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from penguiflow.recording.events import TraceEvent
from penguiflow.recording.facts import comparable
from penguiflow.recording.units import Aspect

if TYPE_CHECKING:
    from penguiflow.state.traces import TraceStore

__all__ = ["Change", "Place", "Side", "changes", "read_sides"]

PAGE = 512
MAX_CHANGES = 50
"""Of one difference."""
MAX_CHARS = 4096
"""Longer texts are cut, around the place where they begin to differ."""
_CONTEXT_CHARS = 200
_MAX_STREAM_CHARS = 256 * 1024
_MAX_DEPTH = 50
_ABSENT = object()


class Place(NamedTuple):
    """Where something is in a trace."""

    node: str
    """Empty for the trace itself."""
    position: int
    """Of the invocation among those of the node."""
    start_seq: int
    """Where the invocation began."""
    seq: int


class Side(BaseModel):
    """What one of the traces has at a place."""

    model_config = ConfigDict(extra="forbid")

    path: str
    seq: int
    kind: str
    name: str
    value: Any
    """What is compared of the event; of a stream its text."""

    def shortened(self) -> Side:
        """The same, with long texts cut."""
        return self.model_copy(update={"value": _cut(self.value)})


class Change(BaseModel):
    """One difference between two values."""

    model_config = ConfigDict(extra="forbid")

    pointer: str
    """JSON Pointer to what differs; empty for the whole value."""
    a: Any = None
    b: Any = None
    only: str | None = None
    """`a` or `b` when the other one has nothing there."""


async def read_sides(
    store: TraceStore, trace_id: str, places: Sequence[tuple[Place | None, Aspect]]
) -> list[Side | None]:
    """What stands at each place; None for None. Reads from where the invocations began, every event at most once."""
    wanted = sorted((place, index) for index, (place, _) in enumerate(places) if place is not None)
    sides: list[Side | None] = [None] * len(places)
    walk = _Walk(store, trace_id)
    waiting: list[tuple[Place, int]] = []
    for place, index in sorted(wanted, key=lambda item: (_begin(item[0]), item[0].seq)):
        while waiting and waiting[0][0].seq < _begin(place):
            await _take(walk, waiting, places, sides)
        if not waiting:
            walk.skip_to(_begin(place))
        waiting.append((place, index))
        waiting.sort(key=lambda item: item[0].seq)
    while waiting:
        await _take(walk, waiting, places, sides)
    return sides


async def _take(
    walk: _Walk,
    waiting: list[tuple[Place, int]],
    places: Sequence[tuple[Place | None, Aspect]],
    sides: list[Side | None],
) -> None:
    place, index = waiting.pop(0)
    event = await walk.go_to(place.seq)
    if event is None:
        return
    aspect = places[index][1]
    value = await walk.stream_text(event) if event.kind == "stream.chunk" else comparable(event, aspect)
    sides[index] = Side(path=walk.path(event, place), seq=event.seq, kind=event.kind, name=event.name, value=value)


def _begin(place: Place) -> int:
    return place.start_seq if place.node else place.seq


class _Walk:
    """Goes through the events of a trace, forward, and knows where each span is within its invocation."""

    def __init__(self, store: TraceStore, trace_id: str) -> None:
        self._store = store
        self._trace_id = trace_id
        self._page: list[TraceEvent] = []
        self._index = 0
        self._next = 0
        """Of the event after the last one."""
        self._spans: dict[str, _Step] = {}
        self._last: TraceEvent | None = None

    def skip_to(self, seq: int) -> None:
        """Events before this one are of no interest, as far as they were not read."""
        if seq >= self._next + len(self._page) - self._index:
            self._page, self._index, self._next = [], 0, seq
            self._spans.clear()

    async def go_to(self, seq: int) -> TraceEvent | None:
        """The event with this `seq`; None when the log ends before."""
        while self._last is None or self._last.seq < seq:
            if self._index >= len(self._page):
                self._page = await self._store.load_events(self._trace_id, after=self._next - 1, limit=PAGE)
                self._index = 0
                if not self._page:
                    return None
            event = self._page[self._index]
            self._index += 1
            self._next = event.seq + 1
            if self._last is not None and self._last.kind.endswith(".end"):
                self._spans.pop(self._last.span_id, None)
            self._last = event
            if event.kind.endswith(".start") and event.parent_id is not None:
                self._spans[event.span_id] = _Step(self._step(event), event.parent_id)
        return self._last

    def path(self, event: TraceEvent, place: Place) -> str:
        """Where the event is, as a span path; a message's ends in where it goes."""
        steps: list[str] = []
        span = self._spans.get(event.span_id)
        while span is not None and len(steps) < _MAX_DEPTH:
            steps.append(span.text)
            span = self._spans.get(span.around)
        if place.node:
            # The outermost is the invocation itself.
            steps[-1:] = [f"{place.node}[{place.position}]"]
        path = "/".join(reversed(steps))
        if event.kind == "message.enqueued":
            source, _, target = event.name.partition("->")
            return f"{path or source} -> {target}"
        if not event.kind.endswith((".start", ".end")):
            return f"{path}/{event.name or event.kind}" if path else event.kind
        return path or "trace"

    async def stream_text(self, first: TraceEvent) -> str:
        """The text of a stream from its first chunk to the end of its span, up to a limit.

        What was held back of it is read where it is: with a chunk of somebody else's, or at the end of the trace.
        """
        parts: list[str] = []
        mine: set[Any] = set()
        late: set[Any] = set()
        ended = False
        after = first.seq - 1
        while sum(map(len, parts)) < _MAX_STREAM_CHARS:
            kinds = ["stream.chunk"] if ended else None
            page = await self._store.load_events(self._trace_id, after=after, limit=PAGE, kinds=kinds)
            for event in page:
                data = event.data
                ended = ended or (event.span_id == first.span_id and event.kind.endswith(".end"))
                if ended and not late:
                    break
                if event.kind != "stream.chunk" or data.get("stream_id") != first.data.get("stream_id"):
                    continue
                text = str(data.get("text"))
                for number, length in data.get("carried") or ():
                    parts += [text[:length]] if number in late else []
                    text = text[length:]
                    late.discard(number)
                if event.span_id == first.span_id and data.get("rest") is not True:
                    mine.add(data.get("chunk_seq"))
                    parts.append(text)
                late |= {number for number, _ in (data.get("held") or {}).get("parts", ()) if number in mine}
            if len(page) < PAGE or (ended and not late):
                break
            after = page[-1].seq
        return "".join(parts)

    def _step(self, event: TraceEvent) -> str:
        if event.kind == "attempt.start":
            return f"attempt[{event.data.get('attempt')}]"
        around = self._spans.get(event.parent_id or "")
        number = 0
        if around is not None:
            number = around.counts.get((event.kind, event.name), 0)
            around.counts[event.kind, event.name] = number + 1
        return f"{event.name}[{number}]"


class _Step:
    """A span on the way."""

    __slots__ = ("around", "counts", "text")

    def __init__(self, text: str, around: str) -> None:
        self.text = text
        self.around = around
        self.counts: dict[tuple[str, str], int] = {}
        """How many spans of each kind and name began in it."""


def changes(a: Any, b: Any) -> Iterator[Change]:
    """Where two JSON values differ, at most `MAX_CHANGES` places. Texts are cut around where they begin to differ."""
    for count, (pointer, one, other) in enumerate(_changes(a, b, "", 0)):
        if count >= MAX_CHANGES:
            return
        if one is _ABSENT:
            yield Change(pointer=pointer, b=_cut(other), only="b")
        elif other is _ABSENT:
            yield Change(pointer=pointer, a=_cut(one), only="a")
        else:
            short, other_short = _around(one, other)
            yield Change(pointer=pointer, a=_cut(short), b=_cut(other_short))


def _changes(a: Any, b: Any, pointer: str, depth: int) -> Iterator[tuple[str, Any, Any]]:
    if a is _ABSENT or b is _ABSENT or depth > _MAX_DEPTH:
        if a != b:
            yield pointer, a, b
    elif isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            step = str(key).replace("~", "~0").replace("/", "~1")
            yield from _changes(a.get(key, _ABSENT), b.get(key, _ABSENT), f"{pointer}/{step}", depth + 1)
    elif isinstance(a, list) and isinstance(b, list):
        for index in range(max(len(a), len(b))):
            one = a[index] if index < len(a) else _ABSENT
            other = b[index] if index < len(b) else _ABSENT
            yield from _changes(one, other, f"{pointer}/{index}", depth + 1)
    elif type(a) is not type(b) or a != b:
        yield pointer, a, b


def _around(a: Any, b: Any) -> tuple[Any, Any]:
    """Of two long texts: from a little before the place where they begin to differ."""
    if not (isinstance(a, str) and isinstance(b, str)) or max(len(a), len(b)) <= MAX_CHARS:
        return a, b
    same = next((index for index, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), None)
    start = max(0, (min(len(a), len(b)) if same is None else same) - _CONTEXT_CHARS)
    return ("…" + a[start:], "…" + b[start:]) if start else (a, b)


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_CHARS else value[:MAX_CHARS] + "…"
    if isinstance(value, list):
        return [_cut(item) for item in value]
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    return value
