"""What tools keep, in a real terminal: seen while a run has stopped, changed, and read by the next tool."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

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
