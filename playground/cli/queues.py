"""`pf queues` and `pf workers`: how the edges of a distributed flow are, and who consumes them."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.state.shared import SupportsSharedState
from playground.cli.console import Console, json_text
from playground.cli.failures import ExitCode, Failure
from playground.cli.stores import reading
from playground.cli.tables import print_table
from playground.cli.targets import check_target
from playground.dashboard.text import one_line, when
from playground.host.queues import worker_shown
from playground.project import find_project
from playground.protocol import LettersEdit, Queues, QueuesGet
from playground.queue_frames import EdgeShown, WorkerShown
from playground.session import HostSession
from playground.sources import RunRefused
from playground.storing import has_store

__all__ = ["QueuesOptions", "QueuesOutput", "WorkersOutput", "asking", "list_workers", "show_queues"]

WATCH_S = 1.0
"""How often `--watch` looks."""
SHORT_ID = 12


class QueuesOptions(NamedTuple):
    """What `pf queues` was asked for, as it was typed."""

    target: str | None = None
    watch: bool = False
    json: bool = False


class QueuesOutput(BaseModel):
    """`pf queues --json`: the edges of a distributed flow."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    target: str
    flow: str
    """Its name on the bus."""
    bus: str
    """Where that is, without what may be secret in it."""
    edges: list[EdgeShown]
    problem: str | None
    """Why that is not all."""


class WorkersOutput(BaseModel):
    """`pf workers --json`: the workers that were told of within the last hour, oldest first."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    workers: list[WorkerShown]


class Asking:
    """A host that can be asked for the edges of one flow."""

    def __init__(self, host: HostSession, target: str | None) -> None:
        self._host = host
        self._target = target

    async def ask(self, request: QueuesGet | LettersEdit) -> Queues:
        """What it answers. Raises `Failure`."""
        try:
            answer = await self._host.debug(request.model_copy(update={"target": self._target}))
        except RunRefused as refused:
            code = _CODES.get(refused.code, ExitCode.USAGE)
            raise Failure(str(refused), code) from None
        assert isinstance(answer, Queues)
        return answer


_CODES = {"not_found": ExitCode.NOT_FOUND, "conflict": ExitCode.NOT_FOUND, "store": ExitCode.STORE}


@asynccontextmanager
async def asking(target: str | None) -> AsyncIterator[Asking]:
    """Load a flow, or the project's only distributed one, in a host that is asked."""
    targets = [] if target is None else [target]
    project = find_project(targets)
    # Looking makes no store where there is none.
    async with HostSession(project, targets, record=has_store(project)) as host:
        yield Asking(host, None if target is None else host.find_flow(target).target)


def show_queues(options: QueuesOptions) -> int:
    """Print how the edges are, once or again and again; returns the exit code."""
    if options.target is not None:
        check_target(options.target)
    console = Console()

    async def look() -> None:
        async with asking(options.target) as host:
            view = _View(console, options)
            view.show(await host.ask(QueuesGet()))
            while options.watch:
                await asyncio.sleep(WATCH_S)
                view.show(await host.ask(QueuesGet()))

    asyncio.run(look())
    return ExitCode.DONE


class _View:
    """Prints queues; on a terminal, each time in the place of the last."""

    def __init__(self, console: Console, options: QueuesOptions) -> None:
        self._console = console
        self._options = options
        self._last: str | None = None
        self._lines = 0

    def show(self, queues: Queues) -> None:
        """Print them, where they are not as they were."""
        console = self._console
        output = QueuesOutput(schema=1, **queues.model_dump(include={"target", "flow", "bus", "edges", "problem"}))
        text = json_text(output.model_dump(mode="json", by_alias=True), indent=None if self._options.watch else 2)
        if text == self._last:
            return
        if self._options.json:
            console.line(text)
        else:
            if self._lines and console.out_terminal:
                console.write(f"\x1b[{self._lines}A\x1b[J")
            elif self._last is not None:
                console.line()
            rows = [_row(edge) for edge in queues.edges]
            print_table(console, ("EDGE", "WAITING", "LEASED", "DEAD", "CAPACITY", "WORKERS"), rows)
            self._lines = len(rows) + 1
            if self._last is None:
                self._advise(queues)
        self._last = text
        console.flush()

    def _advise(self, queues: Queues) -> None:
        """What to do about what is seen, on stderr."""
        if self._options.watch and self._console.out_terminal:
            return  # the table is drawn in its own place: nothing may come between
        target = shlex.quote(queues.target)
        alone = [edge for edge in queues.edges if edge.unattended]
        if alone:
            edges = ", ".join(one_line(edge.edge) for edge in alone)
            self._console.tell(f"nobody consumes {edges}: `pf worker {target}` does")
        if any(edge.dead for edge in queues.edges):
            self._console.tell(f"`pf dead-letters {target}` shows the messages that nobody could handle")
        if queues.problem:
            self._console.tell(queues.problem)


def _row(edge: EdgeShown) -> Sequence[str]:
    workers = ", ".join(each[:SHORT_ID] for each in edge.workers) or ("nobody" if edge.unattended else "")
    capacity = str(edge.capacity) if edge.capacity else "any"
    counts = (str(edge.waiting), str(edge.leased), str(edge.dead), capacity)
    return (one_line(edge.edge), *counts, one_line(workers))


def list_workers(target: str | None, *, json: bool) -> int:
    """Print the workers of a flow, or of all; returns the exit code."""
    if target is not None:
        check_target(target)

    async def ask() -> list[WorkerShown]:
        name = None if target is None else await _name_of(target)
        async with reading() as store:
            if not isinstance(store, SupportsSharedState):
                raise Failure("this store does not know workers", hint="--store says which one they share")
            return [worker_shown(row) for row in await store.list_workers(name)]

    workers, console = asyncio.run(ask()), Console()
    if json:
        console.json(WorkersOutput(schema=1, workers=workers).model_dump(mode="json", by_alias=True), indent=2)
        return ExitCode.DONE
    now = time.time()
    head = ("WORKER", "FLOW", "HOST", "PID", "STATE", "SLOTS", "BUSY", "DONE", "AGAIN", "SEEN", "NODES")
    print_table(console, head, [_worker_row(worker, now) for worker in workers])
    if not workers:
        console.tell("no worker has told of itself within the last hour: `pf worker TARGET` starts one")
    return ExitCode.DONE


async def _name_of(target: str) -> str:
    """What a flow is called on its bus. Raises `Failure` for one that has none."""
    async with HostSession(find_project([target]), [target], record=False) as host:
        flow = host.find_flow(target)
    if flow.bus_name is None:
        raise Failure(f"{target} runs in one process: no worker has its nodes", hint="--bus gives it a bus")
    return flow.bus_name


def _worker_row(worker: WorkerShown, now: float) -> Sequence[str]:
    state = worker.state if worker.alive or worker.state == "ended" else "gone"
    slots = worker.about.get("slots")
    total = sum(slots.values()) if isinstance(slots, dict) else ""
    told = [str(total), *(str(worker.about.get(name, "")) for name in ("under_way", "done", "redelivered"))]
    where = (one_line(worker.flow), one_line(worker.host), str(worker.pid), state)
    seen = when(worker.seen_at, now)
    return (
        one_line(worker.worker_id[:SHORT_ID]),
        *where,
        *map(one_line, told),
        seen,
        one_line(", ".join(worker.nodes)),
    )
