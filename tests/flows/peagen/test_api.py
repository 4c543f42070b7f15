"""Peagen from a program: functions, the class, a task; and what git gets."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from peagen.core import Peagen, process_all_projects, process_single_project
from peagen.errors import ConfigError, GitError
from peagen.handlers.process_handler import process_handler
from peagen.plugins.errors import StorageFailed
from peagen.plugins.manager import PluginManager
from peagen.run import ProcessOptions, process

SET = {
    "ptree.yaml.j2": """
        {% for MOD in PROJ.PKGS[0].MODULES %}
        - {FILE_NAME: module.j2, RENDERED_FILE_NAME: "out/{{ MOD.NAME }}.txt", PROJECT_NAME: "{{ PROJ.NAME }}",
           PACKAGE_NAME: demo, MODULE_NAME: "{{ MOD.NAME }}"}
        {% endfor %}
        """,
    "module.j2": "{{ MOD.NAME }}\n\n",
}


@pytest.fixture
def payload(worktree_root: Path, make_set: Any, make_project: Any) -> Path:
    make_set("small", SET)
    path = worktree_root / "projects.yaml"
    second = make_project("x", "y", NAME="Second")
    path.write_text(yaml.safe_dump({"schemaVersion": "1.0.0", "PROJECTS": [make_project("a", "b"), second]}))
    return path


def names(records: list[dict[str, Any]]) -> list[str]:
    return [record["RENDERED_FILE_NAME"] for record in records]


def test_functions_make_one_project_or_all(payload: Path, make_project: Any) -> None:
    cfg = {"worktree": payload.parent}
    records, idx, commit, oids = process_single_project(make_project("a", "b", "c"), cfg, start_idx=1)
    assert (names(records), idx, commit, oids) == (["out/b.txt", "out/c.txt"], 3, None, [])
    found = process_all_projects(payload, cfg)
    assert {name: names(records) for name, records in found.items()} == {
        "Demo": ["out/a.txt", "out/b.txt"],
        "Second": ["out/x.txt", "out/y.txt"],
    }
    with pytest.raises(ConfigError, match="names no work-tree"):
        process_all_projects(payload, {})


async def test_they_may_be_called_where_a_loop_runs(payload: Path, make_project: Any) -> None:
    records, *_ = process_single_project(make_project("a"), {"worktree": payload.parent})
    assert names(records) == ["out/a.txt"]
    with pytest.raises(ConfigError):
        process_single_project(make_project("a"), {})


def test_the_class_is_used_as_the_readme_says(payload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(payload.parent)
    stored: list[str] = []
    filter_ = SimpleNamespace(upload=lambda key, data: stored.append(key))
    pea = Peagen(projects_payload_path="projects.yaml", agent_env={"provider": "scripted"}, git_filter=filter_)

    projects = pea.load_projects()
    result, idx = pea.process_single_project(projects[0], start_idx=0)

    assert (names(result), idx) == (["out/a.txt", "out/b.txt"], 2)
    assert sorted(key.rsplit("/", 1)[-1] for key in stored) == ["a.txt", "b.txt"]
    assert list(pea.process_all_projects()) == ["Demo", "Second"]
    assert pea.report is not None
    assert pea.report.counts == {"created": 2, "unchanged": 2}


async def test_a_task_says_what_is_to_be_done(payload: Path) -> None:
    args = {"worktree": str(payload.parent), "projects_payload": payload, "project_name": "Second"}
    found = await process_handler(SimpleNamespace(args=args))
    assert (list(found["processed"]), found["commit"]) == (["Second"], None)
    assert (await process_handler({"args": args}))["counts"] == {"unchanged": 2}
    with pytest.raises(ConfigError, match="no projects_payload"):
        await process_handler({"args": {"worktree": "."}})
    with pytest.raises(ConfigError, match="no args"):
        await process_handler(SimpleNamespace())


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


async def test_what_was_written_is_committed_and_nothing_else(payload: Path, make_project: Any) -> None:
    root = payload.parent
    git(root, "init", "-q", "-b", "main")
    (root / "mine.txt").write_text("not yours\n")
    git(root, "add", "mine.txt")
    vcs = PluginManager().load("vcs", "git")(root)
    options = ProcessOptions(worktree=root, vcs=vcs, push=True)

    report = await process([make_project("a", "b")], options)

    assert report.commit == git(root, "rev-parse", "HEAD")
    assert report.warnings == []  # there is no remote, and that is fine
    assert git(root, "log", "-1", "--format=%s") == "process Demo"
    committed = git(root, "show", "--name-only", "--format=").splitlines()
    assert committed == ["out/a.txt", "out/b.txt", "peagen.lock"]
    assert report.oids == [git(root, "rev-parse", f"HEAD:out/{name}.txt") for name in "ab"]
    assert git(root, "diff", "--cached", "--name-only") == "mine.txt"

    again = await process([make_project("a", "b")], options)
    assert (again.commit, again.exit_code) == (None, 0)
    assert git(root, "rev-list", "--count", "HEAD") == "1"


async def test_a_commit_that_fails_is_a_warning(payload: Path, make_project: Any) -> None:
    def refuse(paths: list[str], message: str) -> None:
        raise GitError("a hook refused it")

    options = ProcessOptions(worktree=payload.parent, vcs=SimpleNamespace(commit=refuse))
    report = await process([make_project("a")], options)
    assert report.counts == {"created": 1}
    assert "a hook refused it" in report.warnings[0]
    assert report.exit_code == 1


async def test_copies_that_fail_are_told(payload: Path, make_project: Any) -> None:
    def upload(key: str, data: Any) -> str:
        raise StorageFailed("the bucket is full")

    options = ProcessOptions(worktree=payload.parent, storage=SimpleNamespace(upload=upload))
    report = await process([make_project("a"), make_project("b", NAME="Second")], options)
    assert report.counts == {"created": 2}
    assert len(report.warnings) == 2
    assert report.exit_code == 1
