"""`pf new` and `pf doctor`, as somebody meets them on the first day."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from benchmarks.terminal import PF, Terminal
from playground.cli.doctor import DoctorOutput
from playground.cli.new import NewOutput

if TYPE_CHECKING:
    import pytest

    from tests.e2e.conftest import AddFlow, RunCommand

LIMIT_S = 300.0


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def test_a_new_project_runs_and_its_test_passes(pf: RunCommand, project: Path) -> None:
    made = pf("new", "word-count", "--json")
    told = TypeAdapter(NewOutput).validate_json(made.stdout)
    folder = project / "word-count"
    assert told.project == str(folder)
    assert sorted(told.files) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )

    pf_command = [sys.executable, "-m", "playground"]
    answer = run(folder, *pf_command, "run", "flows/word_count.py", "--input", '{"text": "a b a"}', "--json")
    assert json.loads(answer.stdout)["output"] == {"total": 3, "most_used": {"a": 2, "b": 1}}
    # What the run keeps is in the new project.
    assert (folder / ".penguiflow" / "state.db").exists()
    assert run(folder, *pf_command, "test", "last", "-o", "tests/test_recorded.py").returncode == 0
    tested = run(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    assert "3 passed" in tested.stdout

    again = pf("new", "word-count")
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_names_that_would_be_in_the_way(pf: RunCommand, project: Path) -> None:
    for name in ("a b", "-x", "1st", "x" * 80):
        refused = pf("new", "--", name)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "is no name for a project" in refused.stderr
    for name, module in (("class", "class_flow"), ("penguiflow", "penguiflow_flow"), ("deep/er", "er")):
        assert f"{name}/flows/{module}.py" in pf("new", name).stdout
    (project / "file").touch()
    assert pf("new", "file").returncode == 2


def test_what_is_sound_is_said_to_be(pf: RunCommand, add_flow: AddFlow) -> None:
    add_flow("greet")
    assert pf("run", "flows/greet.py", "--input", '{"name": "ada"}').returncode == 0
    seen = pf("doctor")
    assert seen.returncode == 0, seen.stdout
    lines = {line.split()[1]: line for line in seen.stdout.splitlines()}
    assert "1 runs" in lines["store"]
    assert lines["flow"] == "✔ flow        flows/greet.py: greet"
    assert lines["terminal"].startswith("! terminal")
    told = TypeAdapter(DoctorOutput).validate_json(pf("doctor", "--json").stdout)
    assert told.ok
    assert [check.name for check in told.checks] == [line.split()[1] for line in seen.stdout.splitlines()]


def test_what_does_not_work_is_named(pf: RunCommand, add_flow: AddFlow, project: Path) -> None:
    add_flow("greet")
    add_flow("broken", "import nothing_like_that\n")
    (project / ".penguiflow").mkdir()
    (project / ".penguiflow" / "state.db").write_bytes(b"no database " * 100)
    (project / ".penguiflow" / "breakpoints.json").write_text("{")
    seen = pf("doctor")
    assert seen.returncode == 2
    wrong = [line for line in seen.stdout.splitlines() if line.startswith("✖")]
    assert [line.split()[1] for line in wrong] == ["store", "breakpoints", "flow"]
    assert "nothing_like_that" in wrong[2]
    assert seen.stderr == ""
    assert not TypeAdapter(DoctorOutput).validate_json(pf("doctor", "--json").stdout).ok
    assert "flows/greet.py" not in pf("doctor", "--no-load").stdout


def test_a_terminal_is_seen(project: Path, add_flow: AddFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    add_flow("greet")
    monkeypatch.setenv("EDITOR", "my-editor")
    monkeypatch.delenv("VISUAL", raising=False)
    with Terminal([PF, "doctor"], cwd=project, size=(100, 30)) as terminal:
        terminal.until("xterm-256color, 100x30", "24 bit color", "my-editor")
        assert terminal.wait(60.0) == 0
