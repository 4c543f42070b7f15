"""What may be named as the store of a project."""

from __future__ import annotations

from pathlib import Path

import pytest

from playground.project import STORE_VARIABLE, Project, ProjectError


@pytest.mark.parametrize("given", ["runs.db", "old/runs.db", "sqlite:///runs.db", "./a:b.db", "C:\\runs.db"])
def test_a_file_is_named_by_its_path(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORE_VARIABLE, given)
    project = Project(tmp_path, tmp_path / ".penguiflow")
    assert project.store_address() is None
    assert project.database == tmp_path / given.removeprefix("sqlite:///")


@pytest.mark.parametrize("given", ["memory:", "mysql://host/db", "sqlite:runs.db", "sqlite:///memory:", "redis:6379"])
def test_other_addresses_are_refused_and_no_file_is_made(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, given)
    with pytest.raises(ProjectError, match=f"{STORE_VARIABLE} is no address of a store: give postgresql://"):
        Project(tmp_path, tmp_path / ".penguiflow").store_address()
    assert not list(tmp_path.iterdir())
