"""`pf export`, `pf import`, and trace files in place of trace ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from playground.__main__ import main
from playground.cli.outputs import InspectOutput

WriteTrace = Callable[..., Coroutine[Any, Any, None]]


@pytest.fixture
def file(write_trace: WriteTrace, project: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    asyncio.run(write_trace("one", nodes=3))
    path = project / "one.pftrace"
    assert main(["export", "one", str(path)]) == 0
    assert capsys.readouterr().out.startswith("one: 11 events in ")
    return path


def elsewhere(monkeypatch: pytest.MonkeyPatch, project: Path) -> Path:
    home = project / "other"
    monkeypatch.setenv("PENGUIFLOW_HOME", str(home))
    return home


def test_to_another_project(
    file: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "one", "--json"]) == 0
    original = InspectOutput.model_validate_json(capsys.readouterr().out)
    elsewhere(monkeypatch, project)
    assert main(["import", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "trace_id": "one",
        "events": 11,
        "new": True,
    }
    assert main(["inspect", "one", "--json"]) == 0
    assert InspectOutput.model_validate_json(capsys.readouterr().out) == original
    assert main(["import", str(file)]) == 0
    assert capsys.readouterr().out == "one is here already\n"
    assert main(["import", str(file), "--as", "two"]) == 0
    assert main(["diff", "one", "two"]) == 0
    assert "no differences" in capsys.readouterr().out


def test_a_file_is_looked_into_as_it_is(
    file: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = elsewhere(monkeypatch, project)
    assert main(["inspect", str(file)]) == 0
    assert "✔ work" in capsys.readouterr().out
    assert main(["inspect", str(file), "--events"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 11
    assert main(["diff", str(file), str(file)]) == 0
    assert "no differences" in capsys.readouterr().out
    assert not home.exists()


def test_refusals(
    file: Path,
    project: Path,
    write_trace: WriteTrace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def pf(*arguments: str) -> tuple[int, str]:
        code = main(list(arguments))
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) <= 2
        return code, captured.err

    assert pf("export", "one", str(file)) == (
        2,
        f"pf: {file} exists already\n  hint: --force writes over it\n",
    )
    assert pf("export", "nothing", str(project / "x.pftrace"))[0] == 3
    assert pf("export", "one", str(project / "none" / "x.pftrace"))[0] == 3
    assert pf("export", "one", str(project))[0] == 2
    assert pf("import", str(project / "x.pftrace"))[0] == 3
    assert pf("import", str(project))[0] == 5
    assert pf("import", str(file), "--as", "")[0] == 2
    damaged = project / "damaged.pftrace"
    damaged.write_bytes(file.read_bytes()[:100])
    code, told = pf("import", str(damaged))
    assert (code, "damaged" in told) == (5, True)
    assert pf("inspect", str(damaged))[0] == 5
    plain = project / "plain.pftrace"
    plain.write_text("hello")
    assert pf("import", str(plain))[0] == 5
    home = elsewhere(monkeypatch, project)
    assert not home.exists()
    assert pf("import", str(damaged))[0] == 5


def test_another_trace_of_the_same_id(
    file: Path,
    project: Path,
    write_trace: WriteTrace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project / ".penguiflow").rename(project / "away")
    asyncio.run(write_trace("one", nodes=2))
    assert main(["import", str(file)]) == 2
    assert "--as NEW_ID" in capsys.readouterr().err
    assert main(["export", "one", str(file), "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == 8
