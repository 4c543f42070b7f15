"""Sessions, and the turns of one: from what the store lists, and from runs as they happen."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from playground.dashboard.chat.inputs import Pause, pause_of, reply_text, user_text
from playground.dashboard.details import edge_message
from playground.dashboard.streams import ANSWER, OTHER
from playground.dashboard.text import NS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from penguiflow.state.traces import TraceSummary
    from playground.dashboard.runs import RunLine
    from playground.dashboard.trace import TraceModel
    from playground.protocol import Question

MAX_TURNS = 500
MAX_STEPS = 200
MAX_SPANS = 2000
"""Of a run, the newest: what is looked at with each frame."""
MAX_CHARS = 100_000
"""Of a reply that is shown: all of it is laid out at once."""
CUT = "…"


class Session:
    """One conversation, as a list shows it."""

    def __init__(self, key: str, target: str | None) -> None:
        self.key = key
        self.target = target
        self.last = 0.0
        """When its last run began, unix seconds."""
        self.runs = 0
        self.status = ""
        """Of its last run."""

    def state(self) -> tuple[object, ...]:
        """All that is shown of it."""
        return (self.key, self.last, self.runs, self.status)


def sessions_of(lines: Iterable[RunLine]) -> list[Session]:
    """The conversations that runs belong to, the one that was used last first."""
    found: dict[str, Session] = {}
    for line in lines:
        if not line.session:
            continue
        session = found.get(line.session)
        if session is None:
            session = found[line.session] = Session(line.session, line.target)
        session.runs += 1
        if line.started >= session.last:
            session.last, session.status = line.started, line.status
            session.target = line.target or session.target
    return sorted(found.values(), key=lambda session: session.last, reverse=True)


class Turn:
    """What somebody said, and what came of it."""

    def __init__(self, trace_id: str, user: str, started: float) -> None:
        self.trace_id = trace_id
        self.user = user
        self.started = started
        self.target: str | None = None
        self.flow = ""
        self.status = "running"
        self.reply = ""
        self.error = ""
        self.duration_s: float | None = None
        self.steps: list[tuple[str, str]] = []
        """Tools and nodes in order of their start: name, status."""
        self.calls = 0
        """Of models."""
        self.pause: Pause | None = None
        self.questions: list[Question] = []
        self.stopped = ""
        """Where a debugger holds it, while it does."""
        self.added: list[str] = []
        """What was said while it went on."""
        self.revision = 0
        self._seen = -1

    def take_summary(self, summary: TraceSummary) -> None:
        """What the store says of a run that is over."""
        self.target, self.flow = summary.target or self.target, summary.flow or self.flow
        self.status, self.duration_s = summary.status, summary.duration_s
        self.error = summary.error or ""
        self.calls = summary.llm_calls
        if summary.input is not None:
            self.user = user_text(_parsed(summary.input))
        output = _parsed(summary.output)
        self.pause = pause_of(output) if summary.status == "paused" else None
        self.reply = "" if self.pause is not None else reply_text(output)
        self.revision += 1

    def follow(self, trace: TraceModel) -> None:
        """Take up what happened in the run."""
        seconds = trace.now_ns() / NS
        if trace.revision == self._seen:
            # A run that waits, for an answer say, takes longer all the same.
            if not trace.over and int(seconds) != int(self.duration_s or 0):
                self.duration_s = seconds
                self.revision += 1
            return
        self._seen = trace.revision
        self.flow = trace.flow or self.flow
        self.target = trace.target or self.target
        self.status, self.duration_s = trace.status, seconds
        spans = list(islice(reversed(trace.spans.values()), MAX_SPANS))[::-1]
        tools = [span for span in spans if span.kind == "tool"]
        shown = tools or [span for span in spans if span.kind == "node"]
        self.steps = [(span.name, span.status) for span in shown[-MAX_STEPS:]]
        self.calls = sum(span.kind == "llm" for span in spans)
        if trace.error:
            self.error = str(trace.error.get("message") or trace.error.get("code") or "")
        if trace.over:
            self._end(trace)
        else:
            self.reply = _shortened(_streamed(trace))
        self.revision += 1

    def _end(self, trace: TraceModel) -> None:
        left = edge_message(trace, "Rookery")
        payload: Any = left.get("payload") if left is not None else None
        output = payload.get("value") if isinstance(payload, dict) and "value" in payload else payload
        self.pause = pause_of(output)
        if self.pause is not None:
            self.status, self.reply = "paused", ""
        else:
            self.reply = _shortened(reply_text(output) or _streamed(trace))

    def hold(self, stopped: str) -> None:
        """A debugger holds the run there; empty when it does not."""
        if stopped != self.stopped:
            self.stopped = stopped
            self.revision += 1

    def ask(self, questions: list[Question]) -> None:
        """The run's questions that are open now."""
        if [each.question for each in questions] != [each.question for each in self.questions]:
            self.questions = questions
            self.revision += 1

    def say(self, text: str) -> None:
        """Something was said while the run goes on."""
        self.added.append(text)
        self.revision += 1

    @property
    def over(self) -> bool:
        """Whether its run is over."""
        return self.status != "running"


