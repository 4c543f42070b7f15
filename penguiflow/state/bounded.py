"""Collections that do not grow without end."""

from __future__ import annotations

from bisect import bisect_left, insort_right
from collections import OrderedDict
from collections.abc import Callable
from operator import attrgetter
from typing import Generic, TypeVar

from penguiflow.metrics import StoredEvent

__all__ = ["EventLog", "KeyedLog", "Recent"]

K = TypeVar("K")
V = TypeVar("V")

_by_time = attrgetter("ts")


class Recent(OrderedDict[K, V]):
    """A dict of the `limit` entries that were written last."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def keep(self, key: K, value: V) -> None:
        """Set an entry; the one written longest ago makes room."""
        self[key] = value
        self.move_to_end(key)
        while len(self) > self._limit:
            self.popitem(last=False)

    def ensure(self, key: K, make: Callable[[], V]) -> V:
        """The entry of this key, made when there is none; it counts as written."""
        value = self[key] if key in self else make()
        self.keep(key, value)
        return value


class KeyedLog(Generic[V]):
    """The last `limit` items in the order in which they came, each once by its key."""

    def __init__(self, limit: int) -> None:
        self._items: OrderedDict[str, V] = OrderedDict()
        self._limit = limit

    def add(self, key: str, item: V) -> None:
        """Append an item; one of the same key is replaced where it stands."""
        self._items[key] = item
        while len(self._items) > self._limit:
            self._items.popitem(last=False)

    def items(self) -> list[V]:
        """All of them."""
        return list(self._items.values())

    def last(self, limit: int, since: str | None, wanted: Callable[[V], bool]) -> list[V]:
        """The last `limit` wanted items that came after `since` (from the beginning, when that is not there)."""
        found: list[V] = []
        if limit > 0:
            for key in reversed(self._items):
                if key == since or len(found) == limit:
                    break
                item = self._items[key]
                if wanted(item):
                    found.append(item)
        return found[::-1]


class EventLog:
    """The last `limit` events of a trace in the order of their time, each once."""

    __slots__ = ("_events", "_limit")

    def __init__(self, limit: int) -> None:
        self._events: list[StoredEvent] = []
        self._limit = limit

    def add(self, event: StoredEvent) -> None:
        """Put an event in its place; one that is there already changes nothing."""
        events = self._events
        if not events or event.ts > events[-1].ts:
            events.append(event)
        else:
            # Equal events have equal times: only those need to be compared.
            position = bisect_left(events, event.ts, key=_by_time)
            while position < len(events) and events[position].ts == event.ts:
                if events[position] == event:
                    return
                position += 1
            insort_right(events, event, key=_by_time)
        # Cut now and then, not each time: moving a long list costs.
        if len(events) > self._limit + self._limit // 4:
            del events[: -self._limit]

    def items(self) -> list[StoredEvent]:
        """All of them."""
        return self._events[-self._limit :]
