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

from collections.abc import AsyncIterator, Sequence

from playground.project import Project
from playground.protocol import Accepted, Events, FlowInfo, Logs, ModuleInfo, Result, Run, Stream


class HostDied(Exception):
    """The host process ended by itself; the text says how, in one line."""

    def __init__(
        self, message: str, *, exit_code: int | None, signal: str | None, stderr: str, interrupted: Sequence[str]
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """None when a signal ended it."""
        self.signal = signal
        """`SIGSEGV`, or None when it exited."""
        self.stderr = stderr
        """The end of what it wrote there, a fault handler's report among it."""
        self.interrupted = list(interrupted)
        """Traces that were marked `interrupted` in the store."""


class HostSession:
    """A client of one worker process that neither watches files nor keeps a spare."""

    def __init__(self, project: Project, targets: Sequence[str] = (), *, record: bool = True) -> None:
        """`targets` default to the project's own; `record=False` runs without the store."""
        raise NotImplementedError

    async def __aenter__(self) -> HostSession:
        """Start the worker and load the targets.

        A module that does not load is data: see `modules`. Raises `penguiflow.state.errors.StoreError` (and its kinds)
        before any user code runs when runs cannot be recorded, `ProjectError`, and `HostDied`.
        """
        raise NotImplementedError

    async def __aexit__(self, *exc_info: object) -> None:
        """End the worker within two seconds, whatever its code does."""
        raise NotImplementedError

    @property
    def modules(self) -> list[ModuleInfo]:
        """What was asked for, each with its flows or its error."""
        raise NotImplementedError

    def find_flow(self, target: str) -> FlowInfo:
        """The flow that `target` means: its only one, or the one that `:attr` names.

        Raises `LoadFailed` (a broken module, a module without a flow, no such file: see `.error.kind`) or
        `AmbiguousTarget` (a module or folder with several; `.candidates` are targets).
        """
        raise NotImplementedError

    async def run(self, request: Run) -> Accepted:
        """Start a run. Raises `playground.sources.RunRefused` (its `details` name the fields) or `HostDied`."""
        raise NotImplementedError

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a run; False when it was over. Its `Result` still arrives."""
        raise NotImplementedError

    def frames(self) -> AsyncIterator[Events | Stream | Logs | Result]:
        """What the host says from the start of the session on, in order. Raises `HostDied`; ends with the session."""
        raise NotImplementedError


class LoadFailed(Exception):
    """A target offers nothing to run; the text is one line, `error` has the file, the line and the frames."""

    def __init__(self, module: ModuleInfo) -> None:
        assert module.error is not None
        super().__init__(module.error.message)
        self.module = module
        self.error = module.error


class AmbiguousTarget(Exception):
    """Several flows answer to a target; `candidates` are the targets to choose from."""

    def __init__(self, target: str, candidates: Sequence[str]) -> None:
        super().__init__(f"{target} has several flows: {', '.join(candidates)}")
        self.candidates = list(candidates)
