"""When loading a project ends a worker: which module did it, and how to go on without it."""

from __future__ import annotations

from playground.host.control import Blocked, FromWorker, Loaded, Loading
from playground.loader.limits import LOAD_TIMEOUT_S
from playground.protocol import CodeError
from playground.supervisor.process import Death, Worker

EXIT_HINT = "The module ends the process that imports it; look for os._exit, sys.exit in a thread, or native code."
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

    def begin(self) -> None:
        """A new load of new code: everything may be tried again."""
        self.skip.clear()
        self._loading = None
        self._stalled = None

    def hear(self, worker: Worker, message: FromWorker) -> None:
        """Follow a worker's reports; one whose import does not end is killed."""
        if isinstance(message, Loading):
            self._loading = message.path
        elif isinstance(message, Loaded):
            self._loading = None
        elif isinstance(message, Blocked) and message.loading is not None:
            place = message.frame
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
