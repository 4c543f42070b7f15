"""The edges of distributed flows, shown to clients, with their workers and the messages that nobody could handle.

A bus of its own is opened to look with: it must not wait long for a server that is away, as a flow does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from penguiflow.bus.errors import BusError
from penguiflow.bus.opening import address_of, another_bus
from penguiflow.bus.protocol import DeadLetter, EdgeBus
from penguiflow.recording.masking import Masker
from penguiflow.state.errors import StoreError
from penguiflow.state.shared import SupportsSharedState, WorkerRow
from playground.distribution import bus_name, bus_of, edges_on_bus
from playground.host.letters import AmbiguousLetter, chosen_letters, shown_letter
from playground.loader.runnable import Runnable
from playground.project import Project, ProjectError
from playground.protocol import BaseFrame, Error, LettersEdit, Queues, QueuesGet
from playground.queue_frames import EdgeShown, LetterShown, WorkerShown

__all__ = ["QueueDesk", "distributed", "tell_buses", "worker_shown"]

PATIENCE_S = 5.0
"""How long a server that is away is waited for, in seconds."""
ROOM_S = 5.0
"""How long a letter that is put back waits for room on its edge, in seconds."""
IDLE_S = 30.0
"""A bus that nobody has asked for so long is closed."""
AT_ONCE = 16
"""Edges that are asked about at the same time."""
MAX_LETTERS = 100_000
NO_BUS = "give it a bus by create(message_bus=…), --bus or PENGUIFLOW_BUS"


class _NotDistributed(Exception):
    """There are no edges to be looked at, or those of several flows."""


class _Looking(NamedTuple):
    """A bus that is open to be looked at."""

    bus: EdgeBus
    own: bool
    """Whether it is ours to close."""
    timer: asyncio.TimerHandle | None


class QueueDesk:
    """Answers what clients ask about edges. Everything is called on the loop of the runs."""

    def __init__(self, runnables: Callable[[], Iterable[Runnable]], project: Project, store: Callable[[], Any]) -> None:
        """`runnables` gives what can be run, `store` the project's store, which may be None."""
        self._runnables = runnables
        self._project = project
        self._store = store
        self._open: dict[str, _Looking] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def do(self, request: QueuesGet | LettersEdit, masker: Masker | None) -> BaseFrame:
        """Answer a request. Raises nothing."""
        try:
            runnable = self._find(request.target)
            async with self._locks.setdefault(runnable.info.target, asyncio.Lock()):
                bus = await self._bus(runnable)
                if isinstance(request, LettersEdit):
                    return await self._edit(runnable, bus, request, masker)
                return await self._get(runnable, bus, request, masker)
        except LookupError as error:
            return Error(code="not_found", message=str(error.args[0]))
        except AmbiguousLetter as error:
            return Error(code="conflict", message=str(error))
        except (ProjectError, _NotDistributed) as error:
            return Error(code="invalid_input", message=str(error))
        except StoreError as error:
            return Error(code="store", message=str(error))
        except BusError as error:
            return Error(code="bus", message=str(error))
        except Exception as error:  # a program's own bus may raise anything
            return Error(code="bus", message=f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """Close every bus that was opened to look with."""
        for target in list(self._open):
            self._forget(target)
        if self._closing:
            await asyncio.wait(self._closing, timeout=1.0)

    # -- which flow, and its bus --------------------------------------------------------------------------------------

    def _find(self, target: str | None) -> Runnable:
        found = {runnable.info.target: runnable for runnable in self._runnables()}
        if target is not None:
            runnable = found.get(target)
            if runnable is None:
                raise LookupError(f"no flow {target!r} is loaded")
            if not distributed(runnable, self._project):
                raise _NotDistributed(f"{target} runs in one process: {NO_BUS}")
            return runnable
        if not found:
            raise _NotDistributed("no flow is loaded here: name the file of one (`retry` and `drop` by --target)")
        spread = [runnable for runnable in found.values() if distributed(runnable, self._project)]
        if not spread:
            raise _NotDistributed(f"no flow here is distributed: {NO_BUS}")
        if len(spread) > 1:
            names = ", ".join(runnable.info.target for runnable in spread)
            raise _NotDistributed(f"several flows are distributed, name one of them: {names}")
        return spread[0]

    async def _bus(self, runnable: Runnable) -> EdgeBus:
        target = runnable.info.target
        known = self._open.get(target)
        if known is None:
            wanted = bus_of(runnable.flow, self._project)
            assert wanted is not None
            limits = replace(wanted.limits, away_s=PATIENCE_S)
            own = another_bus(wanted, limits)
            bus = wanted if own is None else own
            try:
                await bus.open(bus_name(runnable.flow), list(edges_on_bus(runnable.flow)))
            except BaseException:
                if own is not None:
                    await own.close()
                raise
            known = _Looking(bus, own is not None, None)
        elif known.timer is not None:
            known.timer.cancel()
        timer = asyncio.get_running_loop().call_later(IDLE_S, self._forget, target)
        self._open[target] = known._replace(timer=timer)
        return known.bus

    def _forget(self, target: str) -> None:
        known = self._open.get(target)
        lock = self._locks.get(target)
        if known is None:
            return
        if known.timer is not None:
            known.timer.cancel()
        if lock is not None and lock.locked():  # it is being asked
            timer = asyncio.get_running_loop().call_later(IDLE_S, self._forget, target)
            self._open[target] = known._replace(timer=timer)
            return
        del self._open[target]
        if known.own:
            task = asyncio.get_running_loop().create_task(known.bus.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _get(self, runnable: Runnable, bus: EdgeBus, request: QueuesGet, masker: Masker | None) -> Queues:
        flow = runnable.flow
        pairs = edges_on_bus(flow)
        _check_edge(runnable, request.edge, pairs)
        rows, trouble = await self._workers(bus_name(flow))
        shown = await _each(list(pairs), lambda edge: _edge_of(bus, edge, pairs[edge], rows))
        letters: list[LetterShown] = []
        if request.letters or request.edge is not None:
            for edge in shown:
                if edge.dead and request.edge in (None, edge.edge):
                    found = await bus.dead_letters(edge.edge, limit=request.limit)
                    letters += [shown_letter(letter, masker) for letter in found]
        return Queues(
            target=runnable.info.target,
            flow=bus_name(flow),
            bus=address_of(bus),
            edges=shown,
            workers=[worker_shown(row) for row in rows],
            letters=letters,
            problem=trouble,
        )

    async def _workers(self, flow: str) -> tuple[Sequence[WorkerRow], str | None]:
        store = self._store()
        if store is None:
            return [], "nothing is recorded here: which workers there are is not known"
        if not isinstance(store, SupportsSharedState):
            return [], "this store does not know workers"
        return await store.list_workers(flow), None

    # -- changing -----------------------------------------------------------------------------------------------------

    async def _edit(self, runnable: Runnable, bus: EdgeBus, request: LettersEdit, masker: Masker | None) -> Queues:
        """One after the other: of letters that are put back the order is kept."""
        edges = list(edges_on_bus(runnable.flow))
        _check_edge(runnable, request.edge, edges)
        letters: list[DeadLetter] = []
        for edge in edges:
            if request.edge in (None, edge) and (there := (await bus.depth(edge)).dead):
                letters += await bus.dead_letters(edge, limit=min(MAX_LETTERS, there))
        chosen = chosen_letters(letters, request.ids) if request.ids else letters
        changed: list[LetterShown] = []
        full: set[str] = set()
        for letter in chosen:
            if letter.edge in full:
                continue
            try:
                async with asyncio.timeout(ROOM_S):
                    done = await (bus.retry_dead(letter) if request.change == "retry" else bus.drop_dead(letter))
            except TimeoutError:
                full.add(letter.edge)
            else:
                changed += [shown_letter(letter, masker)] if done else []
        found = await self._get(runnable, bus, QueuesGet(), masker)
        return found.model_copy(update={"changed": changed, "full": sorted(full)})


def _check_edge(runnable: Runnable, edge: str | None, edges: Iterable[str]) -> None:
    if edge is not None and edge not in edges:
        raise LookupError(f"{runnable.info.target} has no edge {edge!r}: it has {', '.join(sorted(edges))}")


def distributed(runnable: Runnable, project: Project) -> bool:
    """Whether workers run its nodes. Functions and planners are one node; they run where they are called.

    Raises `BusError` and `ProjectError` for an address that is none.
    """
    return runnable.info.kind == "flow" and bus_of(runnable.flow, project) is not None


def tell_buses(runnables: Iterable[Runnable], project: Project) -> None:
    """Have flows say where their edges are. An address that is none is told of when somebody asks for the edges."""
    for runnable in runnables:
        with suppress(BusError, ProjectError):
            bus = bus_of(runnable.flow, project) if runnable.info.kind == "flow" else None
            if bus is not None:
                runnable.info.bus = address_of(bus)
                runnable.info.bus_name = bus_name(runnable.flow)


async def _each(names: Sequence[str], ask: Callable[[str], Any]) -> list[Any]:
    """Ask about each, a few at the same time; in their order."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> Any:
        async with free:
            return await ask(name)

    return list(await asyncio.gather(*map(one, names)))


async def _edge_of(bus: EdgeBus, edge: str, ends: tuple[str, str], rows: Sequence[WorkerRow]) -> EdgeShown:
    depth = await bus.depth(edge)
    source, target = ends
    consumers = [row.worker_id for row in rows if row.alive and row.state == "running" and target in row.nodes]
    return EdgeShown(
        edge=edge,
        source=source,
        target=target,
        waiting=depth.waiting,
        leased=depth.leased,
        dead=depth.dead,
        capacity=bus.limits.capacity,
        workers=consumers,
        unattended=bool(depth.waiting) and not consumers,
    )


def worker_shown(row: WorkerRow) -> WorkerShown:
    """A worker as clients see it."""
    return WorkerShown(
        worker_id=row.worker_id,
        flow=row.flow,
        host=row.host,
        pid=row.pid,
        nodes=list(row.nodes),
        alive=row.alive,
        state=row.state,
        started_at=row.started_at,
        seen_at=row.seen_at,
        about=dict(row.about),
    )
