"""Real files, a real watcher."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from playground.loader.version import hash_source
from playground.supervisor.watch import Watcher

PROBE = "probe.py"


class Watched:
    """A project that is being watched, and what was told of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.aside = root.with_name(f"{root.name}.aside")
        self.told: list[str] = []
        self.probed = False
        self.watcher = Watcher(root, [], self._note)

    def _note(self, paths: set[Path]) -> None:
        told = sorted(path.relative_to(self.root).as_posix() for path in paths)
        self.probed = self.probed or PROBE in told
        self.told += [name for name in told if name != PROBE]

    def write(self, name: str, content: str) -> None:
        """In one step: one that has several may be told several times."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.aside.write_text(content)
        self.aside.replace(path)

    async def hear(self, name: str) -> list[str]:
        """What was told up to and including this file."""
        async with asyncio.timeout(60):
            while name not in self.told:  # noqa: ASYNC110 (any condition)
                await asyncio.sleep(0.005)
        told, self.told = self.told, []
        return told


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path)
    for name in (
        "flows/a.py",
        ".venv/lib/b.py",
        "env/lib/c.py",
        "web/node_modules/d.py",
        "__pycache__/e.py",
        ".penguiflow/f.py",
        "flows/notes.txt",
        "data/notes.txt",
    ):
        watched.write(name, "0")
    watched.write("env/pyvenv.cfg", "")
    watched.watcher.asset_folders = {tmp_path / "flows"}
    watching = asyncio.create_task(watched.watcher.watch())
    # The watch is on when a change is told; each try is another change.
    number = 0
    async with asyncio.timeout(60):
        while not watched.probed:
            number += 1
            watched.write(PROBE, str(number))
            await asyncio.sleep(0.05)
    watched.told.clear()
    yield watched
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_code_is_told_and_what_is_not_the_projects_is_not(watched: Watched) -> None:
    for name in (".venv/lib/b.py", "env/lib/c.py", "web/node_modules/d.py", "__pycache__/e.py", ".penguiflow/f.py"):
        watched.write(name, "1")
    watched.write("flows/a.py", "1")
    assert await watched.hear("flows/a.py") == ["flows/a.py"]


async def test_other_files_matter_beside_modules_only(watched: Watched) -> None:
    watched.write("data/notes.txt", "1")
    watched.write("flows/a.bin", "1")
    watched.write("flows/notes.txt", "1")
    assert await watched.hear("flows/notes.txt") == ["flows/notes.txt"]
    watched.write("pyproject.toml", "[project]")
    assert await watched.hear("pyproject.toml") == ["pyproject.toml"]


async def test_a_change_is_a_change_of_content(watched: Watched) -> None:
    watched.watcher.remember(watched.root / "flows/a.py", hash_source(b"0"))
    (watched.root / "flows/a.py").touch()
    watched.write("flows/a.py", "0")
    watched.write("flows/last.py", "1")
    assert await watched.hear("flows/last.py") == ["flows/last.py"]
    (watched.root / "flows/a.py").unlink()
    assert await watched.hear("flows/a.py") == ["flows/a.py"]


async def test_folders_come_and_go(watched: Watched) -> None:
    watched.write("flows/new/deep/inner.py", "1")
    assert "flows/new/deep/inner.py" in await watched.hear("flows/new/deep/inner.py")
    (watched.root / "flows/new").rename(watched.root / "flows/other")
    await watched.hear("flows/other/deep/inner.py")
    watched.write("flows/other/deep/inner.py", "2")
    await watched.hear("flows/other/deep/inner.py")


async def test_an_atomic_save_is_a_save(watched: Watched) -> None:
    watched.write("flows/.a.py.swp~", "2")
    (watched.root / "flows/.a.py.swp~").replace(watched.root / "flows/a.py")
    assert await watched.hear("flows/a.py") == ["flows/a.py"]


async def test_a_pipe_among_the_sources_is_no_source(watched: Watched) -> None:
    os.mkfifo(watched.root / "flows" / "pipe.py")
    watched.write("flows/a.py", "1")
    assert await watched.hear("flows/a.py") == ["flows/a.py"]
