"""A source that plays scripts, traces written by hand, and snapshots of the screen."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from textual._context import visible_screen_stack
from textual.pilot import Pilot

from penguiflow.recording.events import TraceEvent
from penguiflow.state.statistics import FlowStatistics, StatisticsQuery
from penguiflow.state.traces import TraceQuery, TraceSummary
from playground.breakpoints import Breakpoint
from playground.dashboard.app import DashboardApp
from playground.dashboard.layout import UiState
from playground.protocol import (
    Answer,
    Breakpoints,
    CodeError,
    CodeFrame,
    Context,
    ContextEdit,
    ContextGet,
    Decide,
    FlowInfo,
    Kv,
    KvEdit,
    KvGet,
    LettersEdit,
    Memory,
    MemoryEdit,
    MemoryGet,
    ModuleInfo,
    NodeInfo,
    Questions,
    Queues,
    QueuesGet,
    Result,
    Resumed,
    Run,
    Steer,
    Stopped,
)
from playground.sources import HostState, Inbox, RunRefused

if TYPE_CHECKING:
    from tests.settling import Drawn

START = 1_790_000_000.0
WAIT_S = 60.0


class Script:
    """Writes the events of one trace, as a recorder would."""

    def __init__(
        self, trace_id: str, flow: str = "triage", target: str = "flows/triage.py", ts: float = START, **start: Any
    ) -> None:
        self.trace_id = trace_id
        self.events: list[bytes] = []
        self.ms = 0.0
        self.ts = ts
        self.root = self.start(
            "trace", flow, None, {"flow": flow, "target": target, "version": "3f9c1ab2" * 8, **start}
        )
        self._names: dict[str, tuple[str, str, str | None]] = {self.root: ("trace", flow, None)}

    def event(self, kind: str, name: str, span: str, parent: str | None, data: dict[str, Any]) -> None:
        """One event, now."""
        seq = len(self.events)
        record = {
            "seq": seq,
            "epoch": 0,
            "trace_id": self.trace_id,
            "span_id": span,
            "parent_id": parent,
            "ts": self.ts + self.ms / 1000,
            "offset_ns": int(self.ms * 1_000_000),
            "kind": kind,
            "name": name,
            "data": data,
        }
        self.events.append(
            json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        )

    def start(self, kind: str, name: str, parent: str | None, data: dict[str, Any] | None = None) -> str:
        """Open a span."""
        span = f"{len(self.events):x}"
        if self.events:
            self._names[span] = (kind, name, parent)
        self.event(f"{kind}.start", name, span, parent, data or {})
        return span

    def end(self, span: str, status: str = "ok", **data: Any) -> None:
        """Close a span."""
        kind, name, parent = self._names[span]
        self.event(f"{kind}.end", name, span, parent, {"status": status, **data})

    def send(self, span: str, source: str, target: str, payload: Any, message_id: str | None = None) -> str:
        """A message on an edge; the payload is `(type, value)`."""
        message_id = message_id or f"m{len(self.events)}"
        kind, value = payload if isinstance(payload, tuple) else ("builtins:dict", payload)
        data = {
            "message_id": message_id,
            "source": source,
            "target": target,
            "payload": {"type": kind, "value": value},
            "headers": {"tenant": "playground"},
        }
        self.event("message.enqueued", f"{source}->{target}", span, None, data)
        return message_id

    def node(self, name: str, message_id: str) -> str:
        """A node takes a message."""
        return self.start("node", name, self.root, {"message_id": message_id, "node_id": name})

    def attempt(self, node: str, number: int = 0) -> str:
        """A node tries."""
        return self.start("attempt", self._names[node][1], node, {"attempt": number})

    def chunk(self, span: str, stream: str, number: int, text: str, *, done: bool = False) -> None:
        """A chunk of a stream."""
        data = {"stream_id": stream, "chunk_seq": number, "text": text, "done": done, "meta": {}}
        self.event("stream.chunk", stream, span, None, data)

    def finish(self, status: str = "ok", **data: Any) -> list[bytes]:
        """End the trace; all its events."""
        self.end(self.root, status, **data)
        return self.events


TRACEBACK = """Traceback (most recent call last):
  File "flows/triage.py", line 61, in technical
    article = await knowledge.find(ticket.text)
  File "flows/triage.py", line 34, in find
    raise ConnectionError("knowledge base did not answer")
