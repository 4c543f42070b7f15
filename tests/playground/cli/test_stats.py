"""`pf stats`: numbers over runs, as text and as JSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from playground.__main__ import main
from playground.cli.stats import StatsOutput


def pf(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_runs_are_counted(write_trace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(write_trace("good", nodes=3))
    asyncio.run(write_trace("bad", nodes=1, error={"type": "ValueError", "message": "no"}))
    asyncio.run(write_trace("other", flow="triage", session="s"))

    code, out, err = pf(capsys, "stats")
    assert (code, err) == (0, "")
    first, *rest = out.splitlines()
    assert first == "triage  1 run: 1 ok"
    assert "digest  2 runs: 1 error, 1 ok" in rest
    assert "50.0% failed" in rest
    (work,) = [line for line in rest[rest.index("digest  2 runs: 1 error, 1 ok") :] if line.startswith("node work")]
    assert work.split()[2:5] == ["4", "1", "(25%)"]

    code, out, _ = pf(capsys, "stats", "digest", "--json")
    told = TypeAdapter(StatsOutput).validate_json(out)
    (flow,) = told.flows
    assert (flow.flow, flow.runs, flow.error_rate, flow.parts[0].count) == ("digest", 2, 0.5, 4)
    assert json.loads(out)["schema"] == 1

    assert pf(capsys, "stats", "--session", "s")[1].startswith("triage  1 run")
    assert pf(capsys, "stats", "--limit", "1")[1].startswith("triage  1 run")
    assert pf(capsys, "stats", "digest", "--session", "s") == (0, "", "no runs match\n")


def test_what_is_not_there_is_said(project: Path, write_trace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert pf(capsys, "stats") == (0, "", "no runs yet: `pf run TARGET` makes one\n")
    assert not (project / ".penguiflow").exists()
    asyncio.run(write_trace("one"))
    code, out, err = pf(capsys, "stats", "digset")
    assert (code, out) == (3, "")
    assert "did you mean digest?" in err
    assert pf(capsys, "stats", "--since", "2999-01-01") == (0, "", "no runs match\n")
    assert pf(capsys, "stats", "--limit", "0")[0] == 2
    assert "'soon' is no time" in pf(capsys, "stats", "--since", "soon")[2]
