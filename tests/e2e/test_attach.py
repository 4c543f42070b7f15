"""Hosts that serve clients elsewhere, and those who join them: real processes, sockets and terminals."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import InvalidStatus

from benchmarks.terminal import PF, Terminal
from penguiflow.state.statistics import StatisticsQuery
from penguiflow.state.traces import TraceQuery
from playground.breakpoints import Breakpoint, BreakpointStore
from playground.host.tokens import read_token
from playground.protocol import (
    Accepted,
    Answer,
    BaseFrame,
    Breakpoints,
    Cancel,
    ContextEdit,
    Decide,
    Error,
    Flows,
    Halt,
    Hello,
    Kv,
    KvEdit,
    KvGet,
    LoadEvents,
    Logs,
    MemoryEdit,
    Numbers,
    Page,
    Questions,
    Reload,
    Result,
    Resumed,
    Run,
    Stats,
    Steer,
    Stopped,
    Subscribe,
    Traces,
    decode,
    encode,
)
from playground.remote import RemoteSource
from playground.sources import RunRefused

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, RunCommand

LIMIT_S = 60.0

FLOW = """
from __future__ import annotations

import asyncio
import os

from penguiflow import Node, create

__flow__ = {"samples": [1]}
EDITION = "first"


async def give(message, ctx):
    payload = message.payload
    if isinstance(payload, dict):
        print("giving", payload)
        if payload.get("exit"):
            os._exit(3)
        for number in range(payload.get("chunks", 0)):
            await ctx.emit_chunk(parent=message, text=str(number))
        while payload.get("until") and not os.path.exists(payload["until"]):
            await asyncio.sleep(0.005)
    return EDITION


flow = create(Node(give, name="give").to())
"""


STOP = Breakpoint(id="b1", on="node", name="give")

CHANGES: list[BaseFrame] = [
    Run(target="flows/give.py"),
    Cancel(trace_id="any"),
    Decide(stop="1:stop-1"),
    Halt(trace_id="any"),
    Reload(),
    Breakpoints(put=[STOP]),
    Breakpoints(remove=["any"]),
    ContextEdit(stop="1:stop-1", part="headers", version="1"),
    MemoryEdit(key="any", version=0, change="clear"),
    KvEdit(session="a:b:c", key="any", value=1),
    Steer.model_validate({"trace_id": "any", "event": "CANCEL"}),
    Answer(question="any"),
]
"""What would change something."""


class Served:
    """A `pf serve` that says where it is."""

    def __init__(self, process: subprocess.Popen[str], about: dict[str, Any]) -> None:
        self.process = process
        self.pid = process.pid
        self.url: str = about["url"]
        self.about = about
        self.control = Path(about["control_token"])
        self.view = Path(about["view_token"])

    @asynccontextmanager
    async def join(self, token: Path, **headers: str) -> AsyncIterator[Peer]:
        """A client with this token."""
        async with connect(
            self.url,
            additional_headers={"Authorization": f"Bearer {read_token(token)}", **headers},
            max_size=None,
            proxy=None,
            open_timeout=LIMIT_S,
            ping_interval=None,
        ) as connection:
            peer = Peer(connection)
            await peer.ready()
            yield peer

    def source(self, token: Path | None = None, **options: Any) -> RemoteSource:
        """The dashboard's source."""
        return RemoteSource(self.url, lambda: read_token(token or self.control), **options)


class Serve(Protocol):
    """Starts `pf serve` in the project; the arguments are its own."""

    def __call__(self, *arguments: str) -> Served: ...


class Peer:
    """One client that sends frames and waits for answers."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[Any] = []
        self._ids = 0

    async def ready(self) -> None:
        """Wait until there is something to run."""
        frame = await self.ask(Flows())
        while not any(module.flows for module in frame.modules):
            frame = await self.next(Flows)

    async def ask(self, frame: BaseFrame) -> Any:
        """Send a request; gives its answer."""
        self._ids += 1
        frame.id = self._ids
        await self.connection.send(encode(frame), text=True)
        return await self.until(lambda answer: answer.reply_to == self._ids)

    async def until(self, fits: Callable[[Any], object]) -> Any:
        """The next frame that fits; the others are kept."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                frame = decode(await self.connection.recv())
                self.frames.append(frame)
                if fits(frame):
                    return frame

    async def next(self, kind: type[BaseFrame]) -> Any:
        """The next frame of a kind."""
        return await self.until(lambda frame: isinstance(frame, kind))

    async def result(self, trace_id: str) -> Any:
        """The result of a run; it may have come before the answer to what ended it."""
        for frame in self.frames:
            if isinstance(frame, Result) and frame.trace_id == trace_id:
                return frame
        return await self.until(lambda frame: isinstance(frame, Result) and frame.trace_id == trace_id)

    def seqs(self, trace_id: str) -> list[int]:
        """Numbers of a trace's events, in order of arrival."""
        batches = [frame.events for frame in self.frames if hasattr(frame, "events") and not isinstance(frame, Page)]
        batches = [batch for batch in batches if isinstance(batch, list)]
        return [event["seq"] for batch in batches for event in batch if event["trace_id"] == trace_id]


