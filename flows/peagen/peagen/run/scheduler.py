"""Which file is next: a file is ready when all that it waits for is settled, and the smallest name goes first."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence


class Scheduler:
    """Hands out the files of a graph, and keeps what depends on a failed one from being made.

    With one worker the order is exactly that of `sort_file_records`: of all that is ready, the smallest name.
    """

    def __init__(self, order: Sequence[str], parents: Mapping[str, set[str]], children: Mapping[str, Sequence[str]]):
        """`order`: the files to make. Parents that are not among them are settled already."""
        self.order = list(order)
        wanted = set(self.order)
        self._children = {name: [child for child in children.get(name, ()) if child in wanted] for name in self.order}
        self._waits = {name: sum(parent in wanted for parent in parents.get(name, ())) for name in self.order}
        self._ready = [name for name, count in self._waits.items() if not count]
        heapq.heapify(self._ready)
        self._left = len(self.order)

    @property
    def left(self) -> int:
        """Files that are not settled."""
        return self._left

    def take(self) -> str | None:
        """The next file, None where nothing is ready."""
        return heapq.heappop(self._ready) if self._ready else None

    def settle(self, name: str) -> None:
        """`name` is there: what waited for nothing else is ready."""
        self._left -= 1
        for child in self._children[name]:
            if child in self._waits:
                self._waits[child] -= 1
                if not self._waits[child]:
                    heapq.heappush(self._ready, child)

    def fail(self, name: str) -> list[str]:
        """`name` will not be there: nor will what depends on it, which is returned in order of name."""
        self._left -= 1
        lost: set[str] = set()
        waiting = list(self._children[name])
        while waiting:
            child = waiting.pop()
            if child in self._waits and child not in lost:
                lost.add(child)
                waiting += self._children[child]
        for child in lost:
            del self._waits[child]
        self._left -= len(lost)
        return sorted(lost)
