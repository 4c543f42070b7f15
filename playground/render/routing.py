"""How lines run from one row of nodes to the next: which share a line, which one lies above the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from playground.render.canvas import DOWN, UP, Canvas
from playground.render.layers import Edge

__all__ = ["Route", "route"]


class _Bus(NamedTuple):
    """Sources that all lead to the same targets share one horizontal line."""

    sources: list[str]
    targets: list[str]


class Route:
    """Lines between two rows, for given columns in which they leave (`stems`) and arrive (`drops`)."""

    def __init__(self, edges: Sequence[Edge], stems: Mapping[str, int], drops: Mapping[str, int]) -> None:
        self.stems = stems
        self.drops = drops
        self._buses = _share(edges)
        self._spans = [(min(columns), max(columns)) for columns in map(self._columns, self._buses)]
        self._above = self._precedence()
        self._tracks = self._stack()

    @property
    def height(self) -> int:
        """Rows that the lines need, without the one for the arrow heads."""
        return max([1, *self._tracks])

    @property
    def ambiguities(self) -> int:
        """How often a line that leaves a node runs into one that arrives at the next row from elsewhere."""
        found = 0
        for upper, track in zip(self._buses, self._tracks, strict=True):
            stems = {self.stems[source] for source in upper.sources}
            for lower, other in zip(self._buses, self._tracks, strict=True):
                if upper is not lower and other and (not track or track > other):
                    found += len(stems & {self.drops[target] for target in lower.targets})
        return found

    def draw(self, canvas: Canvas, top: int) -> None:
        """Draw everything but the arrow heads, from row `top` on."""
        bottom = top + self.height
        for bus, track, (left, right) in zip(self._buses, self._tracks, self._spans, strict=True):
            line = top + max(track - 1, 0)
            for source in bus.sources:
                canvas.vertical(self.stems[source], top, line)
                canvas.join(top, self.stems[source], UP)
            for target in bus.targets:
                canvas.vertical(self.drops[target], line, bottom)
                canvas.join(bottom, self.drops[target], DOWN)
            canvas.horizontal(line, left, right)
        for index, track in enumerate(self._tracks):
            if track:
                self._bridge(canvas, index, top + track - 1)

    def _columns(self, bus: _Bus) -> list[int]:
        return [*(self.stems[name] for name in bus.sources), *(self.drops[name] for name in bus.targets)]

    def _stack(self) -> list[int]:
        """A line (from 1) for each bus so that none runs along another; 0 for one that goes straight down."""
        waiting = [index for index, (left, right) in enumerate(self._spans) if left != right]
        waiting.sort(key=lambda index: self._spans[index])
        tracks = [0] * len(self._buses)
        placed: list[int] = []
        blocked = {index: sum(index in self._above[other] for other in waiting) for index in waiting}
        while waiting:
            index = min(waiting, key=blocked.__getitem__)
            waiting.remove(index)
            for lower in self._above[index]:
                if lower in blocked:
                    blocked[lower] -= 1
            left, right = self._spans[index]
            for other in placed:
                apart = right < self._spans[other][0] or self._spans[other][1] < left
                if not apart or index in self._above[other]:
                    tracks[index] = max(tracks[index], tracks[other])
            tracks[index] += 1
            placed.append(index)
        return tracks

    def _precedence(self) -> list[set[int]]:
        """For each bus, those that must lie below it.

        A source of the one stands over a target of the other: their verticals would run together.
        """
        arriving: dict[int, set[int]] = {}
        own: list[set[int]] = []
        for index, bus in enumerate(self._buses):
            own.append({self.drops[target] for target in bus.targets})
            for column in own[-1]:
                arriving.setdefault(column, set()).add(index)
        above: list[set[int]] = []
        for index, bus in enumerate(self._buses):
            columns = {self.stems[source] for source in bus.sources} - own[index]
            above.append({lower for column in columns for lower in arriving.get(column, ()) if lower != index})
        return above

    def _bridge(self, canvas: Canvas, index: int, line: int) -> None:
        """Mark where verticals of other buses cross this line without joining it."""
        left, right = self._spans[index]
        own = set(self._columns(self._buses[index]))
        track = self._tracks[index]
        for bus, other in zip(self._buses, self._tracks, strict=True):
            above = [self.stems[name] for name in bus.sources] if other == 0 or other > track else []
            below = [self.drops[name] for name in bus.targets] if other < track else []
            for column in (*above, *below):
                if column not in own and left < column < right:
                    canvas.bridge(line, column)


def _share(edges: Sequence[Edge]) -> list[_Bus]:
    targets: dict[str, list[str]] = {}
    for source, target in edges:
        targets.setdefault(source, []).append(target)
    together: dict[frozenset[str], _Bus] = {}
    for source, found in targets.items():
        together.setdefault(frozenset(found), _Bus([], found)).sources.append(source)
    return list(together.values())


def route(edges: Sequence[Edge], center: Mapping[str, int], narrow: set[str]) -> Route:
    """The lines for these edges. Where they would run into each other, they arrive beside the middle of a node.

    `narrow` names have one column only.
    """
    stems = {source: center[source] for source, _ in edges}
    best: Route | None = None
    for shift in (0, -1, 1):
        drops = {target: center[target] + (0 if target in narrow else shift) for _, target in edges}
        candidate = Route(edges, stems, drops)
        if best is None or candidate.ambiguities < best.ambiguities:
            best = candidate
        if not best.ambiguities:
            break
    assert best is not None
    return best
