"""`pf worker`: a process that runs nodes of a distributed flow.

The flow is loaded here, not in a host: what it prints goes where it prints it, and whatever ends this process is what
workers have to withstand anyway.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from penguiflow.bus.memory import MemoryBus
from penguiflow.bus.opening import address_of
from penguiflow.bus.protocol import EdgeBus
from penguiflow.bus.waiting import Backoff
from penguiflow.distributed import Worker
from penguiflow.logging import ExtraFormatter, StructuredFormatter
from penguiflow.recording.masking import KEY_FILE, Masker
from penguiflow.recording.recorder import Recorder
from penguiflow.state.errors import StoreError, StoreTooNew
from penguiflow.state.in_memory import InMemoryStateStore
from penguiflow.state.shared import SupportsSharedState
from penguiflow.state.traces import TraceStore
from playground.cli.console import Console
from playground.cli.failures import ExitCode, Failure
from playground.cli.targets import check_target
from playground.dashboard.text import one_line
from playground.distribution import bus_name, bus_of, store_of
from playground.host.logs import keep_in_traces
from playground.host.worker import give_way
from playground.loader.project_loader import ProjectLoader
from playground.loader.runnable import Runnable
from playground.project import Project, find_project
from playground.session import find_flow

__all__ = ["WorkerOptions", "WorkerOutput", "run_worker"]

START_S = 5.0
"""For how long a store that does not answer is waited for at the start, in seconds."""
LOGGERS = ("penguiflow.bus", "penguiflow.distributed")


class WorkerOptions(NamedTuple):
    """What `pf worker` was asked for, as it was typed."""

    target: str
    nodes: str | None = None
    concurrency: int | None = None
    drain_s: float = 30.0
    json: bool = False


class WorkerOutput(BaseModel):
    """`pf worker --json`: the line that it prints when it takes messages."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    worker_id: str
    flow: str
    """Its name on the bus."""
    target: str
    nodes: list[str]
    bus: str
    """Where the edges are, without what may be secret in the address."""
    pid: int


def run_worker(options: WorkerOptions) -> int:
    """Run nodes until told to end; returns the exit code."""
    check_target(options.target)
    if options.concurrency is not None and options.concurrency < 1:
        raise Failure("--concurrency must be at least 1")
    if not options.drain_s >= 0:
        raise Failure("--drain-s must not be negative")
    project = find_project([options.target])
    project.check()
    console = Console()
    loader = ProjectLoader(project, [options.target], cwd=Path.cwd())
    give_way(project)
    sys.argv[:] = ["pf"]
    level = project.log_level()
    if level is not None:
        keep_in_traces(level)
    loader.import_all()
    with _telling(console, structured=options.json):
        return asyncio.run(_work(options, project, loader, console))


async def _work(options: WorkerOptions, project: Project, loader: ProjectLoader, console: Console) -> int:
    await loader.build_all()
    runnable = loader.runnables[find_flow(loader.modules, options.target, project, Path.cwd()).target]
    bus = _bus_of(runnable, project, options.target)
    store, own = store_of(runnable.flow, project)
    try:
        masker = Masker(project.home / KEY_FILE, project.masking_rules())
        worker = _made(runnable, bus, store, masker, options)
        await _reach(store)
        return await _serve(worker, bus, runnable, options, console)
    finally:
        if own:
            await store.close()


async def _reach(store: SupportsSharedState) -> None:
    """Return when the store answers. Raises `StoreError` when it does not, for as long as a bus is waited for."""
    backoff = Backoff(0.05, 1.0)
    end = asyncio.get_running_loop().time() + START_S
    while True:
        try:
            await store.list_workers()
            return
        except StoreTooNew:
            raise
        except StoreError:
            if asyncio.get_running_loop().time() > end:
                raise
        await asyncio.sleep(backoff())


def _bus_of(runnable: Runnable, project: Project, target: str) -> EdgeBus:
    if runnable.info.kind != "flow":
        raise Failure(f"{target} is a {runnable.info.kind}: workers run the nodes of flows")
    bus = bus_of(runnable.flow, project)
    if bus is None:
        raise Failure(f"{target} has no bus", hint="create(message_bus=…), --bus URL or PENGUIFLOW_BUS give it one")
    if isinstance(bus, MemoryBus):
        raise Failure(
            f"the bus of {target} is in memory: it reaches no other process", hint="--bus redis://… or nats://…"
        )
    return bus