def read_line(process: subprocess.Popen[str]) -> str:
    """The first line that a process writes, or what it said of its failure."""
    assert process.stdout is not None
    assert process.stderr is not None
    ready, _, _ = select.select([process.stdout], [], [], LIMIT_S)
    line = process.stdout.readline() if ready else ""
    assert line, process.stderr.read() if process.poll() is not None else "nothing was said"
    return line


def children_of(pid: int) -> set[int]:
    """Processes that this one has started, and that have not ended."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[1] == str(pid) and fields[0] != "Z":
                found.add(int(folder.name))
    return found


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def shown_by(pid: int) -> bytes:
    """What every process of this machine, or of this user, can see of another one."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


def wait_until_gone(pids: set[int]) -> None:
    """Wait until none of these processes is left."""
    wait_for(lambda: all(is_gone(pid) for pid in pids), "processes are left")


async def until(condition: Callable[[], object]) -> None:
    """The same, while tasks of this process go on."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.005)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, whoever may still have to look at that."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def serve(project: Path) -> Iterator[Serve]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> Served:
        process = subprocess.Popen(
            [sys.executable, "-m", "playground", "serve", "--json", *arguments],
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return Served(process, json.loads(read_line(process)))

    yield start
    for process in started:
        workers = children_of(process.pid)
        process.terminate()
        process.communicate(timeout=LIMIT_S)
        wait_until_gone(workers)


@pytest.fixture
def hosted(serve: Serve, add_flow: AddFlow) -> Served:
    add_flow("give", FLOW)
    return serve("--debug")


class TestAdmission:
    async def test_two_files_open_it_and_nobody_else_reads_them(self, hosted: Served) -> None:
        for path, control in ((hosted.control, True), (hosted.view, False)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            async with hosted.join(path) as peer:
                hello = next(frame for frame in peer.frames if isinstance(frame, Hello))
                assert hello.control is control
                assert hello.project == hosted.about["project"]

    async def test_no_process_shows_a_token(self, hosted: Served) -> None:
        async with hosted.join(hosted.control):
            tokens = [read_token(path).encode() for path in (hosted.control, hosted.view)]
            for pid in (hosted.pid, *children_of(hosted.pid)):
                assert not any(token in shown_by(pid) for token in tokens)

    async def test_a_foreign_web_page_is_refused_before_the_upgrade(self, hosted: Served) -> None:
        for origin in ("https://evil.test", "http://evil.test:80", "null", "file://"):
            with pytest.raises(InvalidStatus) as refused:
                async with hosted.join(hosted.control, Origin=origin):
                    pass
            assert refused.value.response.status_code == 403, origin

    async def test_a_wrong_token_is_refused_before_the_upgrade(self, hosted: Served) -> None:
        for shown in (None, "Bearer wrong", "Basic d3Jvbmc6d3Jvbmc="):
            headers = {} if shown is None else {"Authorization": shown}
            with pytest.raises(InvalidStatus) as refused:
                async with connect(hosted.url, additional_headers=headers, proxy=None, open_timeout=LIMIT_S):
                    pass
            assert refused.value.response.status_code == 401, shown


class TestLookingOn:
    async def test_what_would_change_something_is_refused(self, hosted: Served) -> None:
        async with hosted.join(hosted.view) as viewer:
            for frame in CHANGES:
                answer = await viewer.ask(frame.model_copy())
                assert isinstance(answer, Error), frame
                assert answer.code == "forbidden", frame
                assert "full control" in answer.message

    async def test_everything_is_seen(self, hosted: Served) -> None:
        async with hosted.join(hosted.control) as owner, hosted.join(hosted.view) as viewer:
            assert isinstance(await viewer.ask(Subscribe()), Accepted)
            assert isinstance(await viewer.ask(Stats()), Stats)
            await owner.ask(Breakpoints(put=[STOP]))
            accepted = await owner.ask(Run(target="flows/give.py", input={"chunks": 3}))
            seen = await viewer.next(Stopped)
            assert (seen.trace_id, seen.name) == (accepted.trace_id, "give")
            assert isinstance(await viewer.ask(KvGet()), Kv)
            shown = await viewer.ask(Breakpoints())
            assert [each.name for each in shown.breakpoints] == ["give"]
            assert (await viewer.next(Stopped)).stop == seen.stop
            # It is not for the viewer to let it go on, and the run waits.
            assert (await viewer.ask(Decide(stop=seen.stop))).code == "forbidden"
            assert isinstance(await owner.ask(Decide(stop=seen.stop)), Accepted)
            resumed = await viewer.next(Resumed)
            assert resumed.stop == seen.stop
            result = await viewer.next(Result)
            assert (result.status, result.output) == ("ok", "first")
            numbers = viewer.seqs(result.trace_id)
            assert numbers == list(range(len(numbers)))
            while not any(
                "giving" in line.text for frame in viewer.frames if isinstance(frame, Logs) for line in frame.lines
            ):
                await viewer.next(Logs)
            listed = await viewer.ask(Traces(query=TraceQuery(limit=5)))
            assert [summary.trace_id for summary in listed.traces] == [result.trace_id]
            page = await viewer.ask(LoadEvents(trace_id=result.trace_id, limit=4))
            assert ([event["seq"] for event in page.events], page.more) == ([0, 1, 2, 3], True)

    async def test_nothing_stops_while_nobody_is_there_who_decides(
        self, project: Path, serve: Serve, add_flow: AddFlow
    ) -> None:
        add_flow("give", FLOW)
        BreakpointStore(project / ".penguiflow").change([STOP], [])
        served = serve("--debug")
        async with served.join(served.control) as owner, served.join(served.view) as viewer:
            assert (await viewer.ask(Breakpoints())).breakpoints == [STOP]
            await owner.ask(Run(target="flows/give.py", input=1))
            assert (await owner.next(Result)).status == "ok"
            assert not [frame for frame in owner.frames if isinstance(frame, Stopped)]

    async def test_without_debug_nothing_can_be_stopped(self, serve: Serve, add_flow: AddFlow) -> None:
        add_flow("give", FLOW)
        served = serve()
        async with served.join(served.control) as owner:
            refused = await owner.ask(Breakpoints(put=[STOP]))
            assert (refused.code, "--debug" in refused.message) == ("forbidden", True)
            assert (await owner.ask(Run(target="flows/give.py", stop_first=True))).code == "forbidden"
            await owner.ask(Run(target="flows/give.py", input=1))
            assert (await owner.next(Result)).output == "first"


class TestServing:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_it_ends_when_told_to_and_leaves_nothing(self, hosted: Served, number: signal.Signals) -> None:
        async with hosted.join(hosted.control) as owner:
            await owner.ask(Run(target="flows/give.py", input={"until": "never"}))
            workers = children_of(hosted.pid)
            assert workers
            hosted.process.send_signal(number)
            assert (await owner.until(lambda frame: frame.type == "bye")).reason == "shutdown"
        assert hosted.process.wait(LIMIT_S) == 0
        wait_until_gone(workers)
        assert not hosted.control.exists()
        assert not hosted.view.exists()

    async def test_its_workers_end_with_it_when_it_is_killed(self, hosted: Served) -> None:
        async with hosted.join(hosted.control):
            workers = children_of(hosted.pid)
            hosted.process.kill()
        wait_until_gone(workers)

    def test_what_cannot_be_served_is_one_message(self, hosted: Served, pf: RunCommand) -> None:
        port = hosted.url.rpartition(":")[2].rstrip("/")
        for arguments, code, told in (
            (["--port", port], 2, "Address already in use"),
            (["--port", "70000"], 2, "no port"),
            (["--host", "0.0.0.0"], 2, "--allow-remote"),
            (["--host", "192.0.2.1", "--allow-remote"], 2, "cannot listen"),
            (["--host", "no.such.name.invalid", "--allow-remote"], 2, "cannot listen"),
            (["flows/missing.py"], 3, "no such file"),
        ):
            done = pf("serve", *arguments)
            assert (done.returncode, done.stdout) == (code, "")
            assert told in done.stderr
            assert done.stderr.startswith("pf: ")
            assert "Traceback" not in done.stderr

    async def test_others_can_reach_it_when_that_is_wanted(self, serve: Serve, add_flow: AddFlow) -> None:
        add_flow("give", FLOW)
        served = serve("--debug", "--host", "0.0.0.0", "--allow-remote")
        async with served.join(served.control) as owner:
            assert isinstance(await owner.ask(Run(target="flows/give.py", input=1)), Accepted)

    def test_it_says_in_words_where_it_is(self, project: Path, add_flow: AddFlow) -> None:
        add_flow("give", FLOW)
        add_flow("broken", "def (\n")
        command = [sys.executable, "-m", "playground", "serve", "--debug"]
        process = subprocess.Popen(
            command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            assert process.stderr is not None
            first = read_line(process)
            told = ""
            while "broken.py:1" not in told:
                line = process.stderr.readline()
                assert line, told
                told += line
        finally:
            process.terminate()
            assert process.stdout is not None
            rest = process.stdout.read()
            process.communicate(timeout=LIMIT_S)
        assert first.startswith(f"serving {project} at ws://127.0.0.1:")
        assert "pf tui --attach ws://" in rest
        assert ".penguiflow/hosts/" in rest


class Joined:
    """A remote source, asked and waited for as a dashboard would."""

    def __init__(self, source: RemoteSource) -> None:
        self.source = source
        self.seqs: dict[str, list[int]] = {}
        self.results: dict[str, Result] = {}
        self.states: list[str] = []
        self.stops: list[Stopped | Resumed] = []
        self.versions: list[str] = []
        self.logs: list[str] = []

    def drain(self) -> None:
        """Take what has arrived."""
        inbox = self.source.inbox
        while inbox.events:
            event = json.loads(inbox.events.popleft())
            self.seqs.setdefault(event["trace_id"], []).append(event["seq"])
        while inbox.results:
            result = inbox.results.popleft()
            self.results[result.trace_id] = result
        while inbox.stops:
            self.stops.append(inbox.stops.popleft())
        while inbox.logs:
            self.logs.append(inbox.logs.popleft().text)
        if inbox.modules is not None:
            self.versions += [flow.version for module in inbox.modules for flow in module.flows]
            inbox.modules = None
        if inbox.host is not None:
            self.states.append(f"{inbox.host.state} {inbox.host.text}".strip())
            inbox.host = None

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition on what has arrived."""

        def arrived() -> object:
            self.drain()
            return condition()

        await until(arrived)

    async def run(self, value: Any) -> str:
        """Start a run once the flow is there."""
        await self.until(lambda: self.versions)
        return await self.source.run(Run(target="flows/give.py", input=value))