class Conversation:
    """The turns of one session, oldest first. Without a key it is that of a single run."""

    def __init__(self, key: str | None, target: str | None) -> None:
        self.key = key
        self.target = target
        self.turns: list[Turn] = []
        self.loading = False
        self.revision = 0

    def take(self, summaries: Iterable[TraceSummary]) -> None:
        """What the store has of it."""
        known = {turn.trace_id: turn for turn in self.turns}
        for summary in summaries:
            turn = known.get(summary.trace_id)
            if turn is None:
                turn = known[summary.trace_id] = Turn(summary.trace_id, "", summary.started)
            if summary.status != "running" or not turn.user:
                # A run that is looked at as it happens is told better by its events.
                turn.take_summary(summary)
            self.target = self.target or summary.target
        self.turns = sorted(known.values(), key=lambda turn: turn.started)[-MAX_TURNS:]
        self.revision += 1

    def begin(self, trace_id: str, user: str, started: float) -> Turn:
        """A run was started with what somebody said."""
        turn = Turn(trace_id, user, started)
        turn.target = self.target
        self.turns.append(turn)
        self.revision += 1
        return turn

    def follow(self, traces: dict[str, TraceModel], questions: list[Question], stopped: Callable[[str], str]) -> None:
        """Take up what happened since the last frame; `stopped` tells where a run is held."""
        for turn in self.turns:
            trace = traces.get(turn.trace_id)
            if trace is not None and (trace.live or not turn.over):
                turn.follow(trace)
            turn.ask([each for each in questions if each.trace_id == turn.trace_id])
            turn.hold(stopped(turn.trace_id))

    def state(self) -> tuple[int, ...]:
        """Changes with anything that is to be seen."""
        return (self.revision, len(self.turns), sum(turn.revision for turn in self.turns))

    @property
    def last(self) -> Turn | None:
        """The newest turn."""
        return self.turns[-1] if self.turns else None

    @property
    def question(self) -> Question | None:
        """The question that is to be answered next."""
        return next((question for turn in self.turns for question in turn.questions), None)

    @property
    def pause(self) -> Pause | None:
        """What the last run ended with, when that is a question."""
        return self.last.pause if self.last is not None else None

    @property
    def running(self) -> Turn | None:
        """A turn whose run goes on."""
        return next((turn for turn in reversed(self.turns) if not turn.over), None)


def _streamed(trace: TraceModel) -> str:
    """What a run has said so far: the answer that counts."""
    for channel in (ANSWER, OTHER):
        found = [stream for stream in trace.streams.values() if stream.channel == channel and not stream.superseded]
        if found:
            return found[-1].text()
    return ""


def _shortened(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    return f"{text[:MAX_CHARS]}{CUT}\n({len(text):,} characters: the trace has all of them)"


def _parsed(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        # The beginning of something longer: as it is, it can still be read by people.
        return text
