"""What tests of Peagen share: template sets and projects that are written as the test needs them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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


class Done(NamedTuple):
    """What became of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class PeagenCommand(Protocol):
    """Runs `peagen` with these arguments in this process, in the folder `at`."""

    def __call__(self, *arguments: str | Path, at: Path | None = None) -> Done: ...


class Git(Protocol):
    """Runs git in a folder; returns what it prints."""

    def __call__(self, folder: Path, *arguments: str | Path) -> str: ...


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for Peagen and git, and nothing in the environment that chooses a model."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_BASE_URL")) or name == "PROVIDER"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PEAGEN_HOME", str(home / ".peagen"))
    monkeypatch.setenv("PEAGEN_ROOT_DIR", str(home / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


@pytest.fixture
def peagen(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[PeagenCommand]:
    from peagen.cli import run

    logger, flows = logging.getLogger("peagen"), logging.getLogger("penguiflow")
    before = logger.level, list(logger.handlers), list(flows.handlers)

    def call(*arguments: str | Path, at: Path | None = None) -> Done:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(at or tmp_path)
            code = run([str(each) for each in arguments])
        out, err = capsys.readouterr()
        return Done(code, out, err)

    yield call
    logger.setLevel(before[0])
    logger.handlers, flows.handlers = before[1:]


@pytest.fixture
def git(own_home: Path) -> Git:
    def call(folder: Path, *arguments: str | Path) -> str:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main")
        done = subprocess.run(
            ["git", *who, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return call