ConnectionError: knowledge base did not answer
"""
ANSWER = [
    "## Ticket 4711\n\n",
    "Your **sync** is slow because the\n",
    "cache was cold. Try:\n\n",
    "- `pf sync --warm`\n",
    "- wait for *one* minute\n\n",
    "| step | ms |\n|---|---:|\n| find | 212 |\n| write | 84 |\n\nDone.\n",
]


def triage_script(trace_id: str = "9e9a20c1" * 4, ts: float = START, *, until: str = "end") -> Script:
    """A run with a retry, an answer in chunks, and payloads."""
    script = Script(trace_id, ts=ts)
    ticket = {"id": 4711, "text": "sync is slow since monday", "customer": "ACME", "priority": "high"}
    first = script.send(script.root, "OpenSea", "route", ("flows.triage:Ticket", ticket), "m-in")
    script.ms = 1.2
    route = script.node("route", first)
    attempt = script.attempt(route)
    script.ms = 14
    second = script.send(route, "route", "technical", ("flows.triage:Ticket", ticket), "m-tech")
    script.end(attempt, latency_ms=12.8)
    script.end(route)
    script.ms = 17
    technical = script.node("technical", second)
    attempt = script.attempt(technical)
    script.ms = 221
    error = {
        "type": "ConnectionError",
        "message": "knowledge base did not answer",
        "traceback": TRACEBACK,
        "file": "flows/triage.py",
        "line": 34,
    }
    script.end(attempt, "error", latency_ms=204.0, error=error)
    script.event("node.retry", "technical", technical, script.root, {"attempt": 1, "sleep_s": 0.1, "error": error})
    if until == "retry":
        return script
    script.ms = 322
    attempt = script.attempt(technical, 1)
    for number, text in enumerate(ANSWER):
        script.ms += 60
        script.chunk(technical, "answer", number, text, done=number == len(ANSWER) - 1)
    script.ms = 760
    article = {"title": "Slow sync", "score": 0.93, "tags": ["cache", "sync"], "steps": [{"do": "warm", "ms": 212}]}
    third = script.send(technical, "technical", "reply", ("flows.triage:Article", article), "m-art")
    script.end(attempt, latency_ms=438.0)
    script.end(technical)
    reply = script.node("reply", third)
    attempt = script.attempt(reply)
    script.ms = 812
    script.send(reply, "reply", "Rookery", ("flows.triage:Reply", {"ticket": 4711, "text": "Warm the cache."}), "m-out")
    script.end(attempt, latency_ms=50.0)
    script.end(reply)
    script.ms = 815
    script.finish()
    return script


SCHEMA = {
    "title": "Ticket",
    "type": "object",
    "required": ["id", "text"],
    "properties": {
        "id": {"type": "integer", "minimum": 1, "description": "number of the ticket"},
        "text": {"type": "string", "minLength": 1},
        "priority": {"$ref": "#/$defs/Priority", "default": "low"},
        "urgent": {"type": "boolean", "default": False},
        "customer": {"anyOf": [{"$ref": "#/$defs/Customer"}, {"type": "null"}], "default": None},
    },
    "$defs": {
        "Priority": {"enum": ["low", "high"], "type": "string", "title": "Priority"},
        "Customer": {"type": "object", "title": "Customer", "properties": {"name": {"type": "string"}}},
    },
}


def make_modules() -> list[ModuleInfo]:
    """Three modules: one that loads, one with samples, one that is broken."""
    triage = FlowInfo(
        target="flows/triage.py",
        name="triage",
        title="Route a support ticket",
        input_type="Ticket",
        input_schema=SCHEMA,
        samples=[{"id": 4711, "text": "sync is slow"}, {"id": 1, "text": "impossible", "priority": "high"}],
        nodes=[NodeInfo(name=name) for name in ("route", "technical", "billing", "reply")],
        edges=[("OpenSea", "route"), ("route", "technical"), ("route", "billing"), ("technical", "reply")],
        version="3f9c1ab2" * 8,
    )
    hello = FlowInfo(
        target="flows/hello.py", name="hello", input_schema={"type": "object", "properties": {}}, version="11" * 32
    )
    error = CodeError(
        kind="syntax",
        message="SyntaxError: '(' was never closed",
        file="flows/broken.py",
        line=12,
        frames=[CodeFrame(file="flows/broken.py", line=12, function="<module>", text="flow = create(")],
        hint="close the bracket that opens in line 12",
    )
    return [
        ModuleInfo(path="flows/hello.py", state="loaded", flows=[hello], loaded_at=START, load_ms=12.0),
        ModuleInfo(path="flows/triage.py", state="loaded", flows=[triage], loaded_at=START, load_ms=31.0),
        ModuleInfo(path="flows/broken.py", state="error", error=error),
    ]


class ScriptedSource:
    """A source whose runs are scripts."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.can_run = True
        self.silent = False
        self.killed = 0
        self.local = True
        self.can_decide = True
        self.breakpoints: dict[str, Breakpoint] = {}
        self.decisions: list[Decide] = []
        self.answers: list[Answer] = []
        self.steered: list[Steer] = []
        self.halted: list[str] = []
        self.contexts: list[ContextGet | ContextEdit] = []
        self.memories: list[MemoryGet | MemoryEdit] = []
        self.kvs: list[KvGet | KvEdit] = []
        self.decision_refusal: RunRefused | None = None
        self.context_answer: Callable[[ContextGet | ContextEdit], Context] | None = None
        self.memory_answer: Callable[[MemoryGet | MemoryEdit], Memory] | None = None
        self.kv_answer: Callable[[KvGet | KvEdit], Kv] | None = None
        self.queue_requests: list[QueuesGet | LettersEdit] = []
        self.queues_answer: Callable[[QueuesGet | LettersEdit], Queues] | None = None
        self.stored: dict[str, list[bytes]] = {}
        self.summaries: list[TraceSummary] = []
        self.requests: list[Run] = []
        self.cancelled: list[str] = []
        self.queries: list[TraceQuery] = []
        self.reloads = 0
        self.stopped = False
        self.modules = make_modules()
        self.answer: Callable[[Run], list[bytes]] = lambda run: triage_script(f"{len(self.requests):032x}").events
        self.refusal: RunRefused | None = None
        self.numbers: Callable[[StatisticsQuery], list[FlowStatistics]] = lambda query: []
        self.gate = asyncio.Event()
        self.gate.set()

    async def start(self) -> None:
        self.inbox.host = HostState("ready", "", 1)
        self.inbox.modules = self.modules

    async def stop(self) -> None:
        self.stopped = True

    async def run(self, request: Run) -> str:
        self.requests.append(request)
        if self.refusal is not None:
            raise self.refusal
        events = self.answer(request)
        self.inbox.events.extend(events)
        return str(json.loads(events[0])["trace_id"] if events else request.trace_id)

    async def cancel(self, trace_id: str) -> bool:
        self.cancelled.append(trace_id)
        return True

    async def set_breakpoints(self, put: list[Breakpoint], remove: list[str]) -> Breakpoints:
        for each in put:
            self.breakpoints[each.id] = each
        for name in remove:
            self.breakpoints.pop(name, None)
        frame = Breakpoints(breakpoints=list(self.breakpoints.values()))
        self.inbox.breakpoints = frame
        return frame

    async def decide(self, request: Decide) -> None:
        self.decisions.append(request)
        if self.decision_refusal is not None:
            raise self.decision_refusal

    async def halt(self, trace_id: str) -> bool:
        self.halted.append(trace_id)
        return True

    async def context(self, request: ContextGet | ContextEdit) -> Context:
        self.contexts.append(request)
        if self.context_answer is None:
            raise RunRefused("there is no context")
        return self.context_answer(request)

    async def memory(self, request: MemoryGet | MemoryEdit, *, stop: str | None = None) -> Memory:
        self.memories.append(request)
        if self.memory_answer is None:
            raise RunRefused("there is no memory")
        return self.memory_answer(request)

    async def kv(self, request: KvGet | KvEdit, *, stop: str | None = None) -> Kv:
        self.kvs.append(request)
        if self.kv_answer is None:
            raise RunRefused("there is no store", code="not_found")
        return self.kv_answer(request)

    async def queues(self, request: QueuesGet | LettersEdit) -> Queues:
        self.queue_requests.append(request)
        if self.queues_answer is None:
            raise RunRefused("there is no bus", code="bus")
        return self.queues_answer(request)

    def stops_at(self, trace_id: str, stop: str, kind: str, name: str, **more: Any) -> Stopped:
        """A run stops, as the host tells it."""
        fields = {"span_id": "0", "path": [f"node:{name}[0]"], "since": START, "actions": ["proceed", "edit", "abort"]}
        frame = Stopped.model_validate(
            {"stop": stop, "trace_id": trace_id, "kind": kind, "name": name, **fields, **more}
        )
        self.inbox.stops.append(frame)
        return frame

    def goes_on(self, frame: Stopped, action: str = "proceed", by: str | None = None) -> None:
        """A stopped run goes on, as the host tells it."""
        resumed = {"stop": frame.stop, "trace_id": frame.trace_id, "action": action, "by": by}
        self.inbox.stops.append(Resumed.model_validate(resumed))

    async def answer_question(self, request: Answer) -> None:
        self.answers.append(request)
        if self.decision_refusal is not None:
            raise self.decision_refusal
        self.inbox.questions = Questions()

    async def steer(self, request: Steer) -> None:
        self.steered.append(request)
        if self.decision_refusal is not None:
            raise self.decision_refusal

    async def reload(self) -> None:
        self.reloads += 1

    async def kill_silent(self) -> bool:
        self.killed += self.silent
        return self.silent

    async def find_traces(self, query: TraceQuery) -> list[TraceSummary]:
        self.queries.append(query)
        return self.summaries

    async def statistics(self, query: StatisticsQuery) -> list[FlowStatistics]:
        if self.refusal is not None:
            raise self.refusal
        return self.numbers(query)

    async def load_events(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[TraceEvent]:
        return [TraceEvent.from_dict(json.loads(raw)) for raw in await self.load_event_bytes(trace_id, after=after)]

    async def open_pieces(self, trace_id: str) -> None:
        """There is no file."""
        return

    async def load_event_bytes(self, trace_id: str, *, after: int = -1, limit: int | None = None) -> list[bytes]:
        await self.gate.wait()
        rows = [raw for raw in self.stored.get(trace_id, []) if json.loads(raw)["seq"] > after]
        return rows[:limit]

    def add_past(self, script: Script, status: str = "ok", **more: Any) -> None:
        """A run of an earlier day, in the store."""
        self.stored[script.trace_id] = script.events
        last = json.loads(script.events[-1])
        summary = TraceSummary(
            trace_id=script.trace_id,
            flow="triage",
            target="flows/triage.py",
            status=status,  # type: ignore[arg-type]
            started=script.ts,
            duration_s=last["offset_ns"] / 1e9,
            **more,
        )
        self.summaries.append(summary)

    def result(self, trace_id: str, status: str) -> None:
        """The end of a run, as the host tells it."""
        self.inbox.results.append(Result(trace_id=trace_id, status=status))  # type: ignore[arg-type]


class Desk:
    """A running app, its pilot and its source."""

    def __init__(self, app: DashboardApp, pilot: Pilot[int], source: ScriptedSource, drawn: Drawn) -> None:
        self.app = app
        self.pilot = pilot
        self.source = source
        self._drawn = drawn

    async def until(self, ready: Callable[[], object], what: str = "the condition") -> None:
        """Wait for something to become true."""
        deadline = time.monotonic() + WAIT_S
        while not ready():
            assert time.monotonic() < deadline, f"{what} did not come true:\n{self.text()}"
            await self.pilot.pause()
            await asyncio.sleep(0.005)
        await self.frame()

    async def frame(self) -> None:
        """At least one whole frame: drained, drawn."""
        before = self.app.frames.count
        for _ in range(int(WAIT_S / 0.005)):
            await self.pilot.pause(0.005)
            if self.app.frames.count >= before + 2:
                break
        await self._drawn(self.app)

    async def press(self, *keys: str) -> None:
        """Press keys and let them take effect."""
        await self.pilot.press(*keys)
        await self.frame()

    def text(self) -> str:
        """What the screen says."""
        # Where Textual looks for what lies below a dialog: each task has its own, of when it last drew.
        visible_screen_stack.set(self.app._background_screens)
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text for strip in strips)


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource()


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def triage() -> Callable[..., Script]:
    return triage_script


