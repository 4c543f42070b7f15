"""PeerAgent among the flows of a project: listed, run and looked at with `pf`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.terminal import PF, Terminal

HANG_S = 60.0
ROOT = Path(__file__).parents[3]


def pf(folder: Path, home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "playground", *arguments],
        cwd=folder,
        env={**os.environ, "PENGUIFLOW_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("folder", [ROOT, ROOT / "flows" / "peeragent"], ids=["checkout", "its own"])
def test_it_is_a_flow_of_the_project(folder: Path, tmp_path: Path) -> None:
    told = json.loads(pf(folder, tmp_path, "doctor", "--json"))
    flows = [each["message"] for each in told["checks"] if each["name"] == "flow"]
    assert "peeragent.flow: peeragent" in flows
    assert all(each["status"] == "ok" for each in told["checks"] if each["name"] == "flow")


def test_the_dashboard_of_the_checkout_lists_it(tmp_path: Path) -> None:
    with Terminal([PF, "tui"], cwd=ROOT, size=(140, 40), env={"PENGUIFLOW_HOME": str(tmp_path)}) as dashboard:
        dashboard.until_shown("peeragent", "research_agent", timeout=HANG_S)
        dashboard.press(b"q")
        assert dashboard.wait(HANG_S) == 0


def test_runs_of_the_service_can_be_looked_into(peeragent: Any) -> None:
    home = peeragent.folder / ".penguiflow"
    with peeragent.serving() as (server, url), httpx.Client(base_url=f"{url}/v1/agent", timeout=HANG_S) as client:
        code = client.post("/execute", json={"task": "Write a Python function that reverses a string"}).json()
        asked = {"task": "Our sales dropped 20%", "session_id": "s"}
        business = client.post("/execute/direct/business", json=asked).json()
        server.process.terminate()
        assert server.process.wait(HANG_S) == 0
    listed = json.loads(pf(peeragent.folder, home, "traces", "--json"))
    seen = pf(peeragent.folder, home, "inspect", code["trace_id"])
    assert {each["flow"] for each in listed["traces"]} == {"peeragent"}
    assert {each["trace_id"] for each in listed["traces"]} == {code["trace_id"], business["trace_id"]}
    for words in ("route", "code", "llm"):
        assert words in seen


def test_a_run_stops_before_a_model_is_asked(tmp_path: Path) -> None:
    asked = json.dumps({"task": "Write a Python function that reverses a string", "stream": False})
    command = ("run", "peeragent.flow:flow", "--json", "--break", "before_llm", "--input", asked)
    lines = [json.loads(line) for line in pf(tmp_path, tmp_path, *command).splitlines() if line.startswith("{")]
    assert [line.get("kind") for line in lines if line.get("type") == "stopped"] == ["before_llm"]
    assert "reverses a string" in json.dumps(lines[0]["payload"]["messages"])
    assert lines[-1]["status"] == "ok"


def test_a_run_shows_the_answer_as_it_is_written_and_then_the_result(tmp_path: Path) -> None:
    asked = json.dumps({"task": "Write a Python function that reverses a string"})
    command: list[str | Path] = [PF, "run", "peeragent.flow:flow", "--input", asked]
    with Terminal(command, cwd=tmp_path, env={"PENGUIFLOW_HOME": str(tmp_path)}) as run:
        run.until('"route"', timeout=HANG_S)
        shown = run.text()
        assert shown.index("return text[::-1]") < shown.index('"route"')
        run.until("pf inspect", timeout=HANG_S)
        assert run.wait(HANG_S) == 0
