"""Where a node's edges begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penguiflow.channels import Endpoint, Floe, Inbox, Item

if TYPE_CHECKING:
    from penguiflow.core import PenguiFlow
    from penguiflow.node import Node

    Targets = Node | Endpoint | Sequence[Node | Endpoint] | None

__all__ = ["Port"]


class Port:
    """A node's (or endpoint's) edges: what all its contexts share."""

    __slots__ = ("_successors", "inbox", "incoming", "name", "outgoing", "owner", "runtime", "side_exit")

    def __init__(self, owner: Node | Endpoint, runtime: PenguiFlow | None = None, inbox: Inbox | None = None) -> None:
        self.owner = owner
        self.name = str(owner.name)
        self.runtime = runtime
        self.incoming: list[Floe] = []
        self.outgoing: list[Floe] = []
        self.side_exit: Floe | None = None
        """The way past the successors to Rookery, for answers that take it."""
        self.inbox = inbox or Inbox()
        self.inbox.port = self
        self._successors: dict[str, Node | Endpoint] = {}

    @property
    def successors(self) -> dict[str, Node | Endpoint]:
        """Where the edges lead that begin here, by name."""
        if len(self._successors) != len(self.outgoing):
            self._successors = {str(floe.target.name): floe.target for floe in self.outgoing if floe.target is not None}
        return self._successors

    def floes_to(self, targets: Targets) -> Sequence[Floe]:
        """The edges to the named targets; all of them for None. Raises `KeyError` for a stranger."""
        if targets is None or not self.outgoing:
            return self.outgoing
        chosen: list[Floe] = []
        for target in [targets] if not isinstance(targets, Sequence) else targets:
            for floe in self.outgoing:
                if floe.target is target or floe.target == target:
                    chosen.append(floe)
                    break
            else:
                raise KeyError(f"Unknown target {getattr(target, 'name', target)} for {self.name}")
        return chosen

    def take(self, from_: Targets = None) -> Item | None:
        """The oldest waiting message (of the named sources), or None. Those of cancelled traces are passed over."""
        items = self.inbox.items
        if from_ is None:
            while items:
                item = items.popleft()
                floe = item[0]
                floe.size -= 1
                if floe.putters:
                    floe.wake_putter()
                trace = item[3]
                if trace is None or not trace.cancelled:
                    return item
                trace.passed_over(item)
            return None
        wanted = [from_] if not isinstance(from_, Sequence) else list(from_)
        for source in wanted:
            if not any(floe.source == source for floe in self.incoming):
                raise KeyError(f"Unknown source {getattr(source, 'name', source)} for {self.name}")
        for position, item in enumerate(items):
            if item[0].source in wanted and (item[3] is None or not item[3].cancelled):
                del items[position]
                item[0].release()
                return item
        return None

    async def wait_arrival(self, from_: Targets = None) -> None:
        """Return once something arrived. A caller that is cancelled passes its turn on, so that nothing is lost."""
        await self.inbox.wait(None if from_ is None else list(from_) if isinstance(from_, Sequence) else [from_])
