"""A host that is started anew has other tokens, unless they are kept: what becomes of those who have a copy."""

from __future__ import annotations

import asyncio
import json
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.terminal import PF, Terminal
from playground.host.tokens import read_token
from playground.remote import RemoteSource

if TYPE_CHECKING:
    from tests.e2e.conftest import AddFlow, RunCommand

LIMIT_S = 60.0


class Host:
    """A `pf serve` on one port, started again and again."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._process: subprocess.Popen[str] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.about: dict[str, Any] = {}

    def start(self, *arguments: str) -> None:
        """Start it, and read where it is."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "playground", "serve", "--json", "--port", str(self.port), *arguments],
            cwd=self._project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], LIMIT_S)[0]
        self.about = json.loads(self._process.stdout.readline())

    def shown(self) -> bytes:
        """What other processes see of it."""
        assert self._process is not None
        return b"".join(Path(f"/proc/{self._process.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))

    def end(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=LIMIT_S)
            self._process = None

    @property
    def url(self) -> str:
        return str(self.about["url"])


@pytest.fixture
def host(project: Path, add_flow: AddFlow) -> Iterator[Host]:
    add_flow("greet")
    host = Host(project)
    yield host
    host.end()


class Attached:
    """A remote source, and what it said."""

    def __init__(self, source: RemoteSource) -> None:
        self.source = source
        self.states: list[str] = []
        self.tries = 0

    async def until(self, ready: Callable[[], object]) -> None:
        """Wait for something that the source does."""
        async with asyncio.timeout(LIMIT_S):
            while not ready():
                if self.source.inbox.host is not None:
                    self.states.append(f"{self.source.inbox.host.state} {self.source.inbox.host.text}".strip())
                    self.source.inbox.host = None
                await asyncio.sleep(0.005)

    @property
    def state(self) -> str:
        return self.states[-1] if self.states else ""


@asynccontextmanager
async def attached(url: str, token: Path) -> AsyncIterator[Attached]:
    here = Attached(RemoteSource(url, lambda: read_token(token)))
    await here.source.start()
    try:
        yield here
    finally:
        await here.source.stop()


def copy(source: str, target: Path) -> None:
    """A copy that is its owner's alone, put there at once."""
    new = target.with_name("new")
    shutil.copy(source, new)
    new.chmod(0o600)
    new.replace(target)


async def test_a_refused_token_is_not_tried_again_until_it_is_another_one(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playground.remote.TOKEN_EVERY_S", 0.02)
    token = tmp_path / "copied"
    host.start()
    copy(host.about["control_token"], token)
    async with attached(host.url, token) as here:
        await here.until(lambda: here.state.startswith("ready"))
        await asyncio.to_thread(host.end)
        await here.until(lambda: here.state.startswith("offline"))
        await asyncio.to_thread(host.start)
        await here.until(lambda: here.state == "offline the token is refused · copy it anew, then R")
        (notice,) = here.source.inbox.notices
        assert "does not know this token; it makes new ones at each start" in notice.text
        here.states.clear()
        # The host is not asked again by itself, however often the file is looked at.
        looks, read = 0, here.source._token

        def looking() -> str:
            nonlocal looks
            looks += 1
            return read()

        here.source._token = looking
        await here.until(lambda: looks > 10)
        assert here.states == []
        await here.source.reload()
        await here.until(lambda: len(here.source.inbox.notices) == 2)
        copy(host.about["control_token"], token)
        await here.until(lambda: here.state.startswith("ready"))
        assert here.source.can_run


async def test_tokens_that_are_kept_open_the_next_host_too(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    host.start("--tokens", str(folder))
    token = tmp_path / "copied"
    copy(str(folder / "view"), token)
    assert read_token(Path(host.about["view_token"])) == read_token(token)
    assert not any(read_token(folder / name).encode() in host.shown() for name in ("control", "view"))
    async with attached(host.url, token) as here:
        await here.until(lambda: here.state.startswith("ready"))
        await asyncio.to_thread(host.end)
        await here.until(lambda: here.state.startswith("offline"))
        await asyncio.to_thread(host.start, "--tokens", str(folder))
        await here.until(lambda: here.state.startswith("ready"))
        assert not here.source.can_run
        assert not here.source.inbox.notices
    assert sorted(path.name for path in folder.iterdir()) == ["control", "view"]


def test_tokens_that_others_can_read_are_not_used(host: Host, pf: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "control").touch(mode=0o644)
    (tmp_path / "control").chmod(0o644)
    done = pf("serve", "--tokens", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--tokens" in done.stderr
    assert "chmod 600" in done.stderr


def test_a_dashboard_says_that_its_token_is_refused(host: Host, project: Path, tmp_path: Path) -> None:
    token = tmp_path / "copied"
    host.start()
    copy(host.about["control_token"], token)
    command: list[str | Path] = [PF, "tui", "--attach", host.url, "--token-file", token]
    with Terminal(command, cwd=project, size=(120, 30)) as screen:
        screen.until_shown("greet", "ready")
        host.end()
        screen.until_shown("offline since ")
        host.start()
        screen.until_shown("the token is refused · copy it anew, then R")
        copy(host.about["control_token"], token)
        screen.press(b"R")
        screen.until_shown("ready")
        screen.press(b"q")
        assert screen.wait(LIMIT_S) == 0
