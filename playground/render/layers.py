"""Which row each node of a graph is drawn in, and in which order: a layered layout without crossings it can avoid."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Layout", "lay_out"]

_SWEEPS = 8
"""How often rows are sorted by their neighbors; more changes nothing in graphs that fit a terminal."""

Edge = tuple[str, str]


class Layout(NamedTuple):
    """Rows of names from top to bottom. Edges join one row to the next."""

    rows: list[list[str]]
    edges: list[Edge]
    """Between neighboring rows; a long edge is a chain through stand-ins."""
    stand_ins: set[str]
    """Names in the rows that are no nodes: where a long edge passes through."""
    back: list[Edge]
    """Edges against the direction, and from a node to itself: not drawn as lines."""


def lay_out(names: Sequence[str], edges: Sequence[Edge]) -> Layout:
    """A layout for a graph that may have cycles; the same for the same input."""
    forward, back = _split_cycles(names, edges)
    depth = _depths(names, forward)
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in names:
        rows[depth[name]].append(name)
    drawn: list[Edge] = []
    stand_ins: set[str] = set()
    for number, (source, target) in enumerate(forward):
        previous = source
        for level in range(depth[source] + 1, depth[target]):
            stand_in = f"\0{number}:{level}"
            stand_ins.add(stand_in)
            rows[level].append(stand_in)
            drawn.append((previous, stand_in))
            previous = stand_in
        drawn.append((previous, target))
    return Layout(_sort_rows(rows, drawn), drawn, stand_ins, back)


def _split_cycles(names: Sequence[str], edges: Sequence[Edge]) -> tuple[list[Edge], list[Edge]]:
    """Tell edges that go on from edges that go back, by a walk from the nodes that nothing leads to."""
    following: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:
        following[source].append(target)
    reached = {target for source, target in edges if source != target}
    roots = [name for name in names if name not in reached]
    state: dict[str, str] = {}
    back: set[Edge] = set()
    for root in (*roots, *names):
        if root in state:
            continue
        state[root] = "open"
        stack = [(root, iter(following[root]))]
        while stack:
            name, rest = stack[-1]
            for target in rest:
                if state.get(target) == "open":
                    back.add((name, target))
                elif target not in state:
                    state[target] = "open"
                    stack.append((target, iter(following[target])))
                    break
            else:
                state[name] = "done"
                stack.pop()
    unique = list(dict.fromkeys(edges))
    return [edge for edge in unique if edge not in back], [edge for edge in unique if edge in back]


def _depths(names: Sequence[str], edges: Iterable[Edge]) -> dict[str, int]:
    """How many edges lie before each node on the longest way to it."""
    incoming = dict.fromkeys(names, 0)
    following: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:
        incoming[target] += 1
        following[source].append(target)
    depth = dict.fromkeys(names, 0)
    ready = deque(name for name in names if not incoming[name])
    while ready:
        name = ready.popleft()
        for target in following[name]:
            depth[target] = max(depth[target], depth[name] + 1)
            incoming[target] -= 1
            if not incoming[target]:
                ready.append(target)
    return depth


def _sort_rows(rows: list[list[str]], edges: Sequence[Edge]) -> list[list[str]]:
    """Order each row by the middle of its neighbors, downward and upward in turn; the best order seen wins."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for source, target in edges:
        above.setdefault(target, []).append(source)
        below.setdefault(source, []).append(target)
    best, fewest = rows, _crossings(rows, below)
    current = [list(row) for row in rows]
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        order = range(1, len(current)) if down else range(len(current) - 2, -1, -1)
        for level in order:
            neighbors = above if down else below
            fixed = current[level - 1] if down else current[level + 1]
            current[level] = _by_middle(current[level], fixed, neighbors)
        count = _crossings(current, below)
        if count < fewest:
            best, fewest = [list(row) for row in current], count
    return best


def _by_middle(row: list[str], fixed: list[str], neighbors: dict[str, list[str]]) -> list[str]:
    position = {name: index for index, name in enumerate(fixed)}
    here = {name: index for index, name in enumerate(row)}

    def middle(name: str) -> float:
        places = [position[other] for other in neighbors.get(name, ())]
        return sum(places) / len(places) if places else here[name]

    return sorted(row, key=lambda name: (middle(name), here[name]))


def _crossings(rows: Sequence[Sequence[str]], below: dict[str, list[str]]) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        position = {name: index for index, name in enumerate(lower)}
        passed: list[int] = []
        for name in upper:
            ends = [position[target] for target in below.get(name, ())]
            total += sum(len(passed) - bisect_right(passed, end) for end in ends)
            for end in ends:
                insort(passed, end)
    return total
