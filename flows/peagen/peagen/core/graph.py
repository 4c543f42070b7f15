"""The files of a project as a graph: which file waits for which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from peagen.core.records import FileRecord, dependencies, node_id
from peagen.errors import UnknownFile


@dataclass(frozen=True)
class FileGraph:
    """Files by name, and who depends on whom.

    An edge is there only where a dependency is, letter by letter, the name of another record; what else is
    named (documents, interfaces) is no file of the payload. Where two records make one file the last one counts.
    """

    records: dict[str, FileRecord]
    parents: dict[str, set[str]]
    """What each file waits for."""
    children: dict[str, list[str]]
    """Who waits for each file; a file that nobody waits for is not in it."""

    def ancestors(self, name: str) -> set[str]:
        """Everything that `name` needs, directly or not, and itself. In a circle, the whole circle."""
        seen = {name}
        waiting = [name]
        while waiting:
            for parent in self.parents[waiting.pop()]:
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
        return seen

    def descendants(self, names: Iterable[str]) -> set[str]:
        """Everything that needs one of `names`, directly or not; without themselves, but for circles."""
        seen: set[str] = set()
        waiting = list(names)
        while waiting:
            for child in self.children.get(waiting.pop(), ()):
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
        return seen

    def circle(self, names: Iterable[str] | None = None) -> list[str]:
        """One circle, from a file along what it waits for back to itself; empty where there is none.

        Looks among `names` only, if given: with each name, everything that it waits for has to be in it.
        """
        left = {name: set(self.parents[name]) for name in (self.parents if names is None else names)}
        ready = [name for name, parents in left.items() if not parents]
        while ready:
            done = ready.pop()
            del left[done]
            for child in self.children.get(done, ()):
                if child in left:
                    left[child].discard(done)
                    if not left[child]:
                        ready.append(child)
        if not left:
            return []
        # Whatever is left waits for something that is left: going on long enough comes round.
        path: list[str] = []
        at: dict[str, int] = {}
        name = min(left)
        while name not in at:
            at[name] = len(path)
            path.append(name)
            name = min(left[name])
        return [*path[at[name] :], name]


def file_graph(file_records: Iterable[FileRecord]) -> FileGraph:
    """The graph of `file_records`."""
    records = {node_id(record): record for record in file_records}
    parents: dict[str, set[str]] = {}
    children: dict[str, list[str]] = {}
    for name, record in records.items():
        found = {other for other in dependencies(record) if other in records}
        parents[name] = found
        for other in found:
            children.setdefault(other, []).append(name)
    return FileGraph(records, parents, children)


def immediate_dependencies(file_records: Sequence[FileRecord], name: str) -> list[FileRecord]:
    """The records that `name` waits for directly, by name; `UnknownFile` (a ValueError) if nothing makes `name`."""
    graph = file_graph(file_records)
    if name not in graph.records:
        raise UnknownFile(f"File '{name}' not found in payload.")
    return [graph.records[parent] for parent in sorted(graph.parents[name])]
