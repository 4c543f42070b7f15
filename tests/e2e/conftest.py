"""What tests share that start the real command in a project of their own."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any, Protocol

import pydantic_core
import pytest

from benchmarks.terminal import PF, Terminal
from playground.live import LiveSource
from playground.project import project_at
from playground.protocol import ModuleInfo, Result, Run, Stopped
from playground.sources import Inbox, Notice

LIMIT_S = 300.0
"""A command that takes longer than this hangs."""

GREET = """
    from __future__ import annotations

    from pydantic import BaseModel

    from penguiflow import ModelRegistry, Node, create


    class Person(BaseModel):
        name: str
        age: int = 3


    class Greeting(BaseModel):
        text: str


    async def greet(person: Person, ctx) -> Greeting:
        return Greeting(text=f"hello {person.name}")


    flow = create(Node(greet, name="greet").to())
    registry = ModelRegistry()
    registry.register("greet", Person, Greeting)
"""


class RunCommand(Protocol):
    """Runs `pf` in the project and waits for its end."""

    def __call__(
        self, *arguments: str, input: str | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]: ...


class AddFlow(Protocol):
    """Writes a module into the project's `flows/` and returns its target; the source may be indented."""

    def __call__(self, name: str, source: str = GREET) -> str: ...


class Live:
    """A live source, asked and waited for as a dashboard would."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self.results: dict[str, Result] = {}
        self.events: list[dict[str, Any]] = []
        self.states: list[str] = []
        """What was said of the host, one line each."""
        self.notices: list[Notice] = []
        self.logs: list[str] = []

    @property
    def inbox(self) -> Inbox:
        return self.source.inbox

    @property
    def modules(self) -> dict[str, ModuleInfo]:
        return {module.path: module for module in self.inbox.modules or []}

    def drain(self) -> None:
        """Take what has arrived."""
        inbox = self.inbox
        while inbox.events:
            self.events.append(pydantic_core.from_json(inbox.events.popleft()))
        while inbox.results:
            result = inbox.results.popleft()
            self.results[result.trace_id] = result
        while inbox.logs:
            self.logs.append(inbox.logs.popleft().text)
        while inbox.notices:
            self.notices.append(inbox.notices.popleft())
        if inbox.host is not None:
            self.states.append(f"{inbox.host.state} {inbox.host.text}".strip())
            inbox.host = None

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition on what has arrived."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                self.drain()
                if condition():
                    return
                await asyncio.sleep(0.005)

    async def state(self, path: str, state: str, *, not_version: str = "") -> ModuleInfo:
        """Wait until a module is in a state, and of another version than this."""

        def reached() -> bool:
            module = self.modules.get(path)
            if module is None or module.state != state:
                return False
            return not module.flows or module.flows[0].version != not_version

        await self.until(reached)
        return self.modules[path]

    async def start(self, target: str, input: Any = None) -> str:
        """Start a run."""
        return await self.source.run(Run(target=target, input={} if input is None else input))

    async def end(self, trace_id: str) -> Result:
        """Wait for the end of a run."""
        await self.until(lambda: trace_id in self.results)
        return self.results[trace_id]

    async def run(self, target: str, input: Any = None) -> Result:
        """Run to the end."""
        return await self.end(await self.start(target, input))

    async def stop_of(self, trace_id: str) -> Stopped:
        """Wait for the stop of a run; others are dropped."""
        found: list[Stopped] = []

        def stopped() -> bool:
            while self.inbox.stops:
                frame = self.inbox.stops.popleft()
                if isinstance(frame, Stopped) and frame.trace_id == trace_id:
                    found.append(frame)
            return bool(found)

        await self.until(stopped)
        return found[0]

    def kinds(self, trace_id: str) -> list[str]:
        """Kinds of the events of a trace that have arrived, in order."""
        return [event["kind"] for event in self.events if event["trace_id"] == trace_id]


class OpenLive(Protocol):
    """Watches the project; stopped when the test is done."""

    def __call__(self, *targets: str, load_timeout_s: float = LIMIT_S, grace_s: float = LIMIT_S) -> Awaitable[Live]: ...


def workers_of(pid: int) -> list[int]:
    """Host processes that a process has started."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            status = (folder / "stat").read_text()
            command = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if folder.name.isdigit() and b"playground.host" in command and status.rpartition(")")[2].split()[1] == str(pid):
            found.append(int(folder.name))
    return found


