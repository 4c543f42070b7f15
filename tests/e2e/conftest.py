"""What tests share that start the real command in a project of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Protocol

import pytest

LIMIT_S = 60.0
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
