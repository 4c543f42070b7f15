"""Where two traces differ: the first divergence first.

Both logs are read once, side by side, and kept as numbers; what is the same is forgotten at once. Of the first
differences the events are read again, to be shown. Times, ids and the order in which parallel work came along are no
differences.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from penguiflow.recording.evidence import Change, Place, Side, changes, read_sides
from penguiflow.recording.facts import FactReader
from penguiflow.recording.units import Aspect, Unit, seq_and_aspect

if TYPE_CHECKING:
    from penguiflow.state.traces import TraceStore

__all__ = ["Change", "Counted", "Difference", "Measured", "Side", "TraceDiff", "diff_traces"]

PAGE = 512
"""Events of each trace that are in memory at a time."""
MAX_REMEMBERED = 10_000
"""Differences of which the place is kept; the others are only counted."""
DEFAULT_LIMIT = 50
_NEVER = 1 << 62


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Difference(_Model):
    """One place where the traces are not the same."""

    aspect: str
    """`input`, `prompt`, `decision`, `output`, `status`, or `invocation`: work that only one of them has."""
    path: str
    """Where, as a span path: `summarize[3]/attempt[0]/fetch[1]`."""
    a: Side | None
    """None when only the other one has it."""
    b: Side | None
    changes: list[Change]
    """What differs within; empty when only one of them has it."""


class Counted(_Model):
    """How many spans of a kind and name there are."""

    kind: str
    name: str
    a: int
    b: int


class Measured(_Model):
    """A number of both traces."""

    name: str
    a: float
    b: float


class Forked(_Model):
    """Where one of the traces began as the other."""

    fork: Literal["a", "b"]
    """Which of them is the fork."""
    seq: int
    """The last event of the other one that they have in common."""


class TraceDiff(_Model):
    """How two traces compare."""

    forked: Forked | None = None
    """When one was forked from the other: only what came after that is compared, and the edits are."""
    equal: bool
    """Whether there is no difference. Times, tokens and cost do not matter for it."""
    first: Difference | None
    """The first divergence, in the order of the first trace."""
    differences: list[Difference]
    """Inputs, prompts, decisions, outputs, statuses, and work that only one of them has; each in order."""
    total: int
    """How many differences there are; `differences` holds the first of them."""
    counts: list[Counted]
    """Spans of which one trace has more than the other."""
    totals: list[Measured]
    """Events, spans, retries, chunks, tokens and cost."""
    times: list[Measured]
    """Seconds, of the whole trace and of each node's invocations together; those that changed most first.

    Of a trace that the other one was forked from, only what came after that.
    """


class _Found(NamedTuple):
    rank: int
    """Where it is in the first trace; for what only the second one has, where it would be."""
    in_a: bool
    aspect: Aspect
    a: Place | None
    b: Place | None


async def diff_traces(a: tuple[TraceStore, str], b: tuple[TraceStore, str], *, limit: int = DEFAULT_LIMIT) -> TraceDiff:
    """Compare two traces (store and full id each); the events of at most `limit` differences are read.

    Takes memory for a page of each, for what one of them has and the other not (yet), and for the differences shown.
    """
    forked = await _forked(a, b)
    match = _Match()
    readers = _reader("a", forked), _reader("b", forked)
    pages = [_Pages(*a), _Pages(*b)]
    while any(not page.over for page in pages):
        # The same share of both, so that what is the same meets soon.
        got = await asyncio.gather(*(page.next() for page in pages))
        for side, events in enumerate(got):
            feed = readers[side].feed
            for event in events:
                unit = feed(event)
                if unit is not None:
                    match.take(side, unit)
        await asyncio.sleep(0)
    for side, reader in enumerate(readers):
        for unit in reader.rest():
            match.take(side, unit)
    match.finish()
    shown = match.found[: max(0, limit)]
    sides_a = await read_sides(*a, [(found.a, found.aspect) for found in shown])
    sides_b = await read_sides(*b, [(found.b, found.aspect) for found in shown])
    differences = [_difference(found, one, other) for found, one, other in zip(shown, sides_a, sides_b, strict=True)]
    return TraceDiff(
        forked=forked,
        equal=not match.total,
        first=differences[0] if differences else None,
        differences=sorted(differences, key=lambda difference: Aspect[difference.aspect.upper()]),
        total=match.total,
        counts=list(_counts(*readers)),
        totals=_totals(*readers),
        times=_times(*readers, pages[0].last_ns, pages[1].last_ns),
    )


async def _forked(a: tuple[TraceStore, str], b: tuple[TraceStore, str]) -> Forked | None:
    which: tuple[Literal["a", "b"], ...] = ("a", "b")
    for fork, (store, trace_id), (_, other) in zip(which, (a, b), (b, a), strict=True):
        trace = await store.get_trace(trace_id)
        origin = None if trace is None else trace.origin
        # A replay runs all of it again.
        if origin is not None and origin.get("mode") is None and origin.get("trace_id") == other:
            seq = origin.get("seq")
            return Forked(fork=fork, seq=seq) if isinstance(seq, int) else None
    return None


def _reader(side: Literal["a", "b"], forked: Forked | None) -> FactReader:
    if forked is None:
        return FactReader()
    return FactReader(forked=True) if forked.fork == side else FactReader(since=forked.seq)


_RANK = itemgetter(0, 1, 2)


class _Pages:
    """The events of a trace, a page at a time."""

    def __init__(self, store: TraceStore, trace_id: str) -> None:
        self._store = store
        self._trace_id = trace_id
        self._after = -1
        self.last_ns = 0
        self.over = False

    async def next(self) -> list[Any]:
        if self.over:
            return []
        events = await self._store.load_events(self._trace_id, after=self._after, limit=PAGE)
        if events:
            self._after = events[-1].seq
            self.last_ns = events[-1].offset_ns
        self.over = len(events) < PAGE
        return events


class _Match:
    """Puts units of both sides together."""

    def __init__(self) -> None:
        self.found: list[_Found] = []
        self.total = 0
        self._last_rank = _NEVER
        """Of those that are remembered: what comes later is only counted."""
        self._waiting: tuple[dict[tuple[str, str, int], Unit], dict[tuple[str, str, int], Unit]] = ({}, {})
        self._starts = array("q")
        """Of the units that were put together: where they begin in the second trace and in the first, in turns."""

    def take(self, side: int, unit: Unit) -> None:
        """A unit that ended; when the other side's was there before, they are compared."""
        other = self._waiting[1 - side].pop(unit.key, None)
        if other is None:
            self._waiting[side][unit.key] = unit
        else:
            self._pair(*((unit, other) if side == 0 else (other, unit)))

    def finish(self) -> None:
        """Pair what was not found by its message: the first that is left of a node with the first, and so on."""
        left: tuple[dict[str, list[Unit]], dict[str, list[Unit]]] = (defaultdict(list), defaultdict(list))
        for side in (0, 1):
            for unit in sorted(self._waiting[side].values(), key=lambda unit: unit.start_seq):
                left[side][unit.name].append(unit)
        only_b: list[Unit] = []
        for name in {**left[0], **left[1]}:
            ours, theirs = left[0].get(name, []), left[1].get(name, [])
            for one, other in zip(ours, theirs, strict=False):
                self._pair(one, other)
            for unit in ours[len(theirs) :]:
                self._add(unit.start_seq, Aspect.INVOCATION, _place(unit, unit.start_seq), None)
            only_b += theirs[len(ours) :]
        starts = sorted(zip(self._starts[::2], self._starts[1::2], strict=True))
        for unit in only_b:
            index = bisect_right(starts, (unit.start_seq, _NEVER)) - 1
            before_b, before_a = starts[index] if index >= 0 else (0, 0)
            rank = before_a + unit.start_seq - before_b
            self._add(rank, Aspect.INVOCATION, None, _place(unit, unit.start_seq))
        self.found.sort(key=_RANK)

    def _pair(self, a: Unit, b: Unit) -> None:
        self._starts.extend((b.start_seq, a.start_seq))
        if a.facts == b.facts:
            return
        if a.facts[::2] == b.facts[::2]:
            for what, other, place, other_place in zip(a.facts[1::2], b.facts[1::2], a.places, b.places, strict=True):
                if what != other:
                    seq, aspect = seq_and_aspect(place)
                    self._add(seq, aspect, _place(a, seq), _place(b, seq_and_aspect(other_place)[0]))
            return
        ours, theirs = a.by_place(), b.by_place()
        for where, (what, seq, aspect) in ours.items():
            found = theirs.pop(where, None)
            if found is None:
                # What a fork was changed in comes before all else.
                self._add(-1 if seq <= a.beginning else seq, aspect, _place(a, seq), None)
            elif found[0] != what:
                self._add(seq, aspect, _place(a, seq), _place(b, found[1]))
        for _, seq, aspect in theirs.values():
            rank = -1 if seq <= b.beginning else a.start_seq + seq - b.start_seq
            self._add(rank, aspect, None, _place(b, seq))

    def _add(self, rank: int, aspect: Aspect, a: Place | None, b: Place | None) -> None:
        self.total += 1
        if rank > self._last_rank:
            return
        self.found.append(_Found(rank, a is not None, aspect, a, b))
        if len(self.found) >= 2 * MAX_REMEMBERED:
            self.found.sort(key=_RANK)
            del self.found[MAX_REMEMBERED:]
            self._last_rank = self.found[-1].rank