@pytest.fixture
async def open_live(project: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenLive]:
    sources: list[LiveSource] = []
    monkeypatch.chdir(project)

    async def open_source(*targets: str, load_timeout_s: float = LIMIT_S, grace_s: float = LIMIT_S) -> Live:
        source = LiveSource(project_at(project), targets, load_timeout_s=load_timeout_s, grace_s=grace_s)
        sources.append(source)
        await source.start()
        live = Live(source)
        await live.until(lambda: live.inbox.modules is not None)
        return live

    yield open_source
    for source in sources:
        async with asyncio.timeout(LIMIT_S):
            await source.stop()
    assert workers_of(os.getpid()) == []
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, with nothing of this machine's settings."""
    for variable in ("PENGUIFLOW_HOME", "NO_COLOR", "FORCE_COLOR", "PENGUIFLOW_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    root = tmp_path / "project"
    root.mkdir()
    (root / "pyproject.toml").write_text('[project]\nname = "sample"\n')
    return root


@pytest.fixture
def pf(project: Path) -> RunCommand:
    def run(
        *arguments: str, input: str | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "playground", *arguments],
            cwd=project,
            input="" if input is None else input,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=LIMIT_S,
            check=False,
        )

    return run


@pytest.fixture
def add_flow(project: Path) -> AddFlow:
    def add(name: str, source: str = GREET) -> str:
        path = project / "flows" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(source).lstrip())
        return f"flows/{name}.py"

    return add


@pytest.fixture(scope="session")
def some_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with three runs of `flows/greet.py`, to be copied: to run commands takes its time."""
    root = tmp_path_factory.mktemp("some_runs")
    (root / "pyproject.toml").write_text('[project]\nname = "sample"\n')
    (root / "flows").mkdir()
    (root / "flows" / "greet.py").write_text(dedent(GREET).lstrip())
    environment = {name: value for name, value in os.environ.items() if name != "PENGUIFLOW_HOME"}
    for number in range(3):
        command = ["run", "flows/greet.py", "--input", '{"name": "Pip"}', "--trace-id", f"run-{number}", "--quiet"]
        subprocess.run(
            [sys.executable, "-m", "playground", *command],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=LIMIT_S,
            check=True,
        )
    return root / ".penguiflow" / "state.db"


ESCAPE = b"\x1b"
OWN = re.compile(
    rb"\x1b(?:\[[0-9;]*[mH]|\[\?[0-9]+[hl]|\[>[0-9]*u|\[<u|\[\?[0-9]+\$p|\[[0-9]* ?q|\]22;[a-z]+\x07|"
    rb"\]52;c;[A-Za-z0-9+/=]*\x07)"
)
"""What the dashboard itself says to a terminal: colors, places, modes, the pointer's shape, the clipboard."""
CONTROLS = re.compile(
    rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f\xad]|\xd8\x9c|\xe2\x80[\x8b\x8e\x8f\xa8-\xae]|"
    rb"\xe2\x81[\xa0-\xaf]|\xed[\xa0-\xbf]|\xef\xbb\xbf|\xf3\xa0|pwned\x07"
)
"""What speaks to the terminal, turns the direction of writing, or cannot be seen."""
EVIL_COPY = b";cHdu\x07"
"""What an evil text's own order to the clipboard ends with."""
SEEN = re.compile(r"TRACE (\w+) [^✔✖◷⊘↯‖●]*([✔✖◷⊘↯‖●])")
"""The run that is shown, and its status."""
TOURED = (b"3]", b"j]", b"]j", b"4[", b"j\r*", b"J", b"4]]", b"j", b"]", b"5]", b"G", b"]", b"]", b"z", b"z")
"""Keys through every tab of every pane."""


