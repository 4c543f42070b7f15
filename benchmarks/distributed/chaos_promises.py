"""What a distributed flow promises, and what is found of it when workers and servers were killed.

- `lost`: calls whose answer is wrong or never came, where no poison was sent: none;
- `unanswered`: calls of which the caller has heard nothing at all: none;
- `wrong dead`: dead letters that are no poison: none, and all of the poison is there;
- `left over`: edges that did not become empty: none;
- `too many`: traces with more repeated invocations than leases lost: none;
- `untold`: traces of which the store does not say how they ended: none.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from benchmarks.distributed import chaos_flow
from penguiflow.distributed import edges_of
from penguiflow.state import PostgresStateStore

__all__ = ["Promise", "Promises"]

SETTLE_S = 120.0
"""How long edges may take to become empty, and traces to have their ends."""
WAIT_S = 0.2

Promise: TypeAlias = Literal["lost", "unanswered", "wrong dead", "left over", "too many", "untold"]
BROKEN: tuple[Promise, ...] = ("lost", "unanswered", "wrong dead", "left over", "too many", "untold")


class Promises:
    """What was counted, and each promise that was broken."""

    def __init__(self) -> None:
        self.traces: dict[str, chaos_flow.Order] = {}
        """What was sent, by trace."""
        self.seconds = 0.0
        self.dead = 0
        self.repeats = 0
        self.leases_lost = 0
        self._broken: dict[Promise, list[str]] = {name: [] for name in BROKEN}

    @property
    def poison(self) -> int:
        """How many of the orders were poison."""
        return sum(order.poison for order in self.traces.values())

    @property
    def held(self) -> bool:
        """Whether every one was kept."""
        return not any(self._broken.values()) and self.dead == self.poison

    def broken(self, promise: Promise, said: str) -> None:
        """Note that one was not kept."""
        self._broken[promise].append(said)

    def tell(self) -> None:
        """Print it."""
        messages = len(self.traces) * chaos_flow.MESSAGES
        print(f"{len(self.traces)} calls, {messages} messages in {self.seconds:.0f} s")
        print(f"poison {self.poison}, dead letters {self.dead}")
        print(f"invocations repeated {self.repeats}, leases lost {self.leases_lost}")
        for promise, found in self._broken.items():
            print(f"{promise}: {len(found)}")
            for each in found[:10]:
                print(f"  {each}")
        print("every promise was kept" if self.held else "a promise was broken")

    async def look_at_edges(self, bus: Any) -> None:
        """Every edge becomes empty, and the dead letters are the poison."""
        edges = edges_of(chaos_flow.build())
        await bus.open(chaos_flow.NAME, edges)
        deadline = time.monotonic() + SETTLE_S
        while True:
            depths = {edge: await bus.depth(edge) for edge in edges}
            left = [f"{edge}: {depth}" for edge, depth in depths.items() if depth.waiting or depth.leased]
            if not left or time.monotonic() > deadline:
                break
            await asyncio.sleep(WAIT_S)
        for each in left:
            self.broken("left over", each)
        for edge in edges:
            for letter in await bus.dead_letters(edge, limit=1000):
                self.dead += 1
                order = self.traces.get(letter.id.rpartition("/")[0])
                if order is None or not order.poison or b'"poison":true' not in letter.body:
                    self.broken("wrong dead", f"{edge} {letter.id}: {letter.reason}")

    async def look_at_traces(self, store: PostgresStateStore) -> None:
        """Each has ended as its caller was told."""
        deadline = time.monotonic() + SETTLE_S
        for trace_id, order in self.traces.items():
            wanted = "error" if order.poison else "ok"
            while (found := await store.get_trace(trace_id)) is None or found.status != wanted:
                if time.monotonic() > deadline:
                    self.broken("untold", f"order {order.number} ({trace_id}): {found and found.status}")
                    break
                await asyncio.sleep(WAIT_S)

    def look_at_notes(self, notes: Path) -> None:
        """No trace has more invocations that were repeated than leases that were lost."""
        more = _repeated(notes.read_text(encoding="utf-8"))
        ran, got = more["ran"], more["got"]
        self.repeats, self.leases_lost = ran.total(), got.total()
        for trace_id, count in ran.items():
            if count > got[trace_id]:
                self.broken("too many", f"{trace_id}: {count} repeated, {got[trace_id]} leases lost")


def _repeated(notes: str) -> Mapping[str, Counter[str]]:
    """How many lines of each trace say what another one said: of what ran, and of what was handed out."""
    seen: set[str] = set()
    more: dict[str, Counter[str]] = {"ran": Counter(), "got": Counter()}
    for line in notes.splitlines():
        kind, trace_id, _ = line.split("\t", 2)
        if kind in more:
            more[kind][trace_id] += line in seen
            seen.add(line)
    return more