@asynccontextmanager
async def joined(served: Served, **options: Any) -> AsyncIterator[Joined]:
    """A remote source of a host, for a while."""
    source = served.source(**options)
    await source.start()
    try:
        yield Joined(source)
    finally:
        await source.stop()


class TestJoining:
    @pytest.fixture(autouse=True)
    async def no_task_is_left(self) -> AsyncIterator[None]:
        yield
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_a_run_is_followed_and_its_trace_read_over_the_wire(self, hosted: Served) -> None:
        async with joined(hosted) as here, joined(hosted, token=hosted.view) as there:
            trace_id = await here.run({"chunks": 5000})
            await here.until(lambda: trace_id in here.results)
            await there.until(lambda: trace_id in there.results)
            events = await there.source.load_event_bytes(trace_id)
            assert [json.loads(event)["seq"] for event in events] == list(range(len(events)))
            assert len(events) > 10_000
            assert here.seqs[trace_id] == sorted(set(here.seqs[trace_id]))
            assert [event.seq for event in await there.source.load_events(trace_id, after=7, limit=3)] == [8, 9, 10]
            (found,) = await there.source.find_traces(TraceQuery())
            assert (found.trace_id, found.status) == (trace_id, "ok")
            (numbers,) = await there.source.statistics(StatisticsQuery())
            assert (numbers.runs, numbers.by_status) == (1, {"ok": 1})
            assert [(part.kind, part.name, part.count) for part in numbers.parts] == [("node", "give", 1)]
            assert await there.source.statistics(StatisticsQuery(since=time.time() + 3600)) == []
            wrong = await there.source._connection.request(Numbers(query={"limit": "many"}))  # type: ignore[union-attr]
            assert (wrong.type, wrong.code) == ("error", "invalid_input")
            assert (here.source.can_run, there.source.can_run) == (True, False)
            with pytest.raises(RunRefused, match="full control"):
                await there.source.run(Run(target="flows/give.py"))
            with pytest.raises(RunRefused, match="full control"):
                await there.source.cancel(trace_id)
            assert not await here.source.cancel(trace_id)

    async def test_read_only_is_kept_with_any_token(self, hosted: Served) -> None:
        async with joined(hosted, read_only=True) as here:
            await here.until(lambda: here.versions)
            assert not here.source.can_run
            assert not here.source.can_decide
            with pytest.raises(RunRefused, match="--read-only"):
                await here.source.run(Run(target="flows/give.py"))
            assert await here.source.find_traces(TraceQuery()) == []

    async def test_a_run_stops_for_one_and_all_see_who_let_it_go_on(self, hosted: Served) -> None:
        async with joined(hosted) as here, joined(hosted, token=hosted.view) as there:
            await here.until(lambda: here.versions)
            shown = await here.source.set_breakpoints([STOP], [])
            assert [each.id for each in shown.breakpoints] == ["b1"]
            trace_id = await here.run(1)
            await there.until(lambda: there.stops)
            stop = there.stops[0]
            assert isinstance(stop, Stopped)
            with pytest.raises(RunRefused, match="full control"):
                await there.source.decide(Decide(stop=stop.stop))
            await here.source.decide(Decide(stop=stop.stop))
            await there.until(lambda: trace_id in there.results)
            (resumed,) = there.stops[1:]
            assert isinstance(resumed, Resumed)
            assert "@" in str(resumed.by)
            with pytest.raises(RunRefused):
                await here.source.decide(Decide(stop=stop.stop))
            assert not await here.source.halt(trace_id)

    async def test_a_save_changes_the_code_and_nobody_is_disconnected(self, project: Path, hosted: Served) -> None:
        async with joined(hosted) as here:
            old = await here.run({"until": "go"})
            (version,) = set(here.versions)
            (project / "flows" / "give.py").write_text(FLOW.replace('"first"', '"second"'))
            await here.until(lambda: set(here.versions) - {version})
            new = await here.run(1)
            await here.until(lambda: new in here.results)
            assert here.results[new].output == "second"
            # What was under way goes on in the worker that had it.
            (project / "go").touch()
            await here.until(lambda: old in here.results)
            assert here.results[old].output == "first"
            assert not [state for state in here.states if "offline" in state]

    async def test_a_worker_that_dies_ends_its_runs_and_is_replaced(self, hosted: Served) -> None:
        async with joined(hosted) as here:
            lost = await here.run({"exit": True})
            await here.until(lambda: lost in here.results)
            assert here.results[lost].status == "interrupted"
            await here.until(lambda: here.states and here.states[-1].startswith("ready"))
            again = await here.run(1)
            await here.until(lambda: again in here.results)
            assert not [state for state in here.states if "offline" in state]

    async def test_what_tools_keep_is_changed_from_elsewhere_and_only_looked_at_by_a_viewer(
        self, hosted: Served
    ) -> None:
        async with joined(hosted) as here, joined(hosted, token=hosted.view) as there:
            trace_id = await here.run({"chunks": 1})
            await there.until(lambda: trace_id in there.results)
            place = {"session": "acme:ada:first", "key": "note"}
            [made] = (await here.source.kv(KvEdit.model_validate({**place, "value": {"n": 1}}))).entries
            assert (await there.source.kv(KvGet())).sessions == ["acme:ada:first"]
            [seen] = (await there.source.kv(KvGet(session="acme:ada:first"))).entries
            assert (seen.key, seen.value, seen.etag) == ("note", {"n": 1}, made.etag)
            edit = KvEdit.model_validate({**place, "etag": seen.etag, "edits": {"/n": 2}})
            with pytest.raises(RunRefused, match="looking on"):
                await there.source.kv(edit)
            [changed] = (await here.source.kv(edit)).entries
            assert changed.value == {"n": 2}
            with pytest.raises(RunRefused, match="somebody else has changed it") as refused:
                await here.source.kv(edit)
            assert refused.value.code == "conflict"

    async def test_a_lost_connection_misses_nothing(self, project: Path, hosted: Served) -> None:
        async with Relay(hosted.url) as relay:
            source = RemoteSource(relay.url, lambda: read_token(hosted.control))
            await source.start()
            here = Joined(source)
            try:
                trace_id = await here.run({"chunks": 50, "until": "go"})
                await here.until(lambda: len(here.seqs.get(trace_id, [])) > 100)
                relay.cut()
                await here.until(lambda: [state for state in here.states if "connection is lost" in state])
                (project / "go").touch()
                async with hosted.join(hosted.view) as witness:
                    await witness.ask(Subscribe(traces=[trace_id]))
                    await witness.next(Result)
                relay.mend()
                await here.until(lambda: trace_id in here.results)
                assert here.seqs[trace_id] == list(range(len(here.seqs[trace_id])))
                assert here.seqs[trace_id] == witness.seqs(trace_id)
                assert here.states[-1].startswith("ready")
                assert len(here.logs) == len(set(here.logs))
            finally:
                await source.stop()

    async def test_a_host_that_is_started_anew_is_joined_again(self, hosted: Served, serve: Serve) -> None:
        async with joined(hosted) as here:
            first = await here.run(1)
            await here.until(lambda: first in here.results)
            port = hosted.url.rpartition(":")[2].rstrip("/")
            hosted.process.terminate()
            hosted.process.wait(LIMIT_S)
            await here.until(lambda: here.states and here.states[-1].startswith("offline"))
            with pytest.raises(RunRefused, match="away"):
                await here.source.run(Run(target="flows/give.py"))
            assert await here.source.find_traces(TraceQuery()) == []
            with pytest.raises(RunRefused, match="away"):
                await here.source.statistics(StatisticsQuery())
            here.versions.clear()
            # It has another token, in the same place.
            again = serve("--debug", "--port", port)
            assert again.control == hosted.control
            second = await here.run(2)
            await here.until(lambda: second in here.results)
            assert [found.trace_id for found in await here.source.find_traces(TraceQuery())] == [second, first]


