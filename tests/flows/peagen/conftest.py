"""What tests of Peagen share: template sets and projects that are written as the test needs them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest


class WriteFiles(Protocol):
    """Writes files into a folder, by relative name; texts may be indented. Returns the folder."""

    def __call__(self, folder: Path, files: Mapping[str, str]) -> Path: ...


class MakeSet(Protocol):
    """Writes a template set `name` into the work-tree, from its files by relative name. Returns its folder."""

    def __call__(self, name: str, files: Mapping[str, str]) -> Path: ...


class MakeProject(Protocol):
    """A project of one package with modules of the given names; other keys of the project by name."""

    def __call__(self, *modules: str, template_set: str = "small", **keys: Any) -> dict[str, Any]: ...


@pytest.fixture
def write_files() -> WriteFiles:
    def write(folder: Path, files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def worktree_root(tmp_path: Path) -> Path:
    """An empty folder to generate into."""
    root = tmp_path / "worktree"
    root.mkdir()
    return root


@pytest.fixture
def make_set(worktree_root: Path, write_files: WriteFiles) -> MakeSet:
    return lambda name, files: write_files(worktree_root / name, files)


@pytest.fixture
def make_project() -> MakeProject:
    def make(*modules: str, template_set: str = "small", **keys: Any) -> dict[str, Any]:
        project: dict[str, Any] = {
            "NAME": "Demo",
            "ROOT": "out",
            "TEMPLATE_SET": template_set,
            "PACKAGES": [{"NAME": "demo", "MODULES": [{"NAME": name, "EXTRAS": {}} for name in modules]}],
        }
        return project | keys

    return make
