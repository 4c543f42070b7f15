"""A project in a temporary folder, loaded in this process, with every trace of it removed afterwards."""

from __future__ import annotations

import asyncio
import linecache
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from playground.loader.limits import LOAD_TIMEOUT_S
from playground.loader.project_loader import ProjectLoader
from playground.project import Project, project_at
from playground.protocol import CodeError, ModuleInfo

FLOW = """
from __future__ import annotations

from pydantic import BaseModel
from penguiflow import ModelRegistry, Node, create


class Question(BaseModel):
    text: str
    times: int = 1


class Answer(BaseModel):
    text: str


async def answer(question: Question, ctx: object) -> Answer:
    return Answer(text=question.text * question.times)


flow = create(Node(answer).to())
registry = ModelRegistry()
registry.register("answer", Question, Answer)
"""
"""A module with one flow that is registered."""


class Sandbox:
    """Files of a project, and what a loader makes of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project: Project = project_at(root)
        self.flow = FLOW
        self.imported: list[str] = []

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write sources, with their indentation taken off."""
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                content = textwrap.dedent(content).encode()
            path.write_bytes(content)

    def load(
        self, *targets: str, skip: Mapping[str, CodeError] | None = None, timeout_s: float = LOAD_TIMEOUT_S
    ) -> ProjectLoader:
        """Load targets as a worker does."""
        loader = ProjectLoader(
            self.project,
            list(targets) or self.project.default_targets(),
            cwd=self.root,
            skip=skip,
            on_import=self.imported.append,
            timeout_s=timeout_s,
        )
        loader.import_all()
        asyncio.run(loader.build_all())
        return loader

    def module(self, *targets: str) -> ModuleInfo:
        """The only module that the targets mean."""
        (module,) = self.load(*targets).modules
        return module

    def error(self, *targets: str) -> CodeError:
        """The error of the only module."""
        module = self.module(*targets)
        assert module.state == "error"
        assert module.error is not None
        return module.error


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """An empty project; whatever is imported from it is forgotten again."""
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENGUIFLOW_HOME", raising=False)
    known: dict[str, ModuleType] = dict(sys.modules)
    path, finders, lines = sys.path[:], sys.meta_path[:], dict(linecache.cache)
    # What the tests of this repository have imported under the same names must not be found.
    for name in [name for name in known if name.partition(".")[0] in ("flows", "helper", "pkg")]:
        del sys.modules[name]
    yield Sandbox(tmp_path)
    sys.path[:], sys.meta_path[:] = path, finders
    linecache.cache.clear()
    linecache.cache.update(lines)
    for name in set(sys.modules) - set(known):
        file = getattr(sys.modules[name], "__file__", None)
        spec = getattr(sys.modules[name], "__spec__", None)
        where = str(file or (spec and spec.submodule_search_locations) or "")
        if str(tmp_path) in where:
            del sys.modules[name]
    sys.modules.update(known)
