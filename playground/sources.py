"""The dashboard's one view of the world, whatever is behind it: a live host, a recorded trace, a remote host.

A source pushes what happens into an `Inbox`, a plain list that the dashboard empties once per frame; it never calls
into a widget. What it is asked for, it answers by awaiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from penguiflow.recording.events import TraceEvent
    from penguiflow.state.pieces import Pieces
    from penguiflow.state.statistics import FlowStatistics, StatisticsQuery
    from penguiflow.state.traces import TraceQuery, TraceSummary
    from playground.breakpoints import Breakpoint
    from playground.protocol import (
        Answer,
        Breakpoints,
        Context,
        ContextEdit,
        ContextGet,
        Decide,
        Kv,
        KvEdit,
        KvGet,
        LettersEdit,
        LogLine,
        Memory,
        MemoryEdit,
        MemoryGet,
        ModuleInfo,
        Questions,
        Queues,
        QueuesGet,
        Result,
        Resumed,
        Run,
        Steer,
        Stopped,
    )

MAX_INBOX = 50_000
"""Events that wait for a dashboard that is slower than they are; of more than these stream chunks go, counted."""
MAX_WAITING = 4 * MAX_INBOX
"""Of more than these all that comes goes, counted. What is recorded is read from the store when the run is over."""


class HostState(NamedTuple):
    """What the status line says of the host."""

    state: str
    """`starting`, `ready`, `reloading`, `stalled`, `silent`, `dead`, `restarting` or `offline`.

    Of trace files: `reading`, with how far that is as `text`, and `recorded`.
    """
    text: str = ""
    """One line for people: `restarted after exit code 1`, `blocked 1.2 s at nodes.py:28 in fetch`."""
    generation: int = 0
    killable: bool = False
    """Whether `Source.kill_silent` would end it: it is silent, or blocked for long."""
    since: float | None = None
    """Of `offline`: when it was heard last, or first tried (Unix seconds). What is shown is what was known then."""


class Notice(NamedTuple):
    """Something that people should be told once."""

    text: str
    severity: str = "information"
    """`information`, `warning` or `error`."""


class Inbox:
    """What arrived since the last frame."""

    def __init__(self) -> None:
        self.events: deque[bytes] = deque()
        """Events as JSON bytes, in order of arrival; chunks of streams among them."""
        self.modules: list[ModuleInfo] | None = None
        """The newest list of modules, or None when it did not change."""
        self.host: HostState | None = None
        self.opened: str | None = None
        """A run to be shown at once."""
        self.results: deque[Result] = deque()
        self.logs: deque[LogLine] = deque()
        self.stops: deque[Stopped | Resumed] = deque()
        """Runs that stopped or went on, in order. A stop that is told again takes the place of what was told."""
        self.breakpoints: Breakpoints | None = None
        """The newest, or None when they did not change."""
        self.questions: Questions | None = None
        """What runs ask somebody, the newest list, or None when it did not change."""
        self.notices: deque[Notice] = deque()
        self.not_recorded: str | None = None
        """News of the store: why the last run is not in it; empty when it is in it again."""
        self.dropped = 0
        """Stream chunks and log lines that did not fit, since the start."""


def put_events(inbox: Inbox, events: Iterable[bytes]) -> None:
    """Add events; of too many the stream chunks go, and of far too many all, counted."""
    waiting = inbox.events
    for event in events:
        # Only what comes is looked at, not what waits: that would be done again with each batch.
        room = MAX_INBOX if b'"kind":"stream.chunk"' in event[:300] else MAX_WAITING
        if len(waiting) < room:
            waiting.append(event)
        else:
            inbox.dropped += 1


class RunRefused(Exception):
    """The host would not start the run, or do with it what was asked; `details` names the fields."""

    def __init__(self, message: str, details: list[dict[str, Any]] | None = None, *, code: str = "") -> None:
        super().__init__(message)
        self.details = details or []
        self.code = code
        """As an `error` frame has it: `not_found` for what is over, `conflict` for what changed meanwhile."""


class Source(Protocol):
    """Where a dashboard gets its flows, runs and events from."""

    inbox: Inbox
    can_run: bool
    """False for a recorded trace."""
    can_decide: bool
    """Whether runs stop for it: False for a recorded trace, and for one who only looks on."""
    local: bool
    """Whether its runs are in the store of the project here, where commands find them."""

    async def start(self) -> None:
        """Begin to fill the inbox. Returns at once; failures arrive as `HostState`."""
        ...

    async def stop(self) -> None:
        """End everything that `start` began; leaves no process and no task behind."""
        ...

    async def run(self, request: Run) -> str:
        """Start a run; returns its trace id. Raises `RunRefused`."""
        ...

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a run; False when it was over."""
        ...

    async def set_breakpoints(self, put: list[Breakpoint], remove: list[str]) -> Breakpoints:
        """Add or replace breakpoints, and remove others by id; returns all. Raises `RunRefused`."""
        ...

    async def decide(self, request: Decide) -> None:
        """Let a stopped run go on. Raises `RunRefused`; it waits on."""
        ...

    async def halt(self, trace_id: str) -> bool:
        """Stop a run at its next checkpoint; False when it was over."""
        ...

    async def context(self, request: ContextGet | ContextEdit) -> Context:
        """What is around a stopped run; with an edit, after it. Raises `RunRefused`."""
        ...

    async def memory(self, request: MemoryGet | MemoryEdit, *, stop: str | None = None) -> Memory:
        """What planners remember; with an edit, after it. `stop`: of the host that has it. Raises `RunRefused`."""
        ...

    async def kv(self, request: KvGet | KvEdit, *, stop: str | None = None) -> Kv:
        """What tools keep; with an edit, after it. `stop`: of the host that has it. Raises `RunRefused`."""
        ...

    async def queues(self, request: QueuesGet | LettersEdit) -> Queues:
        """The edges of a distributed flow; with a change of its dead letters, after it. Raises `RunRefused`."""
        ...

    async def answer_question(self, request: Answer) -> None:
        """Answer a question of a run. Raises `RunRefused`: it was answered, or the answer does not fit."""
        ...

    async def steer(self, request: Steer) -> None:
        """Steer a planner's run while it goes on. Raises `RunRefused`."""
        ...

    async def reload(self) -> None:
        """Load the project's code again."""
        ...

    async def kill_silent(self) -> bool:
        """End a host that is `silent`, or `stalled` for 2 s, with its runs; False when none is. Another follows."""
        ...

    async def find_traces(self, query: TraceQuery) -> list[TraceSummary]:
        """Runs of this and earlier days, newest first."""
        ...

    async def statistics(self, query: StatisticsQuery) -> list[FlowStatistics]:
        """Numbers over runs, by flow, the one that ran last first. Raises `StoreError` or `RunRefused`."""
        ...

    async def load_events(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[TraceEvent]:
        """Committed events of a trace."""
        ...

    async def open_pieces(self, trace_id: str) -> Pieces | None:
        """What is committed of a trace, to be read piece by piece; None where the store is not at hand."""
        ...

    async def load_event_bytes(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        """Committed events of a trace, as JSON bytes."""
        ...
