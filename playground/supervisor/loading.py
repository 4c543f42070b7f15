"""When loading a project ends a worker: which module did it, and how to go on without it."""

from __future__ import annotations

import asyncio
import time

from playground.host.control import Blocked, FromWorker, Loaded, Loading
from playground.loader.limits import LOAD_TIMEOUT_S
from playground.protocol import CodeError, CodeFrame
from playground.supervisor.process import Death, Worker

EXIT_HINT = "The module ends the process that imports it; look for os._exit, sys.exit in a thread, or native code."
SILENCE_S = 2.0
"""How much longer than an import may take a worker may say nothing."""
WARM_UP_S = 120.0
"""How long a worker may say nothing before its first import: no code of the project runs yet, the machine is slow."""
STALL_HINT = "Move slow work out of the module's top level, into a node or a function."


class LoadGuard:
    """Follows one load after the other, and remembers the modules that no worker survived."""

    def __init__(self, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self.skip: dict[str, CodeError] = {}
        """Why the next worker is not to import a module, by path."""
        self.found = False
        """Whether the last death could be blamed on a module."""
        self._loading: str | None = None
        self._stalled: CodeError | None = None
        self._heard_at = 0.0

    def begin(self) -> None:
        """A new load of new code: everything may be tried again."""
        self.skip.clear()
        self._loading = None
        self._stalled = None

    def hear(self, worker: Worker, message: FromWorker) -> None:
        """Follow a worker's reports; one whose import does not end is killed."""
        self._heard_at = time.monotonic()
        if isinstance(message, Loading):
            self._loading = message.path
        elif isinstance(message, Loaded):
            self._loading = None
        elif isinstance(message, Blocked) and message.loading is not None:
            self._end(worker, message.frame)

    async def outcome(self, worker: Worker, loaded: asyncio.Future[Loaded | None]) -> Loaded | None:
        """Wait for the end of a load; None when the worker died of it.

        Native code that holds the interpreter keeps the worker from reporting anything: then silence is the report.
        """
        self._heard_at = time.monotonic()
        while True:
            limit_s = self.timeout_s + SILENCE_S
            patience_s = self._heard_at + (WARM_UP_S if self._loading is None else limit_s) - time.monotonic()
            if patience_s <= 0:
                self._end(worker, None)
                return await loaded
            # The first import may begin meanwhile.
            await asyncio.wait([loaded], timeout=min(patience_s, limit_s))
            if loaded.done():
                return loaded.result()

    def _end(self, worker: Worker, place: CodeFrame | None) -> None:
        self._stalled = CodeError(
            kind="stall",
            message=f"was not imported within {self.timeout_s:g} s",
            file=place.file if place is not None else None,
            line=place.line if place is not None else None,
            frames=[place] if place is not None else [],
            hint=STALL_HINT,
        )
        worker.kill()

    def blame(self, death: Death) -> bool:
        """A worker died while loading: leave the module out from now on. False when no module is to blame."""
        path, self._loading = self._loading, None
        stalled, self._stalled = self._stalled, None
        self.found = path is not None and path not in self.skip and not death.expected
        if not self.found or path is None:
            return False
        self.skip[path] = stalled or CodeError(
            kind="exit", message=f"ended the process while it was loaded: {death.text}", file=path, hint=EXIT_HINT
        )
        return True
