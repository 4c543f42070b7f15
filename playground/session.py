"""One host for one purpose: load some targets in a child process, run, listen, end.

```python
async with HostSession(find_project([target]), [target]) as host:
    accepted = await host.run(Run(target=target, input={"path": "."}))
    async for frame in host.frames():
        ...
        if isinstance(frame, Result):
            break
```
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from penguiflow.state import errors as store_errors
from penguiflow.state.errors import StoreError, StoreTooNew
from playground.debug_frames import DebugRequest
from playground.host.control import FromWorker, Load, Loaded, Serve, Serving, StoreProblem
from playground.loader.limits import LOAD_TIMEOUT_S
from playground.project import Project, split_attribute
from playground.protocol import (
    Accepted,
    BaseFrame,
    Breakpoints,
    Cancel,
    CodeError,
    Error,
    Events,
    FlowInfo,
    Logs,
    ModuleInfo,
    Questions,
    Result,
    Resumed,
    Run,
    Stopped,
    Stream,
    decode,
)
from playground.sources import RunRefused
from playground.supervisor.client import Connection, ConnectionLost
from playground.supervisor.loading import LoadGuard
from playground.supervisor.process import PRINTED, Death, Worker
from playground.supervisor.recovery import recover
from playground.supervisor.spawn import listen, python_path

MAX_QUEUED_BYTES = 64 * 1024 * 1024
MAX_PRINTED_BYTES = 4 * 1024 * 1024
"""Of printed lines that wait for a reader; then the flow waits too."""
DYING_S = 10.0
"""How long a worker whose connection is lost may take to die."""
Said = Events | Stream | Logs | Result | Stopped | Resumed | Breakpoints | Questions
"""What `HostSession.frames` gives."""
MAX_LOADS = 20
"""Workers that may die of an import before loading is given up."""


class HostDied(Exception):
    """The host process ended by itself; the text says how, in one line."""

    def __init__(
        self,
        message: str,
        *,
        exit_code: int | None,
        signal: str | None,
        stderr: str,
        interrupted: Sequence[str],
        heard: bool = False,
    ) -> None:
        super().__init__(message)
        self.heard = heard
        """Whether `frames` has given what it wrote already."""
        self.exit_code = exit_code
        """None when a signal ended it."""
        self.signal = signal
        """`SIGSEGV`, or None when it exited."""
        self.stderr = stderr
        """The end of what it wrote there, a fault handler's report among it."""
        self.interrupted = list(interrupted)
        """Traces that were marked `interrupted` in the store."""


class LoadFailed(Exception):
    """A target offers nothing to run; the text is one line, `error` has the file, the line and the frames."""

    def __init__(self, module: ModuleInfo) -> None:
        assert module.error is not None
        super().__init__(f"{module.path}: {module.error.message}")
        self.module = module
        self.error = module.error


class AmbiguousTarget(Exception):
    """Several flows answer to a target; `candidates` are the targets to choose from."""

    def __init__(self, target: str, candidates: Sequence[str]) -> None:
        super().__init__(f"{target} has several flows: {', '.join(candidates)}")
        self.candidates = list(candidates)


