"""`pf search`: what is found, as lines and as JSON, and what cannot be looked for."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from playground.__main__ import main
from playground.cli.search import SearchOutput


def pf(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_events_are_found(write_trace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(write_trace("first-run", nodes=2))
    asyncio.run(write_trace("second-run", session="s"))

    code, out, err = pf(capsys, "search", "NUMBER")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["second-r:2", "first-ru:2", "first-ru:5"]
    assert "\x1b" not in out
    assert "␛[31m" not in out  # an escape stands in JSON as one, \u001b
    assert out.splitlines()[0].split()[1:3] == ["message.enqueued", "work->Rookery"]

    code, out, _ = pf(capsys, "search", "--kind", "trace.*", "--trace", "first", "--json")
    told = TypeAdapter(SearchOutput).validate_json(out)
    assert [(hit.kind, hit.seq) for hit in told.hits] == [("trace.start", 0), ("trace.end", 7)]
    assert told.complete

    code, out, err = pf(capsys, "search", "-e", "num.er", "--limit", "1")
    assert (code, len(out.splitlines())) == (0, 1)
    assert "there may be more" in err
    assert pf(capsys, "search", "digest", "--session", "s")[1].startswith("second-r:0")
    assert pf(capsys, "search", "nothing of that") == (0, "", "nothing found\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "say what to look for"),
        (["a(b", "--regex"], 2, "\n  a(b\n   ^\n"),
        (["x", "--limit", "0"], 2, "--limit must be at least 1"),
        (["x", "--trace", "zzz"], 3, "no trace begins with 'zzz'"),
        (["x", "--since", "soon"], 2, "'soon' is no time"),
    ],
)
def test_what_cannot_be_looked_for(
    write_trace: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    asyncio.run(write_trace("only"))
    found = pf(capsys, "search", *arguments)
    assert found[:2] == (code, "")
    assert said in found[2]


def test_a_trace_file_is_searched_as_it_is(write_trace: Any, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(write_trace("sent"))
    assert pf(capsys, "export", "sent", "sent.pftrace")[0] == 0
    there = pf(capsys, "search", "number", "--trace", "sent")
    shutil.rmtree(project / ".penguiflow")
    assert pf(capsys, "search", "number", "--trace", "sent.pftrace") == there
    assert not (project / ".penguiflow").exists()


@pytest.mark.usefixtures("project")
def test_a_project_without_runs_has_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert pf(capsys, "search", "x") == (0, "", "nothing found\n")
