"""`--store` with an SQLite file of another place."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]
AddFlow = Callable[..., str]


@pytest.mark.parametrize("prefix", ["", "sqlite:///"])
def test_a_file_is_a_store(pf: RunCommand, add_flow: AddFlow, project: Path, prefix: str) -> None:
    target = add_flow("greet")
    run = pf("run", target, "--input", '{"name": "Ada"}', "--json", "--store", f"{prefix}kept/here.db")
    assert run.returncode == 0, run.stderr
    trace_id = json.loads(run.stdout)["trace_id"]
    assert (project / "kept" / "here.db").is_file()
    assert not (project / ".penguiflow" / "state.db").exists()
    found = pf("inspect", trace_id, "--json", "--store", str(project / "kept" / "here.db"))
    assert json.loads(found.stdout)["trace"]["status"] == "ok"
    assert pf("inspect", trace_id).returncode == 3


def test_what_is_no_store_is_said_so(pf: RunCommand, project: Path) -> None:
    (project / "notes.txt").write_text("no database")
    damaged = pf("traces", "--store", "notes.txt")
    assert (damaged.returncode, "notes.txt" in damaged.stderr) == (5, True)
    unknown = pf("traces", "--store", "mysql://host/db")
    assert (unknown.returncode, "sqlite:///FILE" in unknown.stderr) == (2, True)
    assert "Traceback" not in damaged.stderr + unknown.stderr