class HostSession:
    """A client of one worker process that neither watches files nor keeps a spare."""

    def __init__(
        self,
        project: Project,
        targets: Sequence[str] = (),
        *,
        record: bool = True,
        offline: bool = False,
        breakpoints: Path | None = None,
        load_timeout_s: float = LOAD_TIMEOUT_S,
    ) -> None:
        """`targets` default to the project's own; `record=False` runs without the store.

        `offline`, for a replay: the project's code cannot connect to anything, from the first import on. `breakpoints`
        is the folder whose breakpoints hold, the project's own by default; none holds before `debug` was called.
        """
        self.project = project
        self._targets = list(targets)
        self._record = record
        self._offline = offline
        self._breakpoints = breakpoints
        self._cwd = Path.cwd()
        self._modules: list[ModuleInfo] = []
        self._frames: asyncio.Queue[bytes | Logs | None] = asyncio.Queue()
        """Frames as they came; None is the end."""
        self._queued_bytes = 0
        self._printed_bytes = 0
        self._held = False
        """Whether the worker's output is left where it is."""
        self._read = False
        """Whether somebody reads the frames."""
        self._room = asyncio.Event()
        self._leaving = False
        self._worker: Worker | None = None
        self._connection: Connection | None = None
        self._guard = LoadGuard(load_timeout_s)
        self._loaded: asyncio.Future[Loaded | None] | None = None
        self._serving = asyncio.Event()
        self._died: HostDied | None = None
        self._ending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> HostSession:
        """Start the worker and load the targets.

        A module that does not load is data: see `modules`. Raises `penguiflow.state.errors.StoreError` (and its kinds)
        before any user code runs when runs cannot be recorded, `ProjectError`, and `HostDied`.
        """
        targets = self._targets or self.project.default_targets()
        self.project.check()
        token = secrets.token_urlsafe(32)
        listening = listen()
        try:
            loaded = await self._load(listening, targets, token)
            if loaded.store_problem is not None:
                raise store_error(loaded.store_problem)
            self._modules = loaded.modules
            await self._connect(f"ws://127.0.0.1:{listening.getsockname()[1]}/", token)
        except BaseException:
            await self.__aexit__()
            raise
        finally:
            listening.close()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End the worker within two seconds, whatever its code does."""
        self._leaving = True
        self._room.set()
        if self._worker is not None:
            self._hold_output(False)
            await self._worker.stop()
        if self._ending is not None:
            await self._ending
        if self._connection is not None:
            await self._connection.close()
        self._frames.put_nowait(None)

    @property
    def death(self) -> Death | None:
        """How the worker ended; None while it lives."""
        return None if self._worker is None else self._worker.death

    @property
    def modules(self) -> list[ModuleInfo]:
        """What was asked for, each with its flows or its error."""
        return self._modules

    def find_flow(self, target: str) -> FlowInfo:
        """The flow that `target` means: its only one, or the one that `:attr` names.

        Raises `LoadFailed` (a broken module, a module without a flow, no such file: see `.error.kind`) or
        `AmbiguousTarget` (a module or folder with several; `.candidates` are targets).
        """
        return find_flow(self._modules, target, self.project, self._cwd)

    async def run(self, request: Run) -> Accepted:
        """Start a run. Raises `playground.sources.RunRefused` (its `details` name the fields) or `HostDied`."""
        answer = await self._request(request)
        if isinstance(answer, Accepted):
            return answer
        assert isinstance(answer, Error)
        raise RunRefused(answer.message, answer.details)

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a run; False when it was over. Its `Result` still arrives."""
        return isinstance(await self._request(Cancel(trace_id=trace_id)), Accepted)

    async def debug(self, request: DebugRequest) -> BaseFrame:
        """Ask for something about stopped runs; returns the answer. With `Breakpoints` runs begin to stop.

        Raises `playground.sources.RunRefused` (its `details` name the fields) or `HostDied`.
        """
        answer = await self._request(request)
        if isinstance(answer, Error):
            raise RunRefused(answer.message, answer.details, code=answer.code)
        return answer

    async def frames(self) -> AsyncIterator[Said]:
        """What the host says from the start of the session on, in order. Raises `HostDied`; ends with the session."""
        self._read = True
        while (item := await self._frames.get()) is not None:
            if isinstance(item, bytes):
                self._queued_bytes -= len(item)
                self._room.set()
                item = decode(item)
                if isinstance(item, Logs):  # of those that were printed, we have more than the host had
                    item = item.model_copy(update={"lines": [ln for ln in item.lines if ln.source not in PRINTED]})
            elif isinstance(item, Logs):
                self._printed_bytes -= _size(item)
                if self._printed_bytes < MAX_PRINTED_BYTES // 2:
                    self._hold_output(False)
            if isinstance(item, Said) and not (isinstance(item, Logs) and not item.lines):
                yield item
        self._frames.put_nowait(None)
        if self._died is not None:
            raise self._died

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _load(self, listening: socket.socket, targets: list[str], token: str) -> Loaded:
        """Load in a worker; one that dies of a module is followed by another that leaves it out."""
        for _ in range(MAX_LOADS):
            self._loaded = asyncio.get_running_loop().create_future()
            worker = self._worker = Worker.start(
                listening, on_message=self._hear, on_death=self._bury, on_lines=self._printed, lossless=True
            )
            worker.generation = 1
            worker.send(
                Load(
                    generation=1,
                    token=token,
                    root=str(self.project.root),
                    home=str(self.project.home),
                    cwd=str(self._cwd),
                    targets=targets,
                    python_path=python_path(),
                    skip=self._guard.skip,
                    record=self._record,
                    offline=self._offline,
                    breakpoints=None if self._breakpoints is None else str(self._breakpoints),
                    timeout_s=self._guard.timeout_s,
                )
            )
            try:
                loaded = await self._guard.outcome(worker, self._loaded)
            finally:
                self._loaded.cancel()  # where nobody waits any more, the worker's end is no answer
            if loaded is not None:
                return loaded
        assert worker.death is not None
        raise self._describe(worker.death, [])

    def _hear(self, worker: Worker, message: FromWorker) -> None:
        assert self._loaded is not None
        self._guard.hear(worker, message)
        if isinstance(message, Loaded) and not self._loaded.done():
            self._loaded.set_result(message)
        elif isinstance(message, Serving):
            self._serving.set()

    def _printed(self, worker: Worker, logs: Logs) -> None:
        """Queue what the worker printed. Before there is a reader too much of it is dropped, else the worker waits."""
        if self._printed_bytes > MAX_QUEUED_BYTES and not self._read:
            logs = Logs(lines=[], dropped=len(logs.lines))
        self._printed_bytes += _size(logs)
        self._frames.put_nowait(logs)
        if self._read and not self._leaving and self._printed_bytes > MAX_PRINTED_BYTES:
            self._hold_output(True)

    def _hold_output(self, held: bool) -> None:
        if self._worker is not None and held != self._held:
            self._held = held
            self._worker.hold_output(held)

    def _bury(self, worker: Worker, death: Death) -> None:
        if self._loaded is not None and not self._loaded.done():
            if self._guard.blame(death):
                self._loaded.set_result(None)
            else:
                self._loaded.set_exception(self._describe(death, []))
            return
        self._ending = asyncio.get_running_loop().create_task(self._mourn(worker, death))

    async def _mourn(self, worker: Worker, death: Death) -> None:
        """Everything the worker had sent comes first, then how it ended."""
        if self._connection is not None:
            await self._connection.lost()
        if not death.expected:
            interrupted = await recover(self.project, death) if self._record else []
            self._died = self._describe(death, interrupted)
        self._serving.set()
        self._frames.put_nowait(None)

    def _describe(self, death: Death, interrupted: Sequence[str]) -> HostDied:
        return HostDied(
            f"the host process died: {death.text}",
            exit_code=death.exit_code,
            signal=death.signal,
            stderr=death.stderr,
            interrupted=interrupted,
            heard=self._read,
        )

    async def _connect(self, url: str, token: str) -> None:
        assert self._worker is not None
        self._worker.send(Serve())
        await self._serving.wait()
        self._connection = Connection(url, token, on_data=self._receive)
        try:
            await self._connection.open()
        except ConnectionLost as error:
            self._connection.closed.set()
            raise await self._why(error) from None

    async def _request(self, frame: BaseFrame) -> BaseFrame:
        if self._died is not None:
            raise self._died
        if self._connection is None:
            raise RuntimeError("the session is not open")
        try:
            answer: BaseFrame = await self._connection.request(frame)
        except ConnectionLost as error:
            raise await self._why(error) from None
        return answer

    async def _why(self, error: ConnectionLost) -> Exception:
        """A connection that is lost means a worker that is dead, or will be soon."""
        assert self._worker is not None
        try:
            async with asyncio.timeout(DYING_S):
                await self._worker.ended.wait()
        except TimeoutError:
            return HostDied(str(error), exit_code=None, signal=None, stderr="", interrupted=[])
        if self._ending is not None:
            await self._ending
        return self._died or HostDied("the host has ended", exit_code=None, signal=None, stderr="", interrupted=[])

    async def _receive(self, data: bytes) -> None:
        """Queue a frame; while a reader of `frames` is far behind, nothing more is read from the host."""
        self._queued_bytes += len(data)
        self._frames.put_nowait(data)
        while self._queued_bytes > MAX_QUEUED_BYTES and not self._leaving:
            self._room.clear()
            await self._room.wait()


