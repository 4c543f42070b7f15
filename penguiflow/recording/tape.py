"""A cassette at work: answers the calls of a trace that runs again."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from operator import attrgetter
from typing import Any

from pydantic_core import to_json

from penguiflow.calls import Answer, Call, segment
from penguiflow.recording.cassette import Cassette, RecordedCall
from penguiflow.recording.divergence import ReplayDiverged
from penguiflow.recording.masking import stand_in
from penguiflow.recording.rebuilding import rebuild
from penguiflow.recording.unmasking import unmask
from penguiflow.traces import TraceCancelled

__all__ = ["RecordedError", "ReplayTape", "ResumeTape", "StrangeTape", "answer_of", "blur", "open_secrets", "rename"]

_HIDDEN = "⟦$secret⟧"
_LOST = re.compile(r"⟦\${1,2}secret hmac:[0-9a-f]+⟧")
_SHORTEST_ID = 12
"""A shorter trace id may be part of any text."""
_PATIENCE_S = 0.05
_SLOWNESS = 1.5
"""How much longer than in the recording the flow's own work may take before a later answer is given out of turn."""


class RecordedError(Exception):
    """A recorded call failed with an error whose type cannot be made again."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        """Name of the class."""
        self.message = message


class _Calls:
    """Recorded calls that wait to be asked for."""

    def __init__(self, calls: Iterable[RecordedCall], same: Callable[[Any], bytes]) -> None:
        self._same = same
        self._by_request: dict[tuple[str, str, str, bytes], deque[RecordedCall]] = {}
        self._by_ordinal: dict[tuple[str, str, str, int], RecordedCall] = {}
        self._inside: dict[str, list[RecordedCall]] = {}
        """Calls that are part of another one, by the place of that one."""
        for call in sorted(calls, key=lambda call: call.ordinal):
            self._by_request.setdefault((call.place, call.kind, call.name, same(call.request)), deque()).append(call)
            self._by_ordinal[call.place, call.kind, call.name, call.ordinal] = call
            place = call.place
            while place.count("/") > 1:
                self._inside.setdefault(place, []).append(call)
                place = place.rpartition("/")[0]

    def has(self, call: Call) -> bool:
        """Whether there is a recorded call with this request."""
        return bool(self._by_request.get((call.place, call.kind, call.name, self._same(call.request))))

    def take(self, call: Call) -> RecordedCall | None:
        """The recorded call with this request; of several the one that began first."""
        found = self._by_request.get((call.place, call.kind, call.name, self._same(call.request)))
        if not found:
            return None
        recorded = found.popleft()
        del self._by_ordinal[recorded.place, recorded.kind, recorded.name, recorded.ordinal]
        return recorded

    def drop_inside(self, recorded: RecordedCall) -> list[RecordedCall]:
        """Forget what was asked by a call that is answered: nobody asks it again. Returns what that was."""
        within = f"{recorded.place}/{segment(recorded.kind, recorded.name)}[{recorded.ordinal}]"
        dropped = []
        for call in self._inside.pop(within, ()):
            if self._by_ordinal.pop((call.place, call.kind, call.name, call.ordinal), None) is not None:
                self._by_request[call.place, call.kind, call.name, self._same(call.request)].remove(call)
                dropped.append(call)
        return dropped

    def instead_of(self, call: Call) -> RecordedCall | None:
        """What the recording has in the place of a call whose request it does not have."""
        exact = self._by_ordinal.get((call.place, call.kind, call.name, call.ordinal))
        if exact is not None:
            return exact
        asked = (call.place, call.kind, call.name)
        others = (other for other in self if (other.place, other.kind, other.name) == asked)
        return min(others, key=lambda other: other.ordinal, default=None)

    def __iter__(self) -> Iterator[RecordedCall]:
        return iter(self._by_ordinal.values())


class _Order:
    """Gives answers out in the order in which they came when they were recorded.

    Who is first decides what a join collects and who wins a race. An answer waits for those before it, as long as
    the flow's own work may take to ask for them.
    """

    def __init__(self, calls: Iterable[RecordedCall], *, alone: bool = False) -> None:
        """`alone`: the calls are those of one invocation, which need not ask for all of them again."""
        self._alone = alone
        self._begun = 0
        """Invocations."""
        self._queue = deque(sorted(calls, key=lambda call: call.seq))
        self._left = {call.seq for call in self._queue}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._last_s = 0.0
        """When the answer before came, in the recording."""
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, recorded: RecordedCall) -> None:
        """Return when it is this answer's turn."""
        if recorded.seq not in self._left:
            await asyncio.sleep(0)
            return
        future = self._waiting[recorded.seq] = asyncio.get_running_loop().create_future()
        self._advance()
        try:
            await future
        finally:
            del self._waiting[recorded.seq]
            self._left.discard(recorded.seq)
            self._last_s = max(self._last_s, recorded.begun_s + recorded.seconds)
            self._advance()

    def _advance(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and self._queue[0].seq not in self._left:
            self._queue.popleft()
        if not self._queue or not self._waiting:
            return
        first = self._queue[0]
        waiting = self._waiting.get(first.seq)
        if waiting is None or (self._begun < first.after and not self._alone):
            patience = _PATIENCE_S
            if not self._alone:
                patience += _SLOWNESS * max(0.0, first.begun_s + first.seconds - self._last_s)
            self._timer = asyncio.get_running_loop().call_later(patience, self._give_up, first)
        elif not waiting.done():
            waiting.set_result(None)

    def drop(self, call: RecordedCall) -> None:
        """Nobody waits for this answer."""
        self._left.discard(call.seq)

    def began(self) -> None:
        """A node begins with a message."""
        self._begun += 1
        if self._waiting:
            self._advance()

    def _give_up(self, first: RecordedCall) -> None:
        """What was before it, or the call itself, does not come: nobody waits for it any longer."""
        self._timer = None
        if first.seq in self._waiting:
            self._begun = max(self._begun, first.after)
        else:
            self._left.discard(first.seq)
        self._advance()


class ReplayTape:
    """Answers the calls of one replayed trace, and stops it where it asks something else."""

    def __init__(self, cassette: Cassette, trace_id: str, *, live_after: int | None = None) -> None:
        """Calls that were answered later than event `live_after` of the recording are made; by default none is."""
        self.cassette = cassette
        self.trace_id = trace_id
        self.diverged: ReplayDiverged | None = None
        self.answered = 0
        """Calls that were answered from the recording."""
        self.made = 0
        """Calls that were made."""
        self.on_live: Callable[[], None] = lambda: None
        """Called before the first call that is made."""
        self._live_after = live_after
        # A secret that cannot be filled in again gives another one, wherever it goes.
        stored = [each.payload for each in cassette.inputs] + [call.response for call in cassette.calls]
        self.blurred = any(unmask(value)[1] for value in stored)
        """Whether secrets look alike when two values are compared."""
        kept = [call for call in cassette.calls if live_after is None or call.seq <= live_after]
        self._calls = _Calls(kept, self._same)
        # What was given up had no answer.
        self.order = _Order(c for c in kept if c.waited and c.ending != "abandoned")
        self._given: dict[tuple[str, str, int], RecordedCall] = {}

    def answer(self, call: Call) -> Answer | None:
        """The recorded answer; None for a call that is to be made. Raises `ReplayDiverged`."""
        if self.diverged is not None:
            raise self.diverged
        recorded = self._calls.take(call)
        if recorded is None:
            instead = self._calls.instead_of(call)
            if instead is None and self._live_after is not None:
                self.made += 1
                self.on_live()
                return None
            raise self._diverge(call, instead)
        self.answered += 1
        self._given[call.place, segment(call.kind, call.name), call.ordinal] = recorded
        for inner in self._calls.drop_inside(recorded):
            self.order.drop(inner)
        return answer_of(recorded)

    def has(self, call: Call) -> bool:
        """Whether the recording has this very call."""
        return self.diverged is None and self._calls.has(call)

    @property
    def live(self) -> bool:
        """Whether calls are made by now."""
        return self.made > 0

    async def turn(self, call: Call) -> None:
        """Return when the answer to this call is due."""
        await self.order.turn(self._given.pop((call.place, segment(call.kind, call.name), call.ordinal)))

    def outlived(self, call: Call) -> TraceCancelled:
        """A call that was abandoned is awaited to its end now."""
        path = f"{self.cassette.path_of(call.place, call.node)}/{segment(call.kind, call.name)}[{call.ordinal}]"
        why = "the call was given up when it was recorded, and is awaited now"
        self.diverged = ReplayDiverged(path, call.request, call.request, trace_id=self.trace_id, why=why)
        return self.diverged

    def pause(self, seconds: float) -> float:
        """The wait before a retry is part of the past, until calls are made again."""
        return seconds if self.made else 0.0

    def missing(self) -> ReplayDiverged | None:
        """The first recorded call that was not made, once the run is over."""
        left = sorted((call for call in self._calls if call.ending is None), key=lambda call: call.seq)
        if not left:
            return None
        first = left[0]
        why = "the recording has this call, and it was not made"
        if len(left) > 1:
            why = f"the recording has this call and {len(left) - 1} more, and they were not made"
        return ReplayDiverged(first.path, first.request, None, trace_id=self.trace_id, why=why, seq=first.seq)

    def _diverge(self, call: Call, instead: RecordedCall | None) -> ReplayDiverged:
        path = f"{self.cassette.path_of(call.place, call.node)}/{segment(call.kind, call.name)}[{call.ordinal}]"
        if instead is not None:
            why, recorded, seq = "", _value(instead.request), instead.seq
        else:
            recorded = seq = None
            ended = self.cassette.status
            why = "the recording has no such call"
            if ended not in ("ok", "error"):
                why += f": it ends here, as the recorded run was {_PAST.get(ended, ended)}"
        got = _value(rename(call.request, self.trace_id, self.cassette.trace_id))
        if self.blurred:
            got = _aligned(recorded, got)
        self.diverged = ReplayDiverged(path, recorded, got, trace_id=self.trace_id, why=why, seq=seq)
        return self.diverged

    def _same(self, request: Any) -> bytes:
        """What is equal for requests that are: the id of the trace may stand in them."""
        value = rename(_value(request), self.trace_id, self.cassette.trace_id)
        return to_json(_sorted(blur(value) if self.blurred else value))


class StrangeTape:
    """For a trace that has no recording, inside a replay: a node sent a message under an id of its own."""

    def __init__(self, replayed: ReplayTape, trace_id: str) -> None:
        self._replayed = replayed
        self._trace_id = trace_id

    def answer(self, call: Call) -> Answer | None:
        """Raise `ReplayDiverged`, unless calls are made."""
        if self._replayed.made:
            return None
        asked = f"{segment(call.kind, call.name)}[{call.ordinal}]"
        path = f"{call.node}[new]/attempt[{call.place.partition('/')[2]}]/{asked}"
        why = f"it belongs to trace {self._trace_id}, which is not the recorded one"
        self._replayed.diverged = ReplayDiverged(path, None, _value(call.request), trace_id=self._trace_id, why=why)
        raise self._replayed.diverged

    def has(self, call: Call) -> bool:
        """Nothing of it is answered."""
        return False

    @property
    def live(self) -> bool:
        """As the replayed trace."""
        return self._replayed.live

    async def turn(self, call: Call) -> None:
        """Nothing of it is answered."""

    def outlived(self, call: Call) -> TraceCancelled:
        """Nothing of it is answered."""
        return TraceCancelled(self._trace_id)

    def pause(self, seconds: float) -> float:
        """As the replayed trace."""
        return self._replayed.pause(seconds)


class ResumeTape:
    """Answers what a trace had asked before it was interrupted or forked; everything else is asked now."""

    def __init__(self, cassette: Cassette) -> None:
        answered = [call for call in cassette.calls if call.ending is None]
        self._calls = _Calls(answered, _as_it_is)
        waited: dict[str, list[RecordedCall]] = {}
        for call in answered:
            if call.waited:
                waited.setdefault(_message_of(call), []).append(call)
        self._orders = {message_id: _Order(calls, alone=True) for message_id, calls in waited.items()}
        """By invocation: its parts may race each other."""
        self._given: dict[tuple[str, str, str, int], RecordedCall] = {}

    def answer(self, call: Call) -> Answer | None:
        """The recorded answer to the very same request; None for a call that is to be made."""
        recorded = self._calls.take(call)
        if recorded is None:
            return None
        order = self._orders.get(_message_of(recorded))
        for inner in self._calls.drop_inside(recorded):
            if order is not None:
                order.drop(inner)
        if recorded.waited:
            self._given[call.place, call.kind, call.name, call.ordinal] = recorded
        return answer_of(recorded)

    def has(self, call: Call) -> bool:
        """Whether it was asked before."""
        return self._calls.has(call)

    @property
    def live(self) -> bool:
        """What was not asked before is asked now."""
        return True

    async def turn(self, call: Call) -> None:
        """Return when the answers before it, of the same invocation, are given."""
        recorded = self._given.pop((call.place, call.kind, call.name, call.ordinal), None)
        order = None if recorded is None else self._orders.get(_message_of(recorded))
        if recorded is None or order is None:
            await asyncio.sleep(0)
        else:
            await order.turn(recorded)

    def outlived(self, call: Call) -> TraceCancelled:
        """No call is answered that was given up."""
        return TraceCancelled(None)

    def pause(self, seconds: float) -> float:
        """Retries wait as ever."""
        return seconds


def _message_of(call: RecordedCall) -> str:
    """The id of the message that was worked on."""
    return call.place.partition("/")[0]


def rename(value: Any, old: str, new: str) -> Any:
    """A JSON value with one trace's id in the place of another's, wherever it stands in a text."""
    return value if old == new or len(old) < _SHORTEST_ID else _renamed(value, old, new)


def open_secrets(value: Any) -> Any:
    """A stored value with the secrets of the environment in it; for the others a text that stands for them."""
    filled, _ = unmask(value, lost=stand_in)
    return filled


def answer_of(recorded: RecordedCall) -> Answer:
    """What a call gets. Raises `NotRebuildable` for a response that cannot be made again."""
    at = f"{recorded.path}/response"
    response = None if recorded.response is None else rebuild(open_secrets(recorded.response), at=at)
    error = None if recorded.error is None else _error_of(recorded.error)
    return Answer(response, error, recorded.ending, recorded.seconds, recorded.waited)


def _error_of(data: dict[str, Any]) -> BaseException:
    """The recorded exception: of its type if that can be imported and made, else `RecordedError`."""
    message = str(data.get("message", ""))
    with suppress(Exception):  # the class is user code that may be gone, or want other arguments now
        module, _, name = str(data["class"]).partition(":")
        kind = attrgetter(name)(import_module(module))
        if isinstance(kind, type) and issubclass(kind, Exception):
            error = kind(*rebuild(open_secrets(data["args"])))
            if str(error) == message:
                return error
    return RecordedError(str(data.get("type", "Exception")), message)


_PAST = {"timeout": "out of time", "cancelled": "cancelled", "interrupted": "interrupted", "running": "not over"}


def _value(request: Any) -> Any:
    """What is compared: what was passed, whatever its classes are called."""
    return request["value"] if isinstance(request, dict) and "value" in request else request


def blur(value: Any) -> Any:
    """A value in which all secrets that cannot be filled in again look alike."""
    if isinstance(value, str):
        return _LOST.sub(_HIDDEN, value)
    if isinstance(value, dict):
        if len(value) == 1 and str(value.get("$secret")).startswith("hmac:"):
            return _HIDDEN
        return {key: blur(item) for key, item in value.items()}
    return [blur(item) for item in value] if isinstance(value, list) else value


def _aligned(recorded: Any, got: Any) -> Any:
    """What is asked now, with the recording's own secrets where both have one that cannot be compared."""
    if isinstance(recorded, dict) and isinstance(got, dict) and "$secret" not in recorded:
        return {key: _aligned(recorded.get(key), item) for key, item in got.items()}
    if isinstance(recorded, list) and isinstance(got, list):
        return [_aligned(*pair) for pair in zip(recorded, got, strict=False)] + got[len(recorded) :]
    return recorded if recorded is not None and blur(recorded) == blur(got) else got


def _as_it_is(request: Any) -> bytes:
    return to_json(_sorted(_value(request)))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {_renamed(key, old, new): _renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    return value