def _made(runnable: Runnable, bus: EdgeBus, store: Any, masker: Masker, options: WorkerOptions) -> Worker:
    name = runnable.info.name
    recorder = Recorder(store=store, name=name, masker=masker) if isinstance(store, TraceStore) else None
    if not isinstance(store, SupportsSharedState):
        raise Failure(f"workers cannot share a {type(store).__name__}", hint="--store postgresql://…")
    if isinstance(store, InMemoryStateStore):
        raise Failure(
            f"the store of {options.target} is in memory: no other process sees it", hint="--store postgresql://…"
        )
    nodes = None if options.nodes is None else [name.strip() for name in options.nodes.split(",") if name.strip()]
    if nodes == []:
        raise Failure("--nodes names none")
    try:
        return Worker(
            runnable.flow,
            bus=bus,
            store=store,
            registry=runnable.registry,
            nodes=nodes,
            concurrency=options.concurrency,
            recorder=recorder,
        )
    except ValueError as error:
        names = ", ".join(node.name for node in runnable.info.nodes)
        raise Failure(f"--nodes: {error}", hint=f"the nodes are {names}") from None


async def _serve(worker: Worker, bus: EdgeBus, runnable: Runnable, options: WorkerOptions, console: Console) -> int:
    running = asyncio.create_task(worker.run())
    getting_ready = asyncio.create_task(worker.ready())
    try:
        with _signals(worker, running, options.drain_s, console) as told:
            await asyncio.wait((running, getting_ready), return_when=asyncio.FIRST_COMPLETED)
            if getting_ready.done():
                _announce(worker, bus, runnable, options, console)
            await asyncio.wait((running,))
    finally:
        getting_ready.cancel()
        if not running.done():
            running.cancel()
            await asyncio.wait((running,))
    if not running.cancelled() and (failure := running.exception()) is not None:
        raise failure
    about = worker.status().about
    console.tell(f"worker {worker.worker_id} has ended: {about['done']} done, {about['redelivered']} redelivered")
    return ExitCode.INTERRUPTED if len(told) > 1 or running.cancelled() else ExitCode.DONE


@contextmanager
def _signals(worker: Worker, running: asyncio.Task[None], drain_s: float, console: Console) -> Iterator[Sequence[int]]:
    """The first signal has the worker drain, the second one has it leave. Gives those that came."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    told: list[int] = []
    tasks: set[asyncio.Task[None]] = set()

    def hear(number: int) -> None:
        told.append(number)
        if worker.state == "new":
            running.cancel()  # it has nothing yet
            return
        if len(told) == 1:
            console.tell(f"draining, for at most {drain_s:g} s; once more leaves at once")
        tasks.add(loop.create_task(worker.drain(drain_s if len(told) == 1 else 0.0)))

    for number in numbers:
        loop.add_signal_handler(number, hear, number)
    try:
        yield told
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _announce(worker: Worker, bus: EdgeBus, runnable: Runnable, options: WorkerOptions, console: Console) -> None:
    name = bus_name(runnable.flow)
    if options.json:
        output = WorkerOutput(
            schema=1,
            worker_id=worker.worker_id,
            flow=name,
            target=runnable.info.target,
            nodes=list(worker.nodes),
            bus=address_of(bus),
            pid=os.getpid(),
        )
        console.json(output.model_dump(mode="json", by_alias=True))
    else:
        nodes = one_line(", ".join(worker.nodes))
        console.line(f"worker {worker.worker_id} of {one_line(name)} takes messages at {address_of(bus)}: {nodes}")
    console.flush()


@contextmanager
def _telling(console: Console, *, structured: bool) -> Iterator[None]:
    """What the runtime has to say goes to stderr, a line each; what the flow logs stays the flow's own matter."""
    handler = logging.StreamHandler()
    handler.setFormatter(StructuredFormatter() if structured else ExtraFormatter("%(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, (propagate, level) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate
            logger.setLevel(level)
