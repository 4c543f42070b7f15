"""`pf break`: breakpoints are kept, found again, changed and removed, and what is wrong is said where it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from playground.__main__ import main
from playground.breakpoints import BreakpointStore
from playground.cli.breakpoints import BreakpointsOutput


class Pf:
    """Runs `pf` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """What it wrote to stdout and stderr."""
        self._capsys.readouterr()
        assert main(list(arguments)) == code
        captured = self._capsys.readouterr()
        return captured.out, captured.err

    def json(self, *arguments: str) -> dict[str, Any]:
        """The object that it printed, which fits its schema."""
        out, err = self(*arguments, "--json")
        assert err == ""
        TypeAdapter(BreakpointsOutput).validate_json(out)
        told: dict[str, Any] = json.loads(out)
        return told


@pytest.fixture
def pf(project: Path, capsys: pytest.CaptureFixture[str]) -> Pf:
    return Pf(capsys)


def ids(told: dict[str, Any]) -> list[str]:
    return [each["id"] for each in told["breakpoints"]]


def test_breakpoints_come_and_go(pf: Pf, project: Path) -> None:
    assert pf("break") == ("", "no breakpoints: `pf break add tool:NAME` adds one\n")
    out, err = pf("break", "add", "tool:fetch", "--if", 'args.url == "b"')
    assert (out, err) == ('● tool:fetch  before tool fetch  if args.url == "b"\n', "")
    assert pf.json("break", "add", "tool:fetch")["changed"] == ["tool:fetch-2"]
    assert pf.json("break", "add", "after_decision", "--once")["breakpoints"][2]["kind"] == "after_decision"
    pf("break", "add", "error", "--disabled")
    out, _ = pf("break")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["●", "tool:fetch"],
        ["●", "tool:fetch-2"],
        ["●", "kind:after_decision"],
        ["○", "error"],
    ]
    assert [each.id for each in BreakpointStore(project / ".penguiflow").load()] == ids(pf.json("break"))

    out, _ = pf("break", "off", "tool:fetch", "kind")
    assert out.count("○") == 2
    assert [each["enabled"] for each in pf.json("break", "on", "--all")["breakpoints"]] == [True] * 4
    assert pf.json("break", "rm", "err")["changed"] == ["error"]
    assert pf("break", "rm", "--all")[0].splitlines() == [
        "removed tool:fetch",
        "removed tool:fetch-2",
        "removed kind:after_decision",
    ]
    assert pf("break", "rm", "--all") == ("", "no breakpoints\n")


def test_the_same_place_and_condition_are_one_breakpoint(pf: Pf, project: Path) -> None:
    pf("break", "add", "tool:fetch", "--if", "args.n == 1")
    BreakpointStore(project / ".penguiflow").count({"tool:fetch": 3})
    told = pf.json("break", "add", "tool:fetch", "--if", "args.n == 1", "--once")
    (only,) = told["breakpoints"]
    assert (only["once"], only["hits"], told["changed"]) == (True, 3, ["tool:fetch"])
    assert "once · 3 hits" in pf("break")[0]


def test_a_flow_is_spelled_as_the_project_does(pf: Pf, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "flows").mkdir()
    (project / "flows" / "greet.py").touch()
    monkeypatch.chdir(project / "flows")
    (here,) = pf.json("break", "add", "any", "--flow", "greet.py")["breakpoints"]
    assert here["target"] == "flows/greet.py"
    assert (
        pf.json("break", "add", "any", "--flow", "greet.py:flow")["breakpoints"][1]["target"] == "flows/greet.py:flow"
    )
    assert pf.json("break", "add", "any", "--flow", "some.module")["breakpoints"][2]["target"] == "some.module"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["add", "tol:x"], 2, ["'tol:x' is no place to stop at", "did you mean tool?"]),
        (["add", ""], 2, ["no place to stop at", "node:NAME"]),
        (["add", "kind:after_decison"], 2, ["'after_decison'", "did you mean after_decision?"]),
        (["add", "kind:"], 2, ["needs the kind of a checkpoint"]),
        (["add", "any", "--if", 'url = "b"'], 2, ["column 5", '\n  url = "b"\n      ^\n']),
        (["add", "any", "--if", "f()"], 2, ["column 2", "\n  f()\n   ^\n", "no calls"]),
        (["add", "any", "--if", "a.__class__"], 2, ["underscore", "\n  a.__class__\n    ^\n"]),
        (["add", "any", "--if", ""], 2, ["the condition is empty"]),
        (["add", "any", "--if", "x" * 600], 2, ["at most 500 characters"]),
        (["rm"], 2, ["say which breakpoint", "pf break rm ID"]),
        (["rm", "x", "--all"], 2, ["not both"]),
        (["off", "nothing"], 3, ["no breakpoint 'nothing'"]),
        (["ad"], 2, ["no such command 'ad'"]),
    ],
)
def test_what_is_wrong_is_one_message(pf: Pf, arguments: list[str], code: int, said: list[str]) -> None:
    out, err = pf("break", *arguments, code=code)
    assert out == ""
    assert err.startswith("pf: ")
    for text in said:
        assert text in err


def test_a_beginning_that_several_have_names_them(pf: Pf) -> None:
    pf("break", "add", "tool:fetch")
    pf("break", "add", "tool:search")
    _, err = pf("break", "rm", "tool", code=3)
    assert "several breakpoints begin with tool" in err
    assert "tool:fetch" in err
    assert "tool:search" in err


def test_a_file_that_cannot_be_read_is_told_and_set_aside(pf: Pf, project: Path) -> None:
    (project / ".penguiflow").mkdir()
    file = project / ".penguiflow" / "breakpoints.json"
    file.write_text("{")
    for arguments in (["break"], ["break", "rm", "--all"]):
        _, err = pf(*arguments, code=5)
        assert "breakpoints.json cannot be read" in err
        assert "sets it aside" in err
    out, err = pf("break", "add", "any")
    assert "it is set aside" in err
    assert out.startswith("● any")
    assert (project / ".penguiflow" / "breakpoints.json.unreadable-1").read_text() == "{"