class Steady(Terminal):
    """A dashboard, and what must hold of it whatever happens: it stays, it can be read, it leaves nothing behind."""

    limit_s = 60.0

    def shown(self, keys: bytes, *needles: str) -> None:
        """Press keys and wait for what they bring onto the screen."""
        self.press(keys)
        self.until_shown(*needles, timeout=self.limit_s)

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something holds of the screen."""
        deadline = time.monotonic() + self.limit_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}:\n{self.screen()}"
            assert self.read_all(0.05) or self.process.poll() is None, f"{what}: it has ended"

    def opens(self, keys: bytes, needle: str) -> None:
        """Keys bring up a screen, and escape takes it away."""
        self.shown(keys, needle)
        self.press(ESCAPE)
        # What follows an escape at once would be another key.
        self.wait_for(lambda: needle not in self.screen(), f"{needle} does not go away")

    def answers(self, needle: str = "Everywhere") -> None:
        """Keys bring up what they should, and the screen is whole again after it."""
        self.opens(b"?", needle)
        self.is_whole()

    def is_whole(self) -> None:
        """Nothing on the screen is what comes in the place of what should be there."""
        screen = self.screen()
        assert "did not work" not in screen
        assert "cannot be shown" not in screen
        assert "frame failed" not in screen
        assert self.foreign() == []

    def foreign(self) -> list[bytes]:
        """What reached the terminal that the dashboard does not say of its own accord."""
        whole = bytes(self.output[: self.output.rfind(b"\x1b")])  # the last escape sequence may not be whole yet
        own = [match.group() for match in OWN.finditer(whole)]
        rest = OWN.sub(b"", whole)
        found = [rest[max(match.start() - 20, 0) : match.end() + 20] for match in CONTROLS.finditer(rest)]
        return found + [each for each in own if each.endswith(EVIL_COPY)]

    @property
    def run_shown(self) -> tuple[str, str]:
        """Id and status of the run in the pane of traces; empty where there is none."""
        found = SEEN.search(self.screen())
        return ("", "") if found is None else (found[1], found[2])

    def begins(self, word: str, *, form: bytes = b"1g\r") -> str:
        """Run the first flow with a word typed into its form; gives the new run's id."""
        before = self.run_shown[0]
        self.shown(form, "headers and more")
        self.press(word.encode() + b"\r")
        self.wait_for(lambda: self.run_shown[0] not in {before, ""}, f"no run with {word}")
        return self.run_shown[0]

    def ends(self, status: str, trace_id: str = "") -> None:
        """Wait until the run that is shown has one of these statuses."""
        self.wait_for(
            lambda: self.run_shown[1] in set(status) and self.run_shown[0].startswith(trace_id), f"not {status}"
        )

    def runs(self, word: str, status: str = "✔", *, form: bytes = b"1g\r") -> str:
        """Run to the end; gives the run's id."""
        trace_id = self.begins(word, form=form)
        self.ends(status, trace_id)
        return trace_id

    def visit(self) -> None:
        """Every tab of every pane, as fast as somebody types."""
        for keys in TOURED:
            self.press(keys)
        self.answers()

    def visit_screens(self, *, breakpoints: bool = True) -> None:
        """Every screen that there is for a run, and a breakpoint set and taken away, where that can be."""
        for keys, needle in ((b"%", "STATISTICS"), (b"3w", "─ CHAT"), (b"3Y", "COPY"), (b"3B", "where · type to find")):
            self.opens(keys, needle)
        if not breakpoints:
            return
        start = len(self.output)
        self.press(b"3gjbb")
        self.until("any more", timeout=self.limit_s, start=start)
        self.answers()

    def processes(self) -> dict[int, str]:
        """The processes that come from it, and when they began."""
        return descendants(self.process.pid)

    def leave(self, *, more: dict[int, str] | None = None, besides: Collection[int] = ()) -> None:
        """`q` gives the terminal back as it was, and leaves no process; `more` of them may come from user code.

        `besides` are those that may stay.
        """
        begun = {pid: at for pid, at in (self.processes() | (more or {})).items() if pid not in besides}
        deadline = time.monotonic() + self.limit_s
        code = None
        while code is None:
            assert time.monotonic() < deadline, self.screen()
            # On a busy machine it may follow an escape so closely that both are one key.
            self.press(b"q")
            with suppress(TimeoutError):
                code = self.wait(self.limit_s / 6)
        assert code == 0
        assert self.foreign() == []
        assert self.left_behind() == []
        wait_until_gone(begun)

    def is_killed(self, *, besides: Collection[int] = ()) -> None:
        """It ends without a word, and leaves no process all the same; `besides` are those that may stay."""
        begun = {pid: at for pid, at in self.processes().items() if pid not in besides}
        self.process.kill()
        self.process.wait()
        wait_until_gone(begun)


class Opened(Protocol):
    """Opens a dashboard in the project, in a terminal; it is ended with the context. `by`: a command that begins it."""

    def __call__(
        self,
        *arguments: str,
        size: tuple[int, int] = (120, 40),
        env: dict[str, str] | None = None,
        by: Sequence[str] = (),
    ) -> AbstractContextManager[Steady]: ...


@pytest.fixture
def opened(project: Path) -> Opened:
    @contextmanager
    def open_dashboard(
        *arguments: str,
        size: tuple[int, int] = (120, 40),
        env: dict[str, str] | None = None,
        by: Sequence[str] = (),
    ) -> Iterator[Steady]:
        with Steady([*by, PF, "tui", *arguments], cwd=project, size=size, env=env) as terminal:
            yield terminal

    return open_dashboard


def stat(pid: int) -> list[str]:
    """What the system knows of a process, from its state on; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def descendants(pid: int) -> dict[int, str]:
    """Processes that come from `pid`, and when they began: a number may be used again."""
    known = {int(entry.name): stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
    found: dict[int, str] = {}
    parents = {pid}
    while parents:
        children = {child for child, about in known.items() if about and int(about[1]) in parents}
        found |= {child: known[child][19] for child in children}
        parents = children
    return found


def wait_until_gone(processes: dict[int, str]) -> None:
    """Until each of them has ended; whoever adopted it may leave it in the table of processes."""
    deadline = time.monotonic() + Steady.limit_s
    while left := [pid for pid, begun in processes.items() if (at := stat(pid)) and at[19] == begun and at[0] != "Z"]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.01)
