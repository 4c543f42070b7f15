"""Runs of this and earlier days: what the store lists, and what is happening now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from playground.dashboard.origins import Origin, origin_of
from playground.dashboard.run_filter import RunFilter
from playground.dashboard.trace import TraceModel

if TYPE_CHECKING:
    from penguiflow.state.traces import TraceSummary

MAX_RUNS = 20_000


class RunLine:
    """One run, as a list shows it."""

    __slots__ = (
        "duration_s",
        "elsewhere",
        "error",
        "events",
        "flow",
        "input",
        "origin",
        "session",
        "started",
        "status",
        "stopped",
        "stopped_there",
        "target",
        "trace_id",
        "version",
        "waits_for",
    )

    def __init__(self, trace_id: str, started: float) -> None:
        self.trace_id = trace_id
        self.started = started
        self.status = "running"
        self.flow: str | None = None
        self.target: str | None = None
        self.duration_s: float | None = None
        self.version: str | None = None
        self.error: str | None = None
        self.input: str | None = None
        self.origin: Origin | None = None
        self.session: str | None = None
        self.elsewhere = False
        """Only the store tells of it, for another process has it under way."""
        self.stopped_there = ""
        """Where it has stopped there, as far as the store says."""
        self.events = 0
        """Of a run that is over, as far as the store tells."""
        self.stopped = ""
        """Where it has stopped, while it has."""
        self.waits_for = ""
        """The node that all of it waits for, while it does."""

    def state(self) -> tuple[object, ...]:
        """All that is known of it."""
        return tuple(getattr(self, name) for name in self.__slots__)

    def words(self) -> str:
        """All that a filter finds, in lower case."""
        told = (self.trace_id, self.flow, self.target, self.status, self.error, self.input, f"v{self.version}")
        stopped = "stopped " if self.stopped or self.stopped_there else ""
        return f"{stopped}{' '.join(map(str, told))} {self.session or ''}".lower()


class RunList:
    """All known runs by id."""

    def __init__(self) -> None:
        self._lines: dict[str, RunLine] = {}
        self.revision = 0
        self.away_since: float | None = None
        """Since when the host is offline (Unix seconds): what ran then is what was known last."""

    def __len__(self) -> int:
        return len(self._lines)

    def get(self, trace_id: str) -> RunLine | None:
        """One run."""
        return self._lines.get(trace_id)

    def set_away(self, since: float | None) -> None:
        """The host is offline since then, or is back."""
        if since != self.away_since:
            self.away_since = since
            self.revision += 1

    def began(self, trace: TraceModel) -> None:
        """A trace started before our eyes, or was taken up again."""
        line = self._line(trace.trace_id, trace.started or 0.0)
        line.status, line.duration_s, line.error, line.elsewhere = "running", None, None, False
        line.flow = trace.flow or line.flow
        line.target = trace.target or line.target
        line.version = trace.version or line.version
        line.origin = trace.origin or line.origin
        line.session = trace.session or line.session
        self._trim()

    def ended(self, trace: TraceModel) -> None:
        """A trace ended before our eyes."""
        line = self._line(trace.trace_id, trace.started or 0.0)
        line.status, line.duration_s = trace.status, trace.seconds()
        line.version = trace.version or line.version
        if trace.error:
            line.error = str(trace.error.get("message") or trace.error.get("code") or "")

    def merge(self, summaries: Iterable[TraceSummary]) -> None:
        """What the store says. It may lag behind: what is known to be over stays over."""
        revision, changed = self.revision, False
        for summary in summaries:
            new = summary.trace_id not in self._lines
            line = self._line(summary.trace_id, summary.started)
            before = line.state()
            line.elsewhere = line.elsewhere or new
            line.started = summary.started
            if summary.status != "running" or line.duration_s is None:
                line.status = summary.status
                line.events = summary.events if summary.status != "running" else 0
                line.duration_s = summary.duration_s if summary.duration_s is not None else line.duration_s
            line.flow = summary.flow or line.flow
            line.target = summary.target or line.target
            line.version = summary.version or line.version
            line.error = summary.error or line.error
            line.input = summary.input or line.input
            line.origin = origin_of(summary.origin) or line.origin
            line.session = summary.session or line.session
            changed = changed or new or line.state() != before
        self.revision = revision + 1 if changed else revision
        self._trim()

    def stopped_there(self, line: RunLine, where: str) -> None:
        """A run of another process has stopped, or goes on (an empty `where`)."""
        if line.stopped_there != where:
            line.stopped_there = where
            self.revision += 1

    def interrupt(self, trace_id: str, status: str) -> None:
        """A run is over without a `trace.end` that we saw."""
        line = self._lines.get(trace_id)
        if line is not None and line.status == "running":
            line.status = status
            self.revision += 1

    def running(self) -> list[RunLine]:
        """Runs that are not over."""
        return [line for line in self._lines.values() if line.status == "running"]

    def matching(self, text: str, *, by_session: bool = False) -> list[RunLine]:
        """Runs that match a filter, newest first; `by_session`: each session stands where its newest run is."""
        wanted = RunFilter(text)
        found = [line for line in self._lines.values() if wanted.matches(line)]
        found.sort(key=lambda line: (line.started, line.trace_id), reverse=True)
        if not by_session:
            return found
        groups: dict[str, list[RunLine]] = {}
        for line in found:
            groups.setdefault(f"session {line.session}" if line.session else line.trace_id, []).append(line)
        return [line for group in groups.values() for line in group]

    def oldest(self, text: str) -> float | None:
        """When the oldest run that matches began."""
        found = self.matching(text)
        return found[-1].started if found else None

    def _line(self, trace_id: str, started: float) -> RunLine:
        self.revision += 1
        line = self._lines.get(trace_id)
        if line is None:
            line = self._lines[trace_id] = RunLine(trace_id, started)
        return line

    def _trim(self) -> None:
        if len(self._lines) <= MAX_RUNS + MAX_RUNS // 4:
            return
        kept = sorted(self._lines.values(), key=lambda line: line.started, reverse=True)[:MAX_RUNS]
        self._lines = {line.trace_id: line for line in kept}
