"""What tools keep, in a real terminal: seen while a run has stopped, changed, and read by the next tool."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hands import DELETE, DOWN, END, ENTER, Hands, ctrl
from benchmarks.terminal import PF

SECRET = "s3cr3t-of-a-shop"
LIMIT_S = 300.0
SHOP = f"""
from pydantic import BaseModel

from penguiflow import ModelRegistry, Node
from penguiflow.llm.scripted import ScriptedModel
from penguiflow.planner import ReactPlanner


class Number(BaseModel):
    n: int


async def visit(args: Number, ctx) -> Number:
    await ctx.kv.get_or_init("password", "{SECRET}")
    found = await ctx.kv.get_or_init("visits", {{"count": 0}}, namespace="shop")
    await ctx.kv.patch("visits", {{"count": found["count"] + args.n}}, namespace="shop")
    return Number(n=found["count"] + args.n)


SCRIPT = [
    {{"next_node": "visit", "args": {{"n": 1}}}},
    {{"next_node": "visit", "args": {{"n": 1}}}},
    {{"next_node": "final_response", "args": {{"answer": "done"}}}},
]
registry = ModelRegistry()
registry.register("visit", Number, Number)
planner = ReactPlanner(
    ScriptedModel(rules=[(lambda _: True, SCRIPT)]), name="shop", nodes=[Node(visit)], registry=registry
)
WHO = {{"tenant_id": "acme", "user_id": "ada", "session_id": "first"}}
__flow__ = {{"title": "A shop", "samples": [{{"query": "visit", "tool_context": WHO}}]}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("PENGUIFLOW"):
            monkeypatch.delenv(name)
    folder = tmp_path / "project"
    (folder / "flows").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "shop"\nversion = "0"\n')
    (folder / "flows" / "shop.py").write_text(SHOP)
    return folder


@pytest.fixture
def terminal(project: Path) -> Iterator[Hands]:
    with Hands([PF, "tui", "flows/shop.py"], cwd=project, size=(150, 45)) as running:
        running.until_shown("A shop", "ready", "sample 1")
        yield running


def kv(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PF, "kv", *command], cwd=project, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_value_is_changed_while_a_run_has_stopped(terminal: Hands, project: Path) -> None:
    terminal.brings(b"B", "tool visit", "each decision")
    terminal.clears(b"visit", "each decision")
    terminal.brings(ENTER, "breakpoint at tool visit")
    terminal.brings(b"r", "⏸ 1 stopped", "⏸ before tool visit")
    terminal.brings(b"c", "step 1", "⏸ before tool visit")

    # The first call has kept something: it is there, the secret masked.
    terminal.brings(b"5]]]", "tool context", "acme:ada:first  2 values", "shop/visits", "count: 1", "hmac:")
    assert SECRET not in terminal.screen()
    terminal.moves(b"Gk", "shop/visits")
    terminal.brings(b"e", "shop/visits of acme:ada:first", "valid JSON · unchanged")
    terminal.brings(DOWN + END + b"0", '"count": 10', "valid JSON · changed")
    terminal.brings(ctrl("s"), "count: 10", "⏸ 1 stopped")
    assert json.loads(kv(project, "get", "first", "visits", "-n", "shop").stdout) == {"count": 10}

    # The next call reads it.
    terminal.press(b"c")
    terminal.until_shown("0 running", "count: 11")

    # Between runs: another value, and one less; a command says the same.
    terminal.brings(b"ge", "a new value of acme:ada:first")
    terminal.brings(DOWN + END + b"\x1b[D\x1b[D" + b"seat", '"key": "seat"')
    terminal.brings(ctrl("s"), "acme:ada:first  3 values", "seat")
    terminal.moves(b"G", "count: 11")
    terminal.brings(b"k" + DELETE, "acme:ada:first  2 values")
    told = json.loads(kv(project, "list", "--json").stdout)["values"]
    assert [each["key"] for each in told] == ["password", "seat"]
    assert SECRET not in kv(project).stdout


GIVEN = json.dumps({"query": "visit", "tool_context": {"tenant_id": "acme", "user_id": "ada", "session_id": "first"}})
BREAK = ("run", "flows/shop.py", "--input", GIVEN, "--break", "tool:visit")


def test_at_a_stop_of_a_command_it_is_printed(project: Path) -> None:
    with Hands([PF, *BREAK], cwd=project, size=(120, 40)) as terminal:
        terminal.until("(visit) ")
        terminal.press(b"p kv\n")
        terminal.until("nothing is kept in acme:ada:first")
        terminal.press(b"c\n")
        terminal.until("(visit) ", start=terminal.output.rindex(b"nothing is kept"))
        terminal.press(b"p kv\n")
        terminal.until("shop/visits", '"count": 1')
        assert SECRET not in terminal.text()
        terminal.press(b"c\n")
        assert terminal.wait(LIMIT_S) == 0


def test_a_program_reads_and_changes_it(project: Path) -> None:
    """As lines of JSON; and nothing that was written has the secret in it, besides the value itself."""
    place = {"session": "acme:ada:first", "namespace": "shop", "key": "visits"}
    with subprocess.Popen(
        [PF, *BREAK, "--json"], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None

        def say(line: dict[str, object]) -> None:
            assert running.stdin is not None
            running.stdin.write(json.dumps(line) + "\n")
            running.stdin.flush()

        def hear(kind: str) -> dict[str, Any]:
            assert running.stdout is not None
            for line in running.stdout:
                assert SECRET not in line
                told: dict[str, Any] = json.loads(line)
                if told.get("type") == kind:
                    return told
            raise AssertionError(f"no {kind} came")

        assert hear("stopped")["kv"] == "acme:ada:first"
        say({"action": "proceed"})
        hear("stopped")
        say({"type": "kv.get", **place})
        [entry] = hear("kv")["entries"]
        assert entry["value"] == {"count": 1}
        say({"type": "kv.edit", **place, "etag": "0", "value": 1})
        assert "somebody else has changed it" in hear("refused")["message"]
        say({"type": "kv.edit", **place, "etag": entry["etag"], "edits": {"/count": 20}})
        assert hear("kv")["entries"][0]["value"] == {"count": 20}
        say({"action": "proceed"})
        *_, last = running.stdout
        assert json.loads(last)["status"] == "ok"
    assert json.loads(kv(project, "get", "first", "visits", "-n", "shop").stdout) == {"count": 21}

    trace = project / "trace.pfz"
    for command in (("export", "last", str(trace)), ("inspect", "last", "--json")):
        done = subprocess.run([PF, *command], cwd=project, capture_output=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr
        assert SECRET.encode() not in done.stdout
    assert SECRET.encode() not in trace.read_bytes()
    replayed = subprocess.run(
        [PF, "replay", "last", "--json"], cwd=project, capture_output=True, timeout=LIMIT_S, check=False
    )
    assert replayed.returncode == 0, replayed.stdout
    assert json.loads(kv(project, "get", "first", "visits", "-n", "shop").stdout) == {"count": 21}
