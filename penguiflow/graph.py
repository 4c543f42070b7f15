"""From adjacencies to a checked graph of nodes, edges, entries and exits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penguiflow.channels import OPEN_SEA, ROOKERY, Endpoint, Floe, Inbox

if TYPE_CHECKING:
    from penguiflow.node import Node

__all__ = ["CycleError", "Graph"]


class CycleError(RuntimeError):
    """The adjacencies form a cycle that nobody allowed."""


def _parts(adjacency: object) -> tuple[Node, Sequence[Node]]:
    """A node and its successors. Raises `TypeError`, which says what was meant."""
    from penguiflow.node import Node

    if isinstance(adjacency, Node):
        name = adjacency.name
        raise TypeError(f"create() takes what node.to(...) gives, and got the node '{name}' itself: write {name}.to()")
    if isinstance(adjacency, tuple) and len(adjacency) == 2:
        node, targets = adjacency
        if isinstance(node, Node) and isinstance(targets, Sequence) and all(isinstance(each, Node) for each in targets):
            return node, targets
    told = "an adjacency is a node with its successors"
    raise TypeError(f"create() takes what node.to(...) gives, and got {adjacency!r:.200}: {told}")


class Graph:
    """The nodes in the order they were named, and one edge for each pair.

    Raises `ValueError` for two nodes of one name, `TypeError` for what is no adjacency, and `CycleError`.
    """

    def __init__(
        self, adjacencies: Sequence[tuple[Node, Sequence[Node]]], *, maxsize: int, allow_cycles: bool = False
    ) -> None:
        self.successors: dict[Node, dict[Node, None]] = {}
        for adjacency in adjacencies:
            node, targets = _parts(adjacency)
            self.successors.setdefault(node, {})
            for target in targets:
                self.successors.setdefault(target, {})
                self.successors[node][target] = None
        self.nodes: tuple[Node, ...] = tuple(self.successors)
        self._refuse_equal_names()
        if not allow_cycles:
            self._refuse_cycles()
        has_parent = {
            target
            for node, targets in self.successors.items()
            for target in targets
            if not (target is node and node.allow_cycle)
        }
        self.ingress = tuple(node for node in self.nodes if node not in has_parent)
        self.egress = tuple(node for node in self.nodes if not (set(self.successors[node]) - {node}))
        owners: list[Node | Endpoint] = [OPEN_SEA, *self.nodes, ROOKERY]
        self.outgoing: dict[Node | Endpoint, list[Floe]] = {owner: [] for owner in owners}
        """The edges that leave each node or endpoint, in the order they were named."""
        self.incoming: dict[Node | Endpoint, list[Floe]] = {owner: [] for owner in owners}
        self.inboxes: dict[Node | Endpoint, Inbox] = {owner: Inbox() for owner in owners}
        for node in self.ingress:
            self._connect(OPEN_SEA, node, maxsize)
        ways_back = self._ways_back()
        for node, successors in self.successors.items():
            for successor in successors:
                # Nodes that all wait for room on each other's edges would wait for ever: no cycle is bounded all round.
                self._connect(node, successor, 0 if (node, successor) in ways_back else maxsize)
        for node in self.egress:
            self._connect(node, ROOKERY, maxsize)

    def _connect(self, source: Node | Endpoint, target: Node | Endpoint, maxsize: int) -> None:
        floe = Floe(source, target, maxsize=maxsize)
        floe.inbox = self.inboxes[target]
        self.outgoing[source].append(floe)
        self.incoming[target].append(floe)

    @property
    def floes(self) -> list[Floe]:
        """All edges: from OpenSea first, then node by node."""
        return [floe for floes in self.outgoing.values() for floe in floes]

    def _refuse_equal_names(self) -> None:
        """Routers, the registry, events and pictures tell nodes apart by name."""
        known: dict[str, Node] = {}
        for node in self.nodes:
            name = str(node.name)
            other = known.setdefault(name, node)
            if other is not node:
                raise ValueError(
                    f"Two nodes are named '{name}' (functions {_function(other)} and {_function(node)}): "
                    "routers and the registry could not tell them apart; name one of them with Node(..., name=...)"
                )

    def _ways_back(self) -> set[tuple[Node, Node]]:
        """The edges that close a cycle, seen from the entries: without them there would be none."""
        back: set[tuple[Node, Node]] = set()
        done: set[Node] = set()
        for root in (*self.ingress, *self.nodes):
            if root in done:
                continue
            path = {root: iter(self.successors[root])}
            while path:
                node, targets = next(reversed(path.items()))
                target = next(targets, None)
                if target is None:
                    path.popitem()
                    done.add(node)
                elif target in path:
                    back.add((node, target))
                elif target not in done:
                    path[target] = iter(self.successors[target])
        return back

    def _refuse_cycles(self) -> None:
        waiting_for = dict.fromkeys(self.successors, 0)
        for node, targets in self.successors.items():
            for target in targets:
                if not (target is node and node.allow_cycle):
                    waiting_for[target] += 1
        ready = deque(node for node, count in waiting_for.items() if not count)
        sorted_nodes = 0
        while ready:
            node = ready.popleft()
            sorted_nodes += 1
            for target in self.successors[node]:
                if target is node and node.allow_cycle:
                    continue
                waiting_for[target] -= 1
                if not waiting_for[target]:
                    ready.append(target)
        if sorted_nodes < len(self.successors):
            stuck = ", ".join(str(node.name) for node, count in waiting_for.items() if count)
            raise CycleError(f"Flow contains a cycle; enable allow_cycles to bypass (through: {stuck})")


def _function(node: Node) -> str:
    return f"{getattr(node.func, '__module__', '')}.{getattr(node.func, '__qualname__', type(node.func).__name__)}"
