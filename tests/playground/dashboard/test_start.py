from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from playground.dashboard import run_dashboard
from playground.project import Project


def test_a_picture_is_drawn_without_a_terminal(source: Any, tmp_path: Path) -> None:
    path = tmp_path / "screen.svg"
    project = Project(tmp_path, tmp_path / ".penguiflow")
    keys = ["3", "g", "j", "j", "j"]
    code = run_dashboard(
        lambda: source, project=project, screenshot=path, size=(100, 30), run="triage", sample=1, keys=keys
    )
    assert code == 0
    svg = path.read_text()
    for part in ("ConnectionError", "answer", "technical"):
        assert part in svg
    assert source.requests[0].input == {"id": 1, "text": "impossible", "priority": "high"}
    assert source.stopped
    assert not project.home.exists()


def test_an_unknown_target_is_said(source: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path, tmp_path / ".penguiflow")
    assert run_dashboard(source, project=project, screenshot=tmp_path / "a.svg", run="nothing") == 1
    assert "nothing: no such flow" in capsys.readouterr().err


def test_a_source_that_cannot_be_made_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Any:
        raise OSError("the port is taken")

    project = Project(tmp_path, tmp_path / ".penguiflow")
    assert run_dashboard(broken, project=project, screenshot=tmp_path / "a.svg") == 1
    assert "cannot start: the port is taken" in capsys.readouterr().err


def test_a_project_without_flows_is_drawn_too(source: Any, tmp_path: Path) -> None:
    source.modules = []
    project = Project(tmp_path, tmp_path / ".penguiflow")
    assert run_dashboard(source, project=project, screenshot=tmp_path / "a.svg") == 0
    assert "No&#160;flows&#160;here." in (tmp_path / "a.svg").read_text()


def test_what_is_remembered_is_used_for_pictures(source: Any, tmp_path: Path) -> None:
    project = Project(tmp_path, tmp_path / ".penguiflow")
    project.home.mkdir()
    (project.home / "ui.json").write_text(json.dumps({"theme": "no such theme", "left": 6}))
    assert run_dashboard(source, project=project, theme="nord", screenshot=tmp_path / "a.svg") == 0
