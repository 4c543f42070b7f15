"""Blue and green: loads each save in a spare worker, and switches to it when it is good.

One worker is kept warm, with everything imported but user code. A save gives it the project to load. Good code takes
over the listening socket, and the worker before it finishes its runs. Broken code changes nothing but what is said of
its module, whose last good version goes on in the worker that has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from playground.host.control import (
    Blocked,
    FromWorker,
    Held,
    Imported,
    Load,
    Loaded,
    ReloadAsked,
    Retire,
    Serve,
    Serving,
    StoreProblem,
    Yield,
    Yielded,
)
from playground.loader.limits import LOAD_TIMEOUT_S
from playground.project import Project, ProjectError
from playground.protocol import Flows, Logs, ModuleInfo
from playground.sources import HostState
from playground.supervisor.generations import Generation, Generations
from playground.supervisor.loading import LoadGuard
from playground.supervisor.process import Death, Worker
from playground.supervisor.pulse import Pulse
from playground.supervisor.spawn import Prestarted, python_path
from playground.supervisor.watch import Watcher

GRACE_S = 5.0
"""How long runs may go on in a worker that was superseded."""
KILL_AFTER_S = 2.0
STUCK_MS = 2000.0
"""A loop that is blocked for this long may be ended like one that is silent."""
SPARE_DELAY_S = 0.1
"""The new worker's first run comes first, then the next spare."""
HANDOVER_S = 1.0
CRASH_WINDOW_S = 30.0
MAX_DEATHS = 20
"""Workers that may die within one load."""
BACKOFF_S = (0.0, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Wait before a restart, by how many workers died lately."""


class Listener(Protocol):
    """Whoever wants to know."""

    async def serving(self, generation: Generation) -> None:
        """A worker accepts clients. Its modules are announced when this returns."""
        ...

    def modules_changed(self, modules: list[ModuleInfo]) -> None:
        """What can be run now."""
        ...

    def state_changed(self, state: HostState) -> None:
        """How the host is."""
        ...

    def died(self, worker: Worker, death: Death) -> None:
        """A worker ended, expected or not."""
        ...

    def printed(self, logs: Logs) -> None:
        """What workers print."""
        ...

    def cannot_record(self, problem: StoreProblem) -> None:
        """Runs go on without being recorded."""
        ...


class Supervisor:
    """Keeps a project served from `start` to `stop`."""

    def __init__(
        self,
        project: Project,
        targets: Sequence[str],
        listener: Listener,
        *,
        cwd: Path,
        grace_s: float = GRACE_S,
        load_timeout_s: float = LOAD_TIMEOUT_S,
    ) -> None:
        self.project = project
        self.generations = Generations()
        self.token = secrets.token_urlsafe(32)
        self._targets = list(targets)
        self._listener = listener
        self._cwd = cwd
        self._grace_s = grace_s
        self._record = True
        self._listening: socket.socket | None = None
        self._workers: set[Worker] = set()
        self._spare: Worker | None = None
        self._spare_timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._guard = LoadGuard(load_timeout_s)
        self._loading: tuple[Worker, asyncio.Future[Loaded | None]] | None = None
        self._signals: dict[tuple[Worker, type], asyncio.Event] = {}
        self._helpers: set[str] = set()
        self._retiring: dict[Worker, asyncio.TimerHandle | None] = {}
        """Workers that were superseded, and when they are killed; None: not while runs of theirs are stopped."""
        self._held: dict[Worker, int] = {}
        """How many stopped runs a worker has, of those that have any."""
        self._wanted = asyncio.Event()
        self.settled = asyncio.Event()
        """Set while nothing is being loaded, and nothing is about to be."""
        self._force = False
        self._pulse = Pulse(lambda: [each.worker for each in self.generations.serving], self._silent)
        self._stuck: set[Worker] = set()
        """Those whose loop is blocked for long."""
        self._deaths: deque[float] = deque(maxlen=len(BACKOFF_S))
        self._restarted_after: str | None = None
        self._stopping = False
        self._watcher = Watcher(project.root, self._named_folders(), self._files_changed)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """Where clients connect."""
        assert self._listening is not None
        return f"ws://127.0.0.1:{self._listening.getsockname()[1]}/"

    @property
    def records(self) -> bool:
        """Whether runs are recorded, as far as is known."""
        return self._record

    @property
    def spare_pid(self) -> int | None:
        """The worker that waits for the next save."""
        return self._spare.pid if self._spare is not None else None

    @property
    def worker_pids(self) -> list[int]:
        """Every worker process there is."""
        return [worker.pid for worker in self._workers]

    def start(self, prestarted: Prestarted) -> None:
        """Begin, with a first worker that was started already. Returns at once."""
        self._listening = prestarted.listening
        self._spare = self._adopt(
            Worker(prestarted.spawned, on_message=self._hear, on_death=self._bury, on_lines=self._printed)
        )
        self._say("starting")
        self._want()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._keep_loaded()),
            loop.create_task(self._keep_watching()),
            loop.create_task(self._pulse.watch()),
        ]

    async def stop(self) -> None:
        """End every worker; returns when they are gone."""
        self._stopping = True
        if self._spare_timer is not None:
            self._spare_timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._listening is not None:
            self._listening.close()

    def reload(self) -> None:
        """Load the code again, even if no file changed."""
        self._force = True
        self._want()

    def kill_silent(self) -> bool:
        """End the workers that are silent, or blocked for long, at once; False when there are none.

        Others take their places.
        """
        silent = self._pulse.silent | self._stuck
        for worker in silent:
            worker.kill()
        return bool(silent)

    def _want(self) -> None:
        self.settled.clear()
        self._wanted.set()

    # -- workers ------------------------------------------------------------------------------------------------------

    def _adopt(self, worker: Worker) -> Worker:
        self._workers.add(worker)
        return worker

    def _take_worker(self) -> Worker:
        """The spare, or a new one."""
        worker, self._spare = self._spare, None
        if worker is None:
            assert self._listening is not None
            worker = self._adopt(
                Worker.start(self._listening, on_message=self._hear, on_death=self._bury, on_lines=self._printed)
            )
        return worker

    def _prepare_spare(self) -> None:
        self._spare_timer = None
        if self._spare is None and not self._stopping:
            self._spare = self._take_worker()

    def _prepare_spare_soon(self, delay_s: float) -> None:
        if self._spare_timer is not None:
            self._spare_timer.cancel()
        self._spare_timer = asyncio.get_running_loop().call_later(delay_s, self._prepare_spare)

    def _hear(self, worker: Worker, message: FromWorker) -> None:
        self._pulse.heard(worker)
        if self._loading is not None and worker is self._loading[0]:
            self._guard.hear(worker, message)
            if isinstance(message, Loaded) and not self._loading[1].done():
                self._loading[1].set_result(message)
        if isinstance(message, Serving | Yielded):
            self._signal(worker, type(message)).set()
        elif isinstance(message, Imported):
            self.generations.imported(worker, message.versions)
            self._note_files(message.files)
            self._announce()
        elif isinstance(message, ReloadAsked):
            self.reload()
        elif isinstance(message, Held):
            self._hold(worker, message.traces)
        elif isinstance(message, Blocked) and message.loading is None and self.generations.serves(worker):
            self._blocked(worker, message)

    def _printed(self, worker: Worker, logs: Logs) -> None:
        self._listener.printed(logs)

    def _silent(self, worker: Worker, seconds: float) -> None:
        self._say("silent", f"host silent for {seconds:.0f} s") if seconds else self._say("ready")

    def _blocked(self, worker: Worker, message: Blocked) -> None:
        if not message.ms:
            self._stuck.discard(worker)
            self._say("ready")
            return
        if message.ms >= STUCK_MS:
            self._stuck.add(worker)
        place = message.frame
        where = f" at {place.file}:{place.line} in {place.function}" if place is not None else ""
        self._say("stalled", f"blocked {message.ms / 1e3:.1f} s{where}")

    def _bury(self, worker: Worker, death: Death) -> None:
        self._workers.discard(worker)
        self._held.pop(worker, None)
        self._pulse.forget(worker)
        self._stuck.discard(worker)
        timer = self._retiring.pop(worker, None)
        if timer is not None:
            timer.cancel()
        for key in [key for key in self._signals if key[0] is worker]:
            self._signals.pop(key).set()
        self._listener.died(worker, death)
        if self._stopping:
            return
        if worker is self._spare:
            self._spare = None
            self._deaths.append(time.monotonic())
            self._prepare_spare_soon(max(self._backoff(), SPARE_DELAY_S))
        elif self._loading is not None and worker is self._loading[0]:
            if not self._loading[1].done():
                if not self._guard.blame(death):
                    last_words = death.stderr.strip().splitlines()
                    self._restarted_after = last_words[-1][:200] if last_words else death.text
                self._loading[1].set_result(None)
        elif self.generations.forget(worker) is not None and not death.expected:
            self._deaths.append(time.monotonic())
            self._restarted_after = death.text
            self._say("dead", f"the host died: {death.text}")
            self._announce()
            self.reload()

    def _signal(self, worker: Worker, kind: type) -> asyncio.Event:
        return self._signals.setdefault((worker, kind), asyncio.Event())

    def _backoff(self) -> float:
        since = time.monotonic() - CRASH_WINDOW_S
        recent = sum(1 for moment in self._deaths if moment > since)
        return BACKOFF_S[min(recent, len(BACKOFF_S) - 1)]

    # -- loading ------------------------------------------------------------------------------------------------------

    async def _keep_loaded(self) -> None:
        while True:
            if not self._wanted.is_set():
                self.settled.set()
            await self._wanted.wait()
            wait_s = self._backoff() if self._restarted_after is not None else 0.0
            if wait_s:
                self._say("restarting", f"{self._restarted_after}; next try in {wait_s:g} s")
                await asyncio.sleep(wait_s)
            self._wanted.clear()
            force, self._force = self._force, False
            if self.generations.serving:
                self._say("reloading")
            await self._load(force=force)
            if not self._wanted.is_set():
                self._prepare_spare_soon(SPARE_DELAY_S)

    async def _load(self, *, force: bool) -> None:
        """Load once, in as many workers as it takes to find the modules that no worker survives."""
        self._guard.begin()
        try:
            targets = self._targets or self.project.default_targets()
            self.project.check()
        except ProjectError as error:
            self._say("ready", str(error))
            return
        for _ in range(MAX_DEATHS):
            worker = self._take_worker()
            self._number += 1
            worker.generation = self._number
            loaded = await self._load_in(worker, targets)
            if loaded is not None and loaded.store_problem is not None:
                self._record = False
                self._listener.cannot_record(loaded.store_problem)
                if not loaded.modules:
                    loaded = await self._load_in(worker, targets)
            if loaded is not None:
                await self._settle(worker, loaded, force=force)
                return
            if not self._guard.found:
                self._deaths.append(time.monotonic())
                self._say("dead", f"the host does not start: {self._restarted_after}")
                await asyncio.sleep(self._backoff())
        self._say("dead", f"{MAX_DEATHS} workers died while loading; save a file to try again")

    async def _load_in(self, worker: Worker, targets: Sequence[str]) -> Loaded | None:
        future: asyncio.Future[Loaded | None] = asyncio.get_running_loop().create_future()
        self._loading = worker, future
        worker.send(
            Load(
                generation=worker.generation,
                token=self.token,
                root=str(self.project.root),
                home=str(self.project.home),
                cwd=str(self._cwd),
                targets=list(targets),
                python_path=python_path(),
                skip=self._guard.skip,
                record=self._record,
                timeout_s=self._guard.timeout_s,
            )
        )
        try:
            return await self._guard.outcome(worker, future)
        finally:
            self._loading = None

    async def _settle(self, worker: Worker, loaded: Loaded, *, force: bool) -> None:
        """Decide what a finished load is good for."""
        self._note_files(loaded.files)
        self._leave_out_helpers(loaded)
        first = self.generations.newest is None
        if not (first or force or self.generations.brings_news(loaded.modules)):
            self.generations.note(loaded.modules)
            self._announce()
            worker.expect_end()
            worker.kill()
            self._say("ready")
            return
        generation = Generation(worker, loaded.modules)
        if not await self._hand_over(generation):
            self.reload()  # it died between two steps
            return
        await self._listener.serving(generation)
        unused = self.generations.switch(generation, loaded.modules)
        self._announce()
        for old in unused:
            self._retire(old.worker)
        text = f"restarted after {self._restarted_after}" if self._restarted_after is not None else ""
        self._restarted_after = None
        self._say("ready", text)

    def _leave_out_helpers(self, loaded: Loaded) -> None:
        """A module that only others import offers nothing, even while the others are too broken to import it."""
        broken = any(module.error is not None and module.error.kind != "no_flow" for module in loaded.modules)
        if not broken:
            self._helpers = set(loaded.helpers)
            return
        self._helpers.update(loaded.helpers)
        loaded.modules = [module for module in loaded.modules if module.flows or module.path not in self._helpers]

    async def _hand_over(self, generation: Generation) -> bool:
        """The new worker accepts in place of the one before; False when it did not live to."""
        waiting = [self._signal(generation.worker, Serving)]
        before = self.generations.newest
        if before is not None:
            waiting.append(self._signal(before.worker, Yielded))
            before.worker.send(Yield())
        generation.worker.send(Serve())
        # One whose interpreter is held by native code may not answer; clients notice whom they reached.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANDOVER_S):
                for signal in waiting:
                    await signal.wait()
        return generation.worker.death is None

    def _retire(self, worker: Worker) -> None:
        worker.expect_end()
        worker.send(Retire(grace_s=self._grace_s))
        self._retiring[worker] = None
        self._end_soon(worker)

    def _hold(self, worker: Worker, traces: Sequence[str]) -> None:
        """A worker with stopped runs is left alone; then its grace begins."""
        if traces:
            self._held[worker] = len(traces)
        else:
            self._held.pop(worker, None)
        if worker in self._retiring:
            self._end_soon(worker)

    def _end_soon(self, worker: Worker) -> None:
        """Kill a worker that does not end after its grace."""
        timer = self._retiring.get(worker)
        if timer is not None:
            timer.cancel()
        self._retiring[worker] = None
        if worker not in self._held:
            after = self._grace_s + KILL_AFTER_S
            self._retiring[worker] = asyncio.get_running_loop().call_later(after, worker.kill)

    def _announce(self) -> None:
        modules = self.generations.modules()
        for generation in self.generations.serving:
            generation.worker.send(Flows(modules=modules))
        self._listener.modules_changed(modules)

    def _say(self, state: str, text: str = "") -> None:
        killable = bool(self._pulse.silent | self._stuck)
        self._listener.state_changed(HostState(state, text, self._number, killable))

    # -- files --------------------------------------------------------------------------------------------------------

    def _named_folders(self) -> list[Path]:
        paths = [self._cwd / target.partition(":")[0] for target in self._targets]
        return [path if path.is_dir() else path.parent for path in paths if path.exists()]

    def _note_files(self, files: Mapping[str, str]) -> None:
        folders = set()
        for name, content_hash in files.items():
            path = self.project.root / name
            self._watcher.remember(path, content_hash)
            folders.add(path.parent)
        self._watcher.asset_folders = folders - {self.project.root}

    def _files_changed(self, paths: set[Path]) -> None:
        if any(path.suffix != ".py" for path in paths):
            self._force = True
        self._want()
        if self._loading is not None:
            self._prepare_spare()

    async def _keep_watching(self) -> None:
        try:
            await self._watcher.watch()
        except (OSError, RuntimeError) as error:  # no more watches to be had, or a file system that has none
            self._say("ready", f"files are not watched ({error}); reload by hand")
