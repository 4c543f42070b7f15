"""What tests of the store share: stores that are closed, child processes that are ended."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from penguiflow.state import SQLiteStateStore
from penguiflow.state.errors import StoreError

ROOT = Path(__file__).resolve().parents[3]
CHILD_TIMEOUT_S = 240


class OpenStore(Protocol):
    """Opens a store that is closed when the test is over."""

    def __call__(self, path: Path | None = None, **options: Any) -> SQLiteStateStore: ...


class Child:
    """A Python process that runs a script in the checkout, line by line in conversation."""

    def __init__(self, script: str, *arguments: str, measured: bool = True) -> None:
        # Coverage follows into child processes; one that becomes somebody else could not write what it found.
        environment = {name: value for name, value in os.environ.items() if measured or "COV" not in name}
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise AssertionError(f"the child ended: {self.finish()}")
        return text.strip()

    def say(self, text: str = "") -> None:
        """Give it a line to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.communicate(timeout=CHILD_TIMEOUT_S)

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end; returns its code and what else it printed."""
        out, err = self.process.communicate(timeout=CHILD_TIMEOUT_S)
        return self.process.returncode, out, err


class StartChild(Protocol):
    """Starts a child that is ended when the test is over."""

    def __call__(self, script: str, *arguments: str, measured: bool = True) -> Child: ...


@pytest.fixture
async def open_store(tmp_path: Path) -> AsyncIterator[OpenStore]:
    opened: list[SQLiteStateStore] = []

    def open_one(path: Path | None = None, **options: Any) -> SQLiteStateStore:
        opened.append(SQLiteStateStore(path or tmp_path / "state.db", **options))
        return opened[-1]

    yield open_one
    for store in opened:
        try:
            await store.close()
        except StoreError:
            # The test made the file unwritable.
            continue


@pytest.fixture
def start_child() -> Iterator[StartChild]:
    children: list[Child] = []

    def start(script: str, *arguments: str, measured: bool = True) -> Child:
        children.append(Child(script, *arguments, measured=measured))
        return children[-1]

    yield start
    for child in children:
        if child.process.poll() is None:
            child.kill()
        for stream in (child.process.stdin, child.process.stdout, child.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()
