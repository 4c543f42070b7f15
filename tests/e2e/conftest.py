"""What tests share that start the real command in a project of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from textwrap import dedent
from typing import Any, Protocol

import pydantic_core
import pytest

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
