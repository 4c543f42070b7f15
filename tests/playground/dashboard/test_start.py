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
    # Renderers may drop the spaces that texts begin with, unless they are told not to.
    assert svg.startswith('<svg xml:space="preserve" ')
    for part in ("ConnectionError", "answer", "technical"):
        assert part in svg
    assert source.requests[0].input == {"id": 1, "text": "impossible", "priority": "high"}
    assert source.stopped
    assert not project.home.exists()


def test_an_unknown_target_is_said(source: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path, tmp_path / ".penguiflow")
    assert run_dashboard(source, project=project, screenshot=tmp_path / "a.svg", run="nothing") == 3
    assert "nothing: no such flow; there is hello, triage" in capsys.readouterr().err
    assert run_dashboard(source, project=project, screenshot=tmp_path / "a.svg", run="flows/broken.py") == 2
    assert "flows/broken.py: SyntaxError" in capsys.readouterr().err
    assert not (tmp_path / "a.svg").exists()


def test_a_sample_that_is_not_there_is_said(source: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path, tmp_path / ".penguiflow")
    assert run_dashboard(source, project=project, screenshot=tmp_path / "a.svg", run="triage", sample=7) == 2
    assert "triage has no sample 7; it has 2" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_said(
    source: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(tmp_path, tmp_path / ".penguiflow")
    (tmp_path / "a.svg").mkdir()
    assert run_dashboard(source, project=project, screenshot=tmp_path / "a.svg") == 2
    assert "a.svg cannot be written: Is a directory" in capsys.readouterr().err


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