@pytest.fixture
def modules() -> Callable[[], list[ModuleInfo]]:
    return make_modules


@pytest.fixture
def open_desk(source: ScriptedSource, monkeypatch: pytest.MonkeyPatch, settling: Drawn) -> Callable[..., Any]:
    """`async with open_desk(size=(80, 24)) as desk`."""
    # Pictures show times of the day.
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    # Another day of the same year, whatever the year is when this runs: dates are drawn in one way.
    monkeypatch.setattr("playground.dashboard.text.now_s", lambda: START + 30 * 86_400)
    monkeypatch.setattr("playground.dashboard.frames.FRAMES_PER_SECOND", 100)

    @asynccontextmanager
    async def opened(size: tuple[int, int] = (120, 40), state: UiState | None = None) -> AsyncIterator[Desk]:
        app = DashboardApp(source, project="demo", state=state or UiState())
        app.animation_level = "none"
        async with app.run_test(size=size, notifications=True) as pilot:
            desk = Desk(app, pilot, source, settling)
            await desk.until(lambda: len(app.flows) or not source.modules, "the flows")
            yield desk

    return opened


@pytest.fixture
def picture() -> Callable[[DashboardApp], str]:
    """The screen as SVG, without what differs from run to run."""

    def draw(app: DashboardApp) -> str:
        svg = app.export_screenshot(title="pf tui")
        return re.sub(r"terminal-\d+", "terminal", svg)

    return draw
