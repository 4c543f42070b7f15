"""From an empty process to one that serves a project."""

from __future__ import annotations

import asyncio
import atexit
import faulthandler
import gc
import io
import logging
import os
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import penguiflow
from penguiflow import Headers, Message, ModelRegistry, Node, create
from penguiflow.recording.masking import KEY_FILE, Masker
from penguiflow.recording.offline import offline
from playground.host.control import Load, Loaded, Loading, Ready
from playground.host.engine import Engine
from playground.host.logs import WireHandler, keep_in_traces
from playground.host.records import Records
from playground.host.started import end_own
from playground.host.wire import Wire
from playground.loader.project_loader import ProjectLoader
from playground.project import Project

OWN_PACKAGE = "playground"

_kept: list[ModuleType] = []
"""This package's modules, alive though the user's own `playground` has taken their names."""


def work(control_fd: int, listen_fd: int) -> None:
    """The life of a worker. Returns when it is told to stop; its supervisor's death ends it anywhere."""
    # Called last, after all that user code has registered: a supervisor that is dead ends nothing any more.
    atexit.register(end_own)
    faulthandler.enable()
    control, listening = (socket.socket(fileno=number) for number in (control_fd, listen_fd))
    for inherited in (control, listening):
        inherited.set_inheritable(False)
    # A process that user code forks is no worker, and must not keep the port or the supervisor's channel.
    for inherited in (control, listening):
        os.register_at_fork(after_in_child=inherited.close)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    wire = Wire(control, listening)
    logging.lastResort = WireHandler(lambda line: wire.post(lambda hub: hub.add_line(line)))
    asyncio.run(warm_up())
    gc.collect()
    gc.freeze()
    wire.start()
    wire.control.send(Ready(pid=os.getpid()))
    _serve(*_wait_for_order(wire), wire)


async def warm_up() -> None:
    """Do once what every project needs, so that loading it pays only for its own code."""
    for name in penguiflow.__all__:
        getattr(penguiflow, name)

    async def echo(headers: Headers, ctx: object) -> Headers:
        return headers

    registry = ModelRegistry()
    registry.register("echo", Headers, Headers)
    flow = create(Node(echo).to())
    flow.run(registry=registry)
    await flow.call(Message(payload=Headers(tenant=""), headers=Headers(tenant="")))
    await flow.stop()
    Message.model_json_schema()


def _wait_for_order(wire: Wire) -> tuple[Load, Records]:
    """The order to load, with the store. An order whose store cannot be written is refused before it is begun."""
    while True:
        order = wire.load.get()
        records = Records(Project(Path(order.root), Path(order.home)) if order.record else None)
        problem = records.prepare()
        if problem is None:
            return order, records
        wire.control.send(Loaded(modules=[], files={}, ms=0.0, store_problem=problem))


def _serve(order: Load, records: Records, wire: Wire) -> None:
    project = Project(Path(order.root), Path(order.home))
    started = time.perf_counter()

    def importing(path: str) -> None:
        wire.loading = (path, time.monotonic())
        wire.control.send(Loading(path=path))

    loader = ProjectLoader(
        project,
        order.targets,
        cwd=Path(order.cwd),
        skip=order.skip,
        on_import=importing,
        timeout_s=order.timeout_s,
    )
    give_way(project)
    _add_python_path(order.python_path)

    wire.hub.masker = Masker(project.home / KEY_FILE, project.masking_rules())
    level = project.log_level()
    if level is not None:
        keep_in_traces(level)

    async def run() -> None:
        engine = Engine(order, loader, wire, records, watched)
        await engine.serve(lambda: (time.perf_counter() - started) * 1e3)

    with ExitStack() as stack:
        watched = stack.enter_context(offline()) if order.offline else None
        runner = stack.enter_context(asyncio.Runner())
        loop = runner.get_loop()
        os.register_at_fork(after_in_child=lambda: leave_when_forked(loop))
        loader.import_all()
        runner.run(run())


def leave_when_forked(loop: asyncio.AbstractEventLoop) -> None:
    """A process that user code forked ends where it would go on as a second worker: on this loop.

    It shares the selector of the real one, and would take from it what only that one may answer. What it does by
    itself, as a target of multiprocessing does, is left alone.
    """
    # The step that forked is finished; nothing else that was ready then may happen twice.
    for waiting in getattr(loop, "_ready", ()):
        waiting.cancel()
    loop.call_soon(os._exit, 0)


def give_way(project: Project) -> None:
    """A project may have a package of the same name as this one: then the name is the project's from here on."""
    own_folder = Path(__file__).parent.parent
    candidates = [base / OWN_PACKAGE for base in (project.root, project.root / "src")]
    taken = any(folder.is_dir() and folder != own_folder for folder in candidates)
    if not taken and not any(folder.with_suffix(".py").is_file() for folder in candidates):
        return
    names = [name for name in sys.modules if name == OWN_PACKAGE or name.startswith(OWN_PACKAGE + ".")]
    _kept.extend(sys.modules.pop(name) for name in names)


def _add_python_path(entries: list[str]) -> None:
    """PYTHONPATH as the user has it; it was kept away from the host's own imports."""
    if entries:
        sys.path[:0] = entries
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)