def _place(unit: Unit, seq: int) -> Place:
    return Place(unit.name, unit.position, unit.start_seq, seq)


def _difference(found: _Found, a: Side | None, b: Side | None) -> Difference:
    shown = a or b
    return Difference(
        aspect=found.aspect.name.lower(),
        path="" if shown is None else shown.path,
        a=a and a.shortened(),
        b=b and b.shortened(),
        changes=list(changes(a.value, b.value)) if a is not None and b is not None else [],
    )


def _counts(a: FactReader, b: FactReader) -> Iterator[Counted]:
    for kind, name in sorted({**a.tally.spans, **b.tally.spans}):
        ours, theirs = a.tally.spans[kind, name], b.tally.spans[kind, name]
        if ours != theirs:
            yield Counted(kind=kind, name=name, a=ours, b=theirs)


def _totals(a: FactReader, b: FactReader) -> list[Measured]:
    def numbers(reader: FactReader) -> dict[str, float]:
        tally = reader.tally
        kinds: Counter[str] = Counter()
        for (kind, _), count in tally.spans.items():
            kinds[kind] += count
        return {
            "events": reader.events,
            **{f"{kind} spans": count for kind, count in kinds.items() if kind != "trace"},
            "retries": tally.retries,
            "chunks": tally.chunks,
            "tokens": tally.tokens,
            "cost": tally.cost,
        }

    ours, theirs = numbers(a), numbers(b)
    names = [name for name in {**ours, **theirs} if ours.get(name) or theirs.get(name)]
    return [Measured(name=name, a=ours.get(name, 0), b=theirs.get(name, 0)) for name in names]


def _times(a: FactReader, b: FactReader, total_a: int, total_b: int) -> list[Measured]:
    ours, theirs = a.tally.durations_ns, b.tally.durations_ns
    nodes = [Measured(name=name, a=ours[name] / 1e9, b=theirs[name] / 1e9) for name in {**ours, **theirs}]
    nodes.sort(key=lambda node: (-abs(node.a - node.b), node.name))
    whole = Measured(name="trace", a=(total_a - a.since_ns) / 1e9, b=(total_b - b.since_ns) / 1e9)
    return [whole, *nodes]
