"""The files of a project as a penguiflow flow: a node for each file, an edge for each dependency."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel

from peagen.run.scheduler import Scheduler

if TYPE_CHECKING:
    from penguiflow import Context, Node, PenguiFlow

DRAWN = 1000
"""Files that get a node each; a project with more of them is worked through by one node."""
DONE = "all files"
"""The node that waits for all of them."""

Make = Callable[[str, "Context | None", Callable[[], None]], Awaitable[bool]]
"""Makes a file; gives whether it is there. Calls the function once another one may be begun."""
Lose = Callable[[str, str], None]
"""Told of a file that cannot be made, and of the one that failed."""


class Settled(BaseModel):
    """What a file tells those that wait for it."""

    file: str
    ok: bool


class Turns:
    """Gives files their turn: `workers` at once, in the order of the scheduler."""

    def __init__(self, scheduler: Scheduler, workers: int, make: Make, lose: Lose, *, ahead: int = 0) -> None:
        """0 workers are one: then a file is begun when the one before it is written.

        With several, `ahead` more files are begun, so that their prompts are there when a model has time.
        """
        self.scheduler = scheduler
        self._several = workers > 1
        self._free = workers + ahead if self._several else 1
        self._make = make
        self._lose = lose
        self._turns: dict[str, asyncio.Future[bool]] = {}
        self._give_to: Callable[[str], object] = self._turn_of

    def begin(self) -> None:
        """Make a turn for every file, and give the first ones theirs; needs a running loop."""
        loop = asyncio.get_running_loop()
        self._turns = {name: loop.create_future() for name in self.scheduler.order}
        self._give()

    async def work(self, name: str, context: Context | None) -> bool:
        """Make the file when it is its turn; gives whether it is there."""
        return await self._turns[name] and await self._work(name, context)

    async def work_all(self, context: Context | None) -> None:
        """Make all of them, without a node for each."""
        async with asyncio.TaskGroup() as group:
            self._give_to = lambda name: group.create_task(self._work(name, context))
            self._give()

    async def _work(self, name: str, context: Context | None) -> bool:
        left = False

        def leave() -> None:
            nonlocal left
            self._free += not left
            left = True

        def known() -> None:
            if self._several:
                leave()
                self._give()

        try:
            ok = await self._make(name, context, known)
        except BaseException:
            # The run is over; who waits for a turn would wait for ever, and the run for them.
            for other in self._turns:
                self._tell(other, False)
            raise
        if ok:
            self.scheduler.settle(name)
        else:
            for lost in self.scheduler.fail(name):
                self._lose(lost, name)
                if lost in self._turns:
                    self._tell(lost, False)
        leave()
        self._give()
        return ok

    def _give(self) -> None:
        while self._free > 0:
            name = self.scheduler.take()
            if name is None:
                return
            self._free -= 1
            self._give_to(name)

    def _turn_of(self, name: str) -> None:
        self._tell(name, True)

    def _tell(self, name: str, turn: bool) -> None:
        if not self._turns[name].done():
            self._turns[name].set_result(turn)


def files_flow(turns: Turns, parents: Mapping[str, set[str]], children: Mapping[str, Sequence[str]]) -> PenguiFlow:
    """A flow with a node for each file of `turns`; it gives `Settled` once, when all of them are."""
    from penguiflow import Node, NodePolicy, create

    order = turns.scheduler.order
    wanted = set(order)
    waits = {name: len(parents.get(name, set()) & wanted) for name in order}
    ends = sum(not any(child in wanted for child in children.get(name, ())) for name in order)
    state = {"ends": ends, "ok": 1}

    def node_of(name: str) -> Node:
        async def make(message: object, ctx: Context) -> Settled | None:
            waits[name] -= 1
            if waits[name] > 0:
                return None  # another one that it waits for is still to come
            return Settled(file=name, ok=await turns.work(name, ctx))

        make.__doc__ = f"Make `{name}`."
        return Node(make, name=name, policy=NodePolicy(validate="none"))

    async def gather(message: object, ctx: Context) -> Settled | None:
        """Wait for the files that nobody waits for."""
        state["ends"] -= 1
        return Settled(file=DONE, ok=True) if state["ends"] == 0 else None

    nodes = {name: node_of(name) for name in order}
    last = Node(gather, name=DONE, policy=NodePolicy(validate="none"))
    edges = []
    for name in order:
        following = [nodes[child] for child in children.get(name, ()) if child in wanted]
        edges.append(nodes[name].to(*(following or [last])))
    return create(*edges, last.to())