class Relay:
    """Stands between a client and a host, and can be cut."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2].rstrip("/"))
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.cut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break every connection, without a word."""
        self._is_cut = True
        for writer in list(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        there, out = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, out}
        for source, sink in ((reader, out), (there, writer)):
            task = asyncio.create_task(_copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a page")

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("not the right one\n".replace(" ", "-"))
    return path


class TestAttaching:
    """What `pf tui --attach` says when it cannot; with a terminal it would show the dashboard."""

    def attach(self, pf: RunCommand, *arguments: str) -> tuple[int, str]:
        done = pf("tui", "--screenshot", "screen.svg", "--attach", *arguments)
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("pf: ")
        return done.returncode, done.stderr

    def test_nobody_there(self, pf: RunCommand, token: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            code, told = self.attach(pf, f"ws://127.0.0.1:{free.getsockname()[1]}/", "--token-file", str(token))
        assert (code, "nothing answers at ws://127.0.0.1" in told) == (3, True)

    def test_a_wrong_token_or_none(self, pf: RunCommand, token: Path, hosted: Served) -> None:
        code, told = self.attach(pf, hosted.url, "--token-file", str(token))
        assert (code, "does not know this token" in told) == (2, True)
        code, told = self.attach(pf, hosted.url, "--token-file", "missing")
        assert (code, "No such file" in told) == (2, True)
        token.chmod(0o644)
        code, told = self.attach(pf, hosted.url, "--token-file", str(token))
        assert (code, "chmod 600" in told) == (2, True)
        hosted.control.rename(token)
        hosted.view.unlink()
        code, told = self.attach(pf, hosted.url)
        assert (code, "the token is missing" in told) == (2, True)

    @pytest.mark.parametrize(
        "url", ["", "ftp://x:1/", "ws://", "ws://127.0.0.1", "ws://user:pw@127.0.0.1:1/", "ws://x:99999/"]
    )
    def test_what_is_no_address(self, pf: RunCommand, token: Path, url: str) -> None:
        code, told = self.attach(pf, url, "--token-file", str(token))
        assert (code, "--attach: " in told) == (2, True)

    def test_a_token_is_not_sent_over_a_network_in_the_clear(self, pf: RunCommand, token: Path) -> None:
        code, told = self.attach(pf, "ws://192.0.2.1:8765/", "--token-file", str(token))
        assert (code, "--insecure" in told) == (2, True)

    def test_a_server_of_another_kind(self, pf: RunCommand, token: Path) -> None:
        with HTTPServer(("127.0.0.1", 0), _Page) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                url = f"127.0.0.1:{server.server_address[1]}"
                code, told = self.attach(pf, url, "--token-file", str(token))
            finally:
                server.shutdown()
                thread.join()
        assert (code, "no host of penguiflow" in told) == (2, True)

    @pytest.mark.parametrize(
        ("first", "wanted"),
        [
            (Hello(protocol=99, version="9.9").model_dump_json(), "protocol 99 (penguiflow 9.9)"),
            ('{"what": "is this"}', "no host of penguiflow"),
        ],
    )
    async def test_a_host_of_another_version(self, pf: RunCommand, token: Path, first: str, wanted: str) -> None:
        async def greet(connection: ServerConnection) -> None:
            await connection.send(first)
            await connection.wait_closed()

        async with serve_websocket(greet, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            arguments = (f"ws://127.0.0.1:{port}", "--token-file", str(token))
            code, told = await asyncio.to_thread(self.attach, pf, *arguments)
        assert (code, wanted in told) == (2, True)

    def test_flags_that_do_not_go_together(self, pf: RunCommand, hosted: Served) -> None:
        code, told = self.attach(pf, hosted.url, "flows/give.py")
        assert (code, "leave out the paths" in told) == (2, True)
        done = pf("tui", "--read-only", "--screenshot", "x.svg")
        assert (done.returncode, "--attach" in done.stderr) == (2, True)

    def test_the_dashboard_of_a_host_elsewhere(self, project: Path, hosted: Served) -> None:
        command: list[str | Path] = [PF, "tui", "--attach", hosted.url]
        with Terminal(command, cwd=project, size=(140, 40)) as owner:
            owner.until_shown("give", "ready", hosted.url.removeprefix("ws://").rstrip("/"))
            with Terminal([*command, "--read-only"], cwd=project, size=(140, 40)) as viewer:
                viewer.until_shown("give", "(looking on)")
                owner.press(b"r")
                owner.until_shown("✔")
                viewer.until_shown("✔")
                viewer.press(b"r")
                viewer.until_shown("nothing can be run here")
                viewer.press(b"q")
                assert viewer.wait(LIMIT_S) == 0
            hosted.process.terminate()
            owner.until_shown("offline")
            owner.press(b"q")
            assert owner.wait(LIMIT_S) == 0

    def test_the_token_may_come_through_an_inherited_descriptor(self, project: Path, hosted: Served) -> None:
        reading, writing = os.pipe()
        os.write(writing, hosted.control.read_bytes())
        os.close(writing)
        try:
            done = subprocess.run(
                [PF, "tui", "--attach", hosted.url, "--token-file", f"/dev/fd/{reading}", "--screenshot", "x.svg"],
                cwd=project,
                pass_fds=[reading],
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        finally:
            os.close(reading)
        assert (done.returncode, done.stderr) == (0, "")
        assert "give" in (project / "x.svg").read_text()


ASKING = """
from __future__ import annotations

from penguiflow import Node, create


async def ask(message, ctx):
    return await ctx.ask("How many?", int)


flow = create(Node(ask, name="ask").to())
"""


class TestQuestions:
    async def test_a_run_asks_whoever_has_full_control_and_others_see_it(self, serve: Serve, add_flow: AddFlow) -> None:
        add_flow("ask", ASKING)
        served = serve("--debug")
        async with served.join(served.control) as owner, served.join(served.view) as viewer:
            # Nobody answers: a run is told so, whoever looks on.
            await viewer.ask(Questions())
            alone = await owner.ask(Run(target="flows/ask.py"))
            assert (await owner.result(alone.trace_id)).status == "error"
            await owner.ask(Questions())
            asking = await owner.ask(Run(target="flows/ask.py"))
            seen = await viewer.until(lambda frame: isinstance(frame, Questions) and frame.questions)
            (question,) = seen.questions
            assert question.prompt == "How many?"
            assert (await viewer.ask(Answer(question=question.question, value=5))).code == "forbidden"
            assert isinstance(await owner.ask(Answer(question=question.question, value=5)), Accepted)
            assert (await owner.result(asking.trace_id)).output == 5
