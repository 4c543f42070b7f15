"""The order in which files are made: a file after those that it depends on, else by name."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable

from peagen.core.graph import FileGraph, file_graph
from peagen.core.records import FileRecord
from peagen.errors import DependencySortError, UnknownFile


def sort_file_records(
    *,
    file_records: Iterable[FileRecord],
    start_idx: int = 0,
    start_file: str | None = None,
    transitive: bool = False,
) -> tuple[list[FileRecord], int]:
    """Put records in the order in which they are made.

    Of all files that are ready the one with the smallest name (by code points) comes next, so the order
    does not depend on that of the input. Where two records make one file, the last one counts.

    Args:
        file_records: what ptrees rendered to; see `peagen.core.records`.
        start_idx: leave out so many of the first, after `start_file` was applied. Negative: none.
        start_file: without `transitive`, begin at this file (an unknown one is ignored);
            with it, only this file and all that it needs (`UnknownFile` if nothing makes it).
        transitive: see `start_file`; without one it changes nothing.

    Returns:
        The records in order, and `start_idx` plus their number: the index to go on from.

    Raises:
        DependencySortError: files depend on each other in a circle.
        UnknownFile: also a ValueError.
    """
    graph = file_graph(file_records)
    if transitive and start_file:
        if start_file not in graph.records:
            raise UnknownFile(f"File '{start_file}' not found in payload.")
        order = _in_order(graph, graph.ancestors(start_file))
    else:
        order = _in_order(graph, graph.records.keys())
        if start_file in graph.records:
            order = order[order.index(start_file) :]
    if start_idx > 0:
        order = order[start_idx:]
    return [graph.records[name] for name in order], start_idx + len(order)


def _in_order(graph: FileGraph, names: Collection[str]) -> list[str]:
    waits = {name: len(graph.parents[name]) for name in names}
    ready = [name for name, count in waits.items() if not count]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        name = heapq.heappop(ready)
        order.append(name)
        for child in graph.children.get(name, ()):
            if child in waits:
                waits[child] -= 1
                if not waits[child]:
                    heapq.heappush(ready, child)
    if len(order) < len(waits):
        left = sorted(name for name, count in waits.items() if count)
        circle = " → ".join(graph.circle(names))
        raise DependencySortError(
            f"Dependency sort failed: Cyclic dependencies detected among file entries: {', '.join(left)}",
            hint=f"One circle: {circle}. Take one of these out of EXTRAS.DEPENDENCIES.",
        )
    return order