def find_flow(modules: Sequence[ModuleInfo], target: str, project: Project, cwd: Path) -> FlowInfo:
    """The flow among loaded modules that `target` means. Raises as `HostSession.find_flow`."""
    flows = [flow for module in modules for flow in module.flows]
    exact = [flow for flow in flows if flow.target == target]
    if exact:
        return exact[0]
    names = {target, *_in_project(target, project, cwd)}
    inside = tuple(name.rstrip("/") + "/" for name in names)
    matching = [m for m in modules if m.path in names or m.path.startswith(inside) or target in _spelled(m)]
    if "." in names:
        matching += [m for m in modules if "/" not in m.path and m not in matching]
    found = [flow for module in matching for flow in module.flows]
    attribute = split_attribute(target)[1]
    if attribute is not None and len(found) > 1:
        found = [flow for flow in found if flow.target.endswith(f":{attribute}")]
    if len(found) > 1:
        raise AmbiguousTarget(target, [flow.target for flow in found])
    if found:
        return found[0]
    for module in matching:
        if module.error is not None:
            raise LoadFailed(module)
    missing = CodeError(kind="not_found", message=f"no flow is named {target!r}")
    raise LoadFailed(ModuleInfo(path=target, state="error", error=missing))


def _in_project(target: str, project: Project, cwd: Path) -> list[str]:
    """A target as the project spells it: paths are relative to its root, not to where one stands."""
    place, attribute = split_attribute(target)
    path = Path(os.path.normpath(cwd / place))
    if not path.exists():
        return [place]
    try:
        relative = path.relative_to(project.root).as_posix()
    except ValueError:
        relative = path.as_posix()
    return [relative, place, *([f"{relative}:{attribute}"] if attribute else [])]


def _size(logs: Logs) -> int:
    return sum(len(line.text) + 100 for line in logs.lines)


def _spelled(module: ModuleInfo) -> set[str]:
    """Dotted spelling of a module that was found as a file."""
    return {module.path.removesuffix(".py").replace("/", ".")}


def store_error(problem: StoreProblem) -> StoreError:
    """The store's error as the worker met it."""
    if problem.kind == StoreTooNew.__name__:
        return StoreTooNew(problem.message, path=problem.path, found=problem.found, supported=problem.supported)
    kind = getattr(store_errors, problem.kind, StoreError)
    error: StoreError = kind(problem.message, path=problem.path)
    return error
